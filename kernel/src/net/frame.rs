//! A first look at an arriving frame: whose is it?
//!
//! Reads just enough of Ethernet, IPv4, IPv6 and TCP to name the flow, so that the segment goes straight to its
//! connection. Anything unusual (fragments, extension headers, other protocols) is nobody's here and goes the general
//! way through smoltcp, which checks everything again. Nothing read here is trusted for more than the choice.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Address;

/// The two ends of a TCP segment, and what its flags say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it goes.
    pub local: Address,
    /// Where it comes from.
    pub remote: Address,
    /// SYN without ACK: the first segment of a connection.
    pub opens: bool,
    /// RST.
    pub resets: bool,
    /// What it acknowledges, if it does.
    pub acknowledges: Option<u32>,
    /// It carries neither data nor SYN, FIN or RST: an acknowledgement alone, or a window.
    pub bare: bool,
    /// How much data it carries.
    pub payload_bytes: usize,
}

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A TCP segment, whole.
    Tcp(Segment),
    /// Somebody says where an address lives: ARP, or ICMPv6 with its neighbour discovery.
    Neighbour,
    /// Anything else.
    Other,
}

const TCP: u8 = 6;
const ICMPV6: u8 = 58;

/// Looks at an Ethernet frame.
pub fn look_at_ethernet(frame: &[u8]) -> Content {
    match frame.get(12..14) {
        Some([0x08, 0x00] | [0x86, 0xdd]) => look_at_packet(&frame[14..]),
        Some([0x08, 0x06]) => Content::Neighbour,
        _ => Content::Other,
    }
}

/// Looks at an IP packet.
pub fn look_at_packet(packet: &[u8]) -> Content {
    let found = match packet.first().map(|byte| byte >> 4) {
        Some(4) => look_at_v4(packet),
        Some(6) => look_at_v6(packet),
        _ => None,
    };
    found.unwrap_or(Content::Other)
}

fn look_at_v4(packet: &[u8]) -> Option<Content> {
    let header = packet.first_chunk::<20>()?;
    let header_bytes = usize::from(header[0] & 0x0f) * 4;
    let fragmented = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    if header_bytes < 20 || fragmented || header[9] != TCP {
        return None;
    }
    let source = Ipv4Addr::from(*header[12..].first_chunk::<4>()?);
    let destination = Ipv4Addr::from(*header[16..].first_chunk::<4>()?);
    let end = packet.len().min(u16::from_be_bytes([header[2], header[3]]).into());
    look_at_tcp(packet.get(header_bytes..end)?, source.into(), destination.into())
}

fn look_at_v6(packet: &[u8]) -> Option<Content> {
    let header = packet.first_chunk::<40>()?;
    match header[6] {
        TCP => {
            let source = Ipv6Addr::from(*header[8..].first_chunk::<16>()?);
            let destination = Ipv6Addr::from(*header[24..].first_chunk::<16>()?);
            let end = packet.len().min(40 + usize::from(u16::from_be_bytes([header[4], header[5]])));
            look_at_tcp(&packet[40..end], source.into(), destination.into())
        }
        ICMPV6 => Some(Content::Neighbour),
        _ => None,
    }
}

fn look_at_tcp(segment: &[u8], source: IpAddr, destination: IpAddr) -> Option<Content> {
    let header = segment.first_chunk::<20>()?;
    let flags = header[13];
    let payload_bytes = segment.len().saturating_sub(usize::from(header[12] >> 4) * 4);
    Some(Content::Tcp(Segment {
        local: Address::new(destination, u16::from_be_bytes([header[2], header[3]])),
        remote: Address::new(source, u16::from_be_bytes([header[0], header[1]])),
        opens: flags & 0x12 == 0x02,
        resets: flags & 0x04 != 0,
        acknowledges: (flags & 0x10 != 0)
            .then(|| u32::from_be_bytes([header[8], header[9], header[10], header[11]])),
        bare: flags & 0x07 == 0 && segment.len() == usize::from(header[12] >> 4) * 4,
        payload_bytes,
    }))
}

/// Where in a packet that holds a TCP segment ([`look_at_packet`]) its acknowledgement number stands.
pub fn acknowledgement_at(packet: &[u8]) -> Option<core::ops::Range<usize>> {
    let start = 8 + match packet.first()? >> 4 {
        4 => usize::from(packet[0] & 0x0f) * 4,
        _ => 40,
    };
    (packet.len() >= start + 4).then_some(start..start + 4)
}

const ICMPV4: u8 = 1;
const UDP: u8 = 17;

/// The datagram of ours that an ICMP error says reached nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undelivered {
    /// Where we sent it from.
    pub local: Address,
    /// Where it should have gone.
    pub remote: Address,
    /// The host is there, the port is not (otherwise the host or the way to it is missing).
    pub refused: bool,
}

/// Reads an IP packet that says that a UDP datagram did not arrive (RFC 792, RFC 4443 3.1); the checksums are the stack's
/// business, and who believes it checks that the flow exists.
pub fn undelivered(packet: &[u8]) -> Option<Undelivered> {
    let v4 = packet.first()? >> 4 == 4;
    let (protocol, icmp) = payload(packet)?;
    let refused = match (protocol, icmp.get(0..2)?) {
        (ICMPV4, [3, code @ (0..=3 | 13)]) if v4 => *code == 3,
        (ICMPV6, [1, code @ (0 | 1 | 3 | 4)]) if !v4 => *code == 4,
        _ => return None,
    };
    let ours = icmp.get(8..)?;
    let (UDP, datagram) = payload(ours)? else { return None };
    let ports = datagram.first_chunk::<4>()?;
    let (source, destination) = ends(ours)?;
    Some(Undelivered {
        local: Address::new(source, u16::from_be_bytes([ports[0], ports[1]])),
        remote: Address::new(destination, u16::from_be_bytes([ports[2], ports[3]])),
        refused,
    })
}

