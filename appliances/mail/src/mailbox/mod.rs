//! Mailboxes over the store: what an account's folders hold, and every change to them.
//!
//! Each account has a branch of its own, `mail/NAME`, whose files anybody can read (`layout`). Reading goes by
//! [`State`]: what the account holds as of one commit, shared by all sessions and never changed. Every change goes
//! through the account's writer (`writer`), one task that takes whatever changes are waiting, makes them one commit and
//! answers when that commit is on the device. So twenty deliveries cost one flush, and nobody sees what is not durable.

mod account;
mod draft;
mod error;
mod flags;
mod heads;
mod incoming;
pub mod layout;
mod load;
pub mod name;
mod rows;
mod settle;
mod state;
mod table;
#[cfg(test)]
mod tests;
pub mod texts;
mod upkeep;
mod writer;

pub use account::{Account, Begun, Mailboxes};
pub use draft::{Added, Draft, FlagChange, StoreOutcome};
pub use error::MailboxError;
pub use flags::{Flags, Keywords, SYSTEM};
pub use heads::{Head, Heads};
pub use incoming::{Incoming, NewMessage};
pub use rows::{Difference, Row, Rows};
pub use settle::merge_rules;
pub use state::{Folder, State, Viewing};
