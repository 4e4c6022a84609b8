//! Everything that some objects reach, in the order in which it lies on the device: what a clone is sent.
//!
//! What is reached is known from notes and a walk over what came since. The index is gone through once for each few
//! hundred thousand objects, so that memory stays bounded however many there are; the device is read from its beginning
//! to its end. A delta comes after its base, which lies before it nearly always. That nobody waits for the list, some
//! whole objects are sent while it is made.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;

use git_wire::{ClosureBase, ClosureObject, ClosureObjects, Kind, ObjectId, RepositoryError, Zlib};

use crate::core::Core;
use crate::engine::{ObjectEntry, Part, kind_from, kind_number};
use crate::forget::{Marks, forget_reach};
use crate::large::StreamReader;
use crate::{Error, Result, zlib};

/// How a closure is cut.
#[derive(Clone, Copy)]
struct Cut {
    /// Objects that are put in order at a time: some twenty megabytes, thirty while they are.
    ordered_max: usize,
    /// About so many objects are looked at for whole ones that are sent while all are listed.
    early: u64,
}

/// The client is busy with these for longer than it takes to list a hundred thousand.
const CUT: Cut = Cut { ordered_max: 400_000, early: 8192 };
/// So many of those found early are sent at any rate; more as long as the list is not made. They lie scattered.
const EARLY_MIN: u32 = 32;
/// Of the thread that makes the list: it goes through the index and nowhere deep.
const STACK_BYTES: usize = 256 << 10;
/// A list is made of so many objects at a time, of a tenth of a millisecond.
const TURN: u32 = 512;
/// Bytes that are read at a time.
const AHEAD_BYTES: u64 = 256 << 10;

/// Reads the objects of a set.
pub(crate) struct ClosureReader {
    core: Arc<Core>,
    /// The numbers of the objects.
    marks: Arc<Marks>,
    /// How many were announced and are not sent yet.
    left: u64,
    /// Makes the list, while what was found early is sent.
    listing: Option<JoinHandle<Result<Listed>>>,
    /// What was sent meanwhile: in every batch it has the first places.
    early: Vec<ObjectId>,
    /// Segments that are still to be read.
    ranges: VecDeque<Range<u32>>,
    batch: Batch,
    /// Bytes of the device, and where they begin.
    ahead: (u64, Vec<u8>),
    /// A stream that was made for one object.
    made: Vec<u8>,
}

/// The first batch, and the segments of the others.
struct Listed {
    batch: Batch,
    ranges: VecDeque<Range<u32>>,
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
    pub fn new(core: Arc<Core>, marks: Marks) -> Result<(ClosureReader, u64)> {
        ClosureReader::cut(core, marks, CUT)
    }

    fn cut(core: Arc<Core>, marks: Marks, cut: Cut) -> Result<(ClosureReader, u64)> {
        let (count, marks) = (marks.count(), Arc::new(marks));
        let mut reader = ClosureReader {
            core: core.clone(),
            marks: marks.clone(),
            left: count,
            listing: None,
            early: Vec::new(),
            ranges: VecDeque::new(),
            batch: Batch::default(),
            ahead: (0, Vec::new()),
            made: Vec::new(),
        };
        if count > 2 * cut.early {
            reader.batch = early(&core, &marks, cut.early)?;
            let (core, marks) = (core.clone(), marks.clone());
            let thread = std::thread::Builder::new().name("clone".into()).stack_size(STACK_BYTES);
            // Without a thread the client waits for the list.
            reader.listing = thread.spawn(move || list(&core, &marks, cut.ordered_max)).ok();
        }
        if reader.listing.is_none() {
            reader.begin(list(&core, &marks, cut.ordered_max)?);
        }
        Ok((reader, count))
    }

    fn begin(&mut self, listed: Listed) {
        self.ranges = listed.ranges;
        self.begin_batch(listed.batch);
    }

    fn begin_batch(&mut self, batch: Batch) {
        self.batch = batch;
        for (place, id) in self.early.iter().enumerate() {
            if let Some(at) = find(&self.batch.items, id) {
                self.batch.places[at] = place as u32;
            }
        }
        self.batch.sent = self.early.len() as u32;
    }

