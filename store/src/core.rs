//! What every handle of an open store shares: engine, cache, refs, and who waits for what.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;

use bytes::Bytes;
use git_wire::{Kind, ObjectId};

use crate::cache::Cache;
use crate::committer::Queue;
use crate::engine::{Engine, ObjectEntry, Take, keys};
use crate::forget::Marks;
use crate::object::{Commit, CommitId, Mode, RawEntry, decode_tree};
use crate::options::Options;
use crate::watch::Bell;
use crate::{Error, Result, delta, zlib};

/// Objects above this size are read only as streams.
pub(crate) const IN_MEMORY_BYTES_MAX: u64 = 64 << 20;
/// Longest chain of deltas that is followed: more than any that is made, where a push's chain is put onto one of ours.
pub(crate) const DELTA_DEPTH_MAX: u8 = 250;

/// What a ref names, and the number of its last move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RefState {
    pub id: ObjectId,
    pub moved: u64,
}

/// Contents of objects, as long as there is room for them.
pub(crate) type Contents = Cache<ObjectId, (Kind, Bytes)>;

/// What a collection is deleting: everything below a number but what it spares.
pub(crate) struct Doomed {
    pub spared: Marks,
    pub below: u64,
}

impl Doomed {
    fn has(&self, number: u64) -> bool {
        number < self.below && !self.spared.has(number)
    }
}

pub(crate) struct Core {
    pub engine: Engine,
    pub cache: Contents,
    pub options: Options,
    pub refs: RwLock<BTreeMap<String, RefState>>,
    pub queue: Queue,
    pub bell: Bell,
    /// Pushes that are not published; what they brought is not seen.
    pub unpublished: RwLock<BTreeSet<u64>>,
    /// Written while a collection deletes; read by whoever finds an object there and relies on its staying.
    pub sweeping: RwLock<()>,
    /// Objects that a collection is deleting; they are not seen any more.
    pub doomed: RwLock<Option<Doomed>>,
    /// How often objects were deleted. What was found before may be gone when this has changed.
    pub sweeps: AtomicU64,
    /// Held by a collection.
    pub collecting: Mutex<()>,
    /// The thread that merges the index's runs, while there are some to merge.
    pub merger: Mutex<Option<JoinHandle<()>>>,
    /// Trees that open snapshots stand on; garbage collection spares them.
    pub pins: Mutex<BTreeMap<ObjectId, usize>>,
}

impl Core {
    pub fn new(engine: Engine, options: Options) -> Result<Core> {
        let core = Core {
            engine,
            cache: Cache::new(options.cache_bytes / 2),
            options,
            refs: RwLock::default(),
            queue: Queue::default(),
            bell: Bell::default(),
            unpublished: RwLock::default(),
            sweeping: RwLock::default(),
            doomed: RwLock::default(),
            sweeps: AtomicU64::new(0),
            collecting: Mutex::default(),
            merger: Mutex::default(),
            pins: Mutex::default(),
        };
        let mut refs = BTreeMap::new();
        core.each(b"r", |key, value| {
            let name = String::from_utf8(key[1..].to_vec()).map_err(|_| Error::corrupt("a ref's name"))?;
            let mut take = Take(value);
            refs.insert(name, RefState { id: ObjectId(take.array()?), moved: take.u64()? });
            Ok(())
        })?;
        let mut unpublished = BTreeSet::new();
        core.each(b"p", |key, _| {
            unpublished.insert(u64::from_be_bytes(Take(&key[1..]).array()?));
            Ok(())
        })?;
        let doomed = core.engine.get(&keys::setting("doomed"))?;
        if let Some(below) = doomed.and_then(|value| value.try_into().ok()).map(u64::from_le_bytes) {
            let mut spared = Marks::default();
            core.each(b"d", |key, value| {
                let at = u64::from_be_bytes(Take(&key[1..]).array()?);
                let fits = spared.add_chunk(at, &zlib::inflate(value, 8 << 10)?);
                if fits { Ok(()) } else { Err(Error::corrupt("what a collection spares")) }
            })?;
            *core.doomed.write().unwrap_or_else(|poisoned| poisoned.into_inner()) =
                Some(Doomed { spared, below });
        }
        *core.unpublished.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = unpublished;
        *core.refs.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = refs;
        Ok(core)
    }

    /// Calls back for every key that starts with `prefix`, in order.
    pub fn each(&self, prefix: &[u8], mut then: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        let mut all = |key: &[u8], value: &[u8]| then(key, value).map(|()| true);
        self.engine.visit(prefix, &keys::after_prefix(prefix), &mut all)
    }

