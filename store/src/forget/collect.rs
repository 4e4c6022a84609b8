//! Collection: what is still reached is copied out of segments that hold little of it, and those become free.
//!
//! 1. Mark everything that is reached. Writers go on; what they write has higher numbers and lies in later segments.
//! 2. While the writer waits: mark what has come since, and doom the rest. That is written down: it is not seen any
//!    more, also by the next open if this process ends here.
//! 3. Group by group, as much as there is room for: copy what is reached, packed on the way; make the copies durable by
//!    a checkpoint; delete the entries of what is doomed; give the segments up by a second checkpoint.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use git_wire::ObjectId;

use super::marks::{Held, Reached, dead_pushes, old_notes};
use super::similar::Chooser;
use super::{moving, reach};
use crate::core::{Core, Doomed};
use crate::engine::{ObjectEntry, keys};
use crate::{Error, Result, Store, zlib};

/// Segments that hold less than this share of reached bytes are emptied.
const FULL_ENOUGH_PERCENT: u64 = 85;
/// Most objects that are copied between two checkpoints: what one copy keeps in memory.
const GROUP_OBJECTS_MAX: u64 = 100_000;
/// Entries that are deleted while the writer waits.
const DELETED_AT_ONCE: usize = 10_000;
/// How often and how long a moment without pushes is waited for: half a minute.
const DOOM_ATTEMPTS: usize = 300;
const DOOM_PAUSE: Duration = Duration::from_millis(100);
/// Moves of refs are remembered this long, for watchers that are away.
const NOTES_DAYS: i64 = 30;

/// What a collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Objects that are reached, and kept.
    pub kept: u64,
    /// Objects that were reached by nothing, and are gone.
    pub removed: u64,
    /// Bytes of the device that became free.
    pub freed_bytes: u64,
}

/// How full a store is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Bytes of the device.
    pub capacity_bytes: u64,
    /// Bytes in segments that hold something, or will be free after the next checkpoint.
    pub used_bytes: u64,
    /// Objects in the index, reached or not.
    pub objects: u64,
    /// Bytes of their zlib streams.
    pub object_bytes: u64,
    /// Runs of the index on the device.
    pub runs: usize,
}

impl Store {
    /// Frees what nothing reaches any more: no ref, no open snapshot, no derived table, no watcher that was away for
    /// less than thirty days. Readers and writers go on.
    pub fn gc(&self) -> Result<Collected> {
        collect(self.core(), Thoroughness::Usual)
    }

    /// Whether what was written last was refused for want of room on the device. Costs nothing.
    pub fn is_full(&self) -> bool {
        self.core().engine.is_full()
    }

    /// How full the store is. Reads the whole index.
    pub fn statistics(&self) -> Result<Statistics> {
        let core = self.core();
        let (capacity_bytes, used_bytes, runs) = core.engine.usage()?;
        let mut statistics = Statistics { capacity_bytes, used_bytes, runs, ..Statistics::default() };
        core.each(b"o", |_, value| {
            statistics.objects += 1;
            statistics.object_bytes += ObjectEntry::decode(value)?.stored_bytes();
            Ok(())
        })?;
        Ok(statistics)
    }
}

/// What a collection does beyond freeing space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thoroughness {
    Usual,
    /// Nothing is spared for absent watchers, and what becomes free is overwritten with zeros.
    Purge,
}

pub(super) fn collect(core: &Arc<Core>, how: Thoroughness) -> Result<Collected> {
    let _one_at_a_time =
        core.collecting.try_lock().map_err(|_| Error::Exists { what: "a running collection".into() })?;
    drop_notes(core, if how == Thoroughness::Purge { -1 } else { NOTES_DAYS })?;
    reach::forget_reach(core)?;
    if how == Thoroughness::Purge {
        core.engine.wipe_free(true)?;
    }
    core.engine.packs(true);
    let collected = collect_into_free(core, how);
    core.engine.packs(false);
    core.engine.wipe_free(false)?;
    collected
}

