//! The messages of a mailbox as a table that never changes: a change makes a new one that shares what is the same.
//!
//! A session keeps the table that its client knows. What is new since is found by comparing tables, and chunks that
//! both share are passed over, so five hundred sessions on one mailbox cost little and miss nothing.

use super::flags::Flags;
use super::table;
use std::collections::BTreeMap;
use std::sync::Arc;
use store::ObjectId;

/// One message as the table has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// UID; rows are in its order.
    pub uid: u32,
    /// Size of the message in bytes.
    pub size: u32,
    /// INTERNALDATE in seconds since 1970.
    pub date: i64,
    /// Mod-sequence at which the message came.
    pub came: u64,
    /// Mod-sequence of its last change.
    pub modseq: u64,
    /// Flags and keywords.
    pub flags: Flags,
    /// The blob that holds the message.
    pub blob: ObjectId,
}

/// All messages of a mailbox, in order of UIDs. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    chunks: Arc<[Chunk]>,
}

#[derive(Debug, Clone)]
struct Chunk {
    /// How many rows stand before it.
    before: u32,
    rows: Arc<[Row]>,
}

/// What happened to one message between two tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// It is new.
    Came(Row),
    /// Its flags or mod-sequence are others.
    Changed(Row),
    /// It is gone.
    Gone(Row),
}

impl Rows {
    /// A table of rows that are in order of UIDs.
    pub fn new(rows: &[Row]) -> Rows {
        let mut before = 0;
        let chunk = |rows: &[Row]| {
            let chunk = Chunk { before, rows: rows.into() };
            before += rows.len() as u32;
            chunk
        };
        Rows { chunks: rows.chunks(CHUNK_ROWS).map(chunk).collect() }
    }

    /// How many messages there are.
    pub fn len(&self) -> u32 {
        self.chunks.last().map_or(0, |last| last.before + last.rows.len() as u32)
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// All rows, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        self.chunks.iter().flat_map(|chunk| chunk.rows.iter())
    }

    /// The row with this sequence number, from 1.
    pub fn at(&self, number: u32) -> Option<&Row> {
        let index = number.checked_sub(1)?;
        let chunk = self.chunks.partition_point(|c| c.before <= index).checked_sub(1)?;
        let chunk = &self.chunks[chunk];
        chunk.rows.get((index - chunk.before) as usize)
    }

    /// The sequence number and row of a UID.
    pub fn find(&self, uid: u32) -> Option<(u32, &Row)> {
        let number = self.first_from(uid);
        self.at(number).filter(|row| row.uid == uid).map(|row| (number, row))
    }

    /// The sequence number of the first row whose UID is `uid` or above; one more than all when there is none.
    pub fn first_from(&self, uid: u32) -> u32 {
        let after = self.chunks.partition_point(|c| c.rows.last().is_some_and(|last| last.uid < uid));
        match self.chunks.get(after) {
            Some(chunk) => chunk.before + chunk.rows.partition_point(|row| row.uid < uid) as u32 + 1,
            None => self.len() + 1,
        }
    }

    /// The rows with these sequence numbers (low, high), with their numbers.
    pub fn numbered(&self, low: u32, high: u32) -> impl Iterator<Item = (u32, &Row)> {
        let (low, high) = (low.max(1), high.min(self.len()));
        let first = self.chunks.partition_point(|c| c.before < low).saturating_sub(1);
        let chunks = self.chunks.get(first..).unwrap_or_default();
        let all = chunks
            .iter()
            .flat_map(|c| c.rows.iter().enumerate().map(|(i, row)| (c.before + i as u32 + 1, row)));
        all.skip_while(move |(n, _)| *n < low).take_while(move |(n, _)| *n <= high)
    }

