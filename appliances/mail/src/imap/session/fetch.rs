//! FETCH (RFC 3501 6.4.5; RFC 7162 3.1.4.1, 3.2.6).

use super::in_order::{InOrder, Piece, pieces};
use super::reader::{Read, Reader};
use super::{Answer, Done, Session, refused};
use crate::imap::grammar::{Fetch, FetchItem, Set, SetOrSaved};
use crate::imap::render::{self, Facts, Needs};
use crate::mailbox::{Account, FlagChange, Flags, Keywords, MailboxError, Row, Rows};
use std::io;
use std::sync::Arc;

impl Session {
    pub(super) async fn fetch(&mut self, mut fetch: Fetch) -> Answer {
        if fetch.vanished && !self.enabled.qresync {
            return Ok(Done::Bad("ENABLE QRESYNC first (RFC 7162 3.2.6)".into()));
        }
        if fetch.changed_since.is_some() || fetch.items.contains(&FetchItem::ModSeq) {
            self.enabled.condstore = true;
        }
        if fetch.changed_since.is_some() && !fetch.items.contains(&FetchItem::ModSeq) {
            fetch.items.push(FetchItem::ModSeq);
        }
        let mut ranges = self.numbers_of(fetch.uid, &fetch.set)?;
        if let Some(since) = fetch.changed_since {
            if fetch.vanished
                && let Err(error) = self.tell_missing(&fetch.set, since)
            {
                return Ok(refused(&error));
            }
            let rows = &self.selected()?.rows;
            let changed = rows.in_ranges(&ranges).filter(|(_, row)| row.modseq > since);
            ranges = Set::from_sorted(changed.map(|(number, _)| number)).ranges().to_vec();
        }
        if fetch.items.iter().any(FetchItem::sets_seen)
            && let Err(error) = self.set_seen(&ranges, &mut fetch.items).await
        {
            return Ok(refused(&error));
        }
        self.write_rows(&fetch, ranges).await
    }

    async fn write_rows(&mut self, fetch: &Fetch, ranges: Vec<(u32, u32)>) -> Answer {
        let account = self.account()?;
        let keywords = account.state().keywords.clone();
        let rev2 = self.enabled.rev2;
        let uid = fetch.uid || self.enabled.qresync && fetch.items.contains(&FetchItem::Flags);
        let selected = self.selected()?;
        let (rows, id, recent_from) = (selected.rows.clone(), selected.id.clone(), selected.recent_from);
        let flags = FlagsText { keywords, recent_from, rev2, last: None };
        let mut writer = Writer { items: fetch.items.clone(), uid, flags, unknown: false };
        let needs = render::needs(&fetch.items);
        let many = ranges.iter().map(|(low, high)| high - low + 1).sum::<u32>() > FEW;
        let (unknown, failed) = match needs {
            Needs::WholeHeader | Needs::Message if many => {
                self.write_messages(writer, &account, rows, &ranges, needs).await?
            }
            _ => {
                let mut reader = Reader::new(&account, &id, rows, ranges, needs);
                let failed = loop {
                    match reader.next() {
                        Some(Ok((number, row, read))) => {
                            writer.write(self.output.bytes(), number, &row, &read);
                            self.output.relieve().await?;
                        }
                        Some(Err(error)) => break Some(error),
                        None => break None,
                    }
                };
                if let Err(error) = reader.end() {
                    tracing::warn!(%error, "what was computed of messages could not be kept; it will be computed again");
                }
                (writer.unknown, failed)
            }
        };
        Ok(match failed {
            Some(error) => refused(&error),
            None if unknown => Done::No("[UNKNOWN-CTE] a part is encoded in a way that is not known".into()),
            None => Done::Ok("done".into()),
        })
    }

    /// Whole messages, or their headers: other threads read them and write the responses, while those before are on their
    /// way to the client.
    async fn write_messages(
        &mut self,
        writer: Writer,
        account: &Arc<Account>,
        rows: Rows,
        ranges: &[(u32, u32)],
        needs: Needs,
    ) -> io::Result<(bool, Option<MailboxError>)> {
        let weight = move |row: &Row| match needs {
            Needs::WholeHeader => HEADER_BYTES.min(row.size as usize) + RESPONSE_BYTES,
            _ => row.size as usize + RESPONSE_BYTES,
        };
        let pieces = pieces(&rows, ranges, weight, PIECE_BYTES);
        let account = account.clone();
        let work = move |piece: &Piece| {
            let mut writer = writer.clone();
            let mut out = Vec::with_capacity(piece.weight);
            for (number, row) in rows.in_ranges(&piece.ranges) {
                match Read::whole(&account, row, needs, true) {
                    Ok(Some(read)) => writer.write(&mut out, number, row, &read),
                    Ok(None) => {}
                    Err(error) => return (out, writer.unknown, Some(error)),
                }
            }
            (out, writer.unknown, None)
        };
        let mut written = InOrder::new(pieces, (PIECES_MAX, PIECES_MAX * 2 * PIECE_BYTES), work);
        let mut unknown = false;
        while let Some(piece) = written.next().await {
            let (responses, some_unknown, failed) = match piece {
                Ok(piece) => piece,
                Err(error) => return Ok((unknown, Some(error))),
            };
            unknown |= some_unknown;
            self.output.send_all(&responses).await?;
            if failed.is_some() {
                return Ok((unknown, failed));
            }
        }
        Ok((unknown, None))
    }

