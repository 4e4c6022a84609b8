//! Merging what stands at one path, when all three are files or nothing.

use git_wire::{Kind, ObjectId};

use super::{Context, Merge, Outcome, Removal, Sides, Text};
use crate::object::Mode;
use crate::staging::Staging;
use crate::{Result, TreePath};

pub(crate) type Found = Option<(Mode, ObjectId)>;

/// Largest file that a policy is asked about; larger ones conflict when both sides changed them.
const MERGED_BYTES_MAX: u64 = 16 << 20;

/// What merging one path gave.
pub(crate) struct EntryMerge {
    pub kept: Found,
    /// Why it is a conflict, and by which policy.
    pub conflict: Option<(String, String)>,
}

impl EntryMerge {
    fn clean(kept: Found) -> EntryMerge {
        EntryMerge { kept, conflict: None }
    }

    fn conflict(kept: Found, policy: &str, why: impl Into<String>) -> EntryMerge {
        EntryMerge { kept, conflict: Some((policy.to_owned(), why.into())) }
    }
}

/// Merges files. `policy` is the one registered for the path, if any.
pub(crate) fn files(
    staging: &mut Staging<'_>,
    path: &TreePath,
    base: Found,
    ours: Found,
    theirs: Found,
    sides: &Sides,
) -> Result<EntryMerge> {
    let policy = staging.core.options.policies.of(path).cloned();
    let adds_up = policy.as_ref().is_some_and(|policy| policy.adds_up());
    if base == theirs || (ours == theirs && !adds_up) {
        return Ok(EntryMerge::clean(ours));
    }
    if base == ours {
        return Ok(EntryMerge::clean(theirs));
    }
    let (ours, theirs) = match (ours, theirs) {
        (Some(ours), Some(theirs)) => (ours, theirs),
        (None, None) => return Ok(EntryMerge::clean(None)),
        (ours, theirs) => return Ok(removal(policy.as_deref(), ours.or(theirs))),
    };
    if ours.1 == theirs.1 && !adds_up {
        return Ok(EntryMerge::clean(Some((mode(base, ours.0, theirs.0), ours.1))));
    }
    let mergeable = |mode: Mode| matches!(mode, Mode::File | Mode::Executable);
    if !mergeable(ours.0) || !mergeable(theirs.0) {
        return Ok(EntryMerge::conflict(Some(ours), "none", "both sides changed a link or submodule"));
    }
    let base_blob = base.filter(|(mode, _)| mergeable(*mode)).map(|(_, id)| id);
    for id in [Some(ours.1), Some(theirs.1), base_blob].into_iter().flatten() {
        if staging.size_bytes(&id)? > MERGED_BYTES_MAX {
            return Ok(EntryMerge::conflict(
                Some(ours),
                "none",
                "both sides changed a file too large to merge",
            ));
        }
    }
    let read = |staging: &Staging<'_>, id: ObjectId| staging.typed(&id, Kind::Blob);
    let base_bytes = base_blob.map(|id| read(staging, id)).transpose()?;
    let (our_bytes, their_bytes) = (read(staging, ours.1)?, read(staging, theirs.1)?);
    // Who is "ours" must not matter to a policy's clean result, so both are always given as they are.
    let context = Context { path, ours: sides.ours.as_ref(), theirs: sides.theirs.as_ref() };
    let policy: &dyn Merge = policy.as_deref().unwrap_or(&Text);
    let merged_mode = mode(base, ours.0, theirs.0);
    match policy.merge(base_bytes.as_deref(), &our_bytes, &their_bytes, &context) {
        Outcome::Merged(bytes) => {
            let id = staging.put(Kind::Blob, bytes)?;
            Ok(EntryMerge::clean(Some((merged_mode, id))))
        }
        Outcome::Conflict { kept, why } => {
            let id = staging.put(Kind::Blob, kept)?;
            Ok(EntryMerge::conflict(Some((merged_mode, id)), policy.name(), why))
        }
    }
}

fn removal(policy: Option<&dyn Merge>, changed: Found) -> EntryMerge {
    match policy.map_or(Removal::Conflict, Merge::on_removal) {
        Removal::Remove => EntryMerge::clean(None),
        Removal::Keep => EntryMerge::clean(changed),
        Removal::Conflict => {
            let name = policy.map_or("none", Merge::name);
            EntryMerge::conflict(changed, name, "one side removed what the other one changed")
        }
    }
}

/// The mode changes when one side changed it.
fn mode(base: Found, ours: Mode, theirs: Mode) -> Mode {
    if base.is_some_and(|(mode, _)| mode == ours) { theirs } else { ours }
}

/// Merges a transaction's edit onto a branch that moved: by the registered policy, and without one (or when it cannot)
/// the edit wins; what it replaced is in the history.
pub(crate) fn entry_or_theirs(
    staging: &mut Staging<'_>,
    path: &TreePath,
    base: Found,
    ours: Found,
    theirs: Found,
    sides: &Sides,
) -> Result<Found> {
    let is_file = |found: Found| found.is_none_or(|(mode, _)| mode != Mode::Directory);
    if staging.core.options.policies.of(path).is_none() || ![base, ours, theirs].into_iter().all(is_file) {
        return Ok(theirs);
    }
    let merged = files(staging, path, base, ours, theirs, sides)?;
    Ok(if merged.conflict.is_some() { theirs } else { merged.kept })
}
