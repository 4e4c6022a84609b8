//! Where files and directories went that one side removed: to what the same side added, with the same or mostly the same
//! content.

use std::collections::{HashMap, HashSet};

use git_wire::{Kind, ObjectId};

use super::entry::Found;
use super::tree::Removed;
use crate::object::Mode;
use crate::staging::Staging;
use crate::{Entry, Result, TreePath, diff};

/// Most added files that are compared by content.
const CANDIDATES_MAX: usize = 400;
/// Largest file that is compared by content.
const COMPARED_BYTES_MAX: u64 = 1 << 20;

/// What one side of a merge did to the base.
pub(crate) struct Moves {
    pub added: Vec<Entry>,
    by_id: HashMap<ObjectId, Vec<usize>>,
    removed: Vec<Entry>,
}

impl Moves {
    pub fn new(staging: &Staging<'_>, base: Option<ObjectId>, side: Option<ObjectId>) -> Result<Moves> {
        let root = |tree: Option<ObjectId>| tree.map(|id| (Mode::Directory, id));
        let read = |id: &ObjectId| staging.tree(Some(*id));
        let changes = diff::between_entries(&read, &TreePath::root(), root(base), root(side))?;
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for change in changes {
            match (change.before, change.after) {
                (None, Some(after)) if after.kind.is_blob() => added.push(after),
                (Some(before), None) if before.kind.is_blob() => removed.push(before),
                _ => {}
            }
        }
        let mut by_id: HashMap<ObjectId, Vec<usize>> = HashMap::new();
        added.iter().enumerate().for_each(|(at, entry)| by_id.entry(entry.id).or_default().push(at));
        Ok(Moves { added, by_id, removed })
    }

    /// Where a file has gone, if anywhere: at least half of its lines are there.
    pub fn file(
        &self,
        staging: &Staging<'_>,
        file: &Removed,
    ) -> Result<Option<(TreePath, (Mode, ObjectId))>> {
        if !file.base.0.is_blob() {
            return Ok(None);
        }
        if let Some(same) = self.same(&file.base.1).next() {
            return Ok(Some((same.path.clone(), (same.kind, same.id))));
        }
        if self.added.len() > CANDIDATES_MAX || staging.size_bytes(&file.base.1)? > COMPARED_BYTES_MAX {
            return Ok(None);
        }
        let original = staging.typed(&file.base.1, Kind::Blob)?;
        let lines = line_set(&original);
        let mut best: Option<(usize, &Entry)> = None;
        for entry in &self.added {
            if staging.size_bytes(&entry.id)? > COMPARED_BYTES_MAX {
                continue;
            }
            let content = staging.typed(&entry.id, Kind::Blob)?;
            let likeness = likeness(&lines, original.len(), &content);
            if likeness >= 50 && best.is_none_or(|(most, _)| likeness > most) {
                best = Some((likeness, entry));
            }
        }
        Ok(best.map(|(_, entry)| (entry.path.clone(), (entry.kind, entry.id))))
    }

    /// What was added with a content.
    fn same(&self, id: &ObjectId) -> impl Iterator<Item = &Entry> {
        self.by_id.get(id).into_iter().flatten().map(|at| &self.added[*at])
    }

    /// Where a directory has gone: more than half of its files are, under their names, in one other.
    pub fn directory(&self, directory: &TreePath) -> Option<TreePath> {
        let mut targets: HashMap<TreePath, usize> = HashMap::new();
        let mut files = 0;
        for gone in self.removed.iter().filter(|gone| gone.path.is_under(directory)) {
            files += 1;
            let rest = gone.path.as_bytes().get(directory.as_bytes().len()..).unwrap_or_default();
            let mut parents =
                self.same(&gone.id).filter_map(|added| added.path.as_bytes().strip_suffix(rest));
            if let Some(target) = parents.find_map(|parent| TreePath::new(parent).ok()) {
                *targets.entry(target).or_default() += 1;
            }
        }
        let (target, moved) = targets.into_iter().max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(&a.0)))?;
        (moved * 2 > files && !target.is_root()).then_some(target)
    }
}

/// A path in a directory that went elsewhere, as it is there.
pub(crate) fn followed(path: &TreePath, from: &TreePath, to: &TreePath) -> Result<TreePath> {
    let rest = path.as_bytes().get(from.as_bytes().len()..).unwrap_or_default();
    TreePath::new([to.as_bytes(), rest].concat())
}

/// A directory that one side removed and the other one changed.
pub(crate) struct Vanished {
    pub path: TreePath,
    pub by_us: bool,
}

impl Vanished {
    pub fn of(path: &TreePath, base: Found, ours: Found, theirs: Found) -> Option<Vanished> {
        let is_directory = |found: Found| found.is_some_and(|(mode, _)| mode == Mode::Directory);
        let removed = |one: Found, other: Found| one.is_none() && is_directory(other) && other != base;
        if !is_directory(base) || path.is_root() {
            return None;
        }
        let by_us = removed(ours, theirs);
        (by_us || removed(theirs, ours)).then(|| Vanished { path: path.clone(), by_us })
    }
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
