//! Git's delta format: copy from the base, insert from the delta.

use crate::{Error, Result};

/// Applies a delta to its base.
pub(crate) fn apply(base: &[u8], delta: &[u8]) -> Result<Vec<u8>> {
    let broken = || Error::corrupt("a delta breaks off or does not fit its base");
    let mut rest = delta;
    let from = size(&mut rest).ok_or_else(broken)?;
    let to = size(&mut rest).ok_or_else(broken)?;
    if from != base.len() as u64 || to > (1 << 32) {
        return Err(broken());
    }
    let mut out = Vec::with_capacity((to as usize).min(1 << 20));
    while let Some((&op, after)) = rest.split_first() {
        rest = after;
        if op & 0x80 != 0 {
            let mut field = |bits: u8, count: u32| -> Option<usize> {
                let mut value = 0;
                for byte in 0..count {
                    if bits >> byte & 1 != 0 {
                        let (&low, after) = rest.split_first()?;
                        rest = after;
                        value |= usize::from(low) << (8 * byte);
                    }
                }
                Some(value)
            };
            let offset = field(op & 0x0f, 4).ok_or_else(broken)?;
            let len = field(op >> 4 & 0x07, 3).ok_or_else(broken)?;
            let len = if len == 0 { 0x10000 } else { len };
            let end = offset.checked_add(len).ok_or_else(broken)?;
            out.extend_from_slice(base.get(offset..end).ok_or_else(broken)?);
        } else {
            let (insert, after) =
                rest.split_at_checked(usize::from(op)).filter(|_| op != 0).ok_or_else(broken)?;
            out.extend_from_slice(insert);
            rest = after;
        }
        if out.len() as u64 > to {
            return Err(broken());
        }
    }
    if out.len() as u64 == to { Ok(out) } else { Err(broken()) }
}

fn size(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..63).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Composes a delta out of copies and insertions.
pub(crate) struct DeltaWriter<'a> {
    out: Vec<u8>,
    target: &'a [u8],
    /// A copy that may still be extended: offset, length.
    copy: (usize, usize),
    /// Bytes of the target that are to be inserted.
    insert: std::ops::Range<usize>,
}

impl<'a> DeltaWriter<'a> {
    pub fn new(base_len: usize, target: &'a [u8]) -> DeltaWriter<'a> {
        let mut out = Vec::with_capacity(64);
        crate::engine::put_number(&mut out, base_len as u64);
        crate::engine::put_number(&mut out, target.len() as u64);
        DeltaWriter { out, target, copy: (0, 0), insert: 0..0 }
    }

    /// The next bytes are those of the base from `offset` on.
    pub fn copy(&mut self, offset: usize, len: usize) {
        if len == 0 {
            return;
        }
        if !self.insert.is_empty() || self.copy.0 + self.copy.1 != offset {
            self.flush();
            self.copy = (offset, 0);
        }
        self.copy.1 += len;
    }

    /// The next bytes are these of the target.
    pub fn insert(&mut self, range: std::ops::Range<usize>) {
        if range.is_empty() {
            return;
        }
        if self.insert.is_empty() || self.insert.end != range.start {
            self.flush();
            self.insert = range;
        } else {
            self.insert.end = range.end;
        }
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.flush();
        self.out
    }

    fn flush(&mut self) {
        let (mut offset, mut len) = std::mem::take(&mut self.copy);
        while len > 0 {
            let step = len.min(0xffff);
            self.emit_copy(offset, step);
            offset += step;
            len -= step;
        }
        for piece in self.target[std::mem::take(&mut self.insert)].chunks(127) {
            self.out.push(piece.len() as u8);
            self.out.extend_from_slice(piece);
        }
    }

    fn emit_copy(&mut self, offset: usize, len: usize) {
        let at = self.out.len();
        self.out.push(0x80);
        for (bit, value) in
            [(0, offset), (1, offset >> 8), (2, offset >> 16), (3, offset >> 24), (4, len), (5, len >> 8)]
        {
            if value & 0xff != 0 {
                self.out[at] |= 1 << bit;
                self.out.push(value as u8);
            }
        }
    }
}

/// Bytes that must be equal for a copy to be found.
const BLOCK: usize = 16;

/// A hash of the sixteen bytes at a place.
fn block_hash(bytes: &[u8], at: usize) -> u64 {
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(word)
    };
    let mixed = (word(at) ^ word(at + 8).rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 29)
}

/// A delta between any two contents: what is copied is found by blocks of sixteen bytes. `None` when it would be longer
/// than `most`.
pub(crate) fn between(base: &[u8], target: &[u8], most: usize) -> Option<Vec<u8>> {
    let mask = (base.len() / BLOCK).next_power_of_two().max(16) * 2 - 1;
    // Places of blocks plus one, 0 for none; of equal hashes the first place stays.
    let mut places = vec![0u32; mask + 1];
    for at in (0..(base.len() + 1).saturating_sub(BLOCK)).step_by(BLOCK) {
        let slot = &mut places[block_hash(base, at) as usize & mask];
        if *slot == 0 {
            *slot = at as u32 + 1;
        }
    }
    let mut writer = DeltaWriter::new(base.len(), target);
    let (mut at, mut written) = (0, 0);
    while at + BLOCK <= target.len() {
        let place = places[block_hash(target, at) as usize & mask] as usize;
        if place == 0 || base[place - 1..place - 1 + BLOCK] != target[at..at + BLOCK] {
            at += 1;
            continue;
        }
        let place = place - 1;
        let back =
            base[..place].iter().rev().zip(target[written..at].iter().rev()).take_while(|(a, b)| a == b);
        let back = back.count();
        let ahead = base[place..].iter().zip(&target[at..]).take_while(|(a, b)| a == b).count();
        writer.insert(written..at - back);
        writer.copy(place - back, back + ahead);
        at += ahead;
        written = at;
        if writer.out.len() > most {
            return None;
        }
    }
    writer.insert(written..target.len());
    Some(writer.finish()).filter(|delta| delta.len() <= most)
}

