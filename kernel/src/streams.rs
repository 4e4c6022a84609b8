//! A machine's code, cut into streams by `nymote build` (toolstack/src/build/streams.rs) and put together again here, where it lies,
//! before the machine may no longer write to it. What is of one kind, side by side, packs better (docs/decisions/0304).
//!
//! An instruction without its operands is an [entry](Entries): a shape, which says how long it is and where its operands are, and
//! the bytes between them. Frequent ones stand in a dictionary, where two bytes name them; of the others shape and bytes have streams
//! of their own. Code is put together in chunks, each from streams that lie behind each other. Before the first chunk's streams lies
//! the head, in words of four bytes, little-endian: [`MAGIC`], the head's length in bytes, how many chunks, entries, bytes of
//! entries, functions, shapes, tables; then for each chunk the count of instructions and the length of every stream; then
//!
//! - for each of the tables that were left out of the constants its address and what it is ([`table`]),
//! - the shapes, a word each: length in the lowest four bits, count of operands in the next; then a byte for each: place, [`Kind`]
//!   in the high bits,
//! - for each of 256 pages of the dictionary the number of its first entry, in two bytes,
//! - each entry's shape, in one byte,
//! - the entries' bytes,
//! - the functions: each one's distance from the one before (from the code's beginning), in LEB128.
//!
//! The streams are numbered as the constants below. The build reads what it wrote by this very file, and so do its tests: nothing
//! here calls anything, for what would be called is not there yet, and nothing is out of bounds, whatever the bytes.

/// What a head begins with.
pub const MAGIC: u32 = 0x3153_594e;
/// Words of the head before its table of chunks.
pub const HEAD_WORDS: usize = 8;
/// The table of powers of five; numbers below are tables of CRC-32.
pub const POWERS: usize = 256;
/// Numbers from here on are as many words of eight bytes, big-endian, as they are more: each was stored as what it is more than the one before.
pub const SUMS: usize = 1 << 16;
/// The lowest and the highest power in it, by which std reads numbers with a point (core::num::dec2flt).
const LOWEST: usize = 342;
const HIGHEST: usize = 308;
/// Pages of the dictionary: an instruction's first byte is a page, its second one the entry there.
pub const PAGES: usize = 256;
/// The page of instructions that are not in the dictionary.
pub const RARE: u8 = 255;

/// Streams of a chunk.
pub const STREAMS: usize = 4 + KINDS;
/// Two bytes for each instruction.
pub const NAMES: usize = 0;
/// The shapes of those that are not in the dictionary, and their bytes.
pub const RARE_SHAPES: usize = 1;
/// See [`RARE_SHAPES`].
pub const RARE_BYTES: usize = 2;
/// Targets of jumps that are further than [`NEAR`] says: addresses, in four bytes, big-endian.
pub const FAR: usize = 3;
/// The first of the streams of operands; the one of a kind is as many further on.
pub const OPERANDS: usize = 4;

/// Kinds of operands.
pub const KINDS: usize = 15;
/// A called function's number, in two bytes, big-endian, for a distance of four.
pub const CALL: usize = 0;
/// A jump's target: how many instructions further on, in two bytes, big-endian, for a distance of four; [`BEYOND`] for what is [`FAR`].
pub const NEAR: usize = 1;
/// The same in one byte, for a distance of one.
pub const SHORT: usize = 2;
/// An address, in four bytes, big-endian, for a distance of four.
pub const PLACE: usize = 3;
/// Four bytes that stand the other way round in the stream: numbers, places in structures and on the stack, what registers are set to.
pub const NUMBER: usize = 4;
/// See [`NUMBER`].
pub const OFFSET: usize = 5;
/// See [`NUMBER`].
pub const LOADED: usize = 6;
/// As they are, of this length each: operands of one kind that only the build tells apart.
const PLAIN: [usize; KINDS - FIRST_PLAIN] = [1, 1, 1, 1, 1, 1, 2, 8];
/// The first kind that is stored as it is.
pub const FIRST_PLAIN: usize = 7;
/// Stands for a jump that is not to an instruction near by.
pub const BEYOND: i16 = i16::MIN;

