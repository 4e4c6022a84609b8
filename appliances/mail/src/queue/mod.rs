//! Outgoing mail, durable from the 250 on: each message is a directory of the branch `queue`, each result a commit.
//!
//! ```text
//! 6923f1a0b2c4-7f31/envelope.json     sender, recipients, what happened to each
//! 6923f1a0b2c4-7f31/message.eml       the message as it goes out
//! ```
//! A result is written before the next attempt; a crash between the peer's answer and the commit repeats that attempt,
//! which is the only way to a duplicate.

mod entry;
mod notice;
mod progress;
mod route;
mod runner;
mod schedule;
mod send;

pub use entry::{Entry, Queue, QueueError, RecipientState, Waiting};
pub use notice::{Kind as NoticeKind, notice};
pub use route::{Route, RouteError, Router};
pub use runner::{Runner, start};
