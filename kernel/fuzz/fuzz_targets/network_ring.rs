//! A network backend that does anything at all: it writes to both rings' pages as it likes. What the front end takes stays
//! inside its pages and within the longest frame, and a page is never both ours and the backend's.
#![no_main]

use kernel::platform::PAGE_BYTES;
use kernel::platform::xen::netif::{FRAME_BYTES_MAX, Finish, Receive, Received, Transmit};
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
    let mut frame_bytes = 0;
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
                    let page = match receive.next_piece() {
                        Ok(Some(Received::Piece { piece, last, .. })) => {
                            assert!(piece.offset + piece.length <= PAGE_BYTES);
                            frame_bytes = if last { 0 } else { frame_bytes + piece.length };
                            assert!(frame_bytes <= FRAME_BYTES_MAX);
                            piece.page
                        }
                        Ok(Some(Received::Empty { page, last, .. })) => {
                            frame_bytes = if last { 0 } else { frame_bytes };
                            page
                        }
                        Ok(None) => break,
                        Err(_) => return,
                    };
                    assert!(!ours[page], "page {page} came back twice");
                    ours[page] = true;
                    // Posted again, it is the backend's once more.
                    receive.post(page, grants[page]);
                    ours[page] = false;
                }
                let _ = receive.publish();
            }
        }
    }
});
