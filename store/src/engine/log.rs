//! The log's end: composing records, finding room for them, writing them.

use std::sync::Arc;

use super::codec::{Take, put_bytes};
use super::format::{
    FLAG_BEGIN, FLAG_JUMP, FLAG_MORE, FLAG_SESSION, HEADER_BYTES, Header, LogPosition, SUPERBLOCK_OFFSETS,
    Superblock, sector_up,
};
use super::replay::Replayed;
use super::run::Run;
use super::{Batch, Delta, Edits, Engine, NewObject, ObjectEntry, Part, Stream, grow, keys, random};
use crate::device::SECTOR_BYTES;
use crate::{Error, Result};

/// A record's body is closed when it is this long, so that memory for it stays bounded.
pub const BODY_BYTES_WISHED: u64 = 256 << 10;

/// Where the log ends, and what is needed to go on.
pub struct Tail {
    pub superblock: Superblock,
    pub at: LogPosition,
    session: u32,
    first_of_session: bool,
    /// Records up to this one are flushed.
    durable: u64,
    pub next_number: u64,
    /// Segments that exist and hold nothing.
    pub free: Vec<u32>,
    /// Given up by the last checkpoint; free after the next.
    pub freed: Vec<u32>,
    /// Runs that were merged away, as long as somebody may read them.
    pub retired: Vec<Arc<Run>>,
    /// Segments that the log has gone through and still needs, the oldest first.
    pub log: Vec<u32>,
    /// Set while a checkpoint or a collection writes.
    pub uses_reserve: bool,
    /// Set while a collection copies.
    pub packs: bool,
    /// Set while a purge is under way: what becomes free is overwritten.
    pub wipes: bool,
    /// How many it has left behind.
    pub passed: u64,
    /// Bytes written to the log since the last checkpoint.
    pub since_checkpoint: u64,
    /// Segments on the device, used or not.
    pub segments: u32,
}

impl Tail {
    pub fn new(superblock: Superblock, replayed: &Replayed) -> Tail {
        Tail {
            next_number: replayed.next_number,
            free: replayed.free.clone(),
            freed: replayed.freed.clone(),
            log: replayed.log.clone(),
            passed: replayed.passed,
            since_checkpoint: replayed.log_bytes,
            segments: replayed.segments,
            ..Tail::at(superblock, replayed.end)
        }
    }

    /// A new session, at a place of an otherwise unknown log.
    pub fn at(superblock: Superblock, at: LogPosition) -> Tail {
        Tail {
            superblock,
            at,
            session: random() as u32,
            first_of_session: true,
            durable: at.seq - 1,
            next_number: 1,
            free: Vec::new(),
            freed: Vec::new(),
            retired: Vec::new(),
            log: Vec::new(),
            uses_reserve: false,
            packs: false,
            wipes: false,
            passed: 0,
            since_checkpoint: 0,
            segments: 0,
        }
    }

    fn entered(&mut self, segment: u32) {
        self.at.segment = segment;
        self.at.offset = 0;
        self.log.push(segment);
    }

    /// Counts the segments of the log from the store's beginning to the one that it is in.
    pub fn ordinal(&self) -> u64 {
        self.passed + self.log.len() as u64 - 1
    }

    pub fn flushed(&mut self) {
        self.durable = self.at.seq - 1;
    }

    /// The superblock that says where the log ends, and where it goes; `None` when the last one says so already.
    pub fn closing_superblock(&mut self) -> Option<(u64, Superblock)> {
        if self.superblock.reached == self.durable + 1 {
            return None;
        }
        self.superblock.reached = self.durable + 1;
        self.superblock.generation += 1;
        let offset = SUPERBLOCK_OFFSETS[(self.superblock.generation % 2) as usize];
        Some((offset, self.superblock))
    }
}

/// Appends a whole transaction; gives the edits that readers may see once it is flushed.
pub fn append(engine: &Engine, tail: &mut Tail, batch: Batch) -> Result<Edits> {
    make_room(engine, tail, bytes_of(&batch))?;
    let mut writer = Writer::new(engine, tail);
    writer.quarantine = batch.quarantine;
    for object in batch.objects {
        writer.object(object)?;
    }
    for (key, value) in batch.edits {
        writer.edit(key, value)?;
    }
    writer.emit(false)?;
    Ok(writer.edits)
}

