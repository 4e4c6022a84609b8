//! Cuts a machine's code into streams, which pack better than code, and which the kernel puts together at boot: the form is described
//! in `kernel/src/streams.rs`, which is this module's [`form`] too. What was cut is put together again here, in as much memory as a
//! machine surely has, before it is believed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Register};

#[path = "../../../kernel/src/streams.rs"]
pub mod form;

use form::{
    BEYOND, CALL, FAR, FIRST_PLAIN, HEAD_WORDS, LOADED, MAGIC, NAMES, NEAR, NUMBER, OFFSET, OPERANDS, PAGES,
    PLACE, RARE, RARE_BYTES, RARE_SHAPES, SHORT, STREAMS,
};

/// Memory that Xen's builder maps behind all that it hands over (`public/xen.h`), in which a machine puts its code together.
pub const FREE_BYTES: usize = 512 << 10;
/// What a chunk's streams may be estimated at, the largest first: what does not fit is cut again.
const CHUNK_BYTES: [usize; 5] = [400 << 10, 360 << 10, 320 << 10, 160 << 10, 80 << 10];
/// Instructions that are as frequent stand in the dictionary.
const FREQUENT: usize = 2;
/// An opcode that is as frequent has pages of its own.
const PAGE_FREQUENT: usize = 1500;

/// Kinds that the form stores alike.
const STACK: usize = FIRST_PLAIN;
const FIELD: usize = FIRST_PLAIN + 1;
const ADDED: usize = FIRST_PLAIN + 2;
const PUSHED: usize = FIRST_PLAIN + 3;
const BYTE: usize = FIRST_PLAIN + 4;
const OTHER: usize = FIRST_PLAIN + 5;
const TWO: usize = FIRST_PLAIN + 6;
const EIGHT: usize = FIRST_PLAIN + 7;

/// Code, cut.
#[derive(Debug)]
pub struct Cut {
    /// What comes before all streams, and names the tables that were left out.
    pub head: Vec<u8>,
    /// The streams of each chunk, by number.
    pub chunks: Vec<[Vec<u8>; STREAMS]>,
}

impl Cut {
    /// Bytes of everything.
    pub fn bytes(&self) -> usize {
        self.head.len() + self.chunks.iter().flatten().map(Vec::len).sum::<usize>()
    }
}

/// An instruction as it is read.
struct Read<'a> {
    /// Its address.
    start: u32,
    bytes: &'a [u8],
    /// Its operands' places and kinds, in order.
    operands: Vec<(usize, usize)>,
}

impl Read<'_> {
    fn end(&self) -> u32 {
        self.start.wrapping_add(self.bytes.len() as u32)
    }

    fn operand(&self, place: usize, kind: usize) -> &[u8] {
        &self.bytes[place..place + form::width(kind)]
    }

    /// Where a distance leads.
    fn target(&self, place: usize, kind: usize) -> u32 {
        let distance = match self.operand(place, kind) {
            [byte] => i32::from(byte.cast_signed()),
            bytes => i32::from_le_bytes(bytes.try_into().unwrap_or_default()),
        };
        self.end().wrapping_add_signed(distance)
    }

    /// What it is without its operands.
    fn entry(&self) -> Entry {
        let mut bytes = Vec::new();
        let mut at = 0;
        for (place, kind) in &self.operands {
            bytes.extend_from_slice(&self.bytes[at..*place]);
            at = place + form::width(*kind);
        }
        bytes.extend_from_slice(&self.bytes[at..]);
        let mut shape = (self.bytes.len() as u32) | (self.operands.len() as u32) << 4;
        for (index, (place, kind)) in self.operands.iter().enumerate() {
            shape |= ((*place as u32) | (*kind as u32) << 4) << (8 + 8 * index);
        }
        Entry { shape, bytes }
    }
}

/// What stands in the dictionary.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Entry {
    shape: u32,
    bytes: Vec<u8>,
}

impl Entry {
    /// The opcode behind the prefixes: instructions that are told apart by it follow different ones.
    fn opcode(&self) -> &[u8] {
        let prefixes = self.bytes.iter().take_while(|byte| is_prefix(**byte)).count();
        let rest = &self.bytes[prefixes.min(self.bytes.len() - 1)..];
        &rest[..rest.len().min(if rest[0] == 0x0f { 2 } else { 1 })]
    }
}