    /// The rows with the sequence numbers of these ranges, with their numbers.
    pub fn in_ranges<'r>(&'r self, ranges: &'r [(u32, u32)]) -> impl Iterator<Item = (u32, &'r Row)> {
        ranges.iter().flat_map(|(low, high)| self.numbered(*low, *high))
    }

    /// The rows with UIDs from `low` to `high`, with their numbers.
    pub fn with_uids(&self, low: u32, high: u32) -> impl Iterator<Item = (u32, &Row)> {
        self.numbered(self.first_from(low), self.len()).take_while(move |(_, row)| row.uid <= high)
    }

    /// The table with one more message at its end. Its UID must be above all others.
    pub fn with_added(&self, added: &[Row]) -> Rows {
        let mut chunks = self.chunks.to_vec();
        let mut rest = added;
        if let Some(last) = chunks.last_mut().filter(|last| last.rows.len() < CHUNK_ROWS) {
            let room = (CHUNK_ROWS - last.rows.len()).min(rest.len());
            last.rows = last.rows.iter().chain(&rest[..room]).copied().collect();
            rest = &rest[room..];
        }
        for rows in rest.chunks(CHUNK_ROWS) {
            let before = chunks.last().map_or(0, |last| last.before + last.rows.len() as u32);
            chunks.push(Chunk { before, rows: rows.into() });
        }
        Rows { chunks: chunks.into() }
    }

    /// The table with each row as `change` wants it: another row of the same UID, or nothing to take it away. Only
    /// chunks that hold a UID of `uids` (sorted) are looked at.
    pub fn changed(&self, uids: &[u32], mut change: impl FnMut(&Row) -> Option<Row>) -> Rows {
        let mut before = 0;
        let mut chunks = Vec::with_capacity(self.chunks.len());
        for chunk in self.chunks.iter() {
            let (Some(first), Some(last)) = (chunk.rows.first(), chunk.rows.last()) else { continue };
            let from = uids.partition_point(|uid| *uid < first.uid);
            let touched = uids.get(from).is_some_and(|uid| *uid <= last.uid);
            let rows: Arc<[Row]> = if touched {
                let one =
                    |row: &Row| if uids.binary_search(&row.uid).is_ok() { change(row) } else { Some(*row) };
                chunk.rows.iter().filter_map(one).collect()
            } else {
                chunk.rows.clone()
            };
            if !rows.is_empty() {
                let len = rows.len() as u32;
                chunks.push(Chunk { before, rows });
                before += len;
            }
        }
        Rows { chunks: chunks.into() }
    }

    /// The table with these packs (UIDs in order, by the number of their bucket) in place of what it has there.
    pub(super) fn with_packs(&self, packs: BTreeMap<u32, Vec<Row>>) -> Rows {
        if packs.is_empty() {
            return self.clone();
        }
        let kept = self.iter().filter(|row| !packs.contains_key(&table::bucket(row.uid))).copied();
        let mut all: Vec<Row> = kept.chain(packs.values().flatten().copied()).collect();
        all.sort_unstable_by_key(|row| row.uid);
        Rows::new(&all)
    }

    /// Whether both are the same table, not only equal.
    pub fn is_same(&self, other: &Rows) -> bool {
        Arc::ptr_eq(&self.chunks, &other.chunks)
    }

    /// What happened from `self` to `newer`, in order of UIDs. Chunks that both share are passed over.
    pub fn differences(&self, newer: &Rows) -> Vec<Difference> {
        if self.is_same(newer) {
            return Vec::new();
        }
        let shared: std::collections::HashSet<*const Row> =
            self.chunks.iter().map(|c| c.rows.as_ptr()).collect();
        let kept: std::collections::HashSet<*const Row> =
            newer.chunks.iter().map(|c| c.rows.as_ptr()).filter(|p| shared.contains(p)).collect();
        let unshared = |rows: &Rows| -> Vec<Row> {
            let own = rows.chunks.iter().filter(|c| !kept.contains(&c.rows.as_ptr()));
            own.flat_map(|c| c.rows.iter().copied()).collect()
        };
        compare(&unshared(self), &unshared(newer))
    }
}

