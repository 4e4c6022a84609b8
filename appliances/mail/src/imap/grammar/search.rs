//! SEARCH: keys, return options, charset (RFC 3501 6.4.4, 4731 ESEARCH, 5182 SEARCHRES, 5032 WITHIN, 7162 MODSEQ, 8474).

use super::cursor::{Cursor, Parsed};
use super::set::SetOrSaved;

/// A SEARCH or UID SEARCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// UIDs instead of sequence numbers are wanted.
    pub uid: bool,
    /// What ESEARCH is to say; nothing where the plain SEARCH response is wanted.
    pub returns: Option<Vec<ReturnOption>>,
    /// The charset said, in upper case.
    pub charset: Option<String>,
    /// What a message must be; several keys side by side are an `And`.
    pub key: Key,
}

/// What an ESEARCH response is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReturnOption {
    /// The lowest number.
    Min,
    /// The highest number.
    Max,
    /// All numbers, as a set.
    All,
    /// How many.
    Count,
    /// Keep the result for `$`.
    Save,
}

/// A day as `SINCE 1-Feb-1994` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// Year, 0 to 9999.
    pub year: u16,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, 1 to 31.
    pub day: u8,
}

/// One condition on a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// Every message.
    All,
    /// All of these.
    And(Vec<Key>),
    /// One of these.
    Or(Box<Key>, Box<Key>),
    /// Not this.
    Not(Box<Key>),
    /// Sequence numbers.
    Numbers(SetOrSaved),
    /// UIDs.
    Uids(SetOrSaved),
    /// Has this flag or keyword (`\Seen`, `$Junk`).
    Flag(String),
    /// A header field (lower case) contains the text; an empty text: the field exists.
    Header(String, String),
    /// The decoded text of the body contains it.
    Body(String),
    /// Header or body contains it.
    Text(String),
    /// Internal date is before the day.
    Before(Date),
    /// Internal date is on the day.
    On(Date),
    /// Internal date is on the day or later.
    Since(Date),
    /// The Date field is before the day.
    SentBefore(Date),
    /// The Date field is on the day.
    SentOn(Date),
    /// The Date field is on the day or later.
    SentSince(Date),
    /// Size is above.
    Larger(u64),
    /// Size is below.
    Smaller(u64),
    /// Internal date is more than so many seconds ago (RFC 5032).
    Older(u32),
    /// Internal date is at most so many seconds ago (RFC 5032).
    Younger(u32),
    /// Changed at this mod-sequence or later (RFC 7162 3.1.5).
    ModSeq(u64),
    /// Has this EMAILID (RFC 8474 5.3).
    EmailId(String),
    /// Has this THREADID (RFC 8474 5.3).
    ThreadId(String),
    /// Delivered to this session first. Only IMAP4rev1 knows it.
    Recent,
}

impl Search {
    /// Whether the charset that was said is known; else the answer is NO [BADCHARSET] (RFC 3501 6.4.4).
    pub fn has_known_charset(&self) -> bool {
        self.charset.as_deref().is_none_or(|name| encoding(name).is_some())
    }
}

fn encoding(name: &str) -> Option<&'static encoding_rs::Encoding> {
    match name {
        // For browsers this label means windows-1252; here it means what it says.
        "US-ASCII" => Some(encoding_rs::UTF_8),
        name => encoding_rs::Encoding::for_label(name.as_bytes()),
    }
}

impl Key {
    /// Whether a MODSEQ key is in it, so that the answer must tell the highest one.
    pub fn wants_modseq(&self) -> bool {
        match self {
            Key::ModSeq(_) => true,
            Key::And(all) => all.iter().any(Key::wants_modseq),
            Key::Or(a, b) => a.wants_modseq() || b.wants_modseq(),
            Key::Not(key) => key.wants_modseq(),
            _ => false,
        }
    }
}

