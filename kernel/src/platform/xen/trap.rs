//! Exceptions: each is final, names itself with its registers, and ends the domain as crashed.
//!
//! Xen enters the handler on the stack of whoever faulted (a PV guest's kernel has no other), having pushed RCX, R11,
//! the error code of those exceptions that have one, RIP, CS, RFLAGS, RSP and SS. The handler then goes to a stack of
//! its own. If the stack itself is the trouble, Xen cannot push and ends the domain by itself, also as crashed; see
//! `tripwire` for how an overflow is named before that.

use core::arch::global_asm;
use core::fmt::Write;
use core::sync::atomic::{AtomicBool, Ordering};

use super::abi::{KERNEL_CODE_SEGMENT, call, schedule};
use super::{console, event, hypercall, tripwire};
use crate::crash::{self, Console, Fault};

/// One entry of Xen's trap table (`trap_info`).
#[repr(C)]
struct Entry {
    vector: u8,
    flags: u8,
    code_segment: u16,
    address: usize,
}

/// Where handlers run.
const STACK_BYTES: usize = 16 << 10;

/// The vectors with a handler, what they are called, and whether the processor gives an error code.
const EXCEPTIONS: [(u8, &str, bool); 14] = [
    (0, "division", false),
    (1, "debug exception", false),
    (3, "breakpoint", false),
    (4, "overflow", false),
    (5, "bound", false),
    (6, "invalid instruction", false),
    (7, "device not available", false),
    (11, "segment not present", true),
    (12, "stack segment", true),
    (13, "general protection", true),
    (14, "page fault", true),
    (16, "floating point", false),
    (17, "alignment", true),
    (19, "vector floating point", false),
];

global_asm!(
    ".macro xen_trap vector",
    "xen_trap_\\vector:",
    "    push \\vector",
    "    jmp xen_trap",
    ".endm",
    ".pushsection .text.xen_trap, \"ax\", @progbits",
    "xen_trap 0",
    "xen_trap 1",
    "xen_trap 3",
    "xen_trap 4",
    "xen_trap 5",
    "xen_trap 6",
    "xen_trap 7",
    "xen_trap 11",
    "xen_trap 12",
    "xen_trap 13",
    "xen_trap 14",
    "xen_trap 16",
    "xen_trap 17",
    "xen_trap 19",
    "xen_trap:",
    "    push r15",
    "    push r14",
    "    push r13",
    "    push r12",
    "    push r10",
    "    push r9",
    "    push r8",
    "    push rbp",
    "    push rdi",
    "    push rsi",
    "    push rdx",
    "    push rbx",
    "    push rax",
    "    cld",
    "    mov rdi, rsp",
    "    lea rsp, [rip + xen_trap_stack + {stack_bytes}]",
    "    xor ebp, ebp",
    "    call {handle}",
    "    ud2",
    ".popsection",
    ".pushsection .rodata.xen_trap, \"a\", @progbits",
    ".p2align 3",
    ".globl xen_trap_entries",
    "xen_trap_entries:",
    "    .quad xen_trap_0, xen_trap_1, xen_trap_3, xen_trap_4, xen_trap_5, xen_trap_6, xen_trap_7, xen_trap_11",
    "    .quad xen_trap_12, xen_trap_13, xen_trap_14, xen_trap_16, xen_trap_17, xen_trap_19",
    ".popsection",
    ".pushsection .bss, \"aw\", @nobits",
    ".p2align 4",
    "xen_trap_stack: .skip {stack_bytes}",
    ".popsection",
    stack_bytes = const STACK_BYTES,
    handle = sym handle,
);

unsafe extern "C" {
    static xen_trap_entries: [usize; EXCEPTIONS.len()];
}

/// What the common entry pushed, below what Xen pushed.
#[repr(C)]
struct Frame {
    registers: [u64; 13],
    vector: u64,
    rcx: u64,
    r11: u64,
    /// Error code (of some vectors), RIP, CS, RFLAGS, RSP, SS.
    rest: [u64; 6],
}

/// Registers in the order in which [`Frame::registers`] has them.
const NAMES: [&str; 13] =
    ["rax", "rbx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r12", "r13", "r14", "r15"];

/// Tells Xen our handlers.
pub fn install() {
    const LAST: Entry = Entry { vector: 0, flags: 0, code_segment: 0, address: 0 };
    let mut table = [LAST; EXCEPTIONS.len() + 1];
    // SAFETY: the table of addresses is constant data that the assembly above defines.
    let entries = unsafe { &xen_trap_entries };
    for (entry, ((vector, _, _), &address)) in table.iter_mut().zip(EXCEPTIONS.iter().zip(entries)) {
        // The low bits of the flags say which rings may raise it by an INT instruction: for the breakpoint all.
        let flags = if *vector == 3 { 3 } else { 0 };
        *entry = Entry { vector: *vector, flags, code_segment: KERNEL_CODE_SEGMENT, address };
    }
    // SAFETY: Xen copies the table, whose last entry is empty; the handlers end the machine.
    let done = unsafe { hypercall::hypercall(call::SET_TRAP_TABLE, [table.as_ptr() as usize, 0, 0, 0]) };
    done.expect("Xen takes a trap table");
}

extern "C" fn handle(frame: *const Frame) -> ! {
    static HANDLING: AtomicBool = AtomicBool::new(false);
    if HANDLING.swap(true, Ordering::Relaxed) {
        console::write(b"kernel: a fault while naming a fault\n");
        console::drain();
        hypercall::shut_down(schedule::REASON_CRASH);
    }
    // SAFETY: the entry code just pushed it, on a stack that nobody uses while we are here.
    let frame = unsafe { &*frame };
    let known = EXCEPTIONS.iter().find(|(vector, _, _)| *vector as u64 == frame.vector);
    let (_, kind, has_code) = known.unwrap_or(&(0, "unknown exception", false));
    let at = usize::from(*has_code);
    let (instruction, stack) = (frame.rest[at] as usize, frame.rest[at + 3] as usize);
    if frame.vector == 1 && tripwire::is_on() {
        write_registers(frame, 0);
        crash::machine(format_args!(
            "stack overflow at {stack:#x}, instruction {instruction:#x}; the setting `stack` allows larger ones"
        ));
    }
    write_registers(frame, if *has_code { frame.rest[0] } else { 0 });
    let address = if frame.vector == 14 { event::fault_address() } else { None };
    crash::fault(Fault { kind, address, instruction, stack })
}

fn write_registers(frame: &Frame, code: u64) {
    let mut column = 0;
    let all = NAMES.iter().zip(&frame.registers).chain([
        (&"rcx", &frame.rcx),
        (&"r11", &frame.r11),
        (&"code", &code),
    ]);
    for (name, value) in all {
        column += 1;
        let end = if column % 4 == 0 { "\n" } else { "  " };
        let _ = write!(Console, "{name:>4} {value:016x}{end}");
    }
}
