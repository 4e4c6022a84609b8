//! What differs between two trees. Subtrees with equal ids are never opened.

use std::cmp::Ordering;

use git_wire::ObjectId;

use crate::core::Core;
use crate::object::{Mode, RawEntry, tree_order};
use crate::snapshot::Entry;
use crate::{Result, TreePath};

/// One path that differs. Directories are not named, only what is in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub path: TreePath,
    /// What was there.
    pub before: Option<Entry>,
    /// What is there.
    pub after: Option<Entry>,
}

impl Change {
    /// Whether something is there that was not.
    pub fn is_added(&self) -> bool {
        self.before.is_none()
    }

    /// Whether nothing is there any more.
    pub fn is_removed(&self) -> bool {
        self.after.is_none()
    }
}

type Found = Option<(Mode, ObjectId)>;

pub(crate) fn between(
    core: &Core,
    old: Option<ObjectId>,
    new: Option<ObjectId>,
    prefix: &TreePath,
) -> Result<Vec<Change>> {
    let (old, new) = (core.lookup(old, prefix)?, core.lookup(new, prefix)?);
    between_entries(&|id| core.tree(id), prefix, old, new)
}

/// The same between two entries, with trees read by the caller.
pub(crate) fn between_entries(
    read: &dyn Fn(&ObjectId) -> Result<Vec<RawEntry>>,
    path: &TreePath,
    old: Found,
    new: Found,
) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    walk(read, path, old, new, &mut changes)?;
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(changes)
}

type Read<'r> = &'r dyn Fn(&ObjectId) -> Result<Vec<RawEntry>>;

fn walk(tree: Read<'_>, path: &TreePath, old: Found, new: Found, changes: &mut Vec<Change>) -> Result<()> {
    if old == new {
        return Ok(());
    }
    let entry = |found: Found| {
        let (kind, id) = found.filter(|(mode, _)| *mode != Mode::Directory)?;
        Some(Entry { path: path.clone(), kind, id })
    };
    let (before, after) = (entry(old), entry(new));
    if before.is_some() || after.is_some() {
        changes.push(Change { path: path.clone(), before, after });
    }
    let directory = |found: Found| found.filter(|(mode, _)| *mode == Mode::Directory).map(|(_, id)| id);
    let (old, new) = (directory(old), directory(new));
    if old.is_none() && new.is_none() {
        return Ok(());
    }
    let read = |id: Option<ObjectId>| id.map_or(Ok(Vec::new()), |id| tree(&id));
    for (name, old, new) in pair(&read(old)?, &read(new)?) {
        walk(tree, &path.child(name), old, new, changes)?;
    }
    Ok(())
}

/// Walks two sorted lists of entries side by side; an entry that is in one only is paired with nothing. A name that is
/// a file in one and a directory in the other comes twice.
pub(crate) fn pair<'a>(old: &'a [RawEntry], new: &'a [RawEntry]) -> Vec<(&'a [u8], Found, Found)> {
    let mut pairs = Vec::new();
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return pairs,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => {
                tree_order(&a.name, a.mode == Mode::Directory, &b.name, b.mode == Mode::Directory)
            }
        };
        let a = if order.is_le() { old.next() } else { None };
        let b = if order.is_ge() { new.next() } else { None };
        let found = |entry: Option<&RawEntry>| entry.map(|entry| (entry.mode, entry.id));
        let Some(name) = a.or(b).map(|entry| &entry.name[..]) else { return pairs };
        if found(a) != found(b) {
            pairs.push((name, found(a), found(b)));
        }
    }
}
