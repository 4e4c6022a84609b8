//! One line of commits that has a name.

use crate::merge::{self, Conflict, Merged, Resolution};
use crate::object::{Author, Commit, CommitId};
use crate::refs::HEADS;
use crate::snapshot::Snapshot;
use crate::staging::Staging;
use crate::watch::Watch;
use crate::{Durable, Error, History, Result, Store, Transaction};

/// A branch. A cheap handle; it need not have a commit yet.
#[derive(Clone)]
pub struct Branch {
    store: Store,
    name: String,
}

/// How often a merge begins again because the branch moved meanwhile, before it is done while all writers wait.
const MERGE_ATTEMPTS: usize = 3;

impl Branch {
    pub(crate) fn new(store: Store, name: String) -> Branch {
        Branch { store, name }
    }

    /// Its name, without `refs/heads/`.
    pub fn name(&self) -> &str {
        &self.name[HEADS.len()..]
    }

    /// Its name as Git has it.
    pub fn full_name(&self) -> &str {
        &self.name
    }

    /// The store that it belongs to.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Its latest commit; `None` before the first.
    pub fn head(&self) -> Option<CommitId> {
        self.store.core().reference(&self.name).map(|state| CommitId(state.id))
    }

    /// The files as of now; empty before the first commit.
    pub fn snapshot(&self) -> Result<Snapshot> {
        match self.head() {
            Some(head) => self.store.snapshot_at(head),
            None => Ok(Snapshot::new(self.store.clone(), None, None)),
        }
    }

    /// Begins a transaction on the files as of now.
    pub fn begin(&self) -> Result<Transaction> {
        Ok(Transaction::new(self.clone(), self.snapshot()?))
    }

    /// Begins a transaction on an older commit of this branch, as a client that was away does.
    pub fn begin_at(&self, commit: CommitId) -> Result<Transaction> {
        Ok(Transaction::new(self.clone(), self.store.snapshot_at(commit)?))
    }

    /// The commits that changed something at or below a path (the root: all commits), youngest first.
    pub fn history(&self, path: impl AsRef<[u8]>) -> Result<History> {
        History::new(self.store.clone(), self.head(), path.as_ref())
    }

    /// Moves the branch to a commit, if it is still at `from`. Commits that only it held are no longer reached by it.
    pub fn reset(&self, from: Option<CommitId>, to: CommitId) -> Result<Durable<CommitId>> {
        self.store.core().commit(to)?;
        let name = self.name.clone();
        let moved = self.store.core().write(move |group| {
            if group.reference(&name).map(|state| state.id) != from.map(|from| from.0) {
                return Err(Error::RefMoved { name });
            }
            group.require(to.0)?;
            if from.is_none() {
                group.refuse_unless_free(&name)?;
            }
            group.move_ref(&name, Some(to.0));
            Ok(to)
        });
        moved.map(Durable::flushed)
    }

    /// Merges another branch's head, or any commit, into this branch. What neither side's policy can merge stays as
    /// a [`Conflict`] in the tree; the merge itself always succeeds.
    pub fn merge(&self, other: CommitId, author: Author, message: impl AsRef<str>) -> Result<Merged> {
        for _ in 0..MERGE_ATTEMPTS {
            let core = self.store.core().clone();
            let (head, sweeps) = (self.head(), core.sweeps());
            let mut staging = Staging::new(&core);
            let (commit, conflicts) = merged(&mut staging, head, other, &author, message.as_ref())?;
            let objects = staging.finish().0;
            let name = self.name.clone();
            let done = core.write(move |group| {
                let is_current = group.reference(&name).map(|state| CommitId(state.id)) == head;
                if !is_current || group.staging.core.sweeps() != sweeps {
                    return Err(Error::RefMoved { name });
                }
                group.staging.adopt(objects)?;
                group.require(commit.0)?;
                group.move_ref(&name, Some(commit.0));
                Ok(commit)
            });
            match done {
                Err(Error::RefMoved { .. }) => {}
                done => {
                    return Ok(Merged {
                        fast_forward: is_old(head, commit, other),
                        commit: Durable::flushed(done?),
                        conflicts,
                    });
                }
            }
        }
        let (name, message) = (self.name.clone(), message.as_ref().to_owned());
        let (head, commit, conflicts) = self.store.core().write(move |group| {
            let head = group.reference(&name).map(|state| CommitId(state.id));
            let (commit, conflicts) = merged(&mut group.staging, head, other, &author, &message)?;
            group.require(commit.0)?;
            group.require(other.0)?;
            group.move_ref(&name, Some(commit.0));
            Ok((head, commit, conflicts))
        })?;
        Ok(Merged { fast_forward: is_old(head, commit, other), commit: Durable::flushed(commit), conflicts })
    }

