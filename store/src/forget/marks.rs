//! Which objects are reached from refs, snapshots and tables: a set of their numbers, one bit each.

use std::collections::{BTreeMap, HashMap, HashSet};

use git_wire::{Kind, ObjectId};

use crate::core::{Contents, Core};
use crate::engine::{Edits, ObjectEntry, Take, keys};
use crate::object::{Commit, Mode, Tag, TreeEntries};
use crate::{Error, Result};

/// Numbers of one chunk: eight kilobytes of bits.
const CHUNK: u64 = 1 << 16;

/// A set of numbers that mostly lie close together.
#[derive(Default, Clone)]
pub(crate) struct Marks {
    chunks: BTreeMap<u64, Box<[u64]>>,
}

impl Marks {
    /// Adds a number; says whether it is new.
    pub fn add(&mut self, number: u64) -> bool {
        let chunk = self.chunks.entry(number / CHUNK).or_insert_with(|| vec![0; CHUNK as usize / 64].into());
        let (word, bit) = ((number % CHUNK / 64) as usize, 1 << (number % 64));
        let is_new = chunk[word] & bit == 0;
        chunk[word] |= bit;
        is_new
    }

    /// Every number of another set.
    pub fn add_all(&mut self, other: &Marks) {
        for (at, words) in &other.chunks {
            let chunk = self.chunks.entry(*at).or_insert_with(|| vec![0; CHUNK as usize / 64].into());
            chunk.iter_mut().zip(words).for_each(|(into, word)| *into |= word);
        }
    }

    /// How many numbers.
    pub fn count(&self) -> u64 {
        self.chunks.values().flatten().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Its chunks, as bytes.
    pub fn chunks(&self) -> impl Iterator<Item = (u64, Vec<u8>)> {
        let bytes = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.chunks.iter().map(move |(at, words)| (*at, bytes(words)))
    }

    /// Takes a chunk that was written down; `false` when it is none.
    pub fn add_chunk(&mut self, at: u64, bytes: &[u8]) -> bool {
        let words: Vec<u64> = bytes
            .chunks_exact(8)
            .map(|word| word.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
            .collect();
        let fits = words.len() == CHUNK as usize / 64 && bytes.len() == CHUNK as usize / 8;
        if fits {
            self.add_all(&Marks { chunks: [(at, words.into())].into() });
        }
        fits
    }

    pub fn has(&self, number: u64) -> bool {
        let word = |chunk: &[u64]| chunk[(number % CHUNK / 64) as usize];
        self.chunks.get(&(number / CHUNK)).is_some_and(|chunk| word(chunk) & (1 << (number % 64)) != 0)
    }
}

/// What a walk over everything that is reached has found.
#[derive(Default)]
pub(super) struct Reached {
    pub marks: Marks,
    pub objects: u64,
    /// What each segment holds of them.
    pub segments: BTreeMap<u32, Held>,
    /// Objects from this number on have not been through a collection.
    fresh_from: u64,
    /// Objects from this number on are newer than the walk, and kept.
    old: u64,
    /// A hash of the path at which each was found first: versions of one directory are told by it.
    pub paths: Paths,
    /// Roots that were walked from.
    walked: HashSet<ObjectId>,
    seen: Seen,
}

/// What a segment holds of what is reached.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held {
    pub bytes: u64,
    pub objects: u64,
    /// Of the bytes, those of objects that no collection has looked at.
    pub fresh_bytes: u64,
}

/// A small number for each object: four bytes of memory.
#[derive(Default)]
pub(super) struct Paths(HashMap<u64, Box<[u32]>>);

impl Paths {
    fn note(&mut self, number: u64, path: u32) {
        let chunk = self.0.entry(number / CHUNK).or_insert_with(|| vec![0; CHUNK as usize].into());
        chunk[(number % CHUNK) as usize] = path;
    }

    pub fn of(&self, number: u64) -> u32 {
        self.0.get(&(number / CHUNK)).map_or(0, |chunk| chunk[(number % CHUNK) as usize])
    }
}

fn path_below(path: u32, name: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(path);
    hasher.update(b"/");
    hasher.update(name);
    hasher.finalize()
}

impl Reached {
    pub fn new(fresh_from: u64, old: u64) -> Reached {
        Reached { fresh_from, old, ..Reached::default() }
    }

