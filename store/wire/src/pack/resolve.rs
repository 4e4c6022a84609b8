//! Receives a pack into a quarantine: names and checks every object, applies deltas, sees that nothing is missing.

use std::collections::HashMap;
use std::io::BufRead;
use std::num::NonZeroU32;

use super::deflate;
use super::large::{self, Made, Maker};
use super::read::{EntryHeader, PackError, PackReader};
use super::shape::Shape;
use crate::object::{EntryKind, Malformed, check, commit_links, tag_link, tree_entries};
use crate::walk::Selection;
use crate::{Header, IdHasher, Kind, Limits, Object, ObjectId, Quarantine, Received, RepositoryError, delta};

/// What was received whole: every object is well-formed, and all that they name is there.
pub struct Checked {
    /// How many objects came, doubles counted.
    pub objects: u32,
    /// Which.
    pub arrived: Selection,
    /// What they name, or are deltas against, and did not come: it was there before. Whether the sender may know it is
    /// not for a pack to say.
    pub external: Vec<ObjectId>,
    /// Those that no other one names, when nothing external is named and no tree goes deeper than it may: all that came is
    /// then reached from these, and can be walked. `None` when that is not known.
    pub tips: Option<Vec<ObjectId>>,
}

/// Receives a pack. Nothing is visible until the quarantine is published; on an error drop it.
///
/// `missing_parents_of` are commits whose parents need not be there, for fetching into a shallow repository.
pub fn receive<R: BufRead>(
    stream: R,
    quarantine: &mut dyn Quarantine,
    limits: &Limits,
    missing_parents_of: &[ObjectId],
    progress: &mut dyn FnMut(u32, u32) -> Result<(), PackError>,
) -> Result<(Checked, R), PackError> {
    let mut receiver = Receiver::new(quarantine, limits, missing_parents_of);
    let stream = receiver.pack(stream, progress)?;
    Ok((receiver.finish()?, stream))
}

/// Receives several packs and single objects that are complete only together.
pub struct Receiver<'a> {
    quarantine: &'a mut dyn Quarantine,
    limits: &'a Limits,
    shallow: &'a [ObjectId],
    /// Where each object of the present pack began, in ascending order, for deltas by offset.
    offsets: Vec<u64>,
    /// What it was.
    entries: Vec<Entry>,
    arrived: Selection,
    /// By their places in `arrived`.
    kinds: Vec<Kind>,
    /// Named, not arrived, and there.
    external: HashMap<ObjectId, Kind>,
    /// Objects that were named and are not there yet, with their expected kinds, and tickets for trees.
    wanted: HashMap<ObjectId, (Kind, Option<u32>)>,
    shape: Shape,
    waiting: Vec<Waiting>,
    waiting_bytes: u64,
    total_bytes: u64,
    objects: u32,
    recent: Recent,
    /// The base of the last large delta.
    large_base: Option<(ObjectId, large::Base)>,
}

impl<'a> Receiver<'a> {
    /// Into this quarantine.
    pub fn new(
        quarantine: &'a mut dyn Quarantine,
        limits: &'a Limits,
        shallow: &'a [ObjectId],
    ) -> Receiver<'a> {
        Receiver {
            quarantine,
            limits,
            shallow,
            offsets: Vec::new(),
            entries: Vec::new(),
            arrived: Selection::default(),
            kinds: Vec::new(),
            external: HashMap::new(),
            wanted: HashMap::new(),
            shape: Shape::default(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            total_bytes: 0,
            objects: 0,
            recent: Recent::default(),
            large_base: None,
        }
    }

    /// Takes one pack, to its checksum; gives the stream back.
    pub fn pack<R: BufRead>(
        &mut self,
        stream: R,
        progress: &mut dyn FnMut(u32, u32) -> Result<(), PackError>,
    ) -> Result<R, PackError> {
        let mut pack = PackReader::new(stream, self.limits)?;
        let objects = pack.objects();
        self.offsets.clear();
        self.entries.clear();
        let mut seen = 0;
        while let Some((offset, header, size_bytes)) = pack.next_entry()? {
            self.entry(&mut pack, offset, header, size_bytes)?;
            seen += 1;
            if seen % 1024 == 0 {
                progress(seen, objects)?;
            }
        }
        let stream = pack.finish()?;
        self.resolve_waiting()?;
        self.objects = self.objects.saturating_add(objects);
        progress(objects, objects)?;
        Ok(stream)
    }

