//! Finding where a removed file went: to a file that its side added, with the same or mostly the same content.

use std::collections::HashSet;

use git_wire::{Kind, ObjectId};

use super::tree::Removed;
use crate::object::Mode;
use crate::staging::Staging;
use crate::{Result, TreePath, diff};

/// Most added files that are compared by content.
const CANDIDATES_MAX: usize = 400;
/// Largest file that is compared by content.
const COMPARED_BYTES_MAX: u64 = 1 << 20;

/// Where the side that removed the file has put it, if anywhere: at least half of its lines are there.
pub(crate) fn target(
    staging: &Staging<'_>,
    removed: &Removed,
    base: Option<ObjectId>,
    mover: Option<ObjectId>,
) -> Result<Option<(TreePath, (Mode, ObjectId))>> {
    if !removed.base.0.is_blob() {
        return Ok(None);
    }
    let changes = diff::between(staging.core, base, mover, &TreePath::root())?;
    let added = changes.into_iter().filter(|change| change.is_added()).filter_map(|change| change.after);
    let added: Vec<_> = added.filter(|entry| entry.kind.is_blob()).collect();
    if let Some(same) = added.iter().find(|entry| entry.id == removed.base.1) {
        return Ok(Some((same.path.clone(), (same.kind, same.id))));
    }
    if added.len() > CANDIDATES_MAX || staging.size_bytes(&removed.base.1)? > COMPARED_BYTES_MAX {
        return Ok(None);
    }
    let original = staging.typed(&removed.base.1, Kind::Blob)?;
    let lines = line_set(&original);
    let mut best = None;
    for entry in added {
        if staging.size_bytes(&entry.id)? > COMPARED_BYTES_MAX {
            continue;
        }
        let content = staging.typed(&entry.id, Kind::Blob)?;
        let likeness = likeness(&lines, original.len(), &content);
        if likeness >= 50 && best.as_ref().is_none_or(|(most, _)| likeness > *most) {
            best = Some((likeness, entry));
        }
    }
    Ok(best.map(|(_, entry)| (entry.path, (entry.kind, entry.id))))
}

fn line_set(content: &[u8]) -> HashSet<&[u8]> {
    content.split_inclusive(|&byte| byte == b'\n').collect()
}

/// Shared bytes of lines, in percent of the larger file.
fn likeness(lines: &HashSet<&[u8]>, len: usize, content: &[u8]) -> usize {
    let shared: usize =
        line_set(content).iter().filter(|line| lines.contains(*line)).map(|line| line.len()).sum();
    shared * 100 / len.max(content.len()).max(1)
}