/// Goes on in a fresh segment.
pub fn turn_page(engine: &Engine, tail: &mut Tail) -> Result<()> {
    make_room(engine, tail, engine.segment_bytes)?;
    Writer::new(engine, tail).jump()
}

/// Appends bytes that no entry names yet.
pub fn append_piece(engine: &Engine, tail: &mut Tail, bytes: &[u8]) -> Result<Vec<Part>> {
    make_room(engine, tail, bytes.len() as u64)?;
    let mut writer = Writer::new(engine, tail);
    let parts = writer.stream(bytes)?;
    if !writer.payload.is_empty() {
        writer.emit(false)?;
    }
    Ok(parts)
}

/// Appends bytes in one piece.
pub fn append_whole(engine: &Engine, tail: &mut Tail, bytes: &[u8]) -> Result<Part> {
    make_room(engine, tail, bytes.len() as u64)?;
    make_room_in_segment(engine, tail, bytes.len() as u64)?;
    let mut writer = Writer::new(engine, tail);
    let part = Part { offset: writer.body_offset(), len: bytes.len() as u32, crc: crc32fast::hash(bytes) };
    writer.payload.extend_from_slice(bytes);
    writer.emit(false)?;
    Ok(part)
}

/// Blocks of a run that lies in the log: each in one piece, many in a record.
pub struct Blocks<'a> {
    writer: Writer<'a>,
    segments: Vec<u32>,
}

impl<'a> Blocks<'a> {
    /// Makes room for so many bytes.
    pub fn new(engine: &'a Engine, tail: &'a mut Tail, bytes: u64) -> Result<Blocks<'a>> {
        make_room(engine, tail, bytes)?;
        Ok(Blocks { writer: Writer::new(engine, tail), segments: Vec::new() })
    }

    pub fn put(&mut self, block: &[u8]) -> Result<Part> {
        let len = block.len() as u64;
        if self.writer.room() < len && self.writer.body_len() > 0 {
            self.writer.emit(false)?;
        }
        if self.writer.left_in_segment() < len {
            self.writer.jump()?;
        }
        if self.writer.left_in_segment() < len {
            let what = "a block of the index".to_owned();
            let max_bytes = self.writer.left_in_segment();
            return Err(Error::TooLarge { what, size_bytes: len, max_bytes });
        }
        let segment = self.writer.tail.at.segment;
        if self.segments.last() != Some(&segment) {
            self.segments.push(segment);
        }
        let offset = self.writer.body_offset() + self.writer.payload.len() as u64;
        self.writer.payload.extend_from_slice(block);
        Ok(Part { offset, len: block.len() as u32, crc: crc32fast::hash(block) })
    }

    /// The segments that the blocks went to.
    pub fn finish(mut self) -> Result<Vec<u32>> {
        if self.writer.body_len() > 0 {
            self.writer.emit(false)?;
        }
        Ok(self.segments)
    }
}

/// Goes to the next segment unless so many bytes fit into this one.
pub fn make_room_in_segment(engine: &Engine, tail: &mut Tail, bytes: u64) -> Result<()> {
    let most = engine.segment_bytes - 2 * SECTOR_BYTES;
    if bytes > most {
        let what = "a block of the index".to_owned();
        return Err(Error::TooLarge { what, size_bytes: bytes, max_bytes: most });
    }
    make_room(engine, tail, bytes)?;
    let mut writer = Writer::new(engine, tail);
    if writer.left_in_segment() < bytes { writer.jump() } else { Ok(()) }
}

/// A segment that is no part of the log.
pub fn take_segment(engine: &Engine, tail: &mut Tail) -> Result<u32> {
    if tail.free.is_empty() {
        add_segments(engine, tail, 1)?;
    }
    tail.free.pop().ok_or(Error::Full { capacity_bytes: engine.device.len()? })
}

/// A little more than the transaction will take.
fn bytes_of(batch: &Batch) -> u64 {
    let objects = batch.objects.iter().map(|object| match &object.stream {
        Stream::Bytes(bytes) => bytes.len() as u64 + 96,
        Stream::Parts(parts) => parts.len() as u64 * 20 + 96,
    });
    let edits =
        batch.edits.iter().map(|(key, value)| (key.len() + value.as_ref().map_or(0, Vec::len) + 12) as u64);
    objects.sum::<u64>() + edits.sum::<u64>()
}