/// Bytes of an operand in the code.
#[inline(always)]
pub fn width(kind: usize) -> usize {
    match kind {
        SHORT => 1,
        CALL | NEAR | PLACE | NUMBER | OFFSET | LOADED => 4,
        _ => PLAIN.get(kind.wrapping_sub(FIRST_PLAIN)).copied().unwrap_or(0),
    }
}

/// Where an instruction's operands are.
#[derive(Clone, Copy)]
struct Shape(u32);

impl Shape {
    #[inline(always)]
    fn length(self) -> usize {
        (self.0 & 15) as usize
    }

    #[inline(always)]
    fn operands(self) -> u32 {
        (self.0 >> 4) & 3
    }

    /// The place within the instruction, and the kind.
    #[inline(always)]
    fn operand(self, index: u32) -> (usize, usize) {
        let byte = self.0 >> (8 + 8 * index);
        ((byte & 15) as usize, ((byte >> 4) & 15) as usize)
    }

    /// Bytes of the instruction that are no operand's.
    #[inline(always)]
    fn bytes(self) -> Option<usize> {
        let mut bytes = self.length();
        let mut index = 0;
        while index < self.operands() {
            bytes = bytes.checked_sub(width(self.operand(index).1))?;
            index += 1;
        }
        Some(bytes)
    }
}

/// Bytes that are read from front to back.
#[derive(Clone, Copy)]
struct Column<'a>(&'a [u8]);

impl<'a> Column<'a> {
    #[inline(always)]
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    #[inline(always)]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    #[inline(always)]
    fn word(&mut self) -> Option<usize> {
        Some(u32::from_le_bytes(self.array()?) as usize)
    }

    /// An unsigned LEB128 number.
    #[inline(always)]
    fn number(&mut self) -> Option<u32> {
        let (mut value, mut shift) = (0, 0);
        loop {
            let [byte] = self.array()?;
            value |= u32::from(byte & 0x7f).checked_shl(shift)?;
            shift += 7;
            if byte < 0x80 {
                return Some(value);
            }
        }
    }
}

/// Copies as much as both hold. A loop by hand, as what std offers may become a function elsewhere.
#[inline(always)]
fn copy(to: &mut [u8], from: &[u8]) {
    let mut at = 0;
    while let (Some(to), Some(from)) = (to.get_mut(at), from.get(at)) {
        *to = *from;
        at += 1;
    }
}

#[inline(always)]
fn word_at(bytes: &[u8], index: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(4 * index..)?.first_chunk()?))
}

#[inline(always)]
fn set_word(bytes: &mut [u8], index: usize, word: u32) -> Option<()> {
    *bytes.get_mut(4 * index..)?.first_chunk_mut()? = word.to_le_bytes();
    Some(())
}

/// Room of so many bytes, from the front of what is free.
#[inline(always)]
fn room<'a>(free: &mut &'a mut [u8], bytes: usize) -> Option<&'a mut [u8]> {
    let (taken, rest) = core::mem::take(free).split_at_mut_checked(bytes)?;
    *free = rest;
    Some(taken)
}

/// The dictionary.
#[derive(Clone, Copy)]
struct Entries<'a> {
    shapes: &'a [u8],
    /// Numbers of each page's first entry.
    pages: &'a [u8],
    shape_of: &'a [u8],
    /// Where each entry's bytes begin.
    starts: &'a [u8],
    bytes: &'a [u8],
    /// Addresses.
    functions: &'a [u8],
}

impl<'a> Entries<'a> {
    #[inline(always)]
    fn number(self, [page, entry]: [u8; 2]) -> Option<usize> {
        let first = *self.pages.get(2 * usize::from(page)..)?.first_chunk()?;
        Some(usize::from(u16::from_le_bytes(first)) + usize::from(entry))
    }

    #[inline(always)]
    fn shape(self, shape: u8) -> Option<Shape> {
        word_at(self.shapes, shape.into()).map(Shape)
    }

