//! Opening what cannot be opened: everything that is still right is found, and made into a store again.
//!
//! The newest checkpoint that can be read is the ground. Of its runs every block that is right is taken; what the
//! others said is looked for in the records of the log, which stay where they are until a collection moves what is in
//! them. The log after the checkpoint is read over gaps: a transaction with a hole in it is left out, later ones count.
//! Nothing is written before all of this is known, and then only into segments that hold nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::checkpoint::Checkpoint;
use super::copies;
use super::format::{
    BIRTH_OFFSET, FLAG_BEGIN, FLAG_COPIES, FLAG_JUMP, FLAG_MORE, LogPosition, SUPERBLOCK_BYTES,
    SUPERBLOCK_OFFSETS, Superblock,
};
use super::log::{Tail, decode_edits};
use super::replay::{Found, Reader, read_checkpoint};
use super::table::Tables;
use super::{Delta, Edits, Engine, ObjectEntry, Part, keys};
use crate::device::Device;
use crate::{Error, ObjectId, Result, delta, zlib};

/// Most things that are said about damage.
const NOTES_MAX: usize = 200;

/// What a salvage has to say.
#[derive(Debug, Default)]
pub struct Notes(pub Vec<String>);

impl Notes {
    pub fn add(&mut self, note: String) {
        if self.0.len() < NOTES_MAX {
            self.0.push(note);
        }
    }
}

/// Opens whatever can be read of a store.
pub fn open(device: Box<dyn Device>, cache_bytes: usize) -> Result<(Engine, Notes)> {
    let device: Arc<dyn Device> = Arc::from(device);
    let mut notes = Notes::default();
    let (superblock, checkpoint) = ground(&*device, &mut notes)?;
    let segment_bytes = u64::from(superblock.segment_bytes);
    let segments = u32::try_from(device.len()? / segment_bytes).unwrap_or(u32::MAX);
    let has_checkpoint = checkpoint.is_some();
    let checkpoint = checkpoint.unwrap_or_default();
    let records = Records::find(&*device, &superblock, segments)?;
    let start = has_checkpoint.then_some(superblock.start);
    let edits = records.transactions(start, superblock.reached, &mut notes)?;
    let in_runs: BTreeSet<u32> = checkpoint.runs.iter().flat_map(|run| &run.segments).copied().collect();
    let mut log: Vec<u32> = checkpoint.log.clone();
    // Any segment may hold a record that is wanted; what a run has for itself holds none but old ones.
    let with_records: BTreeSet<u32> = records.found.iter().map(|found| found.at.segment).collect();
    log.extend(
        with_records
            .into_iter()
            .filter(|segment| !checkpoint.log.contains(segment) && !in_runs.contains(segment)),
    );
    let used: BTreeSet<u32> = in_runs.union(&log.iter().copied().collect()).copied().collect();
    // The log goes on in a segment that holds nothing, or behind everything.
    let mut free: Vec<u32> = (1..segments).rev().filter(|segment| !used.contains(segment)).collect();
    let segment = free.pop().unwrap_or(segments);
    let all = segments.max(segment + 1);
    super::grow(&*device, u64::from(all) * segment_bytes)?;
    let end = LogPosition { segment, offset: 0, seq: records.seq_max() + 1, chain: 0 };
    log.push(segment);
    let runs = checkpoint.runs.into_iter().map(Arc::new).collect();
    let mut tail = Tail::at(superblock, end);
    (tail.log, tail.free, tail.segments, tail.passed) = (log, free, all, checkpoint.passed);
    tail.next_number = checkpoint.next_number.max(1);
    let tables = Tables { runs: Arc::new(runs), ..Tables::default() };
    let engine = Engine::assemble(Box::new(device.clone()), segment_bytes, tail, tables, cache_bytes);
    engine.tolerates.store(true, Ordering::SeqCst);
    let lost = engine.lost_ranges(&mut notes);
    let lost = if has_checkpoint { lost } else { vec![Vec::new()..vec![u8::MAX; 64]] };
    engine.apply_counted(edits);
    if !lost.is_empty() {
        engine.find_again(&records, &lost, &mut notes)?;
    }
    Ok((engine, notes))
}

