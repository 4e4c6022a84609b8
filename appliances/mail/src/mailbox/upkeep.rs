//! What is done for an account when nobody waits for it: the index of texts follows what comes.
//!
//! It goes on while an account is quiet, and half of the time when it is not but much is waiting. A search that comes
//! sooner does the rest itself.

use super::account::Account;
use super::error::MailboxError;
use chassis::aside::aside;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// Runs until nobody has the account any more.
pub(super) async fn run(account: Weak<Account>) {
    let Some(mut changes) = account.upgrade().map(|account| account.changes()) else { return };
    // Up to which UID the mailboxes are known to be done, by MAILBOXID.
    let mut done = HashMap::new();
    loop {
        let Some(waiting) = account.upgrade().map(|account| waiting(&account, &done)) else { return };
        if waiting < MUCH {
            let patience = if waiting > 0 { QUIET } else { Duration::MAX };
            match timeout(patience, changes.changed()).await {
                Ok(Ok(())) => continue,
                Ok(Err(_)) => return,
                Err(_) => {}
            }
        }
        let began = Instant::now();
        let Some(account) = account.upgrade() else { return };
        let worked = aside(move || {
            let result = step(&account, &mut done);
            (result, done)
        });
        let Some((result, back)) = worked.await else { return };
        done = back;
        if let Err(error) = result {
            tracing::warn!(%error, "the index of texts cannot be kept up; searches will be slow");
            sleep(AFTER_FAILURE).await;
        }
        sleep(began.elapsed()).await;
    }
}

/// How many messages wait to be taken in, at the most.
fn waiting(account: &Account, done: &HashMap<String, u32>) -> u32 {
    let of = |folder: &super::state::Folder| {
        let next = done.get(&folder.about.id).copied().unwrap_or(1);
        folder.about.uid_next.saturating_sub(next).min(folder.about.messages)
    };
    account.state().folders.values().map(of).fold(0, u32::saturating_add)
}

/// Takes a piece of one mailbox in.
fn step(account: &Arc<Account>, done: &mut HashMap<String, u32>) -> Result<(), MailboxError> {
    let state = account.state();
    for (name, folder) in &state.folders {
        let next = done.get(&folder.about.id).copied().unwrap_or(1);
        if next < folder.about.uid_next && folder.about.messages > 0 {
            if !account.index_texts(&state, name)? {
                done.insert(folder.about.id.clone(), folder.about.uid_next);
            }
            return Ok(());
        }
    }
    done.retain(|id, _| state.folders.values().any(|folder| folder.about.id == *id));
    Ok(())
}

/// Nothing has changed for so long: whoever was busy is done.
const QUIET: Duration = Duration::from_secs(2);
/// So many messages are not left waiting, however busy the account is.
const MUCH: u32 = 4_096;
const AFTER_FAILURE: Duration = Duration::from_secs(600);
