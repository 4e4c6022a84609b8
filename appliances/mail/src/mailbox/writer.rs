//! The writer of an account: takes whatever changes wait, makes them one commit, answers when it is on the device.

use super::account::Shared;
use super::draft::Draft;
use super::error::MailboxError;
use super::load;
use super::state::State;
use std::sync::{Arc, Weak};
use store::Author;
use tokio::sync::mpsc;

/// A change that waits. It is given the draft, and answers its caller itself: at once when it was refused, else by what
/// it returns, which is told how the commit went.
pub(super) type Change = Box<dyn FnOnce(&mut Draft<'_>) -> Option<Answer> + Send>;
/// Told once the commit is on the device, or has failed.
pub(super) type Answer = Box<dyn FnOnce(Result<(), MailboxError>) + Send>;

/// Takes changes until nobody can make any more.
pub(super) async fn run(shared: Weak<Shared>, mut changes: mpsc::Receiver<Change>) {
    let mut waiting = Vec::with_capacity(CHANGES_AT_ONCE);
    while changes.recv_many(&mut waiting, CHANGES_AT_ONCE).await > 0 {
        let Some(shared) = shared.upgrade() else { return };
        let mut answers = Vec::with_capacity(waiting.len());
        let outcome = commit(&shared, waiting.drain(..), &mut answers).await;
        for answer in answers {
            answer(outcome.clone());
        }
    }
}

async fn commit(
    shared: &Arc<Shared>,
    waiting: impl Iterator<Item = Change>,
    answers: &mut Vec<Answer>,
) -> Result<(), MailboxError> {
    let author = Author::new(&shared.name, shared.address());
    let (tx, state, message) = {
        let tx = shared.branch.begin()?;
        let state = current(shared, &tx)?;
        let mut draft = Draft::new(&shared.store, tx, state, shared.now_s());
        answers.extend(waiting.filter_map(|change| change(&mut draft)));
        draft.finish()?
    };
    let base = state.head;
    let head = tx.commit_async(author, message).await?.into_inner();
    let mut state = state;
    state.head = Some(head);
    // Somebody else's commit, a push say, came between: read again what is there now.
    let parents = shared.store.commit(head)?.parents;
    if Some(head) != base && parents.first().copied() != base {
        state = reload(shared, &state)?;
    }
    state.unload();
    shared.publish(state);
    Ok(())
}

/// The state that the transaction begins from.
fn current(shared: &Shared, tx: &store::Transaction) -> Result<State, MailboxError> {
    let known = shared.state();
    if known.head == tx.base().commit() { Ok((*known).clone()) } else { reload(shared, &known) }
}

/// The state as of the branch's head, with the rows of those mailboxes that are loaded in `known`.
pub(super) fn reload(shared: &Shared, known: &State) -> Result<State, MailboxError> {
    let snapshot = shared.branch.snapshot()?;
    let older = known.head.and_then(|head| shared.store.snapshot_at(head).ok());
    let mut state = load::state(&snapshot)?;
    let mut keywords = state.keywords.clone();
    for (name, old) in &known.folders {
        let Some(folder) = state.folders.get_mut(name).filter(|f| f.about.id == old.about.id) else {
            continue;
        };
        let about = std::mem::replace(folder, old.clone());
        folder.about = about.about;
        if let (Some(rows), Some(older)) = (&old.rows, &older) {
            let directory = super::name::directory(name);
            let buckets = load::changed_buckets(&snapshot, older, &directory)?;
            folder.rows = Some(load::replace_buckets(&snapshot, &directory, rows, &buckets, &mut keywords)?);
        } else {
            folder.rows = None;
        }
    }
    state.keywords = keywords;
    Ok(state)
}

/// Changes in one commit; as many as 20 busy connections make while a flush lasts, and a bound for what is in memory.
const CHANGES_AT_ONCE: usize = 64;
