//! STORE, COPY, MOVE, EXPUNGE (RFC 3501 6.4.6, 6.4.7, 6.4.3; RFC 4315; RFC 6851; RFC 7162 3.1.3).

use super::{Answer, Done, Next, Session, refused};
use crate::imap::grammar::{FlagsAction, Set, SetOrSaved, Store};
use crate::mailbox::{Added, Begun, FlagChange, Flags, MailboxError, StoreOutcome};
use std::io;

/// A STORE that the account's writer has, and that is not on the disk yet.
pub(super) struct Stored {
    tag: String,
    uid: bool,
    silent: bool,
    uids: Vec<u32>,
    outcome: Begun<StoreOutcome>,
}

impl Session {
    /// Begins a STORE. What else the client has sent may begin too before any of it is answered, so that STOREs that come
    /// together share a flush.
    pub(super) async fn store(&mut self, tag: String, store: Store) -> io::Result<Next> {
        let by_number = !store.uid;
        let begun = match self.load() {
            Ok(()) => self.begin_store(&tag, store).await?,
            Err(error) => Err(refused(&error)),
        };
        match begun {
            Ok(stored) => self.stored.push(stored),
            Err(done) => {
                if self.settle().await? == Next::Close {
                    return Ok(Next::Close);
                }
                return self.answer(&tag, done, !by_number).await;
            }
        }
        if self.stored.len() < STORES_AT_ONCE { Ok(Next::Go) } else { self.settle().await }
    }

    async fn begin_store(&mut self, tag: &str, store: Store) -> io::Result<Result<Stored, Done>> {
        if store.unchanged_since.is_some() {
            self.enabled.condstore = true;
        }
        let uids = self.uids_of(store.uid, &store.set)?;
        let selected = self.selected()?;
        if selected.read_only {
            return Ok(Err(Done::No("[READ-ONLY] the mailbox was opened by EXAMINE".into())));
        }
        let mailbox = selected.name.clone();
        let flags: Vec<String> =
            store.flags.into_iter().filter(|f| !f.eq_ignore_ascii_case("\\Recent")).collect();
        if let Some(unknown) = flags.iter().find(|flag| is_unknown(flag)) {
            return Ok(Err(Done::Bad(format!("{unknown} is no flag"))));
        }
        let change = match store.action {
            FlagsAction::Replace => FlagChange::Replace(flags),
            FlagsAction::Add => FlagChange::Add(flags),
            FlagsAction::Remove => FlagChange::Remove(flags),
        };
        let (asked, since) = (uids.clone(), store.unchanged_since);
        let account = self.account()?;
        let begun = account.begin(move |draft| draft.store_flags(&mailbox, &asked, &change, since)).await;
        let stored =
            |outcome| Stored { tag: tag.into(), uid: store.uid, silent: store.silent, uids, outcome };
        Ok(begun.map(stored).map_err(|error| refused(&error)))
    }

    /// Answers the STOREs that were begun, in order, once each is on the disk.
    pub async fn settle(&mut self) -> io::Result<Next> {
        let mut ended = Vec::with_capacity(self.stored.len());
        for Stored { tag, uid, silent, uids, outcome } in std::mem::take(&mut self.stored) {
            ended.push((tag, uid, silent, uids, outcome.end().await));
        }
        let own: Vec<u64> = ended.iter().filter_map(|e| e.4.as_ref().ok()).map(|o| o.modseq).collect();
        for (tag, uid, silent, uids, outcome) in ended {
            let done = match outcome {
                Ok(outcome) => self.tell_outcome(uid, silent, &uids, &outcome, &own).await?,
                Err(error) => refused(&error),
            };
            if self.answer(&tag, done, uid).await? == Next::Close {
                return Ok(Next::Close);
            }
        }
        Ok(Next::Go)
    }

    async fn tell_outcome(
        &mut self,
        uid: bool,
        silent: bool,
        uids: &[u32],
        outcome: &StoreOutcome,
        own: &[u64],
    ) -> Answer {
        self.know(uids, own);
        self.tell_keywords();
        self.tell_stored(uids, &outcome.modified, silent, uid).await?;
        if outcome.modified.is_empty() {
            return Ok(Done::Ok("done".into()));
        }
        let modified = self.numbers(uid, &outcome.modified)?;
        Ok(Done::Ok(format!("[MODIFIED {modified}] some had changed meanwhile and were left alone")))
    }

    /// The new flags of all messages of the set; with `.SILENT` only mod-sequences, and those only to who knows them.
    async fn tell_stored(
        &mut self,
        uids: &[u32],
        left_alone: &[u32],
        silent: bool,
        with_uid: bool,
    ) -> std::io::Result<()> {
        let rows = self.selected()?.rows.clone();
        let with_uid = with_uid || self.enabled.qresync;
        for uid in uids {
            let Some((number, row)) = rows.find(*uid) else { continue };
            if left_alone.binary_search(uid).is_ok() {
                continue;
            }
            if !silent {
                self.tell_row(number, row, with_uid);
            } else if self.enabled.condstore {
                let uid = if with_uid { format!("UID {uid} ") } else { String::new() };
                self.output.untagged(format_args!("{number} FETCH ({uid}MODSEQ ({}))", row.modseq));
            }
            self.output.relieve().await?;
        }
        Ok(())
    }