    /// An instruction's shape, and what its bytes are the first of.
    #[inline(always)]
    fn next(self, columns: &mut [Column<'a>; STREAMS]) -> Option<(Shape, &'a [u8])> {
        let name: [u8; 2] = columns[NAMES].array()?;
        if name[0] == RARE {
            let [shape] = columns[RARE_SHAPES].array()?;
            let (shape, bytes) = (self.shape(shape)?, columns[RARE_BYTES].0);
            columns[RARE_BYTES].take(shape.bytes()?)?;
            return Some((shape, bytes));
        }
        let number = self.number(name)?;
        let shape = self.shape(*self.shape_of.get(number)?)?;
        Some((shape, self.bytes.get(word_at(self.starts, number)? as usize..)?))
    }

    /// How long each instruction is.
    #[inline(always)]
    fn measure(self, columns: &[Column<'a>; STREAMS], lengths: &mut [u8]) -> Option<()> {
        let (mut names, mut rare) = (columns[NAMES], columns[RARE_SHAPES]);
        for length in lengths {
            let name: [u8; 2] = names.array()?;
            let shape = if name[0] == RARE {
                rare.array::<1>()?[0]
            } else {
                *self.shape_of.get(self.number(name)?)?
            };
            *length = self.shape(shape)?.length() as u8;
        }
        Some(())
    }
}

/// Bytes of a table.
#[inline(always)]
pub fn table_bytes(which: usize) -> usize {
    match which {
        SUMS.. => 8 * (which - SUMS),
        POWERS => 16 * (LOWEST + 1 + HIGHEST),
        _ => 1024,
    }
}

/// Fills a table that nothing packs, or packs better otherwise, and a loop makes.
#[inline(always)]
pub fn table(which: usize, table: &mut [u8]) -> Option<()> {
    match which {
        SUMS.. => sum_up(table),
        POWERS => powers_of_five(table)?,
        _ => checksum_table(which, table)?,
    }
    Some(())
}

#[inline(always)]
fn sum_up(words: &mut [u8]) {
    let (mut sum, mut at) = (0_u64, 0);
    while let Some(word) = words.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        sum = sum.wrapping_add(u64::from_be_bytes(*word));
        *word = sum.to_be_bytes();
        at += 8;
    }
}

/// By which CRC-32 takes a byte that so many others follow.
#[inline(always)]
fn checksum_table(following: usize, table: &mut [u8]) -> Option<()> {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let mut byte = 0;
    while byte < 256 {
        let (mut sum, mut bit) = (byte as u32, 0);
        while bit <= 8 * (following & 0xff) + 7 {
            sum = (sum >> 1) ^ ((sum & 1).wrapping_neg() & POLYNOMIAL);
            bit += 1;
        }
        set_word(table, byte, sum)?;
        byte += 1;
    }
    Some(())
}

/// Digits of 32 bits: the four lowest are there so that there are always five, the others hold 5^308 and 2^1023 / 5^342 in 128 bits.
type Number = [u32; 36];

/// The highest 128 bits of each power of five, the highest of them set; the negative ones are rounded up where they are whole.
#[inline(always)]
fn powers_of_five(table: &mut [u8]) -> Option<()> {
    const ROUNDED: usize = 27;
    let mut number: Number = [0; 36];
    number[4] = 1;
    let mut power = 0;
    while power <= HIGHEST {
        set_pair(table, LOWEST + power, highest(&number)?)?;
        let mut carry = 0;
        for digit in &mut number {
            carry += u64::from(*digit) * 5;
            *digit = carry as u32;
            carry >>= 32;
        }
        power += 1;
    }
    number = [0; 36];
    number[35] = 1 << 31;
    let mut power = 1;
    while power <= LOWEST {
        let mut rest = 0;
        for digit in number.iter_mut().rev() {
            rest = rest << 32 | u64::from(*digit);
            *digit = (rest / 5) as u32;
            rest %= 5;
        }
        let [high, low] = highest(&number)?;
        let (low, carry) = low.overflowing_add((power <= ROUNDED).into());
        set_pair(table, LOWEST - power, [high.wrapping_add(carry.into()), low])?;
        power += 1;
    }
    Some(())
}

#[inline(always)]
fn set_pair(table: &mut [u8], index: usize, words: [u64; 2]) -> Option<()> {
    *table.get_mut(16 * index..)?.first_chunk_mut()? = words[0].to_le_bytes();
    *table.get_mut(16 * index + 8..)?.first_chunk_mut()? = words[1].to_le_bytes();
    Some(())
}

#[inline(always)]
fn digit(number: &Number, place: usize) -> Option<u64> {
    number.get(place).map(|digit| u64::from(*digit))
}

/// The highest 128 bits from the highest that is set, by halves: shifting 128 bits is a function elsewhere.
#[inline(always)]
fn highest(number: &Number) -> Option<[u64; 2]> {
    let mut top = number.len() - 1;
    while top > 4 && *number.get(top)? == 0 {
        top -= 1;
    }
    let bottom = top.checked_sub(4)?;
    let high = digit(number, top)? << 32 | digit(number, bottom + 3)?;
    let low = digit(number, bottom + 2)? << 32 | digit(number, bottom + 1)?;
    let zeros = high.leading_zeros() & 31;
    Some([high << zeros | low >> 1 >> (63 - zeros), low << zeros | digit(number, bottom)? >> (32 - zeros)])
}

/// Makes code, which begins at the address `base`, of the streams whose head is at `at` in it and which end where it ends. `free` is
/// memory for as long as that takes; `constants` gives so many bytes at an address, if there are constants. `None` when these are no
/// such streams or `free` is too short; what was made by then is of no use.
#[inline(always)]
pub fn restore<'c>(
    code: &mut [u8],
    base: u32,
    at: usize,
    mut free: &mut [u8],
    mut constants: impl FnMut(usize, usize) -> Option<&'c mut [u8]>,
) -> Option<()> {
    let head_bytes = word_at(code.get(at..)?, 1)? as usize;
    let kept = room(&mut free, head_bytes)?;
    copy(kept, code.get(at..)?.get(..head_bytes)?);
    let mut head = Column(kept);
    if head.word()? != MAGIC as usize {
        return None;
    }
    let [_, chunks, entries, entry_bytes] = [head.word()?, head.word()?, head.word()?, head.word()?];
    let [functions, shapes, tables] = [head.word()?, head.word()?, head.word()?];
    let mut table = Column(head.take(chunks.checked_mul(4 * (1 + STREAMS))?)?);
    let mut index = 0;
    while index < tables {
        let (address, which) = (head.word()?, head.word()?);
        self::table(which, constants(address, table_bytes(which))?)?;
        index += 1;
    }
    let shapes = head.take(shapes.checked_mul(4)?)?;
    let pages = head.take(2 * PAGES)?;
    let shape_of = head.take(entries)?;
    let bytes = head.take(entry_bytes)?;
    let starts = room(&mut free, entries.checked_mul(4)?)?;
    let addresses = room(&mut free, functions.checked_mul(4)?)?;
    let mut known = Entries { shapes, pages, shape_of, starts: &[], bytes, functions: &[] };
    let (mut index, mut start) = (0, 0);
    while index < entries {
        set_word(starts, index, start as u32)?;
        start += known.shape(*shape_of.get(index)?)?.bytes()?;
        index += 1;
    }
    let (mut index, mut address) = (0, base);
    while index < functions {
        address = address.wrapping_add(head.number()?);
        set_word(addresses, index, address)?;
        index += 1;
    }
    (known.starts, known.functions) = (starts, addresses);

    let (mut from, mut to) = (at.checked_add(head_bytes)?, 0);
    let mut chunk = 0;
    while chunk < chunks {
        let instructions = table.word()?;
        let lengths = Column(table.take(4 * STREAMS)?);
        let (mut rest, mut all) = (lengths, 0_usize);
        while let Some(length) = rest.word() {
            all = all.checked_add(length)?;
        }
        let (mut free, end) = (&mut *free, from.checked_add(all)?);
        let moved = room(&mut free, all)?;
        copy(moved, code.get(from..end)?);
        let mut streams = Column(moved);
        let mut columns = [Column(&[]); STREAMS];
        let mut rest = lengths;
        for column in &mut columns {
            *column = Column(streams.take(rest.word()?)?);
        }
        from = end;
        let lengths = room(&mut free, instructions)?;
        let made = assemble(code.get_mut(to..from)?, base.wrapping_add(to as u32), known, columns, lengths)?;
        to = to.checked_add(made)?;
        chunk += 1;
    }
    (to == code.len() && from == to).then_some(())
}

