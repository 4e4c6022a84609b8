//! The index: what the log said lately, in memory.

use super::{Edits, Recent};

/// The index, newest first.
#[derive(Default)]
pub struct Tables {
    /// Since the last checkpoint; `None` hides what is older.
    pub recent: Recent,
}

impl Tables {
    pub fn apply(&mut self, edits: Edits) {
        self.recent.extend(edits);
    }
}
