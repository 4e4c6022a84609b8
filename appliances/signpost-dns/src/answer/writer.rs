//! A reply being written: counts, truncation at whole RRsets, owners as pointers.

use crate::name::Name;
use crate::query::Query;
use crate::zone::Rrset;

/// A section of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Answers.
    Answer,
    /// Authority.
    Authority,
    /// Additional.
    Additional,
}

/// How an owner is written.
#[derive(Debug, Clone, Copy)]
pub enum Owner<'a> {
    /// A pointer to this octet of the reply.
    At(u16),
    /// The zone's origin.
    Origin,
    /// A name within the zone: its own labels, then a pointer to the origin.
    Name(&'a Name),
}

/// A reply being written.
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    limit: usize,
    counts: [u16; 3],
    origin_pointer: u16,
    /// The zone's origin.
    pub origin: &'a Name,
    /// The AA bit.
    pub authoritative: bool,
    /// The TC bit: something needed did not fit.
    pub truncated: bool,
}

impl<'a> Writer<'a> {
    /// Begins a reply: the header is left open, the question copied. `limit` is what the reply may grow to.
    pub fn new(out: &'a mut Vec<u8>, query: &Query<'_>, origin: &'a Name, limit: usize) -> Writer<'a> {
        out.clear();
        out.extend_from_slice(&query.message[..query.question_end]);
        let origin_at = 12 + query.lower().len().saturating_sub(origin.octets().len());
        Writer {
            out,
            limit,
            counts: [0; 3],
            origin_pointer: 0xC000 | origin_at as u16,
            origin,
            authoritative: false,
            truncated: false,
        }
    }

    /// Writes an RRset and, when wanted, its RRSIGs, or nothing and notes the truncation. Gives the place of the first
    /// record's data.
    #[inline]
    pub fn set(&mut self, section: Section, owner: Owner<'_>, set: &Rrset, sigs: bool) -> Option<usize> {
        let (body, patches) = set.body();
        let sig_body = if sigs { set.sigs() } else { &[] };
        let (mut wire, owner) = self.owner(owner);
        let records = usize::from(set.count) + if sigs { usize::from(set.sig_count) } else { 0 };
        let start = self.out.len();
        if self.truncated || start + body.len() + sig_body.len() + records * owner > self.limit {
            self.truncated = true;
            return None;
        }
        self.counts[section as usize] += records as u16;
        if set.count == 1 {
            self.out.extend_from_slice(&wire[..owner]);
            let base = self.out.len();
            self.out.extend_from_slice(body);
            for &patch in patches {
                let at = base + patch as usize;
                self.out[at..at + 2].copy_from_slice(&self.origin_pointer.to_be_bytes());
            }
        } else {
            self.several(&wire[..owner], body, patches);
        }
        if !sig_body.is_empty() {
            // The owner again: a pointer to the first one is shorter.
            if owner > 2 && start < 0x3FFF {
                wire[..2].copy_from_slice(&(0xC000 | start as u16).to_be_bytes());
                self.several(&wire[..2], sig_body, &[]);
            } else {
                self.several(&wire[..owner], sig_body, &[]);
            }
        }
        Some(start + owner + 10)
    }

    /// Writes the RRSIGs of an RRset alone.
    pub fn sigs(&mut self, section: Section, owner: Owner<'_>, set: &Rrset) {
        let (wire, owner) = self.owner(owner);
        if self.truncated
            || self.out.len() + set.sigs().len() + usize::from(set.sig_count) * owner > self.limit
        {
            self.truncated = true;
            return;
        }
        self.counts[section as usize] += set.sig_count;
        self.several(&wire[..owner], set.sigs(), &[]);
    }

    fn several(&mut self, owner: &[u8], body: &[u8], patches: &[u16]) {
        let (mut from, mut patches) = (0, patches.iter().peekable());
        while from < body.len() {
            let to = from + 10 + u16::from_be_bytes([body[from + 8], body[from + 9]]) as usize;
            self.out.extend_from_slice(owner);
            let base = self.out.len();
            self.out.extend_from_slice(&body[from..to]);
            while let Some(&patch) = patches.next_if(|&&patch| usize::from(patch) < to) {
                let at = base + usize::from(patch) - from;
                self.out[at..at + 2].copy_from_slice(&self.origin_pointer.to_be_bytes());
            }
            from = to;
        }
    }

    /// The octets of an owner, at most 257.
    #[inline]
    fn owner(&self, owner: Owner<'_>) -> ([u8; 258], usize) {
        let mut wire = [0; 258];
        let length = match owner {
            Owner::At(at) => {
                wire[..2].copy_from_slice(&(0xC000 | at).to_be_bytes());
                2
            }
            Owner::Origin => {
                wire[..2].copy_from_slice(&self.origin_pointer.to_be_bytes());
                2
            }
            Owner::Name(name) => match name.prefix_before(self.origin) {
                Some(prefix) => {
                    wire[..prefix.len()].copy_from_slice(prefix);
                    wire[prefix.len()..prefix.len() + 2].copy_from_slice(&self.origin_pointer.to_be_bytes());
                    prefix.len() + 2
                }
                None => {
                    wire[..name.octets().len()].copy_from_slice(name.octets());
                    name.octets().len()
                }
            },
        };
        (wire, length)
    }

    /// The first `octets` octets of labels that stand at an owner's place, as the asker wrote them.
    pub fn asked_labels(&self, owner: Owner<'_>, octets: usize) -> Option<Vec<u8>> {
        let Owner::At(12) = owner else { return None };
        self.out.get(12..12 + octets).map(<[u8]>::to_vec)
    }

    /// Ends the reply: EDNS appended, the header filled in from the request's.
    pub fn finish(self, query: &Query<'_>, rcode: u16, opt: &[u8]) {
        let additional = self.counts[2] + u16::from(!opt.is_empty());
        self.out.extend_from_slice(opt);
        let (flags, low) = (query.message[2], query.message[3]);
        self.out[2] = 0x80 | flags & 0x79 | u8::from(self.authoritative) << 2 | u8::from(self.truncated) << 1;
        self.out[3] = low & 0x10 | (rcode & 0x0F) as u8;
        for (at, count) in [(4, 1), (6, self.counts[0]), (8, self.counts[1]), (10, additional)] {
            self.out[at..at + 2].copy_from_slice(&count.to_be_bytes());
        }
    }
}
