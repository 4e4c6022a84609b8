//! What a start would have to make anew, kept in derived tables beside the zone: its signatures, and the recent
//! differences. So a start is quick, the serial stays, and a secondary's IXFR goes on where it was.
//!
//! A signature is found by what it covers. One that is left over from another version of the zone fits nothing and does
//! no harm; that is why large numbers of them may be written ahead of the commit that needs them.

use std::collections::HashSet;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use store::{Index, IndexEdits, Store, Transaction};

use super::journal::{Delta, Journal, Noted, Touched};
use super::records::Rows;
use crate::dnssec::earlier::{Earlier, fingerprint};
use crate::message::{push_record, read_record};
use crate::name::Name;
use crate::record::Record;
use crate::zone::{Keyed, Node, Nsec3, Rrset, Zone};

/// Octets of a value that the store takes, and some less.
const VALUE_OCTETS: usize = 8000;
/// A difference larger than this is not kept over a restart: the whole zone is hardly larger.
const DELTA_OCTETS_MAX: usize = 1 << 20;
/// Rows written by one flush when many change.
const ROWS_AT_ONCE: usize = 2000;

/// The tables of one zone.
pub struct Tables {
    signatures: String,
    differences: String,
    /// Its records.
    pub rows: Rows,
}

impl Tables {
    /// The tables of the zone of this name.
    pub fn of(origin: &Name) -> Tables {
        let hash = ring::digest::digest(&ring::digest::SHA256, origin.lower().octets());
        let short = HEXLOWER.encode(&hash.as_ref()[..16]);
        Tables {
            signatures: format!("signpost.signatures.{short}"),
            differences: format!("signpost.differences.{short}"),
            rows: Rows::of(&short),
        }
    }

    /// The signatures that were kept.
    ///
    /// # Errors
    /// What the store says.
    pub fn signatures(&self, store: &Store) -> Result<Earlier, store::Error> {
        let mut earlier = Earlier::default();
        each(&store.index(&self.signatures)?, |_, value| {
            let _ = read_row(&value, &mut earlier);
        })?;
        Ok(earlier)
    }

    /// The differences that lead to `serial`; those that lead nowhere are taken away.
    ///
    /// # Errors
    /// What the store says.
    pub fn journal(&self, store: &Store, serial: u32) -> Result<Journal, store::Error> {
        let index = store.index(&self.differences)?;
        let mut whole: Vec<(u64, u16, Vec<u8>)> = Vec::new();
        each(&index, |key, value| {
            let (Some(number), Some(piece)) = (key.first_chunk::<8>(), key.get(8..10)) else { return };
            let (number, piece) = (u64::from_be_bytes(*number), u16::from_be_bytes([piece[0], piece[1]]));
            match whole.last_mut().filter(|(last, pieces, _)| *last == number && *pieces == piece) {
                Some((_, pieces, octets)) => {
                    octets.extend_from_slice(&value);
                    *pieces += 1;
                }
                None => whole.push((number, piece + 1, value)),
            }
        })?;
        let read = whole.iter().map(|(number, pieces, octets)| (*number, *pieces, read_delta(octets)));
        let (journal, lost) = Journal::leading_to(serial, read);
        let mut edits = IndexEdits::new();
        lost.into_iter().for_each(|(number, pieces)| forget(&mut edits, number, pieces));
        write(&index, edits)?;
        Ok(journal)
    }

    /// Adds what a change makes of the tables to its transaction.
    ///
    /// # Errors
    /// What the store says.
    pub fn note(
        &self,
        transaction: &mut Transaction,
        store: &Store,
        new: &Zone,
        touched: &Touched,
        noted: Noted,
    ) -> Result<(), store::Error> {
        let edits = transaction.index(&self.differences);
        noted.dropped.iter().for_each(|(number, pieces)| forget(edits, *number, *pieces));
        let kept = noted.delta.as_deref().filter(|delta| pieces_of(delta) > 0);
        for (piece, value) in kept.map(delta_octets).unwrap_or_default().chunks(VALUE_OCTETS).enumerate() {
            edits.put(difference_key(noted.number, piece as u16), value);
        }
        let Touched { nodes: (gone, come), links: (links_gone, links_come) } = touched;
        let mut rows = rows_of(new, come, links_come);
        let written: HashSet<&[u8]> = rows.iter().map(|(key, _)| &key[..]).collect();
        let keys = gone.iter().map(|node| node_key(node)).chain(links_gone.iter().map(|link| link_key(link)));
        let dead: Vec<Vec<u8>> = keys.filter(|key| !written.contains(&key[..])).collect();
        if rows.len() > ROWS_AT_ONCE {
            self.write_ahead(store, std::mem::take(&mut rows))?;
        }
        let edits = transaction.index(&self.signatures);
        rows.into_iter().for_each(|(key, value)| edits.put(key, value));
        dead.into_iter().for_each(|key| edits.delete(key));
        Ok(())
    }

