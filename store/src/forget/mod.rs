//! Forgetting: collection of what nothing names any more, retention that thins out old history, purge of a path.
//!
//! All of it works while the store serves. Readers go on reading; writers wait only for the last, short part.

mod collect;
mod marks;
mod rewrite;

pub use collect::{Collected, Statistics};
pub use rewrite::{Forgotten, Retention};
