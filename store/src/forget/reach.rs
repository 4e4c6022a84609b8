//! What branches reach, written down: a collection has walked everything anyway, so it notes for each branch the numbers
//! of all objects behind its head, one bit each, and so does a clone that had to walk far. A clone then walks only what
//! has come since, and reads everything in the order in which it lies on the device.

use std::collections::HashSet;

use git_wire::walk::{Filter, History, Selection, WalkError, select};
use git_wire::{Kind, Limits, ObjectId, Objects, RepositoryError};

use super::marks::{Marks, Seen, WALK_CACHE_BYTES, Walk};
use crate::core::{Contents, Core};
use crate::engine::{Batch, Edits, ObjectEntry, keys};
use crate::object::{Commit, Tag};
use crate::refs::HEADS;
use crate::{Error, Result, zlib};

/// Branches for which it is noted; a walk each.
const BRANCHES_MAX: usize = 8;
/// Commits that are looked at for one whose reach is known, before everything is walked.
const LOOKED_AT_MAX: usize = 10_000;
/// A walk that found so many objects is noted.
const NOTED_FROM: usize = 20_000;
/// A look-up of one object takes as long as going past so many.
const LOOK_UP_COST: usize = 20;
/// Bytes of a chunk of marks.
const CHUNK_BYTES: u64 = 8 << 10;

/// Drops what was noted, so that nothing old is believed when objects go, or come back under other numbers.
pub(crate) fn forget_reach(core: &Core) -> Result<()> {
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
        let mut seen = Seen::default();
        let mut walk = Walk { core, bases: &bases, open: vec![(head, 0)], seen: &mut seen };
        while walk.next(&mut marks)?.is_some() {
            core.engine.refuse_when_closing()?;
        }
        let edits = |(at, bytes): (u64, Vec<u8>)| (keys::reach(&head, at), Some(zlib::deflate(&bytes)));
        let edits: Edits = marks.chunks().map(edits).collect();
        core.engine.write_edits_unflushed(edits)?;
    }
    Ok(())
}

/// Everything that some commits, and tags of commits, reach; `None` when anything else is wanted. What was noted is
/// taken, what came since is walked; a long walk is noted, so that the next clone has it.
pub(crate) fn closure(
    core: &Core,
    objects: &dyn Objects,
    wanted: &[ObjectId],
) -> std::result::Result<Option<Marks>, RepositoryError> {
    let sweeps = core.sweeps();
    let Some((head, others)) = heads(core, wanted)? else { return Ok(None) };
    let noted = noted(core)?;
    let mut known = known_commits(core, &[head], &noted)?;
    let mut marks = Marks::default();
    if !read_notes(core, &known, &mut marks)? {
        return Ok(None);
    }
    let found = walk(objects, &[head], &known)?;
    match note_walk(core, &head, &known, &marks, &found, sweeps)? {
        Some(all) => marks = all,
        None => mark(core, &found, &mut marks)?,
    }
    if !others.is_empty() {
        let more = known_commits(core, &others, &noted)?;
        if !read_notes(core, &more, &mut marks)? {
            return Ok(None);
        }
        known.extend(more);
        known.push(head);
        mark(core, &walk(objects, &others, &known)?, &mut marks)?;
    }
    Ok(Some(marks))
}

/// Marks what was found: each is looked up, or, where that is less work, the whole index is gone through.
fn mark(core: &Core, found: &Selection, marks: &mut Marks) -> Result<()> {
    if (found.len() * LOOK_UP_COST) as u64 <= marks.count() {
        for id in found.iter() {
            marks.add(core.any_entry(&id)?.ok_or(Error::Missing(id))?.number);
        }
        return Ok(());
    }
    core.each(b"o", |key, value| {
        if ObjectId::from_bytes(&key[1..]).is_some_and(|id| found.contains(&id)) {
            marks.add(ObjectEntry::decode_first(value)?.0.number);
        }
        Ok(())
    })
}

