//! Which multicast groups a link's machine is in, told to whoever asks (MLD, RFC 3810; its first version, RFC 2710).
//!
//! Who looks for an IPv6 address asks a group that its owner is in. As soon as a router asks for such groups, switches and
//! bridges that listen in (RFC 4541, Linux's among them) carry those questions to no machine that has not said that it is in
//! the group. smoltcp 0.14 has a part for this that says on entering a group what means leaving it.

use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv6Addr;

use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetFrame, Icmpv6Packet, IpCidr, IpProtocol, Ipv6Packet};

use super::duplicate::{ETHERNET_HEADER_BYTES, IPV6_HEADER_BYTES, ethernet_header, solicited_node};
use super::stack::{Link, LinkNumber, Network};

/// How often entering a group is told (the robustness variable), and when again.
const REPORTS: u32 = 2;
const AGAIN: Duration = Duration::from_secs(1);
/// The longest delay of an answer that a question is granted.
const DELAY_MAX_MS: u64 = 10_000;
/// All routers that listen to reports of the second version.
const ALL_LISTENERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
const QUERY: u8 = 130;
const REPORT_FIRST: u8 = 131;
const REPORT: u8 = 143;
/// A hop-by-hop header with the router alert, before an ICMPv6 message (RFC 2711).
const ROUTER_ALERT: [u8; 8] = [58, 0, 5, 2, 0, 0, 1, 0];
const QUERY_BYTES_MIN: usize = 24;
const QUERY_SECOND_BYTES_MIN: usize = 28;

/// What a record of a report says of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    /// We are in it: nobody is excluded.
    Is = 2,
    /// We leave it: nobody is included any more.
    Leaves = 3,
    /// We enter it.
    Enters = 4,
}

/// The groups of a link.
#[derive(Default)]
pub(super) struct Groups {
    members: Vec<Member>,
    answer: Option<Answer>,
}

/// A group that we are in.
struct Member {
    group: Ipv6Addr,
    /// How often that was told.
    reports: u32,
    next: Instant,
}

/// A question that waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer {
    due: Instant,
    /// The router knows the first version alone.
    first: bool,
}

/// A router's question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Query {
    /// Unspecified: all groups.
    group: Ipv6Addr,
    delay_max_ms: u64,
    first: bool,
}

impl Groups {
    /// When something is to be told.
    pub fn deadline(&self) -> Option<Instant> {
        let entered = self.members.iter().filter(|member| member.reports < REPORTS).map(|member| member.next);
        entered.chain(self.answer.map(|answer| answer.due)).min()
    }
}

impl Network {
    /// Looks at a frame that is neither TCP nor about neighbours: a router may ask for groups.
    pub(super) fn heed_query(&mut self, number: LinkNumber) {
        let link = &mut self.links[number];
        let Some(query) = link.wire.frame().and_then(query) else { return };
        let members = &link.groups.members;
        let ours = members.iter().any(|member| query.group.is_unspecified() || member.group == query.group);
        if !ours {
            return;
        }
        // A random moment, so that not all machines answer at once.
        let delay = (self.random)() % (query.delay_max_ms + 1);
        let due = self.now + Duration::from_millis(delay);
        let answer = Answer { due, first: query.first };
        let pending = link.groups.answer.filter(|pending| pending.due <= due);
        link.groups.answer = Some(pending.unwrap_or(answer));
    }
}

impl Link {
    /// Enters and leaves the groups of the link's addresses, those that are asked for among them, and answers what was asked.
    pub(super) fn report_groups(&mut self, mac: [u8; 6], now: Instant) {
        let mut wanted: Vec<Ipv6Addr> = Vec::new();
        let mut source = Ipv6Addr::UNSPECIFIED;
        let mut want = |address: Ipv6Addr| {
            let group = solicited_node(address);
            if !wanted.contains(&group) {
                wanted.push(group);
            }
        };
        for cidr in self.interface.ip_addrs() {
            if let IpCidr::Ipv6(net) = cidr {
                want(net.address());
                if net.address().is_unicast_link_local() && !self.duplicates.is_asked_for(net.address()) {
                    source = net.address();
                }
            }
        }
        self.duplicates.asked_for().for_each(want);
        let members = &mut self.groups.members;
        for &group in &wanted {
            if !members.iter().any(|member| member.group == group) {
                members.push(Member { group, reports: 0, next: now });
            }
        }
        if !self.wire.has_room() {
            return;
        }
        let mut changes = Report::new();
        members.retain(|member| {
            let stays = wanted.contains(&member.group);
            if !stays {
                changes.add(Says::Leaves, member.group);
            }
            stays
        });
        for member in members {
            if member.reports < REPORTS && member.next <= now {
                changes.add(Says::Enters, member.group);
                member.reports += 1;
                member.next = now + AGAIN;
            }
        }
        self.send_report(mac, source, changes);
        if let Some(answer) = self.groups.answer.take_if(|answer| answer.due <= now) {
            self.answer(mac, source, answer.first);
        }
    }

