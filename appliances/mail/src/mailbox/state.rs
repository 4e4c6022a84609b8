//! What an account holds as of one commit.

use super::flags::Keywords;
use super::layout::About;
use super::rows::Rows;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use store::CommitId;

/// An account's mailboxes as of one commit; never changes. A change makes another.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The commit that this is the state of.
    pub head: Option<CommitId>,
    /// Mailboxes by name.
    pub folders: BTreeMap<String, Folder>,
    /// Subscribed names, which need not exist (RFC 3501 6.3.6).
    pub subscriptions: BTreeSet<String>,
    /// Names of the keywords in use.
    pub keywords: Keywords,
    /// The highest UIDVALIDITY that was ever given to a mailbox.
    pub uid_validity_last: u32,
}

/// A mailbox.
#[derive(Debug, Clone)]
pub struct Folder {
    /// What it knows of itself.
    pub about: About,
    /// Its messages, where they are loaded.
    pub rows: Option<Rows>,
    /// How many sessions have it open.
    viewers: Arc<AtomicUsize>,
}

/// Held by a session as long as it has a mailbox open, so that its rows stay loaded.
#[derive(Debug)]
pub struct Viewing(Arc<AtomicUsize>);

impl Folder {
    /// A mailbox whose rows are not loaded.
    pub fn new(about: About) -> Folder {
        Folder { about, rows: None, viewers: Arc::default() }
    }

    /// Marks the mailbox as open until the mark is dropped.
    pub fn view(&self) -> Viewing {
        self.viewers.fetch_add(1, Ordering::Relaxed);
        Viewing(self.viewers.clone())
    }

    /// Whether some session has it open.
    pub fn is_viewed(&self) -> bool {
        self.viewers.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Viewing {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl State {
    /// Bytes of all messages of the account.
    pub fn bytes(&self) -> u64 {
        self.folders.values().map(|folder| folder.about.bytes).sum()
    }

    /// Number of all messages of the account.
    pub fn messages(&self) -> u64 {
        self.folders.values().map(|folder| u64::from(folder.about.messages)).sum()
    }

    /// The mailbox with this special use (`\Sent`).
    pub fn special(&self, special_use: &str) -> Option<(&String, &Folder)> {
        self.folders.iter().find(|(_, folder)| folder.about.special_use.eq_ignore_ascii_case(special_use))
    }

    /// The state without the rows of mailboxes that nobody has open.
    pub(super) fn unload(&mut self) {
        for folder in self.folders.values_mut().filter(|folder| !folder.is_viewed()) {
            folder.rows = None;
        }
    }
}