/// The newest superblock whose checkpoint can be read, else whichever there is.
fn ground(device: &dyn Device, notes: &mut Notes) -> Result<(Superblock, Option<Checkpoint>)> {
    let mut read = |offset: u64| {
        let mut bytes = [0; SUPERBLOCK_BYTES];
        let superblock =
            device.read(offset, &mut bytes).map_err(Error::from).and_then(|()| Superblock::decode(&bytes));
        superblock.map_err(|error| notes.add(format!("at byte {offset}: {error}"))).ok()
    };
    let mut found: Vec<Superblock> = SUPERBLOCK_OFFSETS.into_iter().filter_map(&mut read).collect();
    let birth = read(BIRTH_OFFSET);
    found.sort_by_key(|superblock| std::cmp::Reverse(superblock.generation));
    let reached = found.iter().map(|superblock| superblock.reached).max().unwrap_or(0);
    let Some(first) = found.first().copied().or(birth) else {
        return Err(Error::corrupt(
            "none of the three superblocks can be read; this is no store, or all of it is gone",
        ));
    };
    for mut superblock in found {
        superblock.reached = reached;
        match read_checkpoint(device, &superblock) {
            Ok(checkpoint) => return Ok((superblock, Some(checkpoint))),
            Err(error) => notes.add(format!("a checkpoint is lost: {error}")),
        }
    }
    Ok((Superblock { reached, ..first }, None))
}

/// Every record on the device that is right.
struct Records<'a> {
    reader: Reader<'a>,
    /// By sequence, older lives of segments among them.
    found: Vec<Found>,
}

impl<'a> Records<'a> {
    fn find(device: &'a dyn Device, superblock: &Superblock, segments: u32) -> Result<Records<'a>> {
        let reader = Reader::new(device, superblock, segments);
        let mut found = Vec::new();
        for segment in 1..segments {
            reader.each_in_segment(segment, |one| found.push(one))?;
        }
        found.sort_by_key(|one| one.header.seq);
        Ok(Records { reader, found })
    }

    fn seq_max(&self) -> u64 {
        self.found.last().map_or(0, |one| one.header.seq)
    }

    /// What the transactions from a place on say, holes left out. Without a place, all that there are.
    fn transactions(
        &self,
        start: Option<LogPosition>,
        reached: u64,
        notes: &mut Notes,
    ) -> Result<Vec<Edits>> {
        // Up to here everything was flushed once: behind a hole nothing later is believed.
        let durable = self.found.iter().map(|one| one.header.durable).max().unwrap_or(0);
        let flushed = durable.max(reached.saturating_sub(1));
        let mut said = Vec::new();
        let mut pending: Option<Edits> = Some(Edits::new());
        let (mut next, mut chain) = start.map_or((1, None), |start| (start.seq, Some(start.chain)));
        while let Some(one) = self.next(next, chain, flushed) {
            let header = one.header;
            if header.seq != next || chain.is_some_and(|chain| chain != header.chain) {
                if start.is_some() {
                    notes.add(format!(
                        "records {next} to {} of the log are lost",
                        header.seq.saturating_sub(1)
                    ));
                }
                pending = None;
            }
            (next, chain) = (header.seq + 1, Some(one.crc));
            if header.flags & FLAG_BEGIN != 0 {
                pending = Some(Edits::new());
            }
            if header.flags & (FLAG_JUMP | FLAG_COPIES) != 0 {
                continue;
            }
            let Some(edits) = &mut pending else { continue };
            decode_edits(&self.reader.entries(one)?, edits)?;
            if header.flags & FLAG_MORE == 0 {
                said.push(std::mem::take(edits));
            }
        }
        if next <= flushed {
            notes.add(format!("records {next} to {flushed} of the log are lost"));
        }
        Ok(said)
    }

    /// The record that comes next: the one that is chained to the last, or behind a hole the nearest that was flushed
    /// once. What lies on the device of older lives of segments is chained to nothing.
    fn next(&self, seq: u64, chain: Option<u32>, flushed: u64) -> Option<&Found> {
        let usable = |one: &&Found| one.whole || one.header.seq <= flushed;
        let from = self.found.partition_point(|one| one.header.seq < seq);
        let of = |seq: u64| {
            let start = self.found.partition_point(|one| one.header.seq < seq);
            self.found[start..].iter().take_while(move |one| one.header.seq == seq)
        };
        if let Some(fitting) =
            of(seq).filter(usable).find(|one| chain.is_none_or(|chain| one.header.chain == chain))
        {
            return Some(fitting);
        }
        let later = self.found.get(from)?.header.seq;
        let candidates = || of(later).filter(usable).filter(|one| one.header.seq <= flushed);
        let goes_on = |one: &&Found| of(later + 1).any(|after| after.header.chain == one.crc);
        candidates().find(goes_on).or_else(|| candidates().last())
    }
}

impl Engine {
    /// Applies transactions, and counts objects on.
    fn apply_counted(&self, transactions: Vec<Edits>) {
        for edits in transactions {
            let numbers = edits.iter().filter(|(key, _)| key.first() == Some(&b'o'));
            let numbers = numbers.filter_map(|(_, value)| ObjectEntry::decode(value.as_ref()?).ok());
            let most = numbers.map(|entry| entry.number + 1).max().unwrap_or(0);
            let mut tail = self.tail();
            tail.next_number = tail.next_number.max(most);
            drop(tail);
            self.apply(edits);
        }
    }

