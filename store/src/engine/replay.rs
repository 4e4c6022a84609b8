//! Opening: which superblock is right, and what the log says since its checkpoint.
//!
//! The log ends at the first record that is not right. That is a power cut's doing when nothing behind it was
//! acknowledged, and damage when something was: a later record, or a superblock, that says so.

use std::collections::BTreeSet;

use super::format::{
    FLAG_JUMP, FLAG_MORE, FLAG_SESSION, HEADER_BYTES, Header, LogPosition, SUPERBLOCK_BYTES,
    SUPERBLOCK_OFFSETS, Superblock, sector_up,
};
use super::log::decode_edits;
use super::table::Tables;
use super::{Edits, ObjectEntry};
use crate::device::{Device, SECTOR_BYTES};
use crate::{Error, Result};

/// What reading the log gave.
pub struct Replayed {
    pub tables: Tables,
    pub end: LogPosition,
    pub next_number: u64,
    pub used: BTreeSet<u32>,
    pub free: Vec<u32>,
    pub segments: u32,
}

/// The newer of the two superblocks, or the one that is left.
pub fn superblock(device: &dyn Device) -> Result<Superblock> {
    let len = device.len()?;
    let mut best: Result<Superblock> = Err(Error::corrupt("the device is too short to hold a store"));
    for offset in SUPERBLOCK_OFFSETS {
        if len < offset + SUPERBLOCK_BYTES as u64 {
            continue;
        }
        let mut bytes = [0; SUPERBLOCK_BYTES];
        device.read(offset, &mut bytes)?;
        let read = Superblock::decode(&bytes);
        best = match (best, read) {
            (Ok(old), Ok(new)) if new.generation > old.generation => Ok(new),
            (Ok(old), _) => Ok(old),
            (Err(_), new) => new,
        };
    }
    best
}

/// Reads the log from the superblock's start to its end.
pub fn replay(device: &dyn Device, superblock: &Superblock) -> Result<Replayed> {
    let segment_bytes = u64::from(superblock.segment_bytes);
    let segments = u32::try_from(device.len()? / segment_bytes).unwrap_or(u32::MAX);
    let mut replay = Reader {
        device,
        segment_bytes,
        segments,
        at: superblock.start,
        session: 0,
        settled: superblock.start,
        used: BTreeSet::from([superblock.start.segment]),
        entered: Vec::new(),
    };
    let mut tables = Tables::default();
    let mut next_number = 1;
    let mut pending = Edits::new();
    while let Some((header, entries)) = replay.next()? {
        decode_edits(&entries, &mut pending)?;
        if header.flags & FLAG_MORE == 0 {
            for (key, value) in &pending {
                if let (Some(b'o'), Some(value)) = (key.first(), value) {
                    next_number = next_number.max(ObjectEntry::decode(value)?.number + 1);
                }
            }
            tables.apply(std::mem::take(&mut pending));
            replay.settle();
        }
    }
    replay.refuse_damage(superblock)?;
    // An unfinished transaction at the end is left where it is: the next record is written over it.
    let free = (1..segments).rev().filter(|segment| !replay.used.contains(segment)).collect();
    Ok(Replayed { tables, end: replay.settled, next_number, used: replay.used, free, segments })
}

struct Reader<'a> {
    device: &'a dyn Device,
    segment_bytes: u64,
    segments: u32,
    at: LogPosition,
    session: u32,
    /// Behind the last transaction that is whole.
    settled: LogPosition,
    used: BTreeSet<u32>,
    /// Segments that an unfinished transaction went on to.
    entered: Vec<u32>,
}

impl Reader<'_> {
    /// The next record and its entries, or `None` where the log ends.
    fn next(&mut self) -> Result<Option<(Header, Vec<u8>)>> {
        let Some((header, chain, body)) = self.read(self.at)? else { return Ok(None) };
        let session_fits =
            header.session == self.session || header.flags & FLAG_SESSION != 0 || self.session == 0;
        if header.seq != self.at.seq || header.chain != self.at.chain || !session_fits {
            return Ok(None);
        }
        self.session = header.session;
        self.at.seq += 1;
        self.at.chain = chain;
        if header.flags & FLAG_JUMP != 0 {
            if header.payload_len == 0 || header.payload_len >= self.segments {
                return Ok(None);
            }
            self.at.segment = header.payload_len;
            self.at.offset = 0;
            self.entered.push(header.payload_len);
            return Ok(Some((header, Vec::new())));
        }
        self.at.offset += sector_up(HEADER_BYTES + header.body_len()) as u32;
        Ok(Some((header, body[header.payload_len as usize..].to_vec())))
    }

    fn settle(&mut self) {
        self.settled = self.at;
        self.used.extend(self.entered.drain(..));
    }

    /// The record at a place, if it is whole.
    fn read(&self, at: LogPosition) -> Result<Option<(Header, u32, Vec<u8>)>> {
        let Some((header, chain)) = self.header(at)? else { return Ok(None) };
        let body_len = header.body_len();
        if u64::from(at.offset) + HEADER_BYTES + body_len > self.segment_bytes {
            return Ok(None);
        }
        let mut body = vec![0; body_len as usize];
        self.device.read(self.place(at) + HEADER_BYTES, &mut body)?;
        Ok((crc32fast::hash(&body) == header.body_crc).then_some((header, chain, body)))
    }

    fn header(&self, at: LogPosition) -> Result<Option<(Header, u32)>> {
        if at.segment >= self.segments || u64::from(at.offset) + SECTOR_BYTES > self.segment_bytes {
            return Ok(None);
        }
        let mut bytes = [0; HEADER_BYTES as usize];
        self.device.read(self.place(at), &mut bytes)?;
        Ok(Header::decode(&bytes))
    }

    fn place(&self, at: LogPosition) -> u64 {
        u64::from(at.segment) * self.segment_bytes + u64::from(at.offset)
    }

    /// Fails when something that was acknowledged lies behind the end.
    fn refuse_damage(&self, superblock: &Superblock) -> Result<()> {
        let damaged = |reached: u64| {
            let place = self.place(self.at);
            Error::corrupt(format!(
                "the log breaks off at byte {place}, but {} more records were acknowledged",
                reached.saturating_sub(self.at.seq)
            ))
        };
        if self.at.seq < superblock.reached {
            return Err(damaged(superblock.reached));
        }
        let mut at = self.at;
        let rest = (self.segment_bytes.saturating_sub(u64::from(at.offset))) / SECTOR_BYTES;
        for _ in 0..rest {
            self.refuse_if_acknowledged(at, &damaged)?;
            at.offset += SECTOR_BYTES as u32;
        }
        Ok(())
    }

    fn refuse_if_acknowledged(&self, at: LogPosition, damaged: &dyn Fn(u64) -> Error) -> Result<()> {
        match self.header(at)? {
            Some((header, _)) if header.seq > self.at.seq && header.durable >= self.at.seq => {
                Err(damaged(header.durable + 1))
            }
            _ => Ok(()),
        }
    }
}