    /// Whether no collection has looked at an object of that number yet.
    pub fn is_fresh(&self, number: u64) -> bool {
        (self.fresh_from..self.old).contains(&number)
    }

    /// Ends this collection's first look.
    pub fn looked_at(&mut self) {
        self.fresh_from = self.old;
    }

    /// Whether an object of that number is kept.
    pub fn keeps(&self, number: u64) -> bool {
        number >= self.old || self.marks.has(number)
    }

    /// Walks from everything that must be kept. Called again it only walks what is new.
    pub fn walk(&mut self, core: &Core) -> Result<()> {
        for (root, must_be_there) in roots(core)? {
            if self.walked.contains(&root) {
                continue;
            }
            // What only a table or a note names may be gone already.
            if must_be_there || core.object_entry(&root)?.is_some() {
                self.walk_from(core, root)?;
                self.walked.insert(root);
            }
        }
        Ok(())
    }

    fn walk_from(&mut self, core: &Core, root: ObjectId) -> Result<()> {
        // A cache of its own: one walk must not drive out what readers use.
        let bases = Contents::new(WALK_CACHE_BYTES);
        let mut seen = std::mem::take(&mut self.seen);
        let mut walk = Walk { core, bases: &bases, open: vec![(root, 0)], seen: &mut seen };
        while let Some((_, entry, path)) = walk.next(&mut self.marks)? {
            core.engine.refuse_when_closing()?;
            self.paths.note(entry.number, path);
            self.count(core, &entry);
        }
        self.seen = seen;
        Ok(())
    }

    fn count(&mut self, core: &Core, entry: &ObjectEntry) {
        self.objects += 1;
        for part in &entry.parts {
            let segment = self.segments.entry(core.engine.segment_of(part)).or_default();
            segment.bytes += u64::from(part.len);
            segment.objects += 1;
            if entry.number >= self.fresh_from {
                segment.fresh_bytes += u64::from(part.len);
            }
        }
    }
}

/// Bytes of contents that a walk keeps, for the deltas of the next ones.
pub(super) const WALK_CACHE_BYTES: usize = 8 << 20;

/// A walk over what is reached: what is marked already is not walked again.
pub(super) struct Walk<'a> {
    pub core: &'a Core,
    pub bases: &'a Contents,
    pub open: Vec<(ObjectId, u32)>,
    pub seen: &'a mut Seen,
}

/// Ids of objects that are marked, as many as fit. Each version of a directory names again nearly all that the one before
/// named; most of that is known here, without a look at the index.
#[derive(Default)]
pub(super) struct Seen {
    ids: Vec<ObjectId>,
    /// There is no room for them: every object is asked of the index.
    without: bool,
}

/// Five megabytes.
const SEEN_MAX: usize = 1 << 18;

impl Seen {
    /// Whether an object was seen before.
    fn has(&self, id: &ObjectId) -> bool {
        !id.is_zero() && self.ids.get(Seen::slot(id)) == Some(id)
    }

    fn add(&mut self, id: ObjectId) {
        if self.ids.is_empty() && !self.without {
            // A machine of 8 MB has not the memory, and must not be left without any.
            self.without = Vec::<ObjectId>::new().try_reserve_exact(2 * SEEN_MAX).is_err();
            if !self.without {
                self.ids = vec![ObjectId::ZERO; SEEN_MAX];
            }
        }
        if let Some(slot) = self.ids.get_mut(Seen::slot(&id)) {
            *slot = id;
        }
    }

    fn slot(id: &ObjectId) -> usize {
        u32::from_le_bytes([id.0[0], id.0[1], id.0[2], id.0[3]]) as usize % SEEN_MAX
    }
}

