//! The blocks of a sorted run: pairs of keys and values, and the places of such blocks with a filter over their keys.
//!
//! A block of pairs holds `shared prefix, rest of the key, 0 for a deletion or 1 + length, value` for each key in
//! order. A block of places holds where blocks of pairs are, and a Bloom filter of all their keys: a run that does not
//! have a key costs no read of a block of pairs, which is what keeps a look-up at one read however many runs there are.

use std::ops::{Deref, Range};

use super::Part;
use super::codec::{Take, put_bytes, put_number};
use crate::{Error, Result};

/// Bits of the filter for each key, and how many of them a key sets: one key in a hundred is taken for another.
const FILTER_BITS_PER_KEY: usize = 10;
const FILTER_PROBES: u32 = 6;
/// A block of places is closed at so many bytes of them, or when its filter is for so many keys.
const PLACES_BYTES: usize = 2000;
const FILTERED_KEYS_MAX: usize = 8192;
/// Bits of a filter that are looked at together: a cache line.
const LINE_BITS: u64 = 512;

/// Composes a block of pairs.
#[derive(Default)]
pub struct PairsWriter {
    pub bytes: Vec<u8>,
    last: Vec<u8>,
}

impl PairsWriter {
    pub fn add(&mut self, key: &[u8], value: Option<&[u8]>) {
        let shared = self.last.iter().zip(key).take_while(|(a, b)| a == b).count();
        put_number(&mut self.bytes, shared as u64);
        put_bytes(&mut self.bytes, &key[shared..]);
        match value {
            None => self.bytes.push(0),
            Some(value) => {
                put_number(&mut self.bytes, value.len() as u64 + 1);
                self.bytes.extend_from_slice(value);
            }
        }
        self.last.clear();
        self.last.extend_from_slice(key);
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.last.clear();
    }
}

/// Reads a block of pairs, one after the other.
pub struct PairsReader<B> {
    block: B,
    at: usize,
    key: Vec<u8>,
    /// Where in the block the value is; `None` for a deletion.
    value: Option<Range<usize>>,
    stands: bool,
}

impl<B: Deref<Target = [u8]>> PairsReader<B> {
    /// Stands before the first pair.
    pub fn new(block: B) -> PairsReader<B> {
        PairsReader { block, at: 0, key: Vec::with_capacity(64), value: None, stands: false }
    }

    /// Goes to the next pair; false at the end, and after an error.
    pub fn advance(&mut self) -> Result<bool> {
        self.stands = false;
        let rest = self.block.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(false);
        }
        let len = self.block.len();
        // Whatever is wrong with a pair, nothing is read behind it.
        self.at = len;
        let mut take = Take(rest);
        let shared = take.number()? as usize;
        if shared > self.key.len() {
            return Err(Error::corrupt("a block of the index names a prefix that is not there"));
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(take.bytes()?);
        self.value = match take.number()?.checked_sub(1) {
            None => None,
            Some(size) => {
                let start = len - take.0.len();
                let size = take.slice(size as usize)?.len();
                Some(start..start + size)
            }
        };
        self.at = len - take.0.len();
        self.stands = true;
        Ok(true)
    }

    /// The key of the pair that it stands at.
    pub fn key(&self) -> Option<&[u8]> {
        self.stands.then_some(&self.key[..])
    }

    /// Its value; `None` that it was deleted.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_ref().filter(|_| self.stands).and_then(|value| self.block.get(value.clone()))
    }
}

/// What a block of pairs says about a key: `Some(None)` that it was deleted.
pub fn find(block: &[u8], wanted: &[u8]) -> Result<Option<Option<Vec<u8>>>> {
    let mut reader = PairsReader::new(block);
    while reader.advance()? {
        match reader.key.as_slice().cmp(wanted) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => return Ok(Some(reader.value().map(<[u8]>::to_vec))),
            std::cmp::Ordering::Greater => break,
        }
    }
    Ok(None)
}

