//! Replies on their way out. Of those that are made together, the ones of one length for one asker leave as one datagram,
//! which Linux cuts where it is received (UDP_SEGMENT, since 4.18): the way through the network stack, most of what an
//! answer costs, is gone once for all of them.

use std::cmp::Reverse;
use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, RecvMsg, SockaddrStorage, sendmsg};

/// Datagrams that Linux cuts one into, at most (`UDP_MAX_SEGMENTS` when it began).
const SEGMENTS_MAX: usize = 64;
/// Octets of them together: a datagram's, less the longest head (RFC 768).
const OCTETS_MAX: usize = 65_000;

/// The address of ours that a datagram was sent to, which its reply has to come from; none where the socket has but one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Own {
    address: Option<IpAddr>,
    /// For an address that has a meaning on one link only (RFC 4291 section 2.5.6), else 0: the way is the system's choice.
    interface: u32,
}

impl Own {
    /// As the system tells it beside the datagram (`IP_PKTINFO`, `IPV6_RECVPKTINFO`).
    pub(super) fn of<S>(message: &RecvMsg<'_, '_, S>) -> Own {
        let told = |one| match one {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let address = IpAddr::from(info.ipi_addr.s_addr.to_ne_bytes());
                Some(Own { address: Some(address), interface: 0 })
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                let octets = info.ipi6_addr.s6_addr;
                let interface = if octets[..2] == [0xFE, 0x80] { info.ipi6_ifindex } else { 0 };
                Some(Own { address: Some(octets.into()), interface })
            }
            _ => None,
        };
        message.cmsgs().into_iter().flatten().find_map(told).unwrap_or_default()
    }
}

/// The way of a reply: the one of its question, turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Way {
    pub(super) asker: SocketAddr,
    pub(super) own: Own,
}

impl Way {
    /// Sends one datagram. One that cannot go (no route) is lost like one on the way.
    pub(super) fn send(self, socket: &UdpSocket, octets: &[u8]) {
        self.carry(socket, &[IoSlice::new(octets)], None);
    }

    /// Sends what is to leave as datagrams of `cut_at` octets, the last may be shorter; whether the system took it.
    fn carry(self, socket: &UdpSocket, octets: &[IoSlice<'_>], cut_at: Option<u16>) -> bool {
        let (four, six);
        let from = match self.own.address {
            Some(IpAddr::V4(address)) => {
                let address = in_addr { s_addr: u32::from_ne_bytes(address.octets()) };
                four = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: in_addr { s_addr: 0 } };
                Some(ControlMessage::Ipv4PacketInfo(&four))
            }
            Some(IpAddr::V6(address)) => {
                let address = in6_addr { s6_addr: address.octets() };
                six = in6_pktinfo { ipi6_addr: address, ipi6_ifindex: self.own.interface };
                Some(ControlMessage::Ipv6PacketInfo(&six))
            }
            None => None,
        };
        let cut = cut_at.as_ref().map(ControlMessage::UdpGsoSegments);
        let to = SockaddrStorage::from(self.asker);
        let (both, one);
        let told: &[ControlMessage<'_>] = match (from, cut) {
            (Some(from), Some(cut)) => {
                both = [from, cut];
                &both
            }
            (Some(only), None) | (None, Some(only)) => {
                one = [only];
                &one
            }
            (None, None) => &[],
        };
        sendmsg(socket.as_raw_fd(), octets, told, MsgFlags::empty(), Some(&to)).is_ok()
    }
}

/// A reply that waits: its way, its length (longer ones first), its sheet.
type Letter = (Way, Reverse<usize>, usize);

/// The replies of a batch until they leave.
pub(super) struct Outbox {
    sheets: Vec<Vec<u8>>,
    letters: Vec<Letter>,
}

impl Outbox {
    /// With room for `replies` of `octets` each.
    pub(super) fn new(replies: usize, octets: usize) -> Outbox {
        let sheets = (0..replies).map(|_| Vec::with_capacity(octets)).collect();
        Outbox { sheets, letters: Vec::with_capacity(replies) }
    }

    /// Where the next reply is written.
    pub(super) fn sheet(&mut self) -> &mut Vec<u8> {
        &mut self.sheets[self.letters.len()]
    }

