//! IMAP4rev1 and rev2 (RFC 3501, 9051) and their extensions, as seen from the wire.
//!
//! `grammar` turns bytes into commands, `render` messages into responses, `matching` says what a search finds. None does I/O.

pub mod grammar;
pub mod matching;
pub mod render;