/// The protocol of a whole IP packet without extension headers, and what it carries.
fn payload(packet: &[u8]) -> Option<(u8, &[u8])> {
    match packet.first()? >> 4 {
        4 => {
            let header = packet.first_chunk::<20>()?;
            Some((header[9], packet.get(usize::from(header[0] & 0x0f).max(5) * 4..)?))
        }
        6 => Some((packet.first_chunk::<40>()?[6], &packet[40..])),
        _ => None,
    }
}

/// Source and destination of an IP packet.
fn ends(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    Some(match packet.first()? >> 4 {
        4 => (
            Ipv4Addr::from(*packet.get(12..)?.first_chunk::<4>()?).into(),
            Ipv4Addr::from(*packet.get(16..)?.first_chunk::<4>()?).into(),
        ),
        _ => (
            Ipv6Addr::from(*packet.get(8..)?.first_chunk::<16>()?).into(),
            Ipv6Addr::from(*packet.get(24..)?.first_chunk::<16>()?).into(),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    fn syn_v4() -> Vec<u8> {
        let mut frame = vec![0_u8; 14 + 20 + 20];
        frame[12..14].copy_from_slice(&[8, 0]);
        frame[14] = 0x45;
        frame[14 + 3] = 40;
        frame[14 + 9] = TCP;
        frame[26..30].copy_from_slice(&[10, 0, 0, 9]);
        frame[30..34].copy_from_slice(&[10, 0, 0, 2]);
        frame[34..38].copy_from_slice(&[0xc0, 0x01, 0, 53]);
        frame[34 + 12] = 5 << 4;
        frame[34 + 13] = 0x02;
        frame
    }

    #[test]
    fn a_first_segment_is_named() {
        let segment = Segment {
            local: "10.0.0.2:53".parse().unwrap(),
            remote: "10.0.0.9:49153".parse().unwrap(),
            opens: true,
            resets: false,
            acknowledges: None,
            bare: false,
            payload_bytes: 0,
        };
        assert_eq!(look_at_ethernet(&syn_v4()), Content::Tcp(segment));
        let mut answer = syn_v4();
        answer[34 + 13] = 0x12;
        let answered = Segment { opens: false, acknowledges: Some(0), ..segment };
        assert_eq!(look_at_ethernet(&answer), Content::Tcp(answered));
    }

    #[test]
    fn an_acknowledgement_alone_is_told_from_one_with_data() {
        let mut frame = syn_v4();
        frame[34 + 13] = 0x10;
        let at = acknowledgement_at(&frame[14..]).unwrap();
        frame[14..][at].copy_from_slice(&[1, 2, 3, 4]);
        frame.extend([0; 6]);
        let Content::Tcp(bare) = look_at_ethernet(&frame) else { panic!("it is a segment") };
        assert!(bare.bare && bare.acknowledges == Some(0x0102_0304), "padding is no data");
        frame[14 + 3] += 6;
        let Content::Tcp(data) = look_at_ethernet(&frame) else { panic!("it is a segment") };
        assert!(!data.bare && data.payload_bytes == 6 && bare.payload_bytes == 0);
    }

    #[test]
    fn fragments_and_short_headers_go_the_general_way() {
        let mut fragment = syn_v4();
        fragment[14 + 6] = 0x20;
        assert_eq!(look_at_ethernet(&fragment), Content::Other);
        let mut short = syn_v4();
        short[14] = 0x44;
        assert_eq!(look_at_ethernet(&short), Content::Other);
        for length in 0..syn_v4().len() {
            assert_eq!(look_at_ethernet(&syn_v4()[..length]), Content::Other);
        }
    }

    #[test]
    fn rfc792_an_undelivered_datagram_is_named() {
        let mut packet = vec![0_u8; 20 + 8 + 20 + 8];
        (packet[0], packet[9], packet[20], packet[21]) = (0x45, ICMPV4, 3, 3);
        (packet[28], packet[37]) = (0x45, UDP);
        packet[40..48].copy_from_slice(&[10, 0, 0, 2, 10, 0, 0, 9]);
        packet[48..52].copy_from_slice(&[0x80, 0, 0, 53]);
        let found = undelivered(&packet).unwrap();
        assert_eq!(
            (found.local, found.remote),
            ("10.0.0.2:32768".parse().unwrap(), "10.0.0.9:53".parse().unwrap())
        );
        assert!(found.refused);
        packet[21] = 1;
        assert!(!undelivered(&packet).unwrap().refused);
        packet[20] = 8;
        assert_eq!(undelivered(&packet), None);
    }

    proptest! {
        #[test]
        fn no_packet_makes_it_fall(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = undelivered(&bytes);
        }
    }

    proptest! {
        #[test]
        fn no_frame_makes_it_fall(mut frame in proptest::collection::vec(any::<u8>(), 0..120), kind in 0..3_usize) {
            if frame.len() > 14 {
                frame[12..14].copy_from_slice(&[[8, 0], [0x86, 0xdd], [8, 6]][kind]);
                frame[14] = [0x45, 0x60, 0x4f][kind];
            }
            let _ = look_at_ethernet(&frame);
        }
    }
}
