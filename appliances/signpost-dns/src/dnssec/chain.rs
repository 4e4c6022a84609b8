//! Signing a zone whole, and what a change touched: signatures, NSEC and NSEC3.

use std::collections::BTreeMap;
use std::sync::Arc;

use data_encoding::BASE32HEX_NOPAD;

use super::earlier::Earlier;
use super::key::{ZoneKey, expiration, is_key_material};
use crate::answer::nsec3_hash;
use crate::limits::{SIGNATURE_BACKDATE_S, SIGNATURE_JITTER_S, SIGNATURE_RENEW_S, SIGNATURE_VALIDITY_S};
use crate::name::Name;
use crate::record::{RecordType, data};
use crate::zone::{Denial, Node, Nsec3, Rrset, Sorted, Zone, hash_octets};
use crate::zonefile::soa_minimum;

/// Flags, iterations and salt of every chain here: none (RFC 9276 section 3.1).
const NSEC3_HEAD: [u8; 5] = [1, 0, 0, 0, 0];

/// All that signs a zone at one moment.
#[derive(Clone)]
pub struct Signer {
    /// Keys whose DNSKEY is in the zone, whether they sign or not.
    pub published: Vec<Arc<ZoneKey>>,
    /// Keys that sign the keys.
    pub key_signing: Vec<Arc<ZoneKey>>,
    /// Keys that sign the rest.
    pub zone_signing: Vec<Arc<ZoneKey>>,
    /// Keys that the parent is asked to trust (RFC 7344); none: nothing is asked.
    pub asked_of_parent: Vec<Arc<ZoneKey>>,
    /// How absence is proven.
    pub denial: Denial,
    /// TTL of DNSKEY, CDS and CDNSKEY.
    pub key_ttl: u32,
    /// The parent is asked to take its DS away instead (RFC 8078 section 4).
    pub leaving: bool,
    /// Signatures to be used again where they fit; none: all are made.
    pub earlier: Arc<Earlier>,
}

impl Signer {
    /// The RRsets of the apex that the signer itself keeps.
    pub fn key_sets(&self, origin: &Name) -> Vec<(RecordType, Option<Rrset>)> {
        let set = |rtype: RecordType, datas: Vec<Vec<u8>>| {
            let wanted = !datas.is_empty();
            (rtype, wanted.then(|| Rrset::new(origin, rtype, self.key_ttl, datas)))
        };
        let keys = |all: &[Arc<ZoneKey>]| all.iter().map(|key| key.dnskey()).collect::<Vec<_>>();
        let (cdnskey, cds) = match self.leaving {
            true => (vec![vec![0, 0, 3, 0, 0]], vec![vec![0, 0, 0, 0, 0]]),
            false => {
                let asked = &self.asked_of_parent;
                (keys(asked), asked.iter().map(|key| key.ds(origin)).collect())
            }
        };
        let param = if self.denial == Denial::Nsec3 { vec![NSEC3_HEAD.to_vec()] } else { Vec::new() };
        vec![
            set(RecordType::DNSKEY, keys(&self.published)),
            set(RecordType::CDNSKEY, cdnskey),
            set(RecordType::CDS, cds),
            // Its TTL is 0 by custom: only servers read it.
            (RecordType::NSEC3PARAM, set(RecordType::NSEC3PARAM, param).1.map(|set| set.with_ttl(0))),
        ]
    }

    fn sign(&self, origin: &Name, owner: &Name, set: Rrset, now: u32) -> Rrset {
        let keys = if is_key_material(set.rtype) && owner == origin {
            &self.key_signing
        } else {
            &self.zone_signing
        };
        if !self.earlier.is_empty()
            && let Some(sigs) = self.earlier.find(origin, owner, &set, keys, now)
        {
            return set.with_sigs(sigs);
        }
        let jitter = (hash_octets(owner.lower().octets()) % u64::from(SIGNATURE_JITTER_S)) as u32;
        let (from, to) =
            (now.wrapping_sub(SIGNATURE_BACKDATE_S), now.wrapping_add(SIGNATURE_VALIDITY_S - jitter));
        let sigs: Vec<Vec<u8>> = keys.iter().map(|key| key.rrsig(origin, owner, &set, from, to)).collect();
        set.with_sigs(&sigs)
    }

