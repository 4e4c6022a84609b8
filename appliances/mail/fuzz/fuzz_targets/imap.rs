//! What an IMAP client says: however its bytes come, commands are cut the same way, and reading them never panics. The
//! first byte says in which pieces they come.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mail::imap::grammar::{Frame, Framer, Limits, parse};

const LIMITS: Limits = Limits { command_bytes_max: 2_000, message_bytes_max: 5_000 };

fn commands(pieces: std::slice::Chunks<'_, u8>) -> (Vec<Vec<u8>>, bool) {
    let mut framer = Framer::new();
    let mut found = Vec::new();
    for piece in pieces {
        framer.push(piece);
        loop {
            match framer.next(LIMITS) {
                Frame::Command(command) => {
                    assert!(command.len() <= LIMITS.command_bytes_max + 1_000 * LIMITS.message_bytes_max);
                    found.push(command);
                }
                Frame::Incomplete => break,
                Frame::Lost => return (found, true),
                Frame::Continue | Frame::TooBig { .. } => {}
            }
        }
    }
    (found, false)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let (found, lost) = commands(rest.chunks(rest.len().max(1)));
    if !lost {
        let (again, _) = commands(rest.chunks(usize::from(*first).max(1)));
        assert_eq!(found, again, "pieces of {first} bytes");
    }
    for command in &found {
        let _ = parse(command, false);
        let _ = parse(command, true);
    }
});
