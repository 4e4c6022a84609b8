//! The console ring: one page shared with the console daemon of the first domain.
//!
//! Layout (`io/console.h`): 1,024 bytes in, 2,048 bytes out, then four indexes. Indexes only grow; a byte's place is its
//! index modulo the length. The daemon is not trusted: we keep our own copies of the indexes that are ours, and a
//! daemon index outside what can be true counts as "no room" or "nothing there".

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::start_info::StartInfo;
use super::{abi, clock, event, hypercall};

const IN_BYTES: u32 = 1024;
pub const OUT_BYTES: u32 = 2048;
pub const OUT_AT: usize = 1024;
const IN_CONSUMED: usize = 3072;
const IN_PRODUCED: usize = 3076;
const OUT_CONSUMED: usize = 3080;
pub const OUT_PRODUCED: usize = 3084;
/// How long a writer waits for a daemon that does not read.
const PATIENCE_NS: u64 = 1_000_000_000;

static PAGE: AtomicUsize = AtomicUsize::new(0);
static PORT: AtomicU32 = AtomicU32::new(0);
static PRODUCED: AtomicU32 = AtomicU32::new(0);
static CONSUMED: AtomicU32 = AtomicU32::new(0);
/// Up to where the daemon has been told.
static TOLD: AtomicU32 = AtomicU32::new(0);

/// Finds the console page. From here on [`write`] works.
pub fn attach(start: &StartInfo) {
    PORT.store(start.half(abi::start::CONSOLE_PORT), Ordering::Relaxed);
    PAGE.store(StartInfo::address_of(start.word(abi::start::CONSOLE_FRAME)), Ordering::Relaxed);
    PRODUCED.store(index(OUT_PRODUCED).load(Ordering::Relaxed), Ordering::Relaxed);
    TOLD.store(PRODUCED.load(Ordering::Relaxed), Ordering::Relaxed);
    CONSUMED.store(index(IN_CONSUMED).load(Ordering::Relaxed), Ordering::Relaxed);
}

/// The console's event channel, if there is a console.
pub fn port() -> Option<u32> {
    Some(PORT.load(Ordering::Relaxed)).filter(|_| PAGE.load(Ordering::Relaxed) != 0)
}

/// Writes all of `bytes`; after a second without progress the rest is dropped. The daemon is told at a line's end; what is
/// no whole line it hears of before the machine waits ([`tell`]).
pub fn write(bytes: &[u8]) {
    if PAGE.load(Ordering::Relaxed) == 0 {
        return;
    }
    let mut rest = bytes;
    let mut give_up = None;
    while !rest.is_empty() {
        let room = OUT_BYTES.saturating_sub(unread());
        let now = &rest[..rest.len().min(room as usize)];
        let produced = PRODUCED.load(Ordering::Relaxed);
        for (offset, &byte) in now.iter().enumerate() {
            let at = OUT_AT + (produced.wrapping_add(offset as u32) % OUT_BYTES) as usize;
            // SAFETY: `at` is inside the console page, which is mapped and ours to write.
            unsafe { ((PAGE.load(Ordering::Relaxed) + at) as *mut u8).write_volatile(byte) };
        }
        let produced = produced.wrapping_add(now.len() as u32);
        PRODUCED.store(produced, Ordering::Relaxed);
        index(OUT_PRODUCED).store(produced, Ordering::SeqCst);
        rest = &rest[now.len()..];
        if !now.is_empty() {
            give_up = None;
        } else if !wait_once(&mut give_up) {
            return;
        }
    }
    if bytes.contains(&b'\n') {
        tell();
    }
}

/// Tells the daemon of what it has not been told yet.
pub fn tell() {
    let produced = PRODUCED.load(Ordering::Relaxed);
    if TOLD.swap(produced, Ordering::Relaxed) != produced {
        hypercall::notify(PORT.load(Ordering::Relaxed));
    }
}

/// Waits until the daemon took everything, at most a second.
pub fn drain() {
    if PAGE.load(Ordering::Relaxed) == 0 {
        return;
    }
    tell();
    let mut give_up = None;
    while unread() != 0 && wait_once(&mut give_up) {}
}

/// Takes up to `into.len()` typed bytes.
pub fn read(into: &mut [u8]) -> usize {
    if PAGE.load(Ordering::Relaxed) == 0 {
        return 0;
    }
    let consumed = CONSUMED.load(Ordering::Relaxed);
    let there = index(IN_PRODUCED).load(Ordering::Acquire).wrapping_sub(consumed);
    // More than the ring holds cannot be true.
    let count = if there > IN_BYTES { 0 } else { into.len().min(there as usize) };
    for (offset, byte) in into[..count].iter_mut().enumerate() {
        let at = (consumed.wrapping_add(offset as u32) % IN_BYTES) as usize;
        // SAFETY: `at` is inside the console page.
        *byte = unsafe { ((PAGE.load(Ordering::Relaxed) + at) as *const u8).read_volatile() };
    }
    if count > 0 {
        let consumed = consumed.wrapping_add(count as u32);
        CONSUMED.store(consumed, Ordering::Relaxed);
        index(IN_CONSUMED).store(consumed, Ordering::SeqCst);
        hypercall::notify(PORT.load(Ordering::Relaxed));
    }
    count
}

/// Bytes of ours that the daemon has not taken. A lying daemon makes the ring look full.
fn unread() -> u32 {
    let consumed = index(OUT_CONSUMED).load(Ordering::Acquire);
    PRODUCED.load(Ordering::Relaxed).wrapping_sub(consumed).min(OUT_BYTES)
}

/// Sleeps until the daemon signals or a tenth of a second passed; false once patience is at its end.
fn wait_once(give_up: &mut Option<u64>) -> bool {
    let now = clock::monotonic_ns();
    let end = *give_up.get_or_insert(now + PATIENCE_NS);
    if now >= end {
        return false;
    }
    tell();
    let port = PORT.load(Ordering::Relaxed);
    event::clear(port);
    if clock::is_attached() {
        hypercall::poll(&[port], (now + PATIENCE_NS / 10).min(end));
        true
    } else {
        false // Before there is a clock nobody can wait; what has no room is dropped.
    }
}

fn index(at: usize) -> &'static AtomicU32 {
    // SAFETY: the console page is mapped for as long as the machine lives; its four indexes are aligned.
    unsafe { &*((PAGE.load(Ordering::Relaxed) + at) as *const AtomicU32) }
}
