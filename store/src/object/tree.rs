//! Trees: entries `mode SP name NUL id`, in Git's order, in which a directory sorts as if its name ended in `/`.

use std::cmp::Ordering;

use git_wire::ObjectId;

use crate::path::name_fault;
use crate::{Error, Result};

/// What an entry of a tree is, with Git's six modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A file.
    File,
    /// A file that may be executed.
    Executable,
    /// A symbolic link; its blob holds the target.
    Link,
    /// A directory.
    Directory,
    /// A commit of another repository; its objects are elsewhere.
    Submodule,
}

impl Mode {
    /// As it stands in a tree.
    pub fn octal(self) -> &'static str {
        match self {
            Mode::File => "100644",
            Mode::Executable => "100755",
            Mode::Link => "120000",
            Mode::Directory => "40000",
            Mode::Submodule => "160000",
        }
    }

    /// Reads a mode as leniently as Git: any `100xxx` is a file, a leading zero is forgiven.
    pub fn from_octal(octal: &[u8]) -> Option<Mode> {
        let text = std::str::from_utf8(octal).ok().filter(|text| (5..=7).contains(&text.len()))?;
        let bits = u32::from_str_radix(text, 8).ok()?;
        match bits & 0o170000 {
            0o040000 => Some(Mode::Directory),
            0o120000 => Some(Mode::Link),
            0o160000 => Some(Mode::Submodule),
            0o100000 if bits & 0o100 != 0 => Some(Mode::Executable),
            0o100000 => Some(Mode::File),
            _ => None,
        }
    }

    /// Whether a blob is behind it.
    pub fn is_blob(self) -> bool {
        matches!(self, Mode::File | Mode::Executable | Mode::Link)
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Mode::File | Mode::Executable => "a file",
            Mode::Link => "a symbolic link",
            Mode::Directory => "a directory",
            Mode::Submodule => "a submodule",
        }
    }
}

/// One entry, without the path of its tree. Its name is its own, or that of the tree's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawEntry<N = Vec<u8>> {
    pub id: ObjectId,
    pub mode: Mode,
    pub name: N,
}

/// Git's order of two entries of one tree.
pub(crate) fn tree_order(a: &[u8], a_is_dir: bool, b: &[u8], b_is_dir: bool) -> Ordering {
    let shared = a.len().min(b.len());
    a[..shared].cmp(&b[..shared]).then_with(|| {
        let next = |name: &[u8], is_dir| name.get(shared).copied().unwrap_or(if is_dir { b'/' } else { 0 });
        next(a, a_is_dir).cmp(&next(b, b_is_dir))
    })
}

/// Writes a tree; the entries must be in Git's order.
pub(crate) fn encode_tree<N: AsRef<[u8]>>(entries: &[RawEntry<N>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.iter().map(|entry| entry.name.as_ref().len() + 28).sum());
    for entry in entries {
        bytes.extend_from_slice(entry.mode.octal().as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(entry.name.as_ref());
        bytes.push(0);
        bytes.extend_from_slice(&entry.id.0);
    }
    bytes
}

/// Reads a whole tree and checks it: names, order, no doubles.
pub(crate) fn decode_tree(bytes: &[u8]) -> Result<Vec<RawEntry>> {
    let owned = |RawEntry { id, mode, name }: RawEntry<&[u8]>| RawEntry { id, mode, name: name.to_vec() };
    Ok(borrow_tree(bytes)?.into_iter().map(owned).collect())
}

/// The same without copying names.
pub(crate) fn borrow_tree(bytes: &[u8]) -> Result<Vec<RawEntry<&[u8]>>> {
    let mut entries: Vec<RawEntry<&[u8]>> = Vec::with_capacity(bytes.len() / 32);
    for entry in TreeEntries(bytes) {
        let (mode, name, id) = entry?;
        if let Some(why) = name_fault(name) {
            return Err(Error::Malformed(format!(
                "a tree with the name {:?}: {why}",
                String::from_utf8_lossy(name)
            )));
        }
        if let Some(last) = entries.last() {
            let order = tree_order(last.name, last.mode == Mode::Directory, name, mode == Mode::Directory);
            if order != Ordering::Less || last.name == name {
                return Err(Error::Malformed("a tree whose entries are not in Git's order".into()));
            }
        }
        entries.push(RawEntry { mode, name, id });
    }
    Ok(entries)
}

/// Iterates over a tree's bytes without copying them.
pub(crate) struct TreeEntries<'a>(pub &'a [u8]);

impl<'a> Iterator for TreeEntries<'a> {
    type Item = Result<(Mode, &'a [u8], ObjectId)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let entry = split_entry(self.0);
        self.0 = entry.as_ref().map_or(&[], |(_, rest)| rest);
        Some(entry.map(|(entry, _)| entry).ok_or_else(|| Error::Malformed("a tree that breaks off".into())))
    }
}

type Split<'a> = ((Mode, &'a [u8], ObjectId), &'a [u8]);

fn split_entry(bytes: &[u8]) -> Option<Split<'_>> {
    let space = bytes.iter().take(8).position(|&byte| byte == b' ')?;
    let mode = Mode::from_octal(&bytes[..space])?;
    let nul = space + 1 + bytes[space + 1..].iter().position(|&byte| byte == 0)?;
    let id = ObjectId::from_bytes(bytes.get(nul + 1..nul + 21)?)?;
    Some(((mode, &bytes[space + 1..nul], id), &bytes[nul + 21..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(mode: Mode, name: &str) -> RawEntry {
        RawEntry { mode, name: name.as_bytes().to_vec(), id: ObjectId([7; 20]) }
    }

    #[test]
    fn directories_sort_as_with_a_slash() {
        let entries = [
            entry(Mode::File, "a-b"),
            entry(Mode::File, "a.b"),
            entry(Mode::Directory, "a"),
            entry(Mode::File, "a0"),
        ];
        let bytes = encode_tree(&entries);
        assert_eq!(decode_tree(&bytes).unwrap(), entries);
        let wrong = encode_tree(&[entry(Mode::Directory, "a"), entry(Mode::File, "a-b")]);
        assert!(decode_tree(&wrong).is_err());
    }

    #[test]
    fn every_truncation_is_noticed() {
        let bytes = encode_tree(&[entry(Mode::File, "one"), entry(Mode::Link, "two")]);
        for end in 1..bytes.len() {
            let whole = decode_tree(&bytes[..end]).is_ok();
            assert_eq!(whole, end == bytes.len() / 2, "cut at {end}");
        }
    }

    #[test]
    fn hostile_names_are_refused() {
        for name in ["..", ".git", "", "a/b"] {
            assert!(decode_tree(&encode_tree(&[entry(Mode::File, name)])).is_err(), "{name:?}");
        }
    }
}