    /// Signs a whole zone anew, on all cores.
    pub fn sign_all(&self, zone: &Zone, now: u32) -> Zone {
        let mut zone = zone.clone();
        for (rtype, set) in self.key_sets(&zone.origin.clone()) {
            zone.set(&zone.origin.clone(), rtype, set);
        }
        zone.set_denial(self.denial, Sorted::default());
        let nodes: Vec<Arc<Node>> = zone.nodes().cloned().collect();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let piece = nodes.len().div_ceil(threads).max(1);
        let signed: Vec<Vec<Node>> = std::thread::scope(|scope| {
            let (zone, nodes) = (&zone, &nodes);
            let work = |from: usize| {
                move || self.sign_nodes(zone, &nodes[from..(from + piece).min(nodes.len())], now)
            };
            let threads: Vec<_> =
                (0..nodes.len()).step_by(piece).map(|from| scope.spawn(work(from))).collect();
            threads.into_iter().map(|one| one.join().unwrap_or_default()).collect()
        });
        for node in signed.into_iter().flatten() {
            zone.replace(node);
        }
        if self.denial == Denial::Nsec3 {
            let chain = self.nsec3_all(&zone, now);
            zone.set_denial(Denial::Nsec3, chain);
        }
        zone
    }

    fn sign_nodes(&self, zone: &Zone, nodes: &[Arc<Node>], now: u32) -> Vec<Node> {
        let mut out = Vec::with_capacity(nodes.len());
        for node in nodes.iter().filter(|node| !node.rrsets.is_empty()) {
            let mut new = (**node).clone();
            new.rrsets.retain(|set| set.rtype != RecordType::NSEC);
            if let Some(nsec) = self.nsec_for(zone, &new) {
                let at = new.rrsets.partition_point(|set| set.rtype < RecordType::NSEC);
                new.rrsets.insert(at, nsec);
            }
            let standing = Standing::of(zone, &new);
            let sets = std::mem::take(&mut new.rrsets);
            new.rrsets = sets
                .into_iter()
                .map(|set| self.settle(zone, &new.name, set.with_sigs(&[]), standing, now))
                .collect();
            out.push(new);
        }
        out
    }

    /// An RRset as it must be at its place: signed when it is the zone's own word.
    fn settle(&self, zone: &Zone, owner: &Name, set: Rrset, standing: Standing, now: u32) -> Rrset {
        let own = match standing {
            Standing::Own => true,
            Standing::Cut => matches!(set.rtype, RecordType::DS | RecordType::NSEC),
            Standing::Beyond => false,
        };
        match (own, set.sig_count) {
            (true, 0) => self.sign(&zone.origin, owner, set, now),
            (false, 1..) => set.with_sigs(&[]),
            _ => set,
        }
    }

    fn negative_ttl(zone: &Zone) -> u32 {
        zone.soa().ttl.min(soa_minimum(&zone.soa_data()).unwrap_or(0))
    }

    /// The NSEC that a node must have, unsigned.
    fn nsec_for(&self, zone: &Zone, node: &Node) -> Option<Rrset> {
        let has_own = node.rrsets.iter().any(|set| set.rtype != RecordType::NSEC);
        if self.denial != Denial::Nsec || !has_own || Standing::of(zone, node) == Standing::Beyond {
            return None;
        }
        let owns = |next: &&Arc<Node>| {
            next.rrsets.iter().any(|set| set.rtype != RecordType::NSEC)
                && Standing::of(zone, next) != Standing::Beyond
        };
        let next = zone.order().after(&node.key).find(owns).map_or(&zone.origin, |next| &next.name);
        let types = self.types_of(zone, node).into_iter().chain([RecordType::RRSIG, RecordType::NSEC]);
        let octets = [next.octets(), &data::bitmap(types)].concat();
        Some(Rrset::new(&zone.origin, RecordType::NSEC, Signer::negative_ttl(zone), vec![octets]))
    }

    /// The types of a node that a bit map lists: at a cut only what this side of it says.
    fn types_of(&self, zone: &Zone, node: &Node) -> Vec<RecordType> {
        let cut = Standing::of(zone, node) == Standing::Cut;
        let listed = |rtype: RecordType| !cut || matches!(rtype, RecordType::NS | RecordType::DS);
        let types = node.rrsets.iter().map(|set| set.rtype).filter(|&rtype| rtype != RecordType::NSEC);
        types.filter(|&rtype| listed(rtype)).collect()
    }

    fn nsec3_types(&self, zone: &Zone, node: &Node) -> Vec<u8> {
        let mut types = self.types_of(zone, node);
        let signed = match Standing::of(zone, node) {
            Standing::Cut => types.contains(&RecordType::DS),
            _ => !types.is_empty(),
        };
        if signed {
            types.push(RecordType::RRSIG);
        }
        data::bitmap(types)
    }

