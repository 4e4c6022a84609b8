//! Names a stack overflow before it is one.
//!
//! An exception of a PV guest is pushed on the stack of whoever caused it; when that stack has just run into its guard
//! page, Xen cannot push, and ends the domain without a word of ours. So the processor's four data breakpoints watch
//! words some way above the guard page of the running thread: a stack that grows down to them writes to one sooner or
//! later, there is room left for the exception's frame, and its handler names the overflow. A thread has that much less
//! stack. The guard page stays behind it, for frames that step over all four without writing.

use core::sync::atomic::{AtomicBool, Ordering};

use super::abi::call;
use super::hypercall::hypercall;

/// Where the words are, in bytes above the lowest usable address: frames of up to eight kilobytes keep room below
/// them, and distances without a common divisor but the word's length make it unlikely that frames step over all.
const WORDS_AT: [usize; 4] = [8192, 8192 + 104, 8192 + 296, 8192 + 568];
/// DR7: all four breakpoints on, on writes, eight bytes long.
const ALL_ON_WRITE: usize = 0x9999_0455;
const CONTROL: usize = 7;

static ON: AtomicBool = AtomicBool::new(false);

/// Watches the stack whose lowest usable address is `lowest`.
pub fn watch(lowest: usize) {
    for (register, at) in WORDS_AT.iter().enumerate() {
        set(register, lowest + at);
    }
    if !ON.swap(true, Ordering::Relaxed) {
        set(CONTROL, ALL_ON_WRITE);
    }
}

/// Whether a debug exception means that a watched word was written.
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

fn set(register: usize, value: usize) {
    // SAFETY: a data breakpoint on memory of ours leads to our own handler. If Xen refuses, the guard page is left.
    let _ = unsafe { hypercall(call::SET_DEBUGREG, [register, value, 0, 0]) };
}
