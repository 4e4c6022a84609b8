//! An RRset as it goes out: everything of its records but the owner, names compressed against the zone's origin.
//!
//! A question within the zone ends in the zone's origin, and the question stands at octet 12 of every answer. So a
//! name within the zone can always be written as its own labels and a pointer to the origin within the question; where
//! that pointer leads depends only on the length of the asked name. The places of those pointers are kept
//! (`patches`), and an answer is a copy and a few stores.

use crate::name::Name;
use crate::record::types::Field;
use crate::record::{CLASS_IN, Record, RecordType, data};

/// Records of one owner, class and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rrset {
    /// The type.
    pub rtype: RecordType,
    /// Seconds; one for all records (RFC 2181 section 5.2).
    pub ttl: u32,
    /// How many records.
    pub count: u16,
    /// For each record: type, class, TTL, length, data with origin pointers unset.
    body: Box<[u8]>,
    /// Offsets in `body` of pointers to the origin.
    patches: Box<[u16]>,
    /// How many RRSIGs.
    pub sig_count: u16,
    /// The RRSIGs as `body`, never compressed.
    sigs: Box<[u8]>,
}

const FIXED: usize = 10;

impl Rrset {
    /// An RRset of data in any order; the same data twice counts once (RFC 2181 section 5).
    pub fn new(origin: &Name, rtype: RecordType, ttl: u32, mut datas: Vec<Vec<u8>>) -> Rrset {
        datas.sort_by_cached_key(|one| data::canonical(rtype, one));
        datas.dedup_by(|one, other| data::same(rtype, one, other));
        let (mut body, mut patches) = (Vec::new(), Vec::new());
        for one in &datas {
            push_record(&mut body, &mut patches, origin, rtype, ttl, one);
        }
        Rrset {
            rtype,
            ttl,
            count: datas.len() as u16,
            body: body.into(),
            patches: patches.into(),
            sig_count: 0,
            sigs: Box::default(),
        }
    }

    /// The same with these RRSIG data.
    pub fn with_sigs(mut self, sigs: &[Vec<u8>]) -> Rrset {
        let mut body = Vec::new();
        for one in sigs {
            push_fixed(&mut body, RecordType::RRSIG, self.ttl, one.len());
            body.extend_from_slice(one);
        }
        (self.sig_count, self.sigs) = (sigs.len() as u16, body.into());
        self
    }

    /// The same with another TTL on the wire; the signatures' original TTL stays.
    pub fn with_ttl(mut self, ttl: u32) -> Rrset {
        for octets in [&mut self.body, &mut self.sigs] {
            let mut at = 0;
            while at < octets.len() {
                octets[at + 4..at + 8].copy_from_slice(&ttl.to_be_bytes());
                at += FIXED + length_at(octets, at);
            }
        }
        self.ttl = ttl;
        self
    }

    /// What follows the owner of each record on the wire.
    pub(crate) fn body(&self) -> (&[u8], &[u16]) {
        (&self.body, &self.patches)
    }

    /// What follows the owner of each RRSIG on the wire.
    pub(crate) fn sigs(&self) -> &[u8] {
        &self.sigs
    }

    /// The data of the RRSIGs.
    pub fn sig_datas(&self) -> impl Iterator<Item = &[u8]> {
        Pieces(&self.sigs).map(|piece| &piece[FIXED..])
    }

    /// The data of each record, uncompressed, in canonical order.
    pub fn datas<'a>(&'a self, origin: &'a Name) -> impl Iterator<Item = Vec<u8>> + 'a {
        let mut start = 0;
        Pieces(&self.body).map(move |piece| {
            let from = start + FIXED;
            let to = start + piece.len();
            start = to;
            self.expand(from, to, origin)
        })
    }

    fn expand(&self, from: usize, to: usize, origin: &Name) -> Vec<u8> {
        let (mut out, mut here) = (Vec::with_capacity(to - from + 32), from);
        for &patch in self.patches.iter().filter(|&&patch| (from..to).contains(&(patch as usize))) {
            out.extend_from_slice(&self.body[here..patch as usize]);
            out.extend_from_slice(origin.octets());
            here = patch as usize + 2;
        }
        out.extend_from_slice(&self.body[here..to]);
        out
    }

    /// The records without their RRSIGs.
    pub fn plain_records(&self, owner: &Name, origin: &Name) -> Vec<Record> {
        let one =
            |data| Record { name: owner.clone(), rtype: self.rtype, class: CLASS_IN, ttl: self.ttl, data };
        self.datas(origin).map(one).collect()
    }

    /// The records and their RRSIGs.
    pub fn records(&self, owner: &Name, origin: &Name) -> Vec<Record> {
        let mut all = self.plain_records(owner, origin);
        all.extend(self.sig_datas().map(|data| Record {
            name: owner.clone(),
            rtype: RecordType::RRSIG,
            class: CLASS_IN,
            ttl: self.ttl,
            data: data.to_vec(),
        }));
        all
    }
}

fn push_fixed(body: &mut Vec<u8>, rtype: RecordType, ttl: u32, length: usize) {
    body.extend_from_slice(&rtype.0.to_be_bytes());
    body.extend_from_slice(&CLASS_IN.to_be_bytes());
    body.extend_from_slice(&ttl.to_be_bytes());
    body.extend_from_slice(&(length as u16).to_be_bytes());
}

fn push_record(
    body: &mut Vec<u8>,
    patches: &mut Vec<u16>,
    origin: &Name,
    rtype: RecordType,
    ttl: u32,
    one: &[u8],
) {
    let start = body.len();
    push_fixed(body, rtype, ttl, 0);
    let mut here = 0;
    // Offsets are 16 bits: an RRset too big for that goes out uncompressed, which is right as well.
    let names = if start + one.len() < 60_000 { data::names(rtype, one) } else { Vec::new() };
    for (from, to, _) in names.into_iter().filter(|name| name.2 == Field::CompressibleName) {
        let name = Name::from_checked(&one[from..to]);
        // The root as origin is one octet: a pointer would be longer.
        let Some(prefix) = name.prefix_before(origin).filter(|_| !origin.is_root()) else { continue };
        body.extend_from_slice(&one[here..from]);
        body.extend_from_slice(prefix);
        patches.push(body.len() as u16);
        body.extend_from_slice(&[0, 0]);
        here = to;
    }
    body.extend_from_slice(&one[here..]);
    let length = (body.len() - start - FIXED) as u16;
    body[start + 8..start + FIXED].copy_from_slice(&length.to_be_bytes());
}

fn length_at(octets: &[u8], at: usize) -> usize {
    u16::from_be_bytes([octets[at + 8], octets[at + 9]]) as usize
}

/// The records of a body, one by one.
pub(crate) struct Pieces<'a>(pub &'a [u8]);

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let (piece, rest) = self.0.split_at(FIXED + length_at(self.0, 0));
        self.0 = rest;
        Some(piece)
    }
}
