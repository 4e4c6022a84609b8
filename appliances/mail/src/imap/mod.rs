//! IMAP4rev1 and rev2 (RFC 3501, 9051) and their extensions, as seen from the wire.
//!
//! `grammar` turns bytes into commands and does no I/O.

pub mod grammar;
