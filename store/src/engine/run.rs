//! Sorted runs: what the index said up to a checkpoint, on the device.
//!
//! A run is a row of blocks of keys and values in order, a row of blocks that say where those are, and a top that says
//! where the second row is; the top is kept in memory, a few kilobytes for a million keys. Every block has its checksum
//! next to its place. A run is never changed, only replaced by a merge with its neighbours.

use std::sync::Arc;

use super::block::{self, PairsReader, PairsWriter, Places, PlacesWriter, put_place, take_place};
use super::codec::{Take, put_number};
use super::{Engine, Part};
use crate::{Error, Result};

/// A block of pairs is closed when it is this long.
const BLOCK_BYTES: usize = 4000;

/// One run.
#[derive(Debug, Default, Clone)]
pub struct Run {
    /// How often its keys were merged; runs of one level are of like size.
    pub level: u8,
    /// The segments that it lies in.
    pub segments: Vec<u32>,
    /// They hold nothing else. A small run lies in the log, among records.
    pub own: bool,
    /// Least key and place of each block of the second row.
    pub top: Vec<(Vec<u8>, Part)>,
    /// Bytes of all its blocks.
    pub bytes: u64,
}

impl Run {
    /// What the run says about a key: `Some(None)` that it was deleted.
    pub fn get(&self, engine: &Engine, key: &[u8]) -> Result<Option<Option<Vec<u8>>>> {
        let Some(at) = at_or_before(&self.top, key) else { return Ok(None) };
        let places = engine.places(&self.top[at].1)?;
        if !places.may_have(key) {
            return Ok(None);
        }
        let Some(part) = places.at_or_before(key).and_then(|at| places.part(at)) else { return Ok(None) };
        block::find(&engine.block(part, true)?, key)
    }

    /// Reads on from a key.
    pub fn cursor(self: &Arc<Self>, engine: &Engine, from: &[u8]) -> Result<Cursor> {
        let pairs = PairsReader::new(Arc::default());
        let mut cursor = Cursor { run: self.clone(), top: 0, places: None, block: 0, passed: 0, pairs };
        if let Some(top) = at_or_before(&self.top, from) {
            cursor.places = engine.or_skip(engine.places(&self.top[top].1))?;
            cursor.block = cursor.places.as_ref().and_then(|places| places.at_or_before(from)).unwrap_or(0);
            cursor.top = top + 1;
        }
        cursor.advance(engine)?;
        while cursor.key().is_some_and(|key| key < from) {
            cursor.advance(engine)?;
        }
        Ok(cursor)
    }

    /// What of it cannot be read: ranges of keys, and why.
    pub fn damage(&self, engine: &Engine) -> Vec<(std::ops::Range<Vec<u8>>, Error)> {
        let end_of_all = || vec![u8::MAX; 64];
        let mut found = Vec::new();
        for (at, (least, part)) in self.top.iter().enumerate() {
            let end = self.top.get(at + 1).map_or_else(end_of_all, |(next, _)| next.clone());
            let places = match engine.places(part) {
                Ok(places) => places,
                Err(error) => {
                    found.push((least.clone()..end, error));
                    continue;
                }
            };
            for at in 0..places.len() {
                let Some(part) = places.part(at) else { continue };
                if let Err(error) = engine.block(part, true).and_then(|block| block::check(&block)) {
                    let end = if at + 1 < places.len() { places.key(at + 1).to_vec() } else { end.clone() };
                    found.push((places.key(at).to_vec()..end, error));
                }
            }
        }
        found
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.level | if self.own { 0x80 } else { 0 });
        put_number(out, self.bytes);
        put_number(out, self.segments.len() as u64);
        self.segments.iter().for_each(|segment| put_number(out, u64::from(*segment)));
        put_number(out, self.top.len() as u64);
        self.top.iter().for_each(|(key, part)| put_place(out, key, part));
    }

    pub fn decode(take: &mut Take<'_>) -> Result<Run> {
        let first = take.byte()?;
        let (level, own) = (first & 0x7f, first & 0x80 != 0);
        let mut run = Run { level, own, bytes: take.number()?, ..Run::default() };
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
    places.partition_point(|(least, _)| least.as_slice() <= key).checked_sub(1)
}

