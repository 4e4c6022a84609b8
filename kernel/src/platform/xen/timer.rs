//! The machine's timer: wakes it when a deadline has come.
//!
//! SCHEDOP_poll takes a deadline too, but Xen keeps that timer where the virtual CPU stood when the domain was made, which
//! for the first one is the host's first processor: each sleep would interrupt it, and the first domain with it. The one-shot
//! timer moves to the processor on which it is set (`common/domain.c`). Without it, as when no event channel is left, the
//! poll's own does.
//!
//! A moment that was set stays when a sleep has a later deadline, or none: waking once for nothing costs less than a hypercall
//! for each sleep.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::{clock, event, hypercall};

/// Its event channel; 0 while there is none.
static PORT: AtomicU32 = AtomicU32::new(0);
/// The moment for which it is set, in Xen's system time; 0 when it is not.
static SET_FOR: AtomicU64 = AtomicU64::new(0);

/// Takes the timer.
pub fn attach() {
    // Xen's own ticks, a hundred a second while the machine runs, would come over the same channel.
    hypercall::stop_ticks();
    if let Ok(port) = hypercall::bind_timer() {
        PORT.store(port, Ordering::Relaxed);
    }
}

/// Its event channel, if it has one: a sleep is to end with it.
pub fn port() -> Option<u32> {
    Some(PORT.load(Ordering::Relaxed)).filter(|&port| port != 0)
}

/// Has its event come at `deadline_ns` or before. False when the timer cannot.
pub fn set(deadline_ns: u64) -> bool {
    let Some(port) = port() else { return false };
    let set_for = SET_FOR.load(Ordering::Relaxed);
    if set_for != 0 && set_for <= deadline_ns {
        return true;
    }
    // Not after it is set: its event may come at once. One for the moment before may come too, and whoever sleeps looks at
    // the clock.
    event::clear(port);
    let done = hypercall::set_timer(deadline_ns).is_ok();
    SET_FOR.store(if done { deadline_ns } else { 0 }, Ordering::Relaxed);
    done
}

/// Takes its event, if that came.
pub fn take() -> bool {
    let came = port().is_some_and(event::clear);
    if came {
        SET_FOR.store(0, Ordering::Relaxed);
    }
    came
}

/// Whether a deadline is over.
pub fn is_over(deadline_ns: Option<u64>) -> bool {
    deadline_ns.is_some_and(|deadline| deadline <= clock::monotonic_ns())
}
