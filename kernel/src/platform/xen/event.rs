//! Event channels, without upcalls.
//!
//! Xen could interrupt us when an event comes; it never does here, because the virtual CPU's upcalls stay masked from
//! its first instruction on. Events are bits that wait to be looked at: [`wait`] blocks in the hypervisor until one of
//! ours is set (SCHEDOP_poll also looks at masked channels), [`take`] clears and returns them. Nothing happens
//! asynchronously, so the red zone below the stack pointer is safe and nothing needs a lock.

use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::abi::{self, shared};
use super::start_info::StartInfo;
use super::{clock, console, hypercall, timer};

/// Event channels that a machine listens to: console, xenstore, and one or two a device.
pub const PORTS_MAX: usize = 48;

static SHARED_INFO: AtomicUsize = AtomicUsize::new(0);
static PORTS: [AtomicU32; PORTS_MAX] = [const { AtomicU32::new(0) }; PORTS_MAX];

/// Finds the pending bits and listens to console and xenstore.
pub fn attach(shared_info: usize, start: &StartInfo) {
    SHARED_INFO.store(shared_info, Ordering::Relaxed);
    // SAFETY: a byte of the shared info page; 1 is what the builder set, and it stays.
    unsafe { ((shared_info + shared::VCPU_MASK) as *mut u8).write_volatile(1) };
    for at in (0..512).step_by(8) {
        bits(shared::MASK + at).store(u64::MAX, Ordering::Relaxed);
    }
    if let Some(port) = console::port() {
        listen(port);
    }
    listen(start.half(abi::start::STORE_PORT));
}

/// Adds a port to those that [`wait`] wakes for. False when there are too many.
pub fn listen(port: u32) -> bool {
    let free = PORTS.iter().find(|entry| entry.load(Ordering::Relaxed) == 0);
    free.inspect(|entry| entry.store(port, Ordering::Relaxed)).is_some()
}

/// Forgets a port and closes it.
pub fn close(port: u32) {
    if let Some(entry) = PORTS.iter().find(|entry| entry.load(Ordering::Relaxed) == port) {
        entry.store(0, Ordering::Relaxed);
    }
    hypercall::close_port(port);
    clear(port);
}

/// The longest sleep: Xen's times are signed and its timers' arithmetic is not made for centuries. Who waits for ever is
/// woken once a day and sleeps on.
const SLEEP_NS_MAX: u64 = 86_400_000_000_000;

/// Blocks until an event of ours is pending or the system time reaches `deadline_ns`.
pub fn wait(deadline_ns: Option<u64>) {
    console::tell();
    let mut ports = [0; PORTS_MAX + 1];
    let mut count = 0;
    let listened_to = PORTS.iter().map(|entry| entry.load(Ordering::Relaxed)).filter(|&port| port != 0);
    for port in listened_to.chain(timer::port()) {
        ports[count] = port;
        count += 1;
    }
    // Xen takes 0 as "no deadline"; the time zero is past anyway.
    let longest = clock::latest_ns().saturating_add(SLEEP_NS_MAX);
    let deadline_ns = deadline_ns.map(|deadline| deadline.clamp(1, longest));
    loop {
        let poll_until_ns = deadline_ns.filter(|&deadline| !timer::set(deadline)).unwrap_or(0);
        hypercall::poll(&ports[..count], poll_until_ns);
        // The timer may have been set for an earlier sleep.
        if !timer::take() || is_any_pending() || timer::is_over(deadline_ns) {
            return;
        }
    }
}

/// Clears the pending bits of our ports; true when there was one.
pub fn take() -> bool {
    let mut any = false;
    for port in PORTS.iter().map(|entry| entry.load(Ordering::Relaxed)).filter(|&port| port != 0) {
        any |= clear(port);
    }
    any
}

/// Whether an event of ours waits to be taken.
pub fn is_any_pending() -> bool {
    PORTS.iter().map(|entry| entry.load(Ordering::Relaxed)).any(|port| port != 0 && is_pending(port))
}

fn is_pending(port: u32) -> bool {
    port < 4096
        && bits(shared::PENDING + port as usize / 64 * 8).load(Ordering::Relaxed) & 1 << (port % 64) != 0
}

/// Clears one port's pending bit; true when it was set.
pub fn clear(port: u32) -> bool {
    if SHARED_INFO.load(Ordering::Relaxed) == 0 || port >= 4096 {
        return false;
    }
    let mask = 1u64 << (port % 64);
    let word = bits(shared::PENDING + port as usize / 64 * 8);
    word.load(Ordering::Relaxed) & mask != 0 && word.fetch_and(!mask, Ordering::SeqCst) & mask != 0
}

/// The fault address that Xen left for the page fault handler.
pub fn fault_address() -> Option<usize> {
    let page = SHARED_INFO.load(Ordering::Relaxed);
    // SAFETY: an aligned word of the shared info page.
    (page != 0).then(|| unsafe { ((page + shared::FAULT_ADDRESS) as *const usize).read_volatile() })
}

fn bits(at: usize) -> &'static AtomicU64 {
    // SAFETY: an aligned word of the shared info page, which is mapped for as long as the machine lives.
    unsafe { &*((SHARED_INFO.load(Ordering::Relaxed) + at) as *const AtomicU64) }
}