/// A place in a run: stands at a pair, or at the end.
pub struct Cursor {
    run: Arc<Run>,
    /// The next block of the second row.
    top: usize,
    places: Option<Arc<Places>>,
    /// The next block.
    block: usize,
    /// Blocks that were read one after the other.
    passed: usize,
    pairs: PairsReader<Arc<[u8]>>,
}

/// Blocks of a walk that are kept for others: a long one must not drive out what everybody uses.
const KEPT_BLOCKS: usize = 4;

impl Cursor {
    /// The key that it stands at.
    pub fn key(&self) -> Option<&[u8]> {
        self.pairs.key()
    }

    /// What stands under that key; `None` that it was deleted.
    pub fn value(&self) -> Option<&[u8]> {
        self.pairs.value()
    }

    pub fn advance(&mut self, engine: &Engine) -> Result<()> {
        loop {
            if engine.or_skip(self.pairs.advance())? == Some(true) {
                return Ok(());
            }
            let part = self.places.as_ref().and_then(|places| places.part(self.block).copied());
            if let Some(part) = part {
                self.block += 1;
                let block = engine.or_skip(engine.block(&part, self.passed < KEPT_BLOCKS))?;
                self.passed += 1;
                self.pairs = PairsReader::new(block.unwrap_or_default());
                continue;
            }
            let Some((_, place)) = self.run.top.get(self.top) else { return Ok(()) };
            self.top += 1;
            self.block = 0;
            self.places = engine.or_skip(engine.places(place))?;
        }
    }
}

/// Writes a run, key by key.
pub struct RunWriter<'w> {
    /// Puts a block on the device.
    write: &'w mut dyn FnMut(&[u8]) -> Result<Part>,
    block: PairsWriter,
    /// Separates the block from the one before.
    least: Vec<u8>,
    last: Vec<u8>,
    places: PlacesWriter,
    places_least: Vec<u8>,
    run: Run,
}

impl<'w> RunWriter<'w> {
    pub fn new(write: &'w mut dyn FnMut(&[u8]) -> Result<Part>) -> RunWriter<'w> {
        RunWriter {
            write,
            block: PairsWriter::default(),
            least: Vec::new(),
            last: Vec::new(),
            places: PlacesWriter::default(),
            places_least: Vec::new(),
            run: Run::default(),
        }
    }

    pub fn add(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        if self.block.bytes.is_empty() {
            self.least = block::separator(&self.last, key);
        }
        self.block.add(key, value);
        self.places.key(key);
        self.last.clear();
        self.last.extend_from_slice(key);
        if self.block.bytes.len() >= BLOCK_BYTES { self.close_block() } else { Ok(()) }
    }

    fn close_block(&mut self) -> Result<()> {
        let part = (self.write)(&self.block.bytes)?;
        self.run.bytes += self.block.bytes.len() as u64;
        self.block.clear();
        if self.places.is_empty() {
            self.places_least.clone_from(&self.least);
        }
        self.places.add(&self.least, &part);
        if self.places.is_full() { self.close_places() } else { Ok(()) }
    }

    fn close_places(&mut self) -> Result<()> {
        let bytes = self.places.finish();
        let part = (self.write)(&bytes)?;
        self.run.bytes += bytes.len() as u64;
        self.run.top.push((std::mem::take(&mut self.places_least), part));
        Ok(())
    }

    pub fn finish(mut self) -> Result<Run> {
        if !self.block.bytes.is_empty() {
            self.close_block()?;
        }
        if !self.places.is_empty() {
            self.close_places()?;
        }
        Ok(self.run)
    }
}
