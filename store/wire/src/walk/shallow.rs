//! Shallow histories: where they are cut off (gitprotocol-pack, "shallow" and "deepen").

use std::collections::{HashMap, HashSet, VecDeque};

use super::{History, WalkError};
use crate::{ObjectId, Objects};

/// How deep a client wants its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deepen {
    /// So many commits from each wanted one; from the present ends when relative.
    Depth {
        /// How many, at least one.
        commits: u32,
        /// Counted from where the client's history ends now.
        relative: bool,
    },
    /// Commits not older than `since_s` (seconds since 1970) and not reachable from `not`.
    Until {
        /// No older than this, if given.
        since_s: Option<i64>,
        /// Nor reachable from these.
        not: Vec<ObjectId>,
    },
}

/// What changes at the client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ShallowChange {
    /// Commits whose parents the client will not have.
    pub shallow: Vec<ObjectId>,
    /// Commits that were shallow and get their parents now.
    pub unshallow: Vec<ObjectId>,
}

/// Git's `--depth` for "all of it".
const INFINITE_DEPTH: u32 = 0x7fff_ffff;

/// Finds where a client's history is to end.
pub fn deepen(
    objects: &dyn Objects,
    wanted: &[ObjectId],
    client_shallow: &HashSet<ObjectId>,
    how: &Deepen,
) -> Result<ShallowChange, WalkError> {
    let full = History::new(objects, HashSet::new());
    let (inside, edge) = match how {
        Deepen::Depth { commits, relative: false } => by_depth(&full, wanted, *commits)?,
        Deepen::Depth { commits, relative: true } => {
            let ends: Vec<ObjectId> = client_shallow.iter().copied().collect();
            let (inside, edge) = by_depth(&full, &ends, commits.saturating_add(1))?;
            // What the client has above its ends stays inside.
            let present = History::new(objects, client_shallow.clone()).missing(wanted, &[])?;
            (inside.into_iter().chain(present.ids()).collect(), edge)
        }
        Deepen::Until { since_s, not } => until(&full, wanted, *since_s, not)?,
    };
    let mut shallow: Vec<ObjectId> = edge.iter().filter(|id| !client_shallow.contains(id)).copied().collect();
    let mut unshallow: Vec<ObjectId> =
        client_shallow.iter().filter(|id| inside.contains(id) && !edge.contains(id)).copied().collect();
    shallow.sort_unstable();
    unshallow.sort_unstable();
    Ok(ShallowChange { shallow, unshallow })
}

type Cut = (HashSet<ObjectId>, HashSet<ObjectId>);

fn by_depth(history: &History<'_>, wanted: &[ObjectId], depth: u32) -> Result<Cut, WalkError> {
    let mut depths: HashMap<ObjectId, u32> = HashMap::new();
    let mut edge = HashSet::new();
    let mut queue: VecDeque<(ObjectId, u32)> = wanted.iter().map(|id| (*id, 1)).collect();
    // Breadth first, so that the first depth of a commit is its least.
    while let Some((id, at)) = queue.pop_front() {
        if depths.contains_key(&id) {
            continue;
        }
        depths.insert(id, at);
        let parents = history.commit(id)?.parents;
        if at >= depth && depth < INFINITE_DEPTH {
            if !parents.is_empty() {
                edge.insert(id);
            }
        } else {
            queue.extend(parents.into_iter().map(|parent| (parent, at.saturating_add(1))));
        }
    }
    Ok((depths.into_keys().collect(), edge))
}

fn until(
    history: &History<'_>,
    wanted: &[ObjectId],
    since_s: Option<i64>,
    not: &[ObjectId],
) -> Result<Cut, WalkError> {
    let found = history.missing(wanted, not)?;
    // An older commit hides what is behind it, whatever the clocks there say, as in git rev-list --since.
    let old = |committed_s: i64| since_s.is_some_and(|since_s| committed_s < since_s);
    let hidden = found.dates().filter(|(_, committed_s)| old(*committed_s)).map(|(id, _)| id);
    let hidden: Vec<ObjectId> = hidden.chain(not.iter().copied()).collect();
    let found = history.missing(wanted, &hidden)?;
    let young: HashMap<ObjectId, bool> = found.whole().collect();
    // A merge with one old parent ends the history, so that what only its other parent leads to is not sent. git's own server
    // names ends there too (seen in 2.47), and its client then fails to unshallow what it never got.
    let (mut inside, mut edge) = (HashSet::new(), HashSet::new());
    let mut queue: Vec<ObjectId> = wanted.to_vec();
    while let Some(id) = queue.pop() {
        let Some(whole) = young.get(&id).copied().filter(|_| inside.insert(id)) else { continue };
        if whole {
            queue.extend(history.commit(id)?.parents);
        } else {
            edge.insert(id);
        }
    }
    Ok((inside, edge))
}