    fn next_batch(&mut self) -> Result<bool> {
        let Some(segments) = self.ranges.pop_front() else { return Ok(false) };
        self.batch = Batch::default();
        let mut listing = Listing::new(0);
        each(&self.core, &self.marks, |one| {
            if segments.contains(&self.core.engine.segment_of(&one.part)) {
                listing.add(one);
            }
        })?;
        self.begin_batch(listing.ordered(segments));
        Ok(true)
    }

    /// The item that is sent next, and what it is a delta against; what it is made from comes first.
    fn next_item(&mut self) -> Result<Option<usize>> {
        if self.batch.sent >= EARLY_MIN && self.listing.as_ref().is_some_and(JoinHandle::is_finished) {
            self.end_early()?;
        }
        loop {
            if let Some(at) = self.batch.next_item() {
                return Ok(Some(at));
            }
            if self.end_early()? {
                continue;
            }
            if !self.next_batch()? {
                return Ok(None);
            }
        }
    }

    /// Takes the list, when it was still being made; waits for it.
    fn end_early(&mut self) -> Result<bool> {
        let Some(listing) = self.listing.take() else { return Ok(false) };
        self.early = vec![ObjectId::ZERO; self.batch.sent as usize];
        for (item, place) in self.batch.items.iter().zip(&self.batch.places) {
            if let Some(early) = self.early.get_mut(*place as usize) {
                *early = item.id;
            }
        }
        let listed = listing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        self.begin(listed);
        Ok(true)
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
            segment < self.batch.segments.start && self.marks.has(base.number)
        });
        Ok(base.map(|_| delta.base))
    }

    /// Has bytes of the device at hand; says where they begin.
    fn read(&mut self, offset: u64, len: usize) -> Result<usize> {
        let end = offset + len as u64;
        if offset < self.ahead.0 || end > self.ahead.0 + self.ahead.1.len() as u64 {
            // What is sent early lies far from each other.
            let ahead = if self.listing.is_some() { 0 } else { AHEAD_BYTES };
            self.core.engine.read_ahead(offset, ahead.max(len as u64), &mut self.ahead.1)?;
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
            Some(at) => {
                self.left = self.left.saturating_sub(1);
                Ok(Some(self.object(at)?))
            }
            None => {
                if self.left > 0 {
                    // The notes name what is not there. The next clone shall walk.
                    forget_reach(&self.core)?;
                }
                Ok(None)
            }
        }
    }
}

impl Drop for ClosureReader {
    /// Nothing holds the store any more once its reader is gone.
    fn drop(&mut self) {
        if let Some(listing) = self.listing.take() {
            let _ = listing.join();
        }
    }
}

/// Shows every object of a set, in the order of their ids.
fn each(core: &Core, marks: &Marks, mut then: impl FnMut(&Found)) -> Result<()> {
    let mut passed = 0u32;
    core.each(b"o", |key, value| {
        let found = Found::decode(key, value)?;
        if marks.has(found.entry.number) {
            then(&found);
        }
        passed = passed.wrapping_add(1);
        if passed.is_multiple_of(TURN) {
            // Whoever sends and receives meanwhile goes first.
            std::thread::yield_now();
        }
        Ok(())
    })
}

/// Whole objects among the first so many, going by their ids.
fn early(core: &Core, marks: &Marks, about: u64) -> Result<Batch> {
    let mut listing = Listing::new(0);
    let end = (about << 16) / marks.count().max(1);
    let end = [&b"o"[..], &(end as u16).to_be_bytes()].concat();
    core.engine.visit(b"o", &end, &mut |key, value| {
        let found = Found::decode(key, value)?;
        if marks.has(found.entry.number) && found.entry.delta.is_none() && found.is_whole {
            listing.add(&found);
        }
        Ok(true)
    })?;
    Ok(listing.ordered(0..0))
}

