//! Checkpoints: what is in memory becomes a run, and the log is read only from there on.
//!
//! The order is everything: runs and the checkpoint are flushed before the superblock that names them is written, and
//! a segment that this checkpoint no longer needs is written again only after the next one is durable. So both
//! superblocks are always right, and one damaged superblock costs nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::codec::{Take, put_number};
use super::format::SUPERBLOCK_OFFSETS;
use super::log::{self, Tail};
use super::run::{Run, RunWriter};
use super::table::Merged;
use super::{Engine, Part};
use crate::{Error, Result};

/// Memory that the index takes before it becomes a run.
const RECENT_BYTES_MAX: usize = 1 << 20;
/// Log that an open must read at most; in small segments, so many of them.
const LOG_BYTES_MAX: u64 = 4 << 20;
const LOG_SEGMENTS_MAX: u64 = 8;
/// So many runs of one level become one of the next.
const RUNS_PER_LEVEL: usize = 6;
/// Bytes of a run that are written at a time.
const WRITE_BYTES: usize = 128 << 10;

/// What a checkpoint says.
#[derive(Debug, Default)]
pub struct Checkpoint {
    pub next_number: u64,
    /// How many segments the log has left behind for good.
    pub passed: u64,
    pub log: Vec<u32>,
    pub runs: Vec<Run>,
}

impl Checkpoint {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_number(&mut out, self.next_number);
        put_number(&mut out, self.passed);
        put_number(&mut out, self.log.len() as u64);
        self.log.iter().for_each(|segment| put_number(&mut out, u64::from(*segment)));
        put_number(&mut out, self.runs.len() as u64);
        self.runs.iter().for_each(|run| run.encode(&mut out));
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Checkpoint> {
        let mut take = Take(bytes);
        let mut checkpoint =
            Checkpoint { next_number: take.number()?, passed: take.number()?, ..Checkpoint::default() };
        for _ in 0..take.number()? {
            checkpoint.log.push(take.number()? as u32);
        }
        for _ in 0..take.number()? {
            checkpoint.runs.push(Run::decode(&mut take)?);
        }
        Ok(checkpoint)
    }
}

/// Whether it is time for one.
pub fn is_due(engine: &Engine, tail: &Tail) -> bool {
    let recent = engine.tables.read().unwrap_or_else(|poisoned| poisoned.into_inner()).recent_bytes;
    let log_max = LOG_BYTES_MAX.min(LOG_SEGMENTS_MAX * engine.segment_bytes);
    recent >= RECENT_BYTES_MAX || tail.since_checkpoint >= log_max
}

/// Makes one. `forget` names segments of the log that hold nothing any more; `merged` is a run that takes the place of
/// neighbours.
pub fn make(engine: &Engine, tail: &mut Tail, forget: &BTreeSet<u32>, merged: Option<Merge>) -> Result<()> {
    let before = std::mem::replace(&mut tail.uses_reserve, true);
    let made = make_with_reserve(engine, tail, forget, merged);
    tail.uses_reserve = before;
    made
}

fn make_with_reserve(
    engine: &Engine,
    tail: &mut Tail,
    forget: &BTreeSet<u32>,
    merged: Option<Merge>,
) -> Result<()> {
    let (recent, mut runs) = {
        let tables = engine.tables.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        (tables.recent.clone(), (*tables.runs).clone())
    };
    let mut retired = Vec::new();
    if let Some(Merge { sources, run }) = merged {
        let from = runs.iter().position(|run| Arc::ptr_eq(run, &sources[0])).unwrap_or(runs.len());
        retired.extend(runs.splice(from..from + sources.len(), [Arc::new(run)]));
    }
    if !recent.is_empty() {
        let pairs =
            |(key, value): (&Vec<u8>, &Option<Vec<u8>>)| key.len() + value.as_ref().map_or(0, Vec::len);
        let bytes = recent.iter().map(|pair| pairs(pair) + 4).sum::<usize>() as u64;
        let is_oldest = runs.is_empty();
        let merged = Merged::new(engine, recent.into_iter().collect(), &[], &[])?;
        let run = if fits_log(engine, bytes) && !(tail.packs && is_better_apart(engine, tail, bytes)) {
            write_into_log(engine, tail, merged, bytes, is_oldest)?
        } else {
            let mut take = || log::take_segment(engine, tail);
            write_into_segments(engine, &mut take, merged, is_oldest)?
        };
        runs.insert(0, Arc::new(run));
    }
    runs.retain(|run| !run.top.is_empty());
    // Runs that were merged away before, and that nobody reads any more.
    let mut released = Vec::new();
    tail.retired.retain(|run| {
        let unused = Arc::strong_count(run) == 1;
        if unused && run.own {
            released.extend(&run.segments);
        }
        !unused
    });
    // A run that lies in the log keeps its segments as long as it is read, whatever else is gone from them.
    let read = runs.iter().chain(&tail.retired).chain(&retired);
    let runs_lie_in: BTreeSet<u32> = read.flat_map(|run| &run.segments).copied().collect();
    let forget: BTreeSet<u32> = forget.difference(&runs_lie_in).copied().collect();
    let all = tail.log.len();
    tail.log.retain(|segment| !forget.contains(segment));
    tail.passed += (all - tail.log.len()) as u64;
    let saved = save(engine, tail, &runs);
    engine.final_on_failure(saved)?;
    let wants_merging = worth_merging(&runs).is_some();
    {
        let mut tables = engine.tables.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        tables.recent.clear();
        tables.recent_bytes = 0;
        tables.runs = Arc::new(runs);
    }
    engine.wants_merging.store(wants_merging, Ordering::SeqCst);
    // What the checkpoint before this one freed is free now; what this one frees, after the next.
    let kept = std::mem::take(&mut tail.freed);
    if tail.wipes {
        engine.wipe(&kept)?;
    }
    tail.free.extend(kept);
    tail.freed = forget.into_iter().chain(released).collect();
    tail.retired.extend(retired);
    tail.free.sort_unstable_by(|a, b| b.cmp(a));
    Ok(())
}

