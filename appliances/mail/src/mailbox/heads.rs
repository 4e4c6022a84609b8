//! What FETCH and SEARCH want to know of a message without reading it: its structure, its thread, and the fields of its
//! header that clients ask for. They stand in order of UIDs, so that a look at a whole mailbox is one walk. Content
//! never changes under a blob's id, and each entry says of which blob it is, so nothing here grows stale.

use super::rows::Row;
use crate::message;
use std::collections::BTreeMap;
use store::{Index, IndexEdits, ObjectId, Store};

/// Structure, thread and header of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// BODYSTRUCTURE as IMAP writes it.
    pub structure: Vec<u8>,
    /// The header with its blank line, without the fields that [`Head::lacks`] names.
    pub header: Vec<u8>,
    /// THREADID (RFC 8474 5.2).
    pub thread: u64,
}

impl Head {
    /// Computes it from a message.
    pub fn of(raw: &[u8]) -> Head {
        let (structure, header) = structure_and_header(raw);
        Head::from_parts(structure, header)
    }

    fn from_parts(structure: Vec<u8>, whole: &[u8]) -> Head {
        let mut header = Vec::with_capacity(whole.len().min(2048));
        kept(whole).for_each(|field| header.extend_from_slice(field));
        header.extend_from_slice(b"\r\n");
        Head { structure, thread: message::thread(whole), header }
    }

    /// As it is kept, where it is small enough for that. A header of ten megabytes is not copied to find that out.
    pub(super) fn encoded(raw: &[u8], blob: &ObjectId) -> Option<Vec<u8>> {
        let (structure, header) = structure_and_header(raw);
        let mut left = VALUE_MAX.checked_sub(structure.len())?;
        for field in kept(header) {
            left = left.checked_sub(field.len())?;
        }
        Head::from_parts(structure, header).encode(blob)
    }

    /// Whether this field is left out of heads: those that machines write for machines, which are long and which no
    /// client asks for in a list of messages.
    pub fn lacks(field: &str) -> bool {
        LEFT_OUT.iter().any(|name| name.eq_ignore_ascii_case(field))
            || field.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-"))
                && !field.eq_ignore_ascii_case("x-priority")
    }

    fn encode(&self, blob: &ObjectId) -> Option<Vec<u8>> {
        let len = (self.structure.len() as u32).to_be_bytes();
        let value = [&blob.0[..8], &self.thread.to_be_bytes(), &len, &self.structure, &self.header].concat();
        (value.len() <= VALUE_MAX).then_some(value)
    }

    fn decode(value: &[u8], blob: &ObjectId) -> Option<Head> {
        let (mark, rest) = value.split_first_chunk::<8>()?;
        let (thread, rest) = rest.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let (structure, header) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        let thread = u64::from_be_bytes(*thread);
        (mark == &blob.0[..8]).then(|| Head {
            structure: structure.to_vec(),
            header: header.to_vec(),
            thread,
        })
    }
}

/// The name of a mailbox's table of heads.
pub(super) fn name(account: &str, id: &str) -> String {
    format!("mail/heads/{account}/{id}")
}

/// BODYSTRUCTURE, and the header with its blank line.
fn structure_and_header(raw: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut structure = Vec::new();
    message::write_structure(&mut structure, raw, &message::parse(raw), true);
    (structure, &raw[..message::header_end(raw)])
}

/// The fields that heads have.
fn kept(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lacks = |name: &[u8]| std::str::from_utf8(name).is_ok_and(Head::lacks);
    message::fields(header).filter(move |field| !lacks(field.name)).map(|field| field.raw)
}

/// Keeps a head, where it is small enough; the others are computed each time they are asked for.
pub(super) fn put(edits: &mut IndexEdits, row: &Row, head: &Head) {
    if let Some(value) = head.encode(&row.blob) {
        edits.put(row.uid.to_be_bytes(), value);
    }
}

/// Keeps a head that [`Head::encoded`] gave.
pub(super) fn put_encoded(edits: &mut IndexEdits, uid: u32, head: Option<Vec<u8>>) {
    if let Some(value) = head {
        edits.put(uid.to_be_bytes(), value);
    }
}

/// Forgets a head.
pub(super) fn delete(edits: &mut IndexEdits, uid: u32) {
    edits.delete(uid.to_be_bytes());
}

