//! From files to state: reading an account's branch, and the rows of a mailbox by way of a derived table.
//!
//! The table `mail/rows/ID` holds a mailbox's rows in packs of a hundred UIDs and says which commit they are of. A
//! mailbox that was left at another commit is brought up by the difference alone; without a table everything is read
//! from the files.

use super::error::MailboxError;
use super::flags::Keywords;
use super::layout::{self, ABOUT, About, FileName};
use super::name;
use super::rows::{Row, Rows};
use super::state::{Folder, State};
use std::collections::{BTreeMap, BTreeSet};
use store::{Index, IndexEdits, ObjectId, Snapshot, Store};

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

/// The rows of a mailbox as of a snapshot.
pub(super) fn rows(
    store: &Store,
    snapshot: &Snapshot,
    mailbox: &str,
    about: &About,
    keywords: &mut Keywords,
) -> Result<Rows, MailboxError> {
    let table = table(store, about)?;
    let directory = name::directory(mailbox);
    let derived = match table.at()? {
        Some(at) if snapshot.commit() == Some(at) => return unpack(&table, keywords_len(keywords)),
        Some(at) => store.snapshot_at(at).ok().map(|older| (at, older)),
        None => None,
    };
    let Some((_, older)) = derived else { return all_rows(snapshot, &directory, keywords) };
    let buckets = changed_buckets(snapshot, &older, &directory)?;
    let old = unpack(&table, keywords_len(keywords))?;
    replace_buckets(snapshot, &directory, &old, &buckets, keywords)
}

/// The buckets of a mailbox in which anything is not as it was.
pub(super) fn changed_buckets(
    snapshot: &Snapshot,
    older: &Snapshot,
    directory: &str,
) -> Result<BTreeSet<String>, MailboxError> {
    let mut buckets = BTreeSet::new();
    for change in snapshot.diff(older, directory)? {
        let path = change.path.to_str().into_owned();
        let Some((_, own)) = name::of_path(&path) else { continue };
        if let Some(bucket) =
            own.get(..BUCKET_LENGTH).filter(|bucket| bucket.as_bytes().get(4) == Some(&b'/'))
        {
            buckets.insert(bucket.to_owned());
        }
    }
    Ok(buckets)
}

/// `old` with the rows of some buckets read again from the files.
pub(super) fn replace_buckets(
    snapshot: &Snapshot,
    directory: &str,
    old: &Rows,
    buckets: &BTreeSet<String>,
    keywords: &mut Keywords,
) -> Result<Rows, MailboxError> {
    if buckets.is_empty() {
        return Ok(old.clone());
    }
    let mut by_uid: BTreeMap<u32, Row> = old
        .iter()
        .filter(|row| !buckets.contains(&layout::bucket(row.uid)))
        .map(|row| (row.uid, *row))
        .collect();
    for bucket in buckets {
        for row in bucket_rows(snapshot, &format!("{directory}/{bucket}"), keywords)? {
            by_uid.insert(row.uid, row);
        }
    }
    Ok(Rows::new(&by_uid.into_values().collect::<Vec<_>>()))
}

fn all_rows(snapshot: &Snapshot, directory: &str, keywords: &mut Keywords) -> Result<Rows, MailboxError> {
    let mut by_uid = BTreeMap::new();
    for thousands in snapshot.list(directory)?.into_iter().filter(|entry| entry.is_directory()) {
        for bucket in snapshot.list(&thousands.path)?.into_iter().filter(|entry| entry.is_directory()) {
            for row in bucket_rows(snapshot, &bucket.path.to_str(), keywords)? {
                by_uid.insert(row.uid, row);
            }
        }
    }
    Ok(Rows::new(&by_uid.into_values().collect::<Vec<_>>()))
}