/// Segments that only checkpoints and collections may use: so a full store can still be made smaller.
const RESERVED_SEGMENTS: u64 = 3;

/// Sees to it that enough segments are free, growing the device, before anything is written.
pub fn make_room(engine: &Engine, tail: &mut Tail, bytes: u64) -> Result<()> {
    let segment = engine.segment_bytes;
    let here = segment.saturating_sub(u64::from(tail.at.offset));
    // Each record costs a header and the rest of a sector, each segment a jump; an eighth more covers both.
    let wanted = bytes + bytes / 8 + 8 * SECTOR_BYTES;
    if wanted <= here {
        return Ok(());
    }
    let reserved = if tail.uses_reserve { 0 } else { RESERVED_SEGMENTS };
    let segments = (wanted - here).div_ceil(segment - 4 * SECTOR_BYTES) + 1 + reserved;
    let missing = segments.saturating_sub(tail.free.len() as u64);
    let made = if missing > 0 { add_segments(engine, tail, missing) } else { Ok(()) };
    if !tail.uses_reserve {
        engine.note_full(matches!(made, Err(Error::Full { .. })));
    }
    made
}

fn add_segments(engine: &Engine, tail: &mut Tail, missing: u64) -> Result<()> {
    let total = u64::from(tail.segments) + missing;
    grow(&*engine.device, total * engine.segment_bytes)?;
    // Lowest last: `free` is taken from its end.
    let new = (tail.segments..total as u32).rev();
    tail.free.splice(0..0, new);
    tail.segments = total as u32;
    Ok(())
}

pub(super) struct Writer<'a> {
    engine: &'a Engine,
    pub tail: &'a mut Tail,
    pub payload: Vec<u8>,
    pub entries: Vec<u8>,
    pub edits: Edits,
    quarantine: Option<u64>,
    /// What the records are, besides what follows from their place.
    pub flags: u32,
    /// Nothing of the transaction was written yet.
    begins: bool,
}

