//! Time, from the pages that Xen keeps current: no hypercall, no interrupt, no drift.
//!
//! Xen's system time is nanoseconds since the host booted. The time page (`vcpu_time_info` of `xen.h`) gives it for one
//! value of the time stamp counter, with the factor to go on from there; it is read under its version number, which is
//! odd while Xen writes. Wall clock = its value when the system time was zero + system time.

use core::arch::x86_64::_rdtsc;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

use super::abi::shared;

static SHARED_INFO: AtomicUsize = AtomicUsize::new(0);
/// The latest time that was told: the clock never goes back, whatever the processors' counters do.
static LATEST: AtomicU64 = AtomicU64::new(0);

/// Finds the time pages.
pub fn attach(shared_info: usize) {
    SHARED_INFO.store(shared_info, Ordering::Relaxed);
}

/// Whether there is a clock yet.
pub fn is_attached() -> bool {
    SHARED_INFO.load(Ordering::Relaxed) != 0
}

/// Xen's system time in nanoseconds; 0 before [`attach`].
pub fn monotonic_ns() -> u64 {
    if !is_attached() {
        return 0;
    }
    let now = consistent(shared::VCPU_TIME, |base| {
        // SAFETY: RDTSC is there on every 64-bit processor, and Xen lets PV guests use it.
        let counter = unsafe { _rdtsc() };
        let multiplier = word(base + 24) as u32;
        let shift = (word(base + 24) >> 32) as u8 as i8;
        let elapsed = scale(counter.wrapping_sub(word(base + 8)), multiplier, shift);
        word(base + 16).wrapping_add(elapsed)
    });
    LATEST.fetch_max(now, Ordering::Relaxed).max(now)
}

/// What [`monotonic_ns`] said last.
pub fn latest_ns() -> u64 {
    LATEST.load(Ordering::Relaxed)
}

/// Nanoseconds since 1970.
pub fn wall_clock_ns() -> u64 {
    if !is_attached() {
        return 0;
    }
    let at_zero = consistent(shared::WALL_CLOCK, |base| {
        let (seconds, nanoseconds) = (half(base + 4) as u64, half(base + 8) as u64);
        let high = half(base + 12) as u64;
        (seconds | high << 32) * 1_000_000_000 + nanoseconds
    });
    at_zero + monotonic_ns()
}

/// Counter ticks to nanoseconds: `ticks × 2^shift × multiplier / 2^32`.
fn scale(ticks: u64, multiplier: u32, shift: i8) -> u64 {
    let ticks = if shift < 0 { ticks >> shift.unsigned_abs() } else { ticks << shift };
    ((ticks as u128 * multiplier as u128) >> 32) as u64
}

/// Reads something that Xen may be writing: again until its version is even and did not change meanwhile.
fn consistent<T>(at: usize, read: impl Fn(usize) -> T) -> T {
    let base = SHARED_INFO.load(Ordering::Relaxed) + at;
    // SAFETY: the shared info page is mapped for as long as the machine lives; versions are aligned words of it.
    let version = unsafe { &*(base as *const AtomicU32) };
    loop {
        let before = version.load(Ordering::Acquire);
        let value = read(base);
        fence(Ordering::Acquire);
        if before & 1 == 0 && version.load(Ordering::Relaxed) == before {
            return value;
        }
        core::hint::spin_loop();
    }
}

fn word(address: usize) -> u64 {
    // SAFETY: an aligned word of the shared info page.
    unsafe { (address as *const u64).read_volatile() }
}

fn half(address: usize) -> u32 {
    // SAFETY: an aligned half word of the shared info page.
    unsafe { (address as *const u32).read_volatile() }
}
