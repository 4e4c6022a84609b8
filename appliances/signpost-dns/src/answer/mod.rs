//! Writing the answer to one question from a compiled zone: RFC 1034 section 4.3.2, straight into the reply's buffer.
//!
//! Positive answers are minimal: no NS in authority, no addresses beside MX or SRV; a referral carries its glue.

mod denial;
pub mod edns;
mod writer;

use std::borrow::Cow;

pub use denial::nsec3_hash;
pub use writer::{Owner, Section, Writer};

use crate::limits::CHAIN_STEPS_MAX;
use crate::name::Name;
use crate::query::{Query, rcode};
use crate::record::{RecordType, data};
use crate::zone::{Denial, Found, Node, Rrset, Zone};
use denial::Proof;

/// A name in lower case that is being looked up, and how to write it as an owner.
struct Sought<'q> {
    lower: Cow<'q, [u8]>,
    owner: Owner<'static>,
}

impl Sought<'_> {
    fn lower(&self) -> &[u8] {
        &self.lower
    }
}

/// Answers a question of class IN whose name is within the zone; gives the response code. The writer holds the header
/// and the question.
pub fn answer(zone: &Zone, query: &Query<'_>, writer: &mut Writer<'_>) -> u16 {
    let dnssec = query.edns.is_some_and(|edns| edns.dnssec) && zone.denial != Denial::Unsigned;
    let mut sought = Sought { lower: Cow::Borrowed(query.lower()), owner: Owner::At(12) };
    writer.authoritative = true;
    for step in 0..CHAIN_STEPS_MAX {
        let next = match zone.lookup(sought.lower(), query.qtype) {
            Found::Exact(node) => match set_of(node, query.qtype, &sought, dnssec, writer) {
                Given::Answer => return rcode::NOERROR,
                Given::Alias(target, owner) => follow(zone, target, owner),
                Given::Nothing => return no_data(zone, node, None, &sought, dnssec, writer),
            },
            Found::Wildcard(node, encloser_at) => match set_of(node, query.qtype, &sought, dnssec, writer) {
                Given::Nothing => return no_data(zone, node, Some(encloser_at), &sought, dnssec, writer),
                given => {
                    if dnssec {
                        Proof::new(zone, writer).no_closer_name(sought.lower(), encloser_at);
                    }
                    match given {
                        Given::Alias(target, owner) => follow(zone, target, owner),
                        _ => return rcode::NOERROR,
                    }
                }
            },
            Found::Dname(node) => match synthesize(zone, node, &sought, dnssec, writer) {
                // The made CNAME is the answer to who asks for one.
                Ok(_) if matches!(query.qtype, RecordType::CNAME | RecordType::ANY) => return rcode::NOERROR,
                Ok((target, owner)) => follow(zone, target, owner),
                Err(code) => return code,
            },
            Found::Cut(node) => {
                writer.authoritative = step > 0;
                refer(zone, node, dnssec, writer);
                return rcode::NOERROR;
            }
            Found::Nothing(encloser_at) => {
                writer.set(Section::Authority, Owner::Origin, zone.negative_soa(), dnssec);
                if dnssec {
                    Proof::new(zone, writer).no_name(sought.lower(), encloser_at);
                }
                return rcode::NXDOMAIN;
            }
        };
        match next {
            Some(within) => sought = within,
            None => return rcode::NOERROR,
        }
    }
    rcode::NOERROR
}

fn follow(zone: &Zone, target: Name, owner: Option<usize>) -> Option<Sought<'static>> {
    let owner = owner.filter(|_| target.is_within(&zone.origin))?;
    let lower = Cow::Owned(target.octets().to_ascii_lowercase());
    Some(Sought { lower, owner: Owner::At(owner as u16) })
}

enum Given {
    Answer,
    /// An alias to follow, and where its target stands in the reply.
    Alias(Name, Option<usize>),
    Nothing,
}

