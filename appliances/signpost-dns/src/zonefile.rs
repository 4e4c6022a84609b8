//! Master files (RFC 1035 section 5, RFC 2308 section 4, RFC 3597): text in, records out, and back.
//!
//! `$ORIGIN` and `$TTL` are understood; `$INCLUDE` and `$GENERATE` are refused: a zone here is whole in itself.

use crate::limits::{ENTRY_TOKENS_MAX, ZONE_TEXT_OCTETS_MAX};
use crate::name::Name;
use crate::record::text::{self, Words};
use crate::record::{CLASS_IN, Record, RecordType};

/// What is wrong in a master file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct TextError {
    /// The line on which the entry begins, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

/// Reads all records of a master file. `ttl_unasked` stands in until a `$TTL` or an explicit TTL.
///
/// # Errors
/// `TextError` for the first entry that cannot be read.
pub fn parse(text: &str, origin: &Name, ttl_unasked: Option<u32>) -> Result<Vec<Record>, TextError> {
    if text.len() > ZONE_TEXT_OCTETS_MAX {
        return Err(TextError {
            line: 0,
            why: format!("the text has more than {ZONE_TEXT_OCTETS_MAX} octets"),
        });
    }
    let mut reader = Reader {
        origin: origin.clone(),
        owner: None,
        ttl_default: ttl_unasked,
        ttl_last: None,
        records: Vec::new(),
    };
    let mut entries = Entries { rest: text, line: 1 };
    while let Some((line, entry)) = entries.next_entry()? {
        reader.take(entry).map_err(|why| TextError { line, why })?;
    }
    Ok(reader.records)
}

/// Records as a master file with full names, one a line.
pub fn print<'a>(records: impl IntoIterator<Item = &'a Record>) -> String {
    records.into_iter().fold(String::new(), |all, one| all + &one.to_line() + "\n")
}

struct Reader {
    origin: Name,
    owner: Option<Name>,
    ttl_default: Option<u32>,
    ttl_last: Option<u32>,
    records: Vec<Record>,
}

/// The words of one entry; `indented` when its line began with a blank: the owner is the one before.
struct Entry {
    indented: bool,
    words: Vec<String>,
}

impl Reader {
    fn take(&mut self, entry: Entry) -> Result<(), String> {
        let words = &entry.words[..];
        if !entry.indented && words[0].starts_with('$') {
            return self.directive(words);
        }
        let mut rest = words;
        if !entry.indented {
            self.owner = Some(Name::from_text(&words[0], Some(&self.origin))?);
            rest = &words[1..];
        }
        let owner = self.owner.clone().ok_or("the first entry has no owner name")?;
        let mut ttl = None;
        let mut class_seen = false;
        let rtype = loop {
            let (word, after) = rest.split_first().ok_or("the entry has no type")?;
            rest = after;
            if !class_seen && word.eq_ignore_ascii_case("IN") {
                class_seen = true;
            } else if ttl.is_none()
                && word.as_bytes().first().is_some_and(u8::is_ascii_digit)
                && text::ttl(word).is_some()
            {
                ttl = text::ttl(word);
            } else if ["CH", "HS", "CS", "NONE", "ANY"].iter().any(|class| word.eq_ignore_ascii_case(class)) {
                return Err(format!("class {word}: only IN is served"));
            } else {
                break RecordType::from_text(word).ok_or_else(|| format!("unknown type {word:?}"))?;
            }
        };
        if !rtype.is_data() {
            return Err(format!("{rtype} cannot stand in a zone"));
        }
        let data = text::from_text(rtype, Words::new(rest, Some(&self.origin)))?;
        // RFC 2308 section 4: $TTL, else the last explicit one (RFC 1035); a leading SOA lends its minimum.
        let minimum = (rtype == RecordType::SOA).then(|| soa_minimum(&data)).flatten();
        let ttl =
            ttl.or(self.ttl_default).or(self.ttl_last).or(minimum).ok_or("no TTL here and no $TTL before")?;
        self.ttl_last = Some(ttl);
        self.records.push(Record { name: owner, rtype, class: CLASS_IN, ttl, data });
        Ok(())
    }