/// Puts one chunk together at `out`, whose address is `base`; says how long it is.
#[inline(always)]
fn assemble<'a>(
    out: &mut [u8],
    base: u32,
    known: Entries<'a>,
    mut columns: [Column<'a>; STREAMS],
    lengths: &mut [u8],
) -> Option<usize> {
    known.measure(&columns, lengths)?;
    let (mut index, mut place) = (0, 0_usize);
    while index < lengths.len() {
        let (shape, bytes) = known.next(&mut columns)?;
        let end = place.checked_add(shape.length())?;
        let next = base.wrapping_add(end as u32);
        let (mut at, mut used, mut operand) = (place, 0, 0);
        while operand < shape.operands() {
            let (offset, kind) = shape.operand(operand);
            let to = place + offset;
            let length = to.checked_sub(at)?;
            put(out, at, bytes.get(used..)?, length)?;
            used += length;
            let column = columns.get_mut(OPERANDS + kind)?;
            let word = match kind {
                CALL => {
                    let number = u16::from_be_bytes(column.array()?);
                    word_at(known.functions, number.into())?.wrapping_sub(next)
                }
                NEAR => match i16::from_be_bytes(column.array()?) {
                    BEYOND => u32::from_be_bytes(columns.get_mut(FAR)?.array()?).wrapping_sub(next),
                    instructions => distance(lengths, index, instructions)?.cast_unsigned(),
                },
                SHORT => {
                    let [instructions] = column.array()?;
                    let distance = distance(lengths, index, instructions.cast_signed().into())?;
                    if i32::from(distance as i8) != distance {
                        return None;
                    }
                    distance.cast_unsigned()
                }
                PLACE => u32::from_be_bytes(column.array()?).wrapping_sub(next),
                NUMBER | OFFSET | LOADED => u32::from_be_bytes(column.array()?),
                _ => 0,
            };
            let room = out.get_mut(to..)?;
            at = to + width(kind);
            match width(kind) {
                4 => *room.first_chunk_mut()? = word.to_le_bytes(),
                1 if kind == SHORT => *room.first_mut()? = word as u8,
                1 => [*room.first_mut()?] = column_of(&mut columns, kind)?.array()?,
                length => copy(room.get_mut(..length)?, column_of(&mut columns, kind)?.take(length)?),
            }
            operand += 1;
        }
        put(out, at, bytes.get(used..)?, end.checked_sub(at)?)?;
        place = end;
        index += 1;
    }
    columns.iter().all(|column| column.0.is_empty()).then_some(place)
}