/// A run that takes the place of its sources, which are neighbours.
pub struct Merge {
    sources: Vec<Arc<Run>>,
    run: Run,
}

/// Merges what is worth it, or everything, once; says whether there was anything. Writers are held up for the
/// checkpoint at the end only: runs never change, and what is written meanwhile is newer than all of them.
pub fn merge_once(engine: &Engine, all: bool) -> Result<bool> {
    let _alone = engine.merging.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let runs = engine.tables.read().unwrap_or_else(|poisoned| poisoned.into_inner()).runs.clone();
    let (from, to) = match worth_merging(&runs) {
        // One that lies in the log is written again, so that the log's segments can be given up; one that is damaged, so
        // that it is no more.
        _ if all && (runs.len() > 1 || runs.iter().any(|run| !run.own || engine.is_tolerant())) => {
            (0, runs.len())
        }
        _ if all => return Ok(false),
        None => return Ok(false),
        Some(range) => range,
    };
    let sources = runs[from..to].to_vec();
    let bytes = sources.iter().map(|run| run.bytes).sum();
    let is_oldest = to == runs.len();
    drop(runs);
    let level = level_of(bytes).max(sources.iter().map(|run| run.level).max().unwrap_or(0));
    let level = if all { level_of(bytes) } else { level };
    let merged = Merged::new(engine, Vec::new(), &sources, &[])?;
    if fits_log(engine, bytes) {
        let tail = &mut engine.tail();
        let reserve = std::mem::replace(&mut tail.uses_reserve, true);
        let run = write_into_log(engine, tail, merged, bytes, is_oldest);
        tail.uses_reserve = reserve;
        let merge = Merge { sources, run: Run { level, ..run? } };
        make(engine, tail, &BTreeSet::new(), Some(merge))?;
        return Ok(true);
    }
    let mut take = || {
        let tail = &mut engine.tail();
        let reserve = std::mem::replace(&mut tail.uses_reserve, true);
        let taken = log::take_segment(engine, tail);
        tail.uses_reserve = reserve;
        taken
    };
    let run = write_into_segments(engine, &mut take, merged, is_oldest)?;
    engine.final_on_failure(engine.device.flush().map_err(Error::from))?;
    let merge = Merge { sources, run: Run { level, ..run } };
    make(engine, &mut engine.tail(), &BTreeSet::new(), Some(merge))?;
    Ok(true)
}

/// Neighbours that are to become one run.
fn worth_merging(runs: &[Arc<Run>]) -> Option<(usize, usize)> {
    let mut from = 0;
    while from < runs.len() {
        let level = runs[from].level;
        let to = from + runs[from..].iter().take_while(|run| run.level <= level).count();
        if to - from >= RUNS_PER_LEVEL {
            return Some((from, to));
        }
        from = to;
    }
    None
}

fn level_of(bytes: u64) -> u8 {
    let mut level = 0;
    let mut size = 100 << 10;
    while size < bytes {
        size *= RUNS_PER_LEVEL as u64;
        level += 1;
    }
    level
}

