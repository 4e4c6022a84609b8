//! Forgetting history: every commit from the first forgotten one on is made again, with the same author, date, message
//! and the same tree, but for what is purged. Ids change, as they must; what each became is written down, so that
//! watchers and tables find their place again. The old commits are then collected.

use std::collections::BTreeMap;
use std::sync::Arc;

use git_wire::{Kind, ObjectId};

use super::collect::{Thoroughness, collect};
use super::marks::Marks;
use super::purged::Purge;
use crate::committer::Group;
use crate::core::{Core, Hold, RefState};
use crate::edits::EditTree;
use crate::engine::{Batch, NewObject, Take, keys};
use crate::object::{Commit, CommitId};
use crate::staging::Staging;
use crate::{Author, Collected, Error, Result, Store, TreePath};

/// How much history is kept: everything for some days, then the last commit of each day, then of each week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Every commit of the last so many days is kept.
    pub all_days: u32,
    /// Of those before, the last one of each day, up to this age in days; of what is older, the last one of each week.
    pub daily_days: u32,
}

/// What was forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Commits that are no longer there.
    pub commits: u64,
    /// Commits that have a new id.
    pub rewritten: u64,
    /// What the collection afterwards freed.
    pub collected: Collected,
}

/// Where it is noted what was purged: one line a purge, on a branch of its own.
pub const PURGES: &str = "refs/nymote/purges";

/// How often a rewrite begins again because branches moved meanwhile, before it is done while all writers wait.
const ATTEMPTS: usize = 3;
/// What is held in memory before it is written.
const STAGED_BYTES_MAX: usize = 1 << 20;
const BECAME_MAX: usize = 10_000;

impl Store {
    /// Thins out the history of all branches. Merges, tagged commits and heads are always kept. Then collects.
    pub fn retain(&self, retention: Retention) -> Result<Forgotten> {
        let now = (self.core().options.clock)();
        let now = now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        forget(self.core(), Plan { retention: Some(retention), now, ..Plan::default() })
    }

    /// Removes a path from every commit of every branch and tag, with the conflicts about it and the words of the commits
    /// that changed it (they say [`crate::PURGED`]; trailers stay); empties all derived tables (they are to be derived again), notes that it happened, and
    /// collects. Whoever has cloned the store still has it. A path that no commit has makes no commit again, and no note.
    pub fn purge(&self, path: impl AsRef<[u8]>, author: Author) -> Result<Forgotten> {
        self.purge_but(path, author, &[])
    }

    /// [`Self::purge`], but for these branches and the tags whose names end with theirs: somebody else's file of that name.
    pub fn purge_but(&self, path: impl AsRef<[u8]>, author: Author, spared: &[String]) -> Result<Forgotten> {
        let path = TreePath::new(path)?;
        if path.is_root() {
            return Err(Error::BadPath { path: String::new(), why: "the root cannot be purged" });
        }
        let spared = spared.iter().map(|branch| format!("/{branch}")).collect();
        forget(self.core(), Plan { purge: Some(path), record: Some(author), spared, ..Plan::default() })
    }

    /// What was purged, the latest first: the commits that note it.
    pub fn purges(&self) -> Result<Vec<Commit>> {
        let mut found = Vec::new();
        let mut next = self.core().reference(PURGES).map(|state| CommitId(state.id));
        while let Some(id) = next {
            let commit = self.core().commit(id)?;
            next = commit.parents.first().copied();
            found.push(commit);
        }
        Ok(found)
    }
}

#[derive(Clone, Default)]
struct Plan {
    retention: Option<Retention>,
    now: i64,
    purge: Option<TreePath>,
    record: Option<Author>,
    /// How the refs' names end whose history stays.
    spared: Vec<String>,
}

impl Plan {
    /// Whether the history of that ref is made again.
    fn reaches(&self, name: &str) -> bool {
        name != PURGES && !self.spared.iter().any(|end| name.ends_with(end.as_str()))
    }
}

