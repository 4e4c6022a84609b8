//! The store as `git-wire` serves it and pushes into it.
//!
//! A push brings its objects under a number of its own, unflushed. They are in the index, but seen by nobody else until
//! the number is struck out in the same transaction that moves the refs; so publishing a million objects costs what
//! publishing one does. A push that never comes to that leaves garbage for the next collection.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use git_wire::walk::Selection;
use git_wire::{
    Closure, Head, Header, Kind, LargeObject, Object, ObjectId, Objects, Quarantine, Received, Ref,
    RefUpdate, Repository, RepositoryError, Spool, Stored, View, Zlib,
};

use crate::closure::ClosureReader;
use crate::committer::Group;
use crate::core::{Contents, Core, Hold, Pin, RefState};
use crate::engine::{Batch, Delta, NewObject, ObjectEntry, Part, Stream, keys};
use crate::forget::{Marks, closure, note_walk};
use crate::large::{DeviceSpool, StreamReader};
use crate::object::Tag;
use crate::refs::{self, HEADS, REMOTES};
use crate::{Error, Result, Store, zlib};

/// Objects of a push are written when this many bytes of them wait.
const BUFFER_BYTES: usize = 256 << 10;
/// A pushed delta is kept as one up to this depth; deeper ones are deflated anew.
const PUSHED_DEPTH_MAX: u8 = 50;
/// Contents that a walk keeps for the deltas of the next ones; more than this saves nothing.
const BASES_BYTES_MAX: usize = 8 << 20;
/// A ref's tag objects are followed so far.
const TAGS_OF_TAGS_MAX: usize = 16;
/// What is appended to a large object at a time.
const PIECE_BYTES: usize = 128 << 10;

impl Store {
    /// The branch that a clone checks out: `main` unless something else was set.
    pub fn default_branch(&self) -> Result<String> {
        let name = self.core().engine.get(&keys::setting("HEAD"))?;
        Ok(name.map_or_else(|| "main".to_owned(), |name| String::from_utf8_lossy(&name).into_owned()))
    }

    /// Sets the branch that a clone checks out.
    pub fn set_default_branch(&self, name: impl AsRef<str>) -> Result<()> {
        let name = self.branch(name)?.name().to_owned();
        self.core().write(move |group| {
            group.edit(keys::setting("HEAD"), Some(name.into_bytes()));
            Ok(())
        })
    }
}

impl Repository for Store {
    fn view(&self) -> std::result::Result<Box<dyn View + '_>, RepositoryError> {
        Ok(Box::new(StoreView::new(self)))
    }

    fn quarantine(&self) -> std::result::Result<Box<dyn Quarantine + '_>, RepositoryError> {
        Ok(Box::new(Push::new(self)?))
    }
}

struct StoreView {
    store: Store,
    refs: BTreeMap<String, RefState>,
    /// Contents that deltas are made of: a walk reads one version of a tree after the other, and each on its own would
    /// cost its whole chain.
    bases: Contents,
    _pins: Vec<Arc<Pin>>,
}

impl StoreView {
    fn new(store: &Store) -> StoreView {
        let core = store.core();
        // Pinned under the lock of the refs, so that no collection comes in between.
        let refs = core.refs.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let pins = refs.values().filter_map(|state| core.pin(Some(state.id))).collect();
        let bases = Contents::new(core.options.cache_bytes.min(BASES_BYTES_MAX));
        StoreView { store: store.clone(), refs: refs.clone(), bases, _pins: pins }
    }
}

impl Objects for StoreView {
    fn header(&self, id: &ObjectId) -> std::result::Result<Option<Header>, RepositoryError> {
        Ok(self.store.core().object_entry(id)?.map(|entry| header(&entry)))
    }

    fn read(&self, id: &ObjectId, max_bytes: u64) -> std::result::Result<Option<Object>, RepositoryError> {
        let core = self.store.core();
        let known = self.bases.get(id).or_else(|| core.cache.get(id));
        if let Some((kind, content)) = known.filter(|(_, content)| content.len() as u64 <= max_bytes) {
            return Ok(Some(Object { kind, content: content.to_vec() }));
        }
        core.object_entry(id)?.map(|entry| read(core, id, &entry, &self.bases, max_bytes)).transpose()
    }

    fn stored(&self, id: &ObjectId) -> std::result::Result<Option<Stored>, RepositoryError> {
        Ok(self.store.core().object_entry(id)?.map(|entry| stored(self.store.core(), id, entry)))
    }
}