    fn nsec3_all(&self, zone: &Zone, now: u32) -> Sorted<Nsec3> {
        let mut hashed: BTreeMap<[u8; 20], &Arc<Node>> = BTreeMap::new();
        for node in zone.nodes().filter(|node| Signer::in_nsec3(zone, node)) {
            hashed.insert(nsec3_hash(node.name.lower().octets()), node);
        }
        let hashes: Vec<[u8; 20]> = hashed.keys().copied().collect();
        let links: Vec<(usize, &Arc<Node>)> = hashed.values().copied().enumerate().collect();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let piece = links.len().div_ceil(threads).max(1);
        let made: Vec<Vec<Arc<Nsec3>>> = std::thread::scope(|scope| {
            let hashes = &hashes;
            let work = |part: Vec<(usize, &Arc<Node>)>| {
                let link = |(at, node): (usize, &Arc<Node>)| {
                    let next = hashes[(at + 1) % hashes.len()];
                    Arc::new(self.nsec3_link(zone, hashes[at], next, &self.nsec3_types(zone, node), now))
                };
                part.into_iter().map(link).collect::<Vec<_>>()
            };
            let threads: Vec<_> = links
                .chunks(piece)
                .map(|part| {
                    let part = part.to_vec();
                    scope.spawn(move || work(part))
                })
                .collect();
            threads.into_iter().map(|one| one.join().unwrap_or_default()).collect()
        });
        Sorted::from_sorted(made.into_iter().flatten().collect())
    }

    fn in_nsec3(zone: &Zone, node: &Node) -> bool {
        Standing::of(zone, node) != Standing::Beyond
    }

    fn nsec3_link(&self, zone: &Zone, hash: [u8; 20], next: [u8; 20], types: &[u8], now: u32) -> Nsec3 {
        let label = BASE32HEX_NOPAD.encode(&hash).to_ascii_lowercase();
        let prefix = [&[32], label.as_bytes()].concat();
        // A zone whose name is too long for this label cannot be signed with NSEC3; its import was refused.
        let owner = Name::join(&prefix, &zone.origin).unwrap_or_else(|_| zone.origin.clone());
        let octets = [&NSEC3_HEAD[..], &[20], &next, types].concat();
        let set = Rrset::new(&zone.origin, RecordType::NSEC3, Signer::negative_ttl(zone), vec![octets]);
        Nsec3 { hash, rrset: self.sign(&zone.origin, &owner, set, now), owner }
    }

    /// Signs what changes of these names touched: their own sets, all below where a delegation or DNAME came or went,
    /// and the neighbours' proofs.
    pub fn sign_touched(&self, zone: &mut Zone, touched: &[(Name, RecordType)], now: u32) {
        let mut names: BTreeMap<Box<[u8]>, Name> = BTreeMap::new();
        for (name, rtype) in touched {
            let key = name.order_key();
            if *name != zone.origin && matches!(*rtype, RecordType::NS | RecordType::DNAME) {
                let below = zone.order().after(&key).take_while(|node| node.key.starts_with(&key));
                names.extend(below.map(|node| (node.key.clone(), node.name.clone())));
            }
            // Empty non-terminals above may have come or gone with it.
            let mut above = Some(name.clone());
            while let Some(one) = above.filter(|one| one.octets().len() >= zone.origin.octets().len()) {
                above = one.parent();
                names.insert(one.order_key(), one);
            }
        }
        for name in names.values() {
            self.sign_name(zone, name, now);
        }
        match self.denial {
            Denial::Nsec => names.values().for_each(|name| self.link_nsec(zone, name, now)),
            Denial::Nsec3 => names.values().for_each(|name| self.link_nsec3(zone, name, now)),
            Denial::Unsigned => {}
        }
    }

    fn sign_name(&self, zone: &mut Zone, name: &Name, now: u32) {
        let Some(node) = zone.node(name).cloned() else { return };
        let standing = Standing::of(zone, &node);
        let mut new = (*node).clone();
        let sets = std::mem::take(&mut new.rrsets);
        new.rrsets = sets.into_iter().map(|set| self.settle(zone, &node.name, set, standing, now)).collect();
        if new.rrsets.iter().zip(&node.rrsets).any(|(new, old)| new.sig_count != old.sig_count) {
            zone.replace(new);
        }
    }

