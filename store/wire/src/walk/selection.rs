//! The objects of a pack, in the order in which they will be sent.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::history::COMMIT_BYTES_MAX;
use super::{History, WalkError};
use crate::object::{EntryKind, TreeEntry, compare, tag_link, tree_entries};
use crate::{Kind, Limits, ObjectId, Objects};

/// What a partial clone leaves out (git rev-list `--filter`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Filter {
    /// Blobs of at least this size are left out; 0 leaves out all.
    pub blob_bytes_max: Option<u64>,
    /// Trees deeper than this are left out, the root being at 0; 0 leaves out all trees and blobs.
    pub tree_depth_max: Option<usize>,
}

/// Objects to be sent, each once, in the order in which they were found. Thirty bytes of memory each.
#[derive(Default)]
pub struct Selection {
    chunks: Vec<Vec<ObjectId>>,
    /// Open addressing: places in the list plus one, 0 for empty. At most half full.
    table: Vec<u32>,
    count: usize,
}

impl Filter {
    /// Reads `blob:none`, `blob:limit=1m`, `tree:0`, and several of them as `combine:blob:none+tree:3`; `None` for what is
    /// not supported.
    pub fn parse(spec: &str) -> Option<Filter> {
        match spec.strip_prefix("combine:") {
            None => Filter::parse_one(spec),
            Some(all) => all
                .split('+')
                .try_fold(Filter::default(), |so_far, one| Some(so_far.and(Filter::parse_one(one)?))),
        }
    }

    fn parse_one(spec: &str) -> Option<Filter> {
        if spec == "blob:none" {
            return Some(Filter { blob_bytes_max: Some(0), tree_depth_max: None });
        }
        if let Some(size) = spec.strip_prefix("blob:limit=") {
            return Some(Filter { blob_bytes_max: Some(parse_size(size)?), tree_depth_max: None });
        }
        let depth = spec.strip_prefix("tree:")?.parse().ok()?;
        Some(Filter { blob_bytes_max: None, tree_depth_max: Some(depth) })
    }

    /// Leaves out what either leaves out.
    fn and(self, other: Filter) -> Filter {
        let blob_bytes_max = [self.blob_bytes_max, other.blob_bytes_max].into_iter().flatten().min();
        let tree_depth_max = [self.tree_depth_max, other.tree_depth_max].into_iter().flatten().min();
        Filter { blob_bytes_max, tree_depth_max }
    }
}

