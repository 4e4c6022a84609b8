//! The unwind tables in the form that `nymote build` gives them (toolstack/src/build/tables.rs), read: one function's entry at a
//! time, written as the unwinder knows it (`.eh_frame_hdr`, `.eh_frame` and a table of clean-ups).
//!
//! Numbers of four bytes, little-endian: the length of everything, how many functions, how many common parts, where those are,
//! and where each column begins; then for each [`GROUP`] functions the first one's address and its place in every column; then
//! the common parts, each behind its length of one byte; then the columns. A place is counted from the beginning. Columns are rows
//! of LEB128 numbers, the fourth one's each followed by as many bytes. For each function, sorted by address:
//!
//! 1. how far its start is from the end of the one before (a group's first: from the group's address),
//! 2. its length,
//! 3. its common part's number, plus the count of parts times one more than its call sites, or times nothing without clean-ups,
//! 4. the rules of its frame;
//!
//! and for each of its call sites, all distances from the function's start:
//!
//! 5. how far it is from the end of the one before,
//! 6. its length,
//! 7. its clean-up: 0 for none, or one more than how far it is from the one before, twice, with the sign in the lowest bit,
//! 8. whether it ends there: 0 for a clean-up that goes on, 1 for what catches.

/// Functions in a group.
const GROUP: usize = 128;
const COLUMNS: usize = 8;
/// Bytes of the head, and of what stands for a group.
const HEAD_BYTES: usize = 4 * (4 + COLUMNS);
const GROUP_BYTES: usize = 4 * (1 + COLUMNS);

/// Encodings of the unwinder's numbers (`DW_EH_PE_…`).
const OMITTED: u8 = 0xff;
const UNSIGNED: u8 = 0x01;
const ABSOLUTE: u8 = 0x03;
const FROM_TABLE: u8 = 0x3b;
/// Where the entries begin in what is written: behind a search table of one.
const ENTRIES: usize = 20;

/// Bytes read from front to back.
#[derive(Clone, Copy)]
struct Column<'a>(&'a [u8]);

impl<'a> Column<'a> {
    fn number(&mut self) -> Option<u32> {
        let (mut value, mut shift) = (0_u32, 0);
        loop {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u32::from(byte & 0x7f).checked_shl(shift)?;
            shift += 7;
            if *byte < 0x80 {
                return Some(value);
            }
        }
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.number()? as usize;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

/// Bytes written from front to back, as far as there is room.
struct Room<'a> {
    bytes: &'a mut [u8],
    length: usize,
}

impl Room<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        self.bytes.get_mut(self.length..)?.get_mut(..bytes.len())?.copy_from_slice(bytes);
        self.length += bytes.len();
        Some(())
    }

    fn put_word(&mut self, word: u32) -> Option<()> {
        self.put(&word.to_le_bytes())
    }

    fn put_number(&mut self, mut number: u32) -> Option<()> {
        while number >= 0x80 {
            self.put(&[number as u8 | 0x80])?;
            number >>= 7;
        }
        self.put(&[number as u8])
    }

    fn set_word(&mut self, at: usize, word: u32) -> Option<()> {
        self.bytes.get_mut(at..)?.get_mut(..4)?.copy_from_slice(&word.to_le_bytes());
        Some(())
    }
}

/// The length of tables, from their first four bytes.
pub fn length(first: [u8; 4]) -> usize {
    u32::from_le_bytes(first) as usize
}