/// Puts the first batch in order, and cuts the others.
fn list(core: &Core, marks: &Marks, ordered_max: usize) -> Result<Listed> {
    let most = marks.count() as usize;
    if most <= ordered_max {
        let mut listing = Listing::new(most);
        each(core, marks, |found| listing.add(found))?;
        return Ok(Listed { batch: listing.ordered(0..u32::MAX), ranges: VecDeque::new() });
    }
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    each(core, marks, |found| *counts.entry(core.engine.segment_of(&found.part)).or_default() += 1)?;
    let mut ranges = VecDeque::new();
    let (mut start, mut held) = (0, 0);
    for (segment, count) in counts {
        if held > 0 && held + count > ordered_max {
            ranges.push_back(start..segment);
            (start, held) = (segment, 0);
        }
        held += count;
    }
    ranges.push_back(start..u32::MAX);
    Ok(Listed { batch: Batch::default(), ranges })
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

    fn add(&mut self, found: &Found) {
        let Found { id, entry, part, is_whole } = found;
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
struct Found {
    id: ObjectId,
    entry: ObjectEntry,
    /// Its first part, and whether that is all of it.
    part: Part,
    is_whole: bool,
}

impl Found {
    fn decode(key: &[u8], value: &[u8]) -> Result<Found> {
        let id = ObjectId::from_bytes(&key[1..]).ok_or_else(|| Error::corrupt("a key of the index"))?;
        let (entry, part, is_whole) = ObjectEntry::decode_first(value)?;
        Ok(Found { id, entry, part, is_whole })
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
    use git_wire::serve::{ClosureSender, ServeError};
    use git_wire::walk::{Filter, History, select};
    use git_wire::{Closure, Limits, RefUpdate, Repository, View, pack};

    use super::*;
    use crate::engine::keys;
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

    /// What a receiver makes of a clone that is sent in batches of so many objects, some of them while it is listed.
    fn received(store: &Store, ordered_max: usize, early: u64) -> std::result::Result<usize, ServeError> {
        let view = store.view().unwrap();
        let wanted: Vec<ObjectId> = view.refs(&[]).unwrap().iter().map(|one| one.id).collect();
        let marks = crate::forget::closure(store.core(), &*view, &wanted).unwrap().unwrap();
        let cut = Cut { ordered_max, early };
        let (reader, count) = ClosureReader::cut(store.core().clone(), marks, cut).unwrap();
        assert_eq!(reader.listing.is_some(), early < count / 2);
        let closure = Closure { count, objects: Box::new(reader) };
        let mut sender = ClosureSender::new(closure, &Limits::default(), Vec::new())?;
        while sender.step()? {}
        let packed = sender.finish()?;
        let copy = MemoryRepository::new();
        let mut quarantine = copy.quarantine().unwrap();
        let (checked, rest) =
            pack::receive(&packed[..], &mut *quarantine, &Limits::default(), &[], &mut |_, _| Ok(()))
                .unwrap();
        assert!(rest.is_empty() && checked.external.is_empty());
        let update = RefUpdate { name: b"refs/heads/main".to_vec(), old: ObjectId::ZERO, new: wanted[0] };
        quarantine.publish(&[update], true).unwrap()[0].as_ref().unwrap();
        Ok(copy.len())
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
            for (ordered_max, early) in cuts([1, 7, 150, CUT.ordered_max]) {
                assert_eq!(
                    received(&store, ordered_max, early).unwrap(),
                    whole,
                    "{round} {ordered_max} {early}"
                );
            }
            store.gc().unwrap();
            for (ordered_max, early) in cuts([3, 90, 170, CUT.ordered_max]) {
                assert_eq!(
                    received(&store, ordered_max, early).unwrap(),
                    whole,
                    "{round} {ordered_max} {early} collected"
                );
            }
        }
    }

    fn cuts(ordered: [usize; 4]) -> impl Iterator<Item = (usize, u64)> {
        ordered
            .into_iter()
            .flat_map(|ordered_max| [(ordered_max, 10), (ordered_max, 100), (ordered_max, 10_000)])
    }

    #[test]
    fn a_note_that_names_what_is_not_there_spoils_one_clone_only() {
        let store = Store::create(MemoryDevice::new(), Options::new()).unwrap();
        write(&store, "main", 0..20);
        store.gc().unwrap();
        let head = store.branch("main").unwrap().head().unwrap().0;
        let wrong: Vec<u8> = vec![0xff; 8 << 10];
        let edits = vec![(keys::reach(&head, 0), Some(zlib::deflate(&wrong)))];
        store.core().engine.write_unflushed(crate::engine::Batch { edits, ..Default::default() }).unwrap();
        assert!(received(&store, CUT.ordered_max, CUT.early).is_err());
        let cloned = received(&store, CUT.ordered_max, CUT.early).unwrap();
        assert_eq!(cloned, walked(&*store.view().unwrap()));
    }
}
