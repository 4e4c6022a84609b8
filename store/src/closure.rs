//! Everything that some objects reach, in the order in which it lies on the device: what a clone is sent.
//!
//! What is reached is known from the notes of the last collection and a walk over what came since. The index is gone
//! through once for each hundred and fifty thousand objects, so that memory stays bounded however many there are.

use std::collections::{BTreeMap, VecDeque};
use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;
use git_wire::{ObjectId, RepositoryError, Stored, Zlib};

use crate::core::Core;
use crate::engine::{ObjectEntry, Part};
use crate::forget::Marks;
use crate::large::StreamReader;
use crate::{Error, Result, zlib};

/// Objects that are put in order at a time: some fifteen megabytes.
const ORDERED_MAX: u64 = 150_000;
/// Bytes that are read at a time.
const AHEAD_BYTES: u64 = 256 << 10;

/// Reads the objects of a set of numbers.
pub(crate) struct ClosureReader {
    core: Arc<Core>,
    marks: Marks,
    /// Ranges of segments that are still to be read.
    ranges: VecDeque<std::ops::Range<u32>>,
    batch: std::vec::IntoIter<(ObjectId, ObjectEntry)>,
    /// Bytes of the device, and where they begin.
    ahead: (u64, Bytes),
}

impl ClosureReader {
    pub fn new(core: Arc<Core>, marks: Marks) -> Result<ClosureReader> {
        let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
        core.each(b"o", |_, value| {
            let entry = ObjectEntry::decode(value)?;
            if marks.has(entry.number) {
                *counts.entry(place(&core, &entry).0).or_default() += 1;
            }
            Ok(())
        })?;
        let mut ranges = VecDeque::new();
        let (mut start, mut held) = (0, 0);
        for (segment, count) in counts {
            if held > 0 && held + count > ORDERED_MAX {
                ranges.push_back(start..segment);
                (start, held) = (segment, 0);
            }
            held += count;
        }
        ranges.push_back(start..u32::MAX);
        let reader =
            ClosureReader { core, marks, ranges, batch: Vec::new().into_iter(), ahead: (0, Bytes::new()) };
        Ok(reader)
    }

    fn next_batch(&mut self) -> Result<bool> {
        let Some(range) = self.ranges.pop_front() else { return Ok(false) };
        let mut batch = Vec::new();
        self.core.each(b"o", |key, value| {
            let entry = ObjectEntry::decode(value)?;
            if self.marks.has(entry.number) && range.contains(&place(&self.core, &entry).0) {
                let id =
                    ObjectId::from_bytes(&key[1..]).ok_or_else(|| Error::corrupt("a key of the index"))?;
                batch.push((id, entry));
            }
            Ok(())
        })?;
        batch.sort_unstable_by_key(|(_, entry)| place(&self.core, entry));
        self.batch = batch.into_iter();
        Ok(true)
    }

    fn stored(&mut self, id: ObjectId, entry: ObjectEntry) -> Result<Stored> {
        if let Some(delta) = entry.delta {
            let base = self.core.any_entry(&delta.base)?;
            if base.is_none_or(|base| !self.marks.has(base.number)) {
                let content = self.core.object(&id)?.1;
                let zlib = Zlib::Bytes(zlib::deflate(&content));
                return Ok(Stored { kind: entry.kind, size_bytes: entry.size_bytes, base: None, zlib });
            }
        }
        let (kind, base) = (entry.kind, entry.delta.map(|delta| delta.base));
        let size_bytes = entry.delta.map_or(entry.size_bytes, |delta| delta.size_bytes);
        if let [part] = &entry.parts[..]
            && let Some(stream) = self.part(part)?
        {
            return Ok(Stored { kind, size_bytes, base, zlib: Zlib::Pieces(Box::new(Cursor::new(stream))) });
        }
        let zlib = Zlib::Pieces(Box::new(StreamReader::new(self.core.clone(), id, entry)));
        Ok(Stored { kind, size_bytes, base, zlib })
    }

    /// The bytes of a part, most of them read together with their neighbours. `None` when they are not there any more:
    /// a collection has moved them.
    fn part(&mut self, part: &Part) -> Result<Option<Bytes>> {
        let (start, bytes) = &self.ahead;
        let end = part.offset + u64::from(part.len);
        if part.offset < *start || end > start + bytes.len() as u64 {
            let bytes = self.core.engine.read_ahead(part.offset, AHEAD_BYTES.max(u64::from(part.len)))?;
            self.ahead = (part.offset, bytes.into());
        }
        let at = (part.offset - self.ahead.0) as usize;
        let found = self.ahead.1.slice(at..(at + part.len as usize).min(self.ahead.1.len()));
        Ok((crc32fast::hash(&found) == part.crc).then_some(found))
    }
}

/// Segment and offset of an object.
fn place(core: &Core, entry: &ObjectEntry) -> (u32, u64) {
    entry.parts.first().map_or((0, 0), |part| (core.engine.segment_of(part), part.offset))
}

impl Iterator for ClosureReader {
    type Item = std::result::Result<(ObjectId, Stored), RepositoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((id, entry)) = self.batch.next() {
                return Some(
                    self.stored(id, entry).map(|stored| (id, stored)).map_err(RepositoryError::from),
                );
            }
            match self.next_batch() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}
