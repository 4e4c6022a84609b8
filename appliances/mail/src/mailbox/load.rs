//! From files to state: reading an account's branch, and the rows of a mailbox by way of its derived table.
//!
//! The table says which commit it is of. A mailbox that was left at another commit is brought up by the difference
//! alone; without a table everything is read from the files.

use super::error::MailboxError;
use super::flags::{Flags, Keywords, SYSTEM};
use super::layout::{self, ABOUT, About, FileName};
use super::rows::{Row, Rows};
use super::state::{Folder, State};
use super::{name, table};
use std::collections::{BTreeMap, BTreeSet};
use store::{CommitId, Index, IndexEdits, Snapshot, Store};

/// The file of subscribed names, a line each.
pub(super) const SUBSCRIPTIONS: &str = "subscriptions";
/// The file of the keywords in use, in order of their bits, a line each.
pub(super) const KEYWORDS: &str = "keywords";
/// The file with the highest UIDVALIDITY ever given.
pub(super) const UID_VALIDITY: &str = "uid-validity";

/// Everything but the rows.
pub(super) fn state(snapshot: &Snapshot) -> Result<State, MailboxError> {
    let lines = |path: &str| -> store::Result<Vec<String>> {
        let bytes = snapshot.read(path)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).lines().filter(|l| !l.is_empty()).map(str::to_owned).collect())
    };
    let mut state = State { head: snapshot.commit(), ..State::default() };
    for keyword in lines(KEYWORDS)? {
        state.keywords.intern(&keyword)?;
    }
    state.subscriptions = lines(SUBSCRIPTIONS)?.into_iter().collect();
    state.uid_validity_last = lines(UID_VALIDITY)?.first().and_then(|l| l.parse().ok()).unwrap_or(0);
    folders(snapshot, name::FOLDERS, &mut state)?;
    Ok(state)
}

fn folders(snapshot: &Snapshot, directory: &str, state: &mut State) -> Result<(), MailboxError> {
    for entry in snapshot.list(directory)? {
        if !entry.is_directory() {
            continue;
        }
        let path = entry.path.to_str().into_owned();
        if entry.name() != name::OWN {
            folders(snapshot, &path, state)?;
            continue;
        }
        let about = snapshot.read(format!("{path}/{ABOUT}"))?.as_deref().and_then(About::parse);
        if let (Some(about), Some((name, _))) = (about, name::of_path(&path)) {
            state.uid_validity_last = state.uid_validity_last.max(about.uid_validity);
            state.folders.insert(name, Folder::new(about));
        }
    }
    Ok(())
}

/// A mailbox as of a commit: where its files and its table are.
pub(super) struct Place<'a> {
    pub store: &'a Store,
    pub account: &'a str,
    pub snapshot: Snapshot,
    /// The directory of its files in the snapshot.
    pub directory: String,
    /// MAILBOXID.
    pub id: &'a str,
}

/// What differs between a mailbox's table and a snapshot.
#[derive(Debug, Default)]
pub(super) struct Behind {
    /// Buckets in which anything is not as the table has it.
    pub buckets: BTreeSet<u32>,
    /// UIDs (sorted) of files that are there no more.
    pub gone: Vec<u32>,
}

