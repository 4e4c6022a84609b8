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
