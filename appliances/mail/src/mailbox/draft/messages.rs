//! Messages that come, change, are copied, move and go.

use super::{Draft, file_name};
use crate::mailbox::error::MailboxError;
use crate::mailbox::flags::Flags;
use crate::mailbox::heads::{self, Heads};
use crate::mailbox::incoming::Incoming;
use crate::mailbox::layout::About;
use crate::mailbox::rows::Row;
use crate::mailbox::{name, table};
use store::{Entry, Mode, TreePath};

/// Where messages went: what APPENDUID and COPYUID tell (RFC 4315).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Added {
    /// UIDVALIDITY of the mailbox.
    pub uid_validity: u32,
    /// UIDs that were copied, in order; empty for new messages.
    pub from: Vec<u32>,
    /// Their UIDs now.
    pub to: Vec<u32>,
}

/// What STORE does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlagChange {
    /// Exactly these.
    Replace(Vec<String>),
    /// These too.
    Add(Vec<String>),
    /// Without these.
    Remove(Vec<String>),
}

/// What STORE did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreOutcome {
    /// UIDs that had been changed after UNCHANGEDSINCE and were left alone (RFC 7162 3.1.3).
    pub modified: Vec<u32>,
    /// The mod-sequence of the change; zero where nothing changed.
    pub modseq: u64,
}

