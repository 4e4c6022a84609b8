//! Writing: one at a time takes what waits, runs it in order on the state as it will be, and flushes once for all of it.

mod job;
mod queue;
mod sync;

use std::sync::Arc;
use std::thread::JoinHandle;

pub(crate) use job::{Job, Waiting};
pub(crate) use queue::Queue;

use crate::Result;
use crate::core::{Core, RefState};
use crate::engine::{Batch, Edits, keys};
use crate::refs::{self, REMOTES};
use crate::staging::Staging;
use crate::{Error, ObjectId};

use std::collections::{BTreeMap, BTreeSet};

/// Most jobs that share one flush.
const JOBS_MAX: usize = 256;

/// The state as it will be after the jobs before, and what they add to the next flush.
pub(crate) struct Group<'a> {
    pub staging: Staging<'a>,
    refs: BTreeMap<String, Option<RefState>>,
    edits: Edits,
    /// What the job that runs now has said; dropped when it fails.
    undo: Vec<(String, Option<Option<RefState>>)>,
    seconds: i64,
}

impl Group<'_> {
    fn core(&self) -> &Core {
        self.staging.core
    }

    /// What a ref will name.
    pub fn reference(&self, name: &str) -> Option<RefState> {
        self.refs.get(name).copied().unwrap_or_else(|| self.core().reference(name))
    }

    /// A ref that a new one cannot stand beside: git keeps each in a file, so that none can be the directory of another
    /// one, and nobody could clone both. What a clone does not copy may stand as it came; those that are `going` are not in
    /// the way.
    pub fn in_the_way(&self, name: &str, going: &BTreeSet<String>) -> Option<String> {
        if name.starts_with(REMOTES) {
            return None;
        }
        let is_there = |other: &&str| !going.contains(*other) && self.reference(other).is_some();
        if let Some(above) = refs::directories(name).find(is_there) {
            return Some(above.to_owned());
        }
        let start = format!("{name}/");
        let below = |other: &&String| other.starts_with(&start);
        let refs = self.core().refs.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let written = refs.range(start.clone()..).map(|(other, _)| other).take_while(below);
        let new = self.refs.range(start.clone()..).map(|(other, _)| other).take_while(below);
        // Not by `reference`, which would ask for the lock again.
        let stays =
            |other: &&String| !going.contains(*other) && self.refs.get(*other).is_none_or(Option::is_some);
        written.chain(new).find(stays).cloned()
    }

    /// Fails when a ref exists, or cannot stand beside one that does.
    pub fn refuse_unless_free(&self, name: &str) -> Result<()> {
        if self.reference(name).is_some() {
            return Err(Error::Exists { what: name.to_owned() });
        }
        match self.in_the_way(name, &BTreeSet::new()) {
            Some(other) => {
                Err(Error::Exists { what: format!("{other}, beside which git cannot keep {name}, ") })
            }
            None => Ok(()),
        }
    }

    /// Lets everybody see what was written under a number. Seen a moment before it is durable: whatever builds on it comes
    /// later in the log.
    pub fn publish_quarantine(&mut self, number: u64) {
        self.edit(keys::quarantine(number), None);
        let unpublished = &self.staging.core.unpublished;
        unpublished.write().unwrap_or_else(|poisoned| poisoned.into_inner()).remove(&number);
    }

    /// Fails unless a commit is there at this moment: it may have been collected since somebody looked.
    pub fn require(&self, id: ObjectId) -> Result<()> {
        if self.staging.has(&id)? { Ok(()) } else { Err(Error::Missing(id)) }
    }

    /// Every ref as it will be.
    pub fn all_refs(&self) -> BTreeMap<String, RefState> {
        let mut all = self.core().refs.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        for (name, state) in &self.refs {
            match state {
                Some(state) => all.insert(name.clone(), *state),
                None => all.remove(name),
            };
        }
        all
    }

    /// Moves a ref, and notes the move for those who watch it.
    pub fn move_ref(&mut self, name: &str, new: Option<ObjectId>) {
        let old = self.reference(name);
        if old.map(|state| state.id) == new {
            return;
        }
        let moved = self.last_move(name) + 1;
        let state = new.map(|id| RefState { id, moved });
        let value = state.map(|state| [&state.id.0[..], &state.moved.to_le_bytes()].concat());
        self.edits.push((keys::reference(name), value));
        let ids = [old.map(|state| state.id), new].map(|id| id.unwrap_or(ObjectId::ZERO));
        let note = [&ids[0].0[..], &ids[1].0, &self.seconds.to_le_bytes()].concat();
        self.edits.push((keys::ref_move(name, moved), Some(note)));
        let before = self.refs.insert(name.to_owned(), state);
        self.undo.push((name.to_owned(), before));
    }

    /// A ref that was deleted and made again goes on counting where it stopped.
    fn last_move(&self, name: &str) -> u64 {
        match self.reference(name) {
            Some(state) => state.moved,
            None => crate::watch::last_move(self.core(), name).unwrap_or(0),
        }
    }

    /// Adds to what is written.
    pub fn edit(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.edits.push((key, value));
    }

    /// What was last written under a key, in this group or before.
    pub fn value(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.edits.iter().rev().find(|(edited, _)| edited == key) {
            Some((_, value)) => Ok(value.clone()),
            None => self.core().engine.get(key),
        }
    }
}

