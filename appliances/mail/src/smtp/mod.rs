//! SMTP without sockets: the server's session and the client's session, bytes in and actions out (RFC 5321 with
//! PIPELINING 2920, SIZE 1870, 8BITMIME 6152, SMTPUTF8 6531, CHUNKING 3030, ENHANCEDSTATUSCODES 2034, STARTTLS 3207,
//! DSN 3461, AUTH 4954). Who is a recipient, what a password is and where a message goes is the caller's.
//!
//! Invariants: a message ends at CRLF `.` CRLF and nowhere else; the lines of a message that was accepted end with CRLF, a
//! bare CR is never accepted and none is sent; nothing that arrived before TLS is read after it.

mod address;
mod client;
mod command;
mod data;
mod reply;
mod server;

pub use address::{Mailbox, PathError, parse_path};
pub use client::{Client, ClientStep, Credentials, Outcome, Outgoing, OutgoingRecipient};
pub use command::{Command, Notify, Ret, parse as parse_command};
pub use data::{DataDecoder, stuff};
pub use reply::{Reply, ReplyReader};
pub use server::{Envelope, Mode, Recipient, SaslAnswer, Session, Settings, Step};
