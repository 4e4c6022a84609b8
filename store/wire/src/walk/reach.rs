//! What may be given away: only objects that an advertised ref reaches. Whoever knows the id of something else (of a
//! deleted branch, of another account in the same store) is told that it is not there.

use std::collections::{BinaryHeap, HashSet};

use super::history::{COMMIT_BYTES_MAX, Queued};
use super::selection::{Selection, TREE_BYTES_MAX};
use super::{History, WalkError};
use crate::object::{EntryKind, tag_link, tree_entries};
use crate::{Kind, ObjectId, View};

/// Those of `ids` that no ref of the view reaches. What refs name costs nothing; else commits are walked, newest first,
/// and their trees, until all are found.
pub fn unreachable(view: &dyn View, ids: &[ObjectId]) -> Result<HashSet<ObjectId>, WalkError> {
    let mut search = Search::new(view, ids)?;
    if !search.is_over() {
        search.walk(i64::MIN)?;
    }
    Ok(search.into_missing())
}

/// Those of `ids` that are commits which a ref reaches, or that a ref names. A commit behind a wrong clock may be taken
/// for unreached: this is for what a client says it has, where that only makes the answer longer.
pub fn reached_commits(view: &dyn View, ids: &[ObjectId]) -> Result<Vec<ObjectId>, WalkError> {
    let mut search = Search::new(view, ids)?;
    search.hopeless.extend(std::mem::take(&mut search.files));
    if !search.is_over() {
        let oldest_s = search.commits_oldest_s()?;
        search.walk(oldest_s.saturating_sub(CLOCKS_DIFFER_S))?;
    }
    let missing = search.into_missing();
    Ok(ids.iter().filter(|id| !missing.contains(id)).copied().collect())
}

/// Machines whose clocks differ by less than a day are nothing special.
const CLOCKS_DIFFER_S: i64 = 86_400;

struct Search<'a> {
    view: &'a dyn View,
    /// Commits that refs name, after their tags.
    starts: Vec<ObjectId>,
    /// Trees that refs name.
    roots: Vec<ObjectId>,
    /// What is looked for: commits; trees and blobs; what cannot be reached.
    commits: HashSet<ObjectId>,
    files: HashSet<ObjectId>,
    hopeless: HashSet<ObjectId>,
    trees: Selection,
}

impl<'a> Search<'a> {
    fn new(view: &'a dyn View, ids: &[ObjectId]) -> Result<Search<'a>, WalkError> {
        let mut search = Search {
            view,
            starts: Vec::new(),
            roots: Vec::new(),
            commits: HashSet::new(),
            files: HashSet::new(),
            hopeless: HashSet::new(),
            trees: Selection::default(),
        };
        let mut wanted: HashSet<ObjectId> = ids.iter().copied().collect();
        let refs = view.refs(&[])?;
        for one in &refs {
            wanted.remove(&one.id);
            if let Some(peeled) = one.peeled {
                wanted.remove(&peeled);
            }
        }
        if wanted.is_empty() {
            return Ok(search);
        }
        for one in refs {
            search.start(one.id, &mut wanted)?;
        }
        for id in wanted {
            let group = match view.header(&id)?.map(|header| header.kind) {
                Some(Kind::Commit) => &mut search.commits,
                Some(Kind::Tree | Kind::Blob) => &mut search.files,
                // A tag is reached by refs and other tags alone.
                Some(Kind::Tag) | None => &mut search.hopeless,
            };
            group.insert(id);
        }
        Ok(search)
    }

    fn start(&mut self, mut id: ObjectId, wanted: &mut HashSet<ObjectId>) -> Result<(), WalkError> {
        loop {
            wanted.remove(&id);
            match self.view.header(&id)?.map(|header| header.kind) {
                Some(Kind::Commit) => self.starts.push(id),
                Some(Kind::Tree) => self.roots.push(id),
                Some(Kind::Tag) => {
                    let object = self.view.read(&id, COMMIT_BYTES_MAX)?.ok_or(WalkError::Missing(id))?;
                    id = tag_link(&object.content).map_err(|_| WalkError::Missing(id))?.target;
                    continue;
                }
                Some(Kind::Blob) | None => {}
            }
            return Ok(());
        }
    }

    fn is_over(&self) -> bool {
        self.commits.is_empty() && self.files.is_empty()
    }

    fn into_missing(self) -> HashSet<ObjectId> {
        self.commits.into_iter().chain(self.files).chain(self.hopeless).collect()
    }

    fn commits_oldest_s(&self) -> Result<i64, WalkError> {
        let history = History::new(self.view, HashSet::new());
        let mut oldest_s = i64::MAX;
        for id in &self.commits {
            oldest_s = oldest_s.min(history.commit(*id)?.committed_s);
        }
        Ok(oldest_s)
    }

    /// Newest commits first, each with its tree, down to those of `until_s`.
    fn walk(&mut self, until_s: i64) -> Result<(), WalkError> {
        for root in std::mem::take(&mut self.roots) {
            self.look_into(root)?;
        }
        let history = History::new(self.view, HashSet::new());
        let mut seen = Selection::default();
        let mut queue = BinaryHeap::new();
        let mut next = std::mem::take(&mut self.starts);
        loop {
            for id in next {
                if seen.insert(id) {
                    self.commits.remove(&id);
                    queue.push(Queued::from(history.commit(id)?));
                }
            }
            if self.is_over() {
                return Ok(());
            }
            let Some(Queued { committed_s, commit }) = queue.pop() else { return Ok(()) };
            if committed_s < until_s {
                return Ok(());
            }
            if !self.files.is_empty() {
                self.look_into(commit.tree)?;
            }
            next = commit.parents;
        }
    }

    /// Level by level, since what is looked for mostly lies beside what is changed often.
    fn look_into(&mut self, root: ObjectId) -> Result<(), WalkError> {
        self.files.remove(&root);
        let mut level = vec![root];
        while !level.is_empty() && !self.files.is_empty() {
            let mut below = Vec::new();
            for id in level {
                if !self.trees.insert(id) {
                    continue;
                }
                let object = self.view.read(&id, TREE_BYTES_MAX)?.ok_or(WalkError::Missing(id))?;
                for entry in tree_entries(&object.content) {
                    let entry = entry.map_err(|_| WalkError::Missing(id))?;
                    if entry.kind() != EntryKind::Submodule {
                        self.files.remove(&entry.id);
                    }
                    if entry.kind() == EntryKind::Tree {
                        below.push(entry.id);
                    }
                }
                if self.files.is_empty() {
                    return Ok(());
                }
            }
            level = below;
        }
        Ok(())
    }
}
