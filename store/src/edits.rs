//! A set of changes to a tree, kept as a tree itself: what a transaction has said so far.

use std::collections::{BTreeMap, HashMap};

use git_wire::ObjectId;

use crate::object::{Mode, RawEntry, borrow_tree, tree_order};
use crate::staging::Staging;
use crate::{Error, Result, TreePath};

/// Changed names of a directory that are few.
const FEW: usize = 16;

/// What stands at a name, with the changes below it.
#[derive(Debug, Clone, Default)]
pub(crate) struct EditTree {
    /// Set when this name was written: to an entry, or to nothing.
    set: Option<Option<(Mode, ObjectId)>>,
    /// Changes below, made after `set`.
    children: BTreeMap<Vec<u8>, EditTree>,
}

/// What the changes say about a path.
pub(crate) enum Edited {
    /// Nothing: ask the tree below.
    No,
    /// It is this.
    Entry(Option<(Mode, ObjectId)>),
    /// It is a directory with changes in it.
    Directory,
}

impl EditTree {
    pub fn is_empty(&self) -> bool {
        self.set.is_none() && self.children.is_empty()
    }

    /// Writes an entry, or removes what is there.
    pub fn set(&mut self, path: &TreePath, entry: Option<(Mode, ObjectId)>) {
        let mut node = self;
        for name in path.components() {
            node = node.children.entry(name.to_vec()).or_default();
        }
        *node = EditTree { set: Some(entry), children: BTreeMap::new() };
    }

    /// What the changes say about a path; a changed ancestor's tree is given with the rest of the path.
    pub fn get(&self, path: &TreePath) -> (Edited, Option<(ObjectId, TreePath)>) {
        let names: Vec<&[u8]> = path.components().collect();
        let mut node = Some(self);
        let (mut above, mut since) = (self.set, 0);
        for (depth, name) in names.iter().enumerate() {
            node = node.and_then(|node| node.children.get(*name));
            let Some(child) = node else { break };
            if child.set.is_some() {
                (above, since) = (child.set, depth + 1);
            }
        }
        match node {
            Some(node) if !node.children.is_empty() => return (Edited::Directory, None),
            Some(EditTree { set: Some(entry), .. }) => return (Edited::Entry(*entry), None),
            _ => {}
        }
        match above {
            None => (Edited::No, None),
            Some(Some((Mode::Directory, tree))) => {
                let rest = names[since..].iter().fold(TreePath::root(), |rest, name| rest.child(name));
                (Edited::No, Some((tree, rest)))
            }
            Some(_) => (Edited::Entry(None), None),
        }
    }

    /// Every written path with what was written, parents before children.
    pub fn leaves(&self) -> Vec<(TreePath, Option<(Mode, ObjectId)>)> {
        let mut found = Vec::new();
        self.collect(&TreePath::root(), &mut found);
        found
    }

    fn collect(&self, path: &TreePath, found: &mut Vec<(TreePath, Option<(Mode, ObjectId)>)>) {
        if let Some(entry) = self.set {
            found.push((path.clone(), entry));
        }
        for (name, child) in &self.children {
            child.collect(&path.child(name), found);
        }
    }

    /// Makes the changed tree. `None` is an empty directory, which Git does not keep.
    pub fn apply(&self, staging: &mut Staging<'_>, tree: Option<ObjectId>) -> Result<Option<ObjectId>> {
        let base = tree.map(|id| (Mode::Directory, id));
        match self.entry(staging, base, &TreePath::root())? {
            None => Ok(None),
            Some((Mode::Directory, id)) => Ok(Some(id)),
            Some((mode, _)) => {
                Err(Error::WrongKind { path: TreePath::root(), is: mode.word(), wanted: "a directory" })
            }
        }
    }

    fn entry(
        &self,
        staging: &mut Staging<'_>,
        old: Option<(Mode, ObjectId)>,
        path: &TreePath,
    ) -> Result<Option<(Mode, ObjectId)>> {
        let below = self.set.unwrap_or(old);
        if self.children.is_empty() {
            return Ok(below);
        }
        let base = match below {
            None => None,
            Some((Mode::Directory, id)) => Some(id),
            // A file under which only removals were asked for stays what it is.
            Some(entry) if self.only_removes() => return Ok(Some(entry)),
            Some((mode, _)) => {
                return Err(Error::WrongKind { path: path.clone(), is: mode.word(), wanted: "a directory" });
            }
        };
        let bytes = staging.tree_bytes(base)?;
        let mut entries = borrow_tree(&bytes)?;
        let mut changes: BTreeMap<&[u8], Option<(Mode, ObjectId)>> = BTreeMap::new();
        // A few names are found quicker than a table is made.
        let known: Option<HashMap<&[u8], (Mode, ObjectId)>> = (self.children.len() > FEW)
            .then(|| entries.iter().map(|entry| (entry.name, (entry.mode, entry.id))).collect());
        for (name, child) in &self.children {
            let old = match &known {
                Some(known) => known.get(&name[..]).copied(),
                None => entries.iter().find(|one| one.name == *name).map(|one| (one.mode, one.id)),
            };
            let new = child.entry(staging, old, &path.child(name))?;
            if old != new {
                changes.insert(name, new);
            }
        }
        if changes.is_empty() {
            return Ok(base.map(|id| (Mode::Directory, id)));
        }
        entries.retain(|entry| !changes.contains_key(entry.name));
        let added =
            changes.into_iter().filter_map(|(name, new)| new.map(|(mode, id)| RawEntry { mode, name, id }));
        entries.extend(added);
        sort_tree(&mut entries);
        if entries.is_empty() {
            return Ok(None);
        }
        Ok(Some((Mode::Directory, staging.put_tree(&entries, base.or(old_tree(old)))?)))
    }

    fn only_removes(&self) -> bool {
        self.children.values().all(|child| matches!(child.set, None | Some(None)) && child.only_removes())
    }
}

fn old_tree(old: Option<(Mode, ObjectId)>) -> Option<ObjectId> {
    old.filter(|(mode, _)| *mode == Mode::Directory).map(|(_, id)| id)
}

/// Puts entries into Git's order.
pub(crate) fn sort_tree<N: AsRef<[u8]>>(entries: &mut [RawEntry<N>]) {
    let is_directory = |entry: &RawEntry<N>| entry.mode == Mode::Directory;
    entries.sort_by(|a, b| tree_order(a.name.as_ref(), is_directory(a), b.name.as_ref(), is_directory(b)));
}
