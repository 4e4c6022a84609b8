//! Domain names in wire form, the case kept as it was written; equal and ordered without regard to case.
//!
//! Invariant: the octets are whole labels, each of at most 63 octets, ended by the root, at most 255 in all, and hold
//! no compression pointer (RFC 1035 section 3.1).

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use crate::limits::{LABEL_OCTETS_MAX, NAME_OCTETS_MAX};

/// A domain name.
#[derive(Clone)]
pub struct Name(Box<[u8]>);

/// What is wrong with octets or text that should have been a name or a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The message ends within what it announced.
    #[error("the message ends too early")]
    Short,
    /// A compression pointer that does not point backwards, or a reserved label type.
    #[error("a name has a pointer that does not lead backwards, or a reserved label type")]
    Pointer,
    /// A name longer than 255 octets, a label longer than 63, or an empty label.
    #[error("a name or label is empty or too long")]
    Length,
    /// Record data that does not fit its type.
    #[error("record data does not fit its type")]
    Data,
    /// A section or a count that must not be there.
    #[error("a section holds what it must not")]
    Section,
}

impl Name {
    /// The root, `.`.
    pub fn root() -> Name {
        Name(Box::new([0]))
    }

    /// A name from octets that are already known to keep the invariant.
    pub(crate) fn from_checked(wire: &[u8]) -> Name {
        debug_assert!(Name::check(wire).is_ok());
        Name(wire.into())
    }

    /// A name from uncompressed octets, all of them.
    ///
    /// # Errors
    /// `Malformed` when they are not exactly one name.
    pub fn from_octets(wire: &[u8]) -> Result<Name, Malformed> {
        Name::check(wire)?;
        Ok(Name(wire.into()))
    }

    fn check(wire: &[u8]) -> Result<(), Malformed> {
        let mut at = 0;
        loop {
            match *wire.get(at).ok_or(Malformed::Short)? as usize {
                0 if at + 1 == wire.len() && wire.len() <= NAME_OCTETS_MAX => return Ok(()),
                0 => return Err(Malformed::Length),
                length if length <= LABEL_OCTETS_MAX => at += 1 + length,
                _ => return Err(Malformed::Pointer),
            }
        }
    }

    /// Reads a name at `*at` of a message, following pointers that lead strictly backwards; moves `*at` behind it.
    ///
    /// # Errors
    /// `Malformed`; a loop is impossible because each pointer must lead before the label run it ends.
    pub fn from_message(message: &[u8], at: &mut usize) -> Result<Name, Malformed> {
        let mut wire = Vec::with_capacity(32);
        let (mut here, mut floor, mut behind) = (*at, *at, None);
        loop {
            let length = *message.get(here).ok_or(Malformed::Short)? as usize;
            match length {
                0 => break,
                1..=LABEL_OCTETS_MAX => {
                    let label = message.get(here..=here + length).ok_or(Malformed::Short)?;
                    if wire.len() + label.len() + 1 > NAME_OCTETS_MAX {
                        return Err(Malformed::Length);
                    }
                    wire.extend_from_slice(label);
                    here += 1 + length;
                }
                0xC0.. => {
                    let low = *message.get(here + 1).ok_or(Malformed::Short)? as usize;
                    let target = (length & 0x3F) << 8 | low;
                    behind.get_or_insert(here + 2);
                    if target >= floor {
                        return Err(Malformed::Pointer);
                    }
                    (here, floor) = (target, target);
                }
                _ => return Err(Malformed::Pointer),
            }
        }
        wire.push(0);
        *at = behind.unwrap_or(here + 1);
        Ok(Name(wire.into()))
    }

    /// Reads a name from master file text (RFC 1035 section 5.1): `\.` and `\DDD` escapes, `@` for the origin, relative
    /// when it does not end in a dot.
    ///
    /// # Errors
    /// A sentence that names the text.
    pub fn from_text(text: &str, origin: Option<&Name>) -> Result<Name, String> {
        let relative = |what: &str| format!("{what} is relative and there is no origin");
        if text == "@" {
            return origin.cloned().ok_or_else(|| relative(text));
        }
        if text == "." {
            return Ok(Name::root());
        }
        let wrong = |why: &str| format!("the name {text:?} {why}");
        let mut wire = vec![0u8];
        let (mut start, mut octets) = (0, text.bytes().peekable());
        while let Some(octet) = octets.next() {
            match octet {
                b'.' => {
                    if wire.len() - start == 1 {
                        return Err(wrong("has an empty label"));
                    }
                    wire[start] = (wire.len() - start - 1) as u8;
                    start = wire.len();
                    wire.push(0);
                }
                b'\\' => wire.push(unescape(&mut octets).ok_or_else(|| wrong("has a bad escape"))?),
                other => wire.push(other),
            }
            if wire.len() - start > LABEL_OCTETS_MAX + 1 || wire.len() > NAME_OCTETS_MAX {
                return Err(wrong("is too long"));
            }
        }
        if wire.len() - start == 1 {
            if wire.len() == 1 {
                return Err(wrong("is empty"));
            }
            return Name::from_octets(&wire).map_err(|_| wrong("is too long"));
        }
        wire[start] = (wire.len() - start - 1) as u8;
        wire.extend_from_slice(&origin.ok_or_else(|| relative(text))?.0);
        Name::from_octets(&wire).map_err(|_| wrong("is too long"))
    }

    /// The octets, with the case as written.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// The same name in lower case.
    pub fn lower(&self) -> Name {
        Name(self.0.to_ascii_lowercase().into())
    }