    /// Takes a single object with its zlib stream; returns its id.
    pub fn object(&mut self, object: Object, zlib: &[u8]) -> Result<ObjectId, PackError> {
        self.count(object.content.len() as u64)?;
        let id = ObjectId::of(object.kind, &object.content)?;
        self.entries.clear();
        self.entries.push(Entry { arrived: None, depth: 0 });
        self.objects = self.objects.saturating_add(1);
        self.keep(0, id, object, Received::Whole { zlib }, None)?;
        Ok(id)
    }

    /// Sees that nothing is missing.
    pub fn finish(self) -> Result<Checked, PackError> {
        self.nothing_missing()?;
        let is_alone = self.external.is_empty() && self.shallow.is_empty();
        let depth_max = self.limits.tree_depth_max;
        let tips = if is_alone { self.shape.tips(&self.arrived, depth_max) } else { None };
        let external = self.external.into_keys().collect();
        Ok(Checked { objects: self.objects, arrived: self.arrived, external, tips })
    }
}

struct Entry {
    /// Its place in `arrived`, plus one; `None` while a delta waits for its base.
    arrived: Option<NonZeroU32>,
    depth: u16,
}

/// A delta whose base has not come yet.
struct Waiting {
    entry: usize,
    base: Base,
    delta: Vec<u8>,
    zlib: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Base {
    Id(ObjectId),
    Entry(usize),
}

impl Receiver<'_> {
    fn entry<R: BufRead>(
        &mut self,
        pack: &mut PackReader<R>,
        offset: u64,
        header: EntryHeader,
        size_bytes: u64,
    ) -> Result<(), PackError> {
        let place = self.entries.len();
        self.offsets.push(offset);
        self.entries.push(Entry { arrived: None, depth: 0 });
        let base = match header {
            EntryHeader::Whole(kind) => return self.whole(pack, place, kind, size_bytes),
            EntryHeader::RefDelta(id) => Base::Id(id),
            EntryHeader::OfsDelta(offset) => {
                let found = self.offsets.binary_search(&offset);
                Base::Entry(found.map_err(|_| PackError::Damaged("a delta's base is no object"))?)
            }
        };
        if size_bytes <= self.limits.delta_bytes_max {
            let (zlib, delta) = pack.read_stream(size_bytes)?;
            return self.delta(Waiting { entry: place, base, delta, zlib });
        }
        // One that is not kept must be followed as it comes.
        let Some(id) = self.base_id(base)? else {
            return self.allow(size_bytes, self.limits.delta_bytes_max, "a delta whose base comes later");
        };
        self.deeper(place, base)?;
        self.large_delta(place, id, &mut |maker| pack.stream(size_bytes, &mut |_, delta| maker.feed(delta)))
    }

    fn whole<R: BufRead>(
        &mut self,
        pack: &mut PackReader<R>,
        place: usize,
        kind: Kind,
        size_bytes: u64,
    ) -> Result<(), PackError> {
        self.allow(size_bytes, self.limits.object_bytes_max, "an object")?;
        self.count(size_bytes)?;
        if size_bytes <= self.limits.memory_bytes_max {
            let (zlib, content) = pack.read_stream(size_bytes)?;
            let id = ObjectId::of(kind, &content)?;
            return self.keep(place, id, Object { kind, content }, Received::Whole { zlib: &zlib }, None);
        }
        if kind != Kind::Blob {
            return Err(PackError::Limit(format!(
                "a {kind} of {size_bytes} bytes is larger than any should be"
            )));
        }
        let mut hasher = IdHasher::new(kind, size_bytes);
        let mut large = self.quarantine.begin_large()?;
        pack.stream(size_bytes, &mut |zlib, content| {
            hasher.update(content);
            Ok(large.append(zlib)?)
        })?;
        let id = hasher.finish()?;
        large.finish(id, Header { kind, size_bytes })?;
        self.arrived(place, id, kind, None)
    }

