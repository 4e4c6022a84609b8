//! Changes in the making: a transaction, and the state as it will be.

use super::error::MailboxError;
use super::flags::Flags;
use super::heads::{self, Head};
use super::layout::{self, ABOUT, About, FileName, FlagsLine};
use super::rows::{Row, Rows};
use super::state::{Folder, State};
use super::{load, name};
use crate::limits;
use std::collections::{BTreeMap, BTreeSet};
use store::{Entry, Mode, Store, Transaction, TreePath};

/// A message to be put into a mailbox.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Its bytes, which are kept as they are.
    pub raw: Vec<u8>,
    /// Flags and keywords as IMAP names them.
    pub flags: Vec<String>,
    /// INTERNALDATE in seconds since 1970.
    pub date: i64,
}

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
    /// The mod-sequence of the change.
    pub modseq: u64,
}

/// A change in the making. Each operation either succeeds, or leaves the draft as it was.
pub struct Draft<'a> {
    store: &'a Store,
    tx: Transaction,
    /// The state as it will be.
    pub(super) state: State,
    /// Mailboxes whose `mailbox` file must be written, and in which buckets the flags file.
    dirty: BTreeMap<String, BTreeSet<u32>>,
    now_s: i64,
    what: Vec<String>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(store: &'a Store, tx: Transaction, state: State, now_s: i64) -> Draft<'a> {
        Draft { store, tx, state, dirty: BTreeMap::new(), now_s, what: Vec::new() }
    }

    /// The state as it will be.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The rows of a mailbox, loaded where they are not.
    pub fn rows(&mut self, mailbox: &str) -> Result<Rows, MailboxError> {
        let folder = self.folder(mailbox)?;
        if let Some(rows) = &folder.rows {
            return Ok(rows.clone());
        }
        let about = folder.about.clone();
        let mut keywords = self.state.keywords.clone();
        let rows = load::rows(self.store, self.tx.base(), mailbox, &about, &mut keywords)?;
        self.state.keywords = keywords;
        self.folder_mut(mailbox)?.rows = Some(rows.clone());
        Ok(rows)
    }

    /// Puts new messages into a mailbox, all or none.
    pub fn append(
        &mut self,
        mailbox: &str,
        messages: Vec<NewMessage>,
        quota_bytes: u64,
    ) -> Result<Added, MailboxError> {
        let about = self.folder(mailbox)?.about.clone();
        let bytes: u64 = messages.iter().map(|m| m.raw.len() as u64).sum();
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
        if all_flags.iter().any(|flags| *flags != Flags(0)) {
            self.rows(mailbox)?;
        }
        self.set_keywords(keywords)?;
        let (modseq, directory) = (about.modseq + 1, name::directory(mailbox));
        let mut added = Vec::with_capacity(messages.len());
        for ((message, flags), uid) in messages.into_iter().zip(all_flags).zip(first..) {
            let (size, head) = (message.raw.len() as u32, Head::of(&message.raw));
            // Its name holds its blob's id, which is known once the blob is made.
            let blob = self.tx.put(INCOMING, message.raw)?;
            head.keep(&blob, self.tx.index(heads::TABLE));
            let row = Row { uid, size, date: message.date, came: modseq, modseq, flags, blob };
            self.put_row(&directory, &row)?;
            added.push(row);
        }
        self.tx.remove(INCOMING)?;
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
            outcome.modseq = modseq - 1;
            return Ok(outcome);
        }
        self.set_keywords(keywords)?;
        self.what.push(format!("{mailbox}: flags of {} changed", count(touched.len())));
        let new = rows
            .changed(&touched, |row| Some(Row { flags: apply(change, row.flags, flags), modseq, ..*row }));
        self.replace_rows(mailbox, &rows, new, &touched, modseq)?;
        Ok(outcome)
    }

    /// Removes messages for good. Gives the UIDs that were there.
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
        let modseq = self.folder(mailbox)?.about.modseq + 1;
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
        self.rows(to)?;
        let directory = name::directory(to);
        let modseq = about.modseq + 1;
        let mut added = Vec::with_capacity(sources.len());
        for (source, uid) in sources.iter().zip(about.uid_next..) {
            let row = Row { uid, came: modseq, modseq, ..*source };
            self.put_row(&directory, &row)?;
            added.push(row);
        }
        if added.is_empty() {
            return Ok(Added { uid_validity: about.uid_validity, ..Added::default() });
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

    /// Makes a mailbox, and the ones above it that are not there.
    pub fn create(&mut self, mailbox: &str, special_use: &str) -> Result<(), MailboxError> {
        let mailbox = name::check(mailbox)?;
        if self.state.folders.contains_key(&mailbox) {
            return Err(MailboxError::Exists(mailbox));
        }
        let parts: Vec<&str> = mailbox.split(name::SEPARATOR).collect();
        let names: Vec<String> = (1..=parts.len()).map(|n| parts[..n].join("/")).collect();
        let missing: Vec<&String> =
            names.iter().filter(|name| !self.state.folders.contains_key(*name)).collect();
        if self.state.folders.len() + missing.len() > limits::MAILBOXES_MAX {
            return Err(MailboxError::TooManyMailboxes);
        }
        for name in missing {
            let uid_validity = self.next_uid_validity()?;
            let about = About {
                uid_validity,
                uid_next: 1,
                modseq: 1,
                id: format!("F{uid_validity:08x}"),
                special_use: if *name == mailbox { special_use.to_owned() } else { String::new() },
                messages: 0,
                unseen: 0,
                deleted: 0,
                bytes: 0,
            };
            let mut folder = Folder::new(about);
            folder.rows = Some(Rows::default());
            self.state.folders.insert(name.clone(), folder);
            self.dirty.entry(name.clone()).or_default();
        }
        self.what.push(format!("{mailbox}: made"));
        Ok(())
    }

    /// Deletes a mailbox with its messages; mailboxes below it stay.
    pub fn delete(&mut self, mailbox: &str) -> Result<(), MailboxError> {
        if mailbox == "INBOX" {
            return Err(MailboxError::Inbox);
        }
        self.folder(mailbox)?;
        self.tx.remove(name::directory(mailbox))?;
        self.state.folders.remove(mailbox);
        self.dirty.remove(mailbox);
        self.what.push(format!("{mailbox}: deleted"));
        Ok(())
    }

    /// Renames a mailbox and all below it. INBOX keeps its name and gives its messages away (RFC 3501 6.3.5).
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), MailboxError> {
        let to = name::check(to)?;
        self.folder(from)?;
        if to.starts_with(&format!("{from}/")) && from != "INBOX" {
            return Err(MailboxError::Exists(to));
        }
        if from == "INBOX" {
            let uids: Vec<u32> = self.rows("INBOX")?.iter().map(|row| row.uid).collect();
            self.create(&to, "")?;
            self.move_to("INBOX", &uids, &to)?;
            return Ok(());
        }
        let below = format!("{from}/");
        let moved: Vec<String> = self
            .state
            .folders
            .keys()
            .filter(|name| *name == from || name.starts_with(&below))
            .cloned()
            .collect();
        let target = |name: &String| format!("{to}{}", &name[from.len()..]);
        if let Some(taken) = moved.iter().map(target).find(|name| self.state.folders.contains_key(name)) {
            return Err(MailboxError::Exists(taken));
        }
        self.flush_dirty(&moved)?;
        if let Some((parent, _)) = to.rsplit_once(name::SEPARATOR)
            && !self.state.folders.contains_key(parent)
        {
            self.create(parent, "")?;
        }
        for name in &moved {
            self.tx.rename(name::directory(name), name::directory(&target(name)))?;
            if let Some(folder) = self.state.folders.remove(name) {
                self.state.folders.insert(target(name), folder);
            }
        }
        self.what.push(format!("{from}: renamed to {to}"));
        Ok(())
    }

    /// Subscribes to a name or gives it up. The name need not exist.
    pub fn subscribe(&mut self, mailbox: &str, wanted: bool) -> Result<(), MailboxError> {
        let mailbox = name::check(mailbox)?;
        let changed = match wanted {
            true if self.state.subscriptions.len() >= limits::MAILBOXES_MAX * 2 => {
                return Err(MailboxError::TooManyMailboxes);
            }
            true => self.state.subscriptions.insert(mailbox),
            false => self.state.subscriptions.remove(&mailbox),
        };
        if changed {
            let lines: Vec<&str> = self.state.subscriptions.iter().map(String::as_str).collect();
            self.tx.put(load::SUBSCRIPTIONS, lines.join("\n") + "\n")?;
            self.what.push("subscriptions changed".to_owned());
        }
        Ok(())
    }

    /// Writes what was put off, and gives the transaction, the state and what was done in words.
    pub(super) fn finish(mut self) -> Result<(Transaction, State, String), MailboxError> {
        let all: Vec<String> = self.dirty.keys().cloned().collect();
        self.flush_dirty(&all)?;
        let message = match self.what.as_slice() {
            [] => "nothing".to_owned(),
            [one] => one.clone(),
            many => format!("{} changes\n\n{}", many.len(), many.join("\n")),
        };
        Ok((self.tx, self.state, message))
    }

    fn flush_dirty(&mut self, mailboxes: &[String]) -> Result<(), MailboxError> {
        for mailbox in mailboxes {
            let Some(buckets) = self.dirty.remove(mailbox) else { continue };
            let Some(folder) = self.state.folders.get(mailbox) else { continue };
            let directory = name::directory(mailbox);
            self.tx.put(format!("{directory}/{ABOUT}"), folder.about.write())?;
            let Some(rows) = folder.rows.clone() else { continue };
            for bucket in buckets {
                let first = bucket * 100;
                let path = format!("{directory}/{}", layout::flags_file(first));
                let text = flags_text(&rows, first, &self.state);
                if text.is_empty() {
                    self.tx.remove(path)?;
                } else {
                    self.tx.put(path, text)?;
                }
            }
        }
        Ok(())
    }

    fn put_row(&mut self, directory: &str, row: &Row) -> Result<(), MailboxError> {
        let path = TreePath::new(format!("{directory}/{}", file_name(row).path()))?;
        let entry = Entry { path: path.clone(), kind: Mode::File, id: row.blob };
        Ok(self.tx.put_entry(path, &entry)?)
    }

    fn add_rows(&mut self, mailbox: &str, added: &[Row]) -> Result<(), MailboxError> {
        let dirty = self.dirty.entry(mailbox.to_owned()).or_default();
        dirty.extend(added.iter().filter(|row| row.flags != Flags(0)).map(|row| row.uid / 100));
        let folder = self.folder_mut(mailbox)?;
        let about = &mut folder.about;
        for row in added {
            about.uid_next = row.uid + 1;
            about.modseq = row.modseq;
            count_row(about, row, true);
        }
        if let Some(rows) = &mut folder.rows {
            *rows = rows.with_added(added);
        }
        Ok(())
    }

    fn replace_rows(
        &mut self,
        mailbox: &str,
        old: &Rows,
        new: Rows,
        touched: &[u32],
        modseq: u64,
    ) -> Result<(), MailboxError> {
        self.dirty.entry(mailbox.to_owned()).or_default().extend(touched.iter().map(|uid| uid / 100));
        let folder = self.folder_mut(mailbox)?;
        for uid in touched {
            if let Some((_, row)) = old.find(*uid) {
                count_row(&mut folder.about, row, false);
            }
            if let Some((_, row)) = new.find(*uid) {
                count_row(&mut folder.about, row, true);
            }
        }
        folder.about.modseq = modseq;
        folder.rows = Some(new);
        Ok(())
    }

    fn set_keywords(&mut self, keywords: super::Keywords) -> Result<(), MailboxError> {
        if keywords != self.state.keywords {
            self.tx.put(load::KEYWORDS, keywords.names().join("\n") + "\n")?;
            self.state.keywords = keywords;
        }
        Ok(())
    }

    fn next_uid_validity(&mut self) -> Result<u32, MailboxError> {
        let next = (self.now_s as u32).max(self.state.uid_validity_last + 1);
        self.state.uid_validity_last = next;
        self.tx.put(load::UID_VALIDITY, format!("{next}\n"))?;
        Ok(next)
    }

    fn folder(&self, mailbox: &str) -> Result<&Folder, MailboxError> {
        self.state.folders.get(mailbox).ok_or_else(|| MailboxError::NoSuchMailbox(mailbox.to_owned()))
    }

    fn folder_mut(&mut self, mailbox: &str) -> Result<&mut Folder, MailboxError> {
        self.state.folders.get_mut(mailbox).ok_or_else(|| MailboxError::NoSuchMailbox(mailbox.to_owned()))
    }
}