impl View for StoreView {
    fn refs(&self, prefixes: &[Vec<u8>]) -> std::result::Result<Vec<Ref>, RepositoryError> {
        let mut wanted: BTreeMap<&str, ObjectId> = BTreeMap::new();
        let all = [Vec::new()];
        for prefix in if prefixes.is_empty() { &all[..] } else { prefixes } {
            // Names are UTF-8: what is none is no beginning of one, but for a cut character.
            let valid = prefix.utf8_chunks().next().map_or("", |chunk| chunk.valid());
            let from = self.refs.range(valid.to_owned()..);
            let from = from.take_while(|(name, _)| name.starts_with(valid));
            let named = from.filter(|(name, _)| name.as_bytes().starts_with(prefix));
            wanted.extend(named.map(|(name, state)| (&name[..], state.id)));
        }
        let mut found = Vec::with_capacity(wanted.len());
        for (name, id) in wanted {
            // A branch names a commit, never a tag.
            let peeled = if name.starts_with(HEADS) { None } else { peel(self.store.core(), id)? };
            found.push(Ref { name: name.as_bytes().to_vec(), id, peeled });
        }
        Ok(found)
    }

    fn closure(
        &self,
        wanted: &[ObjectId],
        following: &[Ref],
    ) -> std::result::Result<Option<Closure>, RepositoryError> {
        let core = self.store.core();
        let Some(mut marks) = closure(core, self, wanted)? else { return Ok(None) };
        for (tag, names) in following.iter().filter_map(|one| Some((one.id, one.peeled?))) {
            if core.object_entry(&names)?.is_some_and(|entry| marks.has(entry.number)) {
                for tag in follow(core, tag)?.0 {
                    marks.add(core.object_entry(&tag)?.ok_or(Error::Missing(tag))?.number);
                }
            }
        }
        self.bases.clear();
        let (reader, count) = ClosureReader::new(core.clone(), marks)?;
        Ok(Some(Closure { count, objects: Box::new(reader) }))
    }

    fn head(&self) -> std::result::Result<Option<Head>, RepositoryError> {
        let target = format!("{HEADS}{}", self.store.default_branch()?);
        Ok(Some(Head { target: target.into_bytes() }))
    }
}

/// What a tag object finally names; `None` for everything else.
fn peel(core: &Core, id: ObjectId) -> Result<Option<ObjectId>> {
    let (tags, names) = follow(core, id)?;
    Ok((!tags.is_empty()).then_some(names))
}

/// The tag objects from this one on, each the target of the one before, and what the last of them names.
fn follow(core: &Core, mut id: ObjectId) -> Result<(Vec<ObjectId>, ObjectId)> {
    let mut tags = Vec::new();
    while tags.len() < TAGS_OF_TAGS_MAX
        && core.object_entry(&id)?.is_some_and(|entry| entry.kind == Kind::Tag)
    {
        tags.push(id);
        id = Tag::parse(&core.typed(&id, Kind::Tag)?)?.target;
    }
    Ok((tags, id))
}

fn header(entry: &ObjectEntry) -> Header {
    Header { kind: entry.kind, size_bytes: entry.size_bytes }
}

fn read(
    core: &Core,
    id: &ObjectId,
    entry: &ObjectEntry,
    bases: &Contents,
    max_bytes: u64,
) -> std::result::Result<Object, RepositoryError> {
    if entry.size_bytes > max_bytes {
        return Err(RepositoryError::TooLarge { id: *id, size_bytes: entry.size_bytes, max_bytes });
    }
    let content = core.content(id, entry, bases).map_err(|error| match error {
        Error::Corrupt { what } => RepositoryError::Damaged { id: *id, what },
        other => other.into(),
    })?;
    if entry.kind == Kind::Tree {
        bases.put(*id, (entry.kind, content.clone()), content.len());
    }
    Ok(Object { kind: entry.kind, content: content.to_vec() })
}

fn stored(core: &Arc<Core>, id: &ObjectId, entry: ObjectEntry) -> Stored {
    // Most objects are one small part. What cannot be read was moved by a collection, or is damaged: the reader finds out.
    let whole = match &entry.parts[..] {
        [part] => core.engine.read_part(part).ok(),
        _ => None,
    };
    Stored {
        kind: entry.kind,
        size_bytes: entry.delta.map_or(entry.size_bytes, |delta| delta.size_bytes),
        base: entry.delta.map(|delta| delta.base),
        zlib: match whole {
            Some(bytes) => Zlib::Bytes(bytes),
            None => Zlib::Pieces(Box::new(StreamReader::new(core.clone(), *id, entry))),
        },
    }
}

