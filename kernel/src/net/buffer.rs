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

/// The same with `free` bytes left of all memory: a sixteenth of them at most, and none where the program has less left than
/// a sixteenth of the budget. The budget is what there was at the start; the program has taken its own since.
fn buffer_bytes_left(budget: usize, used: usize, free: usize) -> Option<usize> {
    let left = ((free / 16) & !1023).max(BUFFER_BYTES_MIN);
    let bytes = buffer_bytes(budget, used).min(left);
    (used + 2 * bytes <= budget && free >= budget / 16).then_some(bytes)
}

/// Memory for both directions of a connection, and how much each has; `None` when there is none for it.
pub fn buffers(
    budget: usize,
    used: usize,
    free: usize,
) -> Option<(usize, tcp::SocketBuffer<'static>, tcp::SocketBuffer<'static>)> {
    let mut bytes = buffer_bytes_left(budget, used, free)?;
    // It may be there in small pieces only.
    loop {
        match (buffer(bytes), buffer(bytes)) {
            (Some(receive), Some(send)) => return Some((bytes, receive, send)),
            _ if bytes <= BUFFER_BYTES_MIN => return None,
            _ => bytes = (bytes / 4).max(BUFFER_BYTES_MIN),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine of 8 MB: 2 MB at the start, of which the network may have half.
    const BUDGET: usize = 1 << 20;

    #[test]
    fn what_the_program_needs_is_left_to_it() {
        assert_eq!(buffer_bytes_left(BUDGET, 0, 2 << 20), Some(64 << 10));
        assert_eq!(buffer_bytes_left(BUDGET, 0, 512 << 10), Some(32 << 10));
        assert_eq!(buffer_bytes_left(BUDGET, 0, 124 << 10), Some(7 << 10));
        assert_eq!(buffer_bytes_left(BUDGET, 0, 64 << 10), Some(4 << 10));
        assert_eq!(buffer_bytes_left(BUDGET, 0, 63 << 10), None);
        assert_eq!(buffer_bytes_left(BUDGET, BUDGET, 2 << 20), None);
        // One connection after the other, while nobody gives anything back: the program keeps its part.
        let (mut used, mut free, mut connections) = (0, 512 << 10, 0);
        while let Some(bytes) = buffer_bytes_left(BUDGET, used, free) {
            (used, free, connections) = (used + 2 * bytes, free - 2 * bytes, connections + 1);
        }
        assert!(free >= BUDGET / 16 - 2 * (4 << 10) && connections > 20, "{free} left by {connections}");
    }
}
