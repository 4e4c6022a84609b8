//! What branches reach, written down: a collection has walked everything anyway, so it notes for each branch the numbers
//! of all objects behind its head, one bit each. A clone then walks only what has come since, and reads the rest in
//! the order in which it lies on the device.

use std::collections::HashSet;

use git_wire::{Kind, ObjectId};

use super::marks::{Marks, WALK_CACHE_BYTES, Walk};
use crate::core::{Contents, Core};
use crate::engine::{Edits, keys};
use crate::object::Commit;
use crate::refs::HEADS;
use crate::{Result, zlib};

/// Branches for which it is noted; a walk each.
const BRANCHES_MAX: usize = 8;
/// Commits that are looked at for one whose reach is known, before everything is walked.
const LOOKED_AT_MAX: usize = 10_000;
/// Bytes of a chunk of marks.
const CHUNK_BYTES: u64 = 8 << 10;

/// Drops what was noted, so that nothing old is believed while objects go.
pub(super) fn forget(core: &Core) -> Result<()> {
    let mut old = Vec::new();
    core.each(b"b", |key, _| {
        old.push(key.to_vec());
        Ok(())
    })?;
    core.engine.delete_unflushed(old)
}

/// Notes what the branches reach.
pub(super) fn note(core: &Core) -> Result<()> {
    let heads: Vec<ObjectId> = {
        let refs = core.refs.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let heads = refs.iter().filter(|(name, _)| name.starts_with(HEADS)).map(|(_, state)| state.id);
        heads.collect::<HashSet<_>>().into_iter().take(BRANCHES_MAX).collect()
    };
    let bases = Contents::new(WALK_CACHE_BYTES);
    for head in heads {
        let mut marks = Marks::default();
        let mut walk = Walk { core, bases: &bases, open: vec![(head, 0)] };
        while walk.next(&mut marks)?.is_some() {
            core.engine.refuse_when_closing()?;
        }
        let edits = |(at, bytes): (u64, Vec<u8>)| (keys::reach(&head, at), Some(zlib::deflate(&bytes)));
        let edits: Edits = marks.chunks().map(edits).collect();
        core.engine.write_edits_unflushed(edits)?;
    }
    Ok(())
}

/// The numbers of everything that some objects reach, if most of it was noted.
pub(crate) fn closure(core: &Core, wanted: &[ObjectId]) -> Result<Option<Marks>> {
    let mut noted = HashSet::new();
    core.each(b"b", |key, _| {
        noted.extend(ObjectId::from_bytes(&key[1..21.min(key.len())]));
        Ok(())
    })?;
    if noted.is_empty() {
        return Ok(None);
    }
    let bases = Contents::new(WALK_CACHE_BYTES);
    let mut marks = Marks::default();
    let known = known_commits(core, wanted, &noted)?;
    if known.is_empty() {
        return Ok(None);
    }
    for id in &known {
        let mut fits = true;
        core.each(&keys::reach_of(id), |key, value| {
            let at = u64::from_be_bytes(crate::engine::Take(&key[21..]).array()?);
            fits &= marks.add_chunk(at, &zlib::inflate(value, CHUNK_BYTES)?);
            Ok(())
        })?;
        if !fits {
            return Ok(None);
        }
    }
    let mut walk = Walk { core, bases: &bases, open: wanted.iter().map(|id| (*id, 0)).collect() };
    while walk.next(&mut marks)?.is_some() {}
    Ok(Some(marks))
}

/// The nearest commits behind the wanted ones whose reach was noted.
fn known_commits(core: &Core, wanted: &[ObjectId], noted: &HashSet<ObjectId>) -> Result<Vec<ObjectId>> {
    let mut found = Vec::new();
    let mut open = wanted.to_vec();
    let mut seen: HashSet<ObjectId> = wanted.iter().copied().collect();
    while let Some(id) = open.pop() {
        if noted.contains(&id) {
            found.push(id);
            continue;
        }
        if seen.len() > LOOKED_AT_MAX
            || core.object_entry(&id)?.is_none_or(|entry| entry.kind != Kind::Commit)
        {
            continue;
        }
        for parent in Commit::parse(&core.typed(&id, Kind::Commit)?)?.parents {
            if seen.insert(parent.0) {
                open.push(parent.0);
            }
        }
    }
    Ok(found)
}
