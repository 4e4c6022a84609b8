//! Duplicate address detection (RFC 4862 section 5.4), which smoltcp does not have.
//!
//! An IPv6 address is asked for on its link before it is used: smoltcp learns of it when nobody has answered for a second.
//! The link-local one is used meanwhile (RFC 4429), for smoltcp cannot look for routers without; a second owner of it has
//! our own Ethernet address, which no rule mends, and is named. Who asks for an address of ours is answered here, too:
//! smoltcp takes nothing that comes from the unspecified address, as such a question does.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv6Addr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, Icmpv6Packet, Icmpv6Repr, IpCidr, IpProtocol, Ipv6Cidr,
    Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr,
};

use super::stack::{LinkNumber, Network};

/// How often an address is asked for (DupAddrDetectTransmits), and how long each answer may take (RetransTimer). More than
/// once, in the second that the RFC has for one question: the first may come before the link carries anything back.
const QUESTIONS: u32 = 4;
const PATIENCE: Duration = Duration::from_millis(250);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
pub(super) const ETHERNET_HEADER_BYTES: usize = 14;
pub(super) const IPV6_HEADER_BYTES: usize = 40;
/// Neighbour discovery is not routed.
const HOPS: u8 = 255;

/// What is known of a link's IPv6 addresses.
#[derive(Default)]
pub(super) struct Duplicates {
    asked: Vec<Asked>,
    /// These are not asked for any more: nobody else has them, or they are used all the same.
    settled: Vec<Ipv6Addr>,
}

/// An address that is asked for.
struct Asked {
    net: Ipv6Cidr,
    questions: u32,
    /// When the next question is asked, or the address is ours.
    next: Instant,
}

/// What a neighbour says about an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// It asks whether it may have it.
    Asks(Ipv6Addr),
    /// It has it.
    Has(Ipv6Addr),
}

impl Duplicates {
    /// When something is to be asked, or an address becomes ours.
    pub fn deadline(&self) -> Option<Instant> {
        self.asked.iter().map(|asked| asked.next).min()
    }

    /// The addresses that will be ours unless somebody else has them.
    pub fn asked_for(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.asked.iter().map(|asked| asked.net.address())
    }

    /// Whether an address will be ours unless somebody else has it.
    pub fn is_asked_for(&self, address: Ipv6Addr) -> bool {
        self.asked_for().any(|asked| asked == address)
    }
}

impl Network {
    /// Takes new IPv6 addresses of a link out of use and asks for them; gives those back that nobody answered for.
    pub(super) fn ask_for_addresses(&mut self, number: LinkNumber) {
        let (now, link) = (self.now, &mut self.links[number]);
        let Some(mac) = link.wire.mac() else { return };
        let all = &mut link.duplicates;
        let new = |cidr: &IpCidr| match cidr {
            IpCidr::Ipv6(net) if !all.settled.contains(&net.address()) => Some(*net),
            _ => None,
        };
        let new: Vec<Ipv6Cidr> = link.interface.ip_addrs().iter().filter_map(new).collect();
        for net in new.iter().filter(|net| !all.is_asked_for(net.address())).copied().collect::<Vec<_>>() {
            all.asked.push(Asked { net, questions: 0, next: now });
        }
        let held: Vec<IpCidr> =
            new.into_iter().filter(|net| !net.address().is_unicast_link_local()).map(IpCidr::Ipv6).collect();
        let over = |asked: &mut Asked| asked.questions == QUESTIONS && asked.next <= now;
        let ours: Vec<Ipv6Cidr> = all.asked.extract_if(.., over).map(|asked| asked.net).collect();
        all.settled.extend(ours.iter().map(|net| net.address()));
        if !held.is_empty() || !ours.is_empty() {
            link.interface.update_ip_addrs(|list| {
                list.retain(|cidr| !held.contains(cidr));
                for net in ours.into_iter().map(IpCidr::Ipv6) {
                    if !list.contains(&net) {
                        let _ = list.push(net);
                    }
                }
            });
        }
        // The answer goes to a group that we must be in by then (section 5.4.2).
        link.report_groups(mac, now);
        for asked in link.duplicates.asked.iter_mut().filter(|asked| asked.next <= now) {
            if !link.wire.has_room() {
                break;
            }
            let target = asked.net.address();
            let question = NdiscRepr::NeighborSolicit { target_addr: target, lladdr: None };
            link.wire.send(&frame(mac, Ipv6Addr::UNSPECIFIED, solicited_node(target), question));
            asked.questions += 1;
            asked.next = now + PATIENCE;
        }
    }

