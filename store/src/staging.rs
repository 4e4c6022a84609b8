//! Objects that are made but not yet written: a transaction's, a merge's.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use git_wire::{Kind, ObjectId};

use crate::core::Core;
use crate::engine::{Delta, NewObject, Stream};
use crate::object::{Commit, CommitId, Mode, RawEntry, decode_tree, encode_tree};
use crate::{Error, Result, TreePath, delta, zlib};

/// Longest chain of tree deltas that a transaction makes; a read costs that many more small reads.
const TREE_DELTA_DEPTH: u8 = 24;
/// Trees below this size are not worth a delta.
const TREE_DELTA_BYTES_MIN: usize = 200;

struct Staged {
    kind: Kind,
    /// Not there for what came deflated and was not asked for.
    content: Option<Bytes>,
    depth: u8,
    /// Its place among the new objects.
    at: usize,
}

/// New objects over those of the store.
pub(crate) struct Staging<'a> {
    pub core: &'a Core,
    staged: HashMap<ObjectId, Staged>,
    pub objects: Vec<NewObject>,
}

impl<'a> Staging<'a> {
    pub fn new(core: &'a Core) -> Staging<'a> {
        Staging { core, staged: HashMap::new(), objects: Vec::new() }
    }

    /// Stages an object, unless it is there already.
    pub fn put(&mut self, kind: Kind, content: impl Into<Bytes>) -> Result<ObjectId> {
        let content = content.into();
        let id = ObjectId::of(kind, &content)?;
        if self.has(&id)? {
            return Ok(id);
        }
        let stream = Stream::Bytes(zlib::deflate(&content));
        self.staged
            .insert(id, Staged { kind, content: Some(content.clone()), depth: 0, at: self.objects.len() });
        self.objects.push(NewObject { id, kind, size_bytes: content.len() as u64, delta: None, stream });
        Ok(id)
    }

    /// Stages the tree of a store without files.
    pub fn put_empty_tree(&mut self) -> Result<ObjectId> {
        self.put_tree::<Vec<u8>>(&[], None)
    }

    /// Stages a tree, as a delta against the one that it replaces where that is shorter.
    pub fn put_tree<N: AsRef<[u8]>>(
        &mut self,
        entries: &[RawEntry<N>],
        before: Option<ObjectId>,
    ) -> Result<ObjectId> {
        let content = Bytes::from(encode_tree(entries));
        let id = ObjectId::of(Kind::Tree, &content)?;
        if self.has(&id)? {
            return Ok(id);
        }
        let (stream, delta) = match before {
            Some(base) if content.len() >= TREE_DELTA_BYTES_MIN => self.tree_delta(&content, base)?,
            _ => None,
        }
        .map_or_else(|| (zlib::deflate(&content), None), |(stream, delta)| (stream, Some(delta)));
        let depth = delta.map_or(0, |delta| delta.depth);
        let stream = Stream::Bytes(stream);
        let size_bytes = content.len() as u64;
        let at = self.objects.len();
        self.staged.insert(id, Staged { kind: Kind::Tree, content: Some(content), depth, at });
        self.objects.push(NewObject { id, kind: Kind::Tree, size_bytes, delta, stream });
        Ok(id)
    }

    fn tree_delta(&self, content: &[u8], base: ObjectId) -> Result<Option<(Vec<u8>, Delta)>> {
        let depth = 1 + match self.staged.get(&base) {
            Some(staged) => staged.depth,
            None => match self.core.object_entry(&base)? {
                Some(entry) => entry.delta.map_or(0, |delta| delta.depth),
                None => return Ok(None),
            },
        };
        if depth > TREE_DELTA_DEPTH {
            return Ok(None);
        }
        let (_, old) = self.get(&base)?;
        let Some(instructions) = delta::between_trees(&old, content) else { return Ok(None) };
        // Ids do not compress, so a tree's bytes are a fair estimate of its stream.
        if instructions.len() * 2 > content.len() {
            return Ok(None);
        }
        let size_bytes = instructions.len() as u64;
        Ok(Some((zlib::deflate(&instructions), Delta { base, size_bytes, depth })))
    }

    pub fn put_commit(&mut self, commit: &Commit) -> Result<CommitId> {
        self.put(Kind::Commit, commit.encode()).map(CommitId)
    }

    /// Takes objects that were staged elsewhere.
    pub fn adopt(&mut self, objects: Vec<NewObject>) -> Result<()> {
        for object in objects {
            if !self.has(&object.id)? {
                let depth = object.delta.map_or(0, |delta| delta.depth);
                let staged = Staged { kind: object.kind, content: None, depth, at: self.objects.len() };
                self.staged.insert(object.id, staged);
                self.objects.push(object);
            }
        }
        Ok(())
    }

    /// Whether it is among what is to be written.
    pub fn is_staged(&self, id: &ObjectId) -> bool {
        self.staged.contains_key(id)
    }

    pub fn has(&self, id: &ObjectId) -> Result<bool> {
        Ok(self.staged.contains_key(id) || self.core.object_entry(id)?.is_some())
    }

    pub fn get(&self, id: &ObjectId) -> Result<(Kind, Bytes)> {
        let Some(staged) = self.staged.get(id) else { return self.core.object(id) };
        if let Some(content) = &staged.content {
            return Ok((staged.kind, content.clone()));
        }
        let object = &self.objects[staged.at];
        let stream = match &object.stream {
            Stream::Bytes(bytes) => Cow::Borrowed(bytes),
            Stream::Parts(parts) => {
                let mut bytes = Vec::new();
                for part in parts {
                    bytes.extend_from_slice(&self.core.engine.read_part(part)?);
                }
                Cow::Owned(bytes)
            }
        };
        let content = match &object.delta {
            None => zlib::inflate(&stream, object.size_bytes)?,
            Some(made_of) => {
                let instructions = zlib::inflate(&stream, made_of.size_bytes)?;
                delta::apply(&self.get(&made_of.base)?.1, &instructions)?
            }
        };
        Ok((staged.kind, content.into()))
    }

    pub fn typed(&self, id: &ObjectId, kind: Kind) -> Result<Bytes> {
        let (is, content) = self.get(id)?;
        if is == kind {
            Ok(content)
        } else {
            Err(Error::Malformed(format!("object {id} is a {is}, not a {kind}")))
        }
    }

    /// Size of an object, staged or not.
    pub fn size_bytes(&self, id: &ObjectId) -> Result<u64> {
        match self.staged.get(id) {
            Some(staged) => Ok(self.objects[staged.at].size_bytes),
            None => Ok(self.core.object_entry(id)?.ok_or(Error::Missing(*id))?.size_bytes),
        }
    }

    pub fn tree(&self, id: Option<ObjectId>) -> Result<Vec<RawEntry>> {
        id.map_or(Ok(Vec::new()), |id| decode_tree(&self.typed(&id, Kind::Tree)?))
    }

    /// The bytes of a tree; of none, none.
    pub fn tree_bytes(&self, id: Option<ObjectId>) -> Result<Bytes> {
        id.map_or(Ok(Bytes::new()), |id| self.typed(&id, Kind::Tree))
    }

    pub fn commit(&self, id: CommitId) -> Result<Commit> {
        Commit::parse(&self.typed(&id.0, Kind::Commit)?)
    }

    /// The entry at a path below a tree, staged or not.
    pub fn lookup(&self, tree: Option<ObjectId>, path: &TreePath) -> Result<Option<(Mode, ObjectId)>> {
        let Some(tree) = tree else { return Ok(None) };
        let mut at = (Mode::Directory, tree);
        for name in path.components() {
            if at.0 != Mode::Directory {
                return Ok(None);
            }
            match crate::core::find(&self.typed(&at.1, Kind::Tree)?, name)? {
                Some(entry) => at = entry,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// What was staged, and the trees and commits among it for the cache.
    pub fn finish(self) -> (Vec<NewObject>, Vec<(ObjectId, Kind, Bytes)>) {
        let contents = self.staged.into_iter().filter(|(_, staged)| staged.kind != Kind::Blob);
        let contents = contents.filter_map(|(id, staged)| Some((id, staged.kind, staged.content?)));
        (self.objects, contents.collect())
    }
}
