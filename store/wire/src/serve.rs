//! The server's half of Git's protocol: one request in, one response out (stateless, as smart HTTP uses it).
//!
//! Nothing here opens a socket. A request is a stream of bytes, a response is written to one, and what the repository
//! must do goes through its traits.

mod advertise;
mod change;
mod closure;
mod fetch;
mod pack;
mod receive;
mod refname;
mod v0;

pub use advertise::{Advertisement, advertise, ls_refs};
pub use change::{ChangedPaths, Hook, RefChange};
pub use closure::ClosureSender;
pub use fetch::fetch;
pub use pack::{PackSender, send_pack};
pub use receive::receive_pack;
pub use refname::check_ref_name;
pub use v0::upload_pack_v0;

use std::io::{self, Read, Write};

use crate::pkt::{Packet, PktError, read_packet, trim};
use crate::walk::WalkError;
use crate::{Limits, RepositoryError, View};

/// Why a request could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The client said something that the protocol does not have.
    #[error("{0}")]
    Client(String),
    /// What it sent is no packet line.
    #[error(transparent)]
    Packet(#[from] PktError),
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// Objects could not be found out.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
}

/// What we call ourselves.
pub const AGENT: &str = concat!("agent=nymote/", env!("CARGO_PKG_VERSION"));

/// Serves one request of protocol version 2 (gitprotocol-v2): `ls-refs` or `fetch`.
pub fn upload_pack_v2(
    view: &dyn View,
    request: &mut dyn Read,
    response: &mut dyn Write,
    limits: &Limits,
) -> Result<(), ServeError> {
    let mut command = None;
    let mut arguments = Vec::new();
    let mut behind = false;
    loop {
        match read_packet(request)? {
            Some(Packet::Line(line)) => {
                if arguments.len() == limits.lines_max {
                    return Err(ServeError::Client("the request has too many lines".into()));
                }
                let line = trim(&line);
                match (behind, line.strip_prefix(b"command=")) {
                    (false, Some(name)) => command = Some(name.to_vec()),
                    (false, None) => check_capability(line)?,
                    (true, _) => arguments.push(line.to_vec()),
                }
            }
            Some(Packet::Delimiter) if !behind => behind = true,
            Some(Packet::Flush) => break,
            None if command.is_none() => return Ok(()),
            _ => return Err(ServeError::Client("the request is cut short".into())),
        }
    }
    match command.as_deref() {
        Some(b"ls-refs") => ls_refs(view, &arguments, response),
        Some(b"fetch") => fetch(view, &arguments, response, limits),
        Some(other) => {
            Err(ServeError::Client(format!("unknown command '{}'", String::from_utf8_lossy(other))))
        }
        None => Err(ServeError::Client("the request has no command".into())),
    }
}

/// A client that counts in another hash would take nothing of ours.
fn check_capability(line: &[u8]) -> Result<(), ServeError> {
    match line.strip_prefix(b"object-format=") {
        Some(format) if format != b"sha1" => {
            Err(ServeError::Client("this repository's object format is sha1".into()))
        }
        _ => Ok(()),
    }
}
