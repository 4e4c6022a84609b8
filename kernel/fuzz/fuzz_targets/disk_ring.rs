//! A disk backend that does anything at all: an answer is for a request that is out, once.
#![no_main]

use kernel::platform::PAGE_BYTES;
use kernel::platform::xen::blkif::{Ask, Requests, Segment};
use kernel::platform::xen::shared::{Local, Shared};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let page = Local::new(PAGE_BYTES);
    let mut ring = Requests::new(page.clone(), 51712);
    let mut out = vec![false; ring.places()];
    for step in bytes.chunks(14) {
        match step[0] & 3 {
            0 => page.store(8, u32::from(*step.get(1).unwrap_or(&0)) << (step[0] >> 6 & 1) * 24),
            1 => {
                let at = 64 + usize::from(step[0] >> 2) % 32 * 112;
                page.copy_in(at, &step[1..]);
            }
            2 => {
                if let Some(place) = ring.free_place() {
                    assert!(!out[place], "place {place} was given twice");
                    let segment = Segment { grant: 1, first: 0, last: 7 };
                    ring.send(place, Ask::Write { sector: 8 }, &[segment], None);
                    out[place] = true;
                }
                let _ = ring.publish();
            }
            _ => loop {
                match ring.next_answer() {
                    Ok(Some((place, _))) => {
                        assert!(out[place], "place {place} was not out");
                        out[place] = false;
                    }
                    Ok(None) => break,
                    Err(_) => return,
                }
            },
        }
    }
});
