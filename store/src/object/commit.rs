//! Commits, and who made them.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use git_wire::ObjectId;

use crate::{Error, Result};

/// The id of an object that is known to be a commit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId(pub ObjectId);

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl From<CommitId> for ObjectId {
    fn from(id: CommitId) -> ObjectId {
        id.0
    }
}

impl std::str::FromStr for CommitId {
    type Err = Error;

    fn from_str(hex: &str) -> Result<CommitId> {
        hex.parse().map(CommitId).map_err(|why| Error::Malformed(format!("{hex:?}: {why}")))
    }
}

/// Who makes a change. The store adds the time of its clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    name: String,
    email: String,
    when: Option<(i64, i32)>,
}

impl Author {
    /// A name and an address; what Git cannot hold in them (`<`, `>`, line ends, NUL) is left out.
    pub fn new(name: impl AsRef<str>, email: impl AsRef<str>) -> Author {
        let clean = |text: &str| -> String {
            text.chars()
                .filter(|c| !matches!(c, '<' | '>' | '\n' | '\r' | '\0'))
                .collect::<String>()
                .trim()
                .into()
        };
        Author { name: clean(name.as_ref()), email: clean(email.as_ref()), when: None }
    }

    /// Says when the change was made, in seconds since 1970, and the author's offset from UTC in minutes.
    pub fn at(mut self, seconds: i64, offset_minutes: i32) -> Author {
        self.when = Some((seconds, offset_minutes));
        self
    }

    /// The same person, dated by the store's clock.
    pub(crate) fn unset_time(mut self) -> Author {
        self.when = None;
        self
    }

    pub(crate) fn signature(&self, now: SystemTime) -> Signature {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        let (seconds, offset_minutes) = self.when.unwrap_or((now, 0));
        Signature { name: self.name.clone(), email: self.email.clone(), seconds, offset_minutes }
    }
}

/// Who and when, as a commit or tag says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The name; what is not UTF-8 is replaced.
    pub name: String,
    /// The address between `<` and `>`.
    pub email: String,
    /// Seconds since 1970.
    pub seconds: i64,
    /// Minutes that the author's clock was ahead of UTC.
    pub offset_minutes: i32,
}

impl Signature {
    /// The moment, for computing with it.
    pub fn time(&self) -> SystemTime {
        let offset = Duration::from_secs(self.seconds.unsigned_abs());
        if self.seconds < 0 { UNIX_EPOCH - offset } else { UNIX_EPOCH + offset }
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Signature> {
        let text = String::from_utf8_lossy(bytes);
        let broken = || Error::Malformed(format!("{text:?} does not say who and when"));
        let open = text.find('<').ok_or_else(broken)?;
        let close = text.rfind('>').filter(|&close| close > open).ok_or_else(broken)?;
        let mut words = text[close + 1..].split_whitespace();
        let seconds = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let zone: i32 = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        Ok(Signature {
            name: text[..open].trim().to_owned(),
            email: text[open + 1..close].to_owned(),
            seconds,
            offset_minutes: zone / 100 * 60 + zone % 100,
        })
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.offset_minutes < 0 { '-' } else { '+' };
        let offset = self.offset_minutes.unsigned_abs();
        if self.name.is_empty() {
            write!(f, "<{}> {} {sign}{:02}{:02}", self.email, self.seconds, offset / 60, offset % 60)
        } else {
            write!(
                f,
                "{} <{}> {} {sign}{:02}{:02}",
                self.name,
                self.email,
                self.seconds,
                offset / 60,
                offset % 60
            )
        }
    }
}

/// A commit. Headers that the store does not know (signatures, encodings) are read past; the object keeps them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The tree of the root directory.
    pub tree: ObjectId,
    /// The commits that it follows: none, one, or several for a merge.
    pub parents: Vec<CommitId>,
    /// Who made the change.
    pub author: Signature,
    /// Who put it into the history.
    pub committer: Signature,
    /// What it says; what is not UTF-8 is replaced.
    pub message: String,
}

impl Commit {
    /// Reads a commit object.
    pub fn parse(bytes: &[u8]) -> Result<Commit> {
        let mut rest = bytes;
        let tree = header(&mut rest, b"tree ").and_then(hex);
        let mut parents = Vec::new();
        while let Some(parent) = header(&mut rest, b"parent ") {
            parents.push(CommitId(hex(parent).ok_or_else(|| Error::Malformed("a commit's parent".into()))?));
        }
        let author = header(&mut rest, b"author ").map(Signature::parse);
        let committer = header(&mut rest, b"committer ").map(Signature::parse);
        let (Some(tree), Some(author), Some(committer)) = (tree, author, committer) else {
            return Err(Error::Malformed("a commit without tree, author and committer".into()));
        };
        let message = find(rest, b"\n\n").map_or(&b""[..], |at| &rest[at + 2..]);
        let message = rest.strip_prefix(b"\n").unwrap_or(message);
        let message = String::from_utf8_lossy(message).into_owned();
        Ok(Commit { tree, parents, author: author?, committer: committer?, message })
    }

    /// Writes a commit object. The message ends in a line end, as Git's own do.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!("tree {}\n", self.tree);
        for parent in &self.parents {
            text.push_str(&format!("parent {parent}\n"));
        }
        text.push_str(&format!("author {}\ncommitter {}\n\n", self.author, self.committer));
        text.push_str(&self.message.replace('\0', ""));
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.into_bytes()
    }

    /// The first line of the message.
    pub fn summary(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }
}

/// Takes the next line off `rest` if it starts with `name`; gives what follows the name.
pub(super) fn header<'a>(rest: &mut &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = rest.strip_prefix(name)?;
    let end = value.iter().position(|&byte| byte == b'\n')?;
    *rest = &value[end + 1..];
    Some(&value[..end])
}

pub(super) fn hex(bytes: &[u8]) -> Option<ObjectId> {
    ObjectId::from_hex(bytes).ok()
}

pub(super) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_come_back() {
        let author = Author::new("A <b> c\n", "a@example.org").at(1_700_000_000, -330).signature(UNIX_EPOCH);
        let commit = Commit {
            tree: ObjectId([1; 20]),
            parents: vec![CommitId(ObjectId([2; 20])), CommitId(ObjectId([3; 20]))],
            author: author.clone(),
            committer: author,
            message: "Subject\n\nbody\n".into(),
        };
        assert_eq!(Commit::parse(&commit.encode()).unwrap(), commit);
        assert!(
            String::from_utf8(commit.encode())
                .unwrap()
                .contains("author A b c <a@example.org> 1700000000 -0530\n")
        );
    }

    #[test]
    fn unknown_headers_are_read_past() {
        let text =
            b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A <a> 1 +0000\ncommitter A <a> 1 +0000\n\
            gpgsig -----BEGIN\n abc\n -----END\n\nhello\n";
        assert_eq!(Commit::parse(text).unwrap().message, "hello\n");
        assert!(Commit::parse(b"tree 12\n\n").is_err());
        assert!(Commit::parse(b"").is_err());
    }
}
