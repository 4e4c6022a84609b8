//! A zone compiled for answering: immutable, cheap to copy, changed by copying what a change touches.

mod edit;
mod lookup;
mod persistent;
mod rrset;

pub use edit::ZoneFault;
pub use lookup::{Found, Lookup};
pub use persistent::{Hashed, Keyed, Sorted, hash_octets};
pub use rrset::Rrset;

use std::sync::Arc;

use crate::name::Name;
use crate::record::{CLASS_IN, Record, RecordType};

/// All that one owner name has. A node without RRsets is an empty non-terminal.
#[derive(Debug, Clone)]
pub struct Node {
    /// The owner as first written.
    pub name: Name,
    /// [`Name::order_key`] of it.
    pub key: Box<[u8]>,
    /// Sorted by type; the NSEC that the signer made is among them.
    pub rrsets: Vec<Rrset>,
}

impl Node {
    /// An empty node.
    pub fn new(name: Name) -> Node {
        Node { key: name.order_key(), name, rrsets: Vec::new() }
    }

    /// The RRset of a type.
    pub fn get(&self, rtype: RecordType) -> Option<&Rrset> {
        match &self.rrsets[..] {
            [one] => (one.rtype == rtype).then_some(one),
            all => all.binary_search_by_key(&rtype, |one| one.rtype).ok().map(|at| &all[at]),
        }
    }

    /// Whether the zone's own data ends here (RFC 1034 section 4.2.1): NS below the apex.
    pub fn is_cut(&self, origin: &Name) -> bool {
        self.get(RecordType::NS).is_some() && self.name.octets().len() != origin.octets().len()
    }
}

impl Keyed for Node {
    fn key(&self) -> &[u8] {
        &self.key
    }
}

/// One link of an NSEC3 chain.
#[derive(Debug, Clone)]
pub struct Nsec3 {
    /// The hash of the owner that it stands for.
    pub hash: [u8; 20],
    /// Its own owner name.
    pub owner: Name,
    /// The one NSEC3 record.
    pub rrset: Rrset,
}

impl Keyed for Nsec3 {
    fn key(&self) -> &[u8] {
        &self.hash
    }
}

/// How the zone proves that something is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// The zone is not signed.
    Unsigned,
    /// NSEC (RFC 4034).
    Nsec,
    /// NSEC3 with SHA-1, no iterations, no salt (RFC 5155, RFC 9276).
    Nsec3,
}

/// A zone.
#[derive(Debug, Clone)]
pub struct Zone {
    /// Its name.
    pub origin: Name,
    /// How absence is proven.
    pub denial: Denial,
    nodes: Hashed<Node>,
    order: Sorted<Node>,
    nsec3: Sorted<Nsec3>,
    /// The SOA as negative answers carry it (RFC 2308 section 3: TTL is the lower of the SOA's own and its minimum).
    negative_soa: Rrset,
    apex: Arc<Node>,
}

impl Zone {
    /// The apex node.
    pub fn apex(&self) -> &Arc<Node> {
        &self.apex
    }

    /// The SOA's RRset.
    pub fn soa(&self) -> &Rrset {
        self.apex.get(RecordType::SOA).unwrap_or(&self.negative_soa)
    }

    /// The SOA as it stands in negative answers.
    pub fn negative_soa(&self) -> &Rrset {
        &self.negative_soa
    }

    /// The serial (RFC 1982 arithmetic applies).
    pub fn serial(&self) -> u32 {
        soa_serial(&self.soa_data()).unwrap_or(0)
    }

    /// The SOA's data, uncompressed.
    pub fn soa_data(&self) -> Vec<u8> {
        self.soa().datas(&self.origin).next().unwrap_or_default()
    }

    /// All nodes in canonical order.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.order.iter()
    }

    /// How many owner names, empty non-terminals counted.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Never: a zone has its apex.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The NSEC3 chain in hash order.
    pub fn nsec3_chain(&self) -> &Sorted<Nsec3> {
        &self.nsec3
    }

    /// The nodes in canonical order, to search in.
    pub fn order(&self) -> &Sorted<Node> {
        &self.order
    }

    /// All records with signatures and denial, the SOA first: what a transfer carries.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let soa = self.soa().records(&self.apex.name, &self.origin);
        let rest = self.order.iter().flat_map(move |node| {
            node.rrsets
                .iter()
                .filter(|set| set.rtype != RecordType::SOA)
                .flat_map(|set| set.records(&node.name, &self.origin))
        });
        let denial = self.nsec3.iter().flat_map(|one| one.rrset.records(&one.owner, &self.origin));
        soa.into_iter().chain(rest).chain(denial)
    }

    /// The records that people and updates made: no signatures, no denial.
    pub fn plain_records(&self) -> impl Iterator<Item = Record> + '_ {
        self.order.iter().flat_map(move |node| {
            let made = node.rrsets.iter().filter(|set| !set.rtype.is_made_by_signer());
            made.flat_map(|set| set.plain_records(&node.name, &self.origin))
        })
    }
}

/// The serial in a SOA's data: after its two names.
pub fn soa_serial(data: &[u8]) -> Option<u32> {
    data.get(data.len().checked_sub(20)?..)?.first_chunk().map(|octets| u32::from_be_bytes(*octets))
}

/// The SOA's data with another serial.
pub fn with_serial(data: &[u8], serial: u32) -> Vec<u8> {
    let mut same = data.to_vec();
    let at = same.len().saturating_sub(20);
    if same.len() >= 22 {
        same[at..at + 4].copy_from_slice(&serial.to_be_bytes());
    }
    same
}

/// Whether serial `new` is after `old` (RFC 1982 section 3.2).
pub fn serial_is_after(new: u32, old: u32) -> bool {
    new != old && new.wrapping_sub(old) < 0x8000_0000
}

/// A record for this zone made in code.
pub fn record(name: &Name, rtype: RecordType, ttl: u32, data: Vec<u8>) -> Record {
    Record { name: name.clone(), rtype, class: CLASS_IN, ttl, data }
}

#[cfg(test)]
mod tests;
