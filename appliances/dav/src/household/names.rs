//! Names of members and collections: as WebDAV says them, and as they stand in the tree.
//!
//! A member of a calendar or book stands in one of 256 directories by the hash of its name, so that a change rewrites a
//! small directory however large the collection is. Our own files begin with a dot, which a member's stored name cannot.

use crate::limits::NAME_BYTES_MAX;

/// File of a collection's properties; a directory with it is a WebDAV collection.
pub const COLLECTION_FILE: &str = ".collection";
/// Directory of the dead properties of a collection's members.
pub const PROPERTIES_DIR: &str = ".properties";

/// Why a name is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadName {
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("a name has at most {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// Empty, `.`, `..`, a slash, a control character.
    #[error("a name may not be empty, a dot or two, nor hold a slash or a control character")]
    NotAName,
}

/// The stored form of a name: `%`, a leading dot, and what file systems stumble over are percent-encoded.
pub fn stored(name: &str) -> Result<String, BadName> {
    if name.len() > NAME_BYTES_MAX {
        return Err(BadName::TooLong);
    }
    if name.is_empty()
        || name == "."
        || name == ".."
        || name.contains('/')
        || name.chars().any(char::is_control)
    {
        return Err(BadName::NotAName);
    }
    let mut out = String::with_capacity(name.len());
    for (at, c) in name.char_indices() {
        let last = at + c.len_utf8() == name.len();
        let encode = matches!(c, '%' | '\\' | ':' | '~' | '"' | '<' | '>' | '|' | '?' | '*')
            || (c == '.' && (at == 0 || last))
            || (c == ' ' && last)
            || matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}');
        if encode {
            let mut buffer = [0; 4];
            c.encode_utf8(&mut buffer).bytes().for_each(|byte| out.push_str(&format!("%{byte:02X}")));
        } else {
            out.push(c);
        }
    }
    Ok(out)
}

/// The name behind a stored form.
pub fn unstored(stored: &str) -> String {
    match stored.contains('%') {
        false => stored.to_string(),
        true => String::from_utf8_lossy(&crate::path::decode(stored)).into_owned(),
    }
}

/// The directory in which a member of a calendar or book stands: two hexadecimal digits of its stored name's hash (FNV-1a,
/// folded).
pub fn shard(stored: &str) -> u8 {
    let hash =
        stored.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash ^ hash >> 8 ^ hash >> 16 ^ hash >> 24) as u8
}

/// Whether a directory's name is that of a shard.
pub fn is_shard(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for name in [
            "a.ics",
            ".hidden",
            "%2e",
            "100%",
            "ü Ö.vcf",
            "git~1",
            ".git",
            "a:b\\c",
            "x.",
            "y ",
            "\u{200c}.git",
        ] {
            let stored = stored(name).unwrap();
            assert!(!stored.starts_with('.') && store::name_fault(stored.as_bytes()).is_none(), "{stored}");
            assert_eq!(unstored(&stored), name);
        }
        assert_eq!(stored("plain-name_1@x.ics").unwrap(), "plain-name_1@x.ics");
        for bad in ["", ".", "..", "a/b", "a\0b", "a\nb"] {
            assert_eq!(stored(bad), Err(BadName::NotAName), "{bad:?}");
        }
        assert_eq!(stored(&"x".repeat(201)), Err(BadName::TooLong));
    }

    #[test]
    fn shards_are_even() {
        let mut counts = [0; 256];
        (0..25_600).for_each(|n| counts[usize::from(shard(&format!("event-{n}.ics")))] += 1);
        assert!(counts.iter().all(|count| (40..220).contains(count)), "{counts:?}");
        assert!(is_shard("3f") && !is_shard("3F") && !is_shard("3"));
    }
}
