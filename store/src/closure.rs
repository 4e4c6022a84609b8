//! Everything that some objects reach, in the order in which it lies on the device: what a clone is sent.
//!
//! What is reached is known from notes and a walk over what came since. The index is gone through once for each few
//! hundred thousand objects, so that memory stays bounded however many there are; the device is read from its beginning
//! to its end. A delta comes after its base, which lies before it nearly always.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use git_wire::walk::Selection;
use git_wire::{ClosureBase, ClosureObject, ClosureObjects, Kind, ObjectId, RepositoryError, Zlib};

use crate::core::Core;
use crate::engine::{ObjectEntry, Part, kind_from, kind_number};
use crate::forget::Marks;
use crate::large::StreamReader;
use crate::{Error, Result, zlib};

/// Objects that are put in order at a time: some twenty megabytes, thirty while they are.
const ORDERED_MAX: usize = 400_000;
/// Bytes that are read at a time.
const AHEAD_BYTES: u64 = 256 << 10;

/// Which objects: those with a number that is marked, and those with an id that was found.
#[derive(Default)]
pub(crate) struct Reach {
    pub marks: Marks,
    pub found: Selection,
}

impl Reach {
    /// Whether the object of an id and a number is among them.
    pub fn has(&self, id: &ObjectId, number: u64) -> bool {
        self.marks.has(number) || self.found.contains(id)
    }
}

/// Reads the objects of a reach.
pub(crate) struct ClosureReader {
    core: Arc<Core>,
    reach: Reach,
    /// Segments that are still to be read.
    ranges: VecDeque<Range<u32>>,
    batch: Batch,
    /// Bytes of the device, and where they begin.
    ahead: (u64, Vec<u8>),
    /// A stream that was made for one object.
    made: Vec<u8>,
}

/// Objects of some segments.
#[derive(Default)]
struct Batch {
    segments: Range<u32>,
    /// In the order of their ids.
    items: Vec<Item>,
    /// What the deltas among them are made from.
    bases: Vec<ObjectId>,
    /// Where each of them stands in the pack, or one of the two below.
    places: Vec<u32>,
    /// The items in the order in which they lie on the device, and how far they are sent.
    order: Vec<u32>,
    next: usize,
    /// Items that are sent before the next one: it is made from them.
    first: Vec<u32>,
    sent: u32,
}

/// Not sent yet; to be sent before something that is made from it.
const UNSENT: u32 = u32::MAX;
const DUE: u32 = u32::MAX - 1;

/// An object, as short as it can be said.
struct Item {
    id: ObjectId,
    kind: u8,
    len: u32,
    crc: u32,
    /// Of the stream, inflated; `LARGE` for what the index has to be asked again.
    size: u32,
    /// The item that it is made from, or one of those below.
    base: u32,
    offset: u64,
}

const LARGE: u32 = u32::MAX;
/// No delta; a delta against what is in no or in an earlier batch.
const WHOLE: u32 = u32::MAX;
const ELSEWHERE: u32 = u32::MAX - 1;
/// Below this and above half of it: the item is not known yet. So many less than this, counted from one, is the base among
/// the batch's.
const UNKNOWN: u32 = u32::MAX - 1;

impl ClosureReader {
    /// Gives the reader, and how many objects it will read.
    pub fn new(core: Arc<Core>, reach: Reach) -> Result<(ClosureReader, u64)> {
        ClosureReader::in_batches(core, reach, ORDERED_MAX)
    }

    fn in_batches(core: Arc<Core>, reach: Reach, ordered_max: usize) -> Result<(ClosureReader, u64)> {
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        // What was found may be marked too.
        let most = reach.marks.count() as usize + reach.found.len();
        let is_one_batch = most <= ordered_max;
        let mut all = Listing::new(if is_one_batch { most } else { 0 });
        let mut count = 0;
        core.each(b"o", |key, value| {
            let listed = Listed::decode(key, value)?;
            if reach.has(&listed.id, listed.entry.number) {
                count += 1;
                if is_one_batch {
                    all.add(&listed);
                } else {
                    *counts.entry(core.engine.segment_of(&listed.part)).or_default() += 1;
                }
            }
            Ok(())
        })?;
        let mut ranges = VecDeque::new();
        let mut batch = Batch::default();
        if is_one_batch {
            batch = all.ordered(0..u32::MAX);
        } else {
            let (mut start, mut held) = (0, 0);
            for (segment, count) in counts {
                if held > 0 && held + count > ordered_max {
                    ranges.push_back(start..segment);
                    (start, held) = (segment, 0);
                }
                held += count;
            }
            ranges.push_back(start..u32::MAX);
        }
        let reader = ClosureReader { core, reach, ranges, batch, ahead: (0, Vec::new()), made: Vec::new() };
        Ok((reader, count as u64))
    }