fn compare(old: &[Row], new: &[Row]) -> Vec<Difference> {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    let mut found = Vec::new();
    loop {
        match (old.peek(), new.peek()) {
            (None, None) => return found,
            (Some(o), Some(n)) if o.uid == n.uid => {
                if o != n {
                    found.push(Difference::Changed(**n));
                }
                old.next();
                new.next();
            }
            (Some(o), n) if n.is_none_or(|n| o.uid < n.uid) => {
                found.push(Difference::Gone(**o));
                old.next();
            }
            (_, Some(n)) => {
                found.push(Difference::Came(**n));
                new.next();
            }
            (Some(_), None) => {}
        }
    }
}

/// Rows in a chunk: a change copies one, 14 kB.
const CHUNK_ROWS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(uid: u32) -> Row {
        Row { uid, size: 1, date: 0, came: 1, modseq: 1, flags: Flags(0), blob: ObjectId::ZERO }
    }

    fn table(uids: &[u32]) -> Rows {
        Rows::new(&uids.iter().copied().map(row).collect::<Vec<_>>())
    }

    fn uids(rows: &Rows) -> Vec<u32> {
        rows.iter().map(|r| r.uid).collect()
    }

    #[test]
    fn numbers_and_uids_are_found() {
        let rows = table(&(1..=1000).map(|n| n * 3).collect::<Vec<_>>());
        assert_eq!(rows.len(), 1000);
        assert_eq!(rows.at(500).unwrap().uid, 1500);
        assert_eq!((rows.at(0), rows.at(1001)), (None, None));
        assert_eq!(rows.find(2997).unwrap().0, 999);
        assert!(rows.find(2998).is_none());
        assert_eq!((rows.first_from(0), rows.first_from(2998), rows.first_from(9999)), (1, 1000, 1001));
        assert_eq!(
            rows.with_uids(10, 20).map(|(n, r)| (n, r.uid)).collect::<Vec<_>>(),
            [(4, 12), (5, 15), (6, 18)]
        );
        assert_eq!(rows.numbered(255, 258).map(|(n, _)| n).collect::<Vec<_>>(), [255, 256, 257, 258]);
        assert_eq!(table(&[]).numbered(1, 5).count(), 0);
    }

    proptest! {
        #[test]
        fn differences_lead_from_one_table_to_the_other(
            start in proptest::collection::btree_set(1u32..3000, 0..900),
            gone in proptest::collection::btree_set(1u32..3000, 0..50),
            flagged in proptest::collection::btree_set(1u32..3000, 0..50),
            added in 0u32..600,
        ) {
            let old = table(&start.iter().copied().collect::<Vec<_>>());
            let touched: Vec<u32> = gone.union(&flagged).copied().collect();
            let changed = old.changed(&touched, |r| {
                (!gone.contains(&r.uid)).then_some(Row { flags: Flags::SEEN, ..*r })
            });
            let new = changed.with_added(&(0..added).map(|n| row(3000 + n)).collect::<Vec<_>>());
            let mut expected: Vec<u32> = start.iter().copied().filter(|u| !gone.contains(u)).collect();
            expected.extend((0..added).map(|n| 3000 + n));
            prop_assert_eq!(uids(&new), &expected[..]);
            for (n, uid) in expected.iter().enumerate() {
                prop_assert_eq!(new.find(*uid).unwrap().0 as usize, n + 1);
            }
            let differences = old.differences(&new);
            let came = differences.iter().filter(|d| matches!(d, Difference::Came(_))).count();
            let left = differences.iter().filter(|d| matches!(d, Difference::Gone(_))).count();
            let other = differences.iter().filter(|d| matches!(d, Difference::Changed(_))).count();
            prop_assert_eq!(came, added as usize);
            prop_assert_eq!(left, gone.intersection(&start).count());
            prop_assert_eq!(other, flagged.iter().filter(|u| start.contains(u) && !gone.contains(u)).count());
        }
    }
}