fn bucket_rows(
    snapshot: &Snapshot,
    directory: &str,
    keywords: &mut Keywords,
) -> Result<Vec<Row>, MailboxError> {
    let mut rows: BTreeMap<u32, Row> = BTreeMap::new();
    let mut flags = None;
    for entry in snapshot.list(directory)? {
        if entry.name() == "flags" {
            flags = snapshot.read(&entry.path)?;
        } else if let Some(FileName { uid, date, size, modseq, .. }) = FileName::parse(&entry.name()) {
            let row =
                Row { uid, size, date, came: modseq, modseq, flags: Default::default(), blob: entry.id };
            rows.insert(uid, row);
        }
    }
    for line in layout::read_flags(flags.as_deref().unwrap_or_default(), keywords)? {
        if let Some(row) = rows.get_mut(&line.uid) {
            row.flags = line.flags;
            row.modseq = line.modseq.max(row.came);
        }
    }
    Ok(rows.into_values().collect())
}

/// Writes the rows to the derived table, so that the mailbox opens quickly next time.
pub(super) fn keep(store: &Store, state: &State, folder: &Folder) -> Result<(), MailboxError> {
    let (Some(rows), Some(head)) = (&folder.rows, state.head) else { return Ok(()) };
    let table = table(store, &folder.about)?;
    let at = table.at()?;
    if at == Some(head) {
        return Ok(());
    }
    let old: BTreeMap<Vec<u8>, Vec<u8>> =
        if at.is_some() { packs(&table)?.into_iter().collect() } else { BTreeMap::new() };
    let mut new: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for row in rows.iter() {
        pack(row, new.entry((row.uid / ROWS_IN_PACK).to_be_bytes().to_vec()).or_default());
    }
    let mut edits = IndexEdits::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        edits.delete(key.clone());
    }
    for (key, value) in new {
        if old.get(&key) != Some(&value) {
            edits.put(key, value);
        }
    }
    match table.advance(at, Some(head), edits) {
        // Another was quicker; its rows are as good.
        Ok(()) | Err(store::Error::RefMoved { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn table(store: &Store, about: &About) -> store::Result<Index> {
    store.index(format!("mail/rows/{}", about.id))
}

fn packs(table: &Index) -> store::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut all: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    loop {
        let mut from = all.last().map(|(key, _)| key.clone()).unwrap_or_default();
        if !all.is_empty() {
            from.push(0);
        }
        let page = table.range(&from, None, PACKS_AT_ONCE)?;
        let done = page.len() < PACKS_AT_ONCE;
        all.extend(page);
        if done {
            return Ok(all);
        }
    }
}

fn unpack(table: &Index, keywords: usize) -> Result<Rows, MailboxError> {
    let mut rows = Vec::new();
    for (_, pack) in packs(table)? {
        for packed in pack.chunks_exact(PACKED_ROW) {
            rows.push(
                unpack_row(packed, keywords)
                    .ok_or(store::Error::Corrupt { what: "a mailbox's rows".into() })?,
            );
        }
    }
    Ok(Rows::new(&rows))
}

fn pack(row: &Row, out: &mut Vec<u8>) {
    out.extend(row.uid.to_be_bytes());
    out.extend(row.size.to_be_bytes());
    out.extend(row.date.to_be_bytes());
    out.extend(row.came.to_be_bytes());
    out.extend(row.modseq.to_be_bytes());
    out.extend(row.flags.0.to_be_bytes());
    out.extend(row.blob.0);
}

fn unpack_row(packed: &[u8], keywords: usize) -> Option<Row> {
    let number = |at: usize| packed.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
    let small = |at: usize| packed.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    let flags = number(32)?;
    // A bit without a name would be a table that is ahead of its commit.
    if flags.checked_shr((super::SYSTEM.len() + keywords) as u32).unwrap_or(0) != 0 {
        return None;
    }
    Some(Row {
        uid: small(0)?,
        size: small(4)?,
        date: number(8)? as i64,
        came: number(16)?,
        modseq: number(24)?,
        flags: super::Flags(flags),
        blob: ObjectId::from_bytes(packed.get(40..60)?)?,
    })
}

fn keywords_len(keywords: &Keywords) -> usize {
    keywords.names().len()
}

/// `0123/45`; UIDs stay below 2^32, so the first part has up to six digits only from 100 million on.
const BUCKET_LENGTH: usize = 7;
const PACKED_ROW: usize = 60;
/// UIDs that share a pack: 6 kB, below the store's bound of 8.
const ROWS_IN_PACK: u32 = 100;
const PACKS_AT_ONCE: usize = 1_000;