    /// The labels from the left, without the root.
    pub fn labels(&self) -> Labels<'_> {
        Labels(&self.0)
    }

    /// How many labels, without the root.
    pub fn label_count(&self) -> usize {
        self.labels().count()
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// Whether the leftmost label is `*` (RFC 4592 section 2.1.1).
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(&[1, b'*'])
    }

    /// The name without its leftmost label; none for the root.
    pub fn parent(&self) -> Option<Name> {
        (!self.is_root()).then(|| Name(self.0[1 + self.0[0] as usize..].into()))
    }

    /// Whether this is `other` or below it.
    pub fn is_within(&self, other: &Name) -> bool {
        self.prefix_before(other).is_some()
    }

    /// The octets of the labels that stand before `suffix`, when this name is `suffix` or below it.
    pub fn prefix_before(&self, suffix: &Name) -> Option<&[u8]> {
        let cut = self.0.len().checked_sub(suffix.0.len())?;
        if !self.0[cut..].eq_ignore_ascii_case(&suffix.0) {
            return None;
        }
        let mut at = 0;
        while at < cut {
            at += 1 + self.0[at] as usize;
        }
        (at == cut).then(|| &self.0[..cut])
    }

    /// `prefix` (whole labels without root) before `suffix`.
    ///
    /// # Errors
    /// `Malformed::Length` when the result is longer than 255 octets.
    pub fn join(prefix: &[u8], suffix: &Name) -> Result<Name, Malformed> {
        if prefix.len() + suffix.0.len() > NAME_OCTETS_MAX {
            return Err(Malformed::Length);
        }
        Ok(Name([prefix, &suffix.0].concat().into()))
    }

    /// A key whose octet order is the canonical order of names (RFC 4034 section 6.1): labels from the right, lower
    /// case, ended by 0; octets 0 and 1 are escaped. A name's key is a prefix of the keys of all names below it.
    pub fn order_key(&self) -> Box<[u8]> {
        order_key(&self.0).into()
    }
}

/// [`Name::order_key`] for octets that keep a name's invariant.
pub(crate) fn order_key(wire: &[u8]) -> Vec<u8> {
    let mut starts = [0u8; 128];
    let (mut count, mut at) = (0, 0);
    while wire[at] != 0 {
        starts[count] = at as u8;
        count += 1;
        at += 1 + wire[at] as usize;
    }
    let mut key = Vec::with_capacity(wire.len() + 2);
    for &start in starts[..count].iter().rev() {
        let start = start as usize;
        for &octet in &wire[start + 1..=start + wire[start] as usize] {
            match octet.to_ascii_lowercase() {
                0 => key.extend_from_slice(&[1, 1]),
                1 => key.extend_from_slice(&[1, 2]),
                other => key.push(other),
            }
        }
        key.push(0);
    }
    key
}

/// The rest of a `\DDD` or `\X` escape, the backslash already taken (RFC 1035 section 5.1).
pub(crate) fn unescape(octets: &mut std::iter::Peekable<impl Iterator<Item = u8>>) -> Option<u8> {
    let first = octets.next()?;
    if !first.is_ascii_digit() {
        return Some(first);
    }
    let mut value = u16::from(first - b'0');
    for _ in 0..2 {
        let digit = octets.next().filter(u8::is_ascii_digit)?;
        value = value * 10 + u16::from(digit - b'0');
    }
    u8::try_from(value).ok()
}

/// The labels of a name, from the left.
pub struct Labels<'a>(&'a [u8]);

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        let length = self.0[0] as usize;
        if length == 0 {
            return None;
        }
        let label = &self.0[1..=length];
        self.0 = &self.0[1 + length..];
        Some(label)
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}
impl Eq for Name {}
impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_ascii_lowercase().hash(state);
    }
}
impl Ord for Name {
    fn cmp(&self, other: &Name) -> Ordering {
        order_key(&self.0).cmp(&order_key(&other.0))
    }
}
impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for label in self.labels() {
            for &octet in label {
                match octet {
                    b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => {
                        write!(f, "\\{}", octet as char)?
                    }
                    0x21..=0x7E => write!(f, "{}", octet as char)?,
                    other => write!(f, "\\{other:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}
impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_text(text, None).unwrap()
    }

    #[test]
    fn rfc4034_6_1_canonical_order() {
        let sorted = [
            "example.",
            "a.example.",
            "yljkjljk.a.example.",
            "Z.a.example.",
            "zABC.a.EXAMPLE.",
            "z.example.",
            "\\001.z.example.",
            "*.z.example.",
            "\\200.z.example.",
        ];
        for pair in sorted.windows(2) {
            assert!(name(pair[0]) < name(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn text_there_and_back() {
        for text in ["a\\.b.c.", "\\000\\255.x.", ".", "*.w.", "a\\;b\\\"."] {
            assert_eq!(name(text).to_string(), text);
        }
        for bad in ["", "a..b.", ".a.", "a\\25", &format!("{}.", "a".repeat(64)), &"ab.".repeat(90), "rel"] {
            assert!(Name::from_text(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn compression_loops_are_refused() {
        for (message, at) in [
            (&[0xC0, 0x00][..], 0),
            (&[0xC0, 0x02, 0xC0, 0x00], 0),
            (&[1, b'a', 0xC0, 0x00], 0),
            (&[0x40, 0], 0),
        ] {
            let mut at = at;
            assert!(Name::from_message(message, &mut at).is_err());
        }
        let mut at = 3;
        assert_eq!(Name::from_message(&[1, b'a', 0, 1, b'b', 0xC0, 0x00], &mut at).unwrap(), name("b.a."));
        assert_eq!(at, 7);
    }
}
