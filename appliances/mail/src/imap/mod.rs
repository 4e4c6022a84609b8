//! IMAP4rev1 and rev2 (RFC 3501, 9051) and their extensions.
//!
//! `grammar` turns bytes into commands, `render` messages into responses, `matching` says what a search finds; none of
//! these does I/O. `session` does what a client says, over the mailboxes of its account. `serve` moves the bytes.

mod capability;
pub mod grammar;
pub mod matching;
mod output;
pub mod render;
mod serve;
mod session;

pub use serve::{Context, Security, serve};

#[cfg(test)]
mod power_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transcripts;
