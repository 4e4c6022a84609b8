//! FETCH (RFC 3501 6.4.5; RFC 7162 3.1.4.1, 3.2.6).

use super::select::missing;
use super::{Answer, Done, Session, refused};
use crate::imap::grammar::{Fetch, FetchItem, Set, SetOrSaved};
use crate::imap::render::{self, Content, Facts, Needs};
use crate::mailbox::{Account, FlagChange, Flags, Head, Keywords, MailboxError, Row};
use bytes::Bytes;

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
        if fetch.vanished {
            self.tell_missing(&fetch.set)?;
        }
        let mut rows = self.rows_of(fetch.uid, &fetch.set)?;
        if let Some(since) = fetch.changed_since {
            rows.retain(|(_, row)| row.modseq > since);
        }
        if fetch.items.iter().any(FetchItem::sets_seen)
            && let Err(error) = self.set_seen(&mut rows, &mut fetch.items).await
        {
            return Ok(refused(&error));
        }
        self.write_rows(&fetch, &rows).await
    }

    async fn write_rows(&mut self, fetch: &Fetch, rows: &[(u32, Row)]) -> Answer {
        let account = self.account()?;
        let keywords = account.state().keywords.clone();
        let needs = render::needs(&fetch.items);
        let uid = fetch.uid || self.enabled.qresync && fetch.items.contains(&FetchItem::Flags);
        let mut unknown = false;
        for (number, row) in rows {
            let read = match Read::of(&account, row, needs) {
                Ok(Some(read)) => read,
                Ok(None) => continue,
                Err(error) => return Ok(refused(&error)),
            };
            let flags = flags_text(&keywords, row, self.recent(row));
            let email_id = email_id(row);
            let facts = Facts {
                uid: row.uid,
                flags: &flags,
                modseq: row.modseq,
                internal_date: row.date,
                size: u64::from(row.size),
                email_id: &email_id,
                thread_id: None,
            };
            unknown |=
                render::write_fetch(self.output.bytes(), *number, uid, &fetch.items, &facts, &read.content())
                    .is_err();
            self.output.relieve().await?;
        }
        Ok(match unknown {
            true => Done::No("[UNKNOWN-CTE] a part is encoded in a way that is not known".into()),
            false => Done::Ok("done".into()),
        })
    }

    /// Sets \Seen on what is about to be read, in one commit, and tells it with the response.
    async fn set_seen(
        &mut self,
        rows: &mut [(u32, Row)],
        items: &mut Vec<FetchItem>,
    ) -> Result<(), MailboxError> {
        let (Ok(selected), true) = (self.selected(), true) else { return Ok(()) };
        let unseen: Vec<u32> =
            rows.iter().filter(|(_, row)| !row.flags.has(Flags::SEEN)).map(|(_, row)| row.uid).collect();
        if selected.read_only || unseen.is_empty() {
            return Ok(());
        }
        let mailbox = selected.name.clone();
        let Ok(account) = self.account() else { return Ok(()) };
        let uids = unseen.clone();
        let seen = FlagChange::Add(vec!["\\Seen".to_owned()]);
        let outcome = account.change(move |draft| draft.store_flags(&mailbox, &uids, &seen, None)).await?;
        self.know(&unseen, outcome.modseq);
        if let Ok(selected) = self.selected() {
            for (_, row) in rows.iter_mut() {
                if let Some((_, new)) = selected.rows.find(row.uid) {
                    *row = *new;
                }
            }
        }
        if !items.contains(&FetchItem::Flags) {
            items.push(FetchItem::Flags);
        }
        Ok(())
    }

    /// Takes over our own change of these messages, so that it is not told as another's.
    pub(super) fn know(&mut self, uids: &[u32], modseq: u64) {
        let Ok(account) = self.account() else { return };
        let Ok(selected) = self.selected() else { return };
        let state = account.state();
        let Some(new) = state.folders.get(&selected.name).and_then(|folder| folder.rows.as_ref()) else {
            return;
        };
        let ours = |row: &Row| new.find(row.uid).map(|(_, new)| *new).filter(|new| new.modseq == modseq);
        selected.rows = selected.rows.changed(uids, |row| Some(ours(row).unwrap_or(*row)));
        if selected.rows.differences(new).is_empty() {
            selected.rows = new.clone();
        }
    }

    /// `VANISHED (EARLIER)`: what of a set of UIDs is not there.
    fn tell_missing(&mut self, set: &SetOrSaved) -> std::io::Result<()> {
        let SetOrSaved::Set(set) = set else { return Ok(()) };
        let account = self.account()?;
        let selected = self.selected()?;
        let top = account.state().folders.get(&selected.name).map_or(1, |folder| folder.about.uid_next) - 1;
        let within: Vec<(u32, u32)> = set
            .resolve(top)
            .into_iter()
            .filter(|(low, _)| *low <= top)
            .map(|(low, high)| (low, high.min(top)))
            .collect();
        let gone: Set = missing(&selected.rows, &within, 1);
        self.tell_vanished(&gone, true);
        Ok(())
    }
}

/// What was read of a message to answer.
enum Read {
    Nothing,
    Head(Head),
    Whole(Bytes),
}

impl Read {
    /// Nothing where the message was forgotten meanwhile.
    fn of(account: &Account, row: &Row, needs: Needs) -> Result<Option<Read>, MailboxError> {
        match needs {
            Needs::Facts => Ok(Some(Read::Nothing)),
            Needs::Cached | Needs::Header => Ok(account.head(row)?.map(Read::Head)),
            Needs::Message => Ok(account.read(row)?.map(Read::Whole)),
        }
    }

    fn content(&self) -> Content<'_> {
        match self {
            Read::Nothing => Content::default(),
            Read::Head(head) => {
                Content { header: Some(&head.header), structure: Some(&head.structure), ..Content::default() }
            }
            Read::Whole(raw) => Content { raw: Some(raw), ..Content::default() },
        }
    }
}

fn flags_text(keywords: &Keywords, row: &Row, recent: &str) -> String {
    let mut flags = keywords.text(row.flags);
    if !recent.is_empty() {
        if !flags.is_empty() {
            flags.push(' ');
        }
        flags.push_str(recent);
    }
    flags
}

/// EMAILID: the blob's id, so equal bytes have equal ids wherever they are (RFC 8474 4).
pub(super) fn email_id(row: &Row) -> String {
    format!("M{}", row.blob)
}
