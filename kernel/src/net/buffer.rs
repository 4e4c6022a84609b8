//! Memory for what a connection sends and receives: how much, and where from.

use alloc::vec::Vec;

use smoltcp::socket::tcp;

/// Largest buffer of one direction of a connection, in bytes.
const BUFFER_BYTES_MAX: usize = 2 << 20;
/// The smallest.
pub const BUFFER_BYTES_MIN: usize = 2 << 10;

/// The buffer of one direction of a new connection, by how many quarters of the budget are used: large while few are
/// open, much smaller after that. So a few transfers run at full speed, and thousands of idle connections still fit.
pub fn buffer_bytes(budget: usize, used: usize) -> usize {
    const SHIFTS: [usize; 4] = [0, 4, 8, 10];
    let large = (budget / 16).clamp(BUFFER_BYTES_MIN, BUFFER_BYTES_MAX);
    let quarters = used.saturating_mul(4) / budget.max(1);
    ((large >> SHIFTS[quarters.min(3)]) & !1023).max(BUFFER_BYTES_MIN)
}

/// Memory for a buffer, or `None` when there is no such piece. Nobody fills it with zeroes first: large buffers would cost
/// a short connection more than all the rest of it.
pub fn buffer(bytes: usize) -> Option<tcp::SocketBuffer<'static>> {
    let mut memory: Vec<u8> = Vec::new();
    memory.try_reserve_exact(bytes).ok()?;
    if cfg!(miri) {
        memory.resize(bytes, 0);
    } else {
        // SAFETY: the bytes are allocated, and any value is good: smoltcp's ring shows none that it did not write. To the
        // compiler the assembly has written them, as it may have with the pointer.
        unsafe {
            core::arch::asm!("/* {} */", in(reg) memory.as_mut_ptr(), options(nostack, preserves_flags));
            memory.set_len(bytes);
        }
    }
    Some(tcp::SocketBuffer::new(memory))
}