    pub fn reference(&self, name: &str) -> Option<RefState> {
        self.refs.read().unwrap_or_else(|poisoned| poisoned.into_inner()).get(name).copied()
    }

    pub fn object_entry(&self, id: &ObjectId) -> Result<Option<ObjectEntry>> {
        let entry = self.any_entry(id)?;
        Ok(entry.filter(|entry| self.is_seen(entry, None)))
    }

    /// Whether an object is there for others, or for the push of that number.
    pub fn is_seen(&self, entry: &ObjectEntry, push: Option<u64>) -> bool {
        let is_published =
            entry.quarantine.is_none_or(|number| Some(number) == push || !self.is_unpublished(number));
        let doomed = self.doomed.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        is_published && doomed.as_ref().is_none_or(|doomed| !doomed.has(entry.number))
    }

    /// The entry of an object, published or not, doomed or not.
    pub fn any_entry(&self, id: &ObjectId) -> Result<Option<ObjectEntry>> {
        self.engine.get(&keys::object(id))?.map(|value| ObjectEntry::decode(&value)).transpose()
    }

    pub fn is_unpublished(&self, number: u64) -> bool {
        self.unpublished.read().unwrap_or_else(|poisoned| poisoned.into_inner()).contains(&number)
    }

    /// The content of an object, through the cache.
    pub fn object(&self, id: &ObjectId) -> Result<(Kind, Bytes)> {
        if let Some(found) = self.cache.get(id) {
            return Ok(found);
        }
        let (kind, content) = self.object_once(id)?;
        self.cache.put(*id, (kind, content.clone()), content.len());
        Ok((kind, content))
    }

    /// The content of an object, which is not kept unless it is already.
    pub fn object_once(&self, id: &ObjectId) -> Result<(Kind, Bytes)> {
        if let Some(found) = self.cache.get(id) {
            return Ok(found);
        }
        let mut sweeps = self.sweeps();
        let mut entry = self.object_entry(id)?.ok_or(Error::Missing(*id))?;
        let content = loop {
            match self.content(id, &entry, &self.cache) {
                // A collection may have moved it since the index was asked.
                Err(error @ (Error::Corrupt { .. } | Error::Device(_) | Error::Missing(_))) => {
                    let now = self.object_entry(id)?.ok_or(Error::Missing(*id))?;
                    let base_moved = entry.delta.is_some() && self.sweeps() != sweeps;
                    if now == entry && !base_moved {
                        return Err(error);
                    }
                    (entry, sweeps) = (now, self.sweeps());
                }
                content => break content?,
            }
        };
        Ok((entry.kind, content))
    }

    /// The beginning of an object that stands for itself, as far as is enough; all of any other, and of one that is at hand.
    pub fn start(&self, id: &ObjectId, enough: &dyn Fn(&[u8]) -> bool) -> Result<(Kind, Bytes)> {
        if let Some(found) = self.cache.get(id) {
            return Ok(found);
        }
        let entry = self.object_entry(id)?.ok_or(Error::Missing(*id))?;
        if entry.delta.is_none() && entry.size_bytes <= IN_MEMORY_BYTES_MAX {
            let start = self.stream(&entry).and_then(|stream| zlib::inflate_until(&stream, enough));
            if let Ok(start) = start.map(Bytes::from)
                && start.len() as u64 <= entry.size_bytes
            {
                return Ok((entry.kind, start));
            }
        }
        self.object_once(id)
    }

    /// Inflates an object, following its deltas to the first base that is in `bases`; those on the way are kept there.
    pub fn content(&self, id: &ObjectId, entry: &ObjectEntry, bases: &Contents) -> Result<Bytes> {
        let mut chain: Vec<(ObjectId, ObjectEntry, Vec<u8>)> = Vec::new();
        let (mut id, mut entry) = (*id, Cow::Borrowed(entry));
        let mut content = loop {
            refuse_large(&id, &entry)?;
            let stream = self.stream(&entry)?;
            let Some(made_of) = entry.delta else {
                let content = Bytes::from(zlib::inflate(&stream, entry.size_bytes)?);
                if !chain.is_empty() {
                    bases.put(id, (entry.kind, content.clone()), content.len());
                }
                break content;
            };
            if chain.len() > usize::from(DELTA_DEPTH_MAX) {
                return Err(Error::corrupt(format!("object {id} hangs on too many deltas")));
            }
            let instructions = zlib::inflate(&stream, made_of.size_bytes)?;
            chain.push((id, entry.into_owned(), instructions));
            if let Some((_, content)) = bases.get(&made_of.base) {
                break content;
            }
            // The base of what one may see may be seen: a delta is kept only against what its reader sees.
            id = made_of.base;
            entry = Cow::Owned(self.any_entry(&id)?.ok_or(Error::Missing(id))?);
        };
        while let Some((id, entry, instructions)) = chain.pop() {
            content = delta::apply(&content, &instructions)?.into();
            if content.len() as u64 != entry.size_bytes {
                return Err(Error::corrupt(format!("object {id} has not the size that the index says")));
            }
            if !chain.is_empty() {
                bases.put(id, (entry.kind, content.clone()), content.len());
            }
        }
        Ok(content)
    }

