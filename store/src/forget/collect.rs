//! Collection: what is still reached is copied out of segments that hold little of it, and those become free.
//!
//! 1. Mark everything that is reached. Writers go on; what they write has higher numbers and lies in later segments.
//! 2. Copy, group by group, as much as there is room for. Old and new copies are both right until the end.
//! 3. While the writer waits: mark what has come since, copy the little that was missed, delete the entries of what
//!    nothing reaches, and make a checkpoint that gives the segments up.

use std::collections::BTreeSet;
use std::sync::Arc;

use git_wire::ObjectId;

use super::marks::{Reached, dead_pushes, old_notes};
use crate::core::Core;
use crate::engine::{Delta, Moved, ObjectEntry};
use crate::{Error, Result, Store, zlib};

/// Segments that hold less than this share of reached bytes are emptied.
const FULL_ENOUGH_PERCENT: u64 = 85;
/// Most objects that are copied between two checkpoints: what one copy keeps in memory.
const GROUP_OBJECTS_MAX: u64 = 100_000;
/// Bytes of one record of copies.
const RECORD_BYTES: usize = 200 << 10;
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
    let used = core.engine.used_segments();
    let before = core.engine.usage()?.1;
    // From here on everything new goes into segments that this collection leaves alone.
    let (candidates, old) = core.engine.begin_collection()?;
    let mut reached = Reached::default();
    reached.walk(core, 0)?;
    let segment_bytes = core.engine.segment_bytes();
    let live = |segment: &u32| reached.segments.get(segment).copied().unwrap_or_default();
    let full_enough = if how == Thoroughness::Purge { 1000 } else { FULL_ENOUGH_PERCENT };
    let mut victims: Vec<u32> = candidates
        .into_iter()
        .filter(|segment| live(segment).0 * 100 < segment_bytes * full_enough)
        .collect();
    // The emptiest first: they give most for least.
    victims.sort_by_key(|segment| live(segment).0);
    let mut done = BTreeSet::new();
    let mut rest = &victims[..];
    let mut removed = 0;
    while !rest.is_empty() || done.is_empty() {
        let group = group(core, &reached, rest)?;
        if group == 0 && !rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at(group);
        let now: BTreeSet<u32> = now.iter().copied().collect();
        copy(core, &reached, &now)?;
        removed += sweep(core, &mut reached, &now, old, done.is_empty())?;
        rest = later;
        done.extend(now);
        if done.is_empty() {
            break;
        }
    }
    core.cache.clear();
    // Twice: a segment is written again only after a second checkpoint.
    core.engine.checkpoint(&BTreeSet::new(), true)?;
    core.engine.checkpoint(&BTreeSet::new(), false)?;
    if how == Thoroughness::Purge {
        core.engine.wipe(&used)?;
    }
    core.engine.shrink()?;
    let freed_bytes = before.saturating_sub(core.engine.usage()?.1);
    Ok(Collected { kept: reached.objects, removed, freed_bytes })
}

fn drop_notes(core: &Core, days: i64) -> Result<()> {
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
    let room = core.engine.room_for_copies()?;
    for victim in victims {
        let (live_bytes, live_objects) = reached.segments.get(victim).copied().unwrap_or_default();
        bytes += live_bytes + live_objects * 60;
        objects += live_objects;
        if count > 0 && (objects > GROUP_OBJECTS_MAX || bytes + bytes / 8 + segment > room) {
            break;
        }
        count += 1;
    }
    Ok(count)
}

/// Copies what is reached out of segments, in order of arrival.
fn copy(core: &Arc<Core>, reached: &Reached, victims: &BTreeSet<u32>) -> Result<()> {
    let mut wanted: Vec<(u64, ObjectId)> = Vec::new();
    core.each(b"o", |key, value| {
        let entry = ObjectEntry::decode(value)?;
        if reached.marks.has(entry.number) && must_move(core, reached, victims, &entry)? {
            let id = ObjectId::from_bytes(&key[1..]).ok_or_else(|| Error::corrupt("a key of the index"))?;
            wanted.push((entry.number, id));
        }
        Ok(())
    })?;
    wanted.sort_unstable();
    let mut moved = Vec::new();
    let mut bytes = 0;
    for (_, id) in wanted {
        bytes += move_one(core, reached, &id, &mut moved)?;
        if bytes >= RECORD_BYTES {
            core.engine.write_moved(std::mem::take(&mut moved))?;
            bytes = 0;
        }
    }
    core.engine.write_moved(moved)
}