/// A mailbox's heads, read in order of UIDs a page at a time.
pub struct Heads {
    table: Index,
    /// What was read ahead, and up to which UID it reaches.
    page: BTreeMap<u32, Vec<u8>>,
    from: u32,
    to: u32,
}

impl Heads {
    pub(super) fn open(store: &Store, account: &str, id: &str) -> store::Result<Heads> {
        Ok(Heads { table: store.index(name(account, id))?, page: BTreeMap::new(), from: 1, to: 0 })
    }

    /// The head that was kept of a row. When rows are asked for in order, most are read ahead.
    pub fn get(&mut self, row: &Row) -> store::Result<Option<Head>> {
        let next = row.uid.wrapping_sub(self.to) <= NEAR && self.to != 0;
        if !(self.from..=self.to).contains(&row.uid) {
            self.read(row.uid, if next { PAGE } else { 1 })?;
        }
        Ok(self.page.get(&row.uid).and_then(|value| Head::decode(value, &row.blob)))
    }

    /// As they are written, for a copy of the message under another UID.
    pub(super) fn copy(&mut self, row: &Row, to: &Row, edits: &mut IndexEdits) -> store::Result<()> {
        if let Some(head) = self.get(row)? {
            put(edits, to, &head);
        }
        Ok(())
    }

    fn read(&mut self, uid: u32, limit: usize) -> store::Result<()> {
        let found = self.table.range(&uid.to_be_bytes(), None, limit)?;
        let whole = found.len() == limit;
        self.page.clear();
        self.page.extend(
            found
                .into_iter()
                .filter_map(|(key, value)| Some((u32::from_be_bytes(key.try_into().ok()?), value))),
        );
        let last = self.page.last_key_value().map_or(uid, |(last, _)| *last);
        (self.from, self.to) = (uid, if whole { last.max(uid) } else { u32::MAX });
        Ok(())
    }
}

/// The longest value that the store's tables take.
const VALUE_MAX: usize = 8 << 10;
/// Heads that are read ahead: about 100 kB.
const PAGE: usize = 100;
/// A row this near behind the last one read is taken for a walk.
const NEAR: u32 = 16;
const LEFT_OUT: [&str; 12] = [
    "Received",
    "Return-Path",
    "DKIM-Signature",
    "DomainKey-Signature",
    "Authentication-Results",
    "ARC-Seal",
    "ARC-Message-Signature",
    "ARC-Authentication-Results",
    "Received-SPF",
    "Autocrypt",
    "Feedback-ID",
    "Face",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::Flags;
    use store::{MemoryDevice, Options};

    #[test]
    fn heads_are_read_in_order_and_alone() {
        let store = Store::create(MemoryDevice::new(), Options::new()).unwrap();
        let table = store.index(name("ada", "F1")).unwrap();
        let row = |uid: u32, blob: u8| Row {
            uid,
            size: 1,
            date: 0,
            came: 1,
            modseq: 1,
            flags: Flags(0),
            blob: ObjectId([blob; 20]),
        };
        let head = |uid: u32| Head::of(format!("Subject: {uid}\r\nReceived: x\r\n\r\nx").as_bytes());
        let mut edits = IndexEdits::new();
        (1..=500).filter(|uid| uid % 7 != 0).for_each(|uid| put(&mut edits, &row(uid, 3), &head(uid)));
        table.advance(None, None, edits).unwrap();
        let mut heads = Heads::open(&store, "ada", "F1").unwrap();
        for uid in (1..=600).chain([3, 490, 1]) {
            let wanted = (uid % 7 != 0 && uid <= 500).then(|| head(uid));
            assert_eq!(heads.get(&row(uid, 3)).unwrap(), wanted, "{uid}");
        }
        assert_eq!(heads.get(&row(1, 4)).unwrap(), None, "another message has that UID now");
        assert_eq!(heads.get(&row(1, 3)).unwrap().unwrap().header, b"Subject: 1\r\n\r\n");
    }

    #[test]
    fn fields_that_no_list_shows_are_left_out() {
        for field in ["received", "X-Spam", "DKIM-Signature"] {
            assert!(Head::lacks(field), "{field}");
        }
        for field in ["From", "X-Priority", "List-Id", "x"] {
            assert!(!Head::lacks(field), "{field}");
        }
    }
}
