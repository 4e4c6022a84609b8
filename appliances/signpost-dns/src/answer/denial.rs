//! Proofs that something is not there: NSEC (RFC 4035 section 3.1.3) and NSEC3 (RFC 5155 section 7.2).

use super::writer::{Owner, Section, Writer};
use crate::name::order_key;
use crate::record::RecordType;
use crate::zone::{Denial, Keyed, Node, Nsec3, Zone};

/// A proof being written; a record that was written already is not written again.
pub struct Proof<'z, 'w, 'o> {
    zone: &'z Zone,
    writer: &'w mut Writer<'o>,
    written: Vec<*const ()>,
}

impl<'z, 'w, 'o> Proof<'z, 'w, 'o> {
    /// Begins a proof.
    pub fn new(zone: &'z Zone, writer: &'w mut Writer<'o>) -> Proof<'z, 'w, 'o> {
        Proof { zone, writer, written: Vec::with_capacity(3) }
    }

    /// That the name does not exist and no wildcard stands for it.
    pub fn no_name(&mut self, lower: &[u8], encloser_at: usize) {
        let wildcard = [&b"\x01*"[..], &lower[encloser_at..]].concat();
        if self.zone.denial == Denial::Nsec {
            self.nsec_covering(lower);
            self.nsec_covering(&wildcard);
        } else {
            self.nsec3_matching(&lower[encloser_at..]);
            self.nsec3_covering(&lower[closer_at(lower, encloser_at)..]);
            self.nsec3_covering(&wildcard);
        }
    }

    /// That no name closer than the wildcard's exists (the answer came from the wildcard).
    pub fn no_closer_name(&mut self, lower: &[u8], encloser_at: usize) {
        if self.zone.denial == Denial::Nsec {
            self.nsec_covering(lower);
        } else {
            self.nsec3_covering(&lower[closer_at(lower, encloser_at)..]);
        }
    }

    /// That the node, or the wildcard standing for the name, has not this type.
    pub fn no_type(&mut self, node: &'z Node, lower: &[u8], wildcard_at: Option<usize>) {
        if self.zone.denial == Denial::Nsec {
            match node.get(RecordType::NSEC) {
                Some(_) => self.nsec_of(node),
                None => self.nsec_covering(node.name.lower().octets()),
            }
            if wildcard_at.is_some() {
                self.nsec_covering(lower);
            }
            return;
        }
        if let Some(at) = wildcard_at {
            self.nsec3_matching(&lower[at..]);
            self.nsec3_covering(&lower[closer_at(lower, at)..]);
        }
        self.nsec3_matching(node.name.lower().octets());
    }

    /// That the delegation is not signed.
    pub fn no_digest(&mut self, cut: &'z Node) {
        if self.zone.denial == Denial::Nsec {
            self.nsec_of(cut);
        } else {
            self.nsec3_matching(cut.name.lower().octets());
        }
    }

    fn nsec_of(&mut self, node: &'z Node) {
        let place = std::ptr::from_ref(node).cast();
        if let Some(set) = node.get(RecordType::NSEC).filter(|_| !self.written.contains(&place)) {
            self.written.push(place);
            self.writer.set(Section::Authority, Owner::Name(&node.name), set, true);
        }
    }

    /// The NSEC of the nearest name before: nodes without one (glue, empty non-terminals) are passed over.
    fn nsec_covering(&mut self, lower: &[u8]) {
        let key = order_key(lower);
        let zone = self.zone;
        if let Some(node) = zone.order().before(&key).find(|node| node.get(RecordType::NSEC).is_some()) {
            self.nsec_of(node);
        }
    }

    fn nsec3_matching(&mut self, lower: &[u8]) {
        let found = self.zone.nsec3_chain().get(&nsec3_hash(lower));
        self.nsec3(found.map(|one| &**one));
    }

    fn nsec3_covering(&mut self, lower: &[u8]) {
        let chain = self.zone.nsec3_chain();
        let found = chain.before(&nsec3_hash(lower)).next().or(chain.last());
        self.nsec3(found.map(|one| &**one));
    }

    fn nsec3(&mut self, link: Option<&'z Nsec3>) {
        let Some(link) = link else { return };
        let place = link.key().as_ptr().cast();
        if !self.written.contains(&place) {
            self.written.push(place);
            self.writer.set(Section::Authority, Owner::Name(&link.owner), &link.rrset, true);
        }
    }
}

/// Where the next closer name begins: one label longer than the closest encloser (RFC 5155 section 1.3).
fn closer_at(lower: &[u8], encloser_at: usize) -> usize {
    let (mut at, mut last) = (0, 0);
    while at < encloser_at {
        last = at;
        at += 1 + lower[at] as usize;
    }
    last
}

/// The NSEC3 hash of a lower-case wire name: SHA-1, no iterations, no salt (RFC 5155 section 5, RFC 9276).
pub fn nsec3_hash(lower: &[u8]) -> [u8; 20] {
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, lower);
    *digest.as_ref().first_chunk().unwrap_or(&[0; 20])
}
