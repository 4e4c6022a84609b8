//! Paths of MAIL and RCPT (RFC 5321 4.1.2, RFC 6531 3.3).

use crate::limits;
use std::fmt;

/// A mailbox address of the envelope.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mailbox {
    /// Local part, without quotes and escapes.
    pub local: String,
    /// Domain in lower case, or an address literal with its brackets; empty only for `<postmaster>`.
    pub domain: String,
}

impl Mailbox {
    /// Reads `local@domain`.
    pub fn parse(text: &str) -> Result<Mailbox, PathError> {
        let mut rest = text.as_bytes();
        let mailbox = mailbox(&mut rest)?;
        if rest.is_empty() { Ok(mailbox) } else { Err(PathError::Syntax) }
    }

    /// Whether SMTPUTF8 is needed to name it.
    pub fn is_international(&self) -> bool {
        !self.local.is_ascii() || !self.domain.is_ascii()
    }
}

impl fmt::Display for Mailbox {
    /// As it is written in a path, quoted where it must be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot_string = !self.local.is_empty()
            && self.local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atext));
        if dot_string {
            f.write_str(&self.local)?;
        } else {
            f.write_str("\"")?;
            for c in self.local.chars() {
                if matches!(c, '"' | '\\') {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
            f.write_str("\"")?;
        }
        if !self.domain.is_empty() {
            write!(f, "@{}", self.domain)?;
        }
        Ok(())
    }
}

/// Why a path was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Not a path.
    #[error("the address is not written as RFC 5321 wants it")]
    Syntax,
    /// A part is longer than RFC 5321 4.5.3.1 allows.
    #[error("the address is too long")]
    TooLong,
    /// Not UTF-8.
    #[error("the address is not UTF-8")]
    NotUtf8,
}

/// Reads `<path>` from the start of `text`: the mailbox (`None` for `<>`) and what follows the `>`.
/// Source routes are read and forgotten (RFC 5321 4.1.2, appendix C).
pub fn parse_path(text: &[u8]) -> Result<(Option<Mailbox>, &[u8]), PathError> {
    if std::str::from_utf8(text).is_err() {
        return Err(PathError::NotUtf8);
    }
    let mut rest = text.strip_prefix(b"<").ok_or(PathError::Syntax)?;
    if let Some(after) = rest.strip_prefix(b">") {
        return Ok((None, after));
    }
    if rest.first() == Some(&b'@') {
        let colon = memchr::memchr(b':', rest).ok_or(PathError::Syntax)?;
        let route = &rest[..colon];
        for hop in route.split(|b| *b == b',') {
            let mut hop = hop.strip_prefix(b"@").ok_or(PathError::Syntax)?;
            domain(&mut hop)?;
            if !hop.is_empty() {
                return Err(PathError::Syntax);
            }
        }
        rest = &rest[colon + 1..];
    }
    let close = rest.len() >= 11 && rest[..10].eq_ignore_ascii_case(b"postmaster") && rest[10] == b'>';
    let found = if close {
        rest = &rest[10..];
        Mailbox { local: "postmaster".into(), domain: String::new() }
    } else {
        mailbox(&mut rest)?
    };
    let after = rest.strip_prefix(b">").ok_or(PathError::Syntax)?;
    Ok((Some(found), after))
}

fn mailbox(rest: &mut &[u8]) -> Result<Mailbox, PathError> {
    let local = if rest.first() == Some(&b'"') { quoted(rest)? } else { dot_string(rest)? };
    if local.len() > limits::LOCAL_PART_MAX {
        return Err(PathError::TooLong);
    }
    *rest = rest.strip_prefix(b"@").ok_or(PathError::Syntax)?;
    let domain = domain(rest)?;
    Ok(Mailbox { local, domain })
}

fn is_atext(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b >= 0x80 || b"!#$%&'*+-/=?^_`{|}~".contains(&b)
}

fn text(bytes: &[u8]) -> Result<String, PathError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| PathError::NotUtf8)
}

fn dot_string(rest: &mut &[u8]) -> Result<String, PathError> {
    let len = rest.iter().position(|b| !is_atext(*b) && *b != b'.').unwrap_or(rest.len());
    let (local, after) = rest.split_at(len);
    if local.split(|b| *b == b'.').any(<[u8]>::is_empty) {
        return Err(PathError::Syntax);
    }
    *rest = after;
    text(local)
}

