//! Signatures that were made earlier, to be used again where they still fit: found by what they cover.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::key::{ZoneKey, expiration};
use crate::limits::SIGNATURE_RENEW_S;
use crate::name::Name;
use crate::record::data;
use crate::zone::Rrset;

/// Names what a signature covers: owner, type, TTL and data.
pub type Covered = [u8; 16];

/// What a signature of this RRset covers.
pub fn fingerprint(origin: &Name, owner: &Name, set: &Rrset) -> Covered {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(owner.lower().octets());
    context.update(&set.rtype.0.to_be_bytes());
    context.update(&set.ttl.to_be_bytes());
    for one in set.datas(origin) {
        let canonical = data::canonical(set.rtype, &one);
        context.update(&(canonical.len() as u16).to_be_bytes());
        context.update(&canonical);
    }
    *context.finish().as_ref().first_chunk().unwrap_or(&[0; 16])
}

/// See the module.
#[derive(Debug, Default)]
pub struct Earlier {
    sigs: HashMap<Covered, Vec<Vec<u8>>>,
    missed: AtomicUsize,
}

impl Earlier {
    /// Adds the RRSIG data that cover an RRset.
    pub fn add(&mut self, covered: Covered, sigs: Vec<Vec<u8>>) {
        self.sigs.insert(covered, sigs);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sigs.is_empty()
    }

    /// How often there was nothing that fitted.
    pub fn missed(&self) -> usize {
        self.missed.load(Ordering::Relaxed)
    }

    /// The signatures of an RRset, when they are those of these keys and do not end soon.
    pub fn find(
        &self,
        origin: &Name,
        owner: &Name,
        set: &Rrset,
        keys: &[Arc<ZoneKey>],
        now: u32,
    ) -> Option<&[Vec<u8>]> {
        let of_key = |sig: &Vec<u8>, key: &ZoneKey| {
            sig.get(2) == Some(&key.algorithm.number()) && sig.get(16..18) == Some(&key.tag.to_be_bytes()[..])
        };
        let lasts =
            |sig: &Vec<u8>| expiration(sig).wrapping_sub(now.wrapping_add(SIGNATURE_RENEW_S)) as i32 > 0;
        let found = self.sigs.get(&fingerprint(origin, owner, set)).filter(|sigs| {
            sigs.len() == keys.len() && sigs.iter().zip(keys).all(|(sig, key)| of_key(sig, key) && lasts(sig))
        });
        if found.is_none() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
        found.map(Vec::as_slice)
    }
}