/// No count of changes: what waits is looked for again.
const LOOK_AGAIN: u64 = u64::MAX;

/// A push on its way in.
struct Push {
    view: StoreView,
    number: u64,
    buffer: Vec<NewObject>,
    buffered_bytes: usize,
    /// Where the objects that wait are in the buffer.
    waiting: HashMap<ObjectId, usize>,
    /// The engine's count of changes when the first of them was looked for, and not found.
    looked_at: u64,
    /// Objects that another unpublished push has brought too: ours are entered when we are published.
    doubles: BTreeMap<ObjectId, ObjectEntry>,
    /// A commit that a ref is going to name, and what it reaches.
    reached: Option<(ObjectId, Selection)>,
    /// Keeps collections off what was written since.
    _hold: Hold,
}

impl Push {
    fn new(store: &Store) -> Result<Push> {
        let hold = Hold::new(store.core().clone());
        let view = StoreView::new(store);
        let number = store.core().begin_quarantine()?;
        Ok(Push {
            view,
            number,
            buffer: Vec::new(),
            buffered_bytes: 0,
            waiting: HashMap::new(),
            looked_at: 0,
            doubles: BTreeMap::new(),
            reached: None,
            _hold: hold,
        })
    }

    fn core(&self) -> &Arc<Core> {
        self.view.store.core()
    }

    /// The entry of an object that this push may see.
    fn entry(&self, id: &ObjectId) -> Result<Option<ObjectEntry>> {
        if let Some(entry) = self.doubles.get(id) {
            return Ok(Some(entry.clone()));
        }
        let entry = self.core().any_entry(id)?;
        Ok(entry.filter(|entry| self.core().is_seen(entry, Some(self.number))))
    }

    fn buffer(&mut self, object: NewObject, bytes: usize) -> Result<()> {
        self.waiting.insert(object.id, self.buffer.len());
        self.buffer.push(object);
        self.buffered_bytes += bytes + 100;
        if self.buffered_bytes > BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let mut objects = Vec::with_capacity(buffer.len());
        // Nobody has written since they were looked for: they are as new as they were.
        let is_as_it_was = self.core().engine.changes() == self.looked_at;
        for object in buffer {
            if is_as_it_was {
                objects.push(object);
                continue;
            }
            match self.core().any_entry(&object.id)? {
                // Seen by us already, or by all.
                Some(entry) if self.core().is_seen(&entry, Some(self.number)) => {}
                Some(_) => self.double(object)?,
                None => objects.push(object),
            }
        }
        self.waiting.clear();
        self.buffered_bytes = 0;
        self.core().engine.write_unflushed(Batch {
            objects,
            edits: Vec::new(),
            quarantine: Some(self.number),
        })?;
        self.core().keep_up();
        Ok(())
    }

    fn double(&mut self, object: NewObject) -> Result<()> {
        let parts = match object.stream {
            Stream::Parts(parts) => parts,
            Stream::Bytes(bytes) => self.core().engine.write_piece(&bytes)?,
        };
        let NewObject { id, kind, size_bytes, delta, .. } = object;
        let number = self.core().engine.take_number();
        self.doubles.insert(id, ObjectEntry { kind, number, quarantine: None, size_bytes, delta, parts });
        Ok(())
    }

    /// What a delta against `base` would be: `None` when the chain would be too long.
    fn delta(&self, base: ObjectId, size_bytes: u64) -> Result<Option<Delta>> {
        let depth = match self.waiting.get(&base) {
            Some(&at) => self.buffer[at].delta.map_or(0, |delta| delta.depth),
            None => match self.entry(&base)? {
                Some(entry) => entry.delta.map_or(0, |delta| delta.depth),
                None => return Ok(None),
            },
        };
        Ok((depth < PUSHED_DEPTH_MAX).then_some(Delta { base, size_bytes, depth: depth + 1 }))
    }
}

impl Objects for Push {
    fn header(&self, id: &ObjectId) -> std::result::Result<Option<Header>, RepositoryError> {
        if let Some(&at) = self.waiting.get(id) {
            let object = &self.buffer[at];
            return Ok(Some(Header { kind: object.kind, size_bytes: object.size_bytes }));
        }
        Ok(self.entry(id)?.map(|entry| header(&entry)))
    }

