//! The sections of a linked program, as far as the steps after the linker look at them: ELF for x86-64, little-endian.

use std::ops::Range;

/// Where a section lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Its first byte's address in memory.
    pub address: u64,
    /// Its bytes in the file.
    pub file: Range<usize>,
}

impl Section {
    /// The place in the file of what lies at an address.
    pub fn at(&self, address: u64) -> Option<usize> {
        let offset = usize::try_from(address.checked_sub(self.address)?).ok()?;
        (offset < self.file.len()).then(|| self.file.start + offset)
    }
}

/// Finds a section by its name; `None` too when the file is not such a program, or ends early.
pub fn section(program: &[u8], name: &str) -> Option<Section> {
    if !program.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, each) = (word(program, 0x28)?, usize::from(half(program, 0x3a)?));
    let (count, names) = (usize::from(half(program, 0x3c)?), usize::from(half(program, 0x3e)?));
    let header = |index: usize| usize::try_from(table).ok()?.checked_add(index * each);
    let names = usize::try_from(word(program, header(names)? + 0x18)?).ok()?;
    (0..count).find_map(|index| {
        let header = header(index)?;
        let called = program.get(names + number(program, header)? as usize..)?;
        if called.get(name.len()) != Some(&0) || !called.starts_with(name.as_bytes()) {
            return None;
        }
        let start = usize::try_from(word(program, header + 0x18)?).ok()?;
        let end = start.checked_add(usize::try_from(word(program, header + 0x20)?).ok()?)?;
        program.get(start..end)?;
        Some(Section { address: word(program, header + 0x10)?, file: start..end })
    })
}

/// Makes the segment that begins at a place of the file as long as what is left of it, in memory too. Without one nothing changes.
pub fn shorten_segment(program: &mut [u8], start: usize, bytes: usize) {
    const LOADED: u32 = 1;
    let Some((table, each, count)) = program_headers(program) else { return };
    let found = (0..count).map(|index| table + index * each).find(|header| {
        number(program, *header) == Some(LOADED) && word(program, header + 0x08) == Some(start as u64)
    });
    let Some(sizes) = found.and_then(|header| program.get_mut(header + 0x20..header + 0x30)) else { return };
    sizes[..8].copy_from_slice(&(bytes as u64).to_le_bytes());
    sizes[8..].copy_from_slice(&(bytes as u64).to_le_bytes());
}

/// Where the program headers are, how long each, how many.
pub fn program_headers(program: &[u8]) -> Option<(usize, usize, usize)> {
    let table = usize::try_from(word(program, 0x20)?).ok()?;
    Some((table, half(program, 0x36)?.into(), half(program, 0x38)?.into()))
}

/// 16 bits of a file.
pub fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

/// 32 bits of a file.
pub fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

/// 64 bits of a file.
pub fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_segment_at_a_place_is_made_shorter() {
        let mut program = vec![0; 0x40 + 2 * 0x38];
        (program[0x20], program[0x36], program[0x38]) = (0x40, 0x38, 2);
        for (header, kind, start) in [(0x40, 4, 9), (0x78, 1, 9)] {
            (program[header], program[header + 8], program[header + 0x21], program[header + 0x29]) =
                (kind, start, 7, 8);
        }
        let mut wanted = program.clone();
        shorten_segment(&mut program, 8, 5);
        assert_eq!(program, wanted);
        shorten_segment(&mut program, 9, 0x0105);
        for size in [0x98, 0xa0] {
            wanted[size..size + 2].copy_from_slice(&[5, 1]);
        }
        assert_eq!(program, wanted);
    }
}
