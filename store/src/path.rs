//! Paths inside a tree: what Git can hold and nobody is harmed by.

use std::borrow::Cow;
use std::fmt;

use crate::{Error, Result};

/// A checked path: components separated by `/`, none of them empty, `.`, `..` or any spelling of `.git`; no NUL.
/// The empty path is the root directory. Ordered by its bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TreePath(Vec<u8>);

/// Longest path that is taken. Linux's PATH_MAX, so that every tree can be checked out.
pub const PATH_BYTES_MAX: usize = 4096;

impl TreePath {
    /// Checks a path. A trailing `/` is forgiven.
    pub fn new(path: impl AsRef<[u8]>) -> Result<TreePath> {
        let path = path.as_ref();
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let refuse = |why| Err(Error::BadPath { path: String::from_utf8_lossy(path).into_owned(), why });
        if path.len() > PATH_BYTES_MAX {
            return refuse("it is longer than 4096 bytes");
        }
        if !path.is_empty() {
            for name in path.split(|&byte| byte == b'/') {
                if let Some(why) = name_fault(name) {
                    return refuse(why);
                }
            }
        }
        Ok(TreePath(path.to_vec()))
    }

    /// The root directory.
    pub fn root() -> TreePath {
        TreePath(Vec::new())
    }

    /// Whether this is the root directory.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes, as they stand in Git.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As text; what is not UTF-8 is replaced.
    pub fn to_str(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The last component (empty for the root).
    pub fn name(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.name_bytes())
    }

    /// The last component in bytes (empty for the root).
    pub fn name_bytes(&self) -> &[u8] {
        self.0.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
    }

    /// The directory that holds it; `None` for the root.
    pub fn parent(&self) -> Option<TreePath> {
        if self.is_root() {
            return None;
        }
        let cut = self.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        Some(TreePath(self.0[..cut].to_vec()))
    }

    /// Its components, from the top.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/').filter(|name| !name.is_empty())
    }

    /// Whether it is `prefix` or lies below it.
    pub fn is_under(&self, prefix: &TreePath) -> bool {
        prefix.is_root()
            || (self.0.starts_with(&prefix.0)
                && (self.0.len() == prefix.0.len() || self.0[prefix.0.len()] == b'/'))
    }

    /// One component further down. For names that come out of a tree and were checked there.
    pub(crate) fn child(&self, name: &[u8]) -> TreePath {
        let mut path = Vec::with_capacity(self.0.len() + name.len() + 1);
        path.extend_from_slice(&self.0);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        TreePath(path)
    }
}

/// Why a name cannot stand in a tree, if it cannot. The spellings of `.git` are those that `git fsck` refuses: NTFS's
/// short name and streams, HFS+'s ignored characters.
pub fn name_fault(name: &[u8]) -> Option<&'static str> {
    match name {
        b"" => return Some("a component is empty"),
        b"." | b".." => return Some("a component is . or .."),
        _ => {}
    }
    if name.contains(&0) {
        return Some("it holds a NUL");
    }
    if name.contains(&b'/') {
        return Some("a component holds a slash");
    }
    is_dot_git(name).then_some("a component is a spelling of .git")
}

fn is_dot_git(name: &[u8]) -> bool {
    let hfs = without_hfs_ignored(name);
    if hfs.eq_ignore_ascii_case(b".git") {
        return true;
    }
    // NTFS: a stream (`.git::$INDEX_ALLOCATION`), a backslash, trailing dots and spaces all name the same directory.
    let end = name.iter().position(|byte| matches!(byte, b':' | b'\\')).unwrap_or(name.len());
    let mut ntfs = &name[..end];
    while let [rest @ .., b'.' | b' '] = ntfs {
        ntfs = rest;
    }
    ntfs.eq_ignore_ascii_case(b".git") || ntfs.eq_ignore_ascii_case(b"git~1")
}

/// HFS+ ignores these code points in names (Git's `next_hfs_char`).
fn without_hfs_ignored(name: &[u8]) -> Cow<'_, [u8]> {
    if name.is_ascii() {
        return Cow::Borrowed(name);
    }
    let text = String::from_utf8_lossy(name);
    let kept: String = text
        .chars()
        .filter(|&c| {
            !matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
        })
        .collect();
    Cow::Owned(kept.into_bytes())
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_str())
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_str())
    }
}

impl AsRef<[u8]> for TreePath {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq<str> for TreePath {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for TreePath {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tricks_are_refused() {
        let tricks: [&[u8]; 16] = [
            b"..",
            b"a/../b",
            b"./a",
            b"a//b",
            b"/a",
            b".git",
            b"a/.GIT/config",
            b".git.",
            b".git ",
            b"git~1/x",
            b"GIT~1",
            b".git::$INDEX_ALLOCATION",
            b".git\\hooks",
            b"a\0b",
            "\u{200c}.gi\u{200d}t".as_bytes(),
            b".Git. .",
        ];
        for trick in tricks {
            assert!(TreePath::new(trick).is_err(), "{:?}", String::from_utf8_lossy(trick));
        }
        assert!(TreePath::new(vec![b'a'; PATH_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn odd_but_honest_names_are_taken() {
        for name in [
            &b".gitignore"[..],
            b"...",
            b"a b",
            b"git~2",
            b"\xff\xfe",
            "Gr\u{fc}\u{df}e/\u{1f600}".as_bytes(),
            b"-x",
            b"a/",
        ] {
            assert!(TreePath::new(name).is_ok(), "{:?}", String::from_utf8_lossy(name));
        }
    }

    #[test]
    fn prefixes_end_at_components() {
        let path = TreePath::new("inbox/ab/cd").unwrap();
        assert!(path.is_under(&TreePath::new("inbox").unwrap()));
        assert!(path.is_under(&TreePath::root()));
        assert!(!path.is_under(&TreePath::new("in").unwrap()));
        assert_eq!(path.parent().unwrap(), "inbox/ab");
        assert_eq!(path.name(), "cd");
    }
}
