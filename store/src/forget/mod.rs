//! Forgetting: collection of what nothing reaches, retention, and purging a path from all history.
//!
//! All of it works while the store serves. Readers go on reading; writers wait only for the last, short part.

mod collect;
mod marks;
mod moving;
mod purged;
mod reach;
mod rewrite;
mod similar;

pub use collect::{Collected, Statistics};
pub(crate) use marks::Marks;
pub use purged::PURGED;
pub(crate) use reach::{closure, forget_reach, note_walk};
pub use rewrite::{Forgotten, Retention};