/// Writes the entry of the function around `address` to `room`, which lies at `room_address`; `None` when there is none, or no
/// room.
pub fn entry(tables: &[u8], address: u32, room: &mut [u8], room_address: u32) -> Option<()> {
    let functions = word(tables, 4)? as usize;
    let groups = functions.div_ceil(GROUP);
    let group_at = |group: usize| HEAD_BYTES + GROUP_BYTES * group;
    // The last group that begins at or before the address.
    let (mut low, mut high) = (0, groups);
    while low < high {
        let middle = low.midpoint(high);
        if word(tables, group_at(middle))? <= address { low = middle + 1 } else { high = middle }
    }
    let group = low.checked_sub(1)?;
    let mut end = word(tables, group_at(group))?;
    let mut columns = [Column(&[]); COLUMNS];
    for (index, column) in columns.iter_mut().enumerate() {
        *column = Column(tables.get(word(tables, group_at(group) + 4 * (1 + index))? as usize..)?);
    }
    let commons = word(tables, 8)?;
    for _ in group * GROUP..functions.min((group + 1) * GROUP) {
        let [gaps, lengths, kinds, programs, sites @ ..] = &mut columns;
        let (start, length, kind) = (end.checked_add(gaps.number()?)?, lengths.number()?, kinds.number()?);
        let program = programs.bytes()?;
        end = start.checked_add(length)?;
        let count = kind.checked_div(commons)?;
        if (start..end).contains(&address) {
            let common = common(tables, kind % commons)?;
            let room = &mut Room { bytes: room, length: 0 };
            return write(room, room_address, Function { start, length, common, program, count }, sites);
        }
        for _ in 1..count {
            for column in sites.iter_mut() {
                column.number()?;
            }
        }
    }
    None
}

struct Function<'a> {
    start: u32,
    length: u32,
    common: &'a [u8],
    program: &'a [u8],
    /// One more than its call sites, or 0 without clean-ups.
    count: u32,
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn common(tables: &[u8], number: u32) -> Option<&[u8]> {
    let mut rest = tables.get(word(tables, 12)? as usize..)?;
    for _ in 0..number {
        rest = rest.get(1 + usize::from(*rest.first()?)..)?;
    }
    rest.get(1..)?.get(..usize::from(*rest.first()?))
}