    /// Writes all signatures of a zone.
    ///
    /// # Errors
    /// What the store says.
    pub fn write_all(&self, store: &Store, zone: &Zone) -> Result<(), store::Error> {
        let nodes: Vec<Arc<Node>> = zone.nodes().cloned().collect();
        let links: Vec<Arc<Nsec3>> = zone.nsec3_chain().iter().cloned().collect();
        self.write_ahead(store, rows_of(zone, &nodes, &links))
    }

    fn write_ahead(&self, store: &Store, rows: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), store::Error> {
        let index = store.index(&self.signatures)?;
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let mut edits = IndexEdits::new();
            rows.by_ref().take(ROWS_AT_ONCE).for_each(|(key, value)| edits.put(key, value));
            write(&index, edits)?;
        }
        Ok(())
    }
}

/// All rows of a table, a page at a time.
pub fn each(index: &Index, mut row: impl FnMut(&[u8], Vec<u8>)) -> Result<(), store::Error> {
    let mut from = Vec::new();
    loop {
        let page = index.range(&from, None, ROWS_AT_ONCE)?;
        let done = page.len() < ROWS_AT_ONCE;
        for (key, value) in page {
            row(&key, value);
            from = key;
        }
        if done {
            return Ok(());
        }
        from.push(0);
    }
}

/// Writes edits into a table, whatever commit it stands at.
pub fn write(index: &Index, edits: IndexEdits) -> Result<(), store::Error> {
    loop {
        let at = index.at()?;
        match index.advance(at, at, edits.clone()) {
            Err(store::Error::RefMoved { .. }) => {}
            other => return other,
        }
    }
}

fn node_key(node: &Node) -> Vec<u8> {
    [b"n", node.key()].concat()
}

fn link_key(link: &Nsec3) -> Vec<u8> {
    [b"3", link.key()].concat()
}

/// A row for each name that has signatures: what each covers, how many, and they themselves.
fn rows_of(zone: &Zone, nodes: &[Arc<Node>], links: &[Arc<Nsec3>]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let row = |owner: &Name, sets: &mut dyn Iterator<Item = &Rrset>| {
        let mut value = Vec::new();
        for set in sets.filter(|set| set.sig_count > 0) {
            value.extend_from_slice(&fingerprint(&zone.origin, owner, set));
            value.push(set.sig_count as u8);
            for sig in set.sig_datas() {
                value.extend_from_slice(&(sig.len() as u16).to_be_bytes());
                value.extend_from_slice(sig);
            }
        }
        value
    };
    let of_nodes = nodes.iter().map(|node| (node_key(node), row(&node.name, &mut node.rrsets.iter())));
    let of_links =
        links.iter().map(|link| (link_key(link), row(&link.owner, &mut std::iter::once(&link.rrset))));
    // A name with so many signatures that they fit no row is signed anew by a start.
    of_nodes.chain(of_links).filter(|(_, value)| !value.is_empty() && value.len() <= VALUE_OCTETS).collect()
}

fn read_row(mut rest: &[u8], earlier: &mut Earlier) -> Option<()> {
    while !rest.is_empty() {
        let (covered, tail) = rest.split_first_chunk()?;
        let (&count, mut tail) = tail.split_first()?;
        let mut sigs = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let (length, octets) = tail.split_first_chunk::<2>()?;
            let (sig, after) = octets.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            sigs.push(sig.to_vec());
            tail = after;
        }
        earlier.add(*covered, sigs);
        rest = tail;
    }
    Some(())
}

fn difference_key(number: u64, piece: u16) -> Vec<u8> {
    [&number.to_be_bytes()[..], &piece.to_be_bytes()].concat()
}

fn forget(edits: &mut IndexEdits, number: u64, pieces: u16) {
    (0..pieces).for_each(|piece| edits.delete(difference_key(number, piece)));
}

fn delta_octets(delta: &Delta) -> Vec<u8> {
    let mut out = Vec::new();
    for number in [delta.from, delta.to, delta.removed.len() as u32, delta.added.len() as u32] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    delta.removed.iter().chain(&delta.added).for_each(|record| push_record(&mut out, record));
    out
}

/// How many rows a difference takes; none when it is too large to be kept.
pub fn pieces_of(delta: &Delta) -> u16 {
    match delta.octets() > DELTA_OCTETS_MAX {
        true => 0,
        false => delta_octets(delta).len().div_ceil(VALUE_OCTETS) as u16,
    }
}

fn read_delta(octets: &[u8]) -> Option<Delta> {
    let number = |at: usize| octets.get(at..at + 4)?.first_chunk().map(|four| u32::from_be_bytes(*four));
    let (from, to, removed, added) = (number(0)?, number(4)?, number(8)?, number(12)?);
    let mut at = 16;
    let mut records = |count: u32| -> Option<Vec<Record>> {
        (0..count).map(|_| read_record(octets, &mut at, false).ok()).collect()
    };
    let (removed, added) = (records(removed)?, records(added)?);
    Some(Delta::new(from, to, removed, added))
}