fn collect_into_free(core: &Arc<Core>, how: Thoroughness) -> Result<Collected> {
    let before = core.engine.usage()?.1;
    // From here on everything new goes into segments that this collection leaves alone.
    let (candidates, old) = core.engine.begin_collection()?;
    // No run of the index may lie in what is given up.
    core.engine.merge_all_runs()?;
    let mut reached = Reached::new(packed_until(core)?, old);
    reached.walk(core)?;
    let mut reached = doom(core, reached, old)?;
    let mut chooser = Chooser::new();
    let mut victims = victims(core, &reached, candidates, how);
    let mut removed = 0;
    let mut first = true;
    while first || !victims.is_empty() {
        let now: BTreeSet<u32> = victims.drain(..group(core, &reached, &victims)?).collect();
        let scan = moving::scan(core, &reached, &now, first)?;
        moving::copy(core, &reached, &mut chooser, &scan)?;
        // The copies are durable before anything that they do not need is deleted.
        core.engine.checkpoint(&BTreeSet::new())?;
        chooser.written();
        removed += delete(core, scan.dead, old)?;
        core.engine.checkpoint(&now)?;
        if now.is_empty() {
            break;
        }
        first = false;
    }
    finish(core, old)?;
    reached.looked_at();
    core.cache.clear();
    merge_and_settle(core)?;
    settle_down(core, &reached, &mut chooser)?;
    core.engine.shrink()?;
    let freed_bytes = before.saturating_sub(core.engine.usage()?.1);
    Ok(Collected { kept: reached.objects, removed, freed_bytes })
}

/// From which number on objects were not yet looked at by a collection.
fn packed_until(core: &Core) -> Result<u64> {
    let value = core.engine.get(&keys::setting("packed"))?;
    Ok(value.and_then(|value| value.try_into().ok()).map_or(0, u64::from_le_bytes))
}

/// Segments to be emptied, the emptiest first: they give most for least.
fn victims(core: &Core, reached: &Reached, candidates: Vec<u32>, how: Thoroughness) -> Vec<u32> {
    let segment_bytes = core.engine.segment_bytes();
    let held = |segment: &u32| reached.segments.get(segment).copied().unwrap_or_default();
    let is_victim = |segment: &u32| {
        let Held { bytes, fresh_bytes, .. } = held(segment);
        how == Thoroughness::Purge
            || bytes * 100 < segment_bytes * FULL_ENOUGH_PERCENT
            || fresh_bytes * 100 > segment_bytes * (100 - FULL_ENOUGH_PERCENT)
    };
    let mut victims: Vec<u32> = candidates.into_iter().filter(is_victim).collect();
    victims.sort_by_key(|segment| held(segment).bytes);
    victims
}

/// Makes everything that is not reached invisible, at a moment at which the writer waits and no push is on its way in:
/// whoever finds an object later can rely on its staying. What came since the walk is walked.
fn doom(core: &Arc<Core>, reached: Reached, old: u64) -> Result<Reached> {
    let mut reached = Some(reached);
    for _ in 0..DOOM_ATTEMPTS {
        let (shared, mut taken) = (core.clone(), reached.take().unwrap_or_default());
        let (done, back) = core.write(move |group| {
            // Whoever finds an object and relies on it does both on one side of this lock.
            let _alone = shared.sweeping.write().unwrap_or_else(|poisoned| poisoned.into_inner());
            let walked = taken.walk(&shared);
            if walked.is_err() || !shared.engine.nothing_held() {
                return Ok((walked.map(|()| false), taken));
            }
            for (at, bytes) in taken.marks.chunks() {
                group.edit(keys::spared(at), Some(zlib::deflate(&bytes)));
            }
            group.edit(keys::setting("doomed"), Some(old.to_le_bytes().to_vec()));
            shared.sweeps.fetch_add(1, Ordering::SeqCst);
            *shared.doomed.write().unwrap_or_else(|poisoned| poisoned.into_inner()) =
                Some(Doomed { spared: taken.marks.clone(), below: old });
            shared.cache.clear();
            Ok((Ok(true), taken))
        })?;
        if done? {
            return Ok(back);
        }
        reached = Some(back);
        std::thread::sleep(DOOM_PAUSE);
    }
    Err(Error::Exists { what: "a push or a large file that is still coming in; collect later. It".into() })
}

