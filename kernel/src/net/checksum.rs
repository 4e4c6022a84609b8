//! TCP and UDP checksums, for cards that take some of the work over (RFC 1071, RFC 9293, RFC 768, RFC 8200).

use crate::platform::Offload;

/// Where a frame's transport header is and what covers it.
struct Transport {
    start: usize,
    end: usize,
    /// Offset of the checksum in the frame.
    field: usize,
    /// Sum of the pseudo-header.
    pseudo: u32,
    v6: bool,
    udp: bool,
}

const TCP: u8 = 6;
const UDP: u8 = 17;

fn transport(frame: &[u8]) -> Option<Transport> {
    let packet = frame.get(14..)?;
    let (start, end, protocol, addresses, v6) = match frame[12..14] {
        [0x08, 0x00] => {
            let header = packet.first_chunk::<20>()?;
            let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
            // A super-frame may be longer than its length field can say; the card writes that field anew.
            let total = if packet.len() > usize::from(u16::MAX) { packet.len() } else { total };
            if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
                return None;
            }
            (usize::from(header[0] & 15) * 4, total, header[9], &packet[12..20], false)
        }
        [0x86, 0xdd] => {
            let header = packet.first_chunk::<40>()?;
            let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
            let total = if packet.len() > usize::from(u16::MAX) { packet.len() } else { 40 + length };
            (40, total, header[6], &packet[8..40], true)
        }
        _ => return None,
    };
    let (field, least) = match protocol {
        TCP => (16, 20),
        UDP => (6, 8),
        _ => return None,
    };
    if end > packet.len() || start + least > end {
        return None;
    }
    let length = (end - start) as u32;
    let pseudo = sum(addresses) + u32::from(protocol) + (length >> 16) + (length & 0xffff);
    Some(Transport {
        start: 14 + start,
        end: 14 + end,
        field: 14 + start + field,
        pseudo,
        v6,
        udp: protocol == UDP,
    })
}

/// Whether a received frame's TCP or UDP checksum is right; frames without one are.
pub fn is_good(frame: &[u8]) -> bool {
    let Some(found) = (frame.len() >= 14).then(|| transport(frame)).flatten() else { return true };
    let unset = found.udp && frame[found.field..found.field + 2] == [0, 0];
    (unset && !found.v6) || fold(found.pseudo + sum(&frame[found.start..found.end])) == 0xffff
}

/// Fills in a frame's checksum: in part where the card completes it, in whole where it does not. Says whether the card
/// has to complete it.
pub fn prepare(frame: &mut [u8], offload: Offload) -> bool {
    let Some(found) = (frame.len() >= 14).then(|| transport(frame)).flatten() else { return false };
    frame[found.field..found.field + 2].fill(0);
    let partial = if found.v6 { offload.transmit_checksum_v6 } else { offload.transmit_checksum_v4 };
    let value = if partial {
        fold(found.pseudo)
    } else {
        match !fold(found.pseudo + sum(&frame[found.start..found.end])) {
            // RFC 768: a computed zero is sent as ones, for zero means none.
            0 if found.udp => 0xffff,
            value => value,
        }
    };
    frame[found.field..found.field + 2].copy_from_slice(&value.to_be_bytes());
    partial
}

/// Fills in an IPv4 header's own checksum.
pub fn fill_header_v4(header: &mut [u8]) {
    header[10..12].fill(0);
    let value = !fold(sum(header));
    header[10..12].copy_from_slice(&value.to_be_bytes());
}

/// The sum of 16-bit words in network order. It does not matter in which order bytes are summed as long as pairs stay
/// pairs (RFC 1071 section 2), so eight are taken at a time, as the processor has them.
fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks_exact(8);
    let rest = words.remainder();
    let mut total: u64 = 0;
    for word in words {
        let word =
            u64::from_ne_bytes([word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7]]);
        total += (word & 0xffff_ffff) + (word >> 32);
    }
    let mut tail = [0; 8];
    tail[..rest.len()].copy_from_slice(rest);
    let tail = u64::from_ne_bytes(tail);
    total += (tail & 0xffff_ffff) + (tail >> 32);
    u32::from(u16::from_be(fold64(total)))
}

fn fold(sum: u32) -> u16 {
    fold64(sum.into())
}

fn fold64(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{EthernetFrame, IpAddress, IpProtocol, IpRepr, Ipv4Packet, UdpPacket, UdpRepr};
    use std::vec;
    use std::vec::Vec;

    fn udp_frame(payload: &[u8]) -> Vec<u8> {
        let (from, to) = (IpAddress::v4(10, 0, 0, 1), IpAddress::v4(10, 0, 0, 2));
        let udp = UdpRepr { src_port: 53, dst_port: 5353 };
        let ip = IpRepr::new(from, to, IpProtocol::Udp, 8 + payload.len(), 64);
        let mut frame = vec![0; 14 + ip.buffer_len()];
        EthernetFrame::new_unchecked(&mut frame[..]).set_ethertype(smoltcp::wire::EthernetProtocol::Ipv4);
        let caps = ChecksumCapabilities::default();
        ip.emit(&mut frame[14..], &caps);
        let mut packet = Ipv4Packet::new_unchecked(&mut frame[14..]);
        let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
        udp.emit(&mut datagram, &from, &to, payload.len(), |bytes| bytes.copy_from_slice(payload), &caps);
        frame
    }

    proptest! {
        #[test]
        fn agrees_with_smoltcp(payload in proptest::collection::vec(any::<u8>(), 0..200), flip in 0..8_usize) {
            let good = udp_frame(&payload);
            prop_assert!(is_good(&good));
            let mut ours = good.clone();
            prepare(&mut ours, Offload::default());
            prop_assert_eq!(&ours, &good);
            let mut bad = good.clone();
            bad[34] ^= 1 << flip;
            prop_assert!(!is_good(&bad));
        }

        #[test]
        fn no_frame_makes_it_fall(mut frame in proptest::collection::vec(any::<u8>(), 0..120), kind in 0..2_usize) {
            if frame.len() > 24 {
                frame[12..14].copy_from_slice(&[[8, 0], [0x86, 0xdd]][kind]);
            }
            let _ = is_good(&frame);
            prepare(&mut frame, Offload::default());
        }
    }
}
