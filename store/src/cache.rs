//! Objects read lately, bounded in bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use bytes::Bytes;
use git_wire::{Kind, ObjectId};

/// What an entry costs besides its content.
const ENTRY_BYTES: usize = 160;

/// The least recently used go first. Objects larger than a quarter of the whole are not kept.
pub(crate) struct Cache {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    objects: HashMap<ObjectId, (Kind, Bytes, u64)>,
    by_age: BTreeMap<u64, ObjectId>,
    bytes: usize,
    clock: u64,
}

impl Cache {
    pub fn new(bytes_max: usize) -> Cache {
        Cache { bytes_max, state: Mutex::default() }
    }

    pub fn get(&self, id: &ObjectId) -> Option<(Kind, Bytes)> {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        state.clock += 1;
        let now = state.clock;
        let (kind, content, used) = state.objects.get_mut(id)?;
        let found = (*kind, content.clone());
        let before = std::mem::replace(used, now);
        state.by_age.remove(&before);
        state.by_age.insert(now, *id);
        Some(found)
    }

    pub fn put(&self, id: ObjectId, kind: Kind, content: Bytes) {
        let cost = content.len() + ENTRY_BYTES;
        if cost > self.bytes_max / 4 {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if state.objects.contains_key(&id) {
            return;
        }
        state.clock += 1;
        let now = state.clock;
        state.bytes += cost;
        state.objects.insert(id, (kind, content, now));
        state.by_age.insert(now, id);
        while state.bytes > self.bytes_max {
            let Some((_, oldest)) = state.by_age.pop_first() else { break };
            if let Some((_, content, _)) = state.objects.remove(&oldest) {
                state.bytes -= content.len() + ENTRY_BYTES;
            }
        }
    }

    /// Forgets everything, when objects themselves are forgotten.
    pub fn clear(&self) {
        *self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = State::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_and_bytes_stay_bounded() {
        let cache = Cache::new(10 * (ENTRY_BYTES + 100));
        let id = |n: u8| ObjectId([n; 20]);
        for n in 0..20 {
            cache.put(id(n), Kind::Blob, Bytes::from(vec![n; 100]));
            cache.get(&id(0));
        }
        assert!(cache.get(&id(0)).is_some());
        assert!(cache.get(&id(5)).is_none());
        assert_eq!(cache.get(&id(19)).unwrap().1, vec![19; 100]);
        assert!(cache.state.lock().unwrap().bytes <= cache.bytes_max);
    }
}
