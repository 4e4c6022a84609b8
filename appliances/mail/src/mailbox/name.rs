//! Mailbox names, and the directories that hold them.
//!
//! `Lists/rust` is the directory `folders/Lists/rust`; what the mailbox itself holds is in `folders/Lists/rust/@`, so
//! that mailboxes below it can stand beside its messages. A component that Git or a file system would not take
//! (`.git`, `@`, a backslash) is written with `%XX` escapes.

use crate::limits;

/// Why a mailbox name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// Nothing between two separators, or nothing at all.
    #[error("a mailbox name has an empty part")]
    Empty,
    /// More bytes than `limits::MAILBOX_NAME_MAX`.
    #[error("a mailbox name is too long")]
    TooLong,
    /// More parts than `limits::MAILBOX_DEPTH_MAX`.
    #[error("a mailbox name has too many levels")]
    TooDeep,
    /// Control characters, or `*` and `%`, which LIST takes for patterns.
    #[error("a mailbox name holds a character that is not allowed (control characters, * or %)")]
    BadCharacter,
}

/// The separator between levels (RFC 3501 7.2.2).
pub const SEPARATOR: char = '/';

/// Checks a name and gives it back in its one form: no separator at the end, INBOX in upper case.
pub fn check(name: &str) -> Result<String, NameFault> {
    let name = name.strip_suffix(SEPARATOR).unwrap_or(name);
    if name.len() > limits::MAILBOX_NAME_MAX {
        return Err(NameFault::TooLong);
    }
    if name.chars().any(|c| c.is_control() || matches!(c, '*' | '%' | '\u{2028}' | '\u{2029}')) {
        return Err(NameFault::BadCharacter);
    }
    let parts: Vec<&str> = name.split(SEPARATOR).collect();
    if parts.len() > limits::MAILBOX_DEPTH_MAX {
        return Err(NameFault::TooDeep);
    }
    if parts.iter().any(|part| part.is_empty()) {
        return Err(NameFault::Empty);
    }
    Ok(match parts.as_slice() {
        [first, rest @ ..] if first.eq_ignore_ascii_case("INBOX") => [&["INBOX"], rest].concat().join("/"),
        _ => name.to_owned(),
    })
}

/// The directory of a mailbox's own things: `folders/Lists/rust/@`.
pub fn directory(name: &str) -> String {
    let parts: Vec<String> = name.split(SEPARATOR).map(escape).collect();
    format!("{FOLDERS}/{}/{OWN}", parts.join("/"))
}

/// The mailbox whose own directory or whose content this path is; the rest of the path with it.
pub fn of_path(path: &str) -> Option<(String, &str)> {
    let below = path.strip_prefix(FOLDERS)?.strip_prefix('/')?;
    let (folders, own) = match below.find("/@/") {
        Some(at) => (&below[..at], &below[at + 3..]),
        None => (below.strip_suffix("/@")?, ""),
    };
    let parts: Option<Vec<String>> = folders.split('/').map(unescape).collect();
    Some((parts?.join("/"), own))
}

/// One component as a directory name.
pub fn escape(part: &str) -> String {
    let mut out = String::with_capacity(part.len());
    let whole = part == OWN
        || part.len() > 200
        || part.to_ascii_lowercase().starts_with(".git")
        || part.starts_with("git~");
    for (at, c) in part.char_indices() {
        let edge = at == 0 && matches!(c, '.' | ' ' | '@')
            || at + c.len_utf8() == part.len() && matches!(c, '.' | ' ');
        let special = matches!(c, '\\' | ':' | '"' | '<' | '>' | '|' | '?' | '%');
        let ignorable = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}');
        if edge || special || ignorable || whole && at == 0 {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                out.push_str(&format!("%{byte:02X}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// A directory name as a component, or nothing where it is no escape of one.
pub fn unescape(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let hex = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    let part = String::from_utf8(bytes).ok()?;
    (escape(&part) == name).then_some(part)
}

/// The directory of all mailboxes.
pub const FOLDERS: &str = "folders";
/// The directory of a mailbox's own things.
pub const OWN: &str = "@";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_have_one_form() {
        assert_eq!(check("inbox"), Ok("INBOX".into()));
        assert_eq!(check("Inbox/Sub/"), Ok("INBOX/Sub".into()));
        assert_eq!(check("a//b"), Err(NameFault::Empty));
        assert_eq!(check(""), Err(NameFault::Empty));
        assert_eq!(check("a*"), Err(NameFault::BadCharacter));
        assert_eq!(check("a\u{7}"), Err(NameFault::BadCharacter));
        assert_eq!(check(&"x/".repeat(100)), Err(NameFault::TooDeep));
    }

    #[test]
    fn directories_never_meet_the_mailboxes_own() {
        assert_eq!(directory("Lists/@/.git"), "folders/Lists/%40/%2Egit/@");
        assert_eq!(of_path("folders/Lists/%40/@/0000/x.eml"), Some(("Lists/@".into(), "0000/x.eml")));
        assert_eq!(of_path("folders/INBOX/@"), Some(("INBOX".into(), "")));
        assert_eq!(of_path("folders/INBOX"), None);
        assert_eq!(of_path("folders/a%zz/@"), None);
    }

    proptest! {
        #[test]
        fn every_name_comes_back_from_its_directory(name in "[^\\p{C}/*%]{1,20}(/[^\\p{C}/*%]{1,20}){0,3}") {
            if let Ok(name) = check(&name) {
                let directory = directory(&name);
                prop_assert!(store::TreePath::new(&directory).is_ok(), "{}", directory);
                prop_assert_eq!(of_path(&directory), Some((name, "")));
            }
        }
    }
}