    fn delta(&mut self, waiting: Waiting) -> Result<(), PackError> {
        let Some(base) = self.base_id(waiting.base)? else {
            self.waiting_bytes += (waiting.delta.len() + waiting.zlib.len()) as u64;
            self.allow(
                self.waiting_bytes,
                self.limits.waiting_bytes_max,
                "what waits for bases that come later",
            )?;
            self.waiting.push(waiting);
            return Ok(());
        };
        self.deeper(waiting.entry, waiting.base)?;
        let sizes = delta::header(&waiting.delta)?.0;
        if sizes.base_bytes.max(sizes.result_bytes) > self.limits.delta_bytes_max {
            return self.large_delta(waiting.entry, base, &mut |maker| maker.feed(&waiting.delta));
        }
        let object = self.base_object(base)?;
        let content = delta::apply(&object.content, &waiting.delta, self.limits.delta_bytes_max)?;
        self.count(content.len() as u64)?;
        let id = ObjectId::of(object.kind, &content)?;
        let delta_size_bytes = waiting.delta.len() as u64;
        let received = Received::Delta { base, delta_size_bytes, zlib: &waiting.zlib };
        self.recent.put(base, object.clone());
        self.keep(waiting.entry, id, Object { kind: object.kind, content }, received, Some((base, &object)))
    }

    /// The base of a delta, if it is there.
    fn base_id(&mut self, base: Base) -> Result<Option<ObjectId>, PackError> {
        let id = match base {
            Base::Id(id) => id,
            Base::Entry(place) => return Ok(self.entry_id(place)),
        };
        if !self.arrived.contains(&id) {
            let Some(header) = self.quarantine.header(&id)? else { return Ok(None) };
            self.external(id, header.kind)?;
        }
        Ok(Some(id))
    }

    fn base_object(&mut self, id: ObjectId) -> Result<Object, PackError> {
        if let Some(object) = self.recent.take(&id) {
            return Ok(object);
        }
        let object = self.quarantine.read(&id, self.limits.delta_bytes_max)?;
        Ok(object.ok_or_else(|| RepositoryError::Failed(format!("object {id} has gone")))?)
    }

    /// Counts deltas on deltas.
    fn deeper(&mut self, entry: usize, base: Base) -> Result<(), PackError> {
        let Base::Entry(place) = base else { return Ok(()) };
        let depth = self.entries[place].depth + 1;
        if depth > self.limits.delta_depth_max {
            return Err(PackError::Limit(format!("deltas are {depth} deep, more than allowed")));
        }
        self.entries[entry].depth = depth;
        Ok(())
    }

