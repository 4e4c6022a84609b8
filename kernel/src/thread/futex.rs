//! Futexes: std's locks, condition variables and parking stand on them.

use alloc::collections::{BTreeMap, VecDeque};

use super::{Waiting, Woken, block, prepare_to_wait, wake};
use crate::global::Global;

/// Who waits at which address, for which bits, in the order of arrival.
static WAITERS: Global<BTreeMap<usize, VecDeque<(Waiting, u32)>>> = Global::new(BTreeMap::new());

/// How a wait at a futex ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// Somebody woke it.
    Woken,
    /// The value was not the expected one: EAGAIN.
    Changed,
    /// The deadline passed: ETIMEDOUT.
    TimedOut,
}

/// Waits at `address` as long as it holds `expected`, until a [`wake_up`] whose bits meet `bits`.
///
/// # Safety
/// `address` must be valid for reads.
pub unsafe fn wait(address: *const u32, expected: u32, bits: u32, deadline_ns: Option<u64>) -> Waited {
    // SAFETY: the caller's promise; no other thread runs, so a plain volatile read is atomic here.
    if unsafe { address.read_volatile() } != expected {
        return Waited::Changed;
    }
    let key = address as usize;
    let waiting = prepare_to_wait();
    WAITERS.with(|waiters| waiters.entry(key).or_default().push_back((waiting, bits)));
    match block(deadline_ns) {
        Woken::Event | Woken::Signal { .. } => Waited::Woken,
        Woken::Timeout => {
            WAITERS.with(|waiters| {
                if let Some(queue) = waiters.get_mut(&key) {
                    queue.retain(|(other, _)| *other != waiting);
                    if queue.is_empty() {
                        waiters.remove(&key);
                    }
                }
            });
            Waited::TimedOut
        }
    }
}

/// Wakes up to `most` of those who wait at `address` for some of `bits`, first come first served; says how many.
pub fn wake_up(address: *const u32, most: usize, bits: u32) -> usize {
    let key = address as usize;
    let mut woken = 0;
    while woken < most {
        let next = WAITERS.with(|waiters| {
            let queue = waiters.get_mut(&key)?;
            let at = queue.iter().position(|(_, wanted)| wanted & bits != 0)?;
            let (waiting, _) = queue.remove(at)?;
            if queue.is_empty() {
                waiters.remove(&key);
            }
            Some(waiting)
        });
        match next {
            Some(waiting) => woken += usize::from(wake(waiting)),
            None => break,
        }
    }
    woken
}
