//! Watches: every change of a branch, once, in order.
//!
//! Each move of a ref is written down with the move itself, under a number that counts up. A watch reads these notes
//! one after the other, so it misses nothing, however long it was away. Moves that retention has forgotten are told as
//! one event, from where the watch stood to where the branch is.

use std::future::poll_fn;
use std::sync::{Condvar, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use git_wire::ObjectId;

use crate::core::Core;
use crate::engine::{Take, keys};
use crate::object::CommitId;
use crate::{Branch, Change, Error, Result, TreePath, diff};

/// A branch moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Where it was; `None` when it had no commit.
    pub before: Option<CommitId>,
    /// Where it is now; `None` when it was deleted. Keep this: a later watch goes on `from` here.
    pub commit: Option<CommitId>,
    /// When it moved, in seconds since 1970.
    pub seconds: i64,
    /// What changed at or below the watched prefix, in order of paths; never empty.
    pub changes: Vec<Change>,
}

/// A reader of a branch's changes. Dropping it ends it.
pub struct Watch {
    branch: Branch,
    prefix: TreePath,
    /// The branch as of the last event.
    at: Option<CommitId>,
    /// The number of the move that brought it there.
    moved: u64,
}

impl Watch {
    pub(crate) fn new(branch: Branch, prefix: &[u8], from: Option<CommitId>) -> Result<Watch> {
        let prefix = TreePath::new(prefix)?;
        let core = branch.store().core();
        let state = core.reference(branch.full_name());
        let moved = match state {
            Some(state) => state.moved,
            None => last_move(core, branch.full_name())?,
        };
        let head = state.map(|state| CommitId(state.id));
        let Some(from) = from else { return Ok(Watch { branch, prefix, at: head, moved }) };
        let from = known(core, from)?;
        let moved = find_move(core, branch.full_name(), from.0, moved)?;
        Ok(Watch { branch, prefix, at: Some(from), moved })
    }

    /// The commit up to which changes were told. A watch that is begun `from` here goes on where this one stopped.
    pub fn position(&self) -> Option<CommitId> {
        self.at
    }

    /// The next change; waits for it as long as it takes.
    #[allow(clippy::should_implement_trait)] // An iterator's `next` could not say `Result<Event>` without an `Option`.
    pub fn next(&mut self) -> Result<Event> {
        loop {
            let rung = self.branch.store().core().bell.rung();
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            self.branch.store().core().bell.wait(rung, None);
        }
    }

    /// The next change, if it comes in time.
    pub fn next_within(&mut self, time: Duration) -> Result<Option<Event>> {
        let end = Instant::now() + time;
        loop {
            let rung = self.branch.store().core().bell.rung();
            if let Some(event) = self.try_next()? {
                return Ok(Some(event));
            }
            if !self.branch.store().core().bell.wait(rung, Some(end)) {
                return Ok(None);
            }
        }
    }

    /// The next change, without blocking, in any runtime. Dropping the future loses nothing.
    pub async fn next_async(&mut self) -> Result<Event> {
        self.next_of_others(|_| false).await
    }

    /// [`Watch::next_async`] for who makes most commits itself: those that `own` knows are passed over, and what they
    /// changed is not looked at.
    pub async fn next_of_others(&mut self, mut own: impl FnMut(CommitId) -> bool) -> Result<Event> {
        poll_fn(|context| {
            let core = self.branch.store().core().clone();
            core.bell.listen(context.waker());
            match self.try_next_but(&mut own) {
                Ok(Some(event)) => Poll::Ready(Ok(event)),
                Ok(None) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            }
        })
        .await
    }

    /// The next change, if there is one already.
    pub fn try_next(&mut self) -> Result<Option<Event>> {
        self.try_next_but(&mut |_| false)
    }

    fn try_next_but(&mut self, own: &mut impl FnMut(CommitId) -> bool) -> Result<Option<Event>> {
        loop {
            let core = self.branch.store().core();
            let Some((before, after, moved, seconds)) = self.next_move(core)? else { return Ok(None) };
            if after.is_some_and(&mut *own) {
                (self.at, self.moved) = (after, moved);
                continue;
            }
            let tree = |commit: Option<CommitId>| -> Result<Option<ObjectId>> {
                commit.map(|id| Ok(core.commit(id)?.tree)).transpose()
            };
            let changes = diff::between(core, tree(before)?, tree(after)?, &self.prefix)?;
            self.at = after;
            self.moved = moved;
            if !changes.is_empty() {
                return Ok(Some(Event { before, commit: after, seconds, changes }));
            }
        }
    }