/// Small runs lie in the log; larger ones have segments of their own, which are free as soon as they are merged away.
fn fits_log(engine: &Engine, bytes: u64) -> bool {
    bytes + bytes / 4 <= engine.segment_bytes / 2
}

/// A run that is soon merged away would stay between the copies of a collection, dead: where there is room it gets a
/// segment of its own.
fn is_better_apart(engine: &Engine, tail: &Tail, bytes: u64) -> bool {
    let more = (u64::from(tail.segments) + 4) * engine.segment_bytes;
    bytes > engine.segment_bytes / 8 && (tail.free.len() > 4 || engine.device.room_to_grow(more))
}

fn write_into_log(
    engine: &Engine,
    tail: &mut Tail,
    mut merged: Merged,
    bytes: u64,
    is_oldest: bool,
) -> Result<Run> {
    let mut blocks = log::Blocks::new(engine, tail, bytes + bytes / 4)?;
    let run = fill_run(engine, &mut merged, is_oldest, &mut |block| blocks.put(block))?;
    Ok(Run { segments: blocks.finish()?, own: false, ..run })
}

fn write_into_segments(
    engine: &Engine,
    take: &mut dyn FnMut() -> Result<u32>,
    mut merged: Merged,
    is_oldest: bool,
) -> Result<Run> {
    let mut segments: Vec<u32> = Vec::new();
    let mut used = engine.segment_bytes;
    let mut buffer: Vec<u8> = Vec::with_capacity(WRITE_BYTES * 2);
    let flush = |buffer: &mut Vec<u8>, end: u64| {
        let start = end - buffer.len() as u64;
        let written = engine.final_on_failure(engine.device.write(start, buffer).map_err(Error::from));
        buffer.clear();
        written
    };
    let mut write = |block: &[u8]| -> Result<Part> {
        engine.refuse_when_closing()?;
        let place = |segments: &[u32], used: u64| {
            u64::from(*segments.last().unwrap_or(&0)) * engine.segment_bytes + used
        };
        if used + block.len() as u64 > engine.segment_bytes {
            if !buffer.is_empty() {
                flush(&mut buffer, place(&segments, used))?;
            }
            segments.push(take()?);
            used = 0;
        }
        let part =
            Part { offset: place(&segments, used), len: block.len() as u32, crc: crc32fast::hash(block) };
        buffer.extend_from_slice(block);
        used += block.len() as u64;
        if buffer.len() >= WRITE_BYTES {
            flush(&mut buffer, place(&segments, used))?;
        }
        Ok(part)
    };
    let finished = fill_run(engine, &mut merged, is_oldest, &mut write);
    let rest = match segments.last() {
        Some(last) if finished.is_ok() && !buffer.is_empty() => {
            flush(&mut buffer, u64::from(*last) * engine.segment_bytes + used)
        }
        _ => Ok(()),
    };
    // After a failure the segments stay out of use until the store is opened again.
    rest?;
    Ok(Run { segments, own: true, ..finished? })
}

fn fill_run(
    engine: &Engine,
    merged: &mut Merged,
    is_oldest: bool,
    write: &mut dyn FnMut(&[u8]) -> Result<Part>,
) -> Result<Run> {
    let mut writer = RunWriter::new(write);
    while let Some((key, value)) = merged.next(engine)? {
        // A deletion hides what is below, and there is nothing below the oldest run.
        if value.is_some() || !is_oldest {
            writer.add(key, value)?;
        }
    }
    writer.finish()
}

/// Makes the runs durable, then names them in a superblock.
fn save(engine: &Engine, tail: &mut Tail, runs: &[Arc<Run>]) -> Result<()> {
    let encode = |tail: &Tail| {
        let runs = runs.iter().map(|run| (**run).clone()).collect();
        Checkpoint { next_number: tail.next_number, passed: tail.passed, log: tail.log.clone(), runs }
            .encode()
    };
    let len = encode(tail).len() as u64 + 64;
    log::make_room_in_segment(engine, tail, len)?;
    let bytes = encode(tail);
    let part = log::append_whole(engine, tail, &bytes)?;
    engine.device.flush()?;
    tail.flushed();
    tail.superblock.generation += 1;
    tail.superblock.start = tail.at;
    tail.superblock.reached = tail.at.seq;
    tail.superblock.checkpoint = (part.offset, part.len, part.crc);
    let offset = SUPERBLOCK_OFFSETS[(tail.superblock.generation % 2) as usize];
    engine.device.write(offset, &tail.superblock.encode())?;
    engine.device.flush()?;
    tail.since_checkpoint = 0;
    Ok(())
}
