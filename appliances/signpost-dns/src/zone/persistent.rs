//! The two indexes of a zone: by hash for exact names, in order for neighbours. Both are two levels of shared arrays: a
//! copy costs one pointer a block, a change copies one block.

use std::cmp::Ordering;
use std::sync::Arc;

/// What is kept in order.
pub trait Keyed {
    /// The key; unique, compared by octets.
    fn key(&self) -> &[u8];
}

const BLOCK: usize = 128;

/// Values in the order of their keys.
#[derive(Debug)]
pub struct Sorted<T> {
    blocks: Vec<Arc<Vec<Arc<T>>>>,
    len: usize,
}

impl<T> Clone for Sorted<T> {
    fn clone(&self) -> Self {
        Sorted { blocks: self.blocks.clone(), len: self.len }
    }
}

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Sorted { blocks: Vec::new(), len: 0 }
    }
}

impl<T: Keyed> Sorted<T> {
    /// How many values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All values.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.blocks.iter().flat_map(|block| block.iter())
    }

    /// The block that holds or would hold the key, and the place within; `Ok` when it is there.
    fn place(&self, key: &[u8]) -> (usize, Result<usize, usize>) {
        let after = self.blocks.partition_point(|block| block[0].key() <= key);
        let block = after.saturating_sub(1);
        let within =
            self.blocks.get(block).map_or(Err(0), |all| all.binary_search_by(|one| one.key().cmp(key)));
        (block, within)
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Option<&Arc<T>> {
        let (block, within) = self.place(key);
        within.ok().map(|at| &self.blocks[block][at])
    }

    /// Puts a value in its place; one with the same key is replaced.
    pub fn put(&mut self, value: Arc<T>) {
        let (block, within) = self.place(value.key());
        if self.blocks.is_empty() {
            self.blocks.push(Arc::default());
        }
        let all = Arc::make_mut(&mut self.blocks[block]);
        match within {
            Ok(at) => all[at] = value,
            Err(at) => {
                all.insert(at, value);
                self.len += 1;
                if all.len() > 2 * BLOCK {
                    let upper = all.split_off(BLOCK);
                    self.blocks.insert(block + 1, Arc::new(upper));
                }
            }
        }
    }

    /// Takes the value of a key out.
    pub fn remove(&mut self, key: &[u8]) {
        let (block, within) = self.place(key);
        let Ok(at) = within else { return };
        let all = Arc::make_mut(&mut self.blocks[block]);
        all.remove(at);
        self.len -= 1;
        if all.is_empty() {
            self.blocks.remove(block);
        }
    }

    /// The values before the key, the nearest first, without wrapping around.
    pub fn before(&self, key: &[u8]) -> impl Iterator<Item = &Arc<T>> {
        let (block, within) = self.place(key);
        let at = within.unwrap_or_else(|at| at);
        let here = self.blocks.get(block).map_or(&[][..], |all| &all[..at]);
        here.iter()
            .rev()
            .chain(self.blocks[..block.min(self.blocks.len())].iter().rev().flat_map(|all| all.iter().rev()))
    }

    /// The values after the key, the nearest first, without wrapping around.
    pub fn after(&self, key: &[u8]) -> impl Iterator<Item = &Arc<T>> {
        let (block, within) = self.place(key);
        let at = within.map_or_else(|at| at, |at| at + 1);
        let here = self.blocks.get(block).map_or(&[][..], |all| &all[at..]);
        here.iter().chain(self.blocks.iter().skip(block + 1).flat_map(|all| all.iter()))
    }

    /// The last value.
    pub fn last(&self) -> Option<&Arc<T>> {
        self.blocks.last().and_then(|all| all.last())
    }

    /// The values that only this one has, and those that only the other has; blocks that both share are passed over.
    pub fn changed(&self, other: &Sorted<T>) -> (Vec<Arc<T>>, Vec<Arc<T>>) {
        let (mut own, mut others) = (Vec::new(), Vec::new());
        let (mut here, mut there) = ((0, 0), (0, 0));
        let next = |(block, at): (usize, usize), all: &[Arc<Vec<Arc<T>>>]| match at + 1 < all[block].len() {
            true => (block, at + 1),
            false => (block + 1, 0),
        };
        loop {
            match (self.blocks.get(here.0), other.blocks.get(there.0)) {
                (None, None) => return (own, others),
                (Some(one), Some(two)) if here.1 == 0 && there.1 == 0 && Arc::ptr_eq(one, two) => {
                    (here, there) = ((here.0 + 1, 0), (there.0 + 1, 0));
                }
                (one, two) => {
                    let (one, two) = (one.map(|block| &block[here.1]), two.map(|block| &block[there.1]));
                    let order = match (one, two) {
                        (Some(one), Some(two)) => one.key().cmp(two.key()),
                        (None, _) => Ordering::Greater,
                        (_, None) => Ordering::Less,
                    };
                    let same = matches!((one, two), (Some(one), Some(two)) if Arc::ptr_eq(one, two));
                    if order.is_le() {
                        own.extend(one.filter(|_| !same).cloned());
                        here = next(here, &self.blocks);
                    }
                    if order.is_ge() {
                        others.extend(two.filter(|_| !same).cloned());
                        there = next(there, &other.blocks);
                    }
                }
            }
        }
    }

    /// Values that are already sorted by key, without duplicates.
    pub fn from_sorted(values: Vec<Arc<T>>) -> Self {
        let len = values.len();
        let blocks = values.chunks(BLOCK).map(|chunk| Arc::new(chunk.to_vec())).collect();
        Sorted { blocks, len }
    }
}