    /// Ranges of keys of which some run cannot be read.
    fn lost_ranges(&self, notes: &mut Notes) -> Vec<Range<Vec<u8>>> {
        let runs = self.tables.read().unwrap_or_else(|poisoned| poisoned.into_inner()).runs.clone();
        let mut lost = Vec::new();
        for run in runs.iter() {
            for (range, error) in run.damage(self) {
                notes.add(format!("a part of the index is lost: {error}"));
                lost.push(range);
            }
        }
        lost
    }

    /// Looks in the log for what the lost parts of the index said. Objects count when they can be read; of names the
    /// last that was said. Tables that have lost something are to be derived again.
    fn find_again(&self, records: &Records<'_>, lost: &[Range<Vec<u8>>], notes: &mut Notes) -> Result<()> {
        let is_lost =
            |key: &[u8]| lost.iter().any(|range| range.start.as_slice() <= key && key < range.end.as_slice());
        let mut names: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
        let mut copied = Vec::new();
        for one in &records.found {
            if one.header.flags & FLAG_JUMP != 0 {
                continue;
            }
            let Ok(entries) = records.reader.entries(one) else { continue };
            if one.header.flags & FLAG_COPIES != 0 {
                copied.extend(copies_in(records, one, &entries));
                continue;
            }
            let mut edits = Edits::new();
            if decode_edits(&entries, &mut edits).is_err() {
                continue;
            }
            for (key, value) in edits.into_iter().filter(|(key, _)| is_lost(key)) {
                let unknown_object = key.first() == Some(&b'o') && self.get_or_lost(&key)?.is_none();
                match (key.first(), &value) {
                    (Some(b'o'), Some(said)) if unknown_object && self.is_readable(said) => {
                        self.apply_counted(vec![vec![(key, value)]]);
                    }
                    (Some(b'r' | b's' | b'm' | b'f' | b'p'), _) => drop(names.insert(key, value)),
                    _ => {}
                }
            }
        }
        for (key, value) in names {
            if self.get_or_lost(&key)?.is_none() {
                self.apply(vec![(key, value)]);
            }
        }
        self.enter_copies(copied, &is_lost)?;
        let tables: Vec<&Range<Vec<u8>>> = lost
            .iter()
            .filter(|range| range.end.as_slice() > &b"i"[..] && range.start.as_slice() < &b"j"[..])
            .collect();
        if !tables.is_empty() {
            notes.add("derived tables have lost something: they are derived again".into());
            self.drop_table_states()?;
        }
        Ok(())
    }