    fn directive(&mut self, words: &[String]) -> Result<(), String> {
        let upper = words[0].to_ascii_uppercase();
        match (upper.as_str(), words.get(1), words.len()) {
            ("$ORIGIN", Some(name), 2) => self.origin = Name::from_text(name, Some(&self.origin))?,
            ("$TTL", Some(time), 2) => {
                self.ttl_default = Some(text::ttl(time).ok_or_else(|| format!("$TTL {time}: not a time"))?);
            }
            ("$ORIGIN" | "$TTL", ..) => return Err(format!("{upper} takes one word")),
            _ => return Err(format!("{} is not taken: put the records themselves here", words[0])),
        }
        Ok(())
    }
}

/// The last field of a SOA's data (RFC 2308 section 4).
pub fn soa_minimum(data: &[u8]) -> Option<u32> {
    data.last_chunk().map(|octets| u32::from_be_bytes(*octets))
}

struct Entries<'a> {
    rest: &'a str,
    line: usize,
}

impl Entries<'_> {
    /// The next entry that holds a word, with the line it begins on.
    fn next_entry(&mut self) -> Result<Option<(usize, Entry)>, TextError> {
        while !self.rest.is_empty() {
            let line = self.line;
            let entry = self.words().map_err(|why| TextError { line, why: why.to_string() })?;
            if !entry.words.is_empty() {
                return Ok(Some((line, entry)));
            }
        }
        Ok(None)
    }

    /// The words up to the end of the line, or of the line on which the parenthesis closes.
    fn words(&mut self) -> Result<Entry, &'static str> {
        let octets = self.rest.as_bytes();
        let indented = matches!(octets[0], b' ' | b'\t');
        let (mut words, mut word, mut at, mut open) = (Vec::new(), None::<Vec<u8>>, 0, false);
        let finish = |word: &mut Option<Vec<u8>>, words: &mut Vec<String>| {
            if let Some(octets) = word.take() {
                words.push(String::from_utf8_lossy(&octets).into_owned());
            }
        };
        while at < octets.len() {
            let octet = octets[at];
            at += 1;
            match octet {
                b' ' | b'\t' | b'\r' => finish(&mut word, &mut words),
                b'\n' => {
                    self.line += 1;
                    finish(&mut word, &mut words);
                    if !open {
                        break;
                    }
                }
                b';' => at += octets[at..].iter().position(|&one| one == b'\n').unwrap_or(octets.len() - at),
                b'(' | b')' => {
                    if open == (octet == b'(') {
                        return Err("parentheses do not pair");
                    }
                    finish(&mut word, &mut words);
                    open = octet == b'(';
                }
                b'"' => at = quoted(octets, at, word.get_or_insert_default())?,
                b'\\' => {
                    let whole = word.get_or_insert_default();
                    whole.push(b'\\');
                    if let Some(&next) = octets.get(at).filter(|&&next| next != b'\n') {
                        whole.push(next);
                        at += 1;
                    }
                }
                other => word.get_or_insert_default().push(other),
            }
            if words.len() > ENTRY_TOKENS_MAX {
                return Err("the entry has too many words");
            }
        }
        finish(&mut word, &mut words);
        if open {
            return Err("a parenthesis is not closed");
        }
        self.rest = &self.rest[at..];
        Ok(Entry { indented, words })
    }
}