    /// Takes back what a commit changed, as a new commit; later changes to the same places are merged with that.
    /// Of a merge, what it brought to its first parent is taken back.
    pub fn revert(&self, commit: CommitId, author: Author, message: impl AsRef<str>) -> Result<Merged> {
        let (name, message) = (self.name.clone(), message.as_ref().to_owned());
        let done = self.store.core().write(move |group| {
            let head = group.reference(&name).map(|state| CommitId(state.id));
            let head = head.ok_or_else(|| Error::not_found(format!("commit on {name}")))?;
            let (undone, current) = (group.staging.commit(commit)?, group.staging.commit(head)?);
            let before = undone.parents.first().map(|parent| group.staging.commit(*parent)).transpose()?;
            let signature = author.signature((group.staging.core.options.clock)());
            let sides = merge::Sides { ours: Some(current.committer), theirs: Some(signature.clone()) };
            let mut merger = merge::Merger::new(&mut group.staging, sides, false);
            let tree =
                merger.trees(Some(undone.tree), Some(current.tree), before.map(|before| before.tree))?;
            let conflicts = std::mem::take(&mut merger.conflicts);
            let tree = tree.map_or_else(|| group.staging.put_empty_tree(), Ok)?;
            if tree == current.tree {
                return Ok((head, conflicts));
            }
            let reverted = Commit {
                tree,
                parents: vec![head],
                author: signature.clone(),
                committer: signature,
                message,
            };
            let reverted = group.staging.put_commit(&reverted)?;
            group.move_ref(&name, Some(reverted.0));
            Ok((reverted, conflicts))
        });
        let (commit, conflicts) = done?;
        Ok(Merged { commit: Durable::flushed(commit), fast_forward: false, conflicts })
    }

    /// What is still to be settled on this branch.
    pub fn conflicts(&self) -> Result<Vec<Conflict>> {
        merge::list_conflicts(self.store.core(), self.snapshot()?.tree())
    }

    /// Settles a conflict, named by its key.
    pub fn settle(&self, key: &str, by: Resolution, author: Author) -> Result<Durable<CommitId>> {
        let (name, key) = (self.name.clone(), key.to_owned());
        let done = self.store.core().write(move |group| {
            let head = group.reference(&name).map(|state| CommitId(state.id));
            let head = head.ok_or_else(|| Error::not_found(format!("commit on {name}")))?;
            let current = group.staging.commit(head)?;
            let found = merge::find_conflict(&group.staging, current.tree, &key)?;
            let conflict = found.ok_or_else(|| Error::not_found(format!("conflict {key:?} on {name}")))?;
            let edits = merge::resolve_conflict(&mut group.staging, &conflict, by)?;
            let tree = edits.apply(&mut group.staging, Some(current.tree))?;
            let tree = tree.map_or_else(|| group.staging.put_empty_tree(), Ok)?;
            let signature = author.signature((group.staging.core.options.clock)());
            let message = format!("Settle the conflict at {}", conflict.path);
            let commit = Commit {
                tree,
                parents: vec![head],
                author: signature.clone(),
                committer: signature,
                message,
            };
            let commit = group.staging.put_commit(&commit)?;
            group.move_ref(&name, Some(commit.0));
            Ok(commit)
        });
        done.map(Durable::flushed)
    }

    /// Every change at or below `prefix` from now on, or from `from` on: each once, in order, also those that were
    /// made while nobody watched.
    pub fn watch(&self, prefix: impl AsRef<[u8]>, from: Option<CommitId>) -> Result<Watch> {
        Watch::new(self.clone(), prefix.as_ref(), from)
    }
}

/// The commit that a merge leads to, staged if it is new.
fn merged(
    staging: &mut Staging<'_>,
    head: Option<CommitId>,
    other: CommitId,
    author: &Author,
    message: &str,
) -> Result<(CommitId, Vec<Conflict>)> {
    let Some(head) = head else { return Ok((other, Vec::new())) };
    let bases = merge::merge_bases(staging, head, other)?;
    if bases == [other] {
        return Ok((head, Vec::new()));
    }
    if bases == [head] {
        return Ok((other, Vec::new()));
    }
    let (tree, conflicts) = merge::merge_commits(staging, head, other, 0)?;
    let tree = tree.map_or_else(|| staging.put_empty_tree(), Ok)?;
    let signature = author.signature((staging.core.options.clock)());
    let message = message.to_owned();
    let parents = vec![head, other];
    let commit = Commit { tree, parents, author: signature.clone(), committer: signature, message };
    Ok((staging.put_commit(&commit)?, conflicts))
}

fn is_old(head: Option<CommitId>, commit: CommitId, other: CommitId) -> bool {
    head == Some(commit) || commit == other
}

impl Store {
    /// Every lowest common ancestor of two commits: one as a rule, several after a criss-cross, none for histories
    /// that have nothing in common.
    pub fn merge_bases(&self, a: CommitId, b: CommitId) -> Result<Vec<CommitId>> {
        merge::merge_bases(&Staging::new(self.core()), a, b)
    }

    /// A lowest common ancestor of two commits, the same one for both orders.
    pub fn merge_base(&self, a: CommitId, b: CommitId) -> Result<Option<CommitId>> {
        Ok(self.merge_bases(a, b)?.first().copied())
    }

    /// Whether `old` is `new` or one of its ancestors.
    pub fn is_ancestor(&self, old: CommitId, new: CommitId) -> Result<bool> {
        merge::is_ancestor(&Staging::new(self.core()), old, new)
    }

    /// What is still to be settled on a branch.
    pub fn conflicts(&self, branch: &Branch) -> Result<Vec<Conflict>> {
        branch.conflicts()
    }
}