#[inline(always)]
fn column_of<'b, 'a>(columns: &'b mut [Column<'a>; STREAMS], kind: usize) -> Option<&'b mut Column<'a>> {
    columns.get_mut(OPERANDS + kind)
}

/// Copies a few bytes to a place, by the sixteen where there are as many: what comes behind them is not written yet.
#[inline(always)]
fn put(out: &mut [u8], at: usize, from: &[u8], length: usize) -> Option<()> {
    let to = out.get_mut(at..)?;
    match (to.first_chunk_mut::<16>(), from.first_chunk::<16>()) {
        (Some(to), Some(from)) if length <= 16 => *to = *from,
        _ => copy(out.get_mut(at..)?.get_mut(..length)?, from.get(..length)?),
    }
    Some(())
}

/// How far the end of the instruction `index` is from the beginning of the one so many `instructions` further on.
#[inline(always)]
fn distance(lengths: &[u8], index: usize, instructions: i16) -> Option<i32> {
    let target = index.checked_add_signed(instructions.into())?;
    let (from, to) = if target <= index { (target, index + 1) } else { (index + 1, target) };
    let mut bytes = 0;
    for length in lengths.get(from..to)? {
        bytes += i32::from(*length);
    }
    Some(if target <= index { -bytes } else { bytes })
}