/// Deletes the entries of what is doomed, a page at a time.
fn delete(core: &Arc<Core>, dead: Vec<ObjectId>, old: u64) -> Result<u64> {
    let mut removed = 0;
    for page in dead.chunks(DELETED_AT_ONCE) {
        let page = page.to_vec();
        removed += core.write(move |group| {
            let mut removed = 0;
            for id in page {
                // It may have been put again since, under a new number.
                let entry = group.staging.core.any_entry(&id)?;
                if entry.is_some_and(|entry| entry.number < old) && !group.staging.is_staged(&id) {
                    group.edit(keys::object(&id), None);
                    removed += 1;
                }
            }
            Ok(removed)
        })?;
    }
    Ok(removed)
}

/// What was doomed is gone, and what is left has been looked at.
fn finish(core: &Arc<Core>, old: u64) -> Result<()> {
    let shared = core.clone();
    core.write(move |group| {
        shared.each(b"d", |key, _| {
            group.edit(key.to_vec(), None);
            Ok(())
        })?;
        group.edit(keys::setting("doomed"), None);
        group.edit(keys::setting("packed"), Some(old.to_le_bytes().to_vec()));
        *shared.doomed.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
        if shared.engine.nothing_held() {
            for push in dead_pushes(&shared)? {
                group.edit(push, None);
            }
            shared.unpublished.write().unwrap_or_else(|poisoned| poisoned.into_inner()).clear();
        }
        // Names are put into the log again: what a repair finds there is all of them.
        for name in [&b"r"[..], b"s"] {
            shared.each(name, |key, value| {
                let is_new = group.value(key)?.as_deref() != Some(value);
                if !is_new {
                    group.edit(key.to_vec(), Some(value.to_vec()));
                }
                Ok(())
            })?;
        }
        Ok(())
    })?;
    reach::note(core)
}

/// Moves what lies at the device's end into free segments before it, so that a file can be cut off there.
fn settle_down(core: &Arc<Core>, reached: &Reached, chooser: &mut Chooser) -> Result<()> {
    for _ in 0..2 {
        let end = core.engine.used_segments() as u32 + 2;
        let (candidates, _) = core.engine.begin_collection()?;
        let high: BTreeSet<u32> = candidates.into_iter().filter(|segment| *segment > end).collect();
        if high.is_empty() {
            return Ok(());
        }
        core.engine.merge_all_runs()?;
        let scan = moving::scan(core, reached, &high, false)?;
        moving::copy(core, reached, chooser, &scan)?;
        core.engine.checkpoint(&BTreeSet::new())?;
        chooser.written();
        core.engine.checkpoint(&high)?;
        merge_and_settle(core)?;
    }
    Ok(())
}

/// Makes one run of the index, and everything free that it took the place of: merged away, given up, forgotten by both
/// superblocks.
fn merge_and_settle(core: &Core) -> Result<()> {
    core.engine.merge_all_runs()?;
    for _ in 0..3 {
        core.engine.checkpoint(&BTreeSet::new())?;
    }
    Ok(())
}

fn drop_notes(core: &Arc<Core>, days: i64) -> Result<()> {
    let now = (core.options.clock)()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64);
    let old = old_notes(core, now - days * 86_400)?;
    for page in old.chunks(1000) {
        let page = page.to_vec();
        core.write(move |group| {
            page.into_iter().for_each(|(key, value)| group.edit(key, value));
            Ok(())
        })?;
    }
    Ok(())
}

/// How many of the victims are emptied at once: what there is room and memory for.
fn group(core: &Core, reached: &Reached, victims: &[u32]) -> Result<usize> {
    let segment = core.engine.segment_bytes();
    let (mut bytes, mut objects, mut count) = (0, 0, 0);
    // Free segments are used before the device grows, and it grows by an eighth at most.
    let wanted = (core.engine.usage()?.1 / 8).max(8 * segment);
    let room = core.engine.room_for_copies(wanted)?;
    for victim in victims {
        let held = reached.segments.get(victim).copied().unwrap_or_default();
        bytes += held.bytes + held.objects * 20;
        objects += held.objects;
        if count > 0 && (objects > GROUP_OBJECTS_MAX || bytes + bytes / 8 + segment > room) {
            break;
        }
        count += 1;
    }
    Ok(count)
}