fn forget(core: &Arc<Core>, plan: Plan) -> Result<Forgotten> {
    let is_purge = plan.purge.is_some();
    let mut forgotten = rewrite(core, plan)?;
    core.cache.clear();
    // A purge does not spare what absent watchers might still want to see.
    forgotten.collected = collect(core, if is_purge { Thoroughness::Purge } else { Thoroughness::Usual })?;
    Ok(forgotten)
}

/// Makes history again, and moves all refs onto it in one transaction.
fn rewrite(core: &Arc<Core>, plan: Plan) -> Result<Forgotten> {
    // What is made again is written as it comes, seen by nobody until the refs move.
    let _hold = Hold::new(core.clone());
    let number = core.begin_quarantine()?;
    for _ in 0..ATTEMPTS {
        let refs = core.refs.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        let sweeps = core.sweeps();
        let rewritten = Rewrite::new(core, plan.clone(), number, &refs)?.finish(&refs)?;
        let plan = plan.clone();
        let moved = core.write(move |group| {
            if group.all_refs() != refs || group.staging.core.sweeps() != sweeps {
                return Ok(None);
            }
            rewritten.publish(group, &plan).map(Some)
        })?;
        if let Some(forgotten) = moved {
            return Ok(forgotten);
        }
    }
    let shared = core.clone();
    core.write(move |group| {
        let refs = group.all_refs();
        Rewrite::new(&shared, plan.clone(), number, &refs)?.finish(&refs)?.publish(group, &plan)
    })
}

/// One walk over all history. Of each commit it keeps twenty bytes and a few bits; what each became stands in the
/// store itself, where watchers look for it.
struct Rewrite<'c> {
    core: &'c Arc<Core>,
    staging: Staging<'c>,
    number: u64,
    plan: Plan,
    /// Commits by their objects' numbers: found; merges, their parents, what refs name; made again or left out; left
    /// out without anything in their place.
    found: Marks,
    fixed: Marks,
    changed: Marks,
    gone: Marks,
    /// Commits with a child, and those whose only child is of the same period.
    has_child: Marks,
    superseded: Marks,
    order: Vec<CommitId>,
    purge: Option<Purge>,
    /// What commits became, still to be written.
    became: BTreeMap<CommitId, CommitId>,
    staged_bytes: usize,
    forgotten: Forgotten,
}

/// What a rewrite came to.
struct Rewritten {
    number: u64,
    refs: Vec<(String, ObjectId)>,
    /// What derived tables stood on, and stand on from now on.
    states: Vec<(Vec<u8>, CommitId, Option<CommitId>)>,
    objects: Vec<NewObject>,
    forgotten: Forgotten,
}