    fn next_batch(&mut self) -> Result<bool> {
        let Some(segments) = self.ranges.pop_front() else { return Ok(false) };
        self.batch = Batch::default();
        let mut listing = Listing::new(0);
        self.core.each(b"o", |key, value| {
            let listed = Listed::decode(key, value)?;
            let segment = self.core.engine.segment_of(&listed.part);
            if segments.contains(&segment) && self.reach.has(&listed.id, listed.entry.number) {
                listing.add(&listed);
            }
            Ok(())
        })?;
        self.batch = listing.ordered(segments);
        Ok(true)
    }

    /// The item that is sent next, and what it is a delta against; what it is made from comes first.
    fn next_item(&mut self) -> Result<Option<usize>> {
        loop {
            if let Some(at) = self.batch.next_item() {
                return Ok(Some(at));
            }
            if !self.next_batch()? {
                return Ok(None);
            }
        }
    }

    fn object(&mut self, at: usize) -> Result<ClosureObject<'_>> {
        let place = self.batch.sent;
        self.batch.places[at] = place;
        self.batch.sent += 1;
        let item = &self.batch.items[at];
        let kind = kind_from(item.kind)?;
        let (id, len, offset) = (item.id, item.len as usize, item.offset);
        let base = match item.base {
            WHOLE => Some(None),
            ELSEWHERE => self.earlier_base(&id)?.map(|base| Some(ClosureBase::Id(base))),
            base => match self.batch.places[base as usize] {
                // A collection turned base and delta around while the index was read.
                UNSENT | DUE => None,
                place => Some(Some(ClosureBase::Place(place))),
            },
        };
        let Some(base) = base else { return self.whole(place, kind, id) };
        if item.size == LARGE {
            let entry = self.core.any_entry(&id)?.ok_or(Error::Missing(id))?;
            if base.is_some() != entry.delta.is_some() {
                return self.whole(place, kind, id);
            }
            let size_bytes = entry.delta.map_or(entry.size_bytes, |delta| delta.size_bytes);
            let zlib = Zlib::Pieces(Box::new(StreamReader::new(self.core.clone(), id, entry)));
            return Ok(ClosureObject { place, kind, size_bytes, base, zlib });
        }
        let (size_bytes, crc) = (u64::from(item.size), item.crc);
        let at = self.read(offset, len)?;
        if crc32fast::hash(&self.ahead.1[at..at + len]) != crc {
            // A collection has moved it.
            return self.whole(place, kind, id);
        }
        let zlib = Zlib::Slice(&self.ahead.1[at..at + len]);
        Ok(ClosureObject { place, kind, size_bytes, base, zlib })
    }

    /// An object that is sent otherwise than it was listed: it is made whole.
    fn whole(&mut self, place: u32, kind: Kind, id: ObjectId) -> Result<ClosureObject<'_>> {
        let entry = self.core.any_entry(&id)?.ok_or(Error::Missing(id))?;
        let size_bytes = entry.size_bytes;
        if entry.delta.is_none() {
            let zlib = Zlib::Pieces(Box::new(StreamReader::new(self.core.clone(), id, entry)));
            return Ok(ClosureObject { place, kind, size_bytes, base: None, zlib });
        }
        self.made = zlib::deflate(&self.core.object(&id)?.1);
        Ok(ClosureObject { place, kind, size_bytes, base: None, zlib: Zlib::Slice(&self.made) })
    }

    /// What an object is made from, if that was sent in an earlier batch.
    fn earlier_base(&self, id: &ObjectId) -> Result<Option<ObjectId>> {
        let Some(delta) = self.core.any_entry(id)?.and_then(|entry| entry.delta) else { return Ok(None) };
        let base = self.core.any_entry(&delta.base)?.filter(|base| {
            let segment = base.parts.first().map_or(0, |part| self.core.engine.segment_of(part));
            segment < self.batch.segments.start && self.reach.has(&delta.base, base.number)
        });
        Ok(base.map(|_| delta.base))
    }

    /// Has bytes of the device at hand; says where they begin.
    fn read(&mut self, offset: u64, len: usize) -> Result<usize> {
        let end = offset + len as u64;
        if offset < self.ahead.0 || end > self.ahead.0 + self.ahead.1.len() as u64 {
            self.core.engine.read_ahead(offset, AHEAD_BYTES.max(len as u64), &mut self.ahead.1)?;
            self.ahead.0 = offset;
            // Shorter than what is listed only where the list is wrong.
            if self.ahead.1.len() < len {
                self.ahead.1.resize(len, 0);
            }
        }
        Ok((offset - self.ahead.0) as usize)
    }
}

