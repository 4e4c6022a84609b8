//! Changes in the making: a transaction, and the state as it will be.
//!
//! What messages do is in `messages`, what mailboxes do in `folders`. Files that many operations change (`mailbox`,
//! `flags`, the packs of the derived table) are written once, at the end.

mod folders;
mod messages;

pub use messages::{Added, FlagChange, StoreOutcome};

use super::error::MailboxError;
use super::flags::{Flags, Keywords};
use super::layout::{self, ABOUT, FileName, FlagsLine};
use super::load::{self, Place};
use super::rows::{Row, Rows};
use super::state::{Folder, State};
use super::{name, table};
use std::collections::{BTreeMap, BTreeSet};
use store::{Store, Transaction};

/// A change in the making. Each operation either succeeds, or leaves the draft as it was.
pub struct Draft<'a> {
    store: &'a Store,
    account: &'a str,
    tx: Transaction,
    /// The state as it will be.
    pub(super) state: State,
    /// Mailboxes that are not as they were.
    dirty: BTreeMap<String, Dirty>,
    /// Mailboxes that have another name in what the transaction began from.
    renamed: BTreeMap<String, String>,
    now_s: i64,
    what: Vec<String>,
    /// Tables of mailboxes that are deleted.
    left: Vec<String>,
}

/// A draft that is ready to be committed.
pub(super) struct Finished {
    pub tx: Transaction,
    pub state: State,
    /// What was done, in words.
    pub message: String,
    /// Derived tables that nobody needs once it is committed.
    pub left: Vec<String>,
}

