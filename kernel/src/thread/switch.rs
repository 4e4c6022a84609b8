//! The change of threads: a function call that returns on another stack.
//!
//! Because it is a call, the compiler has already saved everything the calling convention lets a function destroy:
//! all vector registers among it. What remains is six registers, the control words of the two floating-point units, and
//! the stack pointer. No XSAVE is needed, whatever vector units the program uses.

use core::arch::naked_asm;

/// Saves the present stack pointer to `from` and goes on at `to`; returns when somebody switches back.
///
/// # Safety
/// `to` must come from an earlier switch away from a live stack, or from [`prepare`], and be used once.
#[unsafe(naked)]
pub unsafe extern "C" fn switch(from: *mut usize, to: usize) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8",
        "stmxcsr [rsp]",
        "fnstcw [rsp + 4]",
        "mov [rdi], rsp",
        "mov rsp, rsi",
        "ldmxcsr [rsp]",
        "fldcw [rsp + 4]",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// Makes the stack that ends at `top` look as if it had been switched away from just before calling `entry`.
pub fn prepare(top: usize, entry: extern "C" fn() -> !) -> usize {
    /// MXCSR and x87 control word as the ABI wants them at a program's start.
    const CONTROL_WORDS: u64 = 0x1f80 | (0x037f << 32);
    // From the top: a null return address that ends backtraces, keeping the stack aligned as after a call; the entry;
    // six registers; the control words.
    let frame = [CONTROL_WORDS, 0, 0, 0, 0, 0, 0, entry as usize as u64, 0];
    // On entry to a function the stack pointer is 8 above a multiple of 16.
    let at = (top & !15) - size_of_val(&frame);
    // SAFETY: the caller's stack is longer than this frame, mapped, aligned to 8 and not in use.
    unsafe { (at as *mut [u64; 9]).write(frame) };
    at
}
