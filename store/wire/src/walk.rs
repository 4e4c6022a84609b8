//! Which objects one side needs from the other.
//!
//! Commits are walked by date, newest first, as Git does: from what is wanted until everything left is known to be had.
//! Trees are not looked up one by one but compared with the parent's, so that the work follows what changed.

mod history;
mod missing;
mod reach;
mod selection;
mod shallow;

pub use history::{Commit, History};
pub use missing::Missing;
pub use reach::{reached_commits, unreachable};
pub use selection::{Filter, Selection, select};
pub use shallow::{Deepen, ShallowChange, deepen};

use crate::{ObjectId, RepositoryError};
use history::Queued;

/// Why a walk could not be made.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// An object that must be there is not, or is another kind.
    #[error("object {0} is missing or of the wrong kind; the repository needs a check (fsck)")]
    Missing(ObjectId),
    /// Trees lie deeper inside each other than allowed.
    #[error("trees are more than {0} deep")]
    TooDeep(usize),
    /// More objects than can be sent at once.
    #[error("more than {0} objects would be sent; ask for less (--depth, --single-branch)")]
    TooMany(usize),
}