impl<'c> Rewrite<'c> {
    fn new(
        core: &'c Arc<Core>,
        plan: Plan,
        number: u64,
        refs: &BTreeMap<String, RefState>,
    ) -> Result<Rewrite<'c>> {
        let purge = plan.purge.clone().map(Purge::of);
        let mut rewrite = Rewrite {
            core,
            staging: Staging::new(core),
            number,
            plan,
            found: Marks::default(),
            fixed: Marks::default(),
            changed: Marks::default(),
            gone: Marks::default(),
            has_child: Marks::default(),
            superseded: Marks::default(),
            order: Vec::new(),
            purge,
            became: BTreeMap::new(),
            staged_bytes: 0,
            forgotten: Forgotten::default(),
        };
        for (name, state) in refs {
            if let (true, Some(commit)) = (rewrite.plan.reaches(name), target(core, state.id)?) {
                let at = rewrite.number_of(commit)?;
                rewrite.fixed.add(at);
                rewrite.list(commit)?;
            }
        }
        for id in std::mem::take(&mut rewrite.order) {
            rewrite.commit(id)?;
            rewrite.flush_when_due()?;
        }
        Ok(rewrite)
    }

    fn number_of(&self, id: CommitId) -> Result<u64> {
        Ok(self.core.object_entry(&id.0)?.ok_or(Error::Missing(id.0))?.number)
    }

    /// Lists a commit's history, parents first.
    fn list(&mut self, head: CommitId) -> Result<()> {
        let mut open = vec![(head, false)];
        while let Some((id, parents_done)) = open.pop() {
            if parents_done {
                self.order.push(id);
                continue;
            }
            let at = self.number_of(id)?;
            if !self.found.add(at) {
                continue;
            }
            open.push((id, true));
            let commit = self.core.commit(id)?;
            let period = self.period(commit.committer.seconds);
            let is_merge = commit.parents.len() > 1;
            if is_merge {
                self.fixed.add(at);
            }
            for parent in &commit.parents {
                let above = self.number_of(*parent)?;
                let has_another = !self.has_child.add(above);
                if is_merge || has_another {
                    self.fixed.add(above);
                }
                if period != i64::MIN && self.period(self.core.commit(*parent)?.committer.seconds) == period {
                    self.superseded.add(above);
                }
                open.push((*parent, false));
            }
        }
        Ok(())
    }

    /// Days and weeks since 1970, told apart; every second its own when all is kept.
    fn period(&self, seconds: i64) -> i64 {
        let Some(retention) = self.plan.retention else { return i64::MIN };
        let (day, age_days) = (seconds.div_euclid(86_400), (self.plan.now - seconds).div_euclid(86_400));
        if age_days < i64::from(retention.all_days) {
            i64::MIN
        } else if age_days < i64::from(retention.daily_days) {
            day
        } else {
            // Weeks begin on Monday; 1970 began on a Thursday. Far below any day.
            (day + 3).div_euclid(7) - (1 << 40)
        }
    }

    /// What stands in a commit's place.
    fn became(&self, id: CommitId) -> Result<Option<CommitId>> {
        let at = self.number_of(id)?;
        if !self.found.has(at) || !self.changed.has(at) {
            return Ok(Some(id));
        }
        if self.gone.has(at) {
            return Ok(None);
        }
        if let Some(new) = self.became.get(&id) {
            return Ok(Some(*new));
        }
        let value = self.core.engine.get(&keys::forgotten(&id.0))?;
        value.map(|value| Ok(CommitId(ObjectId(Take(&value).array()?)))).transpose()
    }

    fn becomes(&mut self, id: CommitId, at: u64, new: Option<CommitId>) {
        if new == Some(id) {
            return;
        }
        self.changed.add(at);
        match new {
            Some(new) => drop(self.became.insert(id, new)),
            None => drop(self.gone.add(at)),
        }
    }

    fn commit(&mut self, id: CommitId) -> Result<()> {
        let commit = self.core.commit(id)?;
        let at = self.number_of(id)?;
        let mut parents: Vec<CommitId> = Vec::new();
        for parent in &commit.parents {
            let new = self.became(*parent)?;
            parents.extend(new.filter(|new| !parents.contains(new)));
        }
        if self.superseded.has(at) && !self.fixed.has(at) {
            self.forgotten.commits += 1;
            self.becomes(id, at, parents.first().copied());
            return Ok(());
        }
        let mut new = Commit { parents, ..commit.clone() };
        if let Some(purge) = &mut self.purge {
            let purged = purge.commit(self.core, &mut self.staging, &commit)?;
            (new.tree, new.message) = (purged.tree, purged.message);
            self.staged_bytes += std::mem::take(&mut purge.staged_bytes);
        }
        if new == commit {
            return Ok(());
        }
        self.forgotten.rewritten += 1;
        self.staged_bytes += 400;
        let new = self.staging.put_commit(&new)?;
        self.becomes(id, at, Some(new));
        Ok(())
    }

    /// Writes what was made so far. Nobody sees it; of what commits became nobody asks as long as they are there.
    fn flush_when_due(&mut self) -> Result<()> {
        if self.staged_bytes < STAGED_BYTES_MAX && self.became.len() < BECAME_MAX {
            return Ok(());
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        let objects = std::mem::replace(&mut self.staging, Staging::new(self.core)).finish().0;
        let edit = |(old, new): (CommitId, CommitId)| (keys::forgotten(&old.0), Some(new.0.0.to_vec()));
        let edits = std::mem::take(&mut self.became).into_iter().map(edit).collect();
        self.staged_bytes = 0;
        self.core.engine.write_unflushed(Batch { objects, edits, quarantine: Some(self.number) })
    }

    fn finish(mut self, refs: &BTreeMap<String, RefState>) -> Result<Rewritten> {
        let mut moved = Vec::new();
        self.flush()?;
        for (name, state) in refs {
            if !self.plan.reaches(name) {
                continue;
            }
            let new = self.rewritten_ref(state.id)?;
            if new != state.id {
                moved.push((name.clone(), new));
            }
        }
        let mut tables = Vec::new();
        self.core.each(b"a", |key, value| {
            tables.push((key.to_vec(), CommitId(ObjectId(Take(value).array()?))));
            Ok(())
        })?;
        let mut states = Vec::new();
        for (key, commit) in tables {
            let is_there = self.core.object_entry(&commit.0)?.is_some();
            let new = if is_there { self.became(commit)? } else { None };
            states.push((key, commit, new));
        }
        let objects = self.staging.finish().0;
        Ok(Rewritten { number: self.number, refs: moved, states, objects, forgotten: self.forgotten })
    }

    /// What a ref names from now on: a tag object is made again around its new target.
    fn rewritten_ref(&mut self, id: ObjectId) -> Result<ObjectId> {
        let (kind, content) = self.core.object(&id)?;
        match kind {
            Kind::Commit => Ok(self.became(CommitId(id))?.map_or(id, |new| new.0)),
            Kind::Tag => {
                let tag = crate::Tag::parse(&content)?;
                let target = self.rewritten_ref(tag.target)?;
                if target == tag.target {
                    Ok(id)
                } else {
                    self.staging.put(Kind::Tag, crate::Tag { target, ..tag }.encode())
                }
            }
            _ => Ok(id),
        }
    }
}

