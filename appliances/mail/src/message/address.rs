//! Address lists (RFC 5322 3.4, obsolete syntax included), for ENVELOPE and for showing.

use super::{decode_words, unfold};
use crate::limits;

/// One mailbox address. Parts are kept as written, encoded words included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Address {
    /// Display name, unquoted; a trailing comment when there is no phrase.
    pub name: Option<Vec<u8>>,
    /// Obsolete source route, `@a,@b`.
    pub route: Option<Vec<u8>>,
    /// Before the `@`.
    pub local: Vec<u8>,
    /// After the `@`; empty when missing.
    pub domain: Vec<u8>,
}

impl Address {
    /// `local@domain`.
    pub fn spec(&self) -> String {
        format!("{}@{}", String::from_utf8_lossy(&self.local), String::from_utf8_lossy(&self.domain))
    }

    /// The name for people: the decoded display name, else the address.
    pub fn shown(&self) -> String {
        self.name.as_deref().map(decode_words).filter(|n| !n.trim().is_empty()).unwrap_or_else(|| self.spec())
    }
}

/// What an address list is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// An address.
    Address(Address),
    /// `name:` opens a group.
    GroupStart(Vec<u8>),
    /// `;` closes it.
    GroupEnd,
}

/// Reads an address list. Never fails: what cannot be understood is skipped or taken as a local part.
pub fn addresses(value: &[u8]) -> Vec<Entry> {
    let flat = unfold(value);
    let mut reader = Reader { rest: &flat, comment: None };
    let mut out = Vec::new();
    let mut in_group = false;
    let mut words: Vec<Word> = Vec::new();
    let mut angle: Option<Address> = None;
    while out.len() < limits::ADDRESSES_MAX {
        match reader.token() {
            None => break,
            Some(Token::Word(w)) => push(&mut words, w),
            Some(Token::Special(b'<')) => angle = Some(reader.angle()),
            Some(Token::Special(b':')) if !in_group && angle.is_none() => {
                out.push(Entry::GroupStart(phrase(&words)));
                words.clear();
                in_group = true;
            }
            Some(Token::Special(end @ (b',' | b';'))) => {
                flush(&mut out, &mut words, &mut angle, reader.comment.take());
                if end == b';' && in_group {
                    out.push(Entry::GroupEnd);
                    in_group = false;
                }
            }
            Some(Token::Special(b)) => {
                push(&mut words, Word { text: vec![b], special: true, quoted: false });
            }
        }
    }
    flush(&mut out, &mut words, &mut angle, reader.comment.take());
    if in_group {
        out.push(Entry::GroupEnd);
    }
    out
}

#[derive(Debug)]
struct Word {
    text: Vec<u8>,
    special: bool,
    quoted: bool,
}

enum Token {
    Word(Word),
    Special(u8),
}

struct Reader<'a> {
    rest: &'a [u8],
    comment: Option<Vec<u8>>,
}

impl Reader<'_> {
    fn token(&mut self) -> Option<Token> {
        loop {
            match *self.rest.first()? {
                b' ' | b'\t' => self.rest = &self.rest[1..],
                b'(' => self.comment = Some(self.comment()),
                b'"' => return Some(Token::Word(Word { text: self.quoted(), special: false, quoted: true })),
                b'[' => {
                    let len = memchr::memchr(b']', self.rest).map_or(self.rest.len(), |i| i + 1);
                    return Some(Token::Word(self.take(len)));
                }
                b @ (b'<' | b'>' | b',' | b';' | b':' | b'@' | b'.' | b')' | b']') => {
                    self.rest = &self.rest[1..];
                    return Some(Token::Special(b));
                }
                _ => {
                    let special = |b: &u8| b" \t(\"<>,;:@.)[]".contains(b);
                    let len = self.rest.iter().position(special).unwrap_or(self.rest.len());
                    return Some(Token::Word(self.take(len)));
                }
            }
        }
    }

    fn take(&mut self, len: usize) -> Word {
        let (text, rest) = self.rest.split_at(len);
        self.rest = rest;
        Word { text: text.to_vec(), special: false, quoted: false }
    }

    fn quoted(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = 1;
        while at < self.rest.len() {
            match self.rest[at] {
                b'\\' if at + 1 < self.rest.len() => {
                    out.push(self.rest[at + 1]);
                    at += 2;
                }
                b'"' => {
                    self.rest = &self.rest[at + 1..];
                    return out;
                }
                b => {
                    out.push(b);
                    at += 1;
                }
            }
        }
        self.rest = &[];
        out
    }

    fn comment(&mut self) -> Vec<u8> {
        let (mut depth, mut at, mut out) = (0u32, 0, Vec::new());
        while at < self.rest.len() {
            match self.rest[at] {
                b'\\' if at + 1 < self.rest.len() => {
                    out.push(self.rest[at + 1]);
                    at += 1;
                }
                b'(' => {
                    depth += 1;
                    if depth > 1 {
                        out.push(b'(');
                    }
                }
                b')' => {
                    depth -= 1;
                    if depth == 0 {
                        at += 1;
                        break;
                    }
                    out.push(b')');
                }
                b => out.push(b),
            }
            at += 1;
        }
        self.rest = &self.rest[at..];
        out
    }

    /// After `<`: an optional route and an address, up to `>`.
    fn angle(&mut self) -> Address {
        let mut words = Vec::new();
        let mut route = None;
        while let Some(token) = self.token() {
            match token {
                Token::Special(b'>') => break,
                Token::Special(b':') if route.is_none() => {
                    route = Some(glue(&words));
                    words.clear();
                }
                Token::Special(b) => push(&mut words, Word { text: vec![b], special: true, quoted: false }),
                Token::Word(w) => push(&mut words, w),
            }
        }
        Address { route, ..spec(&words) }
    }
}

