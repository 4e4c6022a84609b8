//! What each serial changed, for incremental transfers (RFC 1995): bounded, the oldest go first.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::derived::pieces_of;
use crate::limits::JOURNAL_OCTETS_MAX;
use crate::record::{Record, RecordType};
use crate::zone::{Node, Nsec3, Zone};

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

impl Delta {
    /// A difference.
    pub fn new(from: u32, to: u32, removed: Vec<Record>, added: Vec<Record>) -> Delta {
        let octets = removed.iter().chain(&added).map(|record| record.data.len() + 80).sum();
        Delta { from, to, removed, added, octets }
    }

    /// About how many octets it takes.
    pub fn octets(&self) -> usize {
        self.octets
    }
}

struct Entry {
    delta: Arc<Delta>,
    /// Its number in the table, and how many rows it takes there.
    number: u64,
    pieces: u16,
}

/// The latest differences, oldest first.
#[derive(Default)]
pub struct Journal {
    entries: VecDeque<Entry>,
    octets: usize,
    next: u64,
    held: Option<Arc<Zone>>,
    gap: bool,
}

/// A difference that was noted, for the table.
pub struct Noted {
    /// The difference; none when it says too little to be of use.
    pub delta: Option<Arc<Delta>>,
    /// Its number in the table.
    pub number: u64,
    /// Numbers and rows of those that went.
    pub dropped: Vec<(u64, u16)>,
}

impl Journal {
    /// A journal of the differences that lead without a gap to `serial`, and the numbers and rows of the others.
    pub fn leading_to(
        serial: u32,
        read: impl DoubleEndedIterator<Item = (u64, u16, Option<Delta>)>,
    ) -> (Journal, Vec<(u64, u16)>) {
        let (mut journal, mut lost, mut wanted) = (Journal::default(), Vec::new(), Some(serial));
        for (number, pieces, delta) in read.rev() {
            journal.next = journal.next.max(number + 1);
            match delta.filter(|delta| wanted == Some(delta.to)) {
                Some(delta) => {
                    wanted = Some(delta.from);
                    journal.octets += delta.octets;
                    journal.entries.push_front(Entry { delta: Arc::new(delta), number, pieces });
                }
                None => {
                    wanted = None;
                    lost.push((number, pieces));
                }
            }
        }
        (journal, lost)
    }

    /// Takes the next difference from this version on, not from the one that is worked on.
    pub fn hold(&mut self, old: Arc<Zone>) {
        self.held.get_or_insert(old);
    }

    /// The version that the next difference begins with.
    pub fn base(&self, working: &Arc<Zone>) -> Arc<Zone> {
        self.held.as_ref().unwrap_or(working).clone()
    }

    /// What is served is not what the last difference led to: the next one begins anew.
    pub fn gap(&mut self) {
        self.gap = true;
    }

    /// Notes a change from [`Journal::base`] on.
    pub fn note(&mut self, old: &Zone, new: &Zone, touched: &Touched) -> Noted {
        self.held = None;
        if std::mem::take(&mut self.gap) {
            let dropped = self.entries.iter().map(|entry| (entry.number, entry.pieces)).collect();
            self.clear();
            return Noted { delta: None, number: self.next, dropped };
        }
        let delta = Arc::new(difference(old, new, touched));
        let number = self.next;
        self.next += 1;
        self.octets += delta.octets;
        self.entries.push_back(Entry { delta: delta.clone(), number, pieces: pieces_of(&delta) });
        let mut dropped = Vec::new();
        while self.octets > JOURNAL_OCTETS_MAX {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.octets -= oldest.delta.octets;
            dropped.push((oldest.number, oldest.pieces));
        }
        Noted { delta: Some(delta), number, dropped }
    }

    /// Forgets all; the numbers go on.
    pub fn clear(&mut self) {
        *self = Journal { next: self.next, ..Journal::default() };
    }

    /// The differences from `serial` to `served`.
    pub fn since(&self, serial: u32, served: u32) -> Option<Vec<Arc<Delta>>> {
        let from = self.entries.iter().position(|entry| entry.delta.from == serial)?;
        let to = self.entries.iter().position(|entry| entry.delta.to == served)?;
        (from <= to).then(|| self.entries.range(from..=to).map(|entry| entry.delta.clone()).collect())
    }
}

/// Nodes and NSEC3 links of which only the older or only the newer of two versions has this form.
pub struct Touched {
    /// Nodes, before and after.
    pub nodes: (Vec<Arc<Node>>, Vec<Arc<Node>>),
    /// Links, before and after.
    pub links: (Vec<Arc<Nsec3>>, Vec<Arc<Nsec3>>),
}

impl Touched {
    /// What one version has and the other has not.
    pub fn between(old: &Zone, new: &Zone) -> Touched {
        Touched {
            nodes: old.order().changed(new.order()),
            links: old.nsec3_chain().changed(new.nsec3_chain()),
        }
    }
}

fn difference(old: &Zone, new: &Zone, touched: &Touched) -> Delta {
    let Touched { nodes: (gone, come), links: (links_gone, links_come) } = touched;
    let records = |zone: &Zone, nodes: &[Arc<Node>], links: &[Arc<Nsec3>]| -> Vec<Record> {
        let sets = nodes.iter().flat_map(|node| node.rrsets.iter().map(|set| (set, &node.name)));
        let all = sets.chain(links.iter().map(|link| (&link.rrset, &link.owner)));
        all.flat_map(|(set, owner)| set.records(owner, &zone.origin)).collect()
    };
    let (mut removed, mut added) = (records(old, gone, links_gone), records(new, come, links_come));
    let key = |record: &Record| (record.name.clone(), record.rtype, record.ttl, record.data.clone());
    let before: HashSet<_> = removed.iter().map(key).collect();
    let after: HashSet<_> = added.iter().map(key).collect();
    removed.retain(|record| !after.contains(&key(record)));
    added.retain(|record| !before.contains(&key(record)));
    for all in [&mut removed, &mut added] {
        all.sort_by_key(|record| record.rtype != RecordType::SOA);
    }
    Delta::new(old.serial(), new.serial(), removed, added)
}
