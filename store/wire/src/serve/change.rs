//! What a push would change, for the hook that decides about it. Found out when the hook asks.

use std::collections::HashSet;

use crate::object::{EntryKind, commit_links, tree_entries};
use crate::walk::{History, Selection};
use crate::{Kind, Limits, ObjectId, Objects};

/// One ref that a push would move, as a hook sees it.
pub struct RefChange<'a> {
    /// Who pushes, as the caller knows them.
    pub user: &'a str,
    /// The ref's full name.
    pub name: &'a [u8],
    /// What it names now; zero for a new ref.
    pub old: ObjectId,
    /// What it shall name; zero to delete it.
    pub new: ObjectId,
    /// What the pusher said with `-o`.
    pub options: &'a [Vec<u8>],
    pub(super) objects: &'a dyn Objects,
    /// What the push brought.
    pub(super) arrived: &'a Selection,
    pub(super) limits: &'a Limits,
}

/// Paths that a push changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangedPaths {
    /// All of them, sorted.
    All(Vec<Vec<u8>>),
    /// Too many to be listed, or not to be found out; a hook that cares should refuse.
    Many,
}

/// Decides for one ref; `Err` holds a few words for the pusher.
pub type Hook<'a> = dyn FnMut(&RefChange<'_>) -> Result<(), String> + 'a;

impl RefChange<'_> {
    /// False when commits would be lost from the branch.
    pub fn fast_forward(&self) -> bool {
        if self.old.is_zero() || self.old == self.new {
            return true;
        }
        if self.new.is_zero() {
            return false;
        }
        let history = History::new(self.objects, HashSet::new());
        history.all_reach(&[self.new], &HashSet::from([self.old]), FORWARD_COMMITS_MAX).unwrap_or(false)
    }

    /// What differs between old and new, and what any new commit changed on the way.
    pub fn paths(&self) -> ChangedPaths {
        let mut paths = Paths { objects: self.objects, found: Some(HashSet::new()), limits: self.limits };
        paths.collect(self.old, self.new, self.arrived);
        paths.finish()
    }
}

/// A branch that goes forward by more is taken for one that does not.
const FORWARD_COMMITS_MAX: usize = 1_000_000;

/// Finds the paths that a push changes. Anything that cannot be found out makes it "many".
struct Paths<'a> {
    objects: &'a dyn Objects,
    found: Option<HashSet<Vec<u8>>>,
    limits: &'a Limits,
}

impl Paths<'_> {
    fn collect(&mut self, old: ObjectId, new: ObjectId, arrived: &Selection) {
        if !old.is_zero() {
            self.diff(self.tree_of(old), self.tree_of(new), &mut Vec::new(), 0);
        }
        let mut seen = HashSet::new();
        let mut todo = vec![new];
        while let Some(id) = todo.pop() {
            if self.found.is_none() || !arrived.contains(&id) || !seen.insert(id) {
                continue;
            }
            let links = self.read(id, Kind::Commit).and_then(|content| commit_links(&content).ok());
            let Some(links) = links else {
                self.found = None;
                return;
            };
            // A merge's own changes are those against its first parent.
            let parent = links.parents.first().and_then(|parent| self.tree_of(*parent));
            self.diff(parent, Some(links.tree), &mut Vec::new(), 0);
            todo.extend(links.parents);
        }
    }

    fn tree_of(&self, id: ObjectId) -> Option<ObjectId> {
        let content = self.read(id, Kind::Commit)?;
        commit_links(&content).ok().map(|links| links.tree)
    }

    fn read(&self, id: ObjectId, kind: Kind) -> Option<Vec<u8>> {
        let object = self.objects.read(&id, 32 << 20).ok()??;
        (object.kind == kind).then_some(object.content)
    }

    fn diff(&mut self, old: Option<ObjectId>, new: Option<ObjectId>, path: &mut Vec<u8>, level: usize) {
        if old == new || self.found.is_none() {
            return;
        }
        if level > self.limits.tree_depth_max {
            self.found = None;
            return;
        }
        let read = |id: Option<ObjectId>| id.map(|id| self.read(id, Kind::Tree)).unwrap_or(Some(Vec::new()));
        let (Some(old), Some(new)) = (read(old), read(new)) else {
            self.found = None;
            return;
        };
        let mut names: std::collections::BTreeMap<&[u8], [Option<(EntryKind, ObjectId, &[u8])>; 2]> =
            Default::default();
        for (side, content) in [&old, &new].into_iter().enumerate() {
            for entry in tree_entries(content).flatten() {
                names.entry(entry.name).or_default()[side] = Some((entry.kind(), entry.id, entry.mode));
            }
        }
        for (name, [old, new]) in names.into_iter().filter(|(_, [old, new])| old != new) {
            let length = path.len();
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            let tree = |one: Option<(EntryKind, ObjectId, &[u8])>| {
                one.filter(|(kind, ..)| *kind == EntryKind::Tree).map(|(_, id, _)| id)
            };
            let file = |one: Option<(EntryKind, ObjectId, &[u8])>| {
                one.is_some_and(|(kind, ..)| kind != EntryKind::Tree)
            };
            if file(old) || file(new) {
                self.note(path);
            }
            if tree(old).is_some() || tree(new).is_some() {
                self.diff(tree(old), tree(new), path, level + 1);
            }
            path.truncate(length);
        }
    }

    fn note(&mut self, path: &[u8]) {
        if let Some(found) = &mut self.found {
            found.insert(path.to_vec());
            if found.len() > self.limits.changed_paths_max {
                self.found = None;
            }
        }
    }

    fn finish(self) -> ChangedPaths {
        match self.found {
            Some(found) => {
                let mut paths: Vec<Vec<u8>> = found.into_iter().collect();
                paths.sort_unstable();
                ChangedPaths::All(paths)
            }
            None => ChangedPaths::Many,
        }
    }
}
