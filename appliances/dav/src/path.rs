//! Paths of requests: percent-encoding, and what a path names.

use crate::limits::PATH_DEPTH_MAX;

/// Undoes percent-encoding; what is no encoding stays.
pub fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digit = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, _, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// Percent-encodes one segment: everything but what RFC 3986 calls unreserved, and `@`, `!`, `$`, `(`, `)`, `,`, `=`, `+`.
pub fn encode(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    encode_into(segment, &mut out);
    out
}

/// [`encode`] onto a string.
pub fn encode_into(segment: &str, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@!$(),=+".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

/// What a path names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// `/`
    Root,
    /// `/.well-known/caldav` or `carddav`
    WellKnown,
    /// `/dav/`
    Accounts,
    /// `/principals/`
    Principals,
    /// `/principals/ACCOUNT/`
    Principal(String),
    /// `/dav/ACCOUNT/…`: the account, the names below, and whether the path ends in a slash.
    In(String, Vec<String>, bool),
}

/// Why a path names nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadPath {
    /// `..`, an encoded slash, NUL, not UTF-8, a fragment: 400.
    #[error("the path is not one that can be served")]
    Malformed,
    /// Outside of what is served: 404.
    #[error("nothing is served there")]
    Elsewhere,
}

impl Place {
    /// Reads an absolute path, or an absolute URI of any host (clients put either into Destination and hrefs).
    pub fn parse(target: &str) -> Result<Place, BadPath> {
        let path = match target.split_once("://") {
            Some((scheme, rest)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+') => {
                rest.find('/').map_or("/", |at| &rest[at..])
            }
            _ => target,
        };
        if !path.starts_with('/') || path.contains(['#', '\\']) || path.contains(char::is_control) {
            return Err(BadPath::Malformed);
        }
        let path = path.split('?').next().unwrap_or(path);
        let mut segments = Vec::new();
        for raw in path.split('/').filter(|raw| !raw.is_empty()) {
            let name = String::from_utf8(decode(raw)).map_err(|_| BadPath::Malformed)?;
            if name == "." || name == ".." || name.contains(['/', '\0']) || name.chars().any(char::is_control)
            {
                return Err(BadPath::Malformed);
            }
            segments.push(name);
        }
        if segments.len() > PATH_DEPTH_MAX {
            return Err(BadPath::Malformed);
        }
        let slash = path.ends_with('/');
        let first = segments.first().cloned().unwrap_or_default();
        match (first.as_str(), segments.len()) {
            ("", _) => Ok(Place::Root),
            (".well-known", 2) if matches!(segments[1].as_str(), "caldav" | "carddav") => {
                Ok(Place::WellKnown)
            }
            ("dav", 1) => Ok(Place::Accounts),
            ("dav", _) => {
                let account = segments.remove(1);
                Ok(Place::In(account, segments.split_off(1), slash))
            }
            ("principals", 1) => Ok(Place::Principals),
            ("principals", 2) => Ok(Place::Principal(segments.remove(1))),
            _ => Err(BadPath::Elsewhere),
        }
    }
}

impl Place {
    /// Whether both name the same resource, with or without a slash at the end.
    pub fn is_same(&self, other: &Place) -> bool {
        match (self, other) {
            (Place::In(account, names, _), Place::In(other_account, other_names, _)) => {
                account == other_account && names == other_names
            }
            _ => self == other,
        }
    }
}

/// The path of an account's tree, or of something in it; collections end in a slash.
pub fn href(account: &str, names: &[String], collection: bool) -> String {
    let mut out = String::from("/dav/");
    encode_into(account, &mut out);
    for name in names {
        out.push('/');
        encode_into(name, &mut out);
    }
    if collection || names.is_empty() {
        out.push('/');
    }
    out
}

/// The path of an account's principal.
pub fn principal_href(account: &str) -> String {
    format!("/principals/{}/", encode(account))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let names = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(
            Place::parse("/dav/al%20ice/calendar/"),
            Ok(Place::In("al ice".into(), names(&["calendar"]), true))
        );
        assert_eq!(
            Place::parse("https://h:1/dav/a/c/x%40y.ics?z"),
            Ok(Place::In("a".into(), names(&["c", "x@y.ics"]), false))
        );
        assert_eq!(Place::parse("/dav//a"), Ok(Place::In("a".into(), vec![], false)));
        assert_eq!(Place::parse("/"), Ok(Place::Root));
        assert_eq!(Place::parse("/principals/a/"), Ok(Place::Principal("a".into())));
        assert_eq!(Place::parse("/.well-known/caldav"), Ok(Place::WellKnown));
        assert_eq!(Place::parse("/elsewhere"), Err(BadPath::Elsewhere));
    }

    #[test]
    fn tricks() {
        for bad in [
            "/dav/a/../b",
            "/dav/a/%2e%2e/b",
            "/dav/a/b%2fc",
            "/dav/a/%00",
            "/dav/a/%ff",
            "/dav/a/b#c",
            "dav/a",
            "/dav/a\\b",
            "/dav/a/%0a",
        ] {
            assert_eq!(Place::parse(bad), Err(BadPath::Malformed), "{bad}");
        }
        assert_eq!(Place::parse(&"/a".repeat(40)), Err(BadPath::Malformed));
    }

    #[test]
    fn hrefs_come_back() {
        let names = vec!["c c".to_string(), "é%#?.ics".to_string()];
        assert_eq!(Place::parse(&href("a", &names, false)), Ok(Place::In("a".into(), names, false)));
    }
}
