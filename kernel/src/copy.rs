//! The one copying loop: 64 bytes a turn by 16-byte moves.
//!
//! `rep movsb` is as quick on a processor with ERMS once a block is long, but has a start-up time that the many short
//! blocks of a network program pay each time, and an emulator does it byte by byte. In assembly: the compiler would
//! recognise a loop as `memcpy` itself, and to it copying what somebody else may be changing has no meaning.

use core::arch::asm;

/// The shortest block.
pub const BLOCK_BYTES: usize = 64;

/// Copies `length` bytes, [`BLOCK_BYTES`] at least, from the start on. Ranges may overlap if `to` is the lower one: a turn
/// reads its 64 bytes before it writes them, and the last 64 are read before anything is written.
///
/// # Safety
/// `from` is valid for reads and `to` for writes of `length` bytes. Somebody else may be writing to either.
#[inline(always)]
pub unsafe fn blocks(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: the caller vouches for both ranges, and every access lies within them; the direction flag is not used.
    unsafe {
        asm!(
            "movups xmm4, [rsi + rcx - 64]",
            "movups xmm5, [rsi + rcx - 48]",
            "movups xmm6, [rsi + rcx - 32]",
            "movups xmm7, [rsi + rcx - 16]",
            "lea rdx, [rdi + rcx - 64]",
            "2:",
            "movups xmm0, [rsi]",
            "movups xmm1, [rsi + 16]",
            "movups xmm2, [rsi + 32]",
            "movups xmm3, [rsi + 48]",
            "add rsi, 64",
            "movups [rdi], xmm0",
            "movups [rdi + 16], xmm1",
            "movups [rdi + 32], xmm2",
            "movups [rdi + 48], xmm3",
            "add rdi, 64",
            "cmp rdi, rdx",
            "jb 2b",
            "movups [rdx], xmm4",
            "movups [rdx + 16], xmm5",
            "movups [rdx + 32], xmm6",
            "movups [rdx + 48], xmm7",
            inout("rcx") length => _, inout("rdi") to => _, inout("rsi") from => _, out("rdx") _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            options(nostack),
        );
    }
}