/// Hash and value, sorted by hash within a shard; one allocation, so that a look-up that misses the cache misses it seldom.
type Shard<T> = [(u64, Arc<T>)];

/// Values by the hash of their lower-case wire name.
#[derive(Debug)]
pub struct Hashed<T> {
    shards: Vec<Arc<Shard<T>>>,
    len: usize,
}

impl<T> Clone for Hashed<T> {
    fn clone(&self) -> Self {
        Hashed { shards: self.shards.clone(), len: self.len }
    }
}

/// Values a shard holds on average before the table doubles.
const LOAD: usize = 32;

impl<T> Hashed<T> {
    /// A table for about `expected` values.
    pub fn for_about(expected: usize) -> Self {
        let shards = (expected / LOAD + 1).next_power_of_two();
        Hashed { shards: vec![Arc::from([]); shards], len: 0 }
    }

    /// The first place of a shard whose hash is not lower. Hashes are spread evenly: where it would be if they were spread
    /// perfectly is next to where it is.
    #[inline]
    fn place(shard: &Shard<T>, hash: u64) -> usize {
        let mut at = (((hash >> 32) * shard.len() as u64) >> 32) as usize;
        while at > 0 && shard[at - 1].0 >= hash {
            at -= 1;
        }
        while at < shard.len() && shard[at].0 < hash {
            at += 1;
        }
        at
    }

    /// The value with this hash for which `is` holds.
    #[inline]
    pub fn get(&self, hash: u64, is: impl Fn(&T) -> bool) -> Option<&Arc<T>> {
        let shard = &self.shards[hash as usize & (self.shards.len() - 1)];
        let same = shard[Self::place(shard, hash)..].iter().take_while(|one| one.0 == hash);
        same.map(|one| &one.1).find(|one| is(one))
    }

    /// Puts a value in; the one for which `is` holds is replaced.
    pub fn put(&mut self, hash: u64, value: Arc<T>, is: impl Fn(&T) -> bool) {
        let at = hash as usize & (self.shards.len() - 1);
        let shard = &mut self.shards[at];
        let from = Self::place(shard, hash);
        match shard[from..].iter().take_while(|one| one.0 == hash).position(|one| is(&one.1)) {
            Some(offset) => Arc::make_mut(shard)[from + offset].1 = value,
            None => {
                let (below, above) = shard.split_at(from);
                *shard = below.iter().cloned().chain([(hash, value)]).chain(above.iter().cloned()).collect();
                self.len += 1;
                if self.len > self.shards.len() * LOAD * 2 {
                    self.double();
                }
            }
        }
    }

    /// Takes the value out for which `is` holds.
    pub fn remove(&mut self, hash: u64, is: impl Fn(&T) -> bool) {
        let at = hash as usize & (self.shards.len() - 1);
        let kept: Arc<Shard<T>> =
            self.shards[at].iter().filter(|one| one.0 != hash || !is(&one.1)).cloned().collect();
        self.len -= self.shards[at].len() - kept.len();
        self.shards[at] = kept;
    }

    fn double(&mut self) {
        let count = self.shards.len() * 2;
        let mut shards: Vec<Vec<(u64, Arc<T>)>> = (0..count).map(|_| Vec::with_capacity(LOAD)).collect();
        for (hash, value) in self.shards.iter().flat_map(|shard| shard.iter()) {
            shards[*hash as usize & (count - 1)].push((*hash, value.clone()));
        }
        self.shards = shards.into_iter().map(Arc::from).collect();
    }
}

/// A quick hash of lower-case octets; names come from those who may change the zone, so it needs no key.
#[inline]
pub fn hash_octets(octets: &[u8]) -> u64 {
    const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut state = SPREAD ^ octets.len() as u64;
    let mut mix = |word: u64| {
        let product = u128::from(state ^ word) * u128::from(SPREAD | 1);
        state = (product as u64) ^ (product >> 64) as u64;
    };
    let (words, rest) = octets.as_chunks::<8>();
    words.iter().for_each(|word| mix(u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(u64::from_le_bytes(last));
    mix(SPREAD.rotate_left(32));
    state
}