    /// Follows a delta of which base, result or itself does not fit into memory. The result is kept whole.
    fn large_delta(
        &mut self,
        entry: usize,
        id: ObjectId,
        feed: &mut dyn FnMut(&mut Maker<'_>) -> Result<(), PackError>,
    ) -> Result<(), PackError> {
        let base = self.large_base(id)?;
        let mut maker = Maker::new(base, self.quarantine, self.limits);
        feed(&mut maker)?;
        let (made, size_bytes, base) = maker.finish()?;
        self.large_base = Some((id, base));
        self.count(size_bytes)?;
        match made {
            Made::Kept(id) => self.arrived(entry, id, Kind::Blob, None),
            Made::Content(content) => {
                let zlib = deflate(&content);
                let id = ObjectId::of(Kind::Blob, &content)?;
                let object = Object { kind: Kind::Blob, content };
                self.keep(entry, id, object, Received::Whole { zlib: &zlib }, None)
            }
        }
    }

    /// What a large delta is against: several are often against the same.
    fn large_base(&mut self, id: ObjectId) -> Result<large::Base, PackError> {
        if let Some((_, base)) = self.large_base.take().filter(|(known, _)| *known == id) {
            return Ok(base);
        }
        let gone = || RepositoryError::Failed(format!("object {id} has gone"));
        let Header { kind, size_bytes } = self.quarantine.header(&id)?.ok_or_else(gone)?;
        if kind != Kind::Blob {
            return Err(PackError::Limit(format!(
                "a delta makes a {kind} that is larger than any should be"
            )));
        }
        self.allow(size_bytes, self.limits.object_bytes_max, "the base of a delta")?;
        let stored = self.quarantine.stored(&id)?.ok_or_else(gone)?;
        if stored.base.is_some() || size_bytes <= self.limits.memory_bytes_max {
            let object = self.quarantine.read(&id, self.limits.object_bytes_max)?.ok_or_else(gone)?;
            return Ok(large::Base::Memory(object.content));
        }
        // Whoever has one large file unpacked again and again has it counted again and again.
        self.count(size_bytes)?;
        large::Base::spooled(self.quarantine.spool()?, id, size_bytes, stored.zlib)
    }

    fn entry_id(&self, place: usize) -> Option<ObjectId> {
        self.arrived.get(self.entries[place].arrived?.get() as usize - 1)
    }

    fn external(&mut self, id: ObjectId, kind: Kind) -> Result<(), PackError> {
        self.external.insert(id, kind);
        if self.external.len() > self.limits.objects_max as usize {
            return Err(PackError::Limit("the pack names too many objects that it does not bring".into()));
        }
        Ok(())
    }

    /// Checks an object, notes what it names and puts it into the quarantine. `like` is an object whose entries were
    /// found before.
    fn keep(
        &mut self,
        place: usize,
        id: ObjectId,
        object: Object,
        received: Received<'_>,
        like: Option<(ObjectId, &Object)>,
    ) -> Result<(), PackError> {
        let refused = |malformed: Malformed| PackError::Object { id, why: malformed.to_string() };
        check(object.kind, &object.content).map_err(refused)?;
        let like = like.filter(|(_, like)| like.kind == Kind::Tree);
        match object.kind {
            Kind::Blob => {}
            Kind::Tree => {
                self.tree_links(&object.content, like.map(|(_, like)| like)).map_err(|error| match error {
                    LinkError::Malformed(malformed) => refused(malformed),
                    LinkError::Pack(error) => error,
                })?
            }
            Kind::Commit => {
                let links = commit_links(&object.content).map_err(refused)?;
                self.want(links.tree, Kind::Tree)?;
                if !self.shallow.contains(&id) {
                    links.parents.iter().try_for_each(|parent| self.want(*parent, Kind::Commit))?;
                }
            }
            Kind::Tag => {
                let link = tag_link(&object.content).map_err(refused)?;
                self.want(link.target, link.kind)?;
            }
        }
        self.quarantine.put(id, &object, received)?;
        self.arrived(place, id, object.kind, like.map(|(like, _)| like))?;
        self.recent.put(id, object);
        Ok(())
    }

    /// Entries that `like` has too were looked for when it came.
    fn tree_links(&mut self, content: &[u8], like: Option<&Object>) -> Result<(), LinkError> {
        let known = like.map_or(&b""[..], |like| &like.content);
        let mut known = tree_entries(known).flatten().peekable();
        for entry in tree_entries(content) {
            let entry = entry.map_err(LinkError::Malformed)?;
            while known.next_if(|one| one.name < entry.name).is_some() {}
            if known.peek() == Some(&entry) {
                continue;
            }
            let wanted = match entry.kind() {
                EntryKind::Submodule => continue,
                EntryKind::Tree => Kind::Tree,
                EntryKind::Blob => Kind::Blob,
            };
            self.want(entry.id, wanted).map_err(LinkError::Pack)?;
            if wanted == Kind::Tree {
                self.subtree(&entry.id);
            }
        }
        Ok(())
    }

    fn subtree(&mut self, id: &ObjectId) {
        match (self.wanted.get(id), self.arrived.place(id)) {
            (Some((_, Some(ticket))), _) => self.shape.subtree_to_come(*ticket),
            (_, Some(place)) => self.shape.subtree(place),
            // What is external makes the shape unknown anyway.
            _ => {}
        }
    }

    fn want(&mut self, id: ObjectId, kind: Kind) -> Result<(), PackError> {
        let known = self.wanted.get(&id).map(|(kind, _)| *kind).or_else(|| self.external.get(&id).copied());
        let place = if known.is_none() { self.arrived.place(&id) } else { None };
        if let Some(place) = place {
            self.shape.name(place);
        }
        let found = match known.or_else(|| place.map(|place| self.kinds[place])) {
            Some(kind) => Some(kind),
            None => {
                let there = self.quarantine.header(&id)?.map(|header| header.kind);
                if let Some(kind) = there {
                    self.external(id, kind)?;
                }
                there
            }
        };
        match found {
            Some(found) if found != kind => Err(wrong_kind(id, found, kind)),
            Some(_) => Ok(()),
            None => {
                let ticket = (kind == Kind::Tree).then(|| self.shape.ticket());
                self.wanted.insert(id, (kind, ticket));
                Ok(())
            }
        }
    }

    fn arrived(
        &mut self,
        place: usize,
        id: ObjectId,
        kind: Kind,
        like: Option<ObjectId>,
    ) -> Result<(), PackError> {
        let wanted = self.wanted.remove(&id);
        let like = like.and_then(|like| self.arrived.place(&like));
        if self.arrived.insert(id) {
            self.kinds.push(kind);
            let ticket = wanted.and_then(|(_, ticket)| ticket);
            self.shape.add(kind == Kind::Tree, like, wanted.is_some(), ticket);
        }
        let number = self.arrived.place(&id).map_or(0, |place| place as u32 + 1);
        self.entries[place].arrived = NonZeroU32::new(number);
        self.external.remove(&id);
        match wanted {
            Some((expected, _)) if expected != kind => Err(wrong_kind(id, kind, expected)),
            _ => Ok(()),
        }
    }

    /// Each round resolves what the one before made possible.
    fn resolve_waiting(&mut self) -> Result<(), PackError> {
        loop {
            let waiting = std::mem::take(&mut self.waiting);
            self.waiting_bytes = 0;
            let before = waiting.len();
            if before == 0 {
                return Ok(());
            }
            waiting.into_iter().try_for_each(|one| self.delta(one))?;
            if self.waiting.len() == before {
                let first = self.waiting.iter().find_map(|one| match one.base {
                    Base::Id(id) => Some(id),
                    Base::Entry(_) => None,
                });
                return Err(PackError::MissingBase { count: before, first: first.unwrap_or(ObjectId::ZERO) });
            }
        }
    }

    fn nothing_missing(&self) -> Result<(), PackError> {
        match self.wanted.iter().min() {
            Some((first, (kind, _))) => {
                Err(PackError::Missing { count: self.wanted.len(), first: *first, kind: *kind })
            }
            None => Ok(()),
        }
    }

    fn count(&mut self, size_bytes: u64) -> Result<(), PackError> {
        self.total_bytes += size_bytes;
        self.allow(self.total_bytes, self.limits.total_bytes_max, "the whole pack, inflated,")
    }

    fn allow(&self, size_bytes: u64, max_bytes: u64, what: &str) -> Result<(), PackError> {
        if size_bytes <= max_bytes {
            return Ok(());
        }
        let hint =
            if what.contains("delta") { "; push with `git -c core.bigFileThreshold=16m push`" } else { "" };
        Err(PackError::Limit(format!(
            "{what} has {size_bytes} bytes, more than the {max_bytes} allowed{hint}"
        )))
    }
}

enum LinkError {
    Malformed(Malformed),
    Pack(PackError),
}

fn wrong_kind(id: ObjectId, found: Kind, expected: Kind) -> PackError {
    PackError::Object { id, why: format!("it is a {found}, and is named as a {expected}") }
}

/// The last few objects, which the next deltas are likely to be against.
#[derive(Default)]
struct Recent {
    objects: Vec<(ObjectId, Object)>,
    bytes: usize,
}

impl Recent {
    fn take(&mut self, id: &ObjectId) -> Option<Object> {
        let place = self.objects.iter().rposition(|(one, _)| one == id)?;
        let (_, object) = self.objects.remove(place);
        self.bytes -= object.content.len();
        Some(object)
    }

    fn put(&mut self, id: ObjectId, object: Object) {
        if object.content.len() > RECENT_BYTES_MAX / 4 {
            return;
        }
        self.take(&id);
        self.bytes += object.content.len();
        self.objects.push((id, object));
        while self.bytes > RECENT_BYTES_MAX || self.objects.len() > RECENT_MAX {
            let (_, object) = self.objects.remove(0);
            self.bytes -= object.content.len();
        }
    }
}

const RECENT_MAX: usize = 64;
const RECENT_BYTES_MAX: usize = 4 << 20;
