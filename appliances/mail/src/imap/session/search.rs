//! SEARCH (RFC 3501 6.4.4, RFC 4731, 5182).

use super::fetch::{email_id, thread_id};
use super::flags::written;
use super::in_order::{InOrder, pieces};
use super::reader::Reader;
use super::{Answer, Done, Session, refused};
use crate::imap::grammar::{ReturnOption, Search, Set};
use crate::imap::matching::{Candidate, Query, Scope};
use crate::imap::render::Needs;
use crate::mailbox::texts::Filter;
use crate::mailbox::{Account, Flags, Head, Keywords, MailboxError, Row, Rows};
use crate::message;
use bytes::Bytes;
use chassis::aside::aside;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

impl Session {
    pub(super) async fn search(&mut self, search: Search) -> Answer {
        if !search.has_known_charset() {
            self.forget_saved(&search);
            return Ok(Done::No("[BADCHARSET (UTF-8 US-ASCII ISO-8859-1)] that charset is not known".into()));
        }
        let wants_modseq = search.key.wants_modseq();
        self.enabled.condstore |= wants_modseq;
        let found = match self.find(&search).await {
            Ok(found) => found,
            Err(error) => {
                self.forget_saved(&search);
                return Ok(refused(&error));
            }
        };
        self.tell_found(&search, &found, wants_modseq)
    }

    /// A search with SAVE that is refused leaves nothing in `$` (RFC 5182 2.1).
    fn forget_saved(&mut self, search: &Search) {
        let saves = search.returns.iter().flatten().any(|option| *option == ReturnOption::Save);
        if let Some(selected) = self.selected.as_mut().filter(|_| saves) {
            selected.saved = Vec::new();
        }
    }

    /// The sequence numbers of what matches, in order.
    async fn find(&mut self, search: &Search) -> Result<Vec<u32>, MailboxError> {
        let (Ok(account), Some(selected)) = (self.account(), &self.selected) else { return Ok(Vec::new()) };
        let rows = selected.rows.clone();
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
        let uid_max = rows.at(rows.len()).map_or(0, |row| row.uid);
        let scope = Scope { messages: rows.len(), uid_max, saved: &selected.saved, now_s };
        let hunt = Arc::new(Hunt {
            query: Query::new(&search.key, scope),
            keywords: account.state().keywords.clone(),
            recent_from: selected.recent_from,
            id: selected.id.clone(),
            account,
            rows,
        });
        if hunt.query.is_cheap() {
            return hunt.among(&[(1, hunt.rows.len())]);
        }
        let worth = hunt.worth_reading(&selected.name.clone()).await?;
        hunt.share_out(worth).await
    }

    fn tell_found(&mut self, search: &Search, found: &[u32], wants_modseq: bool) -> Answer {
        let rows = self.selected()?.rows.clone();
        let row = |number: &u32| rows.at(*number);
        let numbers: Vec<u32> = match search.uid {
            true => found.iter().filter_map(row).map(|row| row.uid).collect(),
            false => found.to_vec(),
        };
        let rev2 = self.enabled.rev2;
        let Some(returns) = search.returns.clone().or(rev2.then(|| vec![ReturnOption::All])) else {
            let modseq = found.iter().filter_map(row).map(|row| row.modseq).max().filter(|_| wants_modseq);
            self.tell_plainly(&numbers, modseq);
            return Ok(Done::Ok("done".into()));
        };
        let chosen = chosen(&returns, found);
        if returns.contains(&ReturnOption::Save) {
            self.selected()?.saved = chosen.iter().filter_map(row).map(|row| row.uid).collect();
        }
        let told: Vec<ReturnOption> = returns.into_iter().filter(|r| *r != ReturnOption::Save).collect();
        if told.is_empty() {
            return Ok(Done::Ok("kept".into()));
        }
        let mut line = String::from(if search.uid { " UID" } else { "" });
        for option in told {
            match (option, numbers.first(), numbers.last()) {
                (ReturnOption::Count, ..) => line.push_str(&format!(" COUNT {}", numbers.len())),
                (ReturnOption::Min, Some(first), _) => line.push_str(&format!(" MIN {first}")),
                (ReturnOption::Max, _, Some(last)) => line.push_str(&format!(" MAX {last}")),
                (ReturnOption::All, Some(_), _) => {
                    line.push_str(&format!(" ALL {}", written(&Set::from_sorted(numbers.iter().copied()))));
                }
                _ => {}
            }
        }
        // Of those messages that the response names (RFC 4731 3.2).
        let modseq = chosen.iter().filter_map(row).map(|row| row.modseq).max().filter(|_| wants_modseq);
        if let Some(modseq) = modseq {
            line.push_str(&format!(" MODSEQ {modseq}"));
        }
        self.tell_esearch(&line);
        Ok(Done::Ok("done".into()))
    }

