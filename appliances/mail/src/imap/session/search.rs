//! SEARCH (RFC 3501 6.4.4, RFC 4731, 5182).

use super::fetch::email_id;
use super::flags::written;
use super::{Answer, Done, Session, refused};
use crate::imap::grammar::{ReturnOption, Search, Set};
use crate::imap::matching::{Candidate, Query, Scope};
use crate::mailbox::{Account, Flags, Keywords, MailboxError, Row};
use crate::message;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

impl Session {
    pub(super) async fn search(&mut self, search: Search) -> Answer {
        if search.charset.as_deref().is_some_and(|c| c != "UTF-8" && c != "US-ASCII") {
            return Ok(Done::No("[BADCHARSET (UTF-8 US-ASCII)] only these charsets are known".into()));
        }
        let wants_modseq = search.key.wants_modseq();
        self.enabled.condstore |= wants_modseq;
        let account = self.account()?;
        let selected = self.selected()?;
        let rows = selected.rows.clone();
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
        let uid_max = rows.at(rows.len()).map_or(0, |row| row.uid);
        let query =
            Query::new(&search.key, Scope { messages: rows.len(), uid_max, saved: &selected.saved, now_s });
        let recent_from = selected.recent_from;
        let state = account.state();
        let mut found: Vec<(u32, Row)> = Vec::new();
        for (number, row) in rows.numbered(1, rows.len()) {
            let mut mail = Mail {
                account: &account,
                keywords: &state.keywords,
                number,
                row,
                recent_from,
                header: None,
                text: None,
                error: None,
            };
            if query.matches(&mut mail) {
                found.push((number, *row));
            }
            if let Some(error) = mail.error {
                return Ok(refused(&error));
            }
            if !query.is_cheap() && number.is_multiple_of(MESSAGES_BETWEEN_YIELDS) {
                tokio::task::yield_now().await;
            }
        }
        self.tell_found(&search, &found, wants_modseq)
    }

    fn tell_found(&mut self, search: &Search, found: &[(u32, Row)], wants_modseq: bool) -> Answer {
        let numbers: Vec<u32> =
            found.iter().map(|(number, row)| if search.uid { row.uid } else { *number }).collect();
        let modseq = found.iter().map(|(_, row)| row.modseq).max().filter(|_| wants_modseq);
        let rev2 = self.enabled.rev2;
        let Some(returns) = search.returns.clone().or(rev2.then(|| vec![ReturnOption::All])) else {
            self.tell_plainly(&numbers, modseq);
            return Ok(Done::Ok("done".into()));
        };
        if returns.contains(&ReturnOption::Save) {
            self.selected()?.saved = saved(&returns, found);
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

/// What `$` stands for after a search with SAVE (RFC 5182 2.4): with only MIN or MAX those alone.
fn saved(returns: &[ReturnOption], found: &[(u32, Row)]) -> Vec<u32> {
    let has = |option| returns.contains(&option);
    let edges = has(ReturnOption::Min) || has(ReturnOption::Max);
    if !edges || has(ReturnOption::All) || has(ReturnOption::Count) {
        return found.iter().map(|(_, row)| row.uid).collect();
    }
    let first = found.first().filter(|_| has(ReturnOption::Min));
    let last = found.last().filter(|_| has(ReturnOption::Max));
    let mut uids: Vec<u32> = first.into_iter().chain(last).map(|(_, row)| row.uid).collect();
    uids.dedup();
    uids
}

/// A message of the mailbox, read as far as the search needs.
struct Mail<'a> {
    account: &'a Arc<Account>,
    keywords: &'a Keywords,
    number: u32,
    row: &'a Row,
    recent_from: u32,
    header: Option<Vec<u8>>,
    text: Option<String>,
    error: Option<MailboxError>,
}

impl Candidate for Mail<'_> {
    fn number(&self) -> u32 {
        self.number
    }

    fn uid(&self) -> u32 {
        self.row.uid
    }

    fn has_flag(&self, flag: &str) -> bool {
        self.keywords.find(flag).is_some_and(|bit| bit != Flags(0) && self.row.flags.has(bit))
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
        self.row.uid >= self.recent_from
    }

    fn email_id(&self) -> String {
        email_id(self.row)
    }

    fn thread_id(&self) -> Option<String> {
        None
    }

    fn header(&mut self) -> &[u8] {
        if self.header.is_none() {
            self.header = match self.account.head(self.row) {
                Ok(head) => Some(head.map(|head| head.header).unwrap_or_default()),
                Err(error) => {
                    self.error = Some(error);
                    Some(Vec::new())
                }
            };
        }
        self.header.as_deref().unwrap_or_default()
    }

    fn body_text(&mut self) -> &str {
        if self.text.is_none() {
            self.text = match self.account.read(self.row) {
                Ok(raw) => Some(
                    raw.map(|raw| message::searchable_text(&raw, false).to_lowercase()).unwrap_or_default(),
                ),
                Err(error) => {
                    self.error = Some(error);
                    Some(String::new())
                }
            };
        }
        self.text.as_deref().unwrap_or_default()
    }
}

/// A search that reads messages lets others go on this often.
const MESSAGES_BETWEEN_YIELDS: u32 = 32;