    fn read(&self, id: &ObjectId, max_bytes: u64) -> std::result::Result<Option<Object>, RepositoryError> {
        let Some(&at) = self.waiting.get(id) else {
            let read = |entry: ObjectEntry| read(self.core(), id, &entry, &self.view.bases, max_bytes);
            return self.entry(id)?.map(read).transpose();
        };
        let object = &self.buffer[at];
        if object.size_bytes > max_bytes {
            return Err(RepositoryError::TooLarge { id: *id, size_bytes: object.size_bytes, max_bytes });
        }
        let Stream::Bytes(stream) = &object.stream else { return Ok(None) };
        let content = match object.delta {
            None => zlib::inflate(stream, object.size_bytes)?,
            Some(made_of) => {
                let base = Objects::read(self, &made_of.base, crate::core::IN_MEMORY_BYTES_MAX)?;
                let base = base.ok_or(Error::Missing(made_of.base))?;
                crate::delta::apply(&base.content, &zlib::inflate(stream, made_of.size_bytes)?)?
            }
        };
        Ok(Some(Object { kind: object.kind, content }))
    }

    fn stored(&self, id: &ObjectId) -> std::result::Result<Option<Stored>, RepositoryError> {
        let Some(&at) = self.waiting.get(id) else {
            return Ok(self.entry(id)?.map(|entry| stored(self.core(), id, entry)));
        };
        let object = &self.buffer[at];
        let Stream::Bytes(stream) = &object.stream else { return Ok(None) };
        Ok(Some(Stored {
            kind: object.kind,
            size_bytes: object.delta.map_or(object.size_bytes, |delta| delta.size_bytes),
            base: object.delta.map(|delta| delta.base),
            zlib: Zlib::Bytes(stream.clone()),
        }))
    }
}

impl Quarantine for Push {
    fn put(
        &mut self,
        id: ObjectId,
        object: &Object,
        received: Received<'_>,
    ) -> std::result::Result<(), RepositoryError> {
        if self.buffer.is_empty() {
            self.looked_at = self.core().engine.changes();
        }
        if self.waiting.contains_key(&id) || self.doubles.contains_key(&id) {
            return Ok(());
        }
        match self.core().any_entry(&id)? {
            Some(entry) if self.core().is_seen(&entry, Some(self.number)) => return Ok(()),
            Some(_) => self.looked_at = LOOK_AGAIN,
            None => {}
        }
        let kept = match received {
            Received::Whole { zlib } => Some((zlib, None)),
            Received::Delta { base, delta_size_bytes, zlib } => {
                self.delta(base, delta_size_bytes)?.map(|delta| (zlib, Some(delta)))
            }
        };
        let (stream, delta) = match kept {
            Some((stream, delta)) => (stream.to_vec(), delta),
            None => (zlib::deflate(&object.content), None),
        };
        let bytes = stream.len();
        let size_bytes = object.content.len() as u64;
        let new = NewObject { id, kind: object.kind, size_bytes, delta, stream: Stream::Bytes(stream) };
        Ok(self.buffer(new, bytes)?)
    }

    fn begin_large(&mut self) -> std::result::Result<Box<dyn LargeObject + '_>, RepositoryError> {
        Ok(Box::new(Large { push: self, piece: Vec::with_capacity(PIECE_BYTES), parts: Vec::new() }))
    }

    fn spool(&self) -> std::result::Result<Box<dyn Spool>, RepositoryError> {
        Ok(Box::new(DeviceSpool::new(self.core().clone())))
    }

    fn will_reach(&mut self, head: ObjectId, reached: Selection) {
        self.reached = Some((head, reached));
    }

    fn publish(
        mut self: Box<Self>,
        updates: &[RefUpdate],
        atomic: bool,
    ) -> std::result::Result<Vec<std::result::Result<(), String>>, RepositoryError> {
        self.flush()?;
        let (number, updates) = (self.number, updates.to_vec());
        let doubles = std::mem::take(&mut self.doubles);
        let sweeps = self.core().sweeps();
        let answers = self.core().write(move |group| {
            let mut answers: Vec<_> = updates.iter().map(|update| check(group, number, update)).collect();
            beside_each_other(group, &updates, &mut answers);
            if answers.iter().all(|answer| answer.is_err())
                || (atomic && answers.iter().any(|answer| answer.is_err()))
            {
                let refused = |answer: std::result::Result<(), String>| {
                    answer.and(Err("refused together with another one".to_owned()))
                };
                return Ok(answers.into_iter().map(refused).collect());
            }
            for (id, entry) in doubles {
                // What others see already keeps its number: notes of what is reached go by it.
                let there = group.staging.core.object_entry(&id)?;
                if there.is_none() {
                    group.edit(keys::object(&id), Some(entry.encode()));
                }
            }
            group.publish_quarantine(number);
            for (update, answer) in updates.iter().zip(&answers) {
                if answer.is_ok() {
                    let name = String::from_utf8_lossy(&update.name).into_owned();
                    group.move_ref(&name, (!update.new.is_zero()).then_some(update.new));
                }
            }
            Ok(answers)
        })?;
        if let Some((head, found)) = &self.reached
            && answers.iter().all(|answer| answer.is_ok())
        {
            note_walk(self.core(), head, &[], &Marks::default(), found, sweeps)?;
        }
        Ok(answers)
    }
}

