//! What each serial changed, for incremental transfers (RFC 1995): bounded, the oldest go first.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use crate::limits::JOURNAL_OCTETS_MAX;
use crate::record::{Record, RecordType};
use crate::zone::Zone;

/// The difference of two versions, signatures and denial included.
#[derive(Debug)]
pub struct Delta {
    /// The serial before.
    pub from: u32,
    /// The serial after.
    pub to: u32,
    /// Records that went, the old SOA first.
    pub removed: Vec<Record>,
    /// Records that came, the new SOA first.
    pub added: Vec<Record>,
    octets: usize,
}

/// The latest differences, oldest first.
#[derive(Default)]
pub struct Journal {
    deltas: VecDeque<Arc<Delta>>,
    octets: usize,
    held: Option<Arc<Zone>>,
}

impl Journal {
    /// Takes the next difference from this version on, not from the one that is worked on.
    pub fn hold(&mut self, old: Arc<Zone>) {
        self.held.get_or_insert(old);
    }

    /// Notes a change.
    pub fn note(&mut self, old: &Arc<Zone>, new: &Zone) {
        let old = self.held.take().unwrap_or_else(|| old.clone());
        let delta = difference(&old, new);
        self.octets += delta.octets;
        self.deltas.push_back(Arc::new(delta));
        while self.octets > JOURNAL_OCTETS_MAX {
            let Some(oldest) = self.deltas.pop_front() else { break };
            self.octets -= oldest.octets;
        }
    }

    /// The differences from `serial` to `served`.
    pub fn since(&self, serial: u32, served: u32) -> Option<Vec<Arc<Delta>>> {
        let from = self.deltas.iter().position(|delta| delta.from == serial)?;
        let to = self.deltas.iter().position(|delta| delta.to == served)?;
        (from <= to).then(|| self.deltas.range(from..=to).cloned().collect())
    }
}

fn difference(old: &Zone, new: &Zone) -> Delta {
    let (gone, come) = old.order().changed(new.order());
    let (links_gone, links_come) = old.nsec3_chain().changed(new.nsec3_chain());
    let records =
        |zone: &Zone, nodes: &[Arc<crate::zone::Node>], links: &[Arc<crate::zone::Nsec3>]| -> Vec<Record> {
            let sets = nodes.iter().flat_map(|node| node.rrsets.iter().map(|set| (set, &node.name)));
            let all = sets.chain(links.iter().map(|link| (&link.rrset, &link.owner)));
            all.flat_map(|(set, owner)| set.records(owner, &zone.origin)).collect()
        };
    let (mut removed, mut added) = (records(old, &gone, &links_gone), records(new, &come, &links_come));
    let key = |record: &Record| (record.name.clone(), record.rtype, record.ttl, record.data.clone());
    let before: HashSet<_> = removed.iter().map(key).collect();
    let after: HashSet<_> = added.iter().map(key).collect();
    removed.retain(|record| !after.contains(&key(record)));
    added.retain(|record| !before.contains(&key(record)));
    for all in [&mut removed, &mut added] {
        all.sort_by_key(|record| record.rtype != RecordType::SOA);
    }
    let octets = removed.iter().chain(&added).map(|record| record.data.len() + 80).sum();
    Delta { from: old.serial(), to: new.serial(), removed, added, octets }
}
