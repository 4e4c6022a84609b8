//! Thread stacks: pages of the heap with a guard page below.

use core::ptr::NonNull;

use crate::global::Global;
use crate::platform::{Current, PAGE_BYTES, Platform};

/// Least stack of a thread in bytes, without its guard: the network stack's deepest call needs about 20 KiB.
pub const STACK_BYTES_MIN: usize = 64 << 10;

/// A thread's stack. Its pages come from the heap and go back to it.
pub struct Stack {
    base: Option<NonNull<u8>>,
    bytes: usize,
}

/// Largest stack that is given, whatever is asked for.
static STACK_BYTES_MAX: Global<usize> = Global::new(256 << 10);
/// Guard pages in use, for naming an overflow: addresses of their first bytes.
static GUARDS: Global<[usize; super::THREADS_MAX]> = Global::new([0; super::THREADS_MAX]);

/// Sets the largest stack. std asks for 2 MiB a thread, and pages here are real ones: a small machine gives less.
pub fn set_largest(bytes: usize) {
    STACK_BYTES_MAX.with(|largest| *largest = bytes.max(STACK_BYTES_MIN).next_multiple_of(PAGE_BYTES));
}

/// The largest stack that a program's thread gets.
pub fn largest() -> usize {
    STACK_BYTES_MAX.with(|largest| *largest)
}

impl Stack {
    /// A stack of `wanted` bytes or a little more, or `None` when the heap has no room.
    pub fn new(wanted: usize) -> Option<Self> {
        let bytes = wanted.max(STACK_BYTES_MIN).next_multiple_of(PAGE_BYTES);
        let base = crate::machine::allocate(bytes + PAGE_BYTES, PAGE_BYTES)?;
        let slot = GUARDS.with(|guards| {
            let slot = guards.iter().position(|&guard| guard == 0)?;
            guards[slot] = base.as_ptr() as usize;
            Some(slot)
        });
        if slot.is_none() {
            crate::machine::free(base);
            return None;
        }
        Current::guard(base, true);
        Some(Stack { base: Some(base), bytes: bytes + PAGE_BYTES })
    }

    /// One past its highest address.
    pub fn top(&self) -> usize {
        self.base.map_or(0, |base| base.as_ptr() as usize + self.bytes)
    }

    /// Its lowest usable address and its usable length.
    pub fn range(&self) -> (usize, usize) {
        self.base.map_or((0, 0), |base| (base.as_ptr() as usize + PAGE_BYTES, self.bytes - PAGE_BYTES))
    }

    /// Gives the pages back to the heap. Nobody may stand on them.
    pub fn give_back(&mut self) {
        if let Some(base) = self.base.take() {
            Current::guard(base, false);
            GUARDS.with(|guards| {
                if let Some(guard) = guards.iter_mut().find(|guard| **guard == base.as_ptr() as usize) {
                    *guard = 0;
                }
            });
            crate::machine::free(base);
        }
    }
}

/// Whether `address` lies in some thread's guard page.
pub fn overflow_of(address: usize) -> bool {
    !GUARDS.is_lent()
        && GUARDS.with(|guards| guards.iter().any(|&guard| guard != 0 && (guard..guard + PAGE_BYTES).contains(&address)))
}
