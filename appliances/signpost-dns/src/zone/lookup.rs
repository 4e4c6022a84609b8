//! Finding a name: the algorithm of RFC 1034 section 4.3.2 with RFC 4592 (wildcards) and RFC 6672 (DNAME).

use std::sync::Arc;

use super::{Node, Zone};
use crate::limits::NAME_OCTETS_MAX;
use crate::record::RecordType;

/// What stands at a name.
pub enum Found<'a> {
    /// The name itself.
    Exact(&'a Arc<Node>),
    /// A delegation at or above the name.
    Cut(&'a Arc<Node>),
    /// A DNAME above the name.
    Dname(&'a Arc<Node>),
    /// The wildcard that stands for the name, and where in the name its closest encloser begins.
    Wildcard(&'a Arc<Node>, usize),
    /// Nothing; where in the name the closest encloser begins.
    Nothing(usize),
}

/// A lookup: what was found. Offsets count octets of the asked name.
pub struct Lookup<'a>(pub Found<'a>);

impl Zone {
    /// Looks up a lower-case wire name within the zone. A question for DS at a cut is answered by this side of it.
    pub fn lookup(&self, lower: &[u8], rtype: RecordType) -> Found<'_> {
        let apex_at = lower.len() - self.origin.octets().len();
        let mut starts = [0u8; 128];
        let (mut count, mut at) = (0, 0);
        while at < apex_at {
            starts[count] = at as u8;
            count += 1;
            at += 1 + lower[at] as usize;
        }
        let mut here = &self.apex;
        let mut encloser_at = apex_at;
        for (depth, &start) in starts[..count].iter().enumerate().rev() {
            if here.get(RecordType::DNAME).is_some() {
                return Found::Dname(here);
            }
            let Some(node) = self.node_lower(&lower[start as usize..]) else {
                return self.wildcard(lower, encloser_at);
            };
            if node.is_cut(&self.origin) && !(depth == 0 && rtype == RecordType::DS) {
                return Found::Cut(node);
            }
            here = node;
            encloser_at = start as usize;
        }
        Found::Exact(here)
    }

    fn wildcard(&self, lower: &[u8], encloser_at: usize) -> Found<'_> {
        let encloser = &lower[encloser_at..];
        if encloser.len() + 2 > NAME_OCTETS_MAX {
            return Found::Nothing(encloser_at);
        }
        let mut name = [0u8; NAME_OCTETS_MAX];
        name[0] = 1;
        name[1] = b'*';
        name[2..2 + encloser.len()].copy_from_slice(encloser);
        match self.node_lower(&name[..2 + encloser.len()]) {
            Some(node) => Found::Wildcard(node, encloser_at),
            None => Found::Nothing(encloser_at),
        }
    }
}
