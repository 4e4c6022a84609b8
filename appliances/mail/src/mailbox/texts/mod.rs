//! The index of a mailbox's texts: which messages a search need not read.
//!
//! Each message has a signature (`signature`). A thousand of them make a block, which is kept by bits, not by messages:
//! a search reads a few hundred bytes of each block for each trigram that it looks for. Messages that came since the last
//! block was made have their signatures one by one. The index follows the mailbox (`extend`) and can be made anew from
//! its messages at any time; UIDs never come to mean other messages, so it knows no commits.

mod signature;

pub use signature::{Needle, Signature, Width};

use super::rows::Rows;
use std::collections::BTreeMap;
use store::{Index, IndexEdits, Store};

/// What a message must have to be worth reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Nothing is known.
    Any,
    /// A text is in it.
    Text(Needle),
    /// All of these.
    All(Vec<Filter>),
    /// One of these.
    Either(Box<Filter>, Box<Filter>),
}

/// Messages that may match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    /// UIDs from here on are not in the index: each of them may match.
    pub from: u32,
    /// UIDs below that may match, sorted.
    pub uids: Vec<u32>,
}

impl Candidates {
    /// Whether the message of a UID may match.
    pub fn has(&self, uid: u32) -> bool {
        uid >= self.from || self.uids.binary_search(&uid).is_ok()
    }
}

/// A block of which little is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thin {
    width: Width,
    block: u32,
    /// The messages that are left.
    pub uids: Vec<u32>,
}

/// A mailbox's index of texts. Who extends it keeps others from reading it meanwhile.
pub struct Texts {
    table: Index,
}

/// One bit for each message of a block.
type Slots = [u64; BLOCK / 64];

impl Texts {
    pub(super) fn open(store: &Store, account: &str, id: &str) -> store::Result<Texts> {
        Ok(Texts { table: store.index(name(account, id))? })
    }

    /// The UID from which on messages are not in the index.
    pub fn next(&self) -> store::Result<u32> {
        let value = self.table.get([NEXT])?;
        Ok(value.and_then(|v| v.try_into().ok()).map_or(1, u32::from_be_bytes))
    }

    /// The messages that may match.
    pub fn candidates(&self, filter: &Filter) -> store::Result<Candidates> {
        let from = self.next()?;
        let mut uids = Vec::new();
        for width in Width::ALL {
            for (block, slots) in self.blocks(width)? {
                let found = self.slots(filter, width, block)?;
                uids.extend(set_bits(&found).filter_map(|slot| slots.get(slot).copied()));
            }
            for (uid, signature) in self.pending(width)? {
                if passes(filter, &signature) {
                    uids.push(uid);
                }
            }
        }
        uids.sort_unstable();
        uids.dedup();
        Ok(Candidates { from, uids })
    }

    /// A block of which little is left, if there is one: it is to be given up, and what is left taken in again.
    pub fn thin(&self, rows: &Rows) -> store::Result<Option<Thin>> {
        for width in Width::ALL {
            for (block, mut uids) in self.blocks(width)? {
                uids.retain(|uid| rows.find(*uid).is_some());
                if uids.len() < BLOCK / 4 {
                    return Ok(Some(Thin { width, block, uids }));
                }
            }
        }
        Ok(None)
    }

    /// Takes signatures of messages in; `next` is where the index then ends. `rows` say which messages are still there. A
    /// block may be given up at the same time; what is left of it must be among the signatures.
    pub fn extend(
        &self,
        signatures: Vec<(u32, Signature)>,
        next: u32,
        rows: &Rows,
        give_up: Option<&Thin>,
    ) -> store::Result<()> {
        let mut edits = IndexEdits::new();
        edits.put([NEXT], next.to_be_bytes());
        if let Some(Thin { width, block, .. }) = give_up {
            self.delete_block(*width, *block, &mut edits);
        }
        for width in Width::ALL {
            let free = self.blocks(width)?.keys().next_back().map_or(0, |last| last + 1);
            let mut waiting = self.pending(width)?;
            let known = waiting.len();
            waiting.extend(signatures.iter().filter(|(_, s)| s.width == width).cloned());
            if waiting.len() < BLOCK {
                waiting[known..].iter().for_each(|(uid, s)| edits.put(pending_key(width, *uid), s.encode()));
                continue;
            }
            waiting[..known].iter().for_each(|(uid, _)| edits.delete(pending_key(width, *uid)));
            waiting.retain(|(uid, _)| rows.find(*uid).is_some());
            waiting.sort_by_key(|(uid, _)| *uid);
            waiting.dedup_by_key(|(uid, _)| *uid);
            let whole = waiting.len() / BLOCK * BLOCK;
            for (block, messages) in (free..).zip(waiting[..whole].chunks(BLOCK)) {
                put_block(width, block, messages, &mut edits);
            }
            waiting[whole..].iter().for_each(|(uid, s)| edits.put(pending_key(width, *uid), s.encode()));
        }
        let at = self.table.at()?;
        self.table.advance(at, at, edits)
    }

