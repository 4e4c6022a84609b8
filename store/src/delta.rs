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
                name: format!("f{name:05}").into(),
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
    fn one_entry_more_costs_its_own_length() {
        let mut entries: BTreeMap<u16, u8> = (0..1000).map(|n| (n * 2, n as u8)).collect();
        let before = tree(&entries);
        entries.insert(501, 9);
        let after = tree(&entries);
        assert!(between_trees(&before, &after).unwrap().len() < 60);
    }
}