/// Writes what the node has for the type.
fn set_of(
    node: &Node,
    qtype: RecordType,
    sought: &Sought<'_>,
    dnssec: bool,
    writer: &mut Writer<'_>,
) -> Given {
    if let Some(set) = node.get(qtype) {
        writer.set(Section::Answer, sought.owner, set, dnssec);
        return Given::Answer;
    }
    match qtype {
        // RFC 8482 section 4.1: one RRset is answer enough.
        RecordType::ANY => {
            let one = node.rrsets.iter().find(|set| !set.rtype.is_made_by_signer()).or(node.rrsets.first());
            one.map_or(Given::Nothing, |set| {
                writer.set(Section::Answer, sought.owner, set, dnssec);
                Given::Answer
            })
        }
        RecordType::RRSIG => {
            let signed = node.rrsets.iter().filter(|set| set.sig_count > 0);
            if signed.map(|set| writer.sigs(Section::Answer, sought.owner, set)).count() == 0 {
                return Given::Nothing;
            }
            Given::Answer
        }
        _ => {
            let Some(alias) = node.get(RecordType::CNAME) else { return Given::Nothing };
            let at = writer.set(Section::Answer, sought.owner, alias, dnssec);
            match alias.datas(writer.origin).next().and_then(|data| data::name_at(&data, 0)) {
                Some(target) => Given::Alias(target, at),
                None => Given::Answer,
            }
        }
    }
}

fn no_data(
    zone: &Zone,
    node: &Node,
    wildcard_at: Option<usize>,
    sought: &Sought<'_>,
    dnssec: bool,
    writer: &mut Writer<'_>,
) -> u16 {
    writer.set(Section::Authority, Owner::Origin, zone.negative_soa(), dnssec);
    if dnssec {
        Proof::new(zone, writer).no_type(node, sought.lower(), wildcard_at);
    }
    rcode::NOERROR
}

/// A DNAME and the CNAME that it makes (RFC 6672 section 3.1).
fn synthesize(
    zone: &Zone,
    node: &Node,
    sought: &Sought<'_>,
    dnssec: bool,
    writer: &mut Writer<'_>,
) -> Result<(Name, Option<usize>), u16> {
    let Some(set) = node.get(RecordType::DNAME) else { return Err(rcode::SERVFAIL) };
    writer.set(Section::Answer, Owner::Name(&node.name), set, dnssec);
    let data = set.datas(&zone.origin).next().unwrap_or_default();
    let Some(target) = data::name_at(&data, 0) else { return Err(rcode::SERVFAIL) };
    let prefix = sought.lower.len() - node.name.octets().len();
    // The case of the asked labels goes into the new name (RFC 1034 section 3.1: keep case where possible).
    let asked =
        writer.asked_labels(sought.owner, prefix).unwrap_or_else(|| sought.lower()[..prefix].to_vec());
    let new = Name::join(&asked, &target).map_err(|_| rcode::YXDOMAIN)?;
    let alias = Rrset::new(&zone.origin, RecordType::CNAME, set.ttl, vec![new.octets().to_vec()]);
    let at = writer.set(Section::Answer, sought.owner, &alias, false);
    Ok((new, at))
}

/// A delegation: NS, DS or the proof that there is none, and the addresses of name servers that this zone knows.
fn refer(zone: &Zone, cut: &Node, dnssec: bool, writer: &mut Writer<'_>) {
    let Some(servers) = cut.get(RecordType::NS) else { return };
    writer.set(Section::Authority, Owner::Name(&cut.name), servers, false);
    if dnssec {
        match cut.get(RecordType::DS) {
            Some(digests) => drop(writer.set(Section::Authority, Owner::Name(&cut.name), digests, true)),
            None => Proof::new(zone, writer).no_digest(cut),
        }
    }
    let targets: Vec<Name> = servers.datas(&zone.origin).filter_map(|data| data::name_at(&data, 0)).collect();
    let addresses = |target: &Name| {
        let node = target.is_within(&zone.origin).then(|| zone.node(target))?;
        node.cloned()
    };
    for needed in [true, false] {
        // RFC 9471: addresses of servers below the cut must be there or the answer says that it is cut short.
        for node in targets.iter().filter(|one| one.is_within(&cut.name) == needed).filter_map(addresses) {
            for set in [RecordType::A, RecordType::AAAA].iter().filter_map(|&rtype| node.get(rtype)) {
                let before = writer.truncated;
                writer.set(Section::Additional, Owner::Name(&node.name), set, false);
                writer.truncated = before || (writer.truncated && needed);
            }
        }
    }
}

#[cfg(test)]
mod tests;