impl<'a> Writer<'a> {
    pub fn new(engine: &'a Engine, tail: &'a mut Tail) -> Writer<'a> {
        Writer {
            engine,
            tail,
            payload: Vec::new(),
            entries: Vec::new(),
            edits: Vec::new(),
            quarantine: None,
            flags: 0,
            begins: true,
        }
    }

    fn object(&mut self, object: NewObject) -> Result<()> {
        let NewObject { id, kind, size_bytes, delta, stream } = object;
        let parts = match stream {
            Stream::Parts(parts) => parts,
            Stream::Bytes(bytes) => self.stream(&bytes)?,
        };
        let number = self.tail.next_number;
        self.tail.next_number += 1;
        debug_assert!(delta.is_none_or(|Delta { base, .. }| base != id));
        let quarantine = self.quarantine;
        let entry = ObjectEntry { kind, number, quarantine, size_bytes, delta, parts };
        self.edit(keys::object(&id), Some(entry.encode()))
    }

    /// Puts bytes into the payload, over as many records as it takes. Entries come after the payload, so a byte's
    /// place is known when it is added.
    pub fn stream(&mut self, mut bytes: &[u8]) -> Result<Vec<Part>> {
        let mut parts = Vec::with_capacity(1);
        while !bytes.is_empty() {
            let room = self.room();
            let len = if bytes.len() as u64 <= room { bytes.len() } else { self.split(room) };
            if len == 0 {
                self.next_record()?;
                continue;
            }
            let (head, rest) = bytes.split_at(len);
            parts.push(Part {
                offset: self.body_offset() + self.payload.len() as u64,
                len: len as u32,
                crc: crc32fast::hash(head),
            });
            self.payload.extend_from_slice(head);
            bytes = rest;
        }
        Ok(parts)
    }

    /// How much of a stream that does not fit is put here: all that fits, or nothing rather than a crumb.
    fn split(&self, room: u64) -> usize {
        if room * 4 >= BODY_BYTES_WISHED.min(self.engine.segment_bytes) { room as usize } else { 0 }
    }

    pub fn edit(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) -> Result<()> {
        let wanted = (key.len() + value.as_ref().map_or(0, Vec::len) + 16) as u64;
        let most = self.engine.segment_bytes / 2;
        if wanted > most {
            let what = "a key with its value".to_owned();
            return Err(Error::TooLarge { what, size_bytes: wanted, max_bytes: most });
        }
        while self.room() < wanted && (self.body_len() > 0 || self.left_in_segment() < wanted) {
            self.next_record()?;
        }
        encode_edit(&mut self.entries, &key, value.as_deref());
        self.edits.push((key, value));
        Ok(())
    }

    /// Closes this record, or goes to the next segment when there is nothing in it.
    fn next_record(&mut self) -> Result<()> {
        if self.body_len() == 0 { self.jump() } else { self.emit(true) }
    }

    pub fn body_len(&self) -> u64 {
        (self.payload.len() + self.entries.len()) as u64
    }

    /// What the segment still takes in this record; a sector is kept for the jump out of it.
    pub fn left_in_segment(&self) -> u64 {
        let used = u64::from(self.tail.at.offset) + HEADER_BYTES + self.body_len() + SECTOR_BYTES;
        self.engine.segment_bytes.saturating_sub(used)
    }

    pub fn room(&self) -> u64 {
        self.left_in_segment().min(BODY_BYTES_WISHED.saturating_sub(self.body_len()))
    }

    pub fn body_offset(&self) -> u64 {
        self.place() + HEADER_BYTES
    }

    fn place(&self) -> u64 {
        u64::from(self.tail.at.segment) * self.engine.segment_bytes + u64::from(self.tail.at.offset)
    }

    /// Writes the record. `more` says that the transaction goes on in the next one.
    pub fn emit(&mut self, more: bool) -> Result<()> {
        let payload_len = self.payload.len() as u32;
        let mut body = std::mem::take(&mut self.payload);
        body.append(&mut self.entries);
        let flags = self.flags | if more { FLAG_MORE } else { 0 };
        let entries_len = body.len() as u32 - payload_len;
        self.record(flags, payload_len, entries_len, &body)?;
        self.tail.at.offset += sector_up(HEADER_BYTES + body.len() as u64) as u32;
        body.clear();
        self.payload = body;
        Ok(())
    }

    pub fn jump(&mut self) -> Result<()> {
        // Room was made before the transaction began; it can only have been misjudged.
        let Some(segment) = self.tail.free.pop() else {
            return Err(Error::Full { capacity_bytes: self.engine.device.len()? });
        };
        self.record(FLAG_JUMP | FLAG_MORE, segment, 0, &[])?;
        self.tail.entered(segment);
        Ok(())
    }

    fn record(&mut self, flags: u32, payload_len: u32, entries_len: u32, body: &[u8]) -> Result<()> {
        let session_flag = if self.tail.first_of_session { FLAG_SESSION } else { 0 };
        let begin_flag = if std::mem::take(&mut self.begins) { FLAG_BEGIN } else { 0 };
        let header = Header {
            flags: flags | session_flag | begin_flag,
            session: self.tail.session,
            chain: self.tail.at.chain,
            seq: self.tail.at.seq,
            durable: self.tail.durable,
            payload_len,
            entries_len,
            body_crc: crc32fast::hash(body),
            entries_crc: crc32fast::hash(&body[body.len() - entries_len as usize..]),
        };
        let (head, chain) = header.encode(self.tail.superblock.store);
        let mut bytes = Vec::with_capacity(sector_up(HEADER_BYTES + body.len() as u64) as usize);
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(body);
        bytes.resize(sector_up(bytes.len() as u64) as usize, 0);
        let written = self.engine.device.write(self.place(), &bytes).map_err(Error::from);
        self.engine.final_on_failure(written)?;
        self.tail.since_checkpoint += bytes.len() as u64;
        self.tail.at.seq += 1;
        self.tail.at.chain = chain;
        self.tail.first_of_session = false;
        Ok(())
    }
}

/// Writes a key and its value, or its deletion.
pub fn encode_edit(entries: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    put_bytes(entries, key);
    match value {
        None => entries.push(0),
        Some(value) => {
            entries.push(1);
            put_bytes(entries, value);
        }
    }
}

/// What `encode_edit` wrote.
pub fn decode_edits(entries: &[u8], edits: &mut Edits) -> Result<()> {
    let mut take = Take(entries);
    while !take.is_empty() {
        let key = take.bytes()?.to_vec();
        let value = if take.byte()? == 0 { None } else { Some(take.bytes()?.to_vec()) };
        edits.push((key, value));
    }
    Ok(())
}
