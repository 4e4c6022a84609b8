//! Cutting a TCP super-frame to segments, for a card that once promised to do it and no longer can: a backend that came
//! back with fewer abilities. Rare, so it copies.

use alloc::vec::Vec;

use super::checksum;

const ETHERNET_BYTES: usize = 14;
const FIN_PSH: u8 = 0x09;

/// Cuts `frame` (Ethernet, IPv4 without fragmentation, TCP) into frames that carry `size` bytes of payload each. Their TCP
/// checksums are left to the caller. What is not such a frame is given as it is.
pub fn cut(frame: &[u8], size: usize, mut each: impl FnMut(&mut [u8])) {
    let Some((tcp, payload)) = headers(frame).filter(|_| size > 0) else {
        return each(&mut frame.to_vec());
    };
    let (head, data) = frame.split_at(payload);
    let id = u16::from_be_bytes([head[18], head[19]]);
    let sequence = u32::from_be_bytes([head[tcp + 4], head[tcp + 5], head[tcp + 6], head[tcp + 7]]);
    let count = data.len().div_ceil(size);
    for (index, piece) in data.chunks(size).enumerate() {
        let mut segment = Vec::with_capacity(head.len() + piece.len());
        segment.extend_from_slice(head);
        segment.extend_from_slice(piece);
        let length = (segment.len() - ETHERNET_BYTES) as u16;
        segment[16..18].copy_from_slice(&length.to_be_bytes());
        segment[18..20].copy_from_slice(&id.wrapping_add(index as u16).to_be_bytes());
        segment[tcp + 4..tcp + 8]
            .copy_from_slice(&sequence.wrapping_add((index * size) as u32).to_be_bytes());
        if index + 1 < count {
            segment[tcp + 13] &= !FIN_PSH;
        }
        checksum::fill_header_v4(&mut segment[ETHERNET_BYTES..tcp]);
        each(&mut segment);
    }
}

/// Where the TCP header and where its payload begin.
fn headers(frame: &[u8]) -> Option<(usize, usize)> {
    let tcp = ETHERNET_BYTES + usize::from(frame.get(ETHERNET_BYTES)? & 15) * 4;
    let payload = tcp + usize::from(frame.get(tcp + 12)? >> 4) * 4;
    let is_tcp =
        frame[12..14] == [8, 0] && frame[23] == 6 && tcp >= ETHERNET_BYTES + 20 && payload >= tcp + 20;
    (is_tcp && payload < frame.len()).then_some((tcp, payload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Offload;
    use proptest::prelude::*;
    use std::vec;

    fn super_frame(payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 54];
        frame[12..14].copy_from_slice(&[8, 0]);
        (frame[14], frame[23], frame[34 + 12], frame[34 + 13]) = (0x45, 6, 0x50, 0x19);
        frame[18..20].copy_from_slice(&0xffff_u16.to_be_bytes());
        frame[38..42].copy_from_slice(&0xffff_ff00_u32.to_be_bytes());
        frame.extend_from_slice(payload);
        frame
    }

    proptest! {
        #[test]
        fn the_pieces_are_whole_segments_in_order(length in 1..20_000_usize, size in 100..1461_usize) {
            let payload: Vec<u8> = (0..length).map(|at| (at / 3) as u8).collect();
            let (mut all, mut next, mut last_flags) = (Vec::new(), 0xffff_ff00_u32, 0);
            cut(&super_frame(&payload), size, |segment| {
                checksum::prepare(segment, Offload::default());
                assert!(checksum::is_good(segment));
                assert_eq!(usize::from(u16::from_be_bytes([segment[16], segment[17]])), segment.len() - 14);
                assert_eq!(u32::from_be_bytes(segment[38..42].try_into().unwrap()), next);
                next = next.wrapping_add((segment.len() - 54) as u32);
                all.extend_from_slice(&segment[54..]);
                last_flags = segment[47];
            });
            prop_assert_eq!(all, payload);
            prop_assert_eq!(last_flags, 0x19);
        }

        #[test]
        fn no_frame_makes_it_fall(frame in proptest::collection::vec(any::<u8>(), 0..120), size in 0..50_usize) {
            cut(&frame, size, |_| ());
        }
    }
}
