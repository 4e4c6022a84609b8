//! The derived table of a mailbox: its rows, and which UIDs vanished when.
//!
//! `mail/box/ACCOUNT/ID` changes in the same flush as the files that it is derived from. Rows stand in packs of a hundred
//! UIDs, the UIDs of one directory of messages, so that a change writes one small value. What is gone stands under the
//! mod-sequence at which it went (RFC 7162 3.2.5.2: QRESYNC clients are told what vanished since they looked, not more).

use super::flags::Flags;
use super::rows::Row;
use std::collections::BTreeMap;
use store::{Index, IndexEdits, ObjectId, Store};

/// The name of a mailbox's table.
pub(super) fn name(account: &str, id: &str) -> String {
    format!("mail/box/{account}/{id}")
}

/// The number of the pack that a UID's row is in.
pub(super) fn bucket(uid: u32) -> u32 {
    uid / UIDS_IN_BUCKET
}

/// The UIDs of a pack: first and last.
pub(super) fn uids(bucket: u32) -> (u32, u32) {
    let first = bucket * UIDS_IN_BUCKET;
    (first, first.saturating_add(UIDS_IN_BUCKET - 1))
}

/// Writes the pack of a bucket, or takes it away when it is empty.
pub(super) fn put_pack<'r>(edits: &mut IndexEdits, bucket: u32, rows: impl Iterator<Item = &'r Row>) {
    let mut value = Vec::with_capacity(PACKED_ROW);
    rows.for_each(|row| pack(row, &mut value));
    match value.is_empty() {
        true => edits.delete(pack_key(bucket)),
        false => edits.put(pack_key(bucket), value),
    }
}

/// The rows of a bucket; nothing when the value is no pack. `bits` are the flags that have names.
pub(super) fn read_pack(table: &Index, bucket: u32, bits: u64) -> store::Result<Option<Vec<Row>>> {
    let value = table.get(pack_key(bucket))?.unwrap_or_default();
    Ok(unpack(&value, bits))
}

/// What an edit says of a bucket already, if it does.
pub(super) fn said(edits: &IndexEdits, bucket: u32, bits: u64) -> Option<Vec<Row>> {
    edits.get(&pack_key(bucket)).and_then(|value| unpack(value.unwrap_or_default(), bits))
}

/// All packs but those of `without`, by bucket; nothing when one is none.
pub(super) fn read_packs(
    table: &Index,
    without: &dyn Fn(u32) -> bool,
    bits: u64,
) -> store::Result<Option<BTreeMap<u32, Vec<Row>>>> {
    let mut all = BTreeMap::new();
    let mut from = vec![PACKS];
    loop {
        let page = table.range(&from, Some(&[PACKS + 1]), PACKS_AT_ONCE)?;
        let Some((last, _)) = page.last() else { return Ok(Some(all)) };
        from.clone_from(last);
        from.push(0);
        for (key, value) in &page {
            let Some(bucket) = key.get(1..5).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes) else {
                return Ok(None);
            };
            if !without(bucket) {
                let Some(rows) = unpack(value, bits) else { return Ok(None) };
                all.insert(bucket, rows);
            }
        }
    }
}

/// The buckets that have a pack.
pub(super) fn buckets(table: &Index) -> store::Result<Vec<u32>> {
    let packs = read_packs(table, &|_| false, u64::MAX)?.unwrap_or_default();
    Ok(packs.into_keys().collect())
}

/// Notes UIDs (sorted) that went at a mod-sequence: by a change of ours, or by somebody else's commit, which may have
/// taken a mod-sequence that a change of ours had.
pub(super) fn put_gone(edits: &mut IndexEdits, modseq: u64, uids: &[u32], ours: bool) {
    let ranges = ranges(uids);
    let first = if ours { 0 } else { 1 << 31 };
    for (part, ranges) in (first..).zip(ranges.chunks(RANGES_IN_VALUE)) {
        let bytes = |(low, high): &(u32, u32)| [low.to_be_bytes(), high.to_be_bytes()].concat();
        let key = [&[GONE][..], &modseq.to_be_bytes(), &u32::to_be_bytes(part)].concat();
        edits.put(key, ranges.iter().flat_map(bytes).collect::<Vec<u8>>());
    }
}

/// Notes that what vanished is known from this mod-sequence on.
pub(super) fn put_gone_since(edits: &mut IndexEdits, modseq: u64) {
    edits.put([SINCE], modseq.to_be_bytes());
}

/// What vanished after a mod-sequence, as ranges of UIDs that may overlap; nothing where that is not known so far back.
pub(super) fn gone_after(table: &Index, modseq: u64) -> store::Result<Option<Vec<(u32, u32)>>> {
    let since = table.get([SINCE])?.and_then(|v| v.try_into().ok()).map(u64::from_be_bytes);
    if since.is_none_or(|since| modseq < since) {
        return Ok(None);
    }
    let mut found = Vec::new();
    let mut from = [&[GONE][..], &modseq.saturating_add(1).to_be_bytes()].concat();
    loop {
        let page = table.range(&from, Some(&[GONE + 1]), GONE_AT_ONCE)?;
        let Some((last, _)) = page.last() else { return Ok(Some(found)) };
        from.clone_from(last);
        from.push(0);
        for (_, value) in &page {
            let number = |b: &[u8]| b.try_into().map_or(0, u32::from_be_bytes);
            found.extend(value.chunks_exact(8).map(|b| (number(&b[..4]), number(&b[4..]))));
        }
    }
}

