//! Opening and leaving a mailbox (RFC 3501 6.3.1, 6.4.2; RFC 7162 3.2.5 QRESYNC).

use super::{Answer, Done, Session, refused};
use crate::imap::grammar::{Qresync, Set};
use crate::mailbox::{Flags, Row, Rows, SYSTEM, Viewing};
use std::io;

/// The mailbox that a session has open.
pub(super) struct Selected {
    pub name: String,
    /// MAILBOXID: another mailbox of the same name is not this one.
    pub id: String,
    /// The messages that the client knows.
    pub rows: Rows,
    pub read_only: bool,
    /// UIDs from here on are \Recent in this session.
    pub recent_from: u32,
    /// What `$` stands for.
    pub saved: Vec<u32>,
    /// How many keywords the client was told.
    pub keywords_told: usize,
    _viewing: Viewing,
}

impl Session {
    pub(super) async fn select(
        &mut self,
        mailbox: &str,
        read_only: bool,
        condstore: bool,
        qresync: Option<Qresync>,
    ) -> Answer {
        if qresync.is_some() && !self.enabled.qresync {
            return Ok(Done::Bad("ENABLE QRESYNC first (RFC 7162 3.2.5)".into()));
        }
        if self.selected.is_some() {
            self.leave();
            self.output.untagged("OK [CLOSED] the mailbox before is closed");
        }
        self.enabled.condstore |= condstore;
        self.look_for_pushes().await;
        let account = self.account()?;
        let state = account.state();
        let Some(folder) = state.folders.get(mailbox) else {
            return Ok(refused(&crate::mailbox::MailboxError::NoSuchMailbox(mailbox.to_owned())));
        };
        let viewing = folder.view();
        let rows = match account.rows(mailbox).await {
            Ok(rows) => rows,
            Err(error) => return Ok(refused(&error)),
        };
        // Loading may have made another state.
        let state = account.state();
        let Some(folder) = state.folders.get(mailbox) else {
            return Ok(refused(&crate::mailbox::MailboxError::NoSuchMailbox(mailbox.to_owned())));
        };
        let rows = folder.rows.clone().unwrap_or(rows);
        let about = folder.about.clone();
        let recent_from = folder.take_recent(read_only);
        if self.enabled.rev2 {
            self.output.bytes().extend_from_slice(b"* LIST () \"/\" ");
            self.output.mailbox(mailbox);
            self.output.line("");
        }
        self.tell_flags(state.keywords.names(), read_only);
        self.output.untagged(format_args!("{} EXISTS", rows.len()));
        if !self.enabled.rev2 {
            let recent = rows.len() + 1 - rows.first_from(recent_from);
            self.output.untagged(format_args!("{recent} RECENT"));
            if let Some(at) = rows.iter().position(|row| !row.flags.has(Flags::SEEN)) {
                self.output.untagged(format_args!("OK [UNSEEN {}] the first unseen message", at + 1));
            }
        }
        self.output.untagged(format_args!("OK [UIDVALIDITY {}] UIDs are valid", about.uid_validity));
        self.output.untagged(format_args!("OK [UIDNEXT {}] the next UID", about.uid_next));
        self.output.untagged(format_args!("OK [HIGHESTMODSEQ {}] the highest mod-sequence", about.modseq));
        self.output.untagged(format_args!("OK [MAILBOXID ({})] it stays through renames", about.id));
        let known = qresync.filter(|known| known.uid_validity == about.uid_validity);
        self.selected = Some(Selected {
            name: mailbox.to_owned(),
            id: about.id,
            rows,
            read_only,
            recent_from,
            saved: Vec::new(),
            keywords_told: state.keywords.names().len(),
            _viewing: viewing,
        });
        if let Some(known) = known {
            self.resynchronise(&known, about.uid_next).await?;
        }
        let access = if read_only { "READ-ONLY" } else { "READ-WRITE" };
        Ok(Done::Ok(format!("[{access}] {mailbox} is open", mailbox = shown(mailbox))))
    }

    pub(super) fn tell_flags(&mut self, keywords: &[String], read_only: bool) {
        let mut all = SYSTEM.join(" ");
        for keyword in keywords {
            all.push(' ');
            all.push_str(keyword);
        }
        self.output.untagged(format_args!("FLAGS ({all})"));
        match read_only {
            true => self.output.untagged("OK [PERMANENTFLAGS ()] nothing may change"),
            false => self.output.untagged(format_args!("OK [PERMANENTFLAGS ({all} \\*)] flags are kept")),
        }
    }

