//! Whether a message is what a SEARCH looks for (RFC 3501 6.4.4, RFC 9051 6.4.4).

use super::grammar::{Date, Key, Set, SetOrSaved};
use crate::mailbox::texts::{Filter, Needle};
use crate::message;

/// A message as a search sees it. Cheap facts first; the costly ones are asked for last and may be read lazily.
pub trait Candidate {
    /// Sequence number.
    fn number(&self) -> u32;
    /// UID.
    fn uid(&self) -> u32;
    /// Whether it has this flag or keyword, in any case of letters.
    fn has_flag(&self, flag: &str) -> bool;
    /// INTERNALDATE in seconds since 1970.
    fn internal_date(&self) -> i64;
    /// Size in bytes.
    fn size(&self) -> u64;
    /// Mod-sequence of its last change.
    fn modseq(&self) -> u64;
    /// Whether this session is the first that sees it.
    fn is_recent(&self) -> bool;
    /// EMAILID.
    fn email_id(&self) -> String;
    /// THREADID.
    fn thread_id(&mut self) -> Option<String>;
    /// A header that has at least all fields of this name, with its blank line; without a name all fields.
    fn header(&mut self, field: Option<&str>) -> &[u8];
    /// Decoded texts of the body in lower case.
    fn body_texts(&mut self) -> &[String];
}

/// What a search is made against.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// Number of messages in the mailbox.
    pub messages: u32,
    /// The highest UID in the mailbox, zero when it is empty.
    pub uid_max: u32,
    /// UIDs that `$` stands for.
    pub saved: &'a [u32],
    /// Now, in seconds since 1970.
    pub now_s: i64,
}

/// A search made ready: sets are resolved, texts are in lower case, cheap conditions stand before costly ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Constant(bool),
    And(Vec<Test>),
    Or(Box<Test>, Box<Test>),
    Not(Box<Test>),
    Numbers(Vec<(u32, u32)>),
    Uids(Vec<(u32, u32)>),
    Flag(String),
    Header(String, String),
    Body(String),
    Text(String),
    Day(Compare, i64),
    SentDay(Compare, i64),
    InternalAtLeast(i64),
    Larger(u64),
    Smaller(u64),
    ModSeq(u64),
    EmailId(String),
    ThreadId(String),
    Recent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Before,
    On,
    Since,
}

impl Query {
    /// Makes a search ready for messages of this scope.
    pub fn new(key: &Key, scope: Scope<'_>) -> Query {
        Query { test: test(key, scope) }
    }

    /// Whether the message matches.
    pub fn matches(&self, candidate: &mut dyn Candidate) -> bool {
        self.test.matches(candidate)
    }

    /// What the index of texts can say of every message that matches.
    pub fn filter(&self) -> Filter {
        self.test.filter()
    }

    /// Whether only flags, numbers and other facts decide, so that no message is read.
    pub fn is_cheap(&self) -> bool {
        self.test.cost() == 0
    }

    /// Whether bodies may have to be read.
    pub fn reads_bodies(&self) -> bool {
        self.test.cost() == 2
    }
}

impl Test {
    fn matches(&self, c: &mut dyn Candidate) -> bool {
        match self {
            Test::Constant(answer) => *answer,
            Test::And(all) => all.iter().all(|t| t.matches(c)),
            Test::Or(a, b) => a.matches(c) || b.matches(c),
            Test::Not(t) => !t.matches(c),
            Test::Numbers(ranges) => within(ranges, c.number()),
            Test::Uids(ranges) => within(ranges, c.uid()),
            Test::Flag(flag) => c.has_flag(flag),
            Test::Header(name, text) => header_contains(c.header(Some(name)), name, text),
            Test::Body(text) => any_contains(c.body_texts(), text),
            Test::Text(text) => {
                // The subject is at hand; the rest has to be read.
                any_header_contains(c.header(Some("Subject")), text)
                    || any_contains(c.body_texts(), text)
                    || any_header_contains(c.header(None), text)
            }
            Test::Day(compare, day) => compare.holds(c.internal_date().div_euclid(DAY_S), *day),
            Test::SentDay(compare, day) => {
                sent_day(c.header(Some("Date"))).is_some_and(|sent| compare.holds(sent, *day))
            }
            Test::InternalAtLeast(at) => c.internal_date() >= *at,
            Test::Larger(size) => c.size() > *size,
            Test::Smaller(size) => c.size() < *size,
            Test::ModSeq(modseq) => c.modseq() >= *modseq,
            Test::EmailId(id) => c.email_id() == *id,
            Test::ThreadId(id) => c.thread_id().as_ref() == Some(id),
            Test::Recent => c.is_recent(),
        }
    }