/// Refuses new refs that would be directories of others, or others of them. What the same push deletes is not in the way.
fn beside_each_other(
    group: &Group<'_>,
    updates: &[RefUpdate],
    answers: &mut [std::result::Result<(), String>],
) {
    let name = |update: &RefUpdate| String::from_utf8_lossy(&update.name).into_owned();
    let taken = || updates.iter().zip(answers.iter()).filter(|(_, answer)| answer.is_ok());
    let going: BTreeSet<String> =
        taken().filter(|(update, _)| update.new.is_zero()).map(|(update, _)| name(update)).collect();
    let mut coming: BTreeSet<String> = BTreeSet::new();
    for (update, answer) in updates.iter().zip(answers) {
        let name = name(update);
        if answer.is_err() || update.new.is_zero() || !update.old.is_zero() || name.starts_with(REMOTES) {
            continue;
        }
        let start = format!("{name}/");
        let above = refs::directories(&name).find(|above| coming.contains(*above)).map(str::to_owned);
        let below = coming.range(start.clone()..).next().filter(|below| below.starts_with(&start)).cloned();
        match above.or(below).or_else(|| group.in_the_way(&name, &going)) {
            Some(other) => *answer = Err(format!("'{other}' exists; git cannot keep both names")),
            None => drop(coming.insert(name)),
        }
    }
}

/// Whether a ref may move as the pusher wants it.
fn check(group: &Group<'_>, number: u64, update: &RefUpdate) -> std::result::Result<(), String> {
    let name = std::str::from_utf8(&update.name).map_err(|_| "the name is not UTF-8".to_owned())?;
    if !name.starts_with("refs/") || name.matches('/').count() < 2 {
        return Err("only names below refs/ are taken".to_owned());
    }
    if let Some(why) = refs::fault(name) {
        return Err(format!("the name is malformed: {why}"));
    }
    let now = group.reference(name).map_or(ObjectId::ZERO, |state| state.id);
    if now != update.old {
        return Err("it moved meanwhile; fetch first".to_owned());
    }
    if update.new.is_zero() {
        return Ok(());
    }
    let core = group.staging.core;
    let entry = core.any_entry(&update.new).map_err(|error| error.to_string())?;
    match entry.filter(|entry| core.is_seen(entry, Some(number))) {
        None => Err("the object that it shall name is not there".to_owned()),
        Some(entry) if name.starts_with(HEADS) && entry.kind != Kind::Commit => {
            Err("a branch names a commit".to_owned())
        }
        Some(_) => Ok(()),
    }
}

/// A large blob on its way in.
struct Large<'a> {
    push: &'a mut Push,
    piece: Vec<u8>,
    parts: Vec<Part>,
}

impl LargeObject for Large<'_> {
    fn append(&mut self, zlib: &[u8]) -> std::result::Result<(), RepositoryError> {
        self.piece.extend_from_slice(zlib);
        if self.piece.len() >= PIECE_BYTES {
            self.parts.extend(self.push.core().engine.write_piece(&self.piece)?);
            self.piece.clear();
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, id: ObjectId, header: Header) -> std::result::Result<(), RepositoryError> {
        if !self.piece.is_empty() {
            self.parts.extend(self.push.core().engine.write_piece(&self.piece)?);
        }
        let stream = Stream::Parts(std::mem::take(&mut self.parts));
        let object = NewObject { id, kind: header.kind, size_bytes: header.size_bytes, delta: None, stream };
        // Written at once: what waits in the buffer must be readable.
        self.push.looked_at = LOOK_AGAIN;
        self.push.buffer(object, 0)?;
        Ok(self.push.flush()?)
    }
}
