//! Merging trees: only what differs is opened.

use git_wire::{Kind, ObjectId};

use super::base::merge_bases;
use super::conflict::{self, Conflict};
use super::entry::{Found, files};
use super::renames::{Moves, Vanished, followed};
use crate::edits::{EditTree, sort_tree};
use crate::object::{CommitId, Mode, RawEntry, Signature, borrow_tree};
use crate::staging::Staging;
use crate::{Result, TreePath};

/// Who made the two sides, and when.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sides {
    pub ours: Option<Signature>,
    pub theirs: Option<Signature>,
}

/// A path where one side removed a file that the other one changed: perhaps it was only moved.
pub(crate) struct Removed {
    pub path: TreePath,
    pub base: (Mode, ObjectId),
    pub ours: Found,
    pub theirs: Found,
}

/// One merge of two trees.
pub(crate) struct Merger<'s, 'c> {
    pub staging: &'s mut Staging<'c>,
    pub sides: Sides,
    /// A merge of merge bases: conflicts become content that equals neither side, and are not noted.
    pub virtually: bool,
    pub conflicts: Vec<Conflict>,
    removed: Vec<Removed>,
    vanished: Vec<Vanished>,
    /// Some policy takes two equal changes for two.
    adds_up: bool,
}

/// Most merge bases that are merged into one; histories with more are merged on the first ones.
const BASES_MAX: usize = 8;
/// How deep merges of merge bases go.
const VIRTUAL_DEPTH_MAX: u8 = 16;

/// The tree of a merge of two commits, with conflict objects in it.
pub(crate) fn merge_commits(
    staging: &mut Staging<'_>,
    ours: CommitId,
    theirs: CommitId,
    depth: u8,
) -> Result<(Option<ObjectId>, Vec<Conflict>)> {
    let mut bases = merge_bases(staging, ours, theirs)?;
    bases.truncate(if depth < VIRTUAL_DEPTH_MAX { BASES_MAX } else { 1 });
    let mut base_tree = None;
    for (at, base) in bases.iter().enumerate() {
        let tree = staging.commit(*base)?.tree;
        base_tree = if at == 0 {
            Some(tree)
        } else {
            // Criss-cross: the bases themselves are merged, on a base of their own.
            let below = merge_commits(staging, bases[0], *base, depth + 1)?;
            if at == 1 { below.0 } else { virtual_merge(staging, below.0, base_tree, tree)? }
        };
    }
    let (our_commit, their_commit) = (staging.commit(ours)?, staging.commit(theirs)?);
    let sides = Sides { ours: Some(our_commit.committer), theirs: Some(their_commit.committer) };
    let mut merger = Merger::new(staging, sides, depth > 0);
    let tree = merger.trees(base_tree, Some(our_commit.tree), Some(their_commit.tree))?;
    Ok((tree, merger.conflicts))
}

fn virtual_merge(
    staging: &mut Staging<'_>,
    base: Option<ObjectId>,
    ours: Option<ObjectId>,
    theirs: ObjectId,
) -> Result<Option<ObjectId>> {
    Merger::new(staging, Sides::default(), true).trees(base, ours, Some(theirs))
}

impl<'s, 'c> Merger<'s, 'c> {
    pub fn new(staging: &'s mut Staging<'c>, sides: Sides, virtually: bool) -> Merger<'s, 'c> {
        let adds_up = staging.core.options.policies.add_up_below(&TreePath::root());
        Merger {
            staging,
            sides,
            virtually,
            conflicts: Vec::new(),
            removed: Vec::new(),
            vanished: Vec::new(),
            adds_up,
        }
    }

    /// Merges two root trees. Conflicts are in the result, and listed.
    pub fn trees(
        &mut self,
        base: Option<ObjectId>,
        ours: Option<ObjectId>,
        theirs: Option<ObjectId>,
    ) -> Result<Option<ObjectId>> {
        let root = |id: Option<ObjectId>| id.map(|id| (Mode::Directory, id));
        let merged = self.entries(&TreePath::root(), root(base), root(ours), root(theirs))?;
        let mut tree = merged.map(|(_, id)| id);
        let mut edits = EditTree::default();
        let (removed, vanished) = (std::mem::take(&mut self.removed), std::mem::take(&mut self.vanished));
        if !removed.is_empty() || !vanished.is_empty() {
            let sides = [Moves::new(self.staging, base, ours)?, Moves::new(self.staging, base, theirs)?];
            for removed in removed {
                self.moved_or_removed(&mut edits, removed, &sides, tree)?;
            }
            for vanished in vanished {
                self.follow(&mut edits, &vanished, &sides, tree)?;
            }
        }
        for conflict in &self.conflicts {
            conflict::write(self.staging, &mut edits, conflict)?;
        }
        if !edits.is_empty() {
            tree = edits.apply(self.staging, tree)?;
        }
        Ok(tree)
    }

