//! Checkpoints: what is in memory becomes a run, and the log is read only from there on.
//!
//! The order is everything: runs and the checkpoint are flushed before the superblock that names them is written, and
//! a segment that this checkpoint no longer needs is written again only after the next one is durable. So both
//! superblocks are always right, and one damaged superblock costs nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

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
/// Runs above this many bytes have segments of their own, which are free as soon as the run is merged away.
const RUN_IN_LOG_BYTES: u64 = 256 << 10;

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

/// Makes one. `forget` names segments of the log that hold nothing any more.
pub fn make(engine: &Engine, tail: &mut Tail, forget: &BTreeSet<u32>, merge_all: bool) -> Result<()> {
    let before = std::mem::replace(&mut tail.uses_reserve, true);
    let made = make_with_reserve(engine, tail, forget, merge_all);
    tail.uses_reserve = before;
    made
}

fn make_with_reserve(
    engine: &Engine,
    tail: &mut Tail,
    forget: &BTreeSet<u32>,
    merge_all: bool,
) -> Result<()> {
    let (recent, mut runs) = {
        let tables = engine.tables.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        (tables.recent.clone(), (*tables.runs).clone())
    };
    if !recent.is_empty() {
        let bytes = recent
            .iter()
            .map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len) + 4)
            .sum::<usize>();
        let is_oldest = runs.is_empty();
        let recent = recent.into_iter().collect();
        let run =
            write_run(engine, tail, Merged::new(engine, recent, &[], &[])?, bytes as u64, 0, is_oldest)?;
        runs.insert(0, Arc::new(run));
    }
    let mut retired = Vec::new();
    while let Some((from, to)) = worth_merging(&runs, merge_all) {
        let bytes = runs[from..to].iter().map(|run| run.bytes).sum();
        let level = if merge_all { level_of(bytes) } else { runs[to - 1].level + 1 };
        let merged = Merged::new(engine, Vec::new(), &runs[from..to], &[])?;
        let run = write_run(engine, tail, merged, bytes, level, to == runs.len())?;
        retired.extend(runs.splice(from..to, [Arc::new(run)]));
    }
    runs.retain(|run| !run.top.is_empty());
    let all = tail.log.len();
    tail.log.retain(|segment| !forget.contains(segment));
    tail.passed += (all - tail.log.len()) as u64;
    let saved = save(engine, tail, &runs);
    engine.final_on_failure(saved)?;
    {
        let mut tables = engine.tables.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        tables.recent.clear();
        tables.recent_bytes = 0;
        tables.runs = Arc::new(runs);
    }
    // What the checkpoint before this one freed is free now; what this one frees, after the next.
    let kept = std::mem::take(&mut tail.freed);
    tail.free.extend(kept);
    tail.freed = forget.iter().copied().collect();
    tail.retired.extend(retired);
    tail.retired.retain(|run| {
        let unused = Arc::strong_count(run) == 1;
        if unused {
            tail.freed.extend(&run.segments);
        }
        !unused
    });
    tail.free.sort_unstable_by(|a, b| b.cmp(a));
    Ok(())
}

/// Neighbours that are to become one run.
fn worth_merging(runs: &[Arc<Run>], all: bool) -> Option<(usize, usize)> {
    if all {
        return (runs.len() > 1).then_some((0, runs.len()));
    }
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

fn write_run(
    engine: &Engine,
    tail: &mut Tail,
    mut merged: Merged,
    bytes: u64,
    level: u8,
    is_oldest: bool,
) -> Result<Run> {
    let own = bytes + bytes / 8 > RUN_IN_LOG_BYTES.min(engine.segment_bytes / 4);
    let mut segments: Vec<u32> = Vec::new();
    let mut used = engine.segment_bytes;
    let mut write = |block: &[u8]| -> Result<Part> {
        if !own {
            return log::append_whole(engine, tail, block);
        }
        if used + block.len() as u64 > engine.segment_bytes {
            segments.push(log::take_segment(engine, tail)?);
            used = 0;
        }
        let segment = u64::from(*segments.last().unwrap_or(&0));
        let part = Part {
            offset: segment * engine.segment_bytes + used,
            len: block.len() as u32,
            crc: crc32fast::hash(block),
        };
        engine.final_on_failure(engine.device.write(part.offset, block).map_err(Error::from))?;
        used += block.len() as u64;
        Ok(part)
    };
    let finished = fill_run(engine, &mut merged, is_oldest, &mut write);
    match finished {
        Ok(run) => Ok(Run { level, segments, ..run }),
        Err(error) => {
            tail.free.extend(segments);
            Err(error)
        }
    }
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
            writer.add(&key, value.as_deref())?;
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
