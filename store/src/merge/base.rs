//! Lowest common ancestors: the commits that both sides have, and that no other such commit is made from.

use std::collections::{BinaryHeap, HashMap};

use crate::Result;
use crate::object::CommitId;
use crate::staging::Staging;

const OURS: u8 = 1;
const THEIRS: u8 = 2;
/// Below a common ancestor: common too, and not a lowest one.
const STALE: u8 = 4;

/// Every lowest common ancestor; more than one after a criss-cross, none for unrelated histories.
pub(crate) fn merge_bases(staging: &Staging<'_>, ours: CommitId, theirs: CommitId) -> Result<Vec<CommitId>> {
    if ours == theirs {
        return Ok(vec![ours]);
    }
    let candidates = paint(staging, ours, &[theirs])?;
    if candidates.len() < 2 {
        return Ok(candidates);
    }
    // Clocks that go backwards can leave a candidate that another one is made from.
    let mut lowest = Vec::new();
    for (at, candidate) in candidates.iter().enumerate() {
        let others: Vec<_> =
            candidates.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, id)| *id).collect();
        if !paint(staging, *candidate, &others)?.contains(candidate) {
            lowest.push(*candidate);
        }
    }
    lowest.sort();
    Ok(lowest)
}

/// Whether `old` is `new` or one of its ancestors.
pub(crate) fn is_ancestor(staging: &Staging<'_>, old: CommitId, new: CommitId) -> Result<bool> {
    Ok(merge_bases(staging, old, new)? == [old])
}

/// Walks both histories from the youngest commit on, until only common ancestors' ancestors are left.
fn paint(staging: &Staging<'_>, one: CommitId, others: &[CommitId]) -> Result<Vec<CommitId>> {
    let mut paints: HashMap<CommitId, u8> = HashMap::new();
    let mut open: BinaryHeap<(i64, CommitId)> = BinaryHeap::new();
    let add = |paints: &mut HashMap<CommitId, u8>, open: &mut BinaryHeap<_>, id, paint| -> Result<()> {
        let old = paints.get(&id).copied().unwrap_or(0);
        if old | paint == old {
            return Ok(());
        }
        paints.insert(id, old | paint);
        open.push((staging.commit(id)?.committer.seconds, id));
        Ok(())
    };
    add(&mut paints, &mut open, one, OURS)?;
    for other in others {
        add(&mut paints, &mut open, *other, THEIRS)?;
    }
    let mut found = Vec::new();
    while let Some((_, id)) = open.pop() {
        let paint = paints[&id];
        let mut pass = paint;
        if paint & (OURS | THEIRS) == OURS | THEIRS {
            if paint & STALE == 0 && !found.contains(&id) {
                found.push(id);
            }
            pass |= STALE;
        }
        for parent in staging.commit(id)?.parents {
            add(&mut paints, &mut open, parent, pass)?;
        }
        if !open.iter().any(|(_, id)| paints[id] & STALE == 0) {
            break;
        }
    }
    found.retain(|id| paints[id] & STALE == 0);
    found.sort();
    Ok(found)
}
