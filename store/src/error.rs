//! What can go wrong, to what, and whose fault it is.

use std::sync::Arc;

use git_wire::{ObjectId, RepositoryError};

use crate::TreePath;

/// The store's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that a call of the store can fail with. Cloneable, because writers that share one flush share its fate.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A path cannot stand in a Git tree, or would harm whoever checks it out.
    #[error("the path {path:?} is refused: {why}")]
    BadPath {
        /// The path as it was given, lossily.
        path: String,
        /// Which rule it breaks.
        why: &'static str,
    },
    /// A name of a branch, tag or index is malformed.
    #[error("the name {name:?} is refused: {why}")]
    BadName {
        /// The name as it was given.
        name: String,
        /// Which rule it breaks.
        why: &'static str,
    },
    /// [`crate::Transaction::expect`] was not met: somebody else changed the path first. Read again and retry.
    #[error("{path} was changed by somebody else meanwhile; read it again and retry")]
    Stale {
        /// The path whose entry was not the expected one.
        path: TreePath,
    },
    /// A ref was not what the caller expected it to be.
    #[error("{name} moved meanwhile; read it again and retry")]
    RefMoved {
        /// Full name of the ref.
        name: String,
    },
    /// Something that was named is not there.
    #[error("there is no {what}")]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// Something that was to be made exists already.
    #[error("{what} exists already")]
    Exists {
        /// What is in the way.
        what: String,
    },
    /// A commit was given up by retention or purge, and nothing says what replaced it.
    #[error("commit {0} is no longer kept; begin again from the branch's head")]
    Forgotten(ObjectId),
    /// A file was wanted and a directory found, or the other way round.
    #[error("{path} is {is}, not {wanted}")]
    WrongKind {
        /// The path.
        path: TreePath,
        /// What it is.
        is: &'static str,
        /// What was wanted.
        wanted: &'static str,
    },
    /// Something is larger than the store takes in one piece.
    #[error("{what} has {size_bytes} bytes, more than the {max_bytes} that are allowed")]
    TooLarge {
        /// What is too large.
        what: String,
        /// Its size.
        size_bytes: u64,
        /// The limit.
        max_bytes: u64,
    },
    /// Bytes on the device are not what was written. A store that does not open for it is mended by [`crate::Store::repair`].
    #[error("the store is damaged: {what}")]
    Corrupt {
        /// What was found where.
        what: String,
    },
    /// An object that another one names is not there.
    #[error("object {0} is missing")]
    Missing(ObjectId),
    /// Bytes from outside are not a Git object, a store, or otherwise not what they should be.
    #[error("malformed: {0}")]
    Malformed(String),
    /// The device has no room left; nothing was changed. Grow it, or forget something and run gc.
    #[error("the device is full ({capacity_bytes} bytes); nothing was changed; grow it, or run gc")]
    Full {
        /// Size of the device.
        capacity_bytes: u64,
    },
    /// An earlier write or flush failed, so nothing more is accepted until the store is opened again.
    #[error("the store is read-only since a failure: {why}; check the device and open the store again")]
    ReadOnly {
        /// What failed first.
        why: String,
    },
    /// The device failed to answer a read.
    #[error("the device failed: {0}")]
    Device(Arc<std::io::Error>),
    /// The store was closed while the call waited.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// The error and what to do about it, for who runs the store at `place`.
    pub fn with_advice(&self, place: impl std::fmt::Display) -> String {
        match self {
            Error::Corrupt { .. } | Error::Missing(_) => {
                format!("{self}; copy it, then mend it with `nymote store fsck {place} --repair`")
            }
            _ => self.to_string(),
        }
    }

    pub(crate) fn corrupt(what: impl Into<String>) -> Error {
        Error::Corrupt { what: what.into() }
    }

    pub(crate) fn not_found(what: impl Into<String>) -> Error {
        Error::NotFound { what: what.into() }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        Error::Device(Arc::new(error))
    }
}

impl From<git_wire::CollisionAttack> for Error {
    fn from(attack: git_wire::CollisionAttack) -> Error {
        Error::Malformed(attack.to_string())
    }
}

impl From<Error> for RepositoryError {
    fn from(error: Error) -> RepositoryError {
        match error {
            Error::Full { .. } | Error::ReadOnly { .. } | Error::Closed => {
                RepositoryError::Refused(error.to_string())
            }
            other => RepositoryError::Failed(other.to_string()),
        }
    }
}