    /// The next move after the last one that was told, as (before, after, number, seconds).
    #[allow(clippy::type_complexity)]
    fn next_move(&self, core: &Core) -> Result<Option<(Option<CommitId>, Option<CommitId>, u64, i64)>> {
        let name = self.branch.full_name();
        let last = core.reference(name);
        if last.is_some_and(|state| state.moved <= self.moved) {
            return Ok(None);
        }
        let (from, to) = (keys::ref_move(name, self.moved + 1), keys::ref_move(name, u64::MAX));
        if let Some(value) = core.engine.get(&from)? {
            let (_, new, seconds) = decode(&value)?;
            return Ok(Some((self.at, commit(new), self.moved + 1, seconds)));
        }
        if let Some((key, value)) = core.engine.scan(&from, &to, 1)?.first() {
            let (_, new, seconds) = decode(value)?;
            return Ok(Some((self.at, commit(new), number(key)?, seconds)));
        }
        // Where the notes end, the branch itself is right.
        match last {
            Some(state) if state.moved > self.moved => Ok(Some((self.at, commit(state.id), state.moved, 0))),
            _ => Ok(None),
        }
    }
}

/// The number of a ref's last move, deleted or not.
pub(crate) fn last_move(core: &Core, name: &str) -> Result<u64> {
    let mut last = 0;
    let (mut from, to) = (keys::ref_move(name, 0), keys::ref_move(name, u64::MAX));
    loop {
        let page = core.engine.scan(&from, &to, 256)?;
        let Some((key, _)) = page.last() else { return Ok(last) };
        last = number(key)?;
        from = keys::ref_move(name, last + 1);
    }
}

/// The commit that an old id stands for now.
fn known(core: &Core, mut id: CommitId) -> Result<CommitId> {
    for _ in 0..1000 {
        if core.object_entry(&id.0)?.is_some() {
            return Ok(id);
        }
        match core.engine.get(&keys::forgotten(&id.0))? {
            Some(value) => id = CommitId(ObjectId(Take(&value).array()?)),
            None => break,
        }
    }
    Err(Error::Forgotten(id.0))
}

/// The number of the last move that brought a ref to a commit. Without one (it came inside of a push), the number
/// before the oldest move that is known: the watch then begins with one event from that commit on.
fn find_move(core: &Core, name: &str, id: ObjectId, last: u64) -> Result<u64> {
    let mut end = last + 1;
    while end > 0 {
        let start = end.saturating_sub(256);
        let page = core.engine.scan(&keys::ref_move(name, start), &keys::ref_move(name, end), 256)?;
        for (key, value) in page.iter().rev() {
            if decode(value)?.1 == id {
                return number(key);
            }
        }
        if page.is_empty() {
            break;
        }
        end = start;
    }
    Ok(last.saturating_sub(1))
}

fn decode(value: &[u8]) -> Result<(ObjectId, ObjectId, i64)> {
    let mut take = Take(value);
    Ok((ObjectId(take.array()?), ObjectId(take.array()?), take.u64()? as i64))
}

fn number(key: &[u8]) -> Result<u64> {
    let tail = key.len().checked_sub(8).map(|at| &key[at..]);
    let bytes = tail
        .and_then(|tail| tail.try_into().ok())
        .ok_or_else(|| Error::corrupt("the note of a ref's move"))?;
    Ok(u64::from_be_bytes(bytes))
}

fn commit(id: ObjectId) -> Option<CommitId> {
    (!id.is_zero()).then_some(CommitId(id))
}

/// Wakes everybody who waits for a change.
#[derive(Default)]
pub(crate) struct Bell {
    state: Mutex<Rung>,
    rung: Condvar,
}

#[derive(Default)]
struct Rung {
    times: u64,
    wakers: Vec<Waker>,
}

impl Bell {
    pub fn ring(&self) {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        state.times += 1;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.rung.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    fn rung(&self) -> u64 {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).times
    }

    /// Waits until it rings again; `false` when the time is over first.
    fn wait(&self, since: u64, end: Option<Instant>) -> bool {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        while state.times == since {
            let Some(end) = end else {
                state = self.rung.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
                continue;
            };
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self
                .rung
                .wait_timeout(state, left)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state);
        }
        true
    }

    fn listen(&self, waker: &Waker) {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if !state.wakers.iter().any(|known| known.will_wake(waker)) {
            state.wakers.push(waker.clone());
        }
    }
}
