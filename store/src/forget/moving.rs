//! Moving objects out of segments that are to be given up, and packing them on the way.

use std::collections::BTreeSet;
use std::sync::Arc;

use git_wire::{Kind, ObjectId};

use super::marks::Reached;
use super::similar::Chooser;
use crate::core::Core;
use crate::engine::{Delta, Moved, ObjectEntry};
use crate::{Error, Result, zlib};

/// Bytes of one record of copies.
const RECORD_BYTES: usize = 200 << 10;

/// What one pass over the index finds.
#[derive(Default)]
pub(super) struct Scan {
    /// What lies in the victims, in the order in which it is to be written.
    moves: Vec<Move>,
    /// What is made from something that will be gone.
    orphans: Vec<ObjectId>,
    /// What nothing reaches.
    pub dead: Vec<ObjectId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Move {
    /// Commits together, then the versions of each directory, then files.
    rank: u8,
    path: u32,
    number: u64,
    id: ObjectId,
}

/// Looks through the index for what lies in the victims; the first time also for what is to go.
pub(super) fn scan(core: &Core, reached: &Reached, victims: &BTreeSet<u32>, first: bool) -> Result<Scan> {
    let mut scan = Scan::default();
    core.each(b"o", |key, value| {
        let entry = ObjectEntry::decode(value)?;
        let id = || ObjectId::from_bytes(&key[1..]).ok_or_else(|| Error::corrupt("a key of the index"));
        if !reached.keeps(entry.number) {
            if first {
                scan.dead.push(id()?);
            }
            return Ok(());
        }
        if entry.parts.iter().any(|part| victims.contains(&core.engine.segment_of(part))) {
            let (rank, path) = match entry.kind {
                Kind::Tag | Kind::Commit => (0, 0),
                Kind::Tree => (1, reached.paths.of(entry.number)),
                Kind::Blob => (2, 0),
            };
            scan.moves.push(Move { rank, path, number: entry.number, id: id()? });
        } else if first && base_is_gone(core, reached, &entry)? {
            scan.orphans.push(id()?);
        }
        Ok(())
    })?;
    scan.moves.sort_unstable();
    Ok(scan)
}

fn base_is_gone(core: &Core, reached: &Reached, entry: &ObjectEntry) -> Result<bool> {
    let Some(Delta { base, .. }) = entry.delta else { return Ok(false) };
    Ok(core.any_entry(&base)?.is_none_or(|base| !reached.keeps(base.number)))
}

/// Copies what a scan found. The copies count when the next checkpoint is durable.
pub(super) fn copy(core: &Arc<Core>, reached: &Reached, chooser: &mut Chooser, scan: &Scan) -> Result<()> {
    let mut moved = Vec::new();
    let mut bytes = 0;
    let moves = scan.moves.iter().map(|one| (one.id, one.path));
    for (id, path) in scan.orphans.iter().map(|id| (*id, 0)).chain(moves) {
        core.engine.refuse_when_closing()?;
        bytes += move_one(core, reached, chooser, &id, path, &mut moved)?;
        if bytes >= RECORD_BYTES {
            core.engine.write_moved(std::mem::take(&mut moved))?;
            bytes = 0;
        }
    }
    core.engine.write_moved(moved)
}

/// Reads one object for its move; gives its bytes.
fn move_one(
    core: &Arc<Core>,
    reached: &Reached,
    chooser: &mut Chooser,
    id: &ObjectId,
    path: u32,
    moved: &mut Vec<Moved>,
) -> Result<usize> {
    let Some(mut entry) = core.any_entry(id)? else { return Ok(0) };
    if base_is_gone(core, reached, &entry)? {
        let stream = zlib::deflate(&core.content(id, &entry, &core.cache)?);
        let bytes = stream.len();
        entry.delta = None;
        chooser.note(*id, None);
        moved.push(Moved { id: *id, entry, base_number: 0, stream: Some(stream) });
        return Ok(bytes);
    }
    if entry.parts.len() > 1 {
        // A large one goes piece by piece.
        let mut parts = Vec::with_capacity(entry.parts.len());
        for part in &entry.parts {
            parts.extend(core.engine.write_copy(&core.engine.read_part(part)?)?);
        }
        moved.push(Moved { id: *id, entry: ObjectEntry { parts, ..entry }, base_number: 0, stream: None });
        return Ok(0);
    }
    let stream = match chooser.delta(core, id, &entry, path, reached.is_fresh(entry.number))? {
        Some(found) => {
            entry.delta = Some(found.delta);
            found.stream
        }
        None => core.stream(&entry)?,
    };
    let mut base_number = 0;
    if let Some(delta) = &mut entry.delta {
        let base = core.any_entry(&delta.base)?.ok_or(Error::Missing(delta.base))?;
        // The base may have been packed itself since the delta was made.
        let above = chooser.made_from(core, &delta.base)?.flatten();
        delta.depth = above.map_or(0, |delta| delta.depth).saturating_add(1);
        base_number = base.number;
    }
    let bytes = stream.len();
    chooser.note(*id, entry.delta);
    moved.push(Moved { id: *id, entry, base_number, stream: Some(stream) });
    Ok(bytes)
}
