//! A network backend that does anything at all: it writes to both rings' pages as it likes. What the front end takes stays
//! inside its pages and within the longest frame, and a page is never both ours and the backend's. A packet that stands in
//! one stretch stands in its own pages.
#![no_main]

use kernel::platform::PAGE_BYTES;
use kernel::platform::xen::netif::{FRAME_BYTES_MAX, Finish, Receive, Received, Transmit};
use kernel::platform::xen::packet::Packet;
use kernel::platform::xen::shared::{Local, Shared};
use libfuzzer_sys::fuzz_target;

const PAGES: usize = 32;

fuzz_target!(|bytes: &[u8]| {
    let (receive_page, transmit_page) = (Local::new(PAGE_BYTES), Local::new(PAGE_BYTES));
    let (mut receive, mut transmit) =
        (Receive::new(receive_page.clone()), Transmit::new(transmit_page.clone(), PAGES));
    let grants: Vec<u32> = (0..PAGES as u32).collect();
    let mut ours = [false; PAGES];
    (0..PAGES).for_each(|page| receive.post(page, grants[page]));
    let _ = receive.publish();
    let mut packet = Packet::default();
    for step in bytes.chunks(8) {
        let (what, rest) = (step[0], &step[1..]);
        let page = if what & 1 == 0 { &receive_page } else { &transmit_page };
        match what >> 1 & 3 {
            // An index, mostly near where it could be.
            0 => page.store(8, rest.first().map_or(0, |&index| u32::from(index)) << (what >> 6 & 1) * 24),
            // A slot.
            1 => {
                let at = 64 + rest.first().map_or(0, |&slot| usize::from(slot)) * 8 % (PAGE_BYTES - 72);
                page.copy_in(at, &rest[rest.len().min(1)..]);
            }
            2 => {
                if let Some(first) = transmit.find(1 + usize::from(what >> 5)) {
                    transmit.send(first, PAGE_BYTES, Finish::Checksum, &grants);
                }
                let _ = transmit.publish();
            }
            _ => {
                let _ = transmit.reclaim();
                loop {
                    let (page, last) = match receive.next_piece() {
                        Ok(Some(Received::Piece { piece, last, .. })) => {
                            assert!(piece.offset + piece.length <= PAGE_BYTES);
                            packet.piece(piece);
                            (piece.page, last)
                        }
                        Ok(Some(Received::Empty { page, dropped, last })) => {
                            packet.empty(page, dropped);
                            (page, last)
                        }
                        Ok(None) => break,
                        Err(_) => return,
                    };
                    assert!(!ours[page], "page {page} came back twice");
                    ours[page] = true;
                    assert!(packet.bytes() <= FRAME_BYTES_MAX);
                    if !last {
                        continue;
                    }
                    if let Some(stretch) = packet.stretch() {
                        let places = stretch.start..stretch.start + packet.bytes();
                        let ends = places.clone().step_by(PAGE_BYTES).chain(places.last());
                        assert!(ends.map(|at| at / PAGE_BYTES).all(|page| packet.pages().contains(&page)));
                    }
                    // Posted again, they are the backend's once more.
                    for &page in packet.pages() {
                        receive.post(page, grants[page]);
                        ours[page] = false;
                    }
                    packet.clear();
                }
                let _ = receive.publish();
            }
        }
    }
});
