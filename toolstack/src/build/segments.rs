//! A program with its code in streams, as an ELF file that Xen's domain builder loads: each chunk of a stream is a segment of its
//! own, so that a stream is one in the file, where it is packed, and the chunks lie one behind the other in memory, where the
//! kernel takes one after another (`kernel/src/platform/xen/restore.rs`).
//!
//! The program itself stays as it was, headers and all: it boots without this too, for its note says that nothing was cut.

use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, FlowControl, OpKind};

use super::elf::{number, program_headers, word};
use super::streams::{self, form};
use super::xz::{Part, Properties};

/// A program whose code is in streams.
#[derive(Debug)]
pub struct Segments {
    /// The ELF file.
    pub file: Vec<u8>,
    /// What packs best alone.
    pub parts: Vec<Part>,
}

/// Bytes of an ELF file's header, and of a program header.
const HEADER: usize = 64;
const SEGMENT: usize = 56;
const LOADED: u32 = 1;
const NOTE: u32 = 4;
const EXECUTED: u32 = 1;
const READ: u32 = 4;
/// The kernel's note, and its three words: where code begins that may be cut, where the streams' head is (0: nothing was cut), where
/// code ends.
const OWNER: &[u8] = b"nymote\0\0";
const CUT: u32 = 1;
const NOTE_HEAD: usize = 12;

/// A program header.
#[derive(Debug, Clone, Copy)]
struct Header {
    kind: u32,
    flags: u32,
    offset: usize,
    address: u64,
    file_bytes: usize,
    memory_bytes: u64,
}

impl Header {
    fn read(program: &[u8], at: usize) -> Option<Header> {
        let place = |field: usize| usize::try_from(word(program, at + field)?).ok();
        Some(Header {
            kind: number(program, at)?,
            flags: number(program, at + 4)?,
            offset: place(8)?,
            address: word(program, at + 16)?,
            file_bytes: place(32)?,
            memory_bytes: word(program, at + 40)?,
        })
    }

    fn file(&self) -> Range<usize> {
        self.offset..self.offset + self.file_bytes
    }

    fn write(&self, to: &mut Vec<u8>) {
        to.extend(self.kind.to_le_bytes());
        to.extend(self.flags.to_le_bytes());
        let words =
            [self.offset as u64, self.address, self.address, self.file_bytes as u64, self.memory_bytes, 1];
        to.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }
}

/// Cuts a program's code; `None` when it has no note that says from where on, or the kernel could not put it together.
pub fn cut(program: &[u8]) -> Option<Segments> {
    let (table, each, count) = program_headers(program)?;
    let headers: Vec<_> =
        (0..count).map(|index| Header::read(program, table + index * each)).collect::<Option<_>>()?;
    let loaded = || headers.iter().filter(|header| header.kind == LOADED);
    let code = loaded().find(|header| header.flags & EXECUTED != 0)?;
    let note_header = headers.iter().find(|header| header.kind == NOTE)?;
    let note = note_header.offset + note(program.get(note_header.file())?)?;
    let first = usize::try_from(word(program, note)?.checked_sub(code.address)?).ok()?;
    let (kept, cut) = program.get(code.file())?.split_at_checked(first)?;
    let constant = |address: u64| {
        let header = loaded().rfind(|header| header.address <= address)?;
        word(program, header.offset + usize::try_from(address - header.address).ok()?)
    };
    if !stands_alone(kept, code.address, constant) {
        return None;
    }
    let base = u32::try_from(word(program, note)?).ok()?;
    let before = || loaded().filter(|header| header.address < code.address);
    let tables: Vec<_> =
        before().flat_map(|header| streams::tables(&program[header.file()], header.address)).collect();
    let streams = streams::cut(cut, base, &tables)?;

    let mut program = program.to_vec();
    for table in tables {
        let header = before().rfind(|header| header.address <= table.address.into())?;
        let place = header.offset + usize::try_from(u64::from(table.address) - header.address).ok()?;
        program.get_mut(place..place + table.stored.len())?.copy_from_slice(&table.stored);
    }
    let head = u64::from(base) + (cut.len() - streams.bytes()) as u64;
    program[note + 8..note + 16].copy_from_slice(&head.to_le_bytes());
    program[note + 16..note + 24].copy_from_slice(&(u64::from(base) + cut.len() as u64).to_le_bytes());
    let mut made = Made { parts: Vec::new(), headers: Vec::new(), bytes: Vec::new() };
    for header in before() {
        let at = made.add(*header, &program[header.file()]);
        if header.file().contains(&note_header.offset) {
            made.headers.push(Header { offset: at + note_header.offset - header.offset, ..*note_header });
        }
    }
    made.add(Header { memory_bytes: first as u64, ..*code }, &program[code.file()][..first]);
    made.part(CONSTANTS);
    made.add_streams(&streams, head, code.flags);
    for header in loaded().filter(|header| header.address > code.address) {
        made.add(*header, &program[header.file()]);
    }
    made.part(TABLES);
    Some(made.finish(&program[..HEADER]))
}