/// A table that is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its address.
    pub address: u32,
    /// Which it is, as the form numbers it.
    pub which: usize,
    /// What stands in its place.
    pub stored: Vec<u8>,
}

fn is_prefix(byte: u8) -> bool {
    matches!(byte, 0x66 | 0xf2 | 0xf3 | 0x40..0x50)
}

/// Cuts code that begins at an address, and leaves tables out; `None` when it cannot be put together again in a machine.
pub fn cut(code: &[u8], base: u32, tables: &[Table]) -> Option<Cut> {
    let read = read(code, base);
    CHUNK_BYTES.iter().find_map(|bytes| {
        let cut = write(read.iter(), base, tables, *bytes)?;
        is_undone(&cut, code, base, tables).then_some(cut)
    })
}

/// The tables that can be left out of constants, which begin at an address.
pub fn tables(constants: &[u8], address: u64) -> Vec<Table> {
    const FOLLOWING: usize = 16;
    let known: Vec<_> = (0..FOLLOWING)
        .chain([form::POWERS])
        .filter_map(|which| {
            let mut table = vec![0; form::table_bytes(which)];
            form::table(which, &mut table).map(|()| (which, table))
        })
        .collect();
    let mut found: Vec<(usize, usize, Vec<u8>)> = Vec::new();
    let mut at = 0;
    while at < constants.len() {
        match known.iter().find(|(_, table)| constants[at..].starts_with(table)) {
            Some((which, table)) => {
                found.push((at, *which, vec![0; table.len()]));
                at += table.len();
            }
            None => at += 4,
        }
    }
    found.extend(transitions(constants).filter_map(|times| {
        let (words, _) = constants.get(times.clone())?.as_chunks();
        let mut before = 0;
        let stored = words.iter().flat_map(|word| {
            let time = u64::from_be_bytes(*word);
            std::mem::replace(&mut before, time).wrapping_neg().wrapping_add(time).to_be_bytes()
        });
        Some((times.start, form::SUMS + words.len(), stored.collect()))
    }));
    found
        .into_iter()
        .filter(|(at, which, stored)| {
            // What is made of it is what was there, or it stays.
            let mut made = stored.clone();
            form::table(*which, &mut made).is_some() && constants[*at..].starts_with(&made)
        })
        .filter_map(|(at, which, stored)| {
            Some(Table { address: u32::try_from(address + at as u64).ok()?, which, stored })
        })
        .collect()
}

/// Where the times stand at which time zones change their clocks (RFC 9636, version 2 and later), eight bytes each.
fn transitions(constants: &[u8]) -> impl Iterator<Item = std::ops::Range<usize>> {
    const MAGIC: &[u8] = b"TZif";
    const HEAD: usize = 44;
    let head = move |at: usize| {
        let head = constants.get(at..at.checked_add(HEAD)?)?.strip_prefix(MAGIC)?;
        let (counts, _) = head[16..].as_chunks();
        Some(counts.iter().map(|count| u32::from_be_bytes(*count) as usize).collect::<Vec<_>>())
    };
    let starts = (0..constants.len()).filter(move |at| constants[*at..].starts_with(MAGIC));
    starts.filter_map(move |at| {
        // The first half, for readers of version 1, is as long as its counts say: of universal and of standard times, leap seconds,
        // changes, kinds of time, letters of their names.
        let [universal, standard, leaps, changes, kinds, letters] = head(at)?[..] else { return None };
        let parts = [
            universal,
            standard,
            leaps.checked_mul(8)?,
            changes.checked_mul(5)?,
            kinds.checked_mul(6)?,
            letters,
        ];
        let second = parts.iter().try_fold(at + HEAD, |sum, part| sum.checked_add(*part))?;
        let times = second.checked_add(HEAD)?;
        Some(times..times.checked_add(head(second)?[3].checked_mul(8)?)?)
    })
}

/// Whether the kernel makes the same code of it.
fn is_undone(cut: &Cut, code: &[u8], base: u32, tables: &[Table]) -> bool {
    let Some(at) = code.len().checked_sub(cut.bytes()) else { return false };
    let mut made = vec![0; at];
    made.extend_from_slice(&cut.head);
    cut.chunks.iter().flatten().for_each(|stream| made.extend_from_slice(stream));
    let mut rooms: Vec<_> = tables.iter().map(|table| table.stored.clone()).collect();
    let mut rooms = rooms.iter_mut();
    let constants = |_, bytes| rooms.next()?.get_mut(..bytes);
    form::restore(&mut made, base, at, &mut vec![0; FREE_BYTES], constants).is_some() && made == code
}