    /// Sets \Seen on what is about to be read, in one commit, and tells it with the response.
    async fn set_seen(
        &mut self,
        ranges: &[(u32, u32)],
        items: &mut Vec<FetchItem>,
    ) -> Result<(), MailboxError> {
        let Some(selected) = self.selected.as_ref().filter(|selected| !selected.read_only) else {
            return Ok(());
        };
        let unseen: Vec<u32> = selected
            .rows
            .in_ranges(ranges)
            .filter(|(_, row)| !row.flags.has(Flags::SEEN))
            .map(|(_, row)| row.uid)
            .collect();
        if unseen.is_empty() {
            return Ok(());
        }
        let mailbox = selected.name.clone();
        let Ok(account) = self.account() else { return Ok(()) };
        let uids = unseen.clone();
        let seen = FlagChange::Add(vec!["\\Seen".to_owned()]);
        let outcome = account.change(move |draft| draft.store_flags(&mailbox, &uids, &seen, None)).await?;
        self.know(&unseen, &[outcome.modseq]);
        if !items.contains(&FetchItem::Flags) {
            items.push(FetchItem::Flags);
        }
        Ok(())
    }

    /// Takes over our own changes of these messages, which have these mod-sequences, so that they are not told as another's.
    pub(super) fn know(&mut self, uids: &[u32], own: &[u64]) {
        let Ok(account) = self.account() else { return };
        let Ok(selected) = self.selected() else { return };
        let state = account.state();
        let Ok(new) = account.rows_at(&state, &selected.name) else { return };
        let ours = |row: &Row| new.find(row.uid).map(|(_, new)| *new).filter(|new| own.contains(&new.modseq));
        selected.rows = selected.rows.changed(uids, |row| Some(ours(row).unwrap_or(*row)));
        if selected.rows.differences(&new).is_empty() {
            selected.rows = new;
        }
    }

    /// `VANISHED (EARLIER)`: what of a set of UIDs vanished after a mod-sequence.
    fn tell_missing(&mut self, set: &SetOrSaved, since: u64) -> Result<(), MailboxError> {
        let SetOrSaved::Set(set) = set else { return Ok(()) };
        let (Ok(account), Ok(selected)) = (self.account(), self.selected()) else { return Ok(()) };
        let state = account.state();
        let top = state.folder(&selected.name)?.about.uid_next - 1;
        let inside = |(low, high): (u32, u32)| (low <= top).then_some((low, high.min(top)));
        let within: Vec<(u32, u32)> = set.resolve(top).into_iter().filter_map(inside).collect();
        let gone = self.gone(&state, &within, since, 1)?;
        self.tell_vanished(&gone, true);
        Ok(())
    }
}

/// Writes the response of one message after the other.
#[derive(Clone)]
struct Writer {
    items: Vec<FetchItem>,
    /// The UID is told even when it was not asked for.
    uid: bool,
    flags: FlagsText,
    /// A message was left out: what was asked of it is encoded in an unknown way.
    unknown: bool,
}

impl Writer {
    fn write(&mut self, out: &mut Vec<u8>, number: u32, row: &Row, read: &Read) {
        let wants = |item| self.items.contains(&item);
        let email_id = if wants(FetchItem::EmailId) { email_id(row) } else { String::new() };
        let thread_id = if wants(FetchItem::ThreadId) { read.thread().map(thread_id) } else { None };
        let facts = Facts {
            uid: row.uid,
            flags: self.flags.of(row),
            modseq: row.modseq,
            internal_date: row.date,
            size: u64::from(row.size),
            email_id: &email_id,
            thread_id: thread_id.as_deref(),
        };
        let written = render::write_fetch(out, number, self.uid, &self.items, &facts, &read.content());
        self.unknown |= written.is_err();
    }
}

/// Flags as they are written; most messages have those of the message before.
#[derive(Clone)]
struct FlagsText {
    keywords: Keywords,
    recent_from: u32,
    rev2: bool,
    last: Option<(Flags, bool, String)>,
}

impl FlagsText {
    fn of(&mut self, row: &Row) -> &str {
        let recent = row.uid >= self.recent_from && !self.rev2;
        if !matches!(&self.last, Some((flags, was, _)) if *flags == row.flags && *was == recent) {
            let mut text = self.keywords.text(row.flags);
            if recent {
                text.push_str(if text.is_empty() { "\\Recent" } else { " \\Recent" });
            }
            self.last = Some((row.flags, recent, text));
        }
        self.last.as_ref().map_or("", |(_, _, text)| text.as_str())
    }
}

/// EMAILID: the blob's id, so equal bytes have equal ids wherever they are (RFC 8474 4).
pub(super) fn email_id(row: &Row) -> String {
    format!("M{}", row.blob)
}

/// THREADID.
pub(super) fn thread_id(thread: u64) -> String {
    format!("T{thread:016x}")
}

/// Messages that are read one by one, without other threads.
const FEW: u32 = 4;
/// Bytes of responses that one thread makes at a time.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces that are made at a time, beside the one that is on its way: two threads that never wait for each other.
const PIECES_MAX: usize = 3;
/// A response without its message, and a header, are about so long.
const RESPONSE_BYTES: usize = 100;
const HEADER_BYTES: usize = 2 << 10;