    fn entries(&mut self, path: &TreePath, base: Found, ours: Found, theirs: Found) -> Result<Found> {
        if let Some(settled) = self.untouched(path, base, ours, theirs) {
            return Ok(settled);
        }
        let tree = |found: Found| found.filter(|(mode, _)| *mode == Mode::Directory).map(|(_, id)| id);
        if tree(ours).is_none()
            && tree(theirs).is_none()
            && (tree(base).is_none() || ours.is_some() || theirs.is_some())
        {
            return self.leaf(path, base.filter(|(mode, _)| *mode != Mode::Directory), ours, theirs);
        }
        self.vanished.extend(Vanished::of(path, base, ours, theirs));
        // A file against a directory: the directory stays at the path, the file is kept as a conflict if it was changed.
        for (file, is_ours) in [(ours, true), (theirs, false)] {
            let changed = file.filter(|(mode, _)| *mode != Mode::Directory && file != base);
            if let Some((mode, _)) = changed {
                let (ours, theirs) = if is_ours { (file, None) } else { (None, file) };
                let why = format!("one side has {} where the other one has a directory", mode.word());
                self.note(path, base, ours, theirs, "none", why);
            }
        }
        self.directories(path, tree(base), tree(ours), tree(theirs))
    }

    /// The answer that needs no policy: one side changed nothing, or both did the same.
    fn untouched(&self, path: &TreePath, base: Found, ours: Found, theirs: Found) -> Option<Found> {
        let both_changed = ours == theirs && base != ours;
        if both_changed && self.adds_up && self.staging.core.options.policies.add_up_below(path) {
            return None;
        }
        settled(base, ours, theirs)
    }

    fn leaf(&mut self, path: &TreePath, base: Found, ours: Found, theirs: Found) -> Result<Found> {
        if let (Some(base), true) = (base, ours.is_none() != theirs.is_none()) {
            self.removed.push(Removed { path: path.clone(), base, ours, theirs });
            return Ok(ours.or(theirs));
        }
        let merged = files(self.staging, path, base, ours, theirs, &self.sides)?;
        let Some((policy, why)) = merged.conflict else { return Ok(merged.kept) };
        if self.virtually {
            return self.both(ours, theirs);
        }
        self.note(path, base, ours, theirs, &policy, why);
        Ok(merged.kept)
    }

    /// Content that is neither side's, so that whatever both made of it later still conflicts.
    fn both(&mut self, ours: Found, theirs: Found) -> Result<Found> {
        let (Some(ours), Some(theirs)) = (ours, theirs) else { return Ok(ours.or(theirs)) };
        if !ours.0.is_blob() || !theirs.0.is_blob() {
            return Ok(Some(ours));
        }
        let (mut a, mut b) =
            (self.staging.typed(&ours.1, Kind::Blob)?, self.staging.typed(&theirs.1, Kind::Blob)?);
        if a > b {
            std::mem::swap(&mut a, &mut b);
        }
        let text = [&b"<<<<<<<\n"[..], &a, b"\n=======\n", &b, b"\n>>>>>>>\n"].concat();
        Ok(Some((ours.0, self.staging.put(Kind::Blob, text)?)))
    }