impl Walk<'_> {
    /// The next object that was not marked, with a hash of the path at which it was found.
    pub fn next(&mut self, marks: &mut Marks) -> Result<Option<(ObjectId, ObjectEntry, u32)>> {
        while let Some((id, path)) = self.open.pop() {
            if self.seen.has(&id) {
                continue;
            }
            let entry = self.core.object_entry(&id)?.ok_or(Error::Missing(id))?;
            self.seen.add(id);
            if marks.add(entry.number) {
                self.links(&id, &entry, path)?;
                return Ok(Some((id, entry, path)));
            }
        }
        Ok(None)
    }

    fn links(&mut self, id: &ObjectId, entry: &ObjectEntry, path: u32) -> Result<()> {
        if entry.kind == Kind::Blob {
            return Ok(());
        }
        let content = match self.bases.get(id) {
            Some((_, content)) => content,
            None => self.core.content(id, entry, self.bases)?,
        };
        match entry.kind {
            Kind::Blob => {}
            Kind::Tree => {
                self.bases.put(*id, (Kind::Tree, content.clone()), content.len());
                for one in TreeEntries(&content) {
                    let (mode, name, id) = one?;
                    if mode != Mode::Submodule && !self.seen.has(&id) {
                        self.open.push((id, path_below(path, name)));
                    }
                }
            }
            Kind::Commit => {
                let commit = Commit::parse(&content)?;
                // The tree comes off the stack first, so that the stack stays as small as a tree.
                self.open.extend(commit.parents.iter().map(|parent| (parent.0, 0)));
                self.open.push((commit.tree, 1));
            }
            Kind::Tag => self.open.push((Tag::parse(&content)?.target, 0)),
        }
        Ok(())
    }
}

/// Everything that must be kept: refs, what open snapshots stand on, the commits of derived tables, and where watched
/// branches were. The flag says that it must be there.
fn roots(core: &Core) -> Result<Vec<(ObjectId, bool)>> {
    let mut roots: Vec<_> = {
        let refs = core.refs.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let pins = core.pins.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        refs.values().map(|state| (state.id, true)).chain(pins.keys().map(|id| (*id, true))).collect()
    };
    core.each(b"a", |_, value| {
        roots.push((ObjectId(Take(value).array()?), false));
        Ok(())
    })?;
    core.each(b"m", |_, value| {
        let mut take = Take(value);
        for _ in 0..2 {
            let id = ObjectId(take.array()?);
            if !id.is_zero() {
                roots.push((id, false));
            }
        }
        Ok(())
    })?;
    roots.sort();
    roots.dedup_by_key(|root| root.0);
    Ok(roots)
}

/// What becomes of the notes of moves before a moment: they are dropped, but for the last one of each ref, which says
/// how far it has counted and from then on nothing else.
pub(super) fn old_notes(core: &Core, before: i64) -> Result<Edits> {
    let mut old: Edits = Vec::new();
    core.each(b"m", |key, value| {
        let mut take = Take(value);
        take.slice(40)?;
        if (take.u64()? as i64) < before {
            old.push((key.to_vec(), Some(value.to_vec())));
        }
        Ok(())
    })?;
    let mut last: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    core.each(b"m", |key, _| {
        last.insert(key[..key.len() - 8].to_vec(), key.to_vec());
        Ok(())
    })?;
    for (key, value) in &mut old {
        let is_last = last.get(&key[..key.len() - 8]) == Some(key);
        *value = value.take().filter(|_| is_last).map(|mut note| {
            note[..20].fill(0);
            note
        });
    }
    Ok(old)
}

/// Pushes that nobody holds any more.
pub(super) fn dead_pushes(core: &Core) -> Result<Vec<Vec<u8>>> {
    let mut dead = Vec::new();
    core.each(&keys::quarantine(0)[..1], |key, _| {
        dead.push(key.to_vec());
        Ok(())
    })?;
    Ok(dead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_far_apart_are_told_apart() {
        let mut marks = Marks::default();
        let numbers = [0, 1, 63, 64, CHUNK - 1, CHUNK, 5 * CHUNK + 3, u64::MAX];
        for number in numbers {
            assert!(!marks.has(number) && marks.add(number) && !marks.add(number));
        }
        assert_eq!((0..200_000).filter(|number| marks.has(*number)).count(), 6);
        assert_eq!(marks.count(), numbers.len() as u64);
        let mut again = Marks::default();
        for (at, bytes) in marks.chunks() {
            assert!(again.add_chunk(at, &bytes) && !again.add_chunk(at, &bytes[1..]));
        }
        assert!(numbers.iter().all(|number| again.has(*number)) && again.count() == marks.count());
    }
}