/// Whether all pairs of a block can be read.
pub fn check(block: &[u8]) -> Result<()> {
    let mut reader = PairsReader::new(block);
    while reader.advance()? {}
    Ok(())
}

/// The shortest key that is greater than `last` and not greater than `first`: what tells two blocks apart.
pub fn separator(last: &[u8], first: &[u8]) -> Vec<u8> {
    let shared = last.iter().zip(first).take_while(|(a, b)| a == b).count();
    first[..(shared + 1).min(first.len())].to_vec()
}

pub fn put_place(out: &mut Vec<u8>, key: &[u8], part: &Part) {
    put_bytes(out, key);
    put_number(out, part.offset);
    put_number(out, u64::from(part.len));
    out.extend_from_slice(&part.crc.to_le_bytes());
}

pub fn take_place(take: &mut Take<'_>) -> Result<(Vec<u8>, Part)> {
    let key = take.bytes()?.to_vec();
    Ok((key, Part { offset: take.number()?, len: take.number()? as u32, crc: take.u32()? }))
}

/// Composes a block of places.
#[derive(Default)]
pub struct PlacesWriter {
    places: Vec<u8>,
    count: u64,
    hashes: Vec<u64>,
}

impl PlacesWriter {
    /// A key of the block that is added next.
    pub fn key(&mut self, key: &[u8]) {
        self.hashes.push(hash(key));
    }

    pub fn add(&mut self, separator: &[u8], part: &Part) {
        put_place(&mut self.places, separator, part);
        self.count += 1;
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether it is as large as it should become: some eight thousand objects.
    pub fn is_full(&self) -> bool {
        self.places.len() >= PLACES_BYTES || self.hashes.len() >= FILTERED_KEYS_MAX
    }

    /// The block; begins anew.
    pub fn finish(&mut self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.places.len() + self.hashes.len() * 2 + 16);
        put_number(&mut out, self.count);
        out.append(&mut self.places);
        out.extend_from_slice(&filter(&self.hashes));
        self.count = 0;
        self.hashes.clear();
        out
    }
}

/// A block of places, as it is used.
#[derive(Debug)]
pub struct Places {
    /// Separators, one after the other, and where each ends.
    keys: Vec<u8>,
    ends: Vec<u32>,
    parts: Vec<Part>,
    filter: Box<[u8]>,
}

impl Places {
    pub fn decode(bytes: &[u8]) -> Result<Places> {
        let mut take = Take(bytes);
        let count = take.number()? as usize;
        // Each place takes ten bytes at least.
        let room = count.min(bytes.len() / 8);
        let mut places = Places {
            keys: Vec::with_capacity(room * 8),
            ends: Vec::with_capacity(room),
            parts: Vec::with_capacity(room),
            filter: Box::default(),
        };
        for _ in 0..count {
            places.keys.extend_from_slice(take.bytes()?);
            places.ends.push(places.keys.len() as u32);
            let part = Part { offset: take.number()?, len: take.number()? as u32, crc: take.u32()? };
            places.parts.push(part);
        }
        places.filter = take.0.into();
        Ok(places)
    }

    /// Whether a key may be in one of the blocks.
    pub fn may_have(&self, key: &[u8]) -> bool {
        may_have(&self.filter, hash(key))
    }

    /// The block in which a key is, if it is in any.
    pub fn at_or_before(&self, key: &[u8]) -> Option<usize> {
        let (mut low, mut high) = (0, self.parts.len());
        while low < high {
            let middle = (low + high) / 2;
            if self.key(middle) <= key { low = middle + 1 } else { high = middle }
        }
        low.checked_sub(1)
    }

    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// The least key that may be in a block.
    pub fn key(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.keys[start..self.ends[at] as usize]
    }

    pub fn part(&self, at: usize) -> Option<&Part> {
        self.parts.get(at)
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.keys.len() + self.ends.len() * 4 + self.parts.len() * size_of::<Part>() + self.filter.len()
    }
}