    fn directories(
        &mut self,
        path: &TreePath,
        base: Option<ObjectId>,
        ours: Option<ObjectId>,
        theirs: Option<ObjectId>,
    ) -> Result<Found> {
        let before = ours;
        let read = |id| self.staging.tree_bytes(id);
        let (base, ours, theirs) = (read(base)?, read(ours)?, read(theirs)?);
        let (base, ours, theirs) = (borrow_tree(&base)?, borrow_tree(&ours)?, borrow_tree(&theirs)?);
        let mut merged = Vec::with_capacity(ours.len().max(theirs.len()));
        let (mut b, mut o, mut t) = (&base[..], &ours[..], &theirs[..]);
        // Names are compared by their bytes first, so that a file and a directory of one name meet.
        let sorted = |entries: &[RawEntry<&[u8]>]| entries.windows(2).all(|pair| pair[0].name < pair[1].name);
        let (b_sorted, o_sorted, t_sorted);
        if !(sorted(b) && sorted(o) && sorted(t)) {
            (b_sorted, o_sorted, t_sorted) = (by_name(b), by_name(o), by_name(t));
            (b, o, t) = (&b_sorted, &o_sorted, &t_sorted);
        }
        loop {
            // Most of a large directory is the same on all sides.
            if let (Some((same, b_rest)), Some((our, o_rest)), Some((their, t_rest))) =
                (b.split_first(), o.split_first(), t.split_first())
                && same == our
                && same == their
            {
                merged.push(*same);
                (b, o, t) = (b_rest, o_rest, t_rest);
                continue;
            }
            let heads = [b, o, t].into_iter().filter_map(|side| side.first());
            let Some(name) = heads.map(|entry| entry.name).min() else { break };
            let take = |side: &mut &[RawEntry<&[u8]>]| -> Found {
                let (first, rest) = side.split_first().filter(|(first, _)| first.name == name)?;
                let found = Some((first.mode, first.id));
                *side = rest;
                found
            };
            let (base, ours, theirs) = (take(&mut b), take(&mut o), take(&mut t));
            let result = match settled(base, ours, theirs) {
                Some(found) if ours != theirs || base == ours || !self.adds_up => found,
                _ => self.entries(&path.child(name), base, ours, theirs)?,
            };
            if let Some((mode, id)) = result {
                merged.push(RawEntry { mode, name, id });
            }
        }
        if merged.is_empty() {
            return Ok(None);
        }
        sort_tree(&mut merged);
        Ok(Some((Mode::Directory, self.staging.put_tree(&merged, before)?)))
    }

    /// What one side added to a directory that the other one renamed goes where the directory went.
    fn follow(
        &mut self,
        edits: &mut EditTree,
        vanished: &Vanished,
        [ours, theirs]: &[Moves; 2],
        merged: Option<ObjectId>,
    ) -> Result<()> {
        let (mover, other) = if vanished.by_us { (ours, theirs) } else { (theirs, ours) };
        let Some(target) = mover.directory(&vanished.path) else { return Ok(()) };
        for added in other.added.iter().filter(|added| added.path.is_under(&vanished.path)) {
            let to = followed(&added.path, &vanished.path, &target)?;
            let stands = self.staging.lookup(merged, &added.path)? == Some((added.kind, added.id));
            if stands && self.staging.lookup(merged, &to)?.is_none() {
                edits.set(&added.path, None);
                edits.set(&to, Some((added.kind, added.id)));
            }
        }
        Ok(())
    }

    /// A file that one side removed and the other one changed: if it was moved, the change follows it.
    fn moved_or_removed(
        &mut self,
        edits: &mut EditTree,
        removed: Removed,
        [ours, theirs]: &[Moves; 2],
        merged: Option<ObjectId>,
    ) -> Result<()> {
        let mover = if removed.ours.is_none() { ours } else { theirs };
        if let Some((to, entry)) = mover.file(self.staging, &removed)? {
            let changed = removed.ours.or(removed.theirs);
            let (ours, theirs) =
                if removed.ours.is_none() { (Some(entry), changed) } else { (changed, Some(entry)) };
            // Only when the other side has nothing else there.
            if self.staging.lookup(merged, &to)? == Some(entry) {
                let result = self.leaf(&to, Some(removed.base), ours, theirs)?;
                edits.set(&removed.path, None);
                edits.set(&to, result);
                return Ok(());
            }
        }
        let Removed { path, base, ours, theirs } = removed;
        let result = files(self.staging, &path, Some(base), ours, theirs, &self.sides)?;
        edits.set(&path, result.kept);
        if let (Some((policy, why)), false) = (result.conflict, self.virtually) {
            self.note(&path, Some(base), ours, theirs, &policy, why);
        }
        Ok(())
    }

    fn note(&mut self, path: &TreePath, base: Found, ours: Found, theirs: Found, policy: &str, why: String) {
        if !self.virtually {
            let policy = policy.to_owned();
            self.conflicts.push(Conflict::new(path.clone(), base, ours, theirs, &self.sides, policy, why));
        }
    }
}

fn settled(base: Found, ours: Found, theirs: Found) -> Option<Found> {
    if ours == theirs || base == theirs {
        Some(ours)
    } else if base == ours {
        Some(theirs)
    } else {
        None
    }
}

fn by_name<'n>(entries: &[RawEntry<&'n [u8]>]) -> Vec<RawEntry<&'n [u8]>> {
    let mut entries = entries.to_vec();
    entries.sort_by(|a, b| a.name.cmp(b.name));
    entries
}
