//! Reads commits, trees and tags, as far as links and dates go.

use crate::{Kind, ObjectId};

/// An object whose form is not Git's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a {kind} is malformed: {what}")]
pub struct Malformed {
    /// What it should be.
    pub kind: Kind,
    /// What is wrong, in Git's words where it has some.
    pub what: &'static str,
}

/// One entry of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeEntry<'a> {
    /// The mode's octal digits as they are written.
    pub mode: &'a [u8],
    /// Name inside the directory.
    pub name: &'a [u8],
    /// What it names.
    pub id: ObjectId,
}

/// What a mode makes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Tree,
    /// A file or a symbolic link.
    Blob,
    /// A commit of another repository, which need not be here.
    Submodule,
}

/// The entries of a tree, in their order; ends after the first that is malformed.
pub struct TreeEntries<'a>(&'a [u8]);

/// What a commit names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitLinks {
    /// Its tree.
    pub tree: ObjectId,
    /// Its parents, in their order.
    pub parents: Vec<ObjectId>,
    /// The committer's clock in seconds since 1970.
    pub committed_s: i64,
}

/// What a tag names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagLink {
    /// The object.
    pub target: ObjectId,
    /// Its kind.
    pub kind: Kind,
}

/// The entries of a tree's content.
pub fn tree_entries(content: &[u8]) -> TreeEntries<'_> {
    TreeEntries(content)
}

impl TreeEntry<'_> {
    /// By the mode's type bits.
    pub fn kind(&self) -> EntryKind {
        match self.mode {
            b"40000" | b"040000" => EntryKind::Tree,
            b"160000" => EntryKind::Submodule,
            _ => EntryKind::Blob,
        }
    }
}

impl<'a> Iterator for TreeEntries<'a> {
    type Item = Result<TreeEntry<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let entry = split_entry(self.0);
        self.0 = entry.as_ref().map_or(&[][..], |(_, rest)| rest);
        Some(
            entry
                .map(|(entry, _)| entry)
                .ok_or(Malformed { kind: Kind::Tree, what: "an entry is cut short" }),
        )
    }
}

fn split_entry(content: &[u8]) -> Option<(TreeEntry<'_>, &[u8])> {
    // The longest mode is six digits, with a leading zero seven.
    let space = content.iter().take(8).position(|byte| *byte == b' ')?;
    let (mode, rest) = (&content[..space], &content[space + 1..]);
    let nul = rest.iter().position(|byte| *byte == 0)?;
    let (name, rest) = (&rest[..nul], &rest[nul + 1..]);
    let (id, rest) = rest.split_at_checked(20)?;
    Some((TreeEntry { mode, name, id: ObjectId::from_bytes(id)? }, rest))
}

/// Reads a commit's links.
pub fn commit_links(content: &[u8]) -> Result<CommitLinks, Malformed> {
    let bad = |what| Malformed { kind: Kind::Commit, what };
    let mut rest = content;
    let tree = id_line(&mut rest, b"tree ").ok_or(bad("the first line is not its tree"))?;
    let mut parents = Vec::new();
    while let Some(parent) = id_line(&mut rest, b"parent ") {
        parents.push(parent);
    }
    let committer = header_lines(rest)
        .find_map(|line| line.strip_prefix(b"committer "))
        .ok_or(bad("it has no committer"))?;
    Ok(CommitLinks { tree, parents, committed_s: person_date(committer).unwrap_or(0) })
}

/// Reads a tag's link.
pub fn tag_link(content: &[u8]) -> Result<TagLink, Malformed> {
    let bad = |what| Malformed { kind: Kind::Tag, what };
    let mut rest = content;
    let target = id_line(&mut rest, b"object ").ok_or(bad("the first line is not its object"))?;
    let kind = header_lines(rest).next().and_then(|line| line.strip_prefix(b"type "));
    let kind =
        kind.and_then(|word| Kind::from_word(word).ok()).ok_or(bad("the second line is not its type"))?;
    Ok(TagLink { target, kind })
}

/// The lines before the empty one.
pub(super) fn header_lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    content.split(|byte| *byte == b'\n').take_while(|line| !line.is_empty())
}

/// Takes `word<40 digits>\n` off the front.
pub(super) fn id_line(rest: &mut &[u8], word: &[u8]) -> Option<ObjectId> {
    let after = rest.strip_prefix(word)?;
    let (digits, after) = after.split_at_checked(40)?;
    let after = after.strip_prefix(b"\n")?;
    if digits.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let id = ObjectId::from_hex(digits).ok()?;
    *rest = after;
    Some(id)
}

/// The seconds in `Name <address> 1700000000 +0100`.
fn person_date(person: &[u8]) -> Option<i64> {
    let close = person.iter().rposition(|byte| *byte == b'>')?;
    let text = std::str::from_utf8(&person[close + 1..]).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}
