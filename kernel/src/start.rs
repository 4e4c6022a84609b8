//! From the carrier's entry code to the program's `main`.

use crate::platform::Boot;

/// Takes over from the carrier: heap, devices, threads, then `main`. See [`crate::platform`] for what must be true by
/// now and what is called in which order.
pub fn machine(boot: Boot) -> ! {
    crate::crash::machine(format_args!("the heap at {:p} has no allocator yet", boot.heap))
}