impl Draft<'_> {
    /// Puts new messages into a mailbox, all or none.
    pub fn append(
        &mut self,
        mailbox: &str,
        messages: Vec<Incoming>,
        quota_bytes: u64,
    ) -> Result<Added, MailboxError> {
        let about = self.folder(mailbox)?.about.clone();
        let bytes: u64 = messages.iter().map(|m| m.blob.size_bytes()).sum();
        if quota_bytes > 0 && self.state.bytes() + bytes > quota_bytes {
            return Err(MailboxError::OverQuota { quota_bytes });
        }
        let mut keywords = self.state.keywords.clone();
        let mut all_flags = Vec::with_capacity(messages.len());
        for message in &messages {
            all_flags.push(keywords.intern_all(&message.flags)?);
        }
        let first = about.uid_next;
        if u32::MAX - first <= messages.len() as u32 {
            return Err(MailboxError::UidsExhausted(mailbox.to_owned()));
        }
        self.bring_table_up(mailbox)?;
        self.set_keywords(keywords)?;
        let (modseq, directory) = (about.modseq + 1, name::directory(mailbox));
        let heads_table = heads::name(self.account, &about.id);
        let mut added = Vec::with_capacity(messages.len());
        for ((message, flags), uid) in messages.into_iter().zip(all_flags).zip(first..) {
            let (size, blob) = (message.blob.size_bytes() as u32, message.blob.id());
            let row = Row { uid, size, date: message.date, came: modseq, modseq, flags, blob };
            heads::put_encoded(self.tx.index(&heads_table), uid, message.head);
            self.tx.put_blob(format!("{directory}/{}", file_name(&row).path()), message.blob)?;
            added.push(row);
        }
        let uids: Vec<u32> = added.iter().map(|row| row.uid).collect();
        self.what.push(format!("{mailbox}: {} came", count(uids.len())));
        let uid_validity = about.uid_validity;
        self.add_rows(mailbox, &added)?;
        Ok(Added { uid_validity, from: Vec::new(), to: uids })
    }

    /// Changes flags of messages. With `unchanged_since`, only of those that did not change after it.
    pub fn store_flags(
        &mut self,
        mailbox: &str,
        uids: &[u32],
        change: &FlagChange,
        unchanged_since: Option<u64>,
    ) -> Result<StoreOutcome, MailboxError> {
        let rows = self.rows(mailbox)?;
        let mut keywords = self.state.keywords.clone();
        let (FlagChange::Replace(flags) | FlagChange::Add(flags) | FlagChange::Remove(flags)) = change;
        let flags = match change {
            // A keyword that nobody has needs no bit to be taken away.
            FlagChange::Remove(names) => {
                names.iter().filter_map(|n| keywords.find(n)).fold(Flags(0), Flags::with)
            }
            _ => keywords.intern_all(flags)?,
        };
        let modseq = self.folder(mailbox)?.about.modseq + 1;
        let mut outcome = StoreOutcome { modified: Vec::new(), modseq };
        let mut touched = Vec::new();
        for uid in uids {
            let Some((_, row)) = rows.find(*uid) else { continue };
            if unchanged_since.is_some_and(|since| row.modseq > since) {
                outcome.modified.push(*uid);
            } else if apply(change, row.flags, flags) != row.flags {
                touched.push(*uid);
            }
        }
        if touched.is_empty() {
            outcome.modseq = 0;
            return Ok(outcome);
        }
        self.set_keywords(keywords)?;
        self.what.push(format!("{mailbox}: flags of {} changed", count(touched.len())));
        let new = rows
            .changed(&touched, |row| Some(Row { flags: apply(change, row.flags, flags), modseq, ..*row }));
        self.replace_rows(mailbox, &rows, new, &touched, modseq)?;
        Ok(outcome)
    }

    /// Removes those messages that have \Deleted now, whatever they had when the client looked. Gives their UIDs.
    pub fn expunge_deleted(&mut self, mailbox: &str, uids: &[u32]) -> Result<Vec<u32>, MailboxError> {
        let rows = self.rows(mailbox)?;
        let is_deleted = |uid: &u32| rows.find(*uid).is_some_and(|(_, row)| row.flags.has(Flags::DELETED));
        let deleted: Vec<u32> = uids.iter().copied().filter(is_deleted).collect();
        self.expunge(mailbox, &deleted)
    }

    /// Removes messages (sorted UIDs) for good. Gives the UIDs that were there.
    pub fn expunge(&mut self, mailbox: &str, uids: &[u32]) -> Result<Vec<u32>, MailboxError> {
        let rows = self.rows(mailbox)?;
        let gone: Vec<Row> = uids.iter().filter_map(|uid| rows.find(*uid)).map(|(_, row)| *row).collect();
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        let directory = name::directory(mailbox);
        for row in &gone {
            self.tx.remove(format!("{directory}/{}", file_name(row).path()))?;
        }
        let touched: Vec<u32> = gone.iter().map(|row| row.uid).collect();
        let about = &self.folder(mailbox)?.about;
        let (modseq, id) = (about.modseq + 1, about.id.clone());
        table::put_gone(self.tx.index(table::name(self.account, &id)), modseq, &touched, true);
        let heads = self.tx.index(heads::name(self.account, &id));
        touched.iter().for_each(|uid| heads::delete(heads, *uid));
        self.what.push(format!("{mailbox}: {} expunged", count(gone.len())));
        let new = rows.changed(&touched, |_| None);
        self.replace_rows(mailbox, &rows, new, &touched, modseq)?;
        Ok(touched)
    }

    /// Copies messages with their flags and dates. UIDs that are not there are passed over.
    pub fn copy(
        &mut self,
        from: &str,
        uids: &[u32],
        to: &str,
        quota_bytes: u64,
    ) -> Result<Added, MailboxError> {
        let rows = self.rows(from)?;
        let about = self.folder(to)?.about.clone();
        let sources: Vec<Row> = uids.iter().filter_map(|uid| rows.find(*uid)).map(|(_, row)| *row).collect();
        let bytes: u64 = sources.iter().map(|row| u64::from(row.size)).sum();
        if quota_bytes > 0 && self.state.bytes() + bytes > quota_bytes {
            return Err(MailboxError::OverQuota { quota_bytes });
        }
        if u32::MAX - about.uid_next <= sources.len() as u32 {
            return Err(MailboxError::UidsExhausted(to.to_owned()));
        }
        if sources.is_empty() {
            return Ok(Added { uid_validity: about.uid_validity, ..Added::default() });
        }
        self.bring_table_up(to)?;
        let (modseq, directory) = (about.modseq + 1, name::directory(to));
        let mut heads = Heads::open(self.store, self.account, &self.folder(from)?.about.id)?;
        let heads_table = heads::name(self.account, &about.id);
        let mut added = Vec::with_capacity(sources.len());
        for (source, uid) in sources.iter().zip(about.uid_next..) {
            let row = Row { uid, came: modseq, modseq, ..*source };
            self.put_row(&directory, &row)?;
            heads.copy(source, &row, self.tx.index(&heads_table))?;
            added.push(row);
        }
        self.what.push(format!("{to}: {} copied from {from}", count(added.len())));
        self.add_rows(to, &added)?;
        let from = sources.iter().map(|row| row.uid).collect();
        Ok(Added { uid_validity: about.uid_validity, from, to: added.iter().map(|row| row.uid).collect() })
    }

    /// Moves messages: copies them and removes them where they were, in one commit.
    pub fn move_to(&mut self, from: &str, uids: &[u32], to: &str) -> Result<Added, MailboxError> {
        let added = self.copy(from, uids, to, 0)?;
        self.expunge(from, &added.from)?;
        Ok(added)
    }

    fn put_row(&mut self, directory: &str, row: &Row) -> Result<(), MailboxError> {
        let path = TreePath::new(format!("{directory}/{}", file_name(row).path()))?;
        let entry = Entry { path: path.clone(), kind: Mode::File, id: row.blob };
        Ok(self.tx.put_entry(path, &entry)?)
    }
}

fn apply(change: &FlagChange, old: Flags, flags: Flags) -> Flags {
    match change {
        FlagChange::Replace(_) => flags,
        FlagChange::Add(_) => old.with(flags),
        FlagChange::Remove(_) => old.without(flags),
    }
}

pub(super) fn count_row(about: &mut About, row: &Row, there: bool) {
    let add = |n: &mut u32, by: bool| {
        *n = if there { n.saturating_add(u32::from(by)) } else { n.saturating_sub(u32::from(by)) };
    };
    add(&mut about.messages, true);
    add(&mut about.unseen, !row.flags.has(Flags::SEEN));
    add(&mut about.deleted, row.flags.has(Flags::DELETED));
    let size = u64::from(row.size);
    about.bytes = if there { about.bytes + size } else { about.bytes.saturating_sub(size) };
}

pub(super) fn count(n: usize) -> String {
    if n == 1 { "a message".to_owned() } else { format!("{n} messages") }
}