    /// The blocks with the UIDs of their slots.
    fn blocks(&self, width: Width) -> store::Result<BTreeMap<u32, Vec<u32>>> {
        let mut blocks = BTreeMap::new();
        self.each(&[BLOCKS, width.letter()], |key, value| {
            let uids = value.chunks_exact(4).map(|b| b.try_into().map_or(0, u32::from_be_bytes)).collect();
            if let Some(block) = number(&key[2..]) {
                blocks.insert(block, uids);
            }
        })?;
        Ok(blocks)
    }

    fn pending(&self, width: Width) -> store::Result<Vec<(u32, Signature)>> {
        let mut all = Vec::new();
        self.each(&[PENDING, width.letter()], |key, value| {
            all.extend(number(&key[2..]).zip(Signature::decode(width, value)));
        })?;
        Ok(all)
    }

    fn each(&self, prefix: &[u8], mut then: impl FnMut(&[u8], &[u8])) -> store::Result<()> {
        let mut from = prefix.to_vec();
        loop {
            let page = self.table.range(&from, None, VALUES_AT_ONCE)?;
            for (key, value) in &page {
                if !key.starts_with(prefix) {
                    return Ok(());
                }
                then(key, value);
            }
            let Some((last, _)) = page.last() else { return Ok(()) };
            from.clone_from(last);
            from.push(0);
        }
    }

    /// The slots of a block that pass.
    fn slots(&self, filter: &Filter, width: Width, block: u32) -> store::Result<Slots> {
        match filter {
            Filter::Any => Ok([u64::MAX; BLOCK / 64]),
            Filter::Text(needle) => self.slots_with(needle, width, block),
            Filter::All(all) => {
                let mut found = [u64::MAX; BLOCK / 64];
                for filter in all {
                    let slots = self.slots(filter, width, block)?;
                    found.iter_mut().zip(slots).for_each(|(all, one)| *all &= one);
                    if found == [0; BLOCK / 64] {
                        break;
                    }
                }
                Ok(found)
            }
            Filter::Either(a, b) => {
                let mut found = self.slots(a, width, block)?;
                let other = self.slots(b, width, block)?;
                found.iter_mut().zip(other).for_each(|(all, one)| *all |= one);
                Ok(found)
            }
        }
    }

    fn slots_with(&self, needle: &Needle, width: Width, block: u32) -> store::Result<Slots> {
        let mut found = [u64::MAX; BLOCK / 64];
        let mut group: Option<(usize, Vec<u8>)> = None;
        for place in needle.places(width) {
            let wanted = place / SLICES_IN_VALUE;
            if group.as_ref().is_none_or(|(at, _)| *at != wanted) {
                let value = self.table.get(slices_key(width, block, wanted as u32))?.unwrap_or_default();
                group = Some((wanted, value));
            }
            let value = group.as_ref().map_or(&[][..], |(_, value)| value);
            let at = place % SLICES_IN_VALUE * SLICE;
            let slice = value.get(at..at + SLICE).unwrap_or_default();
            let words = slice.chunks_exact(8).map(|b| b.try_into().map_or(0, u64::from_le_bytes));
            let words: Vec<u64> = words.chain(std::iter::repeat(0)).take(BLOCK / 64).collect();
            found.iter_mut().zip(words).for_each(|(all, one)| *all &= one);
            if found == [0; BLOCK / 64] {
                break;
            }
        }
        Ok(found)
    }

    fn delete_block(&self, width: Width, block: u32, edits: &mut IndexEdits) {
        edits.delete(block_key(width, block));
        (0..width.bits() / SLICES_IN_VALUE).for_each(|g| edits.delete(slices_key(width, block, g as u32)));
    }
}

fn passes(filter: &Filter, signature: &Signature) -> bool {
    match filter {
        Filter::Any => true,
        Filter::Text(needle) => signature.has(&needle.places(signature.width)),
        Filter::All(all) => all.iter().all(|filter| passes(filter, signature)),
        Filter::Either(a, b) => passes(a, signature) || passes(b, signature),
    }
}

/// Turns the signatures of a block round: from bits of messages to messages of bits.
fn put_block(width: Width, block: u32, messages: &[(u32, Signature)], edits: &mut IndexEdits) {
    let mut slices = vec![0u8; width.bits() * SLICE];
    for (slot, (_, signature)) in messages.iter().enumerate() {
        for place in set_bits(&signature.bits) {
            slices[place * SLICE + slot / 8] |= 1 << (slot % 8);
        }
    }
    for (group, value) in slices.chunks(SLICES_IN_VALUE * SLICE).enumerate() {
        if value.iter().any(|byte| *byte != 0) {
            edits.put(slices_key(width, block, group as u32), value.to_vec());
        }
    }
    let uids: Vec<u8> = messages.iter().flat_map(|(uid, _)| uid.to_be_bytes()).collect();
    edits.put(block_key(width, block), uids);
}