    /// What was written is a reply that takes this way. More than there is room for must not be posted.
    pub(super) fn post(&mut self, way: Way) {
        let at = self.letters.len();
        self.letters.push((way, Reverse(self.sheets[at].len()), at));
    }

    /// Sends all.
    pub(super) fn send(&mut self, socket: &UdpSocket) {
        self.letters.sort_unstable();
        let mut left = &self.letters[..];
        while let [(way, ..), ..] = *left {
            let (now, later) = left.split_at(together(left));
            left = later;
            let octets: Vec<IoSlice<'_>> = now.iter().map(|one| IoSlice::new(&self.sheets[one.2])).collect();
            let length = u16::try_from(now[0].1.0).ok().filter(|_| now.len() > 1);
            // What cannot leave together (a reply longer than the link's datagrams, an old system) leaves one by one.
            if !way.carry(socket, &octets, length) && now.len() > 1 {
                now.iter().for_each(|one| way.send(socket, &self.sheets[one.2]));
            }
        }
        self.letters.clear();
    }
}

/// How many of the first letters can leave as one: the same way, the same length, and a shorter one as the last.
fn together(letters: &[Letter]) -> usize {
    let Some(&(way, Reverse(length), _)) = letters.first() else { return 0 };
    let most = SEGMENTS_MAX.min(OCTETS_MAX / length.max(1)).max(1);
    let alike = letters.iter().take(most).take_while(|one| (one.0, one.1.0) == (way, length)).count();
    let shorter = alike < most && letters.get(alike).is_some_and(|one| one.0 == way && one.1.0 > 0);
    alike + usize::from(shorter)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn socket(address: &str) -> UdpSocket {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket
    }

    /// Posts replies of these lengths to each asker in turn; each must have them whole, in any order.
    fn arrive(address: &str, lengths: &[usize]) {
        let (ours, askers) = (socket(address), [socket(address), socket(address)]);
        let mut outbox = Outbox::new(lengths.len() * 2, 0);
        for (at, length) in lengths.iter().enumerate() {
            for asker in &askers {
                outbox.sheet().clear();
                outbox.sheet().resize(*length, at as u8);
                outbox.post(Way { asker: asker.local_addr().unwrap(), own: Own::default() });
            }
        }
        outbox.send(&ours);
        for asker in &askers {
            let mut expected: Vec<Vec<u8>> =
                lengths.iter().enumerate().map(|(at, length)| vec![at as u8; *length]).collect();
            for _ in lengths {
                let mut octets = [0; 65_536];
                let (got, from) = asker.recv_from(&mut octets).unwrap();
                assert_eq!(from, ours.local_addr().unwrap());
                let at = expected.iter().position(|one| *one == octets[..got]).expect("a reply of ours");
                expected.swap_remove(at);
            }
        }
    }

    #[test]
    fn replies_of_one_length_arrive_as_they_were_posted() {
        arrive("127.0.0.1:0", &[50; 32]);
        arrive("[::1]:0", &[50, 60, 50, 40, 60, 12, 50]);
        arrive("127.0.0.1:0", &[1232, 512, 1232, 4096, 4096, 30_000, 30_000, 12]);
    }

    #[test]
    fn a_shorter_one_ends_what_leaves_together() {
        let way = |port| Way { asker: SocketAddr::new([127, 0, 0, 1].into(), port), own: Own::default() };
        let letters = |all: &[(u16, usize)]| -> Vec<Letter> {
            all.iter().enumerate().map(|(at, (port, length))| (way(*port), Reverse(*length), at)).collect()
        };
        assert_eq!(together(&letters(&[])), 0);
        assert_eq!(together(&letters(&[(1, 50), (1, 50), (1, 40), (1, 40)])), 3);
        assert_eq!(together(&letters(&[(1, 50), (2, 50)])), 1);
        assert_eq!(together(&letters(&[(1, 50); 200])), SEGMENTS_MAX);
        assert_eq!(together(&letters(&[(1, 4000); 200])), OCTETS_MAX / 4000);
        assert_eq!(together(&letters(&[(1, 66_000), (1, 10)])), 1);
    }
}