impl Cursor<'_> {
    /// What follows `SEARCH`.
    pub(super) fn search(&mut self, uid: bool) -> Parsed<Search> {
        self.space()?;
        let returns = if self.eat_word("RETURN ") {
            let options = self.list(true, Self::return_option)?;
            self.space()?;
            Some(if options.is_empty() { vec![ReturnOption::All] } else { options })
        } else {
            None
        };
        let charset = if self.eat_word("CHARSET ") {
            let charset = self.astring_text()?.to_ascii_uppercase();
            self.space()?;
            self.charset = encoding(&charset).unwrap_or(self.charset);
            Some(charset)
        } else {
            None
        };
        let mut keys = vec![self.key(DEPTH_MAX)?];
        while self.eat(b' ') {
            if keys.len() >= KEYS_MAX {
                return Err("a search has too many keys");
            }
            keys.push(self.key(DEPTH_MAX)?);
        }
        Ok(Search { uid, returns, charset, key: and(keys) })
    }

    fn return_option(&mut self) -> Parsed<ReturnOption> {
        match self.keyword()?.as_str() {
            "MIN" => Ok(ReturnOption::Min),
            "MAX" => Ok(ReturnOption::Max),
            "ALL" => Ok(ReturnOption::All),
            "COUNT" => Ok(ReturnOption::Count),
            "SAVE" => Ok(ReturnOption::Save),
            _ => Err("an unknown return option"),
        }
    }

    fn key(&mut self, depth: usize) -> Parsed<Key> {
        let depth = depth.checked_sub(1).ok_or("a search is nested too deep")?;
        match self.peek() {
            Some(b'(') => return self.list(false, |c| c.key(depth)).map(and),
            Some(b'*' | b'$' | b'0'..=b'9') => return self.set_or_saved().map(Key::Numbers),
            _ => {}
        }
        let word = self.keyword()?;
        if let Some(key) = simple_key(&word) {
            return Ok(key);
        }
        self.expect(b' ', "an unknown search key, or one whose value is missing")?;
        match word.as_str() {
            "NOT" => Ok(Key::Not(Box::new(self.key(depth)?))),
            "OR" => {
                let first = self.key(depth)?;
                self.space()?;
                Ok(Key::Or(Box::new(first), Box::new(self.key(depth)?)))
            }
            "UID" => self.set_or_saved().map(Key::Uids),
            "HEADER" => {
                let name = self.astring_text()?.to_ascii_lowercase();
                self.space()?;
                Ok(Key::Header(name, self.search_text()?))
            }
            "BCC" | "CC" | "FROM" | "SUBJECT" | "TO" => {
                Ok(Key::Header(word.to_ascii_lowercase(), self.search_text()?))
            }
            "BODY" => self.search_text().map(Key::Body),
            "TEXT" => self.search_text().map(Key::Text),
            "KEYWORD" => self.flag().map(Key::Flag),
            "UNKEYWORD" => Ok(Key::Not(Box::new(Key::Flag(self.flag()?)))),
            "BEFORE" => self.date().map(Key::Before),
            "ON" => self.date().map(Key::On),
            "SINCE" => self.date().map(Key::Since),
            "SENTBEFORE" => self.date().map(Key::SentBefore),
            "SENTON" => self.date().map(Key::SentOn),
            "SENTSINCE" => self.date().map(Key::SentSince),
            "LARGER" => self.number64().map(Key::Larger),
            "SMALLER" => self.number64().map(Key::Smaller),
            "OLDER" => self.nz_number().map(Key::Older),
            "YOUNGER" => self.nz_number().map(Key::Younger),
            "MODSEQ" => self.modseq_key(),
            "EMAILID" => self.astring_text().map(Key::EmailId),
            "THREADID" => self.astring_text().map(Key::ThreadId),
            _ => Err("an unknown search key"),
        }
    }

    /// `[entry-name SP entry-type SP] mod-sequence-valzer`; entries are about annotations, which we have none of, so
    /// the number alone decides (RFC 7162 3.1.5).
    fn modseq_key(&mut self) -> Parsed<Key> {
        if self.peek() == Some(b'"') {
            self.string()?;
            self.space()?;
            match self.keyword()?.as_str() {
                "PRIV" | "SHARED" | "ALL" => self.space()?,
                _ => return Err("an unknown entry type"),
            }
        }
        self.number64().map(Key::ModSeq)
    }

    /// A text to look for, read by the search's charset. One that nobody knows is refused before this is used.
    fn search_text(&mut self) -> Parsed<String> {
        let bytes = self.astring()?;
        Ok(self.charset.decode_without_bom_handling(&bytes).0.into_owned())
    }

    /// `date`: `1-Feb-1994`, quoted or not.
    fn date(&mut self) -> Parsed<Date> {
        let quoted = self.eat(b'"');
        let fault = "a date is not like 1-Feb-1994";
        let day = self.number().map_err(|_| fault)?;
        self.expect(b'-', fault)?;
        let month = self.take_while(|b| b.is_ascii_alphabetic());
        let month = month_number(month).ok_or(fault)?;
        self.expect(b'-', fault)?;
        let year = self.number().map_err(|_| fault)?;
        if quoted {
            self.expect(b'"', fault)?;
        }
        if !(1..=31).contains(&day) || year > 9999 {
            return Err(fault);
        }
        Ok(Date { year: year as u16, month, day: day as u8 })
    }
}

/// 1 to 12 for `Jan` to `Dec` in any case.
pub(super) fn month_number(name: &[u8]) -> Option<u8> {
    let at = MONTHS.iter().position(|m| m.as_bytes().eq_ignore_ascii_case(name))?;
    Some(at as u8 + 1)
}

fn simple_key(word: &str) -> Option<Key> {
    let flag = |name: &str| Key::Flag(format!("\\{name}"));
    let not = |key: Key| Key::Not(Box::new(key));
    Some(match word {
        "ALL" => Key::All,
        "ANSWERED" => flag("Answered"),
        "DELETED" => flag("Deleted"),
        "DRAFT" => flag("Draft"),
        "FLAGGED" => flag("Flagged"),
        "SEEN" => flag("Seen"),
        "UNANSWERED" => not(flag("Answered")),
        "UNDELETED" => not(flag("Deleted")),
        "UNDRAFT" => not(flag("Draft")),
        "UNFLAGGED" => not(flag("Flagged")),
        "UNSEEN" => not(flag("Seen")),
        "RECENT" => Key::Recent,
        "NEW" => Key::And(vec![Key::Recent, not(flag("Seen"))]),
        "OLD" => not(Key::Recent),
        _ => return None,
    })
}

fn and(mut keys: Vec<Key>) -> Key {
    if keys.len() == 1 { keys.remove(0) } else { Key::And(keys) }
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// Nesting of a search; people nest two or three deep, programs a few more.
const DEPTH_MAX: usize = 50;
/// Keys side by side: a client that looks for many Message-IDs stays below this.
const KEYS_MAX: usize = 2_000;
