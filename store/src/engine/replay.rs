//! Opening: which superblock is right, and what the log says since its checkpoint.
//!
//! The log ends at the first record that is not right. That is a power cut's doing when nothing behind it was
//! acknowledged, and damage when something was: a later record, or a superblock, that says so.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::checkpoint::Checkpoint;
use super::format::{
    BIRTH_OFFSET, FLAG_BEGIN, FLAG_COPIES, FLAG_JUMP, FLAG_MORE, FLAG_SESSION, HEADER_BYTES, Header,
    LogPosition, SUPERBLOCK_BYTES, SUPERBLOCK_MAGIC, SUPERBLOCK_OFFSETS, Superblock, sector_up,
};
use super::log::decode_edits;
use super::run::Run;
use super::table::Tables;
use super::{Edits, ObjectEntry};
use crate::device::{Device, SECTOR_BYTES};
use crate::{Error, Result};

/// What reading the log gave.
pub struct Replayed {
    pub tables: Tables,
    pub end: LogPosition,
    pub next_number: u64,
    pub log: Vec<u32>,
    pub passed: u64,
    pub log_bytes: u64,
    pub free: Vec<u32>,
    /// What only the older superblock still needs: free after the next checkpoint, which takes its place.
    pub freed: Vec<u32>,
    pub segments: u32,
}

