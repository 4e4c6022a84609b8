//! Commits that are wanted and not had, kept small: about eighty bytes each, whatever the history's length.

use std::collections::BinaryHeap;

use super::{History, Queued, Selection, WalkError};
use crate::ObjectId;

/// Commits reachable from some and not from others, newest first.
pub struct Missing {
    /// Every commit that was looked at, had ones too, by their places.
    ids: Selection,
    trees: Vec<ObjectId>,
    dates_s: Vec<i64>,
    /// Where in `links` the parents of each stand: their number, then their places. 0 while they are not known.
    spans: Vec<u32>,
    links: Vec<u32>,
    flags: Vec<u8>,
    /// Places of the wanted ones, newest first.
    order: Vec<u32>,
}

const WANTED: u8 = 1;
const QUEUED: u8 = 2;

impl History<'_> {
    /// Commits reachable from `wanted` and not from `had`, newest first. A wrong clock makes the list longer, never
    /// shorter.
    pub fn missing(&self, wanted: &[ObjectId], had: &[ObjectId]) -> Result<Missing, WalkError> {
        let missing = Missing {
            ids: Selection::default(),
            trees: Vec::new(),
            dates_s: Vec::new(),
            spans: Vec::new(),
            links: vec![0],
            flags: Vec::new(),
            order: Vec::new(),
        };
        let mut walk = Walk { history: self, missing, queue: BinaryHeap::new(), wanted: 0 };
        had.iter().try_for_each(|id| walk.push(*id, false).map(drop))?;
        wanted.iter().try_for_each(|id| walk.push(*id, true).map(drop))?;
        while walk.wanted > 0 {
            let Some(Queued { commit, .. }) = walk.queue.pop() else { break };
            walk.take(&commit.id, &commit.parents)?;
        }
        let mut missing = walk.missing;
        // What turned out to be had after it was taken.
        let flags = &missing.flags;
        missing.order.retain(|place| flags[*place as usize] & WANTED != 0);
        Ok(missing)
    }
}

struct Walk<'a, 'b> {
    history: &'a History<'b>,
    missing: Missing,
    queue: BinaryHeap<Queued>,
    /// Wanted commits in the queue.
    wanted: usize,
}

impl Walk<'_, '_> {
    /// Its place, known from here on.
    fn push(&mut self, id: ObjectId, wanted: bool) -> Result<u32, WalkError> {
        let missing = &mut self.missing;
        if let Some(place) = missing.ids.place(&id) {
            if !wanted && missing.flags[place] & WANTED != 0 {
                self.has(place as u32);
            }
            return Ok(place as u32);
        }
        let commit = self.history.commit(id)?;
        missing.ids.insert(id);
        missing.trees.push(commit.tree);
        missing.dates_s.push(commit.committed_s);
        missing.spans.push(0);
        missing.flags.push(QUEUED | if wanted { WANTED } else { 0 });
        self.wanted += usize::from(wanted);
        self.queue.push(Queued::from(commit));
        Ok(missing.ids.len() as u32 - 1)
    }

    fn take(&mut self, id: &ObjectId, parents: &[ObjectId]) -> Result<(), WalkError> {
        let Some(place) = self.missing.ids.place(id) else { return Ok(()) };
        let wanted = self.missing.flags[place] & WANTED != 0;
        self.missing.flags[place] &= !QUEUED;
        self.wanted -= usize::from(wanted);
        self.missing.spans[place] = self.missing.links.len() as u32;
        self.missing.links.push(parents.len() as u32);
        for parent in parents {
            let parent = self.push(*parent, wanted)?;
            self.missing.links.push(parent);
        }
        if wanted {
            self.missing.order.push(place as u32);
        }
        Ok(())
    }

    /// A commit taken for wanted is had after all, and so are those of its ancestors that were taken for wanted.
    fn has(&mut self, place: u32) {
        let mut todo = vec![place];
        while let Some(place) = todo.pop() {
            let flags = &mut self.missing.flags[place as usize];
            if *flags & WANTED == 0 {
                continue;
            }
            *flags &= !WANTED;
            if *flags & QUEUED != 0 {
                self.wanted -= 1;
            } else {
                todo.extend(self.missing.links_of(place));
            }
        }
    }
}

impl Missing {
    /// How many.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Their ids, newest first.
    pub fn ids(&self) -> impl Iterator<Item = ObjectId> {
        self.order.iter().filter_map(|place| self.ids.get(*place as usize))
    }

    /// Their ids and the seconds since 1970 of their committers' clocks.
    pub fn dates(&self) -> impl Iterator<Item = (ObjectId, i64)> {
        self.ids().zip(self.order.iter().map(|place| self.dates_s[*place as usize]))
    }

    /// Their ids, each with whether all of its parents are among them.
    pub fn whole(&self) -> impl Iterator<Item = (ObjectId, bool)> {
        let wanted = |place: u32| self.flags[place as usize] & WANTED != 0;
        let whole = self.order.iter().map(move |place| self.links_of(*place).all(wanted));
        self.ids().zip(whole)
    }

    /// Gives up the ids, which somebody else has; only [`Missing::trees_parents_first`] may be called from here on.
    pub(super) fn forget_ids(&mut self) {
        self.ids = Selection::default();
    }

    /// The tree of each commit with those of its parents, parents first: what a tree shares with its parents' is then
    /// complete already. Dates would not do: clocks are wrong at times, and two trees that each rely on the other would
    /// leave something out.
    pub fn trees_parents_first(
        &self,
        mut then: impl FnMut(ObjectId, &[ObjectId]) -> Result<(), WalkError>,
    ) -> Result<(), WalkError> {
        // How many parents of each commit were looked at; one more when it is done.
        let mut looked = vec![0u32; self.trees.len()];
        let mut open: Vec<u32> = Vec::new();
        let mut parents = Vec::new();
        for start in self.order.iter().rev() {
            if looked[*start as usize] == 0 {
                open.push(*start);
            }
            while let Some(place) = open.last().copied() {
                let next = looked[place as usize] as usize;
                looked[place as usize] += 1;
                match self.links_of(place).nth(next) {
                    Some(parent) => {
                        if self.flags[parent as usize] & WANTED != 0 && looked[parent as usize] == 0 {
                            open.push(parent);
                        }
                    }
                    None => {
                        parents.clear();
                        parents.extend(self.links_of(place).map(|parent| self.trees[parent as usize]));
                        then(self.trees[place as usize], &parents)?;
                        open.pop();
                    }
                }
            }
        }
        Ok(())
    }

    fn links_of(&self, place: u32) -> impl Iterator<Item = u32> {
        let span = self.spans[place as usize] as usize;
        let count = self.links[span] as usize;
        self.links[span + 1..span + 1 + count].iter().copied()
    }
}