/// Fixed for ever: it stands in filters on the device.
fn hash(key: &[u8]) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325 ^ key.len() as u64;
    for chunk in key.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        state = (state ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        state ^= state >> 29;
    }
    state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state ^ (state >> 32)
}

/// The bits of a key: all in one line, nine bits of the mixed hash for each.
fn probes(hash: u64, lines: u64) -> impl Iterator<Item = usize> {
    let line = ((hash >> 32) * lines) >> 32;
    let mixed = hash.wrapping_mul(0x94d0_49bb_1331_11eb);
    let mixed = mixed ^ (mixed >> 31);
    (0..FILTER_PROBES).map(move |probe| (line * LINE_BITS + ((mixed >> (9 * probe)) % LINE_BITS)) as usize)
}

fn filter(hashes: &[u64]) -> Vec<u8> {
    let lines = (hashes.len() * FILTER_BITS_PER_KEY).div_ceil(LINE_BITS as usize) as u64;
    let mut bits = vec![0; (lines * LINE_BITS / 8) as usize];
    for hash in hashes {
        probes(*hash, lines).for_each(|bit| bits[bit / 8] |= 1 << (bit % 8));
    }
    bits
}

fn may_have(filter: &[u8], hash: u64) -> bool {
    let lines = filter.len() as u64 * 8 / LINE_BITS;
    // Without a filter every key may be there.
    lines == 0 || probes(hash, lines).all(|bit| filter[bit / 8] & (1 << (bit % 8)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn pairs_come_back_and_every_key_is_found(wanted: BTreeMap<Vec<u8>, Option<Vec<u8>>>, other: Vec<u8>) {
            let mut writer = PairsWriter::default();
            let mut places = PlacesWriter::default();
            for (key, value) in &wanted {
                writer.add(key, value.as_deref());
                places.key(key);
            }
            places.add(b"", &Part { offset: 1, len: 2, crc: 3 });
            let places = Places::decode(&places.finish()).unwrap();
            let mut reader = PairsReader::new(&writer.bytes[..]);
            for (key, value) in &wanted {
                prop_assert!(reader.advance().unwrap());
                prop_assert_eq!((reader.key(), reader.value()), (Some(&key[..]), value.as_deref()));
            }
            prop_assert!(!reader.advance().unwrap() && reader.key().is_none());
            check(&writer.bytes).unwrap();
            for (key, value) in &wanted {
                prop_assert!(places.may_have(key));
                prop_assert_eq!(find(&writer.bytes, key).unwrap(), Some(value.clone()));
            }
            prop_assert_eq!(find(&writer.bytes, &other).unwrap(), wanted.get(&other).cloned());
        }

        #[test]
        fn separators_separate(mut a: Vec<u8>, mut b: Vec<u8>) {
            if a == b { return Ok(()); }
            if a > b { std::mem::swap(&mut a, &mut b); }
            let between = separator(&a, &b);
            prop_assert!(a < between && between <= b);
        }

        #[test]
        fn no_block_panics(bytes: Vec<u8>, key: Vec<u8>) {
            let _ = (check(&bytes), find(&bytes, &key));
            if let Ok(places) = Places::decode(&bytes) {
                places.may_have(&key);
                places.at_or_before(&key);
            }
        }
    }

    #[test]
    fn a_filter_takes_few_keys_for_others() {
        let key =
            |number: u32| [&b"o"[..], &number.wrapping_mul(0x9e37_79b9).to_be_bytes(), &[7; 16]].concat();
        let hashes: Vec<u64> = (0..10_000).map(|number| hash(&key(number))).collect();
        let filter = filter(&hashes);
        assert!(hashes.iter().all(|hash| may_have(&filter, *hash)));
        let wrong = (10_000..110_000).filter(|number| may_have(&filter, hash(&key(*number)))).count();
        assert!(wrong < 2_500, "{wrong} of 100000");
    }
}