fn write(room: &mut Room<'_>, address: u32, function: Function<'_>, sites: &mut [Column<'_>]) -> Option<()> {
    let entry = ENTRIES + function.common.len();
    room.put(&[1, ABSOLUTE, ABSOLUTE, FROM_TABLE])?;
    for word in [address + ENTRIES as u32, 1, function.start.wrapping_sub(address), entry as u32] {
        room.put_word(word)?;
    }
    room.put(function.common)?;
    // How long the entry is comes last; how far it is from its common part.
    room.put_word(0)?;
    for word in [(entry + 4 - ENTRIES) as u32, function.start, function.length] {
        room.put_word(word)?;
    }
    let cleanups = room.length + 1;
    // What a common part says of its entries: with clean-ups or without, four bytes or none.
    if has_cleanups(function.common) {
        room.put(&[4])?;
        room.put_word(0)?;
    } else {
        room.put(&[0])?;
    }
    room.put(function.program)?;
    while !room.length.is_multiple_of(4) {
        room.put(&[0])?;
    }
    room.set_word(entry, (room.length - entry - 4) as u32)?;
    room.put_word(0)?;
    if function.count != 0 {
        room.set_word(cleanups, address + room.length as u32)?;
        write_sites(room, function.count - 1, sites)?;
    }
    Some(())
}

/// Whether a common part's letters have the one of clean-ups.
fn has_cleanups(common: &[u8]) -> bool {
    common.iter().skip(9).take_while(|letter| **letter != 0).any(|letter| *letter == b'L')
}

fn write_sites(room: &mut Room<'_>, count: u32, sites: &mut [Column<'_>]) -> Option<()> {
    let [gaps, lengths, pads, catches] = sites else { return None };
    room.put(&[OMITTED, OMITTED, UNSIGNED])?;
    let length_at = room.length;
    room.put(&[0; 3])?;
    let (mut end, mut pad) = (0_u32, 0_u32);
    for _ in 0..count {
        let start = end.checked_add(gaps.number()?)?;
        let length = lengths.number()?;
        end = start.checked_add(length)?;
        let here = match pads.number()?.checked_sub(1) {
            None => 0,
            Some(twice) => {
                pad = pad.wrapping_add((twice >> 1) ^ (twice & 1).wrapping_neg());
                pad
            }
        };
        for number in [start, length, here, catches.number()?] {
            room.put_number(number)?;
        }
    }
    // LEB128 in three bytes, whatever the number.
    let length = room.length - length_at - 3;
    let digits = [length as u8 | 0x80, (length >> 7) as u8 | 0x80, (length >> 14) as u8 & 0x7f];
    room.bytes.get_mut(length_at..)?.get_mut(..3)?.copy_from_slice(&digits);
    Some(())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// As toolstack/src/build/tables.rs's test writes them: a function of 300 bytes at 0x401000 with three call sites, and one of
    /// 7 bytes at 0x401130 without clean-ups.
    const TABLES: &[u8] = b"\x88\0\0\0\x02\0\0\0\x02\0\0\0\x54\0\0\0\
        \x6e\0\0\0\x70\0\0\0\x73\0\0\0\x75\0\0\0\x7b\0\0\0\x7e\0\0\0\x82\0\0\0\x85\0\0\0\
        \0\x10\x40\0\x6e\0\0\0\x70\0\0\0\x73\0\0\0\x75\0\0\0\x7b\0\0\0\x7e\0\0\0\x82\0\0\0\x85\0\0\0\
        \x0c12345678vzR\0\x0c12345678vzL\0\
        \x00\x04\xac\x02\x07\x09\x00\x04\x0e\x10\x83\x02\x00\x00\x00\x02\x05\x03\xc8\x01\x41\x00\x04\x00\x00\x01";
    const AT: u32 = 0x10_0000;

    fn found(tables: &[u8], address: u32) -> Option<Vec<u8>> {
        let mut room = [0xaa; 256];
        entry(tables, address, &mut room, AT).map(|()| room.to_vec())
    }

    #[test]
    fn an_entry_is_what_the_unwinder_reads() {
        assert_eq!(length(*TABLES.first_chunk().unwrap()), TABLES.len());
        let mut wanted = Vec::new();
        wanted.extend([1, ABSOLUTE, ABSOLUTE, FROM_TABLE]);
        let words = |words: [u32; 4], wanted: &mut Vec<u8>| {
            wanted.extend(words.iter().flat_map(|word| word.to_le_bytes()))
        };
        words([AT + 20, 1, 0x40_1000 - AT, 32], &mut wanted);
        wanted.extend(b"12345678vzL\0");
        words([24, 16, 0x40_1000, 300], &mut wanted);
        wanted.push(4);
        wanted.extend((AT + 64).to_le_bytes());
        wanted.extend([0x0e, 16, 0x83, 2, 0, 0, 0]);
        wanted.extend([0; 4]);
        wanted.extend([OMITTED, OMITTED, UNSIGNED, 0x8d, 0x80, 0]);
        wanted.extend([0, 5, 0x20, 0, 5, 3, 0, 0, 10, 0xc8, 1, 0x1e, 1]);
        for address in [0x40_1000, 0x40_112b] {
            assert_eq!(found(TABLES, address).unwrap()[..wanted.len()], wanted);
        }
    }

    #[test]
    fn a_function_without_clean_ups_has_none() {
        let entry = found(TABLES, 0x40_1136).unwrap();
        assert_eq!(entry[20..32], *b"12345678vzR\0");
        assert_eq!(
            entry[32..56],
            [
                [16, 0, 0, 0, 16, 0, 0, 0, 0x30, 0x11, 0x40, 0].as_slice(),
                [7, 0, 0, 0, 0, 0, 0, 0].as_slice(),
                [0; 4].as_slice()
            ]
            .concat()
        );
    }

    #[test]
    fn what_is_no_function_has_no_entry() {
        for address in [0, 0x40_0fff, 0x40_112c, 0x40_112f, 0x40_1137, u32::MAX] {
            assert_eq!(found(TABLES, address), None, "{address:#x}");
        }
    }

    #[test]
    fn tables_that_end_early_are_no_entry() {
        for end in 0..TABLES.len() {
            assert_eq!(found(&TABLES[..end], 0x40_1000), None);
        }
        let mut small = [0; 70];
        assert_eq!(entry(TABLES, 0x40_1000, &mut small, AT), None);
    }
}