impl ClosureObjects for ClosureReader {
    fn next(&mut self) -> std::result::Result<Option<ClosureObject<'_>>, RepositoryError> {
        match self.next_item()? {
            Some(at) => Ok(Some(self.object(at)?)),
            None => Ok(None),
        }
    }
}

impl Batch {
    /// What an item is made from; looked for only now, so that a client does not wait for it.
    fn base(&mut self, at: usize) -> u32 {
        let base = self.items[at].base;
        if (UNKNOWN / 2..UNKNOWN).contains(&base) {
            let found = find(&self.items, &self.bases[(UNKNOWN - base - 1) as usize]);
            self.items[at].base = found.map_or(ELSEWHERE, |found| found as u32);
        }
        self.items[at].base
    }

    fn next_item(&mut self) -> Option<usize> {
        if let Some(at) = self.first.pop() {
            return Some(at as usize);
        }
        while let Some(at) = self.order.get(self.next).copied() {
            self.next += 1;
            if self.places[at as usize] != UNSENT {
                continue;
            }
            // What it is made from, as far as that was not sent, from the far end on.
            let mut at = at;
            loop {
                self.places[at as usize] = DUE;
                let base = self.base(at as usize);
                if base >= ELSEWHERE || self.places[base as usize] != UNSENT {
                    return Some(at as usize);
                }
                self.first.push(at);
                at = base;
            }
        }
        None
    }
}

/// Objects of a batch, as they are found.
struct Listing {
    items: Vec<Item>,
    /// What the deltas among them are made from.
    bases: Vec<ObjectId>,
}

impl Listing {
    fn new(most: usize) -> Listing {
        Listing { items: Vec::with_capacity(most), bases: Vec::new() }
    }

    fn add(&mut self, listed: &Listed) {
        let Listed { id, entry, part, is_whole } = listed;
        let base = match entry.delta {
            None => WHOLE,
            Some(delta) => {
                self.bases.push(delta.base);
                UNKNOWN - self.bases.len() as u32
            }
        };
        let size_bytes = entry.delta.map_or(entry.size_bytes, |delta| delta.size_bytes);
        let size = if *is_whole { u32::try_from(size_bytes).unwrap_or(LARGE) } else { LARGE };
        let Part { offset, len, crc } = *part;
        self.items.push(Item { id: *id, kind: kind_number(entry.kind), len, crc, size, base, offset });
    }

    fn ordered(self, segments: Range<u32>) -> Batch {
        let Listing { items, bases } = self;
        let mut order: Vec<(u64, u32)> =
            items.iter().enumerate().map(|(at, item)| (item.offset, at as u32)).collect();
        order.sort_unstable();
        let order = order.into_iter().map(|(_, at)| at).collect();
        let places = vec![UNSENT; items.len()];
        Batch { segments, items, bases, places, order, ..Batch::default() }
    }
}

/// An object as the index has it.
struct Listed {
    id: ObjectId,
    entry: ObjectEntry,
    /// Its first part, and whether that is all of it.
    part: Part,
    is_whole: bool,
}

impl Listed {
    fn decode(key: &[u8], value: &[u8]) -> Result<Listed> {
        let id = ObjectId::from_bytes(&key[1..]).ok_or_else(|| Error::corrupt("a key of the index"))?;
        let (entry, part, is_whole) = ObjectEntry::decode_first(value)?;
        Ok(Listed { id, entry, part, is_whole })
    }
}

