//! A cache bounded in bytes. What was used since the hand last passed is spared once: nearly as good as least recently
//! used, and a hit costs a look-up and nothing else.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;

/// What an entry costs besides its content.
pub(crate) const ENTRY_BYTES: usize = 160;

/// Keys to cheaply cloned values. What is larger than a quarter of the whole is not kept.
pub(crate) struct Cache<K, V> {
    bytes_max: usize,
    state: Mutex<State<K, V>>,
}

struct State<K, V> {
    /// Where in `entries` each key is.
    places: HashMap<K, u32>,
    entries: Vec<Entry<K, V>>,
    bytes: usize,
    /// The entry that is looked at next when room is wanted.
    hand: usize,
}

struct Entry<K, V> {
    key: K,
    value: V,
    cost: usize,
    used: bool,
}

impl<K: Hash + Eq + Copy, V: Clone> Cache<K, V> {
    pub fn new(bytes_max: usize) -> Cache<K, V> {
        let state = State { places: HashMap::new(), entries: Vec::new(), bytes: 0, hand: 0 };
        Cache { bytes_max, state: Mutex::new(state) }
    }

    pub fn get(&self, key: &K) -> Option<V> {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let place = *state.places.get(key)?;
        let entry = &mut state.entries[place as usize];
        entry.used = true;
        Some(entry.value.clone())
    }

    /// Keeps a value of so many bytes.
    pub fn put(&self, key: K, value: V, bytes: usize) {
        let cost = bytes + ENTRY_BYTES;
        if cost > self.bytes_max / 4 {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(place) = state.places.get(&key).copied() {
            let old =
                std::mem::replace(&mut state.entries[place as usize], Entry { key, value, cost, used: true });
            state.bytes = state.bytes + cost - old.cost;
            state.evict_until(self.bytes_max);
            return;
        }
        // Room is made first: what comes is not what goes.
        state.evict_until(self.bytes_max - cost);
        state.bytes += cost;
        let place = state.entries.len() as u32;
        state.places.insert(key, place);
        state.entries.push(Entry { key, value, cost, used: false });
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *state = State { places: HashMap::new(), entries: Vec::new(), bytes: 0, hand: 0 };
    }
}

impl<K: Hash + Eq + Copy, V> State<K, V> {
    fn evict_until(&mut self, bytes: usize) {
        while self.bytes > bytes {
            self.evict();
        }
    }

    /// Gives up the first entry from the hand on that was not used since the hand passed.
    fn evict(&mut self) {
        loop {
            if self.hand >= self.entries.len() {
                self.hand = 0;
            }
            let entry = &mut self.entries[self.hand];
            if !std::mem::take(&mut entry.used) {
                break;
            }
            self.hand += 1;
        }
        let gone = self.entries.swap_remove(self.hand);
        self.places.remove(&gone.key);
        self.bytes -= gone.cost;
        // The last one stands in its place now. It is the newest mostly, so the hand passes it by.
        if let Some(moved) = self.entries.get(self.hand) {
            self.places.insert(moved.key, self.hand as u32);
            self.hand += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_bytes_stay_bounded() {
        let cache = Cache::new(10 * (ENTRY_BYTES + 100));
        for n in 0..200 {
            cache.put(n, n * 2, 100);
            assert_eq!(cache.get(&0), Some(0), "what is used stays");
            let state = cache.state.lock().unwrap();
            assert!(state.places.contains_key(&n), "what has just come stays, too");
            assert!(state.bytes <= cache.bytes_max);
            assert!(state.places.len() == state.entries.len());
            assert!(state.places.iter().all(|(key, place)| state.entries[*place as usize].key == *key));
        }
        assert_eq!(cache.get(&0), Some(0));
        assert_eq!(cache.get(&5), None);
        cache.put(0, 7, 1_000_000);
        assert_eq!(cache.get(&0), Some(0), "what is too large is not kept");
        cache.put(0, 7, 10);
        assert_eq!(cache.get(&0), Some(7));
        cache.clear();
        assert_eq!(cache.get(&0), None);
    }
}