/// Takes a word, unless the address has too many already.
fn push(words: &mut Vec<Word>, word: Word) {
    if words.len() < limits::ADDRESS_WORDS_MAX {
        words.push(word);
    }
}

fn flush(out: &mut Vec<Entry>, words: &mut Vec<Word>, angle: &mut Option<Address>, comment: Option<Vec<u8>>) {
    let address = match angle.take() {
        Some(mut address) => {
            address.name = Some(phrase(words)).filter(|n| !n.is_empty()).or(comment);
            Some(address)
        }
        None if words.is_empty() => None,
        None => Some(Address { name: comment, ..spec(words) }),
    };
    words.clear();
    out.extend(address.filter(|a| !a.local.is_empty() || !a.domain.is_empty()).map(Entry::Address));
}

/// `local @ domain` from tokens, white space around dots removed.
fn spec(words: &[Word]) -> Address {
    let at = words.iter().rposition(|w| w.special && w.text == b"@");
    match at {
        Some(at) => {
            Address { local: glue(&words[..at]), domain: glue(&words[at + 1..]), ..Address::default() }
        }
        None => Address { local: phrase(words), ..Address::default() },
    }
}

fn glue(words: &[Word]) -> Vec<u8> {
    words.iter().flat_map(|w| w.text.iter().copied()).collect()
}

/// Words with single spaces between them, none before a dot.
fn phrase(words: &[Word]) -> Vec<u8> {
    let mut out = Vec::new();
    for (i, word) in words.iter().enumerate() {
        if i > 0 && !(word.special && word.text == b"." && !word.quoted) && !out.is_empty() {
            out.push(b' ');
        }
        out.extend_from_slice(&word.text);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs(value: &str) -> Vec<(Option<String>, String)> {
        let shown = |a: Address| (a.name.clone().map(|n| String::from_utf8_lossy(&n).into_owned()), a.spec());
        let keep = |e| if let Entry::Address(a) = e { Some(shown(a)) } else { None };
        addresses(value.as_bytes()).into_iter().filter_map(keep).collect()
    }

    #[test]
    fn rfc5322_a_1_2_and_a_6_1_addresses() {
        let all = specs(
            r#""Joe Q. Public" <john.q.public@example.com>, Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>"#,
        );
        assert_eq!(all[0], (Some("Joe Q. Public".into()), "john.q.public@example.com".into()));
        assert_eq!(all[2], (None, "jdoe@example.org".into()));
        assert_eq!(all[3], (Some("Who?".into()), "one@y.test".into()));
        assert_eq!(specs("Joe Q. Public <john . q .  public@example.com>")[0].1, "john.q.public@example.com");
        assert_eq!(specs("<@a.test,@b.test:c@d.test>")[0].1, "c@d.test");
        assert_eq!(specs("pete@silly.test (Pete)")[0].0.as_deref(), Some("Pete"));
    }

    #[test]
    fn rfc5322_a_1_3_groups() {
        let all = addresses(b"A Group:Ed Jones <joe@where.test>,john@jdoe.test;, Undisclosed recipients:;");
        assert_eq!(all.len(), 6);
        assert_eq!(all[0], Entry::GroupStart(b"A Group".to_vec()));
        assert_eq!(all[5], Entry::GroupEnd);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read(value in proptest::collection::vec(proptest::sample::select(&b"a@b.<>(),;:\"\\ [] "[..]), 0..80)) {
            addresses(&value);
        }
    }
}