/// Opens by the newer superblock, or by the other one when that or its checkpoint is damaged: what the log needs is
/// kept for both.
pub fn open(device: &dyn Device) -> Result<(Superblock, Replayed)> {
    let mut found = superblocks(device)?;
    let reached = found.iter().map(|superblock| superblock.reached).max().unwrap_or(0);
    let mut first_error = None;
    while let Some(mut superblock) = found.pop() {
        superblock.reached = reached;
        match replay(device, &superblock) {
            Ok(mut replayed) => {
                if let Some(older) = found.pop() {
                    replayed.spare(device, &older);
                }
                return Ok((superblock, replayed));
            }
            Err(error @ Error::Corrupt { .. }) => first_error = first_error.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Err(first_error.unwrap_or_else(|| Error::corrupt("there is no superblock")))
}

impl Replayed {
    /// Keeps what an older superblock names as long as it is the only other one.
    fn spare(&mut self, device: &dyn Device, older: &Superblock) {
        let Ok(checkpoint) = read_checkpoint(device, older) else { return };
        let named: BTreeSet<u32> =
            checkpoint.runs.iter().flat_map(|run| &run.segments).chain(&checkpoint.log).copied().collect();
        let (freed, free) = self.free.iter().partition(|segment| named.contains(segment));
        (self.freed, self.free) = (freed, free);
    }
}

/// The superblocks that can be read, the newest last.
fn superblocks(device: &dyn Device) -> Result<Vec<Superblock>> {
    let len = device.len()?;
    let mut found = Vec::new();
    let mut error = Error::corrupt("the device is too short to hold a store");
    for offset in SUPERBLOCK_OFFSETS {
        if len < offset + SUPERBLOCK_BYTES as u64 {
            continue;
        }
        let mut bytes = [0; SUPERBLOCK_BYTES];
        device.read(offset, &mut bytes)?;
        match Superblock::decode(&bytes) {
            Ok(superblock) => found.push(superblock),
            Err(why) => error = why,
        }
    }
    found.sort_by_key(|superblock| superblock.generation);
    if found.is_empty() && !holds_a_store(device, len)? {
        return Err(Error::Malformed(
            "this is no store: it has no superblock where a store has three".into(),
        ));
    }
    if found.is_empty() { Err(error) } else { Ok(found) }
}

/// Whether anything says that this was a store once.
fn holds_a_store(device: &dyn Device, len: u64) -> Result<bool> {
    for offset in SUPERBLOCK_OFFSETS.into_iter().chain([BIRTH_OFFSET]) {
        let mut magic = [0; SUPERBLOCK_MAGIC.len()];
        if offset + magic.len() as u64 <= len {
            device.read(offset, &mut magic)?;
            if magic == SUPERBLOCK_MAGIC {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

pub fn read_checkpoint(device: &dyn Device, superblock: &Superblock) -> Result<Checkpoint> {
    let (offset, len, crc) = superblock.checkpoint;
    if len == 0 {
        return Ok(Checkpoint {
            next_number: 1,
            log: vec![superblock.start.segment],
            ..Checkpoint::default()
        });
    }
    if u64::from(len) > u64::from(superblock.segment_bytes)
        || offset.saturating_add(u64::from(len)) > device.len()?
    {
        return Err(Error::corrupt("the checkpoint lies outside of the device"));
    }
    let mut bytes = vec![0; len as usize];
    device.read(offset, &mut bytes)?;
    if crc32fast::hash(&bytes) != crc {
        return Err(Error::corrupt(format!("the checksum of the checkpoint at byte {offset} is wrong")));
    }
    Checkpoint::decode(&bytes)
}

/// Reads the log from the superblock's start to its end.
fn replay(device: &dyn Device, superblock: &Superblock) -> Result<Replayed> {
    let checkpoint = read_checkpoint(device, superblock)?;
    let segment_bytes = u64::from(superblock.segment_bytes);
    let segments = u32::try_from(device.len()? / segment_bytes).unwrap_or(u32::MAX);
    let mut replay = Reader { log: checkpoint.log, ..Reader::new(device, superblock, segments) };
    let runs: Vec<Arc<Run>> = checkpoint.runs.into_iter().map(Arc::new).collect();
    let mut tables = Tables { runs: Arc::new(runs), ..Tables::default() };
    let mut next_number = checkpoint.next_number;
    let mut pending = Edits::new();
    while let Some((header, entries)) = replay.next()? {
        if header.flags & FLAG_BEGIN != 0 {
            // A transaction that was refused half-way left records behind.
            pending.clear();
        }
        if header.flags & FLAG_COPIES == 0 {
            decode_edits(&entries, &mut pending)?;
        }
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
    let mut used: BTreeSet<u32> = replay.log.iter().copied().collect();
    used.extend(tables.runs.iter().flat_map(|run| &run.segments));
    let free = (1..segments).rev().filter(|segment| !used.contains(segment)).collect();
    let (end, passed, log_bytes) = (replay.settled, checkpoint.passed, replay.bytes);
    let log = replay.log;
    Ok(Replayed { tables, end, next_number, log, passed, log_bytes, free, freed: Vec::new(), segments })
}

/// A record that is right.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    pub at: LogPosition,
    pub header: Header,
    /// The header's checksum, to which the next record is chained.
    pub crc: u32,
    /// Its payload is right, too.
    pub whole: bool,
}

/// Reads records.
pub struct Reader<'a> {
    device: &'a dyn Device,
    store: u64,
    segment_bytes: u64,
    segments: u32,
    at: LogPosition,
    session: u32,
    /// Behind the last transaction that is whole.
    settled: LogPosition,
    log: Vec<u32>,
    bytes: u64,
    /// Segments that an unfinished transaction went on to.
    entered: Vec<u32>,
}

impl<'a> Reader<'a> {
    pub fn new(device: &'a dyn Device, superblock: &Superblock, segments: u32) -> Reader<'a> {
        Reader {
            device,
            store: superblock.store,
            segment_bytes: u64::from(superblock.segment_bytes),
            segments,
            at: superblock.start,
            session: 0,
            settled: superblock.start,
            log: Vec::new(),
            bytes: 0,
            entered: Vec::new(),
        }
    }

    /// Every record of a segment whose header and entries are right, whatever it belongs to.
    pub fn each_in_segment(&self, segment: u32, mut then: impl FnMut(Found)) -> Result<()> {
        let mut at = LogPosition { segment, ..LogPosition::default() };
        while u64::from(at.offset) < self.segment_bytes {
            match self.found(at) {
                Ok(Some(one)) => {
                    then(one);
                    at.offset += sector_up(HEADER_BYTES + one.header.body_len()) as u32;
                }
                // What cannot be read is no record.
                Ok(None) | Err(Error::Device(_)) => at.offset += SECTOR_BYTES as u32,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn found(&self, at: LogPosition) -> Result<Option<Found>> {
        let Some((header, crc)) = self.header(at)? else { return Ok(None) };
        if u64::from(at.offset) + HEADER_BYTES + header.body_len() > self.segment_bytes {
            return Ok(None);
        }
        let mut one = Found { at, header, crc, whole: true };
        if header.flags & FLAG_JUMP != 0 {
            return Ok(Some(one));
        }
        let Ok(entries) = self.entries(&one) else { return Ok(None) };
        if crc32fast::hash(&entries) != header.entries_crc {
            return Ok(None);
        }
        let body_len = header.payload_len + header.entries_len;
        one.whole =
            self.checksum(self.payload_offset(&one), body_len).is_ok_and(|crc| crc == header.body_crc);
        Ok(Some(one))
    }

    /// The entries of a record.
    pub fn entries(&self, one: &Found) -> Result<Vec<u8>> {
        let mut entries = vec![0; one.header.entries_len as usize];
        self.device.read(self.payload_offset(one) + u64::from(one.header.payload_len), &mut entries)?;
        Ok(entries)
    }

    pub fn payload_offset(&self, one: &Found) -> u64 {
        self.place(one.at) + HEADER_BYTES
    }

    pub fn checksum(&self, offset: u64, len: u32) -> Result<u32> {
        let mut bytes = vec![0; len as usize];
        self.device.read(offset, &mut bytes)?;
        Ok(crc32fast::hash(&bytes))
    }

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
        self.bytes += HEADER_BYTES + header.body_len();
        self.at.offset += sector_up(HEADER_BYTES + header.body_len()) as u32;
        Ok(Some((header, body[header.payload_len as usize..].to_vec())))
    }

    fn settle(&mut self) {
        self.settled = self.at;
        self.log.append(&mut self.entered);
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
        Ok(Header::decode(&bytes, self.store))
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