    /// UIDs as this client wants to read them: as UIDs, or as its numbers.
    fn numbers(&mut self, uid: bool, uids: &[u32]) -> std::io::Result<String> {
        let rows = self.selected()?.rows.clone();
        let set = match uid {
            true => Set::from_sorted(uids.iter().copied()),
            false => {
                Set::from_sorted(uids.iter().filter_map(|uid| rows.find(*uid)).map(|(number, _)| number))
            }
        };
        Ok(written(&set))
    }

    pub(super) async fn copy(&mut self, uid: bool, set: SetOrSaved, to: &str) -> Answer {
        let uids = self.uids_of(uid, &set)?;
        if uids.is_empty() {
            return Ok(Done::Ok("no message was meant".into()));
        }
        let (from, to, quota) = (self.selected()?.name.clone(), to.to_owned(), self.context.quota_bytes);
        let account = self.account()?;
        match account.change(move |draft| draft.copy(&from, &uids, &to, quota)).await {
            Ok(added) if added.to.is_empty() => Ok(Done::Ok("no message was there".into())),
            Ok(added) => Ok(Done::Ok(format!("[{}] copied", copy_uid(&added)))),
            Err(error) => Ok(no_such_target(&error)),
        }
    }

    pub(super) async fn move_to(&mut self, uid: bool, set: SetOrSaved, to: &str) -> Answer {
        let uids = self.uids_of(uid, &set)?;
        let selected = self.selected()?;
        if selected.read_only {
            return Ok(Done::No("[READ-ONLY] the mailbox was opened by EXAMINE".into()));
        }
        if uids.is_empty() {
            return Ok(Done::Ok("no message was meant".into()));
        }
        let (from, to) = (selected.name.clone(), to.to_owned());
        let account = self.account()?;
        match account.change(move |draft| draft.move_to(&from, &uids, &to)).await {
            Ok(added) if added.to.is_empty() => Ok(Done::Ok("no message was there".into())),
            Ok(added) => {
                // Told before the messages go (RFC 6851 4.3).
                self.output.untagged(format_args!("OK [{}] moved", copy_uid(&added)));
                Ok(Done::Ok(format!("{}done", self.highest_modseq_code()?)))
            }
            Err(error) => Ok(no_such_target(&error)),
        }
    }

    pub(super) async fn expunge(&mut self, uids: Option<SetOrSaved>) -> Answer {
        let all = SetOrSaved::Set(Set::from_ranges(vec![(1, Set::STAR)]));
        let ranges = self.numbers_of(true, &uids.unwrap_or(all))?;
        let selected = self.selected()?;
        if selected.read_only {
            return Ok(Done::No("[READ-ONLY] the mailbox was opened by EXAMINE".into()));
        }
        let mailbox = selected.name.clone();
        let meant = selected.rows.in_ranges(&ranges).map(|(_, row)| row);
        let deleted: Vec<u32> =
            meant.filter(|row| row.flags.has(Flags::DELETED)).map(|row| row.uid).collect();
        let account = self.account()?;
        match account.change(move |draft| draft.expunge_deleted(&mailbox, &deleted)).await {
            Ok(_) => Ok(Done::Ok(format!("{}expunged", self.highest_modseq_code()?))),
            Err(error) => Ok(refused(&error)),
        }
    }

    /// `[HIGHESTMODSEQ n] `, for clients that keep it (RFC 7162 3.2.7).
    fn highest_modseq_code(&mut self) -> std::io::Result<String> {
        match self.enabled.qresync {
            true => Ok(format!("[HIGHESTMODSEQ {}] ", self.highest_modseq()?)),
            false => Ok(String::new()),
        }
    }

    /// HIGHESTMODSEQ of the open mailbox.
    pub(super) fn highest_modseq(&mut self) -> std::io::Result<u64> {
        let state = self.account()?.state();
        Ok(state.folders.get(&self.selected()?.name).map_or(1, |folder| folder.about.modseq))
    }
}

/// A flag with a backslash that IMAP does not have. \Recent is passed over where it is given.
pub(super) fn is_unknown(flag: &str) -> bool {
    let known = |known: &&str| known.eq_ignore_ascii_case(flag);
    flag.starts_with('\\') && !crate::mailbox::SYSTEM.iter().chain(&["\\Recent"]).any(known)
}

/// `COPYUID validity from to` (RFC 4315 3).
fn copy_uid(added: &Added) -> String {
    let set = |uids: &[u32]| written(&Set::from_sorted(uids.iter().copied()));
    format!("COPYUID {} {} {}", added.uid_validity, set(&added.from), set(&added.to))
}

/// STOREs that are begun before any of them is answered.
const STORES_AT_ONCE: usize = 64;

pub(super) fn written(set: &Set) -> String {
    let mut out = Vec::new();
    set.write(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// A target that is not there may be made (RFC 3501 6.4.7).
pub(super) fn no_such_target(error: &MailboxError) -> Done {
    match error {
        MailboxError::NoSuchMailbox(_) => Done::No(format!("[TRYCREATE] {error}")),
        other => refused(other),
    }
}