fn parse_size(size: &str) -> Option<u64> {
    let digits = size.trim_end_matches(|one: char| one.is_ascii_alphabetic());
    let factor = match &size[digits.len()..].to_ascii_lowercase()[..] {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// Finds what is reachable from `wanted` and not from `had`. Wanted trees, blobs and tags are taken as they are named,
/// whatever the filter says.
pub fn select(
    objects: &dyn Objects,
    history: &History<'_>,
    wanted: &[ObjectId],
    had: &[ObjectId],
    filter: Filter,
    limits: &Limits,
) -> Result<Selection, WalkError> {
    let mut selector = Selector {
        objects,
        filter,
        limits,
        found: Selection::default(),
        deepest: HashMap::new(),
        had: had.iter().copied().collect(),
        cache: TreeCache::default(),
    };
    let mut commits = Vec::new();
    let mut roots = Vec::new();
    for id in wanted {
        selector.peel(*id, &mut commits, &mut roots)?;
    }
    let had_commits = had_commits(objects, had)?;
    let mut missing = history.missing(&commits, &had_commits)?;
    for id in missing.ids() {
        selector.add(id)?;
    }
    missing.forget_ids();
    missing.trees_parents_first(|tree, parents| selector.commit_tree(tree, parents))?;
    drop(missing);
    for (id, kind) in roots {
        match kind {
            Kind::Tree => {
                selector.deepest.remove(&id);
                selector.add(id)?;
                selector.tree(id, &[], 0, 0)?;
            }
            _ => selector.add(id).map(|_| ())?,
        }
    }
    Ok(selector.found)
}

/// The commits among what the other side has; tags are followed.
fn had_commits(objects: &dyn Objects, had: &[ObjectId]) -> Result<Vec<ObjectId>, WalkError> {
    let mut commits = Vec::new();
    for id in had {
        let mut id = *id;
        loop {
            match objects.header(&id)?.map(|header| header.kind) {
                Some(Kind::Commit) => commits.push(id),
                Some(Kind::Tag) => {
                    let object = objects.read(&id, COMMIT_BYTES_MAX)?.ok_or(WalkError::Missing(id))?;
                    id = tag_link(&object.content).map_err(|_| WalkError::Missing(id))?.target;
                    continue;
                }
                _ => {}
            }
            break;
        }
    }
    Ok(commits)
}

struct Selector<'a> {
    objects: &'a dyn Objects,
    filter: Filter,
    limits: &'a Limits,
    found: Selection,
    /// Only with a filter by depth: the least depth at which a tree was taken, since a lower one shows more of it.
    deepest: HashMap<ObjectId, usize>,
    had: HashSet<ObjectId>,
    cache: TreeCache,
}

impl Selector<'_> {
    /// Follows tags; sorts what is wanted into commits and the rest.
    fn peel(
        &mut self,
        mut id: ObjectId,
        commits: &mut Vec<ObjectId>,
        roots: &mut Vec<(ObjectId, Kind)>,
    ) -> Result<(), WalkError> {
        loop {
            match self.objects.header(&id)?.ok_or(WalkError::Missing(id))?.kind {
                Kind::Commit => commits.push(id),
                Kind::Tag => {
                    if !self.had.contains(&id) {
                        self.add(id)?;
                    }
                    let object = self.objects.read(&id, COMMIT_BYTES_MAX)?.ok_or(WalkError::Missing(id))?;
                    id = tag_link(&object.content).map_err(|_| WalkError::Missing(id))?.target;
                    continue;
                }
                kind => roots.push((id, kind)),
            }
            return Ok(());
        }
    }

    fn add(&mut self, id: ObjectId) -> Result<bool, WalkError> {
        if self.found.count == self.limits.sent_objects_max {
            return Err(WalkError::TooMany(self.limits.sent_objects_max));
        }
        Ok(self.found.insert(id))
    }

    fn commit_tree(&mut self, tree: ObjectId, parents: &[ObjectId]) -> Result<(), WalkError> {
        if self.filter.tree_depth_max == Some(0) {
            return Ok(());
        }
        // With a filter by depth a parent's trees may have been left out, so nothing can be taken as sent.
        let like = if self.filter.tree_depth_max.is_some() { &[] } else { parents };
        if like.contains(&tree) {
            return Ok(());
        }
        if self.add(tree)? || self.is_less_deep(tree, 0) {
            self.tree(tree, like, 0, 0)?;
        }
        Ok(())
    }

    fn is_less_deep(&mut self, id: ObjectId, depth: usize) -> bool {
        if self.filter.tree_depth_max.is_none() {
            return false;
        }
        let before = self.deepest.get(&id).copied().unwrap_or(usize::MAX);
        if depth < before {
            self.deepest.insert(id, depth);
        }
        depth < before
    }

    /// Adds what is in a tree, and not at the same place in the trees that it is like.
    fn tree(&mut self, id: ObjectId, like: &[ObjectId], depth: usize, level: usize) -> Result<(), WalkError> {
        if level > self.limits.tree_depth_max {
            return Err(WalkError::TooDeep(self.limits.tree_depth_max));
        }
        if self.filter.tree_depth_max.is_some_and(|max| depth + 1 > max) {
            return Ok(());
        }
        self.is_less_deep(id, depth);
        let content = self.cache.tree(self.objects, id)?;
        let likes =
            like.iter().map(|id| self.cache.tree(self.objects, *id)).collect::<Result<Vec<_>, _>>()?;
        let mut likes: Vec<_> = likes.iter().map(|like| tree_entries(like).flatten().peekable()).collect();
        for entry in tree_entries(&content) {
            let entry = entry.map_err(|_| WalkError::Missing(id))?;
            let is_tree = entry.kind() == EntryKind::Tree;
            let mut inner_likes = Vec::new();
            let mut known = false;
            for like in &mut likes {
                let before = |one: &TreeEntry<'_>| {
                    compare(one.name, one.kind() == EntryKind::Tree, entry.name, is_tree).is_lt()
                };
                while like.next_if(before).is_some() {}
                if let Some(one) = like.peek().filter(|one| one.name == entry.name) {
                    known |= one.id == entry.id;
                    if is_tree && one.kind() == EntryKind::Tree {
                        inner_likes.push(one.id);
                    }
                }
            }
            if known {
                continue;
            }
            match entry.kind() {
                EntryKind::Submodule => {}
                EntryKind::Blob => self.blob(entry.id)?,
                EntryKind::Tree => {
                    if self.add(entry.id)? || self.is_less_deep(entry.id, depth + 1) {
                        self.tree(entry.id, &inner_likes, depth + 1, level + 1)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn blob(&mut self, id: ObjectId) -> Result<(), WalkError> {
        match self.filter.blob_bytes_max {
            None => {}
            Some(0) => return Ok(()),
            Some(max) => {
                let header = self.objects.header(&id)?.ok_or(WalkError::Missing(id))?;
                if header.size_bytes >= max {
                    return Ok(());
                }
            }
        }
        self.add(id).map(|_| ())
    }
}

impl Selection {
    /// How many objects.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = ObjectId> {
        self.chunks.iter().flatten().copied()
    }

    /// Whether it is among them.
    pub fn contains(&self, id: &ObjectId) -> bool {
        self.place(id).is_some()
    }

    /// Its place in the order.
    pub fn place(&self, id: &ObjectId) -> Option<usize> {
        if self.table.is_empty() {
            return None;
        }
        match self.table[self.slot(id)] {
            0 => None,
            place => Some(place as usize - 1),
        }
    }

    /// Adds an object; false when it is there already.
    pub fn insert(&mut self, id: ObjectId) -> bool {
        if self.table.len() < (self.count + 1) * 2 {
            self.grow();
        }
        let slot = self.slot(&id);
        if self.table[slot] != 0 {
            return false;
        }
        if self.count.is_multiple_of(CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        if let Some(last) = self.chunks.last_mut() {
            last.push(id);
        }
        self.count += 1;
        self.table[slot] = self.count as u32;
        true
    }

    /// The object at a place.
    pub fn get(&self, place: usize) -> Option<ObjectId> {
        (place < self.count).then(|| *self.at(place))
    }

    fn at(&self, place: usize) -> &ObjectId {
        &self.chunks[place / CHUNK][place % CHUNK]
    }

    fn slot(&self, id: &ObjectId) -> usize {
        let mask = self.table.len() - 1;
        let start =
            u64::from_le_bytes([id.0[4], id.0[5], id.0[6], id.0[7], id.0[8], id.0[9], id.0[10], id.0[11]]);
        let mut slot = start as usize & mask;
        while self.table[slot] != 0 && self.at(self.table[slot] as usize - 1) != id {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        let size = (self.table.len() * 2).max(1024);
        self.table = vec![0; size];
        for place in 0..self.count {
            let slot = self.slot(&self.at(place).clone());
            self.table[slot] = place as u32 + 1;
        }
    }
}

/// Ids in one allocation, so that a growing list is never copied.
const CHUNK: usize = 4096;

/// Trees that were just read; the next commit is compared with them.
#[derive(Default)]
struct TreeCache {
    trees: HashMap<ObjectId, Rc<Vec<u8>>>,
    order: std::collections::VecDeque<ObjectId>,
    bytes: usize,
}

impl TreeCache {
    fn tree(&mut self, objects: &dyn Objects, id: ObjectId) -> Result<Rc<Vec<u8>>, WalkError> {
        if let Some(content) = self.trees.get(&id) {
            return Ok(content.clone());
        }
        let object = objects.read(&id, TREE_BYTES_MAX)?.ok_or(WalkError::Missing(id))?;
        if object.kind != Kind::Tree {
            return Err(WalkError::Missing(id));
        }
        let content = Rc::new(object.content);
        self.bytes += content.len();
        self.trees.insert(id, content.clone());
        self.order.push_back(id);
        while self.bytes > CACHE_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            self.bytes -= self.trees.remove(&oldest).map_or(0, |content| content.len());
        }
        Ok(content)
    }
}

const CACHE_BYTES_MAX: usize = 8 << 20;

/// A directory of about half a million names.
pub(super) const TREE_BYTES_MAX: u64 = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_keeps_each_once_in_order() {
        let id = |number: u32| {
            let mut id = [0; 20];
            id[..4].copy_from_slice(&number.to_be_bytes());
            id[5] = number as u8;
            ObjectId(id)
        };
        let mut selection = Selection::default();
        for round in 0..2 {
            for number in 0..10_000 {
                assert_eq!(selection.insert(id(number)), round == 0);
            }
        }
        assert_eq!(selection.len(), 10_000);
        assert!(selection.iter().eq((0..10_000).map(id)));
        assert!(selection.contains(&id(5)) && !selection.contains(&id(10_000)));
    }

    #[test]
    fn filters_are_read() {
        assert_eq!(
            Filter::parse("blob:none"),
            Some(Filter { blob_bytes_max: Some(0), tree_depth_max: None })
        );
        assert_eq!(Filter::parse("blob:limit=2k").unwrap().blob_bytes_max, Some(2048));
        assert_eq!(Filter::parse("tree:0").unwrap().tree_depth_max, Some(0));
        let both = Filter { blob_bytes_max: Some(1024), tree_depth_max: Some(3) };
        assert_eq!(Filter::parse("combine:blob:limit=1k+tree:3"), Some(both));
        assert_eq!(Filter::parse("combine:tree:4+tree:3+blob:limit=2k+blob:limit=1k"), Some(both));
        let bad = ["blob:limit=", "blob:limit=1x", "sparse:oid=x", "tree:", "combine:a+b", "combine:"];
        for bad in bad {
            assert_eq!(Filter::parse(bad), None, "{bad}");
        }
    }
}