/// Starts the writer's thread. It ends when the queue is closed.
pub(crate) fn start(core: Arc<Core>) -> Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name("store".into());
    Ok(thread.spawn(move || {
        while core.queue.run_next(JOBS_MAX, |jobs| run(&core, jobs)) {
            core.keep_up();
        }
    })?)
}

fn run(core: &Core, jobs: Vec<Box<dyn Job>>) {
    let now = (core.options.clock)();
    let seconds = now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let mut group = Group {
        staging: Staging::new(core),
        refs: BTreeMap::new(),
        edits: Edits::new(),
        undo: Vec::new(),
        seconds,
    };
    let mut waiting = Vec::with_capacity(jobs.len());
    for job in jobs {
        let edits = group.edits.len();
        group.undo.clear();
        match job.run(&mut group) {
            Ok(done) => waiting.push(done),
            Err(refused) => {
                group.edits.truncate(edits);
                for (name, before) in std::mem::take(&mut group.undo).into_iter().rev() {
                    match before {
                        Some(state) => group.refs.insert(name, state),
                        None => group.refs.remove(&name),
                    };
                }
                refused();
            }
        }
    }
    let Group { staging, refs, edits, .. } = group;
    let (objects, contents) = staging.finish();
    let nothing = objects.is_empty() && edits.is_empty();
    let written =
        if nothing { Ok(()) } else { core.engine.write(Batch { objects, edits, quarantine: None }) };
    if written.is_ok() {
        for (id, kind, content) in contents {
            let bytes = content.len();
            core.cache.put(id, (kind, content), bytes);
        }
        let mut current = core.refs.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        for (name, state) in refs {
            match state {
                Some(state) => current.insert(name, state),
                None => current.remove(&name),
            };
        }
    }
    for done in waiting {
        done(written.clone());
    }
    if !nothing {
        core.bell.ring();
    }
}

impl Core {
    /// A number under which objects can be written that nobody sees before it is published.
    pub(crate) fn begin_quarantine(self: &Arc<Self>) -> Result<u64> {
        self.write(|group| {
            let core = group.staging.core;
            let last = group.value(&keys::setting("pushes"))?;
            let number = last.and_then(|last| last.try_into().ok()).map_or(0, u64::from_be_bytes) + 1;
            group.edit(keys::setting("pushes"), Some(number.to_be_bytes().to_vec()));
            group.edit(keys::quarantine(number), Some(Vec::new()));
            core.unpublished.write().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(number);
            Ok(number)
        })
    }

    /// Runs something, here or where others are run already, and waits until it is durable.
    pub(crate) fn write<T, F>(self: &Arc<Self>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Group<'_>) -> Result<T> + Send + 'static,
    {
        let (job, waiting) = job::new(work);
        match self.queue.put_and_run(job, JOBS_MAX, |jobs| run(self, jobs)) {
            Ok(true) => self.keep_up(),
            Ok(false) => {}
            Err(job) => job.refuse(Error::Closed),
        }
        waiting.wait()
    }

    /// Has the writer's thread run something.
    pub(crate) fn submit<T, F>(&self, work: F) -> Waiting<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Group<'_>) -> Result<T> + Send + 'static,
    {
        let (job, waiting) = job::new(work);
        if let Err(job) = self.queue.put(job) {
            job.refuse(Error::Closed);
        }
        waiting
    }
}