/// Forgets what vanished, when the table is made anew.
pub(super) fn delete_gone(table: &Index, edits: &mut IndexEdits) -> store::Result<()> {
    let mut from = vec![GONE];
    loop {
        let page = table.range(&from, Some(&[GONE + 1]), GONE_AT_ONCE)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        from.clone_from(last);
        from.push(0);
        page.into_iter().for_each(|(key, _)| edits.delete(key));
    }
}

/// Sorted numbers as ranges.
fn ranges(uids: &[u32]) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for uid in uids {
        match ranges.last_mut() {
            Some((_, high)) if *high + 1 == *uid => *high = *uid,
            _ => ranges.push((*uid, *uid)),
        }
    }
    ranges
}

fn pack_key(bucket: u32) -> Vec<u8> {
    [&[PACKS][..], &bucket.to_be_bytes()].concat()
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

fn unpack(value: &[u8], bits: u64) -> Option<Vec<Row>> {
    if !value.len().is_multiple_of(PACKED_ROW) {
        return None;
    }
    value.chunks_exact(PACKED_ROW).map(|packed| unpack_row(packed, bits)).collect()
}

fn unpack_row(packed: &[u8], bits: u64) -> Option<Row> {
    let number = |at: usize| packed.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
    let small = |at: usize| packed.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    let flags = number(32)?;
    // A bit without a name would be a table that is ahead of its commit.
    if flags & !bits != 0 {
        return None;
    }
    Some(Row {
        uid: small(0)?,
        size: small(4)?,
        date: number(8)? as i64,
        came: number(16)?,
        modseq: number(24)?,
        flags: Flags(flags),
        blob: ObjectId::from_bytes(packed.get(40..60)?)?,
    })
}

/// The table of a mailbox.
pub(super) fn open(store: &Store, account: &str, id: &str) -> store::Result<Index> {
    store.index(name(account, id))
}

/// UIDs that share a pack: 6 kB, below the store's bound of 8.
const UIDS_IN_BUCKET: u32 = 100;
const PACKED_ROW: usize = 60;
const PACKS_AT_ONCE: usize = 200;
const GONE_AT_ONCE: usize = 200;
const RANGES_IN_VALUE: usize = 1_000;
/// First bytes of keys.
const SINCE: u8 = b'a';
const GONE: u8 = b'g';
const PACKS: u8 = b'p';

#[cfg(test)]
mod tests {
    use super::*;
    use store::{MemoryDevice, Options};

    fn row(uid: u32) -> Row {
        Row { uid, size: 9, date: -5, came: 3, modseq: 4, flags: Flags(5), blob: ObjectId([uid as u8; 20]) }
    }

    #[test]
    fn packs_and_what_is_gone_come_back() {
        let store = Store::create(MemoryDevice::new(), Options::new()).unwrap();
        let table = open(&store, "ada", "F1").unwrap();
        let mut edits = IndexEdits::new();
        put_pack(&mut edits, 0, [row(7), row(99)].iter());
        put_pack(&mut edits, 1000, [row(100_000)].iter());
        put_gone(&mut edits, 5, &[1, 2, 3, 9], true);
        put_gone(&mut edits, 8, &(0..10_000).map(|n| n * 2).collect::<Vec<_>>(), false);
        put_gone_since(&mut edits, 2);
        assert_eq!(said(&edits, 0, u64::MAX).unwrap(), [row(7), row(99)]);
        table.advance(None, None, edits).unwrap();
        assert_eq!(read_pack(&table, 0, 7).unwrap().unwrap(), [row(7), row(99)]);
        assert_eq!(read_pack(&table, 0, 3).unwrap(), None, "a flag without a name");
        assert_eq!(read_pack(&table, 5, 7).unwrap().unwrap(), []);
        let packs = read_packs(&table, &|bucket| bucket == 0, 7).unwrap().unwrap();
        assert_eq!(packs.into_iter().collect::<Vec<_>>(), [(1000, vec![row(100_000)])]);
        assert_eq!(gone_after(&table, 1).unwrap(), None, "not known so far back");
        assert_eq!(gone_after(&table, 4).unwrap().unwrap()[..2], [(1, 3), (9, 9)]);
        assert_eq!(gone_after(&table, 5).unwrap().unwrap().len(), 10_000);
        assert!(gone_after(&table, 8).unwrap().unwrap().is_empty());
        let mut edits = IndexEdits::new();
        delete_gone(&table, &mut edits).unwrap();
        table.advance(None, None, edits).unwrap();
        assert!(gone_after(&table, 4).unwrap().unwrap().is_empty());
    }
}
