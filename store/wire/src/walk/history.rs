//! Commits by date: what is wanted and not had.

use std::collections::{BinaryHeap, HashMap, HashSet};

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

    /// Commits reachable from `wanted` and not from `had`, newest first. A wrong clock makes the list longer, never
    /// shorter.
    pub fn missing(&self, wanted: &[ObjectId], had: &[ObjectId]) -> Result<Vec<Commit>, WalkError> {
        let mut walk =
            DateWalk { history: self, queue: BinaryHeap::new(), seen: HashMap::new(), interesting: 0 };
        had.iter().try_for_each(|id| walk.push(*id, false))?;
        wanted.iter().try_for_each(|id| walk.push(*id, true))?;
        let mut found = Vec::new();
        while walk.interesting > 0 {
            let Some(Queued { commit, .. }) = walk.queue.pop() else { break };
            let interesting = walk.seen.get(&commit.id).copied().unwrap_or(false);
            walk.interesting -= usize::from(interesting);
            for parent in &commit.parents {
                walk.push(*parent, interesting)?;
            }
            if interesting {
                found.push(commit);
            }
        }
        // What turned out to be had after it was taken.
        found.retain(|commit| walk.seen.get(&commit.id).copied().unwrap_or(false));
        Ok(found)
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
                queue.push(Queued { committed_s: commit.committed_s, commit });
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
                        queue.push(Queued { committed_s: commit.committed_s, commit });
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

struct DateWalk<'a, 'b> {
    history: &'a History<'b>,
    queue: BinaryHeap<Queued>,
    /// True while a commit is wanted and not known to be had.
    seen: HashMap<ObjectId, bool>,
    /// Wanted commits in the queue.
    interesting: usize,
}

impl DateWalk<'_, '_> {
    fn push(&mut self, id: ObjectId, interesting: bool) -> Result<(), WalkError> {
        match self.seen.get_mut(&id) {
            None => {
                let commit = self.history.commit(id)?;
                self.seen.insert(id, interesting);
                self.interesting += usize::from(interesting);
                self.queue.push(Queued { committed_s: commit.committed_s, commit });
            }
            Some(known) if *known && !interesting => self.has(id)?,
            Some(_) => {}
        }
        Ok(())
    }

    /// A commit taken for wanted is had after all, and so are those of its ancestors that were taken for wanted.
    fn has(&mut self, id: ObjectId) -> Result<(), WalkError> {
        let queued: HashSet<ObjectId> = self.queue.iter().map(|one| one.commit.id).collect();
        let mut todo = vec![id];
        while let Some(id) = todo.pop() {
            if self.seen.get(&id) != Some(&true) {
                continue;
            }
            self.seen.insert(id, false);
            if queued.contains(&id) {
                self.interesting -= 1;
            } else {
                todo.extend(self.history.commit(id)?.parents);
            }
        }
        Ok(())
    }
}

struct Queued {
    committed_s: i64,
    commit: Commit,
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
