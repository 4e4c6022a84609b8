//! Mending a damaged store: the index is made again from what can be read, objects that cannot are put aside, and it is
//! said which files of which commits are hit by that.

use std::sync::Arc;

use git_wire::{Kind, ObjectId};

use crate::core::Core;
use crate::engine::{Engine, Take, keys};
use crate::forget::{Marks, forget_reach};
use crate::object::{CommitId, Mode, TreeEntries};
use crate::refs::HEADS;
use crate::{Device, Options, Problem, Result, Store, TreePath};

/// Most files that are named; a device that is gone hits more than anybody reads.
const HITS_MAX: usize = 1000;
/// Rounds of looking for damage: what is put aside may be the base of something else.
const ROUNDS_MAX: usize = 300;

/// What a repair found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// What was damaged below the objects: superblocks, the log, the index.
    pub notes: Vec<String>,
    /// Objects that cannot be read any more. They are no longer in the index, so that a push or fetch that has them
    /// brings them back.
    pub aside: Vec<(ObjectId, String)>,
    /// Refs that named something that is gone, and what they name now; `None` when nothing was known that is there.
    pub refs: Vec<(String, ObjectId, Option<ObjectId>)>,
    /// What is hit by that: a file or directory of the youngest commit that has it, or a commit itself.
    pub hits: Vec<Hit>,
}

/// Something that cannot be read any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The ref from which it was reached.
    pub name: String,
    /// The commit.
    pub commit: CommitId,
    /// The path in it; the root for the whole commit.
    pub path: TreePath,
    /// The object that is gone.
    pub object: ObjectId,
}

impl Store {
    /// Opens a store that is damaged, mends what can be mended, and says what cannot. Reads the whole device. A store
    /// without damage comes out as it was. Ask for a copy of the device first if there is none.
    pub fn repair(device: impl Device + 'static, options: Options) -> Result<(Store, Repaired)> {
        let (engine, notes) = Engine::salvage(Box::new(device), options.cache_bytes / 2)?;
        engine.mend()?;
        let store = Store::on(engine, options)?;
        // What is lost and comes back has another number then.
        forget_reach(store.core())?;
        let mut repaired = Repaired { notes, ..Repaired::default() };
        for _ in 0..ROUNDS_MAX {
            if !put_aside(&store, &mut repaired)? {
                break;
            }
        }
        mend_refs(&store, &mut repaired)?;
        find_hits(store.core(), &mut repaired)?;
        Ok((store, repaired))
    }
}

/// Takes what cannot be read out of the index; says whether there was anything.
fn put_aside(store: &Store, repaired: &mut Repaired) -> Result<bool> {
    let mut found = Vec::new();
    for problem in store.fsck()?.problems {
        match problem {
            Problem::Object { id, why } => found.push((id, why)),
            Problem::Index { why } => repaired.notes.push(why),
            Problem::Link { .. } | Problem::Ref { .. } => {}
        }
    }
    let ids: Vec<ObjectId> = found.iter().map(|(id, _)| *id).collect();
    store.core().write(move |group| {
        ids.iter().for_each(|id| group.edit(keys::object(id), None));
        Ok(())
    })?;
    store.core().cache.clear();
    let any = !found.is_empty();
    repaired.aside.extend(found);
    Ok(any)
}

/// A ref whose object is gone goes back to where it was last, as far as that is known and there.
fn mend_refs(store: &Store, repaired: &mut Repaired) -> Result<()> {
    let core = store.core();
    let refs = core.refs.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
    for (name, state) in refs {
        let fits = |id: &ObjectId| -> Result<bool> {
            let kind = core.object_entry(id)?.map(|entry| entry.kind);
            Ok(if name.starts_with(HEADS) { kind == Some(Kind::Commit) } else { kind.is_some() })
        };
        if fits(&state.id)? {
            continue;
        }
        let mut last = None;
        let start = keys::ref_move(&name, 0);
        core.each(&start[..start.len() - 8], |_, value| {
            let mut take = Take(value);
            for _ in 0..2 {
                let id = ObjectId(take.array()?);
                if fits(&id)? {
                    last = Some(id);
                }
            }
            Ok(())
        })?;
        let moved = name.clone();
        core.write(move |group| {
            group.move_ref(&moved, last);
            Ok(())
        })?;
        repaired.refs.push((name, state.id, last));
    }
    Ok(())
}

/// Walks from every ref, youngest commit first, and names what leads to something that is gone.
fn find_hits(core: &Arc<Core>, repaired: &mut Repaired) -> Result<()> {
    let refs = core.refs.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
    let mut seen = Marks::default();
    for (name, state) in refs {
        let mut commits = vec![state.id];
        while let Some(id) = commits.pop() {
            let Some(entry) = core.object_entry(&id)? else {
                repaired.hit(&name, CommitId(id), TreePath::root(), id);
                continue;
            };
            if !seen.add(entry.number) {
                continue;
            }
            match core.object(&id)? {
                (Kind::Commit, content) => {
                    let commit = crate::Commit::parse(&content)?;
                    commits.extend(commit.parents.iter().map(|parent| parent.0));
                    hits_in_tree(core, &name, CommitId(id), commit.tree, &mut seen, repaired)?;
                }
                (Kind::Tag, content) => commits.push(crate::Tag::parse(&content)?.target),
                _ => {}
            }
        }
    }
    Ok(())
}

fn hits_in_tree(
    core: &Arc<Core>,
    name: &str,
    commit: CommitId,
    tree: ObjectId,
    seen: &mut Marks,
    repaired: &mut Repaired,
) -> Result<()> {
    let mut open = vec![(TreePath::root(), Mode::Directory, tree)];
    while let Some((path, mode, object)) = open.pop() {
        let Some(entry) = core.object_entry(&object)? else {
            if mode != Mode::Submodule {
                repaired.hit(name, commit, path, object);
            }
            continue;
        };
        if mode == Mode::Directory && seen.add(entry.number) {
            for one in TreeEntries(&core.typed(&object, Kind::Tree)?) {
                let (mode, name, id) = one?;
                open.push((path.child(name), mode, id));
            }
        }
    }
    Ok(())
}

impl Repaired {
    /// Whether nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.notes.is_empty() && self.aside.is_empty() && self.refs.is_empty() && self.hits.is_empty()
    }

    fn hit(&mut self, name: &str, commit: CommitId, path: TreePath, object: ObjectId) {
        let known = self.hits.iter().any(|hit| hit.object == object && hit.path == path);
        if self.hits.len() < HITS_MAX && !known {
            self.hits.push(Hit { name: name.to_owned(), commit, path, object });
        }
    }
}