/// The commit that a ref leads to.
fn target(core: &Core, mut id: ObjectId) -> Result<Option<CommitId>> {
    for _ in 0..16 {
        match core.object(&id)? {
            (Kind::Commit, _) => return Ok(Some(CommitId(id))),
            (Kind::Tag, content) => id = crate::Tag::parse(&content)?.target,
            _ => break,
        }
    }
    Ok(None)
}

impl Rewritten {
    fn publish(self, group: &mut Group<'_>, plan: &Plan) -> Result<Forgotten> {
        group.staging.adopt(self.objects)?;
        group.publish_quarantine(self.number);
        for (name, id) in &self.refs {
            group.move_ref(name, Some(*id));
        }
        for (key, old, new) in self.states {
            if plan.purge.is_some() {
                empty_table(group, &key)?;
            } else if new != Some(old) && group.value(&key)?.as_deref() == Some(&old.0.0[..]) {
                group.edit(key, new.map(|commit| commit.0.0.to_vec()));
            }
        }
        // A path that no commit had leaves nothing to be noted.
        let did_something = self.forgotten.commits + self.forgotten.rewritten > 0;
        if let (true, Some(path), Some(author)) = (did_something, &plan.purge, &plan.record) {
            note_purge(group, path, author, &self.forgotten)?;
        }
        Ok(self.forgotten)
    }
}

/// What was derived from what is purged must go too.
fn empty_table(group: &mut Group<'_>, state: &[u8]) -> Result<()> {
    let table = [&b"i"[..], &state[1..], b"\0"].concat();
    let mut keys = Vec::new();
    group.staging.core.each(&table, |key, _| {
        keys.push(key.to_vec());
        Ok(())
    })?;
    keys.into_iter().for_each(|key| group.edit(key, None));
    group.edit(state.to_vec(), None);
    Ok(())
}

fn note_purge(group: &mut Group<'_>, path: &TreePath, author: &Author, forgotten: &Forgotten) -> Result<()> {
    let parents: Vec<_> = group.reference(PURGES).map(|state| CommitId(state.id)).into_iter().collect();
    let signature = author.signature((group.staging.core.options.clock)());
    let tree = EditTree::default().apply(&mut group.staging, None)?;
    let tree = tree.map_or_else(|| group.staging.put_empty_tree(), Ok)?;
    let message = format!("Purge {path}\n\n{} commits were made again without it.\n", forgotten.rewritten);
    let commit = Commit { tree, parents, author: signature.clone(), committer: signature, message };
    let commit = group.staging.put_commit(&commit)?;
    group.move_ref(PURGES, Some(commit.0));
    Ok(())
}