/// The place of the words of the kernel's note among notes.
fn note(notes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let lengths =
            [number(notes, at)?, number(notes, at + 4)?].map(|length| (length as usize).next_multiple_of(4));
        let words = at + NOTE_HEAD + lengths[0];
        if number(notes, at + 8)? == CUT && notes.get(at + NOTE_HEAD..words)? == OWNER {
            notes.get(words..words + 24)?;
            return Some(words);
        }
        at = words + lengths[1];
    }
}

/// Whether code that is not cut calls nothing else: only its beginning may, where it goes on when all code is there. Constants have
/// what is called by its address.
fn stands_alone(code: &[u8], address: u64, constant: impl Fn(u64) -> Option<u64>) -> bool {
    const BEGINNING: u64 = 64;
    let within = address..address + code.len() as u64;
    Decoder::with_ip(64, code, address, DecoderOptions::NONE).iter().all(|one| {
        let target = match (one.flow_control(), one.op0_kind()) {
            (FlowControl::IndirectCall, OpKind::Memory) if one.is_ip_rel_memory_operand() => {
                constant(one.ip_rel_memory_address())
            }
            (FlowControl::IndirectCall, _) => None,
            (_, OpKind::NearBranch64 | OpKind::NearBranch32 | OpKind::NearBranch16) => {
                Some(one.near_branch_target())
            }
            _ => Some(address),
        };
        target.is_some_and(|target| within.contains(&target)) || one.ip() < address + BEGINNING
    })
}

/// What a program's bytes of different kinds pack best with: `lc`, `lp`, `pb`.
const ORDINARY: Properties = Properties(4, 0, 0);
const CONSTANTS: Properties = Properties(3, 0, 3);
const TABLES: Properties = Properties(1, 0, 0);
const BYTES: Properties = Properties(0, 0, 0);
const PAIRS: Properties = Properties(0, 1, 1);
const WORDS: Properties = Properties(0, 2, 2);

fn properties(stream: usize) -> Properties {
    use form::{FAR, LOADED, NAMES, NEAR, NUMBER, OFFSET, OPERANDS, PLACE, RARE_BYTES};
    const NEAR_STREAM: usize = OPERANDS + NEAR;
    const CALL_STREAM: usize = OPERANDS + form::CALL;
    const SHORT_STREAM: usize = OPERANDS + form::SHORT;
    const PLACE_STREAM: usize = OPERANDS + PLACE;
    const NUMBER_STREAM: usize = OPERANDS + NUMBER;
    const OFFSET_STREAM: usize = OPERANDS + OFFSET;
    const LOADED_STREAM: usize = OPERANDS + LOADED;
    match stream {
        NAMES => Properties(3, 1, 1),
        RARE_BYTES | SHORT_STREAM => ORDINARY,
        CALL_STREAM | NEAR_STREAM => PAIRS,
        FAR | PLACE_STREAM | NUMBER_STREAM | OFFSET_STREAM | LOADED_STREAM => WORDS,
        _ => BYTES,
    }
}

/// A file that is being made: its headers, which come first, are not counted yet.
struct Made {
    parts: Vec<Part>,
    headers: Vec<Header>,
    bytes: Vec<u8>,
}

impl Made {
    /// Adds a segment; says where it is.
    fn add(&mut self, header: Header, bytes: &[u8]) -> usize {
        let offset = self.bytes.len();
        self.headers.push(Header { offset, file_bytes: bytes.len(), ..header });
        self.bytes.extend_from_slice(bytes);
        offset
    }

    /// Ends a part here.
    fn part(&mut self, properties: Properties) {
        let start = self.parts.last().map_or(0, |part| part.bytes.end);
        if self.bytes.len() > start {
            self.parts.push(Part { bytes: start..self.bytes.len(), properties });
        }
    }

    fn add_streams(&mut self, streams: &streams::Cut, head: u64, flags: u32) {
        let segment = |address: u64, bytes: &[u8]| Header {
            kind: LOADED,
            flags: flags | READ,
            offset: 0,
            address,
            file_bytes: 0,
            memory_bytes: bytes.len() as u64,
        };
        self.add(segment(head, &streams.head), &streams.head);
        self.part(TABLES);
        for number in 0..form::STREAMS {
            let mut address = head + streams.head.len() as u64;
            for chunk in &streams.chunks {
                let before: usize = chunk[..number].iter().map(Vec::len).sum();
                let stream = &chunk[number];
                if !stream.is_empty() {
                    self.add(segment(address + before as u64, stream), stream);
                }
                address += chunk.iter().map(Vec::len).sum::<usize>() as u64;
            }
            self.part(properties(number));
        }
    }

    fn finish(mut self, header: &[u8]) -> Segments {
        let before = HEADER + SEGMENT * self.headers.len();
        let mut file = header.to_vec();
        // Where the headers are, how many; no sections.
        file[0x20..0x28].copy_from_slice(&(HEADER as u64).to_le_bytes());
        file[0x28..0x30].fill(0);
        file[0x38..0x3a].copy_from_slice(&(self.headers.len() as u16).to_le_bytes());
        file[0x3c..0x40].fill(0);
        for header in &mut self.headers {
            header.offset += before;
            header.write(&mut file);
        }
        file.append(&mut self.bytes);
        for (index, part) in self.parts.iter_mut().enumerate() {
            let start = if index == 0 { 0 } else { part.bytes.start + before };
            part.bytes = start..part.bytes.end + before;
        }
        Segments { file, parts: self.parts }
    }
}