/// Where an id stands among items in the order of their ids, which are as good as drawn at random: near to where it would
/// be if they were evenly spread. From there the steps become larger.
fn find(items: &[Item], id: &ObjectId) -> Option<usize> {
    let number = u64::from_be_bytes(id.0[..8].try_into().unwrap_or_default());
    let mut at = ((u128::from(number) * items.len() as u128) >> 64) as usize;
    let (mut low, mut high) = (0, items.len());
    let mut step = 8;
    while low < high {
        match items[at].id.cmp(id) {
            Ordering::Equal => return Some(at),
            Ordering::Less => {
                low = at + 1;
                at = if step < high - low { low + step } else { low + (high - low) / 2 };
            }
            Ordering::Greater => {
                high = at;
                at = if step < high - low { high - step } else { low + (high - low) / 2 };
            }
        }
        step *= 2;
    }
    None
}

#[cfg(test)]
mod tests {
    use git_wire::memory::MemoryRepository;
    use git_wire::serve::ClosureSender;
    use git_wire::walk::{Filter, History, select};
    use git_wire::{Closure, Limits, RefUpdate, Repository, View, pack};

    use super::*;
    use crate::{Author, MemoryDevice, Options, Store};

    /// Bytes that deflate badly.
    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let id = |at: usize| ObjectId::of(Kind::Blob, format!("{seed} {at}").as_bytes()).unwrap().0;
        (0..len / 20).flat_map(id).collect()
    }

    fn write(store: &Store, branch: &str, rounds: Range<u64>) {
        for round in rounds {
            let mut change = store.branch(branch).unwrap().begin().unwrap();
            let mut text = noise(round / 5, 2_000);
            text.extend_from_slice(&noise(round, 300));
            change.put(format!("{}/{}/{round}", round % 3, round % 7), text).unwrap();
            change.put("large", noise(round / 20, 60_000)).unwrap();
            change.commit(Author::new("Ada", "ada@example.org"), "a round").unwrap();
        }
    }

    /// What a receiver makes of a clone that is sent in batches of so many objects.
    fn received(store: &Store, ordered_max: usize) -> usize {
        let view = store.view().unwrap();
        let wanted: Vec<ObjectId> = view.refs(&[]).unwrap().iter().map(|one| one.id).collect();
        let reach = crate::forget::closure(store.core(), &*view, &wanted).unwrap().unwrap();
        let (reader, count) = ClosureReader::in_batches(store.core().clone(), reach, ordered_max).unwrap();
        let closure = Closure { count, objects: Box::new(reader) };
        let mut sender = ClosureSender::new(closure, &Limits::default(), Vec::new()).unwrap();
        while sender.step().unwrap() {}
        let packed = sender.finish().unwrap();
        let copy = MemoryRepository::new();
        let mut quarantine = copy.quarantine().unwrap();
        let (checked, rest) =
            pack::receive(&packed[..], &mut *quarantine, &Limits::default(), &[], &mut |_, _| Ok(()))
                .unwrap();
        assert!(rest.is_empty() && checked.external.is_empty());
        let update = RefUpdate { name: b"refs/heads/main".to_vec(), old: ObjectId::ZERO, new: wanted[0] };
        quarantine.publish(&[update], true).unwrap()[0].as_ref().unwrap();
        copy.len()
    }

    fn walked(view: &dyn View) -> usize {
        let wanted: Vec<ObjectId> = view.refs(&[]).unwrap().iter().map(|one| one.id).collect();
        let history = History::new(view, Default::default());
        select(view, &history, &wanted, &[], Filter::default(), &Limits::default()).unwrap().len()
    }

    #[test]
    fn a_clone_is_whole_however_it_is_cut_and_whatever_was_collected() {
        let options = Options::new().segment_bytes(32 << 10);
        let store = Store::create(MemoryDevice::new(), options).unwrap();
        write(&store, "main", 0..60);
        store.create_branch("side", store.branch("main").unwrap().head().unwrap()).unwrap();
        for round in 0..3u64 {
            write(&store, "main", 100 + round * 40..120 + round * 40);
            write(&store, "side", 120 + round * 40..140 + round * 40);
            let whole = walked(&*store.view().unwrap());
            for ordered_max in [1, 7, 150, ORDERED_MAX] {
                assert_eq!(received(&store, ordered_max), whole, "{round} {ordered_max}");
            }
            store.gc().unwrap();
            for ordered_max in [3, 90, ORDERED_MAX] {
                assert_eq!(received(&store, ordered_max), whole, "{round} {ordered_max} collected");
            }
        }
    }
}