fn read(code: &[u8], base: u32) -> Vec<Read<'_>> {
    let mut decoder = Decoder::with_ip(64, code, base.into(), DecoderOptions::NONE);
    let (mut all, mut instruction) = (Vec::new(), Instruction::default());
    while decoder.can_decode() {
        let from = decoder.position();
        decoder.decode_out(&mut instruction);
        let bytes = &code[from..decoder.position()];
        let operands =
            if instruction.is_invalid() { Vec::new() } else { operands(&decoder, &instruction, bytes) };
        all.push(Read { start: base.wrapping_add(from as u32), bytes, operands });
    }
    all
}

fn operands(decoder: &Decoder<'_>, instruction: &Instruction, bytes: &[u8]) -> Vec<(usize, usize)> {
    let places = decoder.get_constant_offsets(instruction);
    let mut all = Vec::new();
    if places.has_displacement() {
        let kind = match places.displacement_size() {
            1 if instruction.memory_base() == Register::RSP => Some(STACK),
            1 => Some(FIELD),
            4 if instruction.is_ip_rel_memory_operand() => Some(PLACE),
            4 => Some(OFFSET),
            _ => None,
        };
        all.extend(kind.map(|kind| (places.displacement_offset(), kind)));
    }
    let jumps = matches!(
        instruction.flow_control(),
        FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch
    );
    let opcode = bytes.iter().find(|byte| !is_prefix(**byte));
    let immediate = |size: usize| match size {
        4 if instruction.is_call_near() => Some(CALL),
        4 if jumps => Some(NEAR),
        1 if jumps => Some(SHORT),
        _ if jumps || instruction.is_call_near() => None,
        1 => Some(match opcode {
            Some(0x83) => ADDED,
            Some(0x6a) => PUSHED,
            Some(0x80 | 0xc6) => BYTE,
            _ => OTHER,
        }),
        2 => Some(TWO),
        4 if matches!(opcode, Some(0xb8..0xc0)) => Some(LOADED),
        4 => Some(NUMBER),
        8 => Some(EIGHT),
        _ => None,
    };
    if places.has_immediate() {
        all.extend(immediate(places.immediate_size()).map(|kind| (places.immediate_offset(), kind)));
    }
    if places.has_immediate2() {
        all.extend(immediate(places.immediate_size2()).map(|kind| (places.immediate_offset2(), kind)));
    }
    all.sort_unstable();
    all
}

/// Writes head and streams, in chunks that are estimated at so many bytes.
fn write<'a>(
    read: impl Iterator<Item = &'a Read<'a>>,
    base: u32,
    tables: &[Table],
    chunk_bytes: usize,
) -> Option<Cut> {
    let mut chunks = vec![Vec::new()];
    let mut estimate = 0;
    for one in read {
        // Its name and its length, and what its operands become at most.
        estimate += 4 + one.operands.iter().map(|(_, kind)| form::width(*kind)).sum::<usize>();
        if estimate > chunk_bytes {
            chunks.push(Vec::new());
            estimate = 0;
        }
        chunks.last_mut()?.push(Read { operands: one.operands.clone(), ..*one });
    }
    chunks.iter_mut().for_each(|chunk| keep_short_jumps_within(chunk));
    let dictionary = Dictionary::of(chunks.iter().flatten());
    let functions: BTreeSet<u32> =
        chunks.iter().flatten().flat_map(|one| calls(one).map(|place| one.target(place, CALL))).collect();
    let numbers: HashMap<u32, u16> = functions
        .iter()
        .enumerate()
        .map(|(number, function)| Some((*function, u16::try_from(number).ok()?)))
        .collect::<Option<_>>()?;
    let streams: Vec<_> =
        chunks.iter().map(|chunk| streams(chunk, &dictionary, &numbers)).collect::<Option<_>>()?;

    let mut head = Vec::new();
    let mut table = Vec::new();
    for (chunk, streams) in chunks.iter().zip(&streams) {
        table.push(chunk.len() as u32);
        table.extend(streams.iter().map(|stream| stream.len() as u32));
    }
    table.extend(tables.iter().flat_map(|table| [table.address, table.which as u32]));
    let mut behind: Vec<u8> = table.iter().flat_map(|word| word.to_le_bytes()).collect();
    behind.extend(dictionary.shapes.iter().flat_map(|shape| shape.to_le_bytes()));
    behind.extend(dictionary.pages.iter().flat_map(|first| first.to_le_bytes()));
    for entry in &dictionary.entries {
        behind.push(dictionary.shape(entry.shape)?);
    }
    let bytes: Vec<u8> = dictionary.entries.iter().flat_map(|entry| entry.bytes.clone()).collect();
    behind.extend_from_slice(&bytes);
    let mut before = base;
    for function in &functions {
        super::cfa::write_unsigned(function.wrapping_sub(before).into(), &mut behind);
        before = *function;
    }
    let words = [
        MAGIC,
        (4 * HEAD_WORDS + behind.len()) as u32,
        chunks.len() as u32,
        dictionary.entries.len() as u32,
        bytes.len() as u32,
        functions.len() as u32,
        dictionary.shapes.len() as u32,
        tables.len() as u32,
    ];
    head.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    head.extend_from_slice(&behind);
    Some(Cut { head, chunks: streams })
}