/// What is to be written of a mailbox at the end.
#[derive(Debug, Default)]
struct Dirty {
    /// Buckets whose flags file is to be written.
    flags: BTreeSet<u32>,
    /// Buckets whose pack is to be written.
    packs: BTreeSet<u32>,
    /// Packs as they will be, of a mailbox whose rows are not loaded.
    unloaded: BTreeMap<u32, Vec<Row>>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(
        store: &'a Store,
        account: &'a str,
        tx: Transaction,
        state: State,
        now_s: i64,
    ) -> Draft<'a> {
        let (dirty, renamed) = (BTreeMap::new(), BTreeMap::new());
        Draft { store, account, tx, state, dirty, renamed, now_s, what: Vec::new(), left: Vec::new() }
    }

    /// The state as it will be.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The rows of a mailbox, loaded where they are not.
    pub fn rows(&mut self, mailbox: &str) -> Result<Rows, MailboxError> {
        self.bring_table_up(mailbox)?;
        let folder = self.folder(mailbox)?;
        if let Some(rows) = folder.rows() {
            return Ok(rows.clone());
        }
        let mut rows = self.place(mailbox, &folder.about.id).rows(&self.state.keywords)?;
        if let Some(dirty) = self.dirty.get_mut(mailbox) {
            rows = rows.with_packs(std::mem::take(&mut dirty.unloaded));
        }
        // Sessions that opened this state of the mailbox share them.
        Ok(self.folder(mailbox)?.keep_rows(rows))
    }

    /// Makes sure that the derived table will be right once this is committed.
    pub(super) fn bring_table_up(&mut self, mailbox: &str) -> Result<(), MailboxError> {
        let folder = self.folder(mailbox)?;
        if folder.table_is_right {
            return Ok(());
        }
        let (id, modseq) = (folder.about.id.clone(), folder.about.modseq);
        let mut edits = std::mem::take(self.tx.index(table::name(self.account, &id)));
        let done = self.place(mailbox, &id).bring_up(modseq, &self.state.keywords, &mut edits);
        *self.tx.index(table::name(self.account, &id)) = edits;
        done?;
        self.folder_mut(mailbox)?.table_is_right = true;
        Ok(())
    }

    /// Writes what was put off.
    pub(super) fn finish(mut self) -> Result<Finished, MailboxError> {
        let all: Vec<String> = self.dirty.keys().cloned().collect();
        self.flush_dirty(&all)?;
        let message = match self.what.as_slice() {
            [] => "nothing".to_owned(),
            [one] => one.clone(),
            [first, more @ ..] => format!("{first}, and {} more\n\n{}", more.len(), self.what.join("\n")),
        };
        Ok(Finished { tx: self.tx, state: self.state, message, left: self.left })
    }

    fn flush_dirty(&mut self, mailboxes: &[String]) -> Result<(), MailboxError> {
        for mailbox in mailboxes {
            let Some(dirty) = self.dirty.remove(mailbox) else { continue };
            let Some(folder) = self.state.folders.get(mailbox) else { continue };
            let directory = name::directory(mailbox);
            self.tx.put(format!("{directory}/{ABOUT}"), folder.about.write())?;
            let loaded = folder.rows().cloned();
            let pack = |bucket: u32| -> Vec<Row> {
                let (first, last) = table::uids(bucket);
                match &loaded {
                    Some(rows) => rows.with_uids(first, last).map(|(_, row)| *row).collect(),
                    None => dirty.unloaded.get(&bucket).cloned().unwrap_or_default(),
                }
            };
            for bucket in &dirty.flags {
                let path = format!("{directory}/{}", layout::flags_file(table::uids(*bucket).0));
                let text = flags_text(&pack(*bucket), &self.state.keywords);
                match text.is_empty() {
                    true => drop(self.tx.remove(path)?),
                    false => drop(self.tx.put(path, text)?),
                }
            }
            let edits = self.tx.index(table::name(self.account, &folder.about.id));
            edits.bring_up();
            for bucket in dirty.packs.union(&dirty.flags) {
                table::put_pack(edits, *bucket, pack(*bucket).iter());
            }
        }
        Ok(())
    }

    /// Takes over rows at the end of a mailbox.
    fn add_rows(&mut self, mailbox: &str, added: &[Row]) -> Result<(), MailboxError> {
        self.bring_table_up(mailbox)?;
        let folder = self.folder(mailbox)?;
        let mut unloaded = BTreeMap::new();
        if folder.rows().is_none() && folder.is_viewed() {
            self.rows(mailbox)?;
        } else if folder.rows().is_none() {
            for row in added {
                let bucket = table::bucket(row.uid);
                if let std::collections::btree_map::Entry::Vacant(place) = unloaded.entry(bucket) {
                    place.insert(self.pack(mailbox, bucket)?);
                }
                unloaded.entry(bucket).or_default().push(*row);
            }
        }
        let dirty = self.dirty.entry(mailbox.to_owned()).or_default();
        dirty
            .flags
            .extend(added.iter().filter(|row| row.flags != Flags(0)).map(|row| table::bucket(row.uid)));
        dirty.packs.extend(added.iter().map(|row| table::bucket(row.uid)));
        dirty.unloaded.append(&mut unloaded);
        let folder = self.folder_mut(mailbox)?;
        for row in added {
            folder.about.uid_next = row.uid + 1;
            folder.about.modseq = row.modseq;
            messages::count_row(&mut folder.about, row, true);
        }
        let rows = folder.rows().map(|rows| rows.with_added(added));
        folder.set_rows(rows);
        Ok(())
    }

    /// The pack of a mailbox whose rows are not loaded, as it will be so far.
    fn pack(&mut self, mailbox: &str, bucket: u32) -> Result<Vec<Row>, MailboxError> {
        if let Some(pack) = self.dirty.get(mailbox).and_then(|dirty| dirty.unloaded.get(&bucket)) {
            return Ok(pack.clone());
        }
        let id = self.folder(mailbox)?.about.id.clone();
        let bits = load::bits(&self.state.keywords);
        if let Some(pack) = table::said(self.tx.index(table::name(self.account, &id)), bucket, bits) {
            return Ok(pack);
        }
        let place = self.place(mailbox, &id);
        match table::read_pack(&place.table()?, bucket, bits)? {
            Some(pack) => Ok(pack),
            None => place.bucket_rows(bucket, &self.state.keywords),
        }
    }

    /// Takes over other rows of the UIDs that were touched (sorted).
    fn replace_rows(
        &mut self,
        mailbox: &str,
        old: &Rows,
        new: Rows,
        touched: &[u32],
        modseq: u64,
    ) -> Result<(), MailboxError> {
        let dirty = self.dirty.entry(mailbox.to_owned()).or_default();
        dirty.flags.extend(touched.iter().map(|uid| table::bucket(*uid)));
        let folder = self.folder_mut(mailbox)?;
        for uid in touched {
            if let Some((_, row)) = old.find(*uid) {
                messages::count_row(&mut folder.about, row, false);
            }
            if let Some((_, row)) = new.find(*uid) {
                messages::count_row(&mut folder.about, row, true);
            }
        }
        folder.about.modseq = modseq;
        folder.set_rows(Some(new));
        Ok(())
    }

    fn set_keywords(&mut self, keywords: Keywords) -> Result<(), MailboxError> {
        if keywords != self.state.keywords {
            self.tx.put(load::KEYWORDS, keywords.names().join("\n") + "\n")?;
            self.state.keywords = keywords;
        }
        Ok(())
    }

    /// Where a mailbox is in what the transaction began from.
    fn place<'p>(&'p self, mailbox: &str, id: &'p str) -> Place<'p> {
        let before = self.renamed.get(mailbox).map_or(mailbox, String::as_str);
        Place {
            store: self.store,
            account: self.account,
            snapshot: self.tx.base().clone(),
            directory: name::directory(before),
            id,
        }
    }

    fn folder(&self, mailbox: &str) -> Result<&Folder, MailboxError> {
        self.state.folders.get(mailbox).ok_or_else(|| MailboxError::NoSuchMailbox(mailbox.to_owned()))
    }

    fn folder_mut(&mut self, mailbox: &str) -> Result<&mut Folder, MailboxError> {
        self.state.folders.get_mut(mailbox).ok_or_else(|| MailboxError::NoSuchMailbox(mailbox.to_owned()))
    }
}

/// The file that a row stands for.
pub(super) fn file_name(row: &Row) -> FileName {
    let mark = [row.blob.0[0], row.blob.0[1], row.blob.0[2], row.blob.0[3]];
    FileName { uid: row.uid, date: row.date, size: row.size, modseq: row.came, mark }
}

fn flags_text(pack: &[Row], keywords: &Keywords) -> String {
    let worth = |row: &&Row| row.flags != Flags(0) || row.modseq != row.came;
    let line = |row: &Row| FlagsLine { uid: row.uid, modseq: row.modseq, flags: row.flags };
    layout::write_flags(pack.iter().filter(worth).map(line), keywords)
}