impl Place<'_> {
    pub fn table(&self) -> store::Result<Index> {
        table::open(self.store, self.account, self.id)
    }

    /// The rows.
    pub fn rows(&self, keywords: &Keywords) -> Result<Rows, MailboxError> {
        let table = self.table()?;
        for _ in 0..ATTEMPTS {
            let at = table.at()?;
            let Some(behind) = self.behind(at)? else { break };
            let read = table::read_packs(&table, &|bucket| behind.buckets.contains(&bucket), bits(keywords))?;
            // The writer may have changed the table while it was read.
            if table.at()? != at {
                continue;
            }
            let Some(mut packs) = read else { break };
            for bucket in behind.buckets {
                packs.insert(bucket, self.bucket_rows(bucket, keywords)?);
            }
            return Ok(Rows::new(&packs.into_values().flatten().collect::<Vec<_>>()));
        }
        Ok(Rows::new(&self.all_packs(keywords)?.into_values().flatten().collect::<Vec<_>>()))
    }

    /// What of the table is not as the snapshot has it; nothing when the table is of no use.
    pub fn behind(&self, at: Option<CommitId>) -> Result<Option<Behind>, MailboxError> {
        if at.is_none() {
            return Ok(None);
        }
        if at == self.snapshot.commit() {
            return Ok(Some(Behind::default()));
        }
        match at.map(|at| self.store.snapshot_at(at)) {
            Some(Ok(older)) => self.since(&older).map(Some),
            // Its commit was forgotten.
            _ => Ok(None),
        }
    }

    /// What changed since another snapshot.
    pub fn since(&self, older: &Snapshot) -> Result<Behind, MailboxError> {
        let mut behind = Behind::default();
        let (mut came, mut gone) = (BTreeSet::new(), BTreeSet::new());
        for change in self.snapshot.diff(older, &self.directory)? {
            let path = change.path.to_str().into_owned();
            let Some((_, own)) = name::of_path(&path) else { continue };
            behind.buckets.extend(layout::bucket_of(own));
            if let Some(file) = own.rsplit('/').next().and_then(FileName::parse) {
                if change.is_removed() {
                    gone.insert(file.uid)
                } else {
                    came.insert(file.uid)
                };
            }
        }
        behind.gone = gone.difference(&came).copied().collect();
        Ok(behind)
    }

    /// Edits that make the table right for the snapshot. `modseq` is HIGHESTMODSEQ there.
    pub fn bring_up(
        &self,
        modseq: u64,
        keywords: &Keywords,
        edits: &mut IndexEdits,
    ) -> Result<(), MailboxError> {
        let table = self.table()?;
        edits.bring_up();
        match self.behind(table.at()?)? {
            Some(behind) => {
                for bucket in behind.buckets {
                    table::put_pack(edits, bucket, self.bucket_rows(bucket, keywords)?.iter());
                }
                table::put_gone(edits, modseq, &behind.gone, false);
            }
            None => {
                let packs = self.all_packs(keywords)?;
                table::buckets(&table)?
                    .into_iter()
                    .filter(|b| !packs.contains_key(b))
                    .for_each(|bucket| table::put_pack(edits, bucket, [].iter()));
                packs.iter().for_each(|(bucket, rows)| table::put_pack(edits, *bucket, rows.iter()));
                table::delete_gone(&table, edits)?;
                table::put_gone_since(edits, modseq);
            }
        }
        Ok(())
    }

    /// UIDs that vanished after a mod-sequence, as ranges that may overlap and may hold UIDs that are there; nothing where
    /// that is not known so far back. `since` says how the snapshot differs from the table.
    pub fn gone_after(&self, modseq: u64) -> Result<Option<Vec<(u32, u32)>>, MailboxError> {
        let table = self.table()?;
        let Some(behind) = self.behind(table.at()?)? else { return Ok(None) };
        let mut gone = table::gone_after(&table, modseq)?;
        if let Some(gone) = &mut gone {
            gone.extend(behind.gone.into_iter().map(|uid| (uid, uid)));
        }
        Ok(gone)
    }

    /// The rows of one bucket, from the files.
    pub fn bucket_rows(&self, bucket: u32, keywords: &Keywords) -> Result<Vec<Row>, MailboxError> {
        let directory = format!("{}/{}", self.directory, layout::bucket(table::uids(bucket).0));
        let mut rows: BTreeMap<u32, Row> = BTreeMap::new();
        let mut flags = None;
        for entry in self.snapshot.list(directory)? {
            if entry.name() == "flags" {
                flags = self.snapshot.read(&entry.path)?;
            } else if let Some(FileName { uid, date, size, modseq, .. }) = FileName::parse(&entry.name())
                && table::bucket(uid) == bucket
            {
                let row = Row { uid, size, date, came: modseq, modseq, flags: Flags(0), blob: entry.id };
                rows.insert(uid, row);
            }
        }
        for line in layout::read_flags(flags.as_deref().unwrap_or_default(), keywords) {
            if let Some(row) = rows.get_mut(&line.uid) {
                row.flags = line.flags;
                row.modseq = line.modseq.max(row.came);
            }
        }
        Ok(rows.into_values().collect())
    }

    fn all_packs(&self, keywords: &Keywords) -> Result<BTreeMap<u32, Vec<Row>>, MailboxError> {
        let mut packs = BTreeMap::new();
        for hundreds in self.snapshot.list(&self.directory)?.into_iter().filter(|entry| entry.is_directory())
        {
            for entry in self.snapshot.list(&hundreds.path)?.into_iter().filter(|entry| entry.is_directory())
            {
                let own = format!("{}/{}", hundreds.name(), entry.name());
                let Some(bucket) = layout::bucket_of(&own) else { continue };
                let rows = self.bucket_rows(bucket, keywords)?;
                if !rows.is_empty() {
                    packs.insert(bucket, rows);
                }
            }
        }
        Ok(packs)
    }
}

/// The bits of the flags that have names.
pub(super) fn bits(keywords: &Keywords) -> u64 {
    let named = (SYSTEM.len() + keywords.names().len()) as u32;
    1u64.checked_shl(named).map_or(u64::MAX, |bit| bit - 1)
}

/// Times that a table is read again because it was changed meanwhile.
const ATTEMPTS: usize = 5;