    /// 0 for facts, 1 where the header is read, 2 where the body is.
    fn cost(&self) -> u8 {
        match self {
            Test::And(all) => all.iter().map(Test::cost).max().unwrap_or(0),
            Test::Or(a, b) => a.cost().max(b.cost()),
            Test::Not(t) => t.cost(),
            Test::Header(..) | Test::SentDay(..) | Test::ThreadId(_) => 1,
            Test::Body(_) | Test::Text(_) => 2,
            _ => 0,
        }
    }

    fn filter(&self) -> Filter {
        match self {
            Test::And(all) => {
                let all: Vec<Filter> = all.iter().map(Test::filter).filter(|f| *f != Filter::Any).collect();
                if all.is_empty() { Filter::Any } else { Filter::All(all) }
            }
            Test::Or(a, b) => match (a.filter(), b.filter()) {
                (Filter::Any, _) | (_, Filter::Any) => Filter::Any,
                (a, b) => Filter::Either(a.into(), b.into()),
            },
            Test::Header(_, text) | Test::Body(text) | Test::Text(text) => {
                Needle::of(text).map_or(Filter::Any, Filter::Text)
            }
            _ => Filter::Any,
        }
    }
}

impl Compare {
    fn holds(self, day: i64, limit: i64) -> bool {
        match self {
            Compare::Before => day < limit,
            Compare::On => day == limit,
            Compare::Since => day >= limit,
        }
    }
}

fn test(key: &Key, scope: Scope<'_>) -> Test {
    let each = |key: &Key| test(key, scope);
    match key {
        Key::All => Test::Constant(true),
        Key::And(keys) => {
            let mut tests: Vec<Test> = keys.iter().map(each).collect();
            tests.sort_by_key(Test::cost);
            Test::And(tests)
        }
        Key::Or(a, b) => {
            let (a, b) = (each(a), each(b));
            if a.cost() <= b.cost() { Test::Or(a.into(), b.into()) } else { Test::Or(b.into(), a.into()) }
        }
        Key::Not(key) => Test::Not(each(key).into()),
        Key::Numbers(SetOrSaved::Set(set)) => Test::Numbers(set.resolve(scope.messages)),
        Key::Uids(SetOrSaved::Set(set)) => Test::Uids(set.resolve(scope.uid_max)),
        Key::Numbers(SetOrSaved::Saved) | Key::Uids(SetOrSaved::Saved) => {
            Test::Uids(Set::from_sorted(scope.saved.iter().copied()).resolve(scope.uid_max))
        }
        Key::Flag(flag) => Test::Flag(flag.clone()),
        Key::Header(name, text) => Test::Header(name.clone(), text.to_lowercase()),
        Key::Body(text) => Test::Body(text.to_lowercase()),
        Key::Text(text) => Test::Text(text.to_lowercase()),
        Key::Before(date) => Test::Day(Compare::Before, day(*date)),
        Key::On(date) => Test::Day(Compare::On, day(*date)),
        Key::Since(date) => Test::Day(Compare::Since, day(*date)),
        Key::SentBefore(date) => Test::SentDay(Compare::Before, day(*date)),
        Key::SentOn(date) => Test::SentDay(Compare::On, day(*date)),
        Key::SentSince(date) => Test::SentDay(Compare::Since, day(*date)),
        Key::Older(s) => Test::Not(Test::InternalAtLeast(scope.now_s - i64::from(*s)).into()),
        Key::Younger(s) => Test::InternalAtLeast(scope.now_s - i64::from(*s)),
        Key::Larger(size) => Test::Larger(*size),
        Key::Smaller(size) => Test::Smaller(*size),
        Key::ModSeq(modseq) => Test::ModSeq(*modseq),
        Key::EmailId(id) => Test::EmailId(id.clone()),
        Key::ThreadId(id) => Test::ThreadId(id.clone()),
        Key::Recent => Test::Recent,
    }
}

fn within(ranges: &[(u32, u32)], n: u32) -> bool {
    let after = ranges.partition_point(|(low, _)| *low <= n);
    after > 0 && n <= ranges[after - 1].1
}

fn day(date: Date) -> i64 {
    message::unix_from_civil(i64::from(date.year), u32::from(date.month), u32::from(date.day), 0, 0, 0)
        .div_euclid(DAY_S)
}

/// The day of the Date field in the sender's own zone (RFC 3501 6.4.4: time and zone are disregarded).
fn sent_day(header: &[u8]) -> Option<i64> {
    let field = message::fields(header).find(|f| f.is("Date"))?;
    let (unix_s, zone_min) = message::parse_rfc5322(field.value)?;
    Some((unix_s + i64::from(zone_min) * 60).div_euclid(DAY_S))
}

fn header_contains(header: &[u8], name: &str, text: &str) -> bool {
    message::fields(header).any(|f| f.is(name) && value_contains(f.value, text))
}

fn any_header_contains(header: &[u8], text: &str) -> bool {
    message::fields(header).any(|f| {
        let name = String::from_utf8_lossy(f.name).to_lowercase();
        name.contains(text) || value_contains(f.value, text)
    })
}