/// What a content is recognised by: of the hashes of its blocks the least of each of eight kinds. Contents that share
/// half of their bytes share half of these.
pub(crate) fn sketch(content: &[u8]) -> [u64; 8] {
    let mut least = [u64::MAX; 8];
    for at in 0..(content.len() + 1).saturating_sub(BLOCK) {
        let hash = block_hash(content, at);
        let kind = &mut least[(hash >> 61) as usize];
        *kind = (*kind).min(hash);
    }
    least
}

/// A delta between two trees, entry by entry: both are sorted, so one walk finds every shared stretch.
pub(crate) fn between_trees(base: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let mut writer = DeltaWriter::new(base.len(), target);
    let mut old = entries(base)?.into_iter().peekable();
    for (start, end) in entries(target)? {
        let entry = &target[start..end];
        let key = sort_key(entry);
        while old.peek().is_some_and(|&(from, to)| sort_key(&base[from..to]) < key) {
            old.next();
        }
        match old.peek() {
            Some(&(from, to)) if base[from..to] == *entry => writer.copy(from, to - from),
            Some(&(from, to)) if sort_key(&base[from..to]) == key && to - from == end - start => {
                // The same name with another id: the name is copied too, when that is worth a copy.
                let same = end - start - 20;
                writer.copy(from, same);
                writer.insert(start + same..end);
            }
            _ => writer.insert(start..end),
        }
    }
    Some(writer.finish())
}

fn entries(tree: &[u8]) -> Option<Vec<(usize, usize)>> {
    let mut found = Vec::with_capacity(tree.len() / 32);
    let mut at = 0;
    while at < tree.len() {
        let nul = tree[at..].iter().position(|&byte| byte == 0)?;
        let end = at + nul + 21;
        if end > tree.len() {
            return None;
        }
        found.push((at, end));
        at = end;
    }
    Some(found)
}

/// Name with the slash that a directory sorts by.
fn sort_key(entry: &[u8]) -> (&[u8], bool) {
    let name = entry[..entry.len() - 21].splitn(2, |&byte| byte == b' ').nth(1).unwrap_or_default();
    (name, entry.starts_with(b"4"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Mode, RawEntry, encode_tree};
    use git_wire::ObjectId;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn tree(entries: &BTreeMap<u16, u8>) -> Vec<u8> {
        let entries: Vec<_> = entries
            .iter()
            .map(|(name, id)| RawEntry {
                mode: Mode::File,
                name: format!("f{name:05}").into_bytes(),
                id: ObjectId([*id; 20]),
            })
            .collect();
        encode_tree(&entries)
    }

    proptest! {
        #[test]
        fn tree_deltas_come_back(a: BTreeMap<u16, u8>, mut b: BTreeMap<u16, u8>, keep: bool) {
            if keep { b.extend(a.clone()); }
            let (a, b) = (tree(&a), tree(&b));
            let delta = between_trees(&a, &b).unwrap();
            prop_assert_eq!(apply(&a, &delta).unwrap(), b);
        }

        #[test]
        fn deltas_come_back(a: Vec<u8>, b: Vec<u8>, c: Vec<u8>, repeat in 1usize..40) {
            let (a, c) = (a.repeat(repeat), c.repeat(repeat));
            let base = [&a[..], &b, &c].concat();
            let target = [&c[..], &a, &b, &a[..a.len() / 2]].concat();
            let delta = between(&base, &target, usize::MAX).unwrap();
            prop_assert_eq!(apply(&base, &delta).unwrap(), target.clone());
            prop_assert!(between(&base, &target, delta.len() - 1).is_none());
        }

        #[test]
        fn no_delta_panics(base: Vec<u8>, mut delta: Vec<u8>) {
            let _ = apply(&base, &delta);
            let mut head = Vec::new();
            crate::engine::put_number(&mut head, base.len() as u64);
            crate::engine::put_number(&mut head, 100);
            head.append(&mut delta);
            let _ = apply(&base, &head);
        }
    }

    #[test]
    fn a_changed_word_costs_little_and_likeness_is_seen() {
        let text: Vec<u8> = (0..4000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
        let mut other = text.clone();
        other.splice(1000..1003, *b"another");
        assert!(between(&text, &other, 100).unwrap().len() < 40);
        let shared = sketch(&text).iter().zip(sketch(&other)).filter(|(a, b)| **a == *b).count();
        assert!(shared >= 6);
        let noise: Vec<u8> = (0..4000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        assert_eq!(sketch(&text).iter().zip(sketch(&noise)).filter(|(a, b)| **a == *b).count(), 0);
    }

    #[test]
    fn one_entry_more_costs_its_own_length() {
        let mut entries: BTreeMap<u16, u8> = (0..1000).map(|n| (n * 2, n as u8)).collect();
        let before = tree(&entries);
        entries.insert(501, 9);
        let after = tree(&entries);
        assert!(between_trees(&before, &after).unwrap().len() < 60);
    }
}
