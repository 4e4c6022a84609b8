//! The network protocol against a backend that behaves, and against ones that do anything at all.

use super::*;
use crate::platform::xen::ring::back::BackRing;
use crate::platform::xen::shared::Local;
use proptest::prelude::*;

fn transmit(pages: usize) -> (Transmit<Local>, BackRing<Local>) {
    let page = Local::new(PAGE_BYTES);
    (Transmit::new(page.clone(), pages), BackRing::new(page, 12))
}

/// A receive ring with `pages` pages posted, whose grants are their numbers plus 100.
fn receive(pages: usize) -> (Receive<Local>, BackRing<Local>) {
    let page = Local::new(PAGE_BYTES);
    let mut front = Receive::new(page.clone());
    (0..pages).for_each(|number| front.post(number, number as u32 + 100));
    let _ = front.publish();
    (front, BackRing::new(page, 8))
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn sent(request: &[u8]) -> [u8; 12] {
    request[..12].try_into().unwrap()
}

fn answer_receive(request: &[u8], offset: u16, flags: u16, status: i16) -> [u8; 8] {
    let mut response = [0; 8];
    response[0..2].copy_from_slice(&request[0..2]);
    response[2..4].copy_from_slice(&offset.to_le_bytes());
    response[4..6].copy_from_slice(&flags.to_le_bytes());
    response[6..8].copy_from_slice(&status.to_le_bytes());
    response
}

#[test]
fn netif_h_layout_of_a_packet_in_several_slots() {
    let (mut front, mut back) = transmit(32);
    let grants: Vec<u32> = (500..532).collect();
    let first = front.find(3).unwrap();
    front.send(first, 9000, Finish::Segments { size: 1448, v6: false }, &grants);
    assert!(front.publish());
    let head = sent(&back.take().unwrap());
    assert_eq!(u32::from_le_bytes(head[..4].try_into().unwrap()), 500);
    // The first slot carries the length of the whole packet and announces extra information and more slots.
    assert_eq!((half(&head, 6), half(&head, 10)), (1 | 2 | 4 | 8, 9000));
    let extra = back.take().unwrap();
    assert_eq!(extra[..8], [1, 0, 0xa8, 0x05, 1, 0, 0, 0]);
    let (middle, end) = (sent(&back.take().unwrap()), sent(&back.take().unwrap()));
    assert_eq!((half(&middle, 6), half(&middle, 10)), (4, 4096));
    assert_eq!((half(&end, 6), half(&end, 10)), (0, 9000 - 8192));
    assert_eq!(back.take(), None);

    // One answer a slot, with the empty one for the extra information.
    for (id, status) in [(half(&head, 8), 0i16), (0xffff, 1), (half(&middle, 8), 0), (half(&end, 8), 0)] {
        back.answer(&[id.to_le_bytes(), status.to_le_bytes()].concat());
    }
    front.reclaim().unwrap();
    assert_eq!(front.free, 32);
}

#[test]
fn a_page_that_is_out_is_not_used_again_before_its_answer() {
    let (mut front, mut back) = transmit(4);
    let grants = [1, 2, 3, 4];
    for _ in 0..4 {
        let page = front.find(1).unwrap();
        front.send(page, 60, Finish::Plain, &grants);
    }
    assert_eq!(front.find(1), None);
    let _ = front.publish();
    let ids: Vec<u16> = (0..4).map(|_| half(&back.take().unwrap(), 8)).collect();
    back.answer(&[ids[2].to_le_bytes(), [0, 0]].concat());
    front.reclaim().unwrap();
    assert_eq!(front.find(1), Some(ids[2] as usize));
    assert_eq!(front.find(2), None);
    back.answer(&[ids[2].to_le_bytes(), [0, 0]].concat());
    assert_eq!(front.reclaim(), Err(Fault::UnknownId(ids[2].into())));
}

#[test]
fn empty_answers_without_extra_slots_are_a_fault() {
    let (mut front, mut back) = transmit(4);
    front.send(0, 60, Finish::Plain, &[1, 2, 3, 4]);
    let _ = front.publish();
    back.answer(&[[0xff, 0xff], 1i16.to_le_bytes()].concat());
    assert!(front.reclaim().is_err());
}

#[test]
fn netif_h_a_received_packet_of_several_slots_with_extra_information() {
    let (mut front, mut back) = receive(8);
    let requests: Vec<Vec<u8>> = (0..4).map(|_| back.take().unwrap()).collect();
    assert_eq!(half(&requests[3], 0), 3);
    back.answer(&answer_receive(
        &requests[0],
        0,
        RECEIVE_MORE | RECEIVE_EXTRA | RECEIVE_CHECKSUM_BLANK,
        4096,
    ));
    back.answer(&[EXTRA_SEGMENTATION, 0, 0xa8, 5, 1, 0, 0, 0]);
    back.answer(&answer_receive(&requests[2], 0, RECEIVE_MORE, 4096));
    back.answer(&answer_receive(&requests[3], 16, 0, 100));
    let mut got = Vec::new();
    while let Some(one) = front.next_piece().unwrap() {
        got.push(one);
    }
    let piece = |page, offset, length, last| Received::Piece {
        piece: Piece { page, offset, length },
        last,
        checksum_good: true,
    };
    let expected = [
        piece(0, 0, 4096, false),
        Received::Empty { page: 1, dropped: false, last: false },
        piece(2, 0, 4096, false),
        piece(3, 16, 100, true),
    ];
    assert_eq!(got, expected);
}

#[test]
fn an_extra_slot_may_be_the_last_of_a_packet() {
    let (mut front, mut back) = receive(8);
    let request = back.take().unwrap();
    back.answer(&answer_receive(&request, 0, RECEIVE_EXTRA, 60));
    back.answer(&[EXTRA_SEGMENTATION, 0, 0, 5, 1, 0, 0, 0]);
    assert!(matches!(front.next_piece(), Ok(Some(Received::Piece { last: false, .. }))));
    assert!(matches!(front.next_piece(), Ok(Some(Received::Empty { last: true, dropped: false, .. }))));
}

#[test]
fn hostile_receive_answers_are_faults() {
    let cases: [(u16, u16, i16, u16); 4] = [
        (0, 4000, 200, 0),        // It leaves the page.
        (0, 0xffff, 1, 0),        // It starts outside.
        (5, 0, 60, 0),            // Another page than the one posted in this slot.
        (0xffff, 0, i16::MAX, 0), // A page that does not exist.
    ];
    for (id, offset, status, flags) in cases {
        let (mut front, mut back) = receive(8);
        let mut request = back.take().unwrap();
        request[0..2].copy_from_slice(&id.to_le_bytes());
        back.answer(&answer_receive(&request, offset, flags, status));
        assert!(front.next_piece().is_err(), "{id} {offset} {status}");
    }
}

#[test]
fn a_packet_without_end_is_a_fault() {
    for status in [1, 0, -1] {
        let (mut front, mut back) = receive(40);
        let mut fault = None;
        for _ in 0..40 {
            let request = back.take().unwrap();
            back.answer(&answer_receive(&request, 0, RECEIVE_MORE, status));
            if let Err(error) = front.next_piece() {
                fault = Some(error);
                break;
            }
        }
        assert!(matches!(fault, Some(Fault::PacketTooLong(_))), "slots that say {status}");
    }
}

proptest! {
    /// Whatever stands in the shared page, pieces stay inside their pages, a page is given back only if it was out, and
    /// packets stay bounded; or the ring is given up.
    #[test]
    fn any_bytes_in_the_receive_ring_do_no_harm(
        answers in proptest::collection::vec((any::<[u8; 8]>(), any::<bool>(), 0u32..3), 0..200),
    ) {
        let (mut front, mut back) = receive(64);
        let mut out = [true; 64];
        let mut packet = 0;
        for (mut response, honest_id, jump) in answers {
            if honest_id {
                let slot = back.produced as u16 % 256;
                response[0..2].copy_from_slice(&slot.to_le_bytes());
                response[3] &= 0x0f;
                response[5] = 0;
                response[7] &= 0x0f;
            }
            back.answer(&response);
            back.claim(back.produced.wrapping_add(if jump == 2 { 1 } else { 0 }));
            match front.next_piece() {
                Err(_) => return Ok(()),
                Ok(None) => (),
                Ok(Some(Received::Piece { piece, last, .. })) => {
                    prop_assert!(core::mem::replace(&mut out[piece.page], false));
                    prop_assert!(piece.offset + piece.length <= PAGE_BYTES);
                    packet += piece.length;
                    prop_assert!(packet <= FRAME_BYTES_MAX);
                    packet = if last { 0 } else { packet };
                }
                Ok(Some(Received::Empty { page, last, .. })) => {
                    prop_assert!(core::mem::replace(&mut out[page], false));
                    packet = if last { 0 } else { packet };
                }
            }
        }
    }

    /// The same for transmit: the count of free pages and the table of pages always agree.
    #[test]
    fn any_bytes_in_the_transmit_ring_do_no_harm(
        steps in proptest::collection::vec((1usize..5, any::<[u8; 4]>(), any::<bool>(), any::<bool>()), 0..200),
    ) {
        let (mut front, mut back) = transmit(32);
        let grants: Vec<u32> = (0..32).collect();
        for (pages, mut response, answered, honest) in steps {
            if let Some(first) = front.find(pages) {
                prop_assert!(!front.out[first..first + pages].contains(&true));
                let finish = if pages % 2 == 0 { Finish::Checksum } else { Finish::Segments { size: 1400, v6: true } };
                front.send(first, pages * PAGE_BYTES - 1, finish, &grants);
                let _ = front.publish();
            }
            if answered {
                if honest && let Some(request) = back.take() {
                    response[0..2].copy_from_slice(&request[8..10]);
                    response[2..4].copy_from_slice(&[0, 0]);
                }
                back.answer(&response);
                if front.reclaim().is_err() {
                    return Ok(());
                }
            }
            prop_assert_eq!(front.free, front.out.iter().filter(|out| !**out).count());
        }
    }
}