fn value_contains(value: &[u8], text: &str) -> bool {
    text.is_empty() || message::field_text(value).to_lowercase().contains(text)
}

/// An empty text is in every message (RFC 3501 6.4.4), also in one that has no text.
fn any_contains(texts: &[String], wanted: &str) -> bool {
    wanted.is_empty() || texts.iter().any(|text| text.contains(wanted))
}

const DAY_S: i64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::grammar::{Body, parse};

    struct Mail {
        raw: &'static [u8],
        read: bool,
        texts: Vec<String>,
    }

    impl Candidate for Mail {
        fn number(&self) -> u32 {
            3
        }
        fn uid(&self) -> u32 {
            30
        }
        fn has_flag(&self, flag: &str) -> bool {
            flag.eq_ignore_ascii_case("\\Seen")
        }
        fn internal_date(&self) -> i64 {
            760_000_000 // 31-Jan-1994
        }
        fn size(&self) -> u64 {
            self.raw.len() as u64
        }
        fn modseq(&self) -> u64 {
            12
        }
        fn is_recent(&self) -> bool {
            false
        }
        fn email_id(&self) -> String {
            "M1".into()
        }
        fn thread_id(&mut self) -> Option<String> {
            None
        }
        fn header(&mut self, _: Option<&str>) -> &[u8] {
            self.read = true;
            &self.raw[..message::header_end(self.raw)]
        }
        fn body_texts(&mut self) -> &[String] {
            self.read = true;
            &self.texts
        }
    }

    fn search(keys: &str) -> (bool, bool) {
        let line = format!("a SEARCH {keys}");
        let Body::Search(search) = parse(line.as_bytes(), false).unwrap_or_else(|e| panic!("{}", e.why)).body
        else {
            panic!()
        };
        let raw = b"From: =?utf-8?Q?J=C3=B6rg?= <j@x>\r\nDate: Tue, 1 Feb 1994 00:30:00 +0100\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n";
        let mut mail = Mail { raw, read: false, texts: message::lower_texts(raw) };
        let query =
            Query::new(&search.key, Scope { messages: 5, uid_max: 50, saved: &[10, 30], now_s: 760_000_100 });
        (query.matches(&mut mail), mail.read)
    }

    #[test]
    fn rfc3501_6_4_4_keys() {
        for yes in [
            "ALL",
            "SEEN",
            "3",
            "2:*",
            "UID 30",
            "UID 30:*",
            "$",
            "FROM jÖrg",
            "HEADER from \"\"",
            "TEXT GRÜßE",
            "ON 31-Jan-1994",
            "SINCE 31-Jan-1994",
            "BEFORE 1-Feb-1994",
            "SENTON 1-Feb-1994",
            "SENTSINCE 1-Feb-1994",
            "LARGER 10",
            "SMALLER 1000",
            "YOUNGER 100",
            "NOT OLDER 100",
            "MODSEQ 12",
            "EMAILID M1",
            "BODY grüße",
            "OLD",
        ] {
            assert!(search(yes).0, "{yes}");
        }
        for no in [
            "UNSEEN",
            "1:2",
            "UID 31",
            "FROM bob",
            "HEADER to \"\"",
            "ON 1-Feb-1994",
            "SENTBEFORE 1-Feb-1994",
            "MODSEQ 13",
            "NEW",
            "THREADID T",
        ] {
            assert!(!search(no).0, "{no}");
        }
    }

    #[test]
    fn cheap_conditions_are_tried_first() {
        assert_eq!(search("TEXT grüße UNSEEN"), (false, false));
        assert_eq!(search("OR TEXT grüße SEEN"), (true, false));
    }

    #[test]
    fn texts_that_an_index_can_use() {
        let key = |line: &str| match parse(line.as_bytes(), false).unwrap().body {
            Body::Search(s) => s.key,
            _ => panic!(),
        };
        let scope = Scope { messages: 1, uid_max: 1, saved: &[], now_s: 0 };
        let query =
            Query::new(&key("a SEARCH SUBJECT Foo NOT TEXT bar BODY Baz OR BODY abc BODY def"), scope);
        let text = |text: &str| Filter::Text(Needle::of(text).unwrap());
        let either = Filter::Either(text("abc").into(), text("def").into());
        let Filter::All(all) = query.filter() else { panic!() };
        assert!(
            all.len() == 3
                && all.contains(&text("foo"))
                && all.contains(&text("baz"))
                && all.contains(&either)
        );
        assert_eq!(Query::new(&key("a SEARCH OR SEEN TEXT foo TEXT ab"), scope).filter(), Filter::Any);
        assert!(!query.is_cheap() && Query::new(&key("a SEARCH UNSEEN 1:5"), scope).is_cheap());
    }
}