    /// Tells what changed since the client last looked: what is gone, and the flags of what changed or came.
    async fn resynchronise(&mut self, known: &Qresync, uid_next: u32) -> io::Result<()> {
        let selected = self.selected()?;
        let rows = selected.rows.clone();
        let within = match &known.known_uids {
            Some(set) => set.resolve(uid_next.saturating_sub(1)),
            None => vec![(1, uid_next.saturating_sub(1))],
        };
        let gone = missing(&rows, &within, known_from(known, &rows));
        self.tell_vanished(&gone, true);
        let changed: Vec<(u32, Row)> = within
            .iter()
            .flat_map(|&(low, high)| rows.with_uids(low, high))
            .filter(|(_, row)| row.modseq > known.modseq)
            .map(|(n, row)| (n, *row))
            .collect();
        let after: Vec<(u32, Row)> = match &known.known_uids {
            // Messages above the highest known UID are new to the client.
            Some(_) => {
                let top = within.last().map_or(0, |(_, high)| *high);
                let newer = rows.with_uids(top.saturating_add(1), u32::MAX);
                newer.filter(|(_, row)| row.modseq > known.modseq).map(|(n, row)| (n, *row)).collect()
            }
            None => Vec::new(),
        };
        for (number, row) in changed.into_iter().chain(after) {
            self.tell_row(number, &row, true);
            self.output.relieve().await?;
        }
        Ok(())
    }

    /// `VANISHED`, with what is gone.
    pub(super) fn tell_vanished(&mut self, gone: &Set, earlier: bool) {
        if gone.is_empty() {
            return;
        }
        let out = self.output.bytes();
        out.extend_from_slice(if earlier { b"* VANISHED (EARLIER) " } else { b"* VANISHED " });
        gone.write(out);
        out.extend_from_slice(b"\r\n");
    }

    pub(super) async fn close(&mut self) -> Answer {
        let selected = self.selected()?;
        if !selected.read_only {
            let (name, rows) = (selected.name.clone(), selected.rows.clone());
            let deleted: Vec<u32> =
                rows.iter().filter(|row| row.flags.has(Flags::DELETED)).map(|row| row.uid).collect();
            if !deleted.is_empty()
                && let Err(error) = self.account()?.change(move |draft| draft.expunge(&name, &deleted)).await
            {
                return Ok(refused(&error));
            }
        }
        self.leave();
        Ok(Done::Ok("closed".into()))
    }

    /// Forgets the mailbox that is open; its rows are kept for a quick opening.
    pub(super) fn leave(&mut self) {
        if let (Some(selected), Some(user)) = (self.selected.take(), &self.user)
            && let Err(error) = user.account.keep_rows(&selected.name)
        {
            tracing::warn!(mailbox = selected.name, %error, "a mailbox's rows could not be kept; it will open slowly");
        }
    }
}

/// UIDs within these ranges that are not there. `from`: below it the client's samples show that it knows what is gone.
pub(super) fn missing(rows: &Rows, within: &[(u32, u32)], from: u32) -> Set {
    let mut gone = Vec::new();
    for &(low, high) in within {
        let mut next = low.max(from);
        if next > high {
            continue;
        }
        for (_, row) in rows.with_uids(next, high) {
            if row.uid > next {
                gone.push((next, row.uid - 1));
            }
            next = row.uid + 1;
        }
        if next <= high {
            gone.push((next, high));
        }
    }
    Set::from_ranges(gone)
}

/// The UID up to which the client's samples of numbers and UIDs still hold, plus one: nothing below is news to it (RFC
/// 7162 3.2.5.2).
fn known_from(known: &Qresync, rows: &Rows) -> u32 {
    let Some((numbers, uids)) = &known.samples else { return 1 };
    let each = |set: &Set| -> Vec<u32> {
        set.ranges().iter().flat_map(|&(low, high)| low..=high).take(SAMPLES_MAX).collect()
    };
    let pairs = each(numbers).into_iter().zip(each(uids));
    let holds = pairs.take_while(|(number, uid)| rows.at(*number).is_some_and(|row| row.uid == *uid));
    holds.last().map_or(1, |(_, uid)| uid.saturating_add(1))
}

/// A name in the text of a response, where it must not be long or strange.
fn shown(mailbox: &str) -> &str {
    if mailbox.is_ascii() && mailbox.len() < 100 { mailbox } else { "the mailbox" }
}

/// Samples that are looked at; clients send a few dozen.
const SAMPLES_MAX: usize = 10_000;