    /// Looks at what a neighbour says: an address that is asked for may be another's, and who asks for ours is told.
    pub(super) fn heed_neighbour(&mut self, number: LinkNumber) {
        let link = &mut self.links[number];
        let Some(mac) = link.wire.mac() else { return };
        let Some((from, word)) = link.wire.frame().and_then(word) else { return };
        // A bridge may give us our own question back.
        if from == mac {
            return;
        }
        let (Word::Asks(address) | Word::Has(address)) = word;
        let place = link.duplicates.asked.iter().position(|asked| asked.net.address() == address);
        if let Some(place) = place {
            link.duplicates.asked.remove(place);
            let owner = EthernetAddress(from);
            let what = if address.is_unicast_link_local() {
                link.duplicates.settled.push(address);
                "as well"
            } else {
                "already, and is not taken"
            };
            self.news.push(format!("eth{}: {address} is in use by {owner} {what}", number - 1));
        } else if word == Word::Asks(address) && link.interface.has_ip_addr(address) && link.wire.has_room() {
            let answer = NdiscRepr::NeighborAdvert {
                flags: NdiscNeighborFlags::OVERRIDE,
                target_addr: address,
                lladdr: Some(EthernetAddress(mac).into()),
            };
            link.wire.send(&frame(mac, address, ALL_NODES, answer));
        }
    }
}

/// Where an address is asked for (RFC 4291 2.7.1).
pub(super) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | high & 0xff, low)
}

/// Writes the Ethernet header of an IPv6 packet to a multicast address (RFC 2464 7).
pub(super) fn ethernet_header(frame: &mut [u8], mac: [u8; 6], destination: Ipv6Addr) {
    let mut ethernet = EthernetFrame::new_unchecked(frame);
    let [.., a, b, c, d] = destination.octets();
    ethernet.set_src_addr(EthernetAddress(mac));
    ethernet.set_dst_addr(EthernetAddress([0x33, 0x33, a, b, c, d]));
    ethernet.set_ethertype(EthernetProtocol::Ipv6);
}

/// A message of neighbour discovery to a multicast address, as a whole frame.
fn frame(mac: [u8; 6], source: Ipv6Addr, destination: Ipv6Addr, message: NdiscRepr<'_>) -> Vec<u8> {
    let message = Icmpv6Repr::Ndisc(message);
    let header = Ipv6Repr {
        src_addr: source,
        dst_addr: destination,
        next_header: IpProtocol::Icmpv6,
        payload_len: message.buffer_len(),
        hop_limit: HOPS,
    };
    let mut bytes = vec![0; ETHERNET_HEADER_BYTES + IPV6_HEADER_BYTES + header.payload_len];
    ethernet_header(&mut bytes, mac, destination);
    let (packet, payload) = bytes[ETHERNET_HEADER_BYTES..].split_at_mut(IPV6_HEADER_BYTES);
    header.emit(&mut Ipv6Packet::new_unchecked(packet));
    let mut payload = Icmpv6Packet::new_unchecked(payload);
    message.emit(&source, &destination, &mut payload, &ChecksumCapabilities::default());
    bytes
}

/// Reads a frame that says something about an address, with the Ethernet address it comes from.
fn word(frame: &[u8]) -> Option<([u8; 6], Word)> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    let packet = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
    let header = Ipv6Repr::parse(&packet).ok()?;
    if header.next_header != IpProtocol::Icmpv6 || header.hop_limit != HOPS {
        return None;
    }
    let message = Icmpv6Packet::new_checked(packet.payload()).ok()?;
    let sums = ChecksumCapabilities::default();
    let word = match Icmpv6Repr::parse(&header.src_addr, &header.dst_addr, &message, &sums).ok()? {
        Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr, .. })
            if header.src_addr.is_unspecified() =>
        {
            Word::Asks(target_addr)
        }
        Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert { target_addr, .. }) => Word::Has(target_addr),
        _ => return None,
    };
    Some((ethernet.src_addr().0, word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

    fn question(target: Ipv6Addr) -> Vec<u8> {
        let message = NdiscRepr::NeighborSolicit { target_addr: target, lladdr: None };
        frame(MAC, Ipv6Addr::UNSPECIFIED, solicited_node(target), message)
    }

    #[test]
    fn rfc4862_5_4_2_a_question_has_this_form() {
        let target: Ipv6Addr = "fd00::1:2:3:4".parse().unwrap();
        let bytes = question(target);
        assert_eq!(bytes[..6], [0x33, 0x33, 0xff, 0x03, 0, 4]);
        assert_eq!((bytes[14 + 7], bytes[14 + 6]), (255, 58));
        assert_eq!(bytes[14 + 8..14 + 24], [0; 16], "from the unspecified address");
        assert_eq!(bytes[54], 135);
        assert_eq!(bytes.len(), 54 + 24, "no option names us");
        assert_eq!(word(&bytes), Some((MAC, Word::Asks(target))));
    }

    #[test]
    fn what_is_damaged_or_came_from_afar_says_nothing() {
        let bytes = question("fd00::1".parse().unwrap());
        for at in [14 + 7, 54 + 2, 54 + 9] {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_eq!(word(&other), None, "octet {at}");
        }
    }

    proptest! {
        #[test]
        fn no_frame_makes_it_fall(tail in proptest::collection::vec(any::<u8>(), 0..90), cut in 0..78_usize) {
            let mut bytes = question("fd00::1".parse().unwrap());
            bytes.truncate(cut);
            bytes.extend(tail);
            let _ = word(&bytes);
        }
    }
}
