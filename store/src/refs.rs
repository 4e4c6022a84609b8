//! Names of branches and tags, by Git's rules.

use crate::{Error, Result};

/// Where branches live.
pub(crate) const HEADS: &str = "refs/heads/";
/// Where tags live.
pub(crate) const TAGS: &str = "refs/tags/";
/// Where the branches of other repositories are kept, as they were fetched last.
pub(crate) const REMOTES: &str = "refs/remotes/";

/// Longest ref that is taken.
const REF_BYTES_MAX: usize = 1024;

/// Why a name cannot be a ref, by `git check-ref-format`.
pub(crate) fn fault(name: &str) -> Option<&'static str> {
    if name.is_empty() || name.len() > REF_BYTES_MAX {
        return Some("it is empty or longer than 1024 bytes");
    }
    let bad = |c: char| c.is_ascii_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    if name.contains(bad) {
        return Some("it holds a control character, a space or one of ~^:?*[\\");
    }
    if name.contains("..") || name.contains("@{") || name == "@" || name.ends_with('.') {
        return Some("it holds .. or @{, is @, or ends in a dot");
    }
    let part_fault = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    name.split('/').any(part_fault).then_some("a component is empty, starts with a dot or ends in .lock")
}

/// The names that would be directories of a ref, were it a file.
pub(crate) fn directories(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('/').map(|(at, _)| &name[..at])
}

pub(crate) fn full(prefix: &str, name: &str) -> Result<String> {
    let refuse = |why| Err(Error::BadName { name: name.to_owned(), why });
    if name.starts_with('-') {
        return refuse("it starts with a dash");
    }
    match fault(name) {
        Some(why) => refuse(why),
        None => Ok(format!("{prefix}{name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_check_ref_format() {
        for good in ["main", "a/b", "v1.0", "Größe", "a-b", "a@b", "x{y"] {
            assert_eq!(fault(good), None, "{good}");
        }
        for bad in [
            "", "a..b", "a b", "a~", "/a", "a/", "a//b", ".a", "a/.b", "a.lock", "a.lock/b", "a.", "@",
            "a@{b", "a\\b", "a\u{7f}",
        ] {
            assert!(fault(bad).is_some(), "{bad}");
        }
        assert!(full(HEADS, "-x").is_err());
    }
}