    /// An object's zlib stream, whole.
    pub fn stream(&self, entry: &ObjectEntry) -> Result<Vec<u8>> {
        if let [part] = &entry.parts[..] {
            return self.engine.read_part(part);
        }
        let mut stream = Vec::with_capacity(entry.stored_bytes() as usize);
        for part in &entry.parts {
            stream.extend_from_slice(&self.engine.read_part(part)?);
        }
        Ok(stream)
    }

    pub fn typed(&self, id: &ObjectId, kind: Kind) -> Result<Bytes> {
        let (is, content) = self.object(id)?;
        if is == kind {
            Ok(content)
        } else {
            Err(Error::Malformed(format!("object {id} is a {is}, not a {kind}")))
        }
    }

    pub fn commit(&self, id: CommitId) -> Result<Commit> {
        Commit::parse(&self.typed(&id.0, Kind::Commit)?)
    }

    pub fn tree(&self, id: &ObjectId) -> Result<Vec<RawEntry>> {
        decode_tree(&self.typed(id, Kind::Tree)?)
    }

    /// The entry at a path below a tree.
    pub fn lookup(&self, tree: Option<ObjectId>, path: &crate::TreePath) -> Result<Option<(Mode, ObjectId)>> {
        let Some(tree) = tree else { return Ok(None) };
        let mut at = (Mode::Directory, tree);
        for name in path.components() {
            if at.0 != Mode::Directory {
                return Ok(None);
            }
            let bytes = self.typed(&at.1, Kind::Tree)?;
            match find(&bytes, name)? {
                Some(entry) => at = entry,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// Called after writes: has the index's runs merged in the background when enough have come together.
    pub fn keep_up(self: &Arc<Self>) {
        self.engine.slow_down();
        if !self.engine.wants_merging() {
            return;
        }
        let mut merger = self.merger.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if merger.as_ref().is_some_and(|merger| !merger.is_finished()) {
            return;
        }
        let core = self.clone();
        // A failure is kept by the engine; without a thread the next write tries again.
        let merge = move || drop(core.engine.merge_runs());
        *merger = std::thread::Builder::new().name("store-merge".into()).spawn(merge).ok();
    }

    pub fn sweeps(&self) -> u64 {
        self.sweeps.load(Ordering::SeqCst)
    }

    /// Whether an object is there; if so, it stays as long as the pin lives.
    pub fn pin_if_there(self: &Arc<Self>, id: ObjectId) -> Result<Option<Arc<Pin>>> {
        let _unswept = self.sweeping.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        Ok(if self.object_entry(&id)?.is_some() { self.pin(Some(id)) } else { None })
    }

    pub fn pin(self: &Arc<Self>, tree: Option<ObjectId>) -> Option<Arc<Pin>> {
        let id = tree?;
        *self.pins.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).entry(id).or_default() += 1;
        Some(Arc::new(Pin { core: self.clone(), id }))
    }
}

fn refuse_large(id: &ObjectId, entry: &ObjectEntry) -> Result<()> {
    if entry.size_bytes <= IN_MEMORY_BYTES_MAX {
        return Ok(());
    }
    let what = format!("object {id}");
    Err(Error::TooLarge { what, size_bytes: entry.size_bytes, max_bytes: IN_MEMORY_BYTES_MAX })
}

/// The entry of that name in a tree's bytes.
pub(crate) fn find(tree: &[u8], name: &[u8]) -> Result<Option<(Mode, ObjectId)>> {
    for entry in crate::object::TreeEntries(tree) {
        let (mode, found, id) = entry?;
        if found == name {
            return Ok(Some((mode, id)));
        }
    }
    Ok(None)
}

/// Keeps collections off everything that is written from now on, named or not, as long as it lives.
pub(crate) struct Hold {
    core: Arc<Core>,
    since: (u64, u64),
}

impl Hold {
    pub fn new(core: Arc<Core>) -> Hold {
        let since = core.engine.hold();
        Hold { core, since }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.core.engine.release(self.since);
    }
}

/// Keeps a tree from being forgotten as long as somebody reads it.
pub(crate) struct Pin {
    core: Arc<Core>,
    id: ObjectId,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.core.pins.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(count) = pins.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.id);
            }
        }
    }
}