fn set_bits(words: &[u64]) -> impl Iterator<Item = usize> {
    words.iter().enumerate().flat_map(|(at, word)| {
        let mut rest = *word;
        std::iter::from_fn(move || {
            let bit = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
            rest &= rest - 1;
            Some(at * 64 + bit)
        })
    })
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.get(..4)?.try_into().ok().map(u32::from_be_bytes)
}

/// The name of a mailbox's table of texts.
pub(super) fn name(account: &str, id: &str) -> String {
    format!("mail/texts/{account}/{id}")
}

fn pending_key(width: Width, uid: u32) -> Vec<u8> {
    [&[PENDING, width.letter()][..], &uid.to_be_bytes()].concat()
}

fn block_key(width: Width, block: u32) -> Vec<u8> {
    [&[BLOCKS, width.letter()][..], &block.to_be_bytes()].concat()
}

fn slices_key(width: Width, block: u32, group: u32) -> Vec<u8> {
    [&[SLICES, width.letter()][..], &block.to_be_bytes(), &group.to_be_bytes()].concat()
}

/// Messages that are taken into the index at a time, and those of a block.
pub const BLOCK: usize = 1_024;
/// Bytes of one bit of a block's messages.
const SLICE: usize = BLOCK / 8;
/// Slices in one value of the table: 2 kB, of which a search reads one for each trigram and block.
const SLICES_IN_VALUE: usize = 16;
const VALUES_AT_ONCE: usize = 64;
/// First bytes of keys.
const BLOCKS: u8 = b'b';
const NEXT: u8 = b'n';
const PENDING: u8 = b'p';
const SLICES: u8 = b's';

#[cfg(test)]
mod tests {
    use super::super::flags::Flags;
    use super::super::rows::Row;
    use super::*;
    use store::{MemoryDevice, ObjectId, Options};

    fn message(uid: u32) -> String {
        let long = if uid.is_multiple_of(50) {
            (0..900u32).map(|n| format!("{:x} ", (n * uid).wrapping_mul(2_654_435_761))).collect()
        } else {
            String::new()
        };
        format!("Subject: number {uid}\r\n\r\nword{} {long}\r\n", uid % 10)
    }

    fn rows(uids: impl Iterator<Item = u32>) -> Rows {
        let row =
            |uid| Row { uid, size: 1, date: 0, came: 1, modseq: 1, flags: Flags(0), blob: ObjectId::ZERO };
        Rows::new(&uids.map(row).collect::<Vec<_>>())
    }

    fn text(text: &str) -> Filter {
        Needle::of(text).map_or(Filter::Any, Filter::Text)
    }

    #[test]
    fn what_is_looked_for_is_always_among_the_candidates() {
        let store = Store::create(MemoryDevice::new(), Options::new()).unwrap();
        let texts = Texts::open(&store, "ada", "F1").unwrap();
        let all = rows(1..=3000);
        for first in (1..=3000).step_by(700) {
            let end = (first + 700).min(3001);
            let signatures = (first..end).map(|uid| (uid, Signature::of(message(uid).as_bytes()))).collect();
            texts.extend(signatures, end, &all, None).unwrap();
        }
        assert_eq!(texts.thin(&all).unwrap(), None);
        assert_eq!(texts.next().unwrap(), 3001);
        let found = texts.candidates(&text("number 1234")).unwrap();
        assert!(found.has(1234) && found.has(3001) && found.uids.len() < 200, "{}", found.uids.len());
        let found = texts.candidates(&text("word3")).unwrap();
        assert!((3..=3000).step_by(10).all(|uid| found.has(uid)));
        assert_eq!(texts.candidates(&text("no")).unwrap().uids.len(), 3000, "too short to say anything");
        let both = Filter::All(vec![text("word3"), text("number 1233")]);
        assert!(texts.candidates(&both).unwrap().has(1233));
        let either = Filter::Either(text("number 77 ").into(), text("number 2999").into());
        assert!(texts.candidates(&either).unwrap().has(2999));
        // Blocks of which little is left are given up, and what is left is to be taken in again.
        let few = rows((1..=3000).filter(|uid| uid % 10 == 0));
        while let Some(thin) = texts.thin(&few).unwrap() {
            assert!(thin.uids.iter().all(|uid| uid % 10 == 0));
            let again = thin.uids.iter().map(|uid| (*uid, Signature::of(message(*uid).as_bytes()))).collect();
            texts.extend(again, 3001, &few, Some(&thin)).unwrap();
        }
        assert!(texts.candidates(&text("word0")).unwrap().uids.len() <= 400);
        assert!(texts.candidates(&text("number 300")).unwrap().has(300));
    }
}
