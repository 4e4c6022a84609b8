//! Git's four kinds of objects: what they are called, how they are read, what makes them well-formed.

mod check;
mod parse;

use std::fmt;

pub use check::{check, check_entry_name, compare, is_dot_git};
pub use parse::{
    CommitLinks, EntryKind, Malformed, TagLink, TreeEntries, TreeEntry, commit_links, tag_link, tree_entries,
};

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A snapshot with parents, author, committer and message.
    Commit,
    /// A directory.
    Tree,
    /// A file's bytes.
    Blob,
    /// An annotated tag.
    Tag,
}

/// None of `commit`, `tree`, `blob`, `tag`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a kind of object: commit, tree, blob or tag is wanted")]
pub struct NotAKind;

impl Kind {
    /// Reads the word that Git writes into headers.
    pub fn from_word(word: &[u8]) -> Result<Kind, NotAKind> {
        match word {
            b"commit" => Ok(Kind::Commit),
            b"tree" => Ok(Kind::Tree),
            b"blob" => Ok(Kind::Blob),
            b"tag" => Ok(Kind::Tag),
            _ => Err(NotAKind),
        }
    }

    /// The word that Git writes into headers.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Commit => "commit",
            Kind::Tree => "tree",
            Kind::Blob => "blob",
            Kind::Tag => "tag",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