    fn link_nsec(&self, zone: &mut Zone, name: &Name, now: u32) {
        let key = name.order_key();
        let before = zone.order().before(&key).find(|node| node.get(RecordType::NSEC).is_some()).cloned();
        let last = zone.order().iter().next().cloned();
        let own = zone.node(name).cloned();
        for node in [own, before.or(last)].into_iter().flatten() {
            let wanted = self.nsec_for(zone, &node);
            let there = node.get(RecordType::NSEC);
            let same = match (&wanted, there) {
                (Some(wanted), Some(there)) => wanted.body() == there.body() && there.sig_count > 0,
                (None, None) => true,
                _ => false,
            };
            if !same {
                let signed = wanted.map(|set| self.sign(&zone.origin.clone(), &node.name, set, now));
                zone.set(&node.name, RecordType::NSEC, signed);
            }
        }
    }

    fn link_nsec3(&self, zone: &mut Zone, name: &Name, now: u32) {
        let hash = nsec3_hash(name.lower().octets());
        let node = zone.node(name).filter(|node| Signer::in_nsec3(zone, node)).cloned();
        let chain = zone.nsec3_chain();
        let there = chain.get(&hash).cloned();
        let after = chain.after(&hash).next().or(chain.iter().next()).map_or(hash, |link| link.hash);
        let before = chain.before(&hash).next().or(chain.last()).filter(|link| link.hash != hash).cloned();
        let origin = zone.origin.clone();
        let next_of = |link: &Nsec3| {
            let data = link.rrset.datas(&origin).next()?;
            data.get(6..26)?.first_chunk::<20>().copied()
        };
        match (&node, &there) {
            (Some(node), there) => {
                let types = self.nsec3_types(zone, node);
                let wanted = [&NSEC3_HEAD[..], &[20], &after, &types].concat();
                if there.as_ref().and_then(|link| link.rrset.datas(&zone.origin).next()) != Some(wanted) {
                    let link = self.nsec3_link(zone, hash, after, &types, now);
                    zone.nsec3_mut().put(Arc::new(link));
                }
            }
            (None, Some(_)) => zone.nsec3_mut().remove(&hash),
            (None, None) => return,
        }
        let Some(before) = before else { return };
        let next = if node.is_some() { hash } else { after };
        if next_of(&before) != Some(next) {
            let data = before.rrset.datas(&zone.origin).next().unwrap_or_default();
            let link = self.nsec3_link(zone, before.hash, next, data.get(26..).unwrap_or_default(), now);
            zone.nsec3_mut().put(Arc::new(link));
        }
    }

    /// Takes away the signatures that end soon, up to `at_most` names, and makes new ones; gives how many names it
    /// touched. The caller counts the serial up and signs the SOA.
    pub fn renew(&self, zone: &mut Zone, now: u32, at_most: usize) -> usize {
        let soon = now.wrapping_add(SIGNATURE_RENEW_S);
        let ends = |set: &Rrset| set.sig_datas().any(|sig| (expiration(sig).wrapping_sub(soon) as i32) < 0);
        let due: Vec<Arc<Node>> =
            zone.nodes().filter(|node| node.rrsets.iter().any(ends)).take(at_most).cloned().collect();
        for node in &due {
            let mut new = (**node).clone();
            new.rrsets =
                new.rrsets.into_iter().map(|set| if ends(&set) { set.with_sigs(&[]) } else { set }).collect();
            zone.replace(new);
            self.sign_name(zone, &node.name, now);
        }
        let links: Vec<Arc<Nsec3>> =
            zone.nsec3_chain().iter().filter(|link| ends(&link.rrset)).take(at_most).cloned().collect();
        for link in &links {
            let set = self.sign(&zone.origin.clone(), &link.owner, link.rrset.clone().with_sigs(&[]), now);
            zone.nsec3_mut().put(Arc::new(Nsec3 { rrset: set, ..(**link).clone() }));
        }
        due.len() + links.len()
    }
}

/// Where a node stands to the zone's cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The zone's own word.
    Own,
    /// A delegation: NS of the child, DS of ours.
    Cut,
    /// Below a delegation or a DNAME: glue.
    Beyond,
}

impl Standing {
    fn of(zone: &Zone, node: &Node) -> Standing {
        let apex = zone.origin.octets().len();
        let mut above = node.name.octets();
        if above.len() > apex {
            above = &above[1 + above[0] as usize..];
        }
        while above.len() > apex {
            let lower = above.to_ascii_lowercase();
            if zone
                .node_lower(&lower)
                .is_some_and(|one| one.is_cut(&zone.origin) || one.get(RecordType::DNAME).is_some())
            {
                return Standing::Beyond;
            }
            above = &above[1 + above[0] as usize..];
        }
        if node.is_cut(&zone.origin) { Standing::Cut } else { Standing::Own }
    }
}

#[cfg(test)]
mod tests;
