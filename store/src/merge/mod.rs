//! Three-way merges that know what they merge.
//!
//! A [`Merge`] gets a file's common base and two versions, and gives the merged bytes or a conflict. Which one is asked
//! is told by [`Rule`]s: by path prefix, by suffix, or both; the longest rule wins. Where there is none, text is merged
//! line by line and everything else conflicts.
//!
//! A conflict loses nothing: both versions and the base are kept in the tree, under [`CONFLICTS`], until somebody
//! settles it.

mod base;
mod conflict;
mod content;
mod counter;
mod entry;
mod key_value;
mod last_writer;
mod renames;
mod set;
mod text;
mod tree;

use std::sync::Arc;

pub use conflict::{CONFLICTS, Conflict, Resolution};
pub use content::{Calendar, Card, calendars_and_cards};
pub use counter::Counter;
pub use key_value::KeyValue;
pub use last_writer::LastWriter;
pub use set::LineSet;
pub use text::Text;

pub(crate) use base::{is_ancestor, merge_bases};
pub(crate) use conflict::{
    about as conflicts_about, find as find_conflict, list as list_conflicts, resolve as resolve_conflict,
};
pub(crate) use entry::entry_or_theirs;
pub(crate) use tree::{Merger, Sides, merge_commits};

use crate::object::{CommitId, Signature};
use crate::{Durable, TreePath};

/// Merges two versions of a file. The laws, held by property tests for those given here:
/// - `merge(x, x, y) = y` and `merge(x, y, x) = y`: who changed nothing has no say;
/// - `merge(b, x, y) = merge(b, y, x)` whenever it is no conflict;
/// - nothing that one side added vanishes without a conflict.
///
/// The store itself answers when a side did not change, and when both changed to the same.
pub trait Merge: Send + Sync {
    /// Merges. `base` is `None` when both sides added the file.
    fn merge(&self, base: Option<&[u8]>, ours: &[u8], theirs: &[u8], context: &Context<'_>) -> Outcome;

    /// What happens when one side removed what the other one changed. A conflict that keeps the file, if nothing else
    /// is said.
    fn on_removal(&self) -> Removal {
        Removal::Conflict
    }

    /// Whether two equal changes are two changes: a counter that both sides raised by one was raised by two. Otherwise
    /// the store takes equal versions as they are, without asking.
    fn adds_up(&self) -> bool {
        false
    }

    /// What conflicts say about who was asked.
    fn name(&self) -> &str;
}

/// What a merge gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Both sides' changes are in it.
    Merged(Vec<u8>),
    /// They contradict each other.
    Conflict {
        /// What stands at the path until the conflict is settled: as much as could be merged, and ours elsewhere.
        kept: Vec<u8>,
        /// What contradicts what, in a line for people.
        why: String,
    },
}

/// What to do when one side removed what the other one changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Keep the changed file and note a conflict.
    Conflict,
    /// It is removed.
    Remove,
    /// The changed file is kept.
    Keep,
}

/// Where a merge happens, and between whom.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The file.
    pub path: &'a TreePath,
    /// Who made our version and when, where that is known.
    pub ours: Option<&'a Signature>,
    /// Who made their version and when.
    pub theirs: Option<&'a Signature>,
}

/// Which files a policy is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    prefix: TreePath,
    suffix: Vec<u8>,
}

impl Rule {
    /// Files whose name ends in this, like `.ics`: the content's type, as far as a path tells.
    pub fn suffix(suffix: impl AsRef<[u8]>) -> Rule {
        Rule { prefix: TreePath::root(), suffix: suffix.as_ref().to_vec() }
    }

    /// Files at or below a path.
    pub fn below(prefix: impl AsRef<[u8]>) -> crate::Result<Rule> {
        Ok(Rule { prefix: TreePath::new(prefix)?, suffix: Vec::new() })
    }

    /// Of these, only those whose name ends in this.
    pub fn and_suffix(mut self, suffix: impl AsRef<[u8]>) -> Rule {
        self.suffix = suffix.as_ref().to_vec();
        self
    }

    fn fits(&self, path: &TreePath) -> bool {
        path.is_under(&self.prefix) && path.as_bytes().ends_with(&self.suffix)
    }

    fn weight(&self) -> usize {
        self.prefix.as_bytes().len() + self.suffix.len()
    }
}

/// The policies of an open store.
#[derive(Clone, Default)]
pub(crate) struct Policies(Vec<(Rule, Arc<dyn Merge>)>);

impl Policies {
    pub fn add(&mut self, rule: Rule, policy: Arc<dyn Merge>) {
        self.0.push((rule, policy));
        self.0.sort_by_key(|(rule, _)| std::cmp::Reverse(rule.weight()));
    }

    /// Whether a file at or below a path may be one whose equal changes add up.
    pub fn add_up_below(&self, path: &TreePath) -> bool {
        let meets = |rule: &Rule| rule.prefix.is_under(path) || path.is_under(&rule.prefix);
        self.0.iter().any(|(rule, policy)| policy.adds_up() && meets(rule))
    }

    pub fn of(&self, path: &TreePath) -> Option<&Arc<dyn Merge>> {
        self.0.iter().find(|(rule, _)| rule.fits(path)).map(|(_, policy)| policy)
    }
}

/// What merging two branches gave.
#[derive(Debug, Clone)]
pub struct Merged {
    /// The branch's head now.
    pub commit: Durable<CommitId>,
    /// Nothing was to be merged: the branch had everything, or had nothing of its own.
    pub fast_forward: bool,
    /// The conflicts that this merge left in the tree.
    pub conflicts: Vec<Conflict>,
}
