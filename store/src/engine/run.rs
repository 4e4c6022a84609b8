//! Sorted runs: what the index said up to a checkpoint, on the device.
//!
//! A run is a row of blocks of keys and values in order, a row of blocks that say where those are, and a top that says
//! where the second row is; the top is kept in memory, a few kilobytes for a million keys. Every block has its checksum
//! next to its place. A run is never changed, only replaced by a merge with its neighbours.

use std::sync::Arc;

use super::codec::{Take, put_bytes, put_number};
use super::{Engine, Part};
use crate::Result;

/// A block is closed when it is this long.
const BLOCK_BYTES: usize = 4000;

/// Keys and values of a block, or keys and places of the blocks below.
pub type Pairs = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// One run.
#[derive(Debug, Default, Clone)]
pub struct Run {
    /// How often its keys were merged; runs of one level are of like size.
    pub level: u8,
    /// Segments that hold nothing else; empty for a small run, which lies in the log.
    pub segments: Vec<u32>,
    /// First key and place of each block of the second row.
    pub top: Vec<(Vec<u8>, Part)>,
    /// Bytes of all its blocks.
    pub bytes: u64,
}

impl Run {
    /// What the run says about a key: `Some(None)` that it was deleted.
    pub fn get(&self, engine: &Engine, key: &[u8]) -> Result<Option<Option<Vec<u8>>>> {
        let Some(index) = at_or_before(&self.top, key) else { return Ok(None) };
        let index = engine.places(&self.top[index].1)?;
        let Some(block) = at_or_before(&index, key) else { return Ok(None) };
        engine.find_in_block(&index[block].1, key)
    }

    /// Reads on from a key.
    pub fn cursor(self: &Arc<Self>, engine: &Engine, from: &[u8]) -> Result<Cursor> {
        let mut cursor = Cursor {
            run: self.clone(),
            top: 0,
            index: Vec::new().into(),
            block: 0,
            pairs: Vec::new().into_iter(),
        };
        if let Some(top) = at_or_before(&self.top, from) {
            cursor.top = top;
            cursor.index = engine.places(&self.top[top].1)?;
            cursor.block = at_or_before(&cursor.index, from).unwrap_or(0);
            cursor.top += 1;
        }
        cursor.fill(engine)?;
        let skip = cursor.pairs.as_slice().partition_point(|(key, _)| key.as_slice() < from);
        cursor.pairs.by_ref().take(skip).for_each(drop);
        cursor.fill(engine)?;
        Ok(cursor)
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.level);
        put_number(out, self.bytes);
        put_number(out, self.segments.len() as u64);
        self.segments.iter().for_each(|segment| put_number(out, u64::from(*segment)));
        put_number(out, self.top.len() as u64);
        self.top.iter().for_each(|(key, part)| put_place(out, key, part));
    }

    pub fn decode(take: &mut Take<'_>) -> Result<Run> {
        let mut run = Run { level: take.byte()?, bytes: take.number()?, ..Run::default() };
        for _ in 0..take.number()? {
            run.segments.push(take.number()? as u32);
        }
        for _ in 0..take.number()? {
            run.top.push(take_place(take)?);
        }
        Ok(run)
    }
}

fn at_or_before(places: &[(Vec<u8>, Part)], key: &[u8]) -> Option<usize> {
    places.partition_point(|(first, _)| first.as_slice() <= key).checked_sub(1)
}

fn put_place(out: &mut Vec<u8>, key: &[u8], part: &Part) {
    put_bytes(out, key);
    put_number(out, part.offset);
    put_number(out, u64::from(part.len));
    out.extend_from_slice(&part.crc.to_le_bytes());
}

fn take_place(take: &mut Take<'_>) -> Result<(Vec<u8>, Part)> {
    let key = take.bytes()?.to_vec();
    Ok((key, Part { offset: take.number()?, len: take.number()? as u32, crc: take.u32()? }))
}

pub fn decode_places(bytes: &[u8]) -> Result<Vec<(Vec<u8>, Part)>> {
    let mut take = Take(bytes);
    let mut places = Vec::with_capacity(100);
    while !take.is_empty() {
        places.push(take_place(&mut take)?);
    }
    Ok(places)
}

/// A place in a run, with the rest of its block.
pub struct Cursor {
    run: Arc<Run>,
    /// The next block of the second row.
    top: usize,
    index: Arc<[(Vec<u8>, Part)]>,
    /// The next block.
    block: usize,
    pairs: std::vec::IntoIter<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Cursor {
    pub fn peek(&self) -> Option<&[u8]> {
        self.pairs.as_slice().first().map(|(key, _)| key.as_slice())
    }

    pub fn take(&mut self, engine: &Engine) -> Result<Option<(Vec<u8>, Option<Vec<u8>>)>> {
        let pair = self.pairs.next();
        self.fill(engine)?;
        Ok(pair)
    }

    fn fill(&mut self, engine: &Engine) -> Result<()> {
        while self.pairs.as_slice().is_empty() {
            if self.block == self.index.len() {
                let Some((_, place)) = self.run.top.get(self.top) else { return Ok(()) };
                self.index = engine.places(place)?;
                self.top += 1;
                self.block = 0;
                continue;
            }
            self.pairs = engine.pairs(&self.index[self.block].1)?.into_iter();
            self.block += 1;
        }
        Ok(())
    }
}

/// Writes a run, key by key.
pub struct RunWriter<'w> {
    /// Puts a block on the device.
    write: &'w mut dyn FnMut(&[u8]) -> Result<Part>,
    block: Vec<u8>,
    first: Vec<u8>,
    index: Vec<u8>,
    index_first: Vec<u8>,
    run: Run,
}

impl<'w> RunWriter<'w> {
    pub fn new(write: &'w mut dyn FnMut(&[u8]) -> Result<Part>) -> RunWriter<'w> {
        RunWriter {
            write,
            block: Vec::with_capacity(2 * BLOCK_BYTES),
            first: Vec::new(),
            index: Vec::new(),
            index_first: Vec::new(),
            run: Run::default(),
        }
    }

    pub fn add(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        if self.block.is_empty() {
            self.first = key.to_vec();
        }
        super::log::encode_edit(&mut self.block, key, value);
        if self.block.len() >= BLOCK_BYTES { self.close_block() } else { Ok(()) }
    }

    fn close_block(&mut self) -> Result<()> {
        let part = (self.write)(&self.block)?;
        self.run.bytes += self.block.len() as u64;
        self.block.clear();
        if self.index.is_empty() {
            self.index_first.clone_from(&self.first);
        }
        put_place(&mut self.index, &self.first, &part);
        if self.index.len() >= BLOCK_BYTES { self.close_index() } else { Ok(()) }
    }

    fn close_index(&mut self) -> Result<()> {
        let part = (self.write)(&self.index)?;
        self.run.bytes += self.index.len() as u64;
        self.index.clear();
        self.run.top.push((std::mem::take(&mut self.index_first), part));
        Ok(())
    }

    pub fn finish(mut self) -> Result<Run> {
        if !self.block.is_empty() {
            self.close_block()?;
        }
        if !self.index.is_empty() {
            self.close_index()?;
        }
        Ok(self.run)
    }
}
