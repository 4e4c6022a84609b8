//! Which objects are reached from refs, snapshots and tables: a set of their numbers, one bit each.

use std::collections::{BTreeMap, HashMap};

use git_wire::{Kind, ObjectId};

use crate::core::Core;
use crate::engine::{Edits, ObjectEntry, Take, keys};
use crate::object::{Commit, Mode, Tag, TreeEntries};
use crate::{Error, Result};

/// Numbers of one chunk: eight kilobytes of bits.
const CHUNK: u64 = 1 << 16;

/// A set of numbers that mostly lie close together.
#[derive(Default)]
pub(super) struct Marks {
    chunks: HashMap<u64, Box<[u64]>>,
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
    /// Bytes and number of objects that each segment holds of them.
    pub segments: BTreeMap<u32, (u64, u64)>,
}

impl Reached {
    /// Walks from everything that must be kept. Called again it only walks what is new; gives how much that was, with
    /// the ids of those whose number is below `old`.
    pub fn walk(&mut self, core: &Core, old: u64) -> Result<Vec<ObjectId>> {
        let mut late = Vec::new();
        for root in roots(core)? {
            // What only a table or a note names may be gone already.
            if core.object_entry(&root.0)?.is_some() || root.1 {
                self.walk_from(core, root.0, old, &mut late)?;
            }
        }
        Ok(late)
    }

    fn walk_from(&mut self, core: &Core, root: ObjectId, old: u64, late: &mut Vec<ObjectId>) -> Result<()> {
        let mut open = vec![root];
        while let Some(id) = open.pop() {
            let entry = core.object_entry(&id)?.ok_or(Error::Missing(id))?;
            if !self.marks.add(entry.number) {
                continue;
            }
            self.count(core, &entry);
            if entry.number < old {
                late.push(id);
            }
            // Read past the cache: one walk must not drive out what readers use.
            match entry.kind {
                Kind::Blob => {}
                Kind::Tree => {
                    let content = core.typed(&id, Kind::Tree)?;
                    for one in TreeEntries(&content) {
                        let (mode, _, id) = one?;
                        if mode != Mode::Submodule {
                            open.push(id);
                        }
                    }
                }
                Kind::Commit => {
                    let commit = Commit::parse(&core.content(&id, &entry, &core.cache)?)?;
                    // The tree comes off the stack first, so that the stack stays as small as a tree.
                    open.extend(commit.parents.iter().map(|parent| parent.0));
                    open.push(commit.tree);
                }
                Kind::Tag => open.push(Tag::parse(&core.content(&id, &entry, &core.cache)?)?.target),
            }
        }
        Ok(())
    }

    fn count(&mut self, core: &Core, entry: &ObjectEntry) {
        self.objects += 1;
        for part in &entry.parts {
            let segment = self.segments.entry(core.engine.segment_of(part)).or_default();
            segment.0 += u64::from(part.len);
            segment.1 += 1;
        }
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
    }
}
