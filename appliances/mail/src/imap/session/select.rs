//! Opening and leaving a mailbox (RFC 3501 6.3.1, 6.4.2; RFC 7162 3.2.5 QRESYNC).

use super::{Answer, Done, Session, refused};
use crate::imap::grammar::{Qresync, Set};
use crate::mailbox::layout::About;
use crate::mailbox::{Flags, MailboxError, Rows, SYSTEM, State, Viewing};
use std::io;

/// The mailbox that a session has open.
pub(super) struct Selected {
    pub name: String,
    /// Its name when it was opened.
    pub name_then: String,
    /// MAILBOXID: another mailbox of the same name is not this one.
    pub id: String,
    /// The messages that the client knows, once they are loaded.
    pub rows: Rows,
    /// The state that the client knows, as long as its rows are not loaded.
    pub unloaded: Option<Box<State>>,
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
        let viewing = match account.state().folder(mailbox) {
            Ok(folder) => folder.view(),
            Err(error) => return Ok(refused(&error)),
        };
        // A change that was made before the mark has been seen, or is seen now.
        let state = account.state();
        let folder = match state.folder(mailbox) {
            Ok(folder) => folder,
            Err(error) => return Ok(refused(&error)),
        };
        let about = folder.about.clone();
        let recent_from = folder.take_recent(read_only);
        self.selected = Some(Selected {
            name: mailbox.to_owned(),
            name_then: mailbox.to_owned(),
            id: about.id.clone(),
            rows: folder.rows().cloned().unwrap_or_default(),
            unloaded: folder.rows().is_none().then(|| Box::new(state.only(mailbox))),
            read_only,
            recent_from,
            saved: Vec::new(),
            keywords_told: state.keywords.names().len(),
            _viewing: viewing,
        });
        let known = qresync.filter(|known| known.uid_validity == about.uid_validity);
        if let Err(error) = self.tell_mailbox(&state, &about) {
            self.selected = None;
            return Ok(refused(&error));
        }
        if let Some(known) = known.filter(|known| known.modseq < about.modseq)
            && let Err(error) = self.resynchronise(&known, &state, about.uid_next).await?
        {
            self.selected = None;
            return Ok(refused(&error));
        }
        let access = if read_only { "READ-ONLY" } else { "READ-WRITE" };
        Ok(Done::Ok(format!("[{access}] {mailbox} is open", mailbox = shown(mailbox))))
    }

    /// What a client is told of a mailbox that it opens (RFC 3501 6.3.1, RFC 9051 6.3.2). Rows are loaded only where a
    /// number must be counted.
    fn tell_mailbox(&mut self, state: &State, about: &About) -> Result<(), MailboxError> {
        let Some(selected) = &self.selected else { return Ok(()) };
        let (name, read_only, recent_from) =
            (selected.name.clone(), selected.read_only, selected.recent_from);
        if self.enabled.rev2 {
            self.output.bytes().extend_from_slice(b"* LIST () \"/\" ");
            self.output.mailbox(&name);
            self.output.line("");
        }
        let is_counted = |n: u32| n == 0 || n == about.messages;
        if !self.enabled.rev2 && (recent_from < about.uid_next || !is_counted(about.unseen)) {
            self.load()?;
        }
        self.tell_flags(state.keywords.names(), read_only);
        self.output.untagged(format_args!("{} EXISTS", self.exists(about)));
        if !self.enabled.rev2 {
            let (recent, unseen) = self.first_looks(about);
            self.output.untagged(format_args!("{recent} RECENT"));
            if let Some(number) = unseen {
                self.output.untagged(format_args!("OK [UNSEEN {number}] the first unseen message"));
            }
        }
        self.output.untagged(format_args!("OK [UIDVALIDITY {}] UIDs are valid", about.uid_validity));
        self.output.untagged(format_args!("OK [UIDNEXT {}] the next UID", about.uid_next));
        self.output.untagged(format_args!("OK [HIGHESTMODSEQ {}] the highest mod-sequence", about.modseq));
        self.output.untagged(format_args!("OK [MAILBOXID ({})] it stays through renames", about.id));
        Ok(())
    }

    fn exists(&self, about: &About) -> u32 {
        match &self.selected {
            Some(selected) if selected.unloaded.is_none() => selected.rows.len(),
            _ => about.messages,
        }
    }

    /// How many messages are \Recent, and the number of the first that is not \Seen.
    fn first_looks(&self, about: &About) -> (u32, Option<u32>) {
        match &self.selected {
            Some(selected) if selected.unloaded.is_none() => {
                let rows = &selected.rows;
                let unseen = rows.iter().position(|row| !row.flags.has(Flags::SEEN));
                (rows.len() + 1 - rows.first_from(selected.recent_from), unseen.map(|at| at as u32 + 1))
            }
            _ => (0, (about.unseen > 0).then_some(1)),
        }
    }

    /// Loads the rows that the client knows, where they are not.
    pub(super) fn load(&mut self) -> Result<(), MailboxError> {
        let (Some(user), Some(selected)) = (&self.user, &mut self.selected) else { return Ok(()) };
        if let Some(state) = &selected.unloaded {
            selected.rows = user.account.rows_at(state, &selected.name_then)?;
            selected.unloaded = None;
        }
        Ok(())
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
    async fn resynchronise(
        &mut self,
        known: &Qresync,
        state: &State,
        uid_next: u32,
    ) -> io::Result<Result<(), MailboxError>> {
        if let Err(error) = self.load() {
            return Ok(Err(error));
        }
        let rows = self.selected()?.rows.clone();
        let top = uid_next.saturating_sub(1);
        let within = match &known.known_uids {
            Some(set) => set.resolve(top),
            None => vec![(1, top)],
        };
        let gone = match self.gone(state, &within, known.modseq, known_from(known, &rows)) {
            Ok(gone) => gone,
            Err(error) => return Ok(Err(error)),
        };
        self.tell_vanished(&gone, true);
        // Messages above the highest UID that the client knows are new to it.
        let highest = within.last().map_or(0, |(_, high)| *high);
        let newer = (known.known_uids.is_some() && highest < top).then_some((highest.saturating_add(1), top));
        for (low, high) in within.into_iter().chain(newer) {
            for (number, row) in rows.with_uids(low, high).filter(|(_, row)| row.modseq > known.modseq) {
                self.tell_row(number, row, true);
                self.output.relieve().await?;
            }
        }
        Ok(Ok(()))
    }

    /// UIDs within these ranges that vanished after a mod-sequence; all that are not there, where that is not known so far
    /// back (RFC 7162 3.2.6 allows it). Below `from` the client's samples show that it knows what is gone.
    pub(super) fn gone(
        &mut self,
        state: &State,
        within: &[(u32, u32)],
        modseq: u64,
        from: u32,
    ) -> Result<Set, MailboxError> {
        let (Some(user), Some(selected)) = (&self.user, &self.selected) else {
            return Ok(Set::from_ranges(Vec::new()));
        };
        let Some(mut gone) = user.account.gone_after(state, &selected.name_then, modseq)? else {
            return Ok(missing(&selected.rows, within, from));
        };
        gone.sort_unstable();
        let mut asked = Vec::new();
        let mut next = 0;
        for (low, high) in gone {
            // Ranges may overlap; each UID is told once.
            let low = low.max(next);
            next = next.max(high.saturating_add(1));
            let first = within.partition_point(|(_, end)| *end < low);
            let inside = within[first..].iter().take_while(|(start, _)| *start <= high);
            asked.extend(inside.map(|(a, b)| (low.max(*a), high.min(*b))).filter(|(a, b)| a <= b));
        }
        Ok(missing(&selected.rows, &asked, from))
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
            if !deleted.is_empty() {
                let done = self.account()?.change(move |draft| draft.expunge_deleted(&name, &deleted)).await;
                if let Err(error) = done {
                    return Ok(refused(&error));
                }
            }
        }
        let modseq = self.highest_modseq()?;
        self.leave();
        Ok(Done::Ok(match self.enabled.qresync {
            true => format!("[HIGHESTMODSEQ {modseq}] closed"),
            false => "closed".into(),
        }))
    }

    /// Forgets the mailbox that is open.
    pub(super) fn leave(&mut self) {
        self.selected = None;
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
