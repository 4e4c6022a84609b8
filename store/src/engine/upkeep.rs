//! What a collection asks of the engine.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use super::{Edits, Engine, Moved, Part, copies, grow, log};
use crate::{Error, Result};

impl Engine {
    /// Bytes of a segment.
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// The segment that a part lies in.
    pub fn segment_of(&self, part: &Part) -> u32 {
        (part.offset / self.segment_bytes) as u32
    }

    /// Notes whether a writer found room.
    pub(super) fn note_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// Whether the writer that asked for room last found none.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Bytes of the device, bytes of segments in use, number of runs.
    pub fn usage(&self) -> Result<(u64, u64, usize)> {
        let tail = self.tail();
        let runs = self.tables.read().unwrap_or_else(|poisoned| poisoned.into_inner()).runs.len();
        let used = u64::from(tail.segments) - tail.free.len() as u64;
        Ok((self.device.len()?, used * self.segment_bytes, runs))
    }

    /// Lets the log go on in a fresh segment. Gives the segments before it that nobody holds, and the number from which
    /// on objects are new or held.
    pub fn begin_collection(&self) -> Result<(Vec<u32>, u64)> {
        self.refuse_after_failure()?;
        let mut tail = self.tail();
        tail.uses_reserve = true;
        let turned = log::turn_page(self, &mut tail);
        tail.uses_reserve = false;
        turned?;
        let holds = self.holds.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (since, number) = holds.keys().next().copied().unwrap_or((tail.ordinal(), tail.next_number));
        let until = since.saturating_sub(tail.passed) as usize;
        let candidates = tail.log[..until.min(tail.log.len() - 1)].to_vec();
        Ok((candidates, number.min(tail.next_number)))
    }

    /// Whether no push and no large file is on its way in.
    pub fn nothing_held(&self) -> bool {
        self.holds.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).is_empty()
    }

    /// Bytes that copies may take before segments are given up: what is free, or what is wanted where the device can
    /// grow.
    pub fn room_for_copies(&self, wanted: u64) -> Result<u64> {
        let tail = self.tail();
        let free = tail.free.len() as u64 * self.segment_bytes;
        let more = u64::from(tail.segments) * self.segment_bytes;
        drop(tail);
        let can_grow = self.device.room_to_grow(more + wanted);
        Ok(if can_grow { free.max(wanted) } else { free })
    }

    /// Writes copies of objects, unflushed; a checkpoint makes them durable before what they replace is given up.
    pub fn write_moved(&self, moved: Vec<Moved>) -> Result<()> {
        if moved.is_empty() {
            return Ok(());
        }
        self.with_reserve(|engine, tail| {
            let edits = copies::append(engine, tail, moved)?;
            engine.apply(edits);
            Ok(())
        })
    }

    /// Writes a copy of a piece of a large object.
    pub fn write_copy(&self, bytes: &[u8]) -> Result<Vec<Part>> {
        self.with_reserve(|engine, tail| log::append_piece(engine, tail, bytes))
    }

    /// Deletes keys, unflushed.
    pub fn delete_unflushed(&self, keys: Vec<Vec<u8>>) -> Result<()> {
        self.write_edits_unflushed(keys.into_iter().map(|key| (key, None)).collect())
    }

    /// Writes edits, unflushed; a collection may use the room that is kept for it.
    pub fn write_edits_unflushed(&self, edits: Edits) -> Result<()> {
        if edits.is_empty() {
            return Ok(());
        }
        self.with_reserve(|engine, tail| {
            let edits = log::append(engine, tail, super::Batch { edits, ..super::Batch::default() })?;
            engine.apply(edits);
            Ok(())
        })
    }

    fn with_reserve<T>(&self, work: impl FnOnce(&Engine, &mut log::Tail) -> Result<T>) -> Result<T> {
        self.refuse_after_failure()?;
        let mut tail = self.tail();
        tail.uses_reserve = true;
        let done = work(self, &mut tail);
        let due = self.checkpoint_when_due(&mut tail);
        tail.uses_reserve = false;
        due?;
        done
    }

    /// Says that a collection copies, or that it is done.
    pub fn packs(&self, packs: bool) {
        self.tail().packs = packs;
    }

    /// Segments that hold something.
    pub fn used_segments(&self) -> usize {
        let tail = self.tail();
        tail.segments as usize - tail.free.len()
    }

    /// Overwrites what is free with zeros, and from now on what becomes free, until it is told not to: so that nobody
    /// reads from the device what was there.
    pub fn wipe_free(&self, from_now_on: bool) -> Result<()> {
        self.refuse_after_failure()?;
        let mut tail = self.tail();
        tail.wipes = from_now_on;
        if from_now_on {
            let free = tail.free.clone();
            self.wipe(&free)?;
        }
        Ok(())
    }

    pub(super) fn wipe(&self, segments: &[u32]) -> Result<()> {
        let zeros = vec![0; self.segment_bytes.min(256 << 10) as usize];
        for segment in segments {
            let start = u64::from(*segment) * self.segment_bytes;
            let mut at = 0;
            while at < self.segment_bytes {
                let len = (self.segment_bytes - at).min(zeros.len() as u64);
                let written = self.device.write(start + at, &zeros[..len as usize]).map_err(Error::from);
                self.final_on_failure(written)?;
                at += len;
            }
        }
        self.final_on_failure(self.device.flush().map_err(Error::from))
    }

    /// Gives free segments at the end of the device back, where the device can do that.
    pub fn shrink(&self) -> Result<()> {
        self.refuse_after_failure()?;
        let mut tail = self.tail();
        let free: BTreeSet<u32> = tail.free.iter().copied().collect();
        let mut segments = tail.segments;
        while segments > 2 && free.contains(&(segments - 1)) {
            segments -= 1;
        }
        if segments < tail.segments && self.device.shrink(u64::from(segments) * self.segment_bytes)? {
            tail.segments = segments;
            tail.free.retain(|segment| *segment < segments);
        }
        Ok(())
    }

    /// Makes a device of fixed size that was made larger known, or lets a file grow now rather than later.
    pub fn grow_to(&self, bytes: u64) -> Result<()> {
        self.refuse_after_failure()?;
        let mut tail = self.tail();
        let segments =
            u32::try_from(bytes / self.segment_bytes).map_err(|_| Error::Full { capacity_bytes: bytes })?;
        if segments > tail.segments {
            grow(&*self.device, u64::from(segments) * self.segment_bytes)?;
            let new = (tail.segments..segments).rev();
            tail.free.splice(0..0, new);
            tail.segments = segments;
        }
        Ok(())
    }
}