    fn tell_plainly(&mut self, numbers: &[u32], modseq: Option<u64>) {
        let out = self.output.bytes();
        out.extend_from_slice(b"* SEARCH");
        for number in numbers {
            out.extend_from_slice(format!(" {number}").as_bytes());
        }
        if let Some(modseq) = modseq {
            out.extend_from_slice(format!(" (MODSEQ {modseq})").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }

    fn tell_esearch(&mut self, line: &str) {
        let tag = self.tag.clone();
        self.output.bytes().extend_from_slice(b"* ESEARCH (TAG ");
        message::write_string(self.output.bytes(), tag.as_bytes());
        self.output.line(format_args!("){line}"));
    }
}

/// Of which messages SAVE and MODSEQ speak (RFC 5182 2.4, RFC 4731 3.2): with only MIN or MAX of those alone.
fn chosen(returns: &[ReturnOption], found: &[u32]) -> Vec<u32> {
    let has = |option| returns.contains(&option);
    let edges = has(ReturnOption::Min) || has(ReturnOption::Max);
    if !edges || has(ReturnOption::All) || has(ReturnOption::Count) {
        return found.to_vec();
    }
    let first = found.first().filter(|_| has(ReturnOption::Min));
    let last = found.last().filter(|_| has(ReturnOption::Max));
    let mut numbers: Vec<u32> = first.into_iter().chain(last).copied().collect();
    numbers.dedup();
    numbers
}

/// A search under way.
struct Hunt {
    query: Query,
    keywords: Keywords,
    recent_from: u32,
    id: String,
    account: Arc<Account>,
    rows: Rows,
}

impl Hunt {
    /// Ranges of numbers of the messages that the index lets through. Where bodies would be read, the index is brought up
    /// first.
    async fn worth_reading(self: &Arc<Self>, mailbox: &str) -> Result<Vec<(u32, u32)>, MailboxError> {
        let filter = self.query.filter();
        let all = vec![(1, self.rows.len())];
        if filter == Filter::Any {
            return Ok(all);
        }
        let mut more = self.query.reads_bodies() && self.rows.len() > FEW;
        while more {
            let (hunt, mailbox) = (self.clone(), mailbox.to_owned());
            more = blocking(move || hunt.account.index_texts(&hunt.account.state(), &mailbox)).await?;
        }
        let hunt = self.clone();
        let candidates = blocking(move || hunt.account.candidates(&hunt.id, &filter)).await?;
        let known = candidates.uids.iter().filter_map(|uid| self.rows.find(*uid)).map(|(number, _)| number);
        let new = self.rows.first_from(candidates.from)..=self.rows.len();
        Ok(Set::from_sorted(known.take_while(|n| n < new.start()).chain(new.clone())).ranges().to_vec())
    }

    /// Looks at pieces of these ranges in two threads, in order.
    async fn share_out(self: &Arc<Self>, ranges: Vec<(u32, u32)>) -> Result<Vec<u32>, MailboxError> {
        let hunt = self.clone();
        let pieces = pieces(&self.rows, &ranges, |_| 1, PIECE);
        let mut under_way =
            InOrder::new(pieces, (THREADS, usize::MAX), move |piece| hunt.among(&piece.ranges));
        let mut found = Vec::new();
        while let Some(some) = under_way.next().await {
            found.extend(some??);
        }
        Ok(found)
    }

    /// The numbers of what matches within these ranges of numbers.
    fn among(&self, ranges: &[(u32, u32)]) -> Result<Vec<u32>, MailboxError> {
        let mut reader = Reader::new(&self.account, &self.id, Rows::default(), Vec::new(), Needs::Cached);
        let mut found = Vec::new();
        for (number, row) in self.rows.in_ranges(ranges) {
            let mut mail = Mail {
                hunt: self,
                reader: &mut reader,
                number,
                row,
                head: None,
                whole: None,
                texts: None,
                error: None,
            };
            if self.query.matches(&mut mail) {
                found.push(number);
            }
            if let Some(error) = mail.error {
                return Err(error);
            }
        }
        reader.end()?;
        Ok(found)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MailboxError> + Send + 'static,
) -> Result<T, MailboxError> {
    aside(work).await.ok_or(MailboxError::Stopping)?
}

/// A message of the mailbox, read as far as the search needs.
struct Mail<'a> {
    hunt: &'a Hunt,
    reader: &'a mut Reader,
    number: u32,
    row: &'a Row,
    head: Option<Head>,
    whole: Option<Bytes>,
    texts: Option<Vec<String>>,
    error: Option<MailboxError>,
}

impl Mail<'_> {
    fn head(&mut self) -> &Head {
        if self.head.is_none() {
            let head = self.reader.head(self.row).unwrap_or_else(|error| {
                self.error = Some(error);
                None
            });
            self.head = Some(head.unwrap_or_else(|| Head::of(b"")));
        }
        self.head.get_or_insert_with(|| Head::of(b""))
    }

    fn whole(&mut self) -> Bytes {
        if let Some(whole) = &self.whole {
            return whole.clone();
        }
        let whole = self.hunt.account.read_once(self.row).unwrap_or_else(|error| {
            self.error = Some(error);
            None
        });
        self.whole.insert(whole.unwrap_or_default()).clone()
    }
}

impl Candidate for Mail<'_> {
    fn number(&self) -> u32 {
        self.number
    }