fn quoted(rest: &mut &[u8]) -> Result<String, PathError> {
    let mut out = Vec::new();
    let mut at = 1;
    loop {
        match (rest.get(at), rest.get(at + 1)) {
            (Some(b'"'), _) => break,
            (Some(b'\\'), Some(c @ b' '..=b'~')) => {
                out.push(*c);
                at += 2;
            }
            (Some(b), _) if (*b >= b' ' && *b != 127 && *b != b'\\') || *b >= 0x80 => {
                out.push(*b);
                at += 1;
            }
            _ => return Err(PathError::Syntax),
        }
    }
    *rest = &rest[at + 1..];
    if out.is_empty() { Err(PathError::Syntax) } else { text(&out) }
}

fn domain(rest: &mut &[u8]) -> Result<String, PathError> {
    if rest.first() == Some(&b'[') {
        return literal(rest);
    }
    let in_label = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'_' || *b >= 0x80;
    let len = rest.iter().position(|b| !in_label(b) && *b != b'.').unwrap_or(rest.len());
    let (name, after) = rest.split_at(len);
    let good = |label: &[u8]| {
        !label.is_empty() && label.len() <= 63 && label[0] != b'-' && label[label.len() - 1] != b'-'
    };
    if name.len() > limits::DOMAIN_MAX {
        return Err(PathError::TooLong);
    }
    if !name.split(|b| *b == b'.').all(good) {
        return Err(PathError::Syntax);
    }
    *rest = after;
    Ok(text(name)?.to_lowercase())
}

/// `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 4.1.3).
fn literal(rest: &mut &[u8]) -> Result<String, PathError> {
    let close = memchr::memchr(b']', rest).filter(|i| *i < 64).ok_or(PathError::Syntax)?;
    let inner = text(&rest[1..close])?;
    let valid = match inner.get(..5).filter(|p| p.eq_ignore_ascii_case("ipv6:")) {
        Some(_) => inner[5..].parse::<std::net::Ipv6Addr>().is_ok(),
        None => inner.parse::<std::net::Ipv4Addr>().is_ok(),
    };
    if !valid {
        return Err(PathError::Syntax);
    }
    *rest = &rest[close + 1..];
    Ok(format!("[{inner}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Result<String, PathError> {
        let (mailbox, rest) = parse_path(path.as_bytes())?;
        Ok(format!("{}|{}", mailbox.map_or("-".into(), |m| m.to_string()), String::from_utf8_lossy(rest)))
    }

    #[test]
    fn rfc5321_4_1_2_paths() {
        assert_eq!(read("<> SIZE=1").unwrap(), "-| SIZE=1");
        assert_eq!(read("<Bob@Example.ORG>").unwrap(), "Bob@example.org|");
        assert_eq!(read("<PostMaster>").unwrap(), "postmaster|");
        assert_eq!(read("<@a.test,@b.test:c@d.test>").unwrap(), "c@d.test|");
        assert_eq!(read("<a@[127.0.0.1]>").unwrap(), "a@[127.0.0.1]|");
        assert_eq!(read("<a@[IPv6:::1]>").unwrap(), "a@[IPv6:::1]|");
        assert_eq!(read(r#"<"a b\"c"@d.test>"#).unwrap(), r#""a b\"c"@d.test|"#);
        assert_eq!(read(r#"<"plain"@d.test>"#).unwrap(), "plain@d.test|");
        assert_eq!(read("<grün@köln.test>").unwrap(), "grün@köln.test|");
    }

    #[test]
    fn rfc5321_4_1_2_what_is_no_path() {
        for bad in [
            "a@b",
            "<a@b",
            "<a>",
            "<@b>",
            "<a@>",
            "<a..b@c>",
            "<.a@c>",
            "<a@b..c>",
            "<a@-b>",
            "<a b@c>",
            "<a@[1.2.3]>",
            "<a@b]>",
            "<\"@b>",
            "<a@b@c>",
            "<a@b c>",
            "<a\u{1}@b>",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(read(&format!("<{}@b>", "a".repeat(65))), Err(PathError::TooLong));
        assert_eq!(parse_path(b"<a\xff@b>"), Err(PathError::NotUtf8));
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_reads_the_same(local in "[ -~]{1,20}", domain in "[a-z]{1,8}(\\.[a-z]{1,8}){0,2}") {
            let one = Mailbox { local, domain };
            proptest::prop_assert_eq!(Mailbox::parse(&one.to_string()), Ok(one));
        }
    }
}
