//! Forgetting history: every commit from the first forgotten one on is made again, with the same author, date, message
//! and (but for what is purged) the same tree. Ids change, as they must; what each became is written down, so that
//! watchers and tables find their place again. The old commits are then collected.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use git_wire::{Kind, ObjectId};

use super::collect::{Thoroughness, collect};
use crate::committer::Group;
use crate::core::{Core, RefState};
use crate::edits::EditTree;
use crate::engine::{Take, keys};
use crate::object::{Commit, CommitId};
use crate::staging::Staging;
use crate::{Author, Collected, Error, Mode, Result, Store, TreePath};

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

impl Store {
    /// Thins out the history of all branches. Merges, tagged commits and heads are always kept. Then collects.
    pub fn retain(&self, retention: Retention) -> Result<Forgotten> {
        let now = (self.core().options.clock)();
        let now = now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        forget(self.core(), Plan { retention: Some(retention), now, purge: None, record: None })
    }

    /// Removes a path from every commit of every branch and tag, empties all derived tables (they are to be derived
    /// again), notes that it happened, and collects. Whoever has cloned the store still has it.
    pub fn purge(&self, path: impl AsRef<[u8]>, author: Author) -> Result<Forgotten> {
        let path = TreePath::new(path)?;
        if path.is_root() {
            return Err(Error::BadPath { path: String::new(), why: "the root cannot be purged" });
        }
        forget(self.core(), Plan { retention: None, now: 0, purge: Some(path), record: Some(author) })
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

#[derive(Clone)]
struct Plan {
    retention: Option<Retention>,
    now: i64,
    purge: Option<TreePath>,
    record: Option<Author>,
}

fn forget(core: &Arc<Core>, plan: Plan) -> Result<Forgotten> {
    let is_purge = plan.purge.is_some();
    let mut forgotten = None;
    for attempt in 0..=ATTEMPTS {
        let refs = core.refs.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        if attempt == ATTEMPTS {
            let plan = plan.clone();
            let shared = core.clone();
            forgotten = core.write(move |group| {
                let refs = group.all_refs();
                let rewritten = Rewrite::new(&shared, plan.clone(), &refs)?;
                let (objects, rewritten) = rewritten.finish(&refs)?;
                group.staging.adopt(objects)?;
                rewritten.publish(group, &plan).map(Some)
            })?;
            break;
        }
        let sweeps = core.sweeps();
        let (objects, rewritten) = Rewrite::new(core, plan.clone(), &refs)?.finish(&refs)?;
        let plan = plan.clone();
        let moved = core.write(move |group| {
            if group.all_refs() != refs || group.staging.core.sweeps() != sweeps {
                return Ok(None);
            }
            group.staging.adopt(objects)?;
            rewritten.publish(group, &plan).map(Some)
        })?;
        if moved.is_some() {
            forgotten = moved;
            break;
        }
    }
    let mut forgotten = forgotten.unwrap_or_default();
    core.cache.clear();
    // A purge does not spare what absent watchers might still want to see.
    forgotten.collected = collect(core, if is_purge { Thoroughness::Purge } else { Thoroughness::Usual })?;
    Ok(forgotten)
}

struct Rewrite<'c> {
    staging: Staging<'c>,
    plan: Plan,
    became: HashMap<CommitId, Option<CommitId>>,
    trees: HashMap<(ObjectId, usize), Option<ObjectId>>,
    /// Commits that have to stay: merges, their parents, what refs name.
    fixed: BTreeSet<CommitId>,
    /// The period of the only child, for commits that have one child.
    child_period: HashMap<CommitId, i64>,
    order: Vec<CommitId>,
    forgotten: Forgotten,
}

/// What a rewrite came to.
struct Rewritten {
    /// Old and new ids of what changed.
    became: BTreeMap<CommitId, Option<CommitId>>,
    refs: Vec<(String, ObjectId)>,
    forgotten: Forgotten,
}

impl<'c> Rewrite<'c> {
    fn new(core: &'c Core, plan: Plan, refs: &BTreeMap<String, RefState>) -> Result<Rewrite<'c>> {
        let mut rewrite = Rewrite {
            staging: Staging::new(core),
            plan,
            became: HashMap::new(),
            trees: HashMap::new(),
            fixed: BTreeSet::new(),
            child_period: HashMap::new(),
            order: Vec::new(),
            forgotten: Forgotten::default(),
        };
        for (name, state) in refs {
            if let (true, Some(commit)) = (name != PURGES, target(core, state.id)?) {
                rewrite.fixed.insert(commit);
                rewrite.list(commit)?;
            }
        }
        for at in 0..rewrite.order.len() {
            let id = rewrite.order[at];
            rewrite.commit(id)?;
        }
        Ok(rewrite)
    }

    /// Lists a commit's history, parents first.
    fn list(&mut self, head: CommitId) -> Result<()> {
        let mut open = vec![(head, false)];
        while let Some((id, parents_done)) = open.pop() {
            if parents_done {
                self.order.push(id);
                continue;
            }
            if self.became.contains_key(&id) {
                continue;
            }
            self.became.insert(id, None);
            open.push((id, true));
            let commit = self.staging.commit(id)?;
            let period = self.period(commit.committer.seconds);
            if commit.parents.len() > 1 {
                self.fixed.insert(id);
                self.fixed.extend(&commit.parents);
            }
            for parent in &commit.parents {
                if self.child_period.insert(*parent, period).is_some() {
                    self.fixed.insert(*parent);
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

    fn commit(&mut self, id: CommitId) -> Result<()> {
        let commit = self.staging.commit(id)?;
        let mut parents: Vec<CommitId> = Vec::new();
        for parent in &commit.parents {
            let new = self.became.get(parent).copied().flatten();
            parents.extend(new.filter(|new| !parents.contains(new)));
        }
        let period = self.period(commit.committer.seconds);
        let superseded = period != i64::MIN && self.child_period.get(&id) == Some(&period);
        if superseded && !self.fixed.contains(&id) {
            self.forgotten.commits += 1;
            self.became.insert(id, parents.first().copied());
            return Ok(());
        }
        let tree = match self.plan.purge.clone() {
            Some(path) => self.without(commit.tree, &path.components().collect::<Vec<_>>(), 0)?,
            None => Some(commit.tree),
        };
        let tree = tree.map_or_else(|| self.staging.put_tree(&[], None), Ok)?;
        if tree == commit.tree && parents == commit.parents {
            self.became.insert(id, Some(id));
            return Ok(());
        }
        self.forgotten.rewritten += 1;
        let new = self.staging.put_commit(&Commit { tree, parents, ..commit })?;
        self.became.insert(id, Some(new));
        Ok(())
    }

    /// A tree without a path, remembered for the next commit.
    fn without(&mut self, tree: ObjectId, path: &[&[u8]], depth: usize) -> Result<Option<ObjectId>> {
        if let Some(known) = self.trees.get(&(tree, depth)) {
            return Ok(*known);
        }
        let mut entries = self.staging.tree(Some(tree))?;
        let at = entries
            .iter()
            .position(|entry| Some(&&entry.name[..]) == path.get(depth).as_ref().map(|name| *name));
        let mut result = Some(tree);
        if let Some(at) = at {
            let last = depth + 1 == path.len();
            let new = if last {
                None
            } else if entries[at].mode == Mode::Directory {
                self.without(entries[at].id, path, depth + 1)?
            } else {
                Some(entries[at].id)
            };
            match new {
                Some(id) if id == entries[at].id => {}
                Some(id) => {
                    entries[at].id = id;
                    result = Some(self.staging.put_tree(&entries, None)?);
                }
                None => {
                    entries.remove(at);
                    result =
                        if entries.is_empty() { None } else { Some(self.staging.put_tree(&entries, None)?) };
                }
            }
        }
        self.trees.insert((tree, depth), result);
        Ok(result)
    }

    fn finish(
        mut self,
        refs: &BTreeMap<String, RefState>,
    ) -> Result<(Vec<crate::engine::NewObject>, Rewritten)> {
        let mut moved = Vec::new();
        for (name, state) in refs {
            if name == PURGES {
                continue;
            }
            let new = self.rewritten_ref(state.id)?;
            if new != state.id {
                moved.push((name.clone(), new));
            }
        }
        let changed = self.became.into_iter().filter(|(old, new)| Some(*old) != *new);
        let rewritten = Rewritten { became: changed.collect(), refs: moved, forgotten: self.forgotten };
        Ok((self.staging.finish().0, rewritten))
    }

    /// What a ref names from now on: a tag object is made again around its new target.
    fn rewritten_ref(&mut self, id: ObjectId) -> Result<ObjectId> {
        let (kind, content) = self.staging.get(&id)?;
        match kind {
            Kind::Commit => Ok(self.became.get(&CommitId(id)).copied().flatten().map_or(id, |new| new.0)),
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
        for (name, id) in &self.refs {
            group.move_ref(name, Some(*id));
        }
        let mut states = Vec::new();
        group.staging.core.each(b"a", |key, value| {
            states.push((key.to_vec(), CommitId(ObjectId(Take(value).array()?))));
            Ok(())
        })?;
        for (key, commit) in states {
            if plan.purge.is_some() {
                empty_table(group, &key)?;
            } else if let Some(new) = self.became.get(&commit) {
                group.edit(key, new.map(|new| new.0.0.to_vec()));
            }
        }
        for (old, new) in &self.became {
            if let Some(new) = new {
                group.edit(keys::forgotten(&old.0), Some(new.0.0.to_vec()));
            }
        }
        if let (Some(path), Some(author)) = (&plan.purge, &plan.record) {
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
    let tree = tree.map_or_else(|| group.staging.put_tree(&[], None), Ok)?;
    let message = format!("Purge {path}\n\n{} commits were made again without it.\n", forgotten.rewritten);
    let commit = Commit { tree, parents, author: signature.clone(), committer: signature, message };
    let commit = group.staging.put_commit(&commit)?;
    group.move_ref(PURGES, Some(commit.0));
    Ok(())
}
