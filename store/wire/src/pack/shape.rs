//! What the objects of a pack make together, found out as they come: which of them no other one names, and how deep their
//! trees go. Where that is known, nothing has to be walked to know what is reached.
//!
//! Of each tree those subtrees are noted that the tree which it was made from has not, and that tree: a few numbers, with
//! which it cannot be deeper than it is said to be, but may be less deep.

use crate::ObjectId;
use crate::walk::Selection;

/// Objects beyond which nothing is noted: twenty megabytes.
const OBJECTS_MAX: usize = 1_000_000;
/// Most objects that are given as named by none.
const TIPS_MAX: usize = 100_000;

/// See the module. Objects are told by their places in order of arrival, those that have not come by tickets.
#[derive(Default)]
pub(super) struct Shape {
    /// By their places: what is named, and by what number the trees are known.
    objects: Vec<Noted>,
    /// Where the trees that were named before they came stand, by tickets.
    tickets: Vec<u32>,
    trees: Vec<Tree>,
    /// Places of subtrees, or tickets.
    subtrees: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Noted {
    is_named: bool,
    tree: u32,
}

struct Tree {
    like: u32,
    /// Where its subtrees end.
    end: u32,
}

const NONE: u32 = u32::MAX;
/// Set in what is a ticket.
const TICKET: u32 = 1 << 31;

impl Shape {
    /// A ticket for a tree that is named and has not come.
    pub fn ticket(&mut self) -> u32 {
        if self.objects.len() <= OBJECTS_MAX {
            self.tickets.push(NONE);
        }
        self.tickets.len().saturating_sub(1) as u32
    }

    /// The object at a place is named.
    pub fn name(&mut self, place: usize) {
        if let Some(object) = self.objects.get_mut(place) {
            object.is_named = true;
        }
    }

    /// The tree that comes next has the subtree at this place.
    pub fn subtree(&mut self, place: usize) {
        self.note(place as u32);
    }

    /// The tree that comes next has a subtree that has this ticket.
    pub fn subtree_to_come(&mut self, ticket: u32) {
        self.note(ticket | TICKET);
    }

    fn note(&mut self, subtree: u32) {
        if self.objects.len() <= OBJECTS_MAX {
            self.subtrees.push(subtree);
        }
    }

    /// The next object has come: it was named before or not; if it is a tree, perhaps made from the one at a place.
    pub fn add(&mut self, is_tree: bool, like: Option<usize>, is_named: bool, ticket: Option<u32>) {
        if self.objects.len() > OBJECTS_MAX {
            (self.tickets, self.trees, self.subtrees) = Default::default();
            return;
        }
        let place = self.objects.len() as u32;
        if let Some(slot) = ticket.and_then(|ticket| self.tickets.get_mut(ticket as usize)) {
            *slot = place;
        }
        let tree = if is_tree { self.trees.len() as u32 } else { NONE };
        if is_tree {
            let like = like.and_then(|like| self.objects.get(like)).map_or(NONE, |like| like.tree);
            self.trees.push(Tree { like, end: self.subtrees.len() as u32 });
        }
        self.objects.push(Noted { is_named, tree });
    }

    /// What no other object names, when no tree can be deeper than allowed.
    pub fn tips(&self, arrived: &Selection, depth_max: usize) -> Option<Vec<ObjectId>> {
        if self.objects.len() != arrived.len() || self.objects.len() > OBJECTS_MAX || !self.is_flat(depth_max)
        {
            return None;
        }
        let unnamed = || self.objects.iter().enumerate().filter(|(_, object)| !object.is_named);
        if unnamed().count() > TIPS_MAX {
            return None;
        }
        unnamed().map(|(place, _)| arrived.get(place)).collect()
    }

    /// Whether no tree has more than so many levels below it.
    fn is_flat(&self, depth_max: usize) -> bool {
        let mut heights = vec![UNKNOWN; self.trees.len()];
        let mut open: Vec<u32> = Vec::new();
        for start in 0..self.trees.len() as u32 {
            open.push(start);
            while let Some(tree) = open.last().copied() {
                if heights[tree as usize] < OPEN {
                    open.pop();
                    continue;
                }
                let is_back = heights[tree as usize] == OPEN;
                heights[tree as usize] = OPEN;
                let (mut height, before) = (0, open.len());
                for (below, step) in self.below(tree) {
                    let Some(below) = below else { return false };
                    match heights[below as usize] {
                        UNKNOWN if !is_back => open.push(below),
                        // What a tree was made from names it in turn: how deep they are is not known in this way.
                        UNKNOWN | OPEN => return false,
                        known => height = height.max(known + step),
                    }
                }
                if open.len() == before {
                    if usize::from(height) > depth_max || height >= OPEN - 1 {
                        return false;
                    }
                    heights[tree as usize] = height;
                    open.pop();
                }
            }
        }
        true
    }

    /// The trees by which one is measured, and how much deeper than each it is.
    fn below(&self, tree: u32) -> impl Iterator<Item = (Option<u32>, u16)> {
        let at = tree as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.trees[before].end as usize);
        let (like, end) = (self.trees[at].like, self.trees[at].end as usize);
        let place = |noted: u32| match noted & TICKET {
            0 => noted,
            _ => self.tickets.get((noted & !TICKET) as usize).copied().unwrap_or(NONE),
        };
        let tree_at = move |noted: u32| {
            let found = self.objects.get(place(noted) as usize).map(|object| object.tree);
            (found.filter(|tree| *tree != NONE), 1)
        };
        let like = (like != NONE).then_some((Some(like), 0));
        like.into_iter().chain(self.subtrees[start..end].iter().map(move |noted| tree_at(*noted)))
    }
}

/// Heights that are not known, and those that are being found out.
const UNKNOWN: u16 = u16::MAX;
const OPEN: u16 = u16::MAX - 1;
