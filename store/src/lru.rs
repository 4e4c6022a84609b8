//! A cache bounded in bytes: the least recently used goes first.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Mutex;

/// What an entry costs besides its content.
pub(crate) const ENTRY_BYTES: usize = 160;

/// Keys to cheaply cloned values. What is larger than a quarter of the whole is not kept.
pub(crate) struct Lru<K, V> {
    bytes_max: usize,
    state: Mutex<State<K, V>>,
}

struct State<K, V> {
    entries: HashMap<K, (V, usize, u64)>,
    by_age: BTreeMap<u64, K>,
    bytes: usize,
    clock: u64,
}

impl<K: Hash + Eq + Copy, V: Clone> Lru<K, V> {
    pub fn new(bytes_max: usize) -> Lru<K, V> {
        let state = State { entries: HashMap::new(), by_age: BTreeMap::new(), bytes: 0, clock: 0 };
        Lru { bytes_max, state: Mutex::new(state) }
    }

    pub fn get(&self, key: &K) -> Option<V> {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        state.clock += 1;
        let now = state.clock;
        let (value, _, used) = state.entries.get_mut(key)?;
        let found = value.clone();
        let before = std::mem::replace(used, now);
        state.by_age.remove(&before);
        state.by_age.insert(now, *key);
        Some(found)
    }

    /// Keeps a value of so many bytes.
    pub fn put(&self, key: K, value: V, bytes: usize) {
        let cost = bytes + ENTRY_BYTES;
        if cost > self.bytes_max / 4 {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        state.clock += 1;
        let now = state.clock;
        if let Some((_, old_cost, used)) = state.entries.insert(key, (value, cost, now)) {
            state.bytes -= old_cost;
            state.by_age.remove(&used);
        }
        state.bytes += cost;
        state.by_age.insert(now, key);
        while state.bytes > self.bytes_max {
            let Some((_, oldest)) = state.by_age.pop_first() else { break };
            if let Some((_, cost, _)) = state.entries.remove(&oldest) {
                state.bytes -= cost;
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        state.entries.clear();
        state.by_age.clear();
        state.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_and_bytes_stay_bounded() {
        let cache = Lru::new(10 * (ENTRY_BYTES + 100));
        for n in 0..20 {
            cache.put(n, n * 2, 100);
            cache.get(&0);
        }
        assert_eq!(cache.get(&0), Some(0));
        assert_eq!(cache.get(&5), None);
        assert_eq!(cache.get(&19), Some(38));
        assert!(cache.state.lock().unwrap().bytes <= cache.bytes_max);
    }
}
