//! The commits behind a commit, and which of them changed a path.

use std::collections::{BinaryHeap, HashSet};

use git_wire::ObjectId;

use crate::object::{Commit, CommitId, Mode};
use crate::{Result, Store, TreePath};

/// Iterates over the commits that changed something at or below a path, youngest first, each once. Where one parent of
/// a merge has the same at the path, only that parent is followed, as `git log` does.
pub struct History {
    store: Store,
    path: TreePath,
    open: BinaryHeap<(i64, u64, CommitId)>,
    seen: HashSet<CommitId>,
    order: u64,
}

impl History {
    pub(crate) fn new(store: Store, from: Option<CommitId>, path: &[u8]) -> Result<History> {
        let path = TreePath::new(path)?;
        let mut history =
            History { store, path, open: BinaryHeap::new(), seen: HashSet::new(), order: u64::MAX };
        if let Some(from) = from {
            history.push(from)?;
        }
        Ok(history)
    }

    fn push(&mut self, id: CommitId) -> Result<()> {
        if self.seen.insert(id) {
            self.order -= 1;
            self.open.push((self.store.core().commit(id)?.committer.seconds, self.order, id));
        }
        Ok(())
    }

    fn at(&self, commit: &Commit) -> Result<Option<(Mode, ObjectId)>> {
        self.store.core().lookup(Some(commit.tree), &self.path)
    }

    /// Whether the commit is to be shown; its parents are queued.
    fn step(&mut self, id: CommitId) -> Result<Option<Commit>> {
        let commit = self.store.core().commit(id)?;
        if self.path.is_root() {
            for parent in &commit.parents {
                self.push(*parent)?;
            }
            return Ok(Some(commit));
        }
        let here = self.at(&commit)?;
        for parent in &commit.parents {
            if self.at(&self.store.core().commit(*parent)?)? == here {
                self.push(*parent)?;
                return Ok(None);
            }
        }
        for parent in &commit.parents {
            self.push(*parent)?;
        }
        Ok((here.is_some() || !commit.parents.is_empty()).then_some(commit))
    }
}

impl Iterator for History {
    type Item = Result<(CommitId, Commit)>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some((_, _, id)) = self.open.pop() {
            match self.step(id) {
                Ok(Some(commit)) => return Some(Ok((id, commit))),
                Ok(None) => {}
                Err(error) => {
                    self.open.clear();
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
