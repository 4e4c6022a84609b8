//! Where an object lies: the value under its id in the engine's index.

use git_wire::{Kind, ObjectId};

use super::codec::{Take, put_number};
use crate::{Error, Result};

/// A stretch of bytes on the device, with its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub offset: u64,
    pub len: u32,
    pub crc: u32,
}

impl Part {
    fn take(take: &mut Take<'_>) -> Result<Part> {
        let (offset, len) = (take.number()?, take.number()?);
        let len = u32::try_from(len).map_err(|_| Error::corrupt("an object's part is too long"))?;
        Ok(Part { offset, len, crc: take.u32()? })
    }
}

/// An object's place and form. Its zlib stream is the concatenation of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectEntry {
    pub kind: Kind,
    /// Counts objects in order of arrival; what sets of objects are made of.
    pub number: u64,
    /// Set while the object belongs to a push that is not published: others do not see it.
    pub quarantine: Option<u64>,
    /// Bytes of the object.
    pub size_bytes: u64,
    /// When the stream is a delta: against what, its inflated length, and how many deltas deep it is.
    pub delta: Option<Delta>,
    pub parts: Vec<Part>,
}

/// How an object is made from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delta {
    pub base: ObjectId,
    pub size_bytes: u64,
    pub depth: u8,
}

impl ObjectEntry {
    pub fn encode(&self) -> Vec<u8> {
        let kind = kind_number(self.kind);
        let mut out = Vec::with_capacity(48);
        let flag = |is: bool, bit: u8| if is { bit } else { 0 };
        out.push(kind | flag(self.delta.is_some(), 0x80) | flag(self.quarantine.is_some(), 0x40));
        put_number(&mut out, self.number);
        put_number(&mut out, self.size_bytes);
        if let Some(quarantine) = self.quarantine {
            put_number(&mut out, quarantine);
        }
        if let Some(delta) = &self.delta {
            out.extend_from_slice(&delta.base.0);
            put_number(&mut out, delta.size_bytes);
            out.push(delta.depth);
        }
        for part in &self.parts {
            put_number(&mut out, part.offset);
            put_number(&mut out, u64::from(part.len));
            out.extend_from_slice(&part.crc.to_le_bytes());
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<ObjectEntry> {
        let mut take = Take(bytes);
        let mut entry = ObjectEntry::take_head(&mut take)?;
        while !take.is_empty() {
            entry.parts.push(Part::take(&mut take)?);
        }
        Ok(entry)
    }

    /// All but its parts, of which it only gives the first (an empty one, if there is none) and whether that is all. For
    /// walks over everything: nothing is allocated.
    pub fn decode_first(bytes: &[u8]) -> Result<(ObjectEntry, Part, bool)> {
        let mut take = Take(bytes);
        let entry = ObjectEntry::take_head(&mut take)?;
        if take.is_empty() {
            return Ok((entry, Part { offset: 0, len: 0, crc: 0 }, false));
        }
        let part = Part::take(&mut take)?;
        Ok((entry, part, take.is_empty()))
    }

    fn take_head(take: &mut Take<'_>) -> Result<ObjectEntry> {
        let first = take.byte()?;
        let kind = kind_from(first)?;
        let (number, size_bytes) = (take.number()?, take.number()?);
        let quarantine = if first & 0x40 == 0 { None } else { Some(take.number()?) };
        let delta = if first & 0x80 == 0 {
            None
        } else {
            Some(Delta { base: ObjectId(take.array()?), size_bytes: take.number()?, depth: take.byte()? })
        };
        Ok(ObjectEntry { kind, number, quarantine, size_bytes, delta, parts: Vec::new() })
    }

    /// Bytes of the zlib stream on the device.
    pub fn stored_bytes(&self) -> u64 {
        self.parts.iter().map(|part| u64::from(part.len)).sum()
    }
}

pub fn kind_number(kind: Kind) -> u8 {
    match kind {
        Kind::Commit => 1,
        Kind::Tree => 2,
        Kind::Blob => 3,
        Kind::Tag => 4,
    }
}

pub fn kind_from(first: u8) -> Result<Kind> {
    match first & 0x3f {
        1 => Ok(Kind::Commit),
        2 => Ok(Kind::Tree),
        3 => Ok(Kind::Blob),
        4 => Ok(Kind::Tag),
        _ => Err(Error::corrupt("the index names an unknown kind of object")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back() {
        let entry = ObjectEntry {
            kind: Kind::Tree,
            number: 300,
            quarantine: Some(7),
            size_bytes: 70_000,
            delta: Some(Delta { base: ObjectId([3; 20]), size_bytes: 60, depth: 4 }),
            parts: vec![Part { offset: 1 << 33, len: 50, crc: 7 }, Part { offset: 512, len: 9, crc: 8 }],
        };
        assert_eq!(ObjectEntry::decode(&entry.encode()).unwrap(), entry);
        let (head, part, is_all) = ObjectEntry::decode_first(&entry.encode()).unwrap();
        assert_eq!((head.number, part, is_all), (300, entry.parts[0], false));
        assert!(ObjectEntry::decode(&[]).is_err());
        assert!(ObjectEntry::decode(&entry.encode()[..30]).is_err());
    }
}
