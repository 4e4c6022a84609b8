//! The client's half: fetch from and push to any Git host over smart HTTP, protocol version 2 with the first one to fall
//! back on.
//!
//! The protocol asks a [`Transport`] for requests and knows nothing of sockets. With the feature `https` there is one
//! over HTTP and HTTPS ([`HttpTransport`]). Nothing is kept of a fetch that fails half-way: call it again.

mod fetch;
#[cfg(feature = "https")]
mod https;
mod push;
mod remote;

pub use fetch::{Fetched, fetch};
#[cfg(feature = "https")]
pub use https::HttpTransport;
pub use push::{PushRef, Pushed, push};
pub use remote::{Remote, RemoteRefs, discover};

use std::io::{self, Read};

use crate::RepositoryError;
use crate::pack::PackError;
use crate::pkt::PktError;
use crate::serve::ServeError;
use crate::walk::WalkError;

/// Makes HTTP requests below a repository's address.
pub trait Transport {
    /// `GET` of `path`, which begins with a slash.
    fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Answer, ClientError>;

    /// `POST` of a body, which may be long.
    fn post(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: &mut dyn Read,
    ) -> Result<Answer, ClientError>;
}

/// An answer to a request.
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its `Content-Type`, or empty.
    pub content_type: String,
    /// Its body.
    pub body: Box<dyn Read>,
}

/// Hears how it goes, and may end it.
pub trait Progress {
    /// What the other side says to the person.
    fn remote_says(&mut self, text: &str);

    /// So many objects of so many were received, or sent.
    fn objects(&mut self, done: u64, total: u64);

    /// Asked now and then; true ends the transfer.
    fn is_cancelled(&mut self) -> bool {
        false
    }
}

/// Nobody listens.
pub struct Silent;

impl Progress for Silent {
    fn remote_says(&mut self, _: &str) {}
    fn objects(&mut self, _: u64, _: u64) {}
}

/// Why a fetch or a push did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address makes no sense.
    #[error("{0:?} is no address of a Git repository: http:// or https:// is wanted")]
    Address(String),
    /// The host cannot be reached, or the connection broke. Trying again later may help.
    #[error("{host} cannot be reached: {why}")]
    Unreachable {
        /// The host.
        host: String,
        /// Why.
        why: String,
    },
    /// It wants a name and a password, or others than it got.
    #[error(
        "the host wants a name and a password that are right; give them by --user and --password-file, or in the address"
    )]
    Unauthorized,
    /// It answered, but not with what was asked for.
    #[error("the host answered {status}: {why}")]
    Refused {
        /// The status.
        status: u16,
        /// What it says.
        why: String,
    },
    /// It speaks no smart HTTP, or breaks the protocol.
    #[error("the remote does not keep to Git's protocol: {0}")]
    Protocol(String),
    /// It said `ERR`.
    #[error("the remote says: {0}")]
    Remote(String),
    /// The pack that it sent is no good.
    #[error("what the remote sent is refused: {0}")]
    Pack(#[from] PackError),
    /// Our repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// Our objects could not be walked.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// The connection broke.
    #[error("the connection broke: {0}; try again")]
    Io(#[from] io::Error),
    /// Progress said so.
    #[error("cancelled")]
    Cancelled,
}

impl ClientError {
    /// Whether the connection was at fault, which may be better in a moment; a host that is not there is not asked again.
    pub fn is_passing(&self) -> bool {
        match self {
            ClientError::Io(_) | ClientError::Pack(PackError::Truncated(_)) => true,
            ClientError::Refused { status, .. } => matches!(status, 429 | 502..=504),
            _ => false,
        }
    }
}

impl From<PktError> for ClientError {
    fn from(error: PktError) -> ClientError {
        match error {
            PktError::Io(error) => ClientError::Io(error),
            other => ClientError::Protocol(other.to_string()),
        }
    }
}

impl From<ServeError> for ClientError {
    fn from(error: ServeError) -> ClientError {
        match error {
            ServeError::Repository(error) => ClientError::Repository(error),
            ServeError::Walk(error) => ClientError::Walk(error),
            ServeError::Io(error) => ClientError::Io(error),
            other => ClientError::Protocol(other.to_string()),
        }
    }
}

/// Turns an answer that is not what was asked for into an error with the host's own words.
fn expect_type(answer: Answer, content_type: &str) -> Result<Box<dyn Read>, ClientError> {
    match answer.status {
        200 if answer.content_type == content_type => Ok(answer.body),
        200 => Err(ClientError::Protocol(format!(
            "it answers with {:?}, not {content_type:?}",
            answer.content_type
        ))),
        401 => Err(ClientError::Unauthorized),
        status => {
            let mut words = Vec::new();
            let _ = answer.body.take(300).read_to_end(&mut words);
            let words = String::from_utf8_lossy(&words);
            let why = words.lines().next().unwrap_or("").trim().to_owned();
            Err(ClientError::Refused { status, why })
        }
    }
}