/// The places of an instruction's calls.
fn calls(one: &Read<'_>) -> impl Iterator<Item = usize> {
    one.operands.iter().filter(|(_, kind)| *kind == CALL).map(|(place, _)| *place)
}

/// A jump of one byte that leads to no instruction of its chunk has no operand, but is an instruction of its own.
fn keep_short_jumps_within(chunk: &mut [Read<'_>]) {
    let starts: BTreeSet<u32> = chunk.iter().map(|one| one.start).collect();
    for one in chunk {
        let leads_out =
            |(place, kind): &(usize, usize)| *kind == SHORT && !starts.contains(&one.target(*place, SHORT));
        if one.operands.iter().any(leads_out) {
            one.operands.clear();
        }
    }
}

fn streams(
    chunk: &[Read<'_>],
    dictionary: &Dictionary,
    functions: &HashMap<u32, u16>,
) -> Option<[Vec<u8>; STREAMS]> {
    let mut streams = [const { Vec::new() }; STREAMS];
    let numbers: HashMap<u32, usize> =
        chunk.iter().enumerate().map(|(number, one)| (one.start, number)).collect();
    for (index, one) in chunk.iter().enumerate() {
        let entry = one.entry();
        match dictionary.names.get(&entry) {
            Some(name) => streams[NAMES].extend_from_slice(name),
            None => {
                streams[NAMES].extend_from_slice(&[RARE, 0]);
                streams[RARE_SHAPES].push(dictionary.shape(entry.shape)?);
                streams[RARE_BYTES].extend_from_slice(&entry.bytes);
            }
        }
        for (place, kind) in one.operands.iter().copied() {
            let target = || one.target(place, kind);
            let within = || {
                let number = numbers.get(&target())?.checked_signed_diff(index)?;
                i16::try_from(number).ok().filter(|number| *number != BEYOND)
            };
            let mut put = |stream: usize, bytes: &[u8]| streams[stream].extend_from_slice(bytes);
            match kind {
                CALL => put(OPERANDS + CALL, &functions.get(&target())?.to_be_bytes()),
                NEAR => match within() {
                    Some(number) => put(OPERANDS + NEAR, &number.to_be_bytes()),
                    None => {
                        put(OPERANDS + NEAR, &BEYOND.to_be_bytes());
                        put(FAR, &target().to_be_bytes());
                    }
                },
                SHORT => put(OPERANDS + SHORT, &i8::try_from(within()?).ok()?.to_be_bytes()),
                PLACE => put(OPERANDS + PLACE, &target().to_be_bytes()),
                NUMBER | OFFSET | LOADED => {
                    let mut bytes = one.operand(place, kind).to_vec();
                    bytes.reverse();
                    put(OPERANDS + kind, &bytes);
                }
                _ => put(OPERANDS + kind, one.operand(place, kind)),
            }
        }
    }
    Some(streams)
}

/// The frequent instructions.
struct Dictionary {
    shapes: Vec<u32>,
    entries: Vec<Entry>,
    /// The number of each page's first entry.
    pages: Vec<u16>,
    names: HashMap<Entry, [u8; 2]>,
}

impl Dictionary {
    fn of<'a>(instructions: impl Iterator<Item = &'a Read<'a>>) -> Dictionary {
        let mut counts: BTreeMap<Entry, usize> = BTreeMap::new();
        instructions.for_each(|one| *counts.entry(one.entry()).or_default() += 1);
        let shapes: BTreeSet<u32> = counts.keys().map(|entry| entry.shape).collect();
        let numbered = numbered(pages(&counts));
        let mut this = Dictionary {
            shapes: shapes.into_iter().collect(),
            entries: Vec::new(),
            pages: Vec::new(),
            names: HashMap::new(),
        };
        for (number, page) in numbered.into_iter().enumerate() {
            this.pages.push(this.entries.len() as u16);
            for (index, entry) in page.iter().enumerate() {
                this.names.insert(entry.clone(), [number as u8, index as u8]);
            }
            this.entries.extend(page);
        }
        this
    }

    /// The number of a shape; none beyond 256, with which there is no dictionary.
    fn shape(&self, shape: u32) -> Option<u8> {
        u8::try_from(self.shapes.binary_search(&shape).ok()?).ok()
    }
}

/// A page's entries, and how often they are used.
type Page = (usize, Vec<Entry>);

/// Frequent instructions in pages of one opcode, or of several opcodes that are rarer.
fn pages(counts: &BTreeMap<Entry, usize>) -> Vec<Page> {
    let mut opcodes: BTreeMap<&[u8], Vec<(&Entry, usize)>> = BTreeMap::new();
    for (entry, count) in counts.iter().filter(|(_, count)| **count >= FREQUENT) {
        opcodes.entry(entry.opcode()).or_default().push((entry, *count));
    }
    let sum = |entries: &[(&Entry, usize)]| entries.iter().map(|(_, count)| count).sum::<usize>();
    let (mut pages, mut rarer) = (Vec::new(), Vec::new());
    let mut fill = |entries: &mut Vec<(&Entry, usize)>| {
        for page in entries.chunks(PAGES) {
            pages.push((sum(page), page.iter().map(|(entry, _)| (*entry).clone()).collect::<Vec<_>>()));
        }
    };
    for mut entries in opcodes.into_values() {
        entries.sort_by_key(|(entry, count)| (std::cmp::Reverse(count.ilog2()), entry.shape, &entry.bytes));
        if sum(&entries) > PAGE_FREQUENT { fill(&mut entries) } else { rarer.append(&mut entries) }
    }
    fill(&mut rarer);
    pages.sort_by(|one, other| one.1[0].opcode().cmp(other.1[0].opcode()));
    pages
}

/// Gives pages their numbers: the highest three bits, which is what the packer looks at, divide all instructions into eight parts.
/// What finds no page is rare.
fn numbered(pages: Vec<Page>) -> Vec<Vec<Entry>> {
    const PARTS: usize = 8;
    let all: usize = pages.iter().map(|(count, _)| count).sum();
    let mut numbered = vec![Vec::new(); PAGES];
    let mut before = 0;
    for (count, page) in pages {
        let part = ((before + count / 2) * PARTS / all.max(1)).min(PARTS - 1);
        before += count;
        let first = part * (PAGES / PARTS);
        let free = (first..PAGES)
            .chain(0..first)
            .find(|number| *number != usize::from(RARE) && numbered[*number].is_empty());
        if let Some(free) = free {
            numbered[free] = page;
        }
    }
    numbered
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u32 = 0x9_1000;
    const FUNCTION: u32 = 97;
    const LONG: [u8; 15] = *b"\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90";

    /// Functions with the operands that there are, and between them bytes that are no instruction.
    fn code(functions: u32) -> Vec<u8> {
        let mut all: Vec<u8> = Vec::new();
        for n in 0..functions {
            let start = all.len() as u32;
            // push rbp; sub rsp, 24; mov [rsp + 8], edi; mov eax, number; lea rcx, [rip + …]; movabs rdx, number
            all.extend([0x55, 0x48, 0x83, 0xec, 24, 0x89, 0x7c, 0x24, (n % 3 * 8) as u8, 0xb8]);
            all.extend((n * 7919).to_le_bytes());
            all.extend([0x48, 0x8d, 0x0d]);
            all.extend(0x2000_u32.wrapping_sub(start).to_le_bytes());
            all.extend([0x48, 0xba]);
            all.extend((u64::from(n) << 40).to_le_bytes());
            // cmp byte ptr [rbx + 0x1234], 5; je near back; jne short; call; jmp to a function
            all.extend([0x80, 0xbb, 0x34, 0x12, 0, 0, 5, 0x0f, 0x84]);
            all.extend(start.wrapping_sub(all.len() as u32 + 4).to_le_bytes());
            all.extend([0x75, 5, 0xe8]);
            all.extend((n / 3 * FUNCTION).wrapping_sub(all.len() as u32 + 4).to_le_bytes());
            all.extend([0x6a, 7, 0x66, 0xb8, 1, 2, 0xe9]);
            all.extend((n / 2 * FUNCTION).wrapping_sub(all.len() as u32 + 4).to_le_bytes());
            // A jump into the midst of the next instruction, what is none, and two that are long.
            all.extend([0xeb, 1, 0x66, 0x90, 0x06]);
            all.extend(LONG.repeat(2));
            assert_eq!(all.len(), (start + FUNCTION) as usize);
        }
        all
    }

    #[test]
    fn code_is_put_together_again() {
        let code = code(3000);
        let cut = cut(&code, BASE, &[]).unwrap();
        assert!(cut.chunks.len() == 1 && cut.bytes() < code.len());
        let frequent = cut.chunks[0][NAMES].chunks(2).filter(|name| name[0] != RARE).count();
        assert!(frequent > 3000 * 15, "{frequent}");
        let mut made = vec![0; code.len() - cut.bytes()];
        let at = made.len();
        made.extend_from_slice(&cut.head);
        made.extend(cut.chunks.concat().concat());
        assert_eq!(form::restore(&mut made, BASE, at, &mut vec![0; FREE_BYTES], |_, _| None), Some(()));
        assert!(made == code);
    }

    #[test]
    fn tables_are_found() {
        // The table of a byte that none follows, as zlib's and everybody's.
        let mut table = vec![0; 1024];
        form::table(0, &mut table).unwrap();
        assert_eq!(table[4..8], 0x7707_3096_u32.to_le_bytes());
        let mut constants = vec![1; 100];
        constants.extend_from_slice(&table);
        form::table(15, &mut table).unwrap();
        constants.extend_from_slice(&table);
        constants.extend_from_slice(&table[..1020]);
        let table = |address, which| Table { address, which, stored: vec![0; 1024] };
        assert_eq!(tables(&constants, 0x2000), [table(0x2064, 0), table(0x2464, 15)]);
    }

    #[test]
    fn changes_of_clocks_are_stored_as_differences() {
        let head = |changes: u32| {
            let counts = [1, 1, 0, changes, 1, 4].map(u32::to_be_bytes).concat();
            [&b"TZif2"[..], &[0; 15], &counts].concat()
        };
        let times = [-5_i64, 100, 90].map(i64::to_be_bytes).concat();
        let mut constants = [b"abc".to_vec(), head(2), vec![7; 2 * 5 + 6 + 4 + 2], head(3)].concat();
        let place = constants.len();
        constants.extend([times, vec![1; 30]].concat());
        let stored = [-5_i64, 105, -10].map(i64::to_be_bytes).concat();
        let table = Table { address: 0x2000 + place as u32, which: form::SUMS + 3, stored };
        assert_eq!(tables(&constants, 0x2000), [table]);
        assert_eq!(tables(&constants[..place + 20], 0x2000), []);
    }

    #[test]
    fn powers_of_five_are_those_that_numbers_are_read_by() {
        let mut table = vec![0; form::table_bytes(form::POWERS)];
        form::table(form::POWERS, &mut table).unwrap();
        let power = |power: i32| {
            let place = (power + 342) as usize * 16;
            let word = |at: usize| u64::from_le_bytes(table[at..at + 8].try_into().unwrap());
            (word(place), word(place + 8))
        };
        // As in core/src/num/dec2flt/table.rs.
        assert_eq!(power(-342), (0xeef4_53d6_923b_d65a, 0x113f_aa29_06a1_3b3f));
        assert_eq!(power(-1), (0xcccc_cccc_cccc_cccc, 0xcccc_cccc_cccc_cccd));
        assert_eq!(power(0), (1 << 63, 0));
        assert_eq!(power(308), (0x8e67_9c2f_5e44_ff8f, 0x570f_09ea_a7ea_7648));
    }

    #[test]
    fn long_code_is_several_chunks() {
        let code = code(12_000);
        assert!(cut(&code, BASE, &[]).unwrap().chunks.len() > 2);
    }

    #[test]
    fn what_has_no_frequent_instructions_stays() {
        assert!(cut(&code(3), BASE, &[]).is_none());
        assert!(cut(&[], BASE, &[]).is_none());
    }
}
