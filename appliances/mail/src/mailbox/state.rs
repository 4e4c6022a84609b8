//! What an account holds as of one commit.

use super::error::MailboxError;
use super::flags::Keywords;
use super::layout::About;
use super::rows::Rows;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
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
    /// Its messages, once somebody has loaded them; shared by all who hold this state of it.
    rows: Arc<OnceLock<Rows>>,
    /// The derived table is known to be right for this state.
    pub(super) table_is_right: bool,
    /// How many sessions have it open.
    viewers: Arc<AtomicUsize>,
    /// UIDs below it were \Recent in some session already (RFC 3501 2.3.2); lost with the process.
    recent_from: Arc<AtomicU32>,
}

/// Held by a session as long as it has a mailbox open, so that its rows stay loaded.
#[derive(Debug)]
pub struct Viewing(Arc<AtomicUsize>);

impl Folder {
    /// A mailbox whose rows are not loaded.
    pub fn new(about: About) -> Folder {
        let recent_from = Arc::new(AtomicU32::new(about.uid_next));
        Folder { about, rows: Arc::default(), table_is_right: false, viewers: Arc::default(), recent_from }
    }

    /// Its messages, where they are loaded.
    pub fn rows(&self) -> Option<&Rows> {
        self.rows.get()
    }

    /// Keeps rows that were loaded for this state; gives those that another loaded first.
    pub(super) fn keep_rows(&self, rows: Rows) -> Rows {
        self.rows.get_or_init(|| rows).clone()
    }

    /// Other rows for another state of the mailbox.
    pub(super) fn set_rows(&mut self, rows: Option<Rows>) {
        self.rows = Arc::new(rows.map_or_else(OnceLock::new, OnceLock::from));
    }

    /// What another state of the same mailbox shares: who has it open, and what is \Recent.
    pub(super) fn share_with(&mut self, older: &Folder) {
        self.viewers = older.viewers.clone();
        self.recent_from = older.recent_from.clone();
    }

    /// Marks the mailbox as open until the mark is dropped.
    pub fn view(&self) -> Viewing {
        self.viewers.fetch_add(1, Ordering::Relaxed);
        Viewing(self.viewers.clone())
    }

    /// The first UID that is \Recent for a session that opens the mailbox now. One that may change it is told of them
    /// alone.
    pub fn take_recent(&self, read_only: bool) -> u32 {
        match read_only {
            true => self.recent_from.load(Ordering::Relaxed),
            false => self.recent_from.swap(self.about.uid_next, Ordering::Relaxed),
        }
    }

    /// How many messages no session has seen yet, at the most.
    pub fn recent(&self) -> u32 {
        let unseen = self.about.uid_next.saturating_sub(self.recent_from.load(Ordering::Relaxed));
        unseen.min(self.about.messages)
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
    /// A mailbox that must be there.
    pub fn folder(&self, mailbox: &str) -> Result<&Folder, MailboxError> {
        self.folders.get(mailbox).ok_or_else(|| MailboxError::NoSuchMailbox(mailbox.to_owned()))
    }

    /// This state, of one mailbox alone.
    pub fn only(&self, mailbox: &str) -> State {
        let folder = self.folders.get(mailbox).cloned();
        State {
            head: self.head,
            folders: folder.into_iter().map(|folder| (mailbox.to_owned(), folder)).collect(),
            keywords: self.keywords.clone(),
            ..State::default()
        }
    }

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
        for folder in self.folders.values_mut().filter(|f| f.rows().is_some() && !f.is_viewed()) {
            folder.set_rows(None);
        }
    }
}
