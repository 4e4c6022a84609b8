//! What can go wrong with a mailbox.

use super::flags::TooManyKeywords;
use super::name::NameFault;
use crate::limits;

/// Why a change or a look was refused. Whoever speaks a protocol maps it to that protocol's answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MailboxError {
    /// No mailbox of that name.
    #[error("there is no mailbox {0:?}")]
    NoSuchMailbox(String),
    /// A mailbox of that name is there already.
    #[error("a mailbox {0:?} exists already")]
    Exists(String),
    /// The name may not be used.
    #[error(transparent)]
    BadName(#[from] NameFault),
    /// INBOX cannot be deleted, nor made.
    #[error("INBOX is always there")]
    Inbox,
    /// Too many mailboxes.
    #[error("an account has at most {} mailboxes", limits::MAILBOXES_MAX)]
    TooManyMailboxes,
    /// Too many keywords.
    #[error(transparent)]
    Keywords(#[from] TooManyKeywords),
    /// The account's quota would be passed.
    #[error("the account is over its quota of {quota_bytes} bytes")]
    OverQuota {
        /// The quota.
        quota_bytes: u64,
    },
    /// A mailbox has given out all UIDs that there are.
    #[error("the mailbox {0:?} has no UIDs left; move its messages to a new one")]
    UidsExhausted(String),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

impl MailboxError {
    /// Whether the device is full: mail is refused for now, and taken again when there is room.
    pub fn is_full(&self) -> bool {
        matches!(self, MailboxError::Store(store::Error::Full { .. }))
    }
}