    /// Answers a question, of the first version with a message for each group.
    fn answer(&mut self, mac: [u8; 6], source: Ipv6Addr, first: bool) {
        let mut all = Report::new();
        for member in &self.groups.members {
            if !first {
                all.add(Says::Is, member.group);
            } else if self.wire.has_room() {
                let mut message = [0; QUERY_BYTES_MIN];
                message[0] = REPORT_FIRST;
                message[8..].copy_from_slice(&member.group.octets());
                self.wire.send(&frame(mac, source, member.group, &message));
            }
        }
        self.send_report(mac, source, all);
    }

    fn send_report(&mut self, mac: [u8; 6], source: Ipv6Addr, report: Report) {
        if report.records > 0 && self.wire.has_room() {
            self.wire.send(&frame(mac, source, ALL_LISTENERS, &report.finish()));
        }
    }
}

/// A report of the second version (RFC 3810 5.2).
struct Report {
    message: Vec<u8>,
    records: u16,
}

impl Report {
    fn new() -> Self {
        Report { message: vec![REPORT, 0, 0, 0, 0, 0, 0, 0], records: 0 }
    }

    fn add(&mut self, says: Says, group: Ipv6Addr) {
        self.message.extend_from_slice(&[says as u8, 0, 0, 0]);
        self.message.extend_from_slice(&group.octets());
        self.records += 1;
    }

    /// The message without its checksum.
    fn finish(mut self) -> Vec<u8> {
        self.message[6..8].copy_from_slice(&self.records.to_be_bytes());
        self.message
    }
}

/// A message with the router alert before it, as a whole frame.
fn frame(mac: [u8; 6], source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; ETHERNET_HEADER_BYTES + IPV6_HEADER_BYTES];
    ethernet_header(&mut bytes, mac, destination);
    let mut packet = Ipv6Packet::new_unchecked(&mut bytes[ETHERNET_HEADER_BYTES..]);
    packet.set_version(6);
    packet.set_payload_len((ROUTER_ALERT.len() + message.len()) as u16);
    packet.set_next_header(IpProtocol::HopByHop);
    packet.set_hop_limit(1);
    packet.set_src_addr(source);
    packet.set_dst_addr(destination);
    bytes.extend_from_slice(&ROUTER_ALERT);
    let start = bytes.len();
    bytes.extend_from_slice(message);
    Icmpv6Packet::new_unchecked(&mut bytes[start..]).fill_checksum(&source, &destination);
    bytes
}

/// Reads a frame that holds a router's question: from a neighbour, with the router alert's header before it.
fn query(frame: &[u8]) -> Option<Query> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    let packet = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
    let (source, destination) = (packet.src_addr(), packet.dst_addr());
    if packet.version() != 6
        || packet.next_header() != IpProtocol::HopByHop
        || packet.hop_limit() != 1
        || !source.is_unicast_link_local()
    {
        return None;
    }
    let extension = packet.payload();
    let &[next, length, ..] = extension.first_chunk::<8>()?;
    let message = extension.get((usize::from(length) + 1) * 8..)?;
    if IpProtocol::from(next) != IpProtocol::Icmpv6
        || message.len() < QUERY_BYTES_MIN
        || message[0] != QUERY
        || !Icmpv6Packet::new_unchecked(message).verify_checksum(&source, &destination)
    {
        return None;
    }
    let code = u64::from(u16::from_be_bytes([message[4], message[5]]));
    let first = message.len() < QUERY_SECOND_BYTES_MIN;
    // The second version has long delays as mantissa and exponent (RFC 3810 5.1.3).
    let delay = if first || code < 0x8000 { code } else { (code & 0xfff | 0x1000) << ((code >> 12 & 7) + 3) };
    let group = Ipv6Addr::from(*message[8..].first_chunk::<16>()?);
    Some(Query { group, delay_max_ms: delay.min(DELAY_MAX_MS), first })
}

#[cfg(test)]
#[path = "groups_tests.rs"]
pub mod tests;