/// The first commit that is wanted, and everything else; `None` unless all are commits or tags of commits.
fn heads(core: &Core, wanted: &[ObjectId]) -> Result<Option<(ObjectId, Vec<ObjectId>)>> {
    let (mut head, mut others) = (None, Vec::new());
    for id in wanted {
        let mut at = *id;
        while core.object_entry(&at)?.is_some_and(|entry| entry.kind == Kind::Tag) {
            at = Tag::parse(&core.typed(&at, Kind::Tag)?)?.target;
        }
        if core.object_entry(&at)?.is_none_or(|entry| entry.kind != Kind::Commit) {
            return Ok(None);
        }
        if head.is_none() && at == *id { head = Some(at) } else { others.push(*id) }
    }
    Ok(head.map(|head| (head, others)))
}

/// The commits whose reach is noted.
fn noted(core: &Core) -> Result<HashSet<ObjectId>> {
    let mut noted = HashSet::new();
    core.each(b"b", |key, _| {
        noted.extend(ObjectId::from_bytes(&key[1..21.min(key.len())]));
        Ok(())
    })?;
    Ok(noted)
}

fn read_notes(core: &Core, known: &[ObjectId], marks: &mut Marks) -> Result<bool> {
    let mut fits = true;
    for id in known {
        core.each(&keys::reach_of(id), |key, value| {
            let at = u64::from_be_bytes(crate::engine::Take(&key[21..]).array()?);
            fits &= marks.add_chunk(at, &zlib::inflate(value, CHUNK_BYTES)?);
            Ok(())
        })?;
    }
    Ok(fits)
}

/// What is reached from some objects, and not from commits that are known.
fn walk(
    objects: &dyn Objects,
    wanted: &[ObjectId],
    known: &[ObjectId],
) -> std::result::Result<Selection, RepositoryError> {
    let history = History::new(objects, HashSet::new());
    let limits = Limits::default();
    let found = select(objects, &history, wanted, known, Filter::default(), &limits);
    found.map_err(|error| match error {
        WalkError::Repository(error) => error,
        other => RepositoryError::Failed(other.to_string()),
    })
}

/// Writes down what a long walk has found, unflushed: what a commit reaches, beyond what is noted of the known ones.
/// Those notes are dropped, it takes their place. Nothing is noted while a collection is at work, when one was since the
/// walk began, or when the device has no room. Gives what was noted.
pub(crate) fn note_walk(
    core: &Core,
    head: &ObjectId,
    known: &[ObjectId],
    marks: &Marks,
    found: &Selection,
    sweeps: u64,
) -> Result<Option<Marks>> {
    if found.len() < NOTED_FROM {
        return Ok(None);
    }
    let Ok(_alone) = core.collecting.try_lock() else { return Ok(None) };
    if core.sweeps() != sweeps || noted(core)?.len() > known.len() + BRANCHES_MAX {
        return Ok(None);
    }
    let mut marks = marks.clone();
    let mut edits = Edits::new();
    mark(core, found, &mut marks)?;
    for id in known {
        core.each(&keys::reach_of(id), |key, _| {
            edits.push((key.to_vec(), None));
            Ok(())
        })?;
    }
    let chunks = marks.chunks();
    edits.extend(chunks.map(|(at, bytes)| (keys::reach(head, at), Some(zlib::deflate(&bytes)))));
    match core.engine.write_unflushed(Batch { edits, ..Batch::default() }) {
        Err(Error::Full { .. } | Error::ReadOnly { .. }) => Ok(None),
        done => done.map(|()| Some(marks)),
    }
}

/// The nearest commits behind the wanted ones whose reach was noted.
fn known_commits(core: &Core, wanted: &[ObjectId], noted: &HashSet<ObjectId>) -> Result<Vec<ObjectId>> {
    let mut found = Vec::new();
    if noted.is_empty() {
        return Ok(found);
    }
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