    fn uid(&self) -> u32 {
        self.row.uid
    }

    fn has_flag(&self, flag: &str) -> bool {
        self.hunt.keywords.find(flag).is_some_and(|bit| bit != Flags(0) && self.row.flags.has(bit))
    }

    fn internal_date(&self) -> i64 {
        self.row.date
    }

    fn size(&self) -> u64 {
        u64::from(self.row.size)
    }

    fn modseq(&self) -> u64 {
        self.row.modseq
    }

    fn is_recent(&self) -> bool {
        self.row.uid >= self.hunt.recent_from
    }

    fn email_id(&self) -> String {
        email_id(self.row)
    }

    fn thread_id(&mut self) -> Option<String> {
        Some(thread_id(self.head().thread))
    }

    fn header(&mut self, field: Option<&str>) -> &[u8] {
        if field.is_some_and(|name| !Head::lacks(name)) {
            return &self.head().header;
        }
        self.whole();
        let raw = self.whole.as_deref().unwrap_or_default();
        &raw[..message::header_end(raw)]
    }

    fn body_texts(&mut self) -> &[String] {
        if self.texts.is_none() {
            self.texts = Some(message::lower_texts(&self.whole()));
        }
        self.texts.as_deref().unwrap_or_default()
    }
}

/// Messages that one thread looks at before it takes the next.
const PIECE: usize = 512;
/// Threads that look at a search's messages.
const THREADS: usize = 2;
/// So few messages are read without an index.
const FEW: u32 = 32;