/// Takes a quoted text from `at`, escapes kept; gives the place behind the closing quote.
fn quoted(octets: &[u8], mut at: usize, word: &mut Vec<u8>) -> Result<usize, &'static str> {
    loop {
        match octets.get(at) {
            None | Some(b'\n') => return Err("a quote is not closed on its line"),
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') if octets.get(at + 1).is_some_and(|&next| next != b'\n') => {
                word.extend_from_slice(&octets[at..at + 2]);
                at += 2;
            }
            Some(&other) => {
                word.push(other);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Name {
        Name::from_text("example.test.", None).unwrap()
    }

    #[test]
    fn rfc1035_5_3_entries() {
        let text = "$TTL 1h\n@ IN SOA ns1 host\\.master (\n 7 ; serial\n 3600 15m 2w 300 )\n\tNS ns1\n\
            ns1 A 192.0.2.1\n  60 AAAA 2001:db8::1\nt 5 IN TXT \"a;b \\\"q\\\" \\065\" plain \"\"\n\
            $ORIGIN sub\n@ MX 10 mail\nu TYPE65280 \\# 3 010203\nh HTTPS 1 . alpn=\"h2,h3\" port=8443 ipv4hint=192.0.2.1\n\
            c CAA 0 issue \"letsencrypt.org\"\n_x._tcp SRV 0 1 5 @\n";
        let records = parse(text, &origin(), None).unwrap();
        let lines: Vec<String> = records.iter().map(Record::to_line).collect();
        assert_eq!(
            lines,
            [
                "example.test. 3600 IN SOA ns1.example.test. host\\.master.example.test. 7 3600 900 1209600 300",
                "example.test. 3600 IN NS ns1.example.test.",
                "ns1.example.test. 3600 IN A 192.0.2.1",
                "ns1.example.test. 60 IN AAAA 2001:db8::1",
                "t.example.test. 5 IN TXT \"a;b \\\"q\\\" A\" \"plain\" \"\"",
                "sub.example.test. 3600 IN MX 10 mail.sub.example.test.",
                "u.sub.example.test. 3600 IN TYPE65280 \\# 3 010203",
                "h.sub.example.test. 3600 IN HTTPS 1 . alpn=\"h2,h3\" port=8443 ipv4hint=192.0.2.1",
                "c.sub.example.test. 3600 IN CAA 0 \"issue\" \"letsencrypt.org\"",
                "_x._tcp.sub.example.test. 3600 IN SRV 0 1 5 sub.example.test.",
            ]
        );
        assert_eq!(parse(&print(&records), &origin(), None).unwrap(), records);
    }

    #[test]
    fn errors_name_the_line() {
        for (text, line) in [
            ("\n\n@ 5 IN A 300.1.1.1\n", 3),
            ("$INCLUDE x\n", 1),
            ("a 5 A 1.2.3.4\nb 5 TXT \"open\n", 2),
            ("a 5 IN A ( 1.2.3.4\n", 1),
            ("a 5 IN A 1.2.3.4 5\n", 1),
            ("a 5 IN \n", 1),
            ("a 5 CH A 1.2.3.4\n", 1),
            ("a 5 ANY 1\n", 1),
            ("a A 1.2.3.4\n", 1),
            ("  A 1.2.3.4\n", 1),
            ("a \"\" A 1.2.3.4\n", 1),
            ("a 5 NSEC3 1 0 0 - \"\" A\n", 1),
        ] {
            assert_eq!(parse(text, &origin(), None).map_err(|error| error.line), Err(line), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[ -~\\n\\t()\"\\\\;$@.]{0,200}") {
            let _ = parse(&text, &origin(), Some(5));
        }
        #[test]
        fn what_is_printed_reads_back(octets in proptest::collection::vec(proptest::num::u8::ANY, 0..40), kind in 0u16..300) {
            let rtype = RecordType(kind);
            if rtype.is_data() && crate::record::data::check(rtype, &octets).is_ok() {
                let record = Record { name: origin(), rtype, class: CLASS_IN, ttl: 5, data: octets };
                let back = parse(&record.to_line(), &origin(), None);
                proptest::prop_assert_eq!(back, Ok(vec![record]));
            }
        }
    }
}