/// Where a message's blob is made before its name is known.
const INCOMING: &str = "incoming";

/// The file that a row stands for.
pub(super) fn file_name(row: &Row) -> FileName {
    let mark = [row.blob.0[0], row.blob.0[1], row.blob.0[2], row.blob.0[3]];
    FileName { uid: row.uid, date: row.date, size: row.size, modseq: row.came, mark }
}

fn apply(change: &FlagChange, old: Flags, flags: Flags) -> Flags {
    match change {
        FlagChange::Replace(_) => flags,
        FlagChange::Add(_) => old.with(flags),
        FlagChange::Remove(_) => old.without(flags),
    }
}

fn flags_text(rows: &Rows, first: u32, state: &State) -> String {
    let worth = |row: &&Row| row.flags != Flags(0) || row.modseq != row.came;
    let in_bucket = rows.with_uids(first, first + 99).map(|(_, row)| row).filter(worth);
    let lines = in_bucket.map(|row| FlagsLine { uid: row.uid, modseq: row.modseq, flags: row.flags });
    layout::write_flags(lines, &state.keywords)
}

fn count_row(about: &mut About, row: &Row, there: bool) {
    let add = |n: &mut u32, by: bool| {
        *n = if there { n.saturating_add(u32::from(by)) } else { n.saturating_sub(u32::from(by)) };
    };
    add(&mut about.messages, true);
    add(&mut about.unseen, !row.flags.has(Flags::SEEN));
    add(&mut about.deleted, row.flags.has(Flags::DELETED));
    let size = u64::from(row.size);
    about.bytes = if there { about.bytes + size } else { about.bytes.saturating_sub(size) };
}

fn count(n: usize) -> String {
    if n == 1 { "a message".to_owned() } else { format!("{n} messages") }
}
