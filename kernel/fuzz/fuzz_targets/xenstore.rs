//! A xenstore daemon that does anything at all: requests are answered or the connection is over, never more than asked.
#![no_main]

use kernel::platform::PAGE_BYTES;
use kernel::platform::xen::shared::{Local, Shared};
use kernel::platform::xen::xenstore_wire::{Kind, PAYLOAD_BYTES_MAX, Wire};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let page = Local::new(PAGE_BYTES);
    let mut wire = Wire::new(page.clone());
    let (mut produced, mut asked) = (0_u32, Vec::new());
    for step in bytes.chunks(20) {
        let (what, rest) = (step[0], &step[1..]);
        match what & 3 {
            0 => asked.extend(wire.start(if what & 4 == 0 { Kind::Read } else { Kind::Write }, &[rest])),
            // Honest bytes in the answer ring.
            1 | 2 => {
                for &byte in rest {
                    page.copy_in(1024 + (produced % 1024) as usize, &[byte]);
                    produced = produced.wrapping_add(1);
                }
                page.store(2060, produced);
            }
            // Any index.
            _ => page.store(2048 + usize::from(what >> 2 & 3) * 4, u32::from(what) << 4),
        }
        wire.turn();
        asked.retain(|&id| match wire.answer(id) {
            Some(Ok(answer)) => {
                assert!(answer.len() <= PAYLOAD_BYTES_MAX);
                false
            }
            Some(Err(_)) => false,
            None => true,
        });
        while wire.event().is_some() {}
    }
});
