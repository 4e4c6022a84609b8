//! Commits by date.

use std::collections::{BinaryHeap, HashSet};

use super::WalkError;
use crate::object::commit_links;
use crate::{Kind, ObjectId, Objects};

/// A commit as far as a walk needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub id: ObjectId,
    /// Its tree.
    pub tree: ObjectId,
    /// Its parents; none where history is cut off.
    pub parents: Vec<ObjectId>,
    /// The committer's clock in seconds since 1970.
    pub committed_s: i64,
}

/// Reads commits, with history cut off at shallow ones.
pub struct History<'a> {
    objects: &'a dyn Objects,
    cut: HashSet<ObjectId>,
}

impl<'a> History<'a> {
    /// All of history, but for the parents of `cut`.
    pub fn new(objects: &'a dyn Objects, cut: HashSet<ObjectId>) -> History<'a> {
        History { objects, cut }
    }

    /// One commit.
    pub fn commit(&self, id: ObjectId) -> Result<Commit, WalkError> {
        let object = self.objects.read(&id, COMMIT_BYTES_MAX)?.ok_or(WalkError::Missing(id))?;
        if object.kind != Kind::Commit {
            return Err(WalkError::Missing(id));
        }
        let links = commit_links(&object.content).map_err(|_| WalkError::Missing(id))?;
        let parents = if self.cut.contains(&id) { Vec::new() } else { links.parents };
        Ok(Commit { id, tree: links.tree, parents, committed_s: links.committed_s })
    }

    /// Whether each of `wanted` descends from one of `had`: then nothing more needs to be known. Looks at no more than
    /// `commits_max` commits.
    pub fn all_reach(
        &self,
        wanted: &[ObjectId],
        had: &HashSet<ObjectId>,
        commits_max: usize,
    ) -> Result<bool, WalkError> {
        let mut looked = 0;
        for start in wanted {
            let mut seen = HashSet::new();
            let mut queue = BinaryHeap::new();
            let mut reached = had.contains(start);
            if !reached {
                let Ok(commit) = self.commit(*start) else { return Ok(false) };
                queue.push(Queued::from(commit));
            }
            while let Some(Queued { commit, .. }) = queue.pop().filter(|_| !reached) {
                looked += 1;
                if looked > commits_max {
                    return Ok(false);
                }
                for parent in commit.parents {
                    reached |= had.contains(&parent);
                    if !reached && seen.insert(parent) {
                        let commit = self.commit(parent)?;
                        queue.push(Queued::from(commit));
                    }
                }
            }
            if !reached {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A commit in line, the newest first.
pub(super) struct Queued {
    pub committed_s: i64,
    pub commit: Commit,
}

impl From<Commit> for Queued {
    fn from(commit: Commit) -> Queued {
        Queued { committed_s: commit.committed_s, commit }
    }
}

impl PartialEq for Queued {
    fn eq(&self, other: &Queued) -> bool {
        (self.committed_s, self.commit.id) == (other.committed_s, other.commit.id)
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Queued) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Queued) -> std::cmp::Ordering {
        (self.committed_s, self.commit.id).cmp(&(other.committed_s, other.commit.id))
    }
}

/// A commit or tag is text that a person wrote.
pub(crate) const COMMIT_BYTES_MAX: u64 = 16 << 20;
