//! The writer of an account: takes whatever changes wait, makes them one commit, answers when it is on the device.

use super::account::Shared;
use super::draft::{Draft, Finished};
use super::error::MailboxError;
use super::load::{self, Place};
use super::state::{Folder, State};
use chassis::aside::begin;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use store::{Author, Snapshot, Store};
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
    let before = shared.state();
    let Finished { tx, mut state, message, left } = {
        let tx = shared.branch.begin()?;
        let (state, behind) = current(shared, &before, &tx)?;
        let mut draft = Draft::new(&shared.store, &shared.name, tx, state, shared.now_s());
        behind.iter().try_for_each(|mailbox| draft.bring_table_up(mailbox))?;
        answers.extend(waiting.filter_map(|change| change(&mut draft)));
        draft.finish()?
    };
    let base = state.head;
    let head = tx.commit_async(author, message).await?.into_inner();
    state.head = Some(head);
    // Somebody else's commit, a push say, came between: read again what is there now.
    let parents = shared.store.commit(head)?.parents;
    if Some(head) != base && parents.first().copied() != base {
        state = reload(shared, &before, shared.branch.snapshot()?)?.0;
    }
    state.unload();
    shared.publish(state);
    if !left.is_empty() {
        let store = shared.store.clone();
        drop(begin(move || empty(&store, &left)));
    }
    Ok(())
}

/// Empties tables that nobody needs any more. What a crash leaves of them takes room and does no harm.
fn empty(store: &Store, tables: &[String]) {
    for name in tables {
        if let Err(error) = store.index(name).and_then(|table| table.clear()) {
            tracing::warn!(table = name, %error, "the table of a deleted mailbox stays");
        }
    }
}

/// The state that the transaction begins from, and the mailboxes whose table that was right is behind it.
fn current(
    shared: &Shared,
    known: &State,
    tx: &store::Transaction,
) -> Result<(State, Vec<String>), MailboxError> {
    match known.head == tx.base().commit() {
        true => Ok((known.clone(), Vec::new())),
        false => reload(shared, known, tx.base().clone()),
    }
}

/// The state as of a snapshot that somebody else made, with the rows of those mailboxes that are loaded in `known`, and
/// the mailboxes whose table is no longer right.
fn reload(shared: &Shared, known: &State, snapshot: Snapshot) -> Result<(State, Vec<String>), MailboxError> {
    let older = known.head.and_then(|head| shared.store.snapshot_at(head).ok());
    let by_id: HashMap<&str, (&String, &Folder)> =
        known.folders.iter().map(|(name, folder)| (folder.about.id.as_str(), (name, folder))).collect();
    let mut state = load::state(&snapshot)?;
    let (keywords, mut behind) = (state.keywords.clone(), Vec::new());
    for (name, folder) in &mut state.folders {
        let Some((old_name, old)) = by_id.get(folder.about.id.as_str()) else { continue };
        folder.share_with(old);
        if old.table_is_right {
            behind.push(name.clone());
        }
        let (Some(older), true) = (&older, *old_name == name) else { continue };
        let directory = super::name::directory(name);
        let (store, account, id) = (&shared.store, shared.name.as_str(), old.about.id.as_str());
        let place = Place { store, account, snapshot: snapshot.clone(), directory, id };
        let changed = place.since(older)?;
        if changed.buckets.is_empty() && old.table_is_right {
            folder.table_is_right = true;
            behind.pop();
        }
        if let Some(rows) = old.rows() {
            let packs = changed.buckets.into_iter().map(|b| Ok((b, place.bucket_rows(b, &keywords)?)));
            let packs = packs.collect::<Result<_, MailboxError>>()?;
            folder.set_rows(Some(rows.with_packs(packs)));
        }
    }
    Ok((state, behind))
}

/// Changes in one commit; as many as 20 busy connections make while a flush lasts, and a bound for what is in memory.
const CHANGES_AT_ONCE: usize = 64;