    /// Copies are listed without ids: each is read, and its id computed; deltas follow their bases.
    fn enter_copies(
        &self,
        copied: Vec<(copies::Listed, Part)>,
        is_lost: &dyn Fn(&[u8]) -> bool,
    ) -> Result<()> {
        // What a number was, as far as it is known by now.
        let mut ids: BTreeMap<u64, ObjectId> = BTreeMap::new();
        self.each_tolerant(b"o", |key, value| {
            if let (Ok(entry), Some(id)) = (ObjectEntry::decode(value), ObjectId::from_bytes(&key[1..])) {
                ids.insert(entry.number, id);
            }
        })?;
        let mut waiting = copied;
        loop {
            let before = waiting.len();
            let mut later = Vec::new();
            for (listed, part) in waiting {
                let base = listed.delta.map(|(base, ..)| ids.get(&base).copied());
                if base == Some(None) {
                    later.push((listed, part));
                    continue;
                }
                let delta = listed.delta.zip(base.flatten());
                let delta = delta.map(|((_, size_bytes, depth), base)| Delta { base, size_bytes, depth });
                let (kind, number, size_bytes) = (listed.kind, listed.number, listed.size_bytes);
                let entry =
                    ObjectEntry { kind, number, quarantine: None, size_bytes, delta, parts: vec![part] };
                if !self.is_readable(&entry.encode()) {
                    continue;
                }
                let Ok(content) = self.whole(&entry, 0) else { continue };
                let id = ObjectId::of(kind, &content)?;
                let key = keys::object(&id);
                ids.entry(number).or_insert(id);
                if is_lost(&key) && self.get_or_lost(&key)?.is_none() {
                    self.apply_counted(vec![vec![(key, Some(entry.encode()))]]);
                }
            }
            if later.len() == before || later.is_empty() {
                return Ok(());
            }
            waiting = later;
        }
    }

    /// Whether an object can be read, and lies where it stays: what lies in the segments of a run is overwritten one day.
    fn is_readable(&self, value: &[u8]) -> bool {
        let log: BTreeSet<u32> = self.tail().log.iter().copied().collect();
        let readable = |entry: ObjectEntry| {
            entry
                .parts
                .iter()
                .all(|part| log.contains(&self.segment_of(part)) && self.read_part(part).is_ok())
        };
        ObjectEntry::decode(value).is_ok_and(readable)
    }

    /// The content of an object, without caches.
    fn whole(&self, entry: &ObjectEntry, depth: u32) -> Result<Vec<u8>> {
        let mut stream = Vec::new();
        for part in &entry.parts {
            stream.extend_from_slice(&self.read_part(part)?);
        }
        let Some(made_of) = entry.delta else { return zlib::inflate(&stream, entry.size_bytes) };
        let base = self.get_or_lost(&keys::object(&made_of.base))?.ok_or(Error::Missing(made_of.base))?;
        if depth > 250 {
            return Err(Error::corrupt("an object hangs on too many deltas"));
        }
        let base = self.whole(&ObjectEntry::decode(&base)?, depth + 1)?;
        delta::apply(&base, &zlib::inflate(&stream, made_of.size_bytes)?)
    }

    /// The value under a key; nothing where the run that has it cannot be read.
    fn get_or_lost(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.get(key) {
            Err(Error::Corrupt { .. } | Error::Device(_)) => Ok(None),
            other => other,
        }
    }

    fn drop_table_states(&self) -> Result<()> {
        let mut states = Vec::new();
        self.each_tolerant(b"a", |key, _| states.push((key.to_vec(), None)))?;
        self.apply(states);
        Ok(())
    }

    fn each_tolerant(&self, prefix: &[u8], mut then: impl FnMut(&[u8], &[u8])) -> Result<()> {
        let end = keys::after_prefix(prefix);
        let mut from = prefix.to_vec();
        loop {
            let page = self.scan(&from, &end, 256)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            from.clone_from(last);
            from.push(0);
            page.iter().for_each(|(key, value)| then(key, value));
        }
    }
}

/// The copies of a record, with their places.
fn copies_in(records: &Records<'_>, one: &Found, entries: &[u8]) -> Vec<(copies::Listed, Part)> {
    let Ok(listed) = copies::list(entries) else { return Vec::new() };
    let mut offset = records.reader.payload_offset(one);
    let mut found = Vec::with_capacity(listed.len());
    for listed in listed {
        let len = listed.len as u32;
        if let Ok(crc) = records.reader.checksum(offset, len) {
            let part = Part { offset, len, crc };
            found.push((listed, part));
        }
        offset += u64::from(len);
    }
    found
}