/// It lies where it cannot stay, or it is made from something that will be gone.
fn must_move(core: &Core, reached: &Reached, victims: &BTreeSet<u32>, entry: &ObjectEntry) -> Result<bool> {
    if entry.parts.iter().any(|part| victims.contains(&core.engine.segment_of(part))) {
        return Ok(true);
    }
    base_is_gone(core, reached, entry)
}

fn base_is_gone(core: &Core, reached: &Reached, entry: &ObjectEntry) -> Result<bool> {
    let Some(Delta { base, .. }) = entry.delta else { return Ok(false) };
    Ok(core.any_entry(&base)?.is_none_or(|base| !reached.marks.has(base.number)))
}

/// Reads one object for its move; gives its bytes.
fn move_one(core: &Arc<Core>, reached: &Reached, id: &ObjectId, moved: &mut Vec<Moved>) -> Result<usize> {
    let Some(entry) = core.object_entry(id)? else { return Ok(0) };
    if base_is_gone(core, reached, &entry)? {
        let stream = zlib::deflate(&core.content(id, &entry, &core.cache)?);
        let bytes = stream.len();
        moved.push(Moved { id: *id, entry: ObjectEntry { delta: None, ..entry }, stream: Some(stream) });
        return Ok(bytes);
    }
    if entry.parts.len() == 1 {
        let stream = core.stream(&entry)?;
        let bytes = stream.len();
        moved.push(Moved { id: *id, entry, stream: Some(stream) });
        return Ok(bytes);
    }
    // A large one goes piece by piece.
    let mut parts = Vec::with_capacity(entry.parts.len());
    for part in &entry.parts {
        parts.extend(core.engine.write_copy(&core.engine.read_part(part)?)?);
    }
    moved.push(Moved { id: *id, entry: ObjectEntry { parts, ..entry }, stream: None });
    Ok(0)
}

/// The last part, while the writer waits.
fn sweep(
    core: &Arc<Core>,
    reached: &mut Reached,
    victims: &BTreeSet<u32>,
    old: u64,
    first: bool,
) -> Result<u64> {
    let mut taken = std::mem::take(reached);
    let victims = victims.clone();
    let shared = core.clone();
    let (swept, back) = core.write(move |_| {
        let swept = sweep_alone(&shared, &mut taken, &victims, old, first);
        Ok((swept, taken))
    })?;
    *reached = back;
    swept
}

fn sweep_alone(
    core: &Arc<Core>,
    reached: &mut Reached,
    victims: &BTreeSet<u32>,
    old: u64,
    first: bool,
) -> Result<u64> {
    // Whoever finds an object and relies on it does both on one side of this lock.
    let _alone = core.sweeping.write().unwrap_or_else(|poisoned| poisoned.into_inner());
    core.sweeps.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    let late = reached.walk(core, old)?;
    let mut moved = Vec::new();
    for id in late {
        if let Some(entry) = core.object_entry(&id)?
            && must_move(core, reached, victims, &entry)?
        {
            move_one(core, reached, &id, &mut moved)?;
        }
    }
    core.engine.write_moved(moved)?;
    let mut removed = 0;
    if first {
        let mut dead = Vec::new();
        core.each(b"o", |key, value| {
            let entry = ObjectEntry::decode(value)?;
            if entry.number < old && !reached.marks.has(entry.number) {
                dead.push(key.to_vec());
                removed += 1;
            }
            if dead.len() >= 1000 {
                core.engine.delete_unflushed(std::mem::take(&mut dead))?;
            }
            Ok(())
        })?;
        core.engine.delete_unflushed(dead)?;
        if core.engine.nothing_held() {
            let pushes = dead_pushes(core)?;
            core.unpublished.write().unwrap_or_else(|poisoned| poisoned.into_inner()).clear();
            core.engine.delete_unflushed(pushes)?;
        }
    }
    // Entries of what has just been deleted may still be cached.
    core.cache.clear();
    core.engine.checkpoint(victims, false)?;
    Ok(removed)
}
