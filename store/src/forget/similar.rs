//! Which object another one is made from, when a collection packs them.
//!
//! A tree is made from the version of the same directory before it. A blob is made from one that shares enough of its
//! blocks: not found by trying neighbours, as Git does, but by what both are recognised by, wherever they lie. A delta
//! is taken when it is less than half of the content, which is Git's rule too.

use std::collections::HashMap;

use git_wire::{Kind, ObjectId};

use crate::core::{Contents, Core};
use crate::engine::{Delta, ObjectEntry};
use crate::{Result, delta, zlib};

/// Deepest chains that are made. Trees have chains already, from when they were written; both together stay below
/// what Git makes.
const TREE_BASE_DEPTH_MAX: u8 = 25;
const BLOB_DEPTH_MAX: u8 = 8;
/// Blobs that are compared: smaller ones have nothing to share, larger ones are seldom alike.
const BLOB_BYTES: std::ops::RangeInclusive<u64> = 100..=1 << 20;
/// Features in common that make a trial worth it.
const SHARED_MIN: usize = 2;
/// Blobs that are remembered: some fifteen megabytes.
const BLOBS_MAX: usize = 100_000;

/// What was packed so far, for what comes next.
pub(super) struct Chooser {
    trees: HashMap<u32, ObjectId>,
    blobs: Vec<ObjectId>,
    features: HashMap<u64, u32>,
    bases: Contents,
    /// What objects are made from now, of those that the index does not say that of yet.
    made: HashMap<ObjectId, Option<Delta>>,
}

/// A delta that was found.
pub(super) struct Found {
    pub delta: Delta,
    pub stream: Vec<u8>,
}

impl Chooser {
    pub fn new() -> Chooser {
        Chooser {
            trees: HashMap::new(),
            blobs: Vec::new(),
            features: HashMap::new(),
            bases: Contents::new(super::marks::WALK_CACHE_BYTES),
            made: HashMap::new(),
        }
    }

    /// Notes what an object is made from from now on.
    pub fn note(&mut self, id: ObjectId, delta: Option<Delta>) {
        self.made.insert(id, delta);
    }

    /// The index says everything that was noted.
    pub fn written(&mut self) {
        self.made.clear();
    }

    /// What an object is made from; `None` when it is not there.
    pub fn made_from(&self, core: &Core, id: &ObjectId) -> Result<Option<Option<Delta>>> {
        match self.made.get(id) {
            Some(made) => Ok(Some(*made)),
            None => Ok(core.any_entry(id)?.map(|entry| entry.delta)),
        }
    }

    /// A delta for an object that is stored whole, if there is one that saves enough.
    pub fn delta(
        &mut self,
        core: &Core,
        id: &ObjectId,
        entry: &ObjectEntry,
        path: u32,
        fresh: bool,
    ) -> Result<Option<Found>> {
        let wanted = fresh && entry.delta.is_none();
        match entry.kind {
            Kind::Tree => self.tree(core, id, entry, path, wanted),
            Kind::Blob if fresh && BLOB_BYTES.contains(&entry.size_bytes) => {
                self.blob(core, id, entry, wanted)
            }
            _ => Ok(None),
        }
    }

    fn tree(
        &mut self,
        core: &Core,
        id: &ObjectId,
        entry: &ObjectEntry,
        path: u32,
        wanted: bool,
    ) -> Result<Option<Found>> {
        let Some(base) = self.trees.insert(path, *id).filter(|_| wanted) else {
            return Ok(None);
        };
        let Some(depth) = self.depth_above(core, &base, id)?.filter(|depth| *depth <= TREE_BASE_DEPTH_MAX)
        else {
            return Ok(None);
        };
        let (old, new) = (self.content(core, &base)?, self.content(core, id)?);
        let Some(instructions) = delta::between_trees(&old, &new) else { return Ok(None) };
        Ok(taken(instructions, entry, base, depth))
    }

    fn blob(
        &mut self,
        core: &Core,
        id: &ObjectId,
        entry: &ObjectEntry,
        wanted: bool,
    ) -> Result<Option<Found>> {
        if self.blobs.len() == BLOBS_MAX {
            self.blobs.clear();
            self.features.clear();
        }
        let content = self.content(core, id)?;
        let sketch = delta::sketch(&content);
        let mut found = None;
        if wanted
            && let Some(base) = self.likest(&sketch)
            && let Some(depth) = self.depth_above(core, &base, id)?.filter(|depth| *depth <= BLOB_DEPTH_MAX)
        {
            let old = self.content(core, &base)?;
            if let Some(instructions) = delta::between(&old, &content, content.len() / 2) {
                found = taken(instructions, entry, base, depth);
            }
        }
        let at = self.blobs.len() as u32;
        self.blobs.push(*id);
        self.features
            .extend(sketch.into_iter().filter(|feature| *feature != u64::MAX).map(|feature| (feature, at)));
        Ok(found)
    }

    /// How deep an object would lie on a base. `None` when the base is gone or is itself made from the object.
    fn depth_above(&self, core: &Core, base: &ObjectId, object: &ObjectId) -> Result<Option<u8>> {
        let mut at = *base;
        for depth in 1..u8::MAX {
            if at == *object {
                return Ok(None);
            }
            match self.made_from(core, &at)? {
                None => return Ok(None),
                Some(None) => return Ok(Some(depth)),
                Some(Some(delta)) => at = delta.base,
            }
        }
        Ok(None)
    }

    /// The blob that has most features in common, if they are enough.
    fn likest(&self, sketch: &[u64; 8]) -> Option<ObjectId> {
        let mut sharing: Vec<u32> =
            sketch.iter().filter_map(|feature| self.features.get(feature).copied()).collect();
        sharing.sort_unstable();
        let best = sharing.chunk_by(|a, b| a == b).max_by_key(|same| same.len())?;
        (best.len() >= SHARED_MIN).then(|| self.blobs[best[0] as usize])
    }

    fn content(&self, core: &Core, id: &ObjectId) -> Result<bytes::Bytes> {
        if let Some((_, content)) = self.bases.get(id) {
            return Ok(content);
        }
        let entry = core.any_entry(id)?.ok_or(crate::Error::Missing(*id))?;
        let content = core.content(id, &entry, &self.bases)?;
        self.bases.put(*id, (entry.kind, content.clone()), content.len());
        Ok(content)
    }
}

/// The delta, when it is short enough as it would be stored.
fn taken(instructions: Vec<u8>, entry: &ObjectEntry, base: ObjectId, depth: u8) -> Option<Found> {
    if instructions.len() as u64 * 2 > entry.size_bytes {
        return None;
    }
    let delta = Delta { base, size_bytes: instructions.len() as u64, depth };
    let stream = zlib::deflate(&instructions);
    // The base's id costs room in the index.
    (stream.len() as u64 + 24 < entry.stored_bytes()).then_some(Found { delta, stream })
}
