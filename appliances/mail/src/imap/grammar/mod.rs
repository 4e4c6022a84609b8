//! The grammar of what an IMAP client says (RFC 3501 9, RFC 9051 9 and the extensions' own sections).
//!
//! Two steps: `Framer` finds where a command ends (lines and literals) under size limits, then `parse` reads it. A
//! parsed command borrows the messages of an APPEND from the frame and owns everything else. Nothing here knows a
//! mailbox.

mod command;
mod cursor;
mod fetch;
mod framing;
mod list;
mod mailbox_name;
mod search;
mod set;

#[cfg(test)]
mod tests;

pub use command::{Appended, Body, Command, FlagsAction, Qresync, Refused, StatusItem, Store, parse};
pub use fetch::{Fetch, FetchItem, Part, Section};
pub use framing::{Frame, Framer, Limits};
pub use list::{List, ListReturn, ListSelection};
pub use mailbox_name::{decode_utf7, encode_utf7};
pub use search::{Date, Key, ReturnOption, Search};
pub use set::{Set, SetOrSaved};
