//! From Xen's domain builder to the neutral part: ELF notes, the first instructions, the order in which things come up.

use core::arch::global_asm;
use core::ptr::NonNull;

use super::{clock, console, event, memory, restore, start_info::StartInfo, trap};
use crate::platform::Boot;

/// Bytes of the stack on which the machine starts.
const STACK_BYTES: usize = 64 << 10;

// What the domain builder wants to know (`elfnote.h`). Addresses are virtual and equal pseudo-physical ones.
global_asm!(
    ".pushsection .note.Xen, \"a\", @note",
    ".macro xen_note kind, size, value:vararg",
    "    .p2align 2",
    "    .long 4, \\size, \\kind",
    "    .asciz \"Xen\"",
    "    \\value",
    "    .p2align 2",
    ".endm",
    "xen_note 1, 8, .quad xen_entry",    // ENTRY
    "xen_note 3, 8, .quad 0",            // VIRT_BASE
    "xen_note 4, 8, .quad 0",            // PADDR_OFFSET
    "xen_note 5, 8, .asciz \"xen-3.0\"", // XEN_VERSION
    "xen_note 6, 7, .asciz \"nymote\"",  // GUEST_OS
    "xen_note 8, 8, .asciz \"generic\"", // LOADER
    "xen_note 9, 4, .asciz \"yes\"",     // PAE_MODE
    ".popsection",
);

// The start info's address comes in RSI. The stack of the builder is one page; ours stands above a page that
// `memory::protect` unmaps. Code may lie in streams still: `restore` comes first.
global_asm!(
    ".pushsection .text.xen_entry, \"ax\", @progbits",
    ".globl xen_entry",
    "xen_entry:",
    "    cld",
    "    lea rsp, [rip + xen_boot_stack + {stack_bytes} + 4096]",
    "    xor ebp, ebp",
    "    mov rbx, rsi",
    "    mov rdi, rsi",
    "    call {restore}",
    "    mov rdi, rbx",
    "    call {first}",
    "    ud2",
    ".popsection",
    ".pushsection .bss, \"aw\", @nobits",
    ".p2align 12",
    "xen_boot_stack: .skip {stack_bytes} + 4096",
    ".popsection",
    stack_bytes = const STACK_BYTES,
    restore = sym restore::restore,
    first = sym first,
);

unsafe extern "C" {
    static xen_boot_stack: u8;
}

/// The first Rust code of the machine.
extern "C" fn first(start_info: usize) -> ! {
    // SAFETY: Xen passed this address, and the page stays mapped and is ours.
    let start = unsafe { StartInfo::at(start_info) };
    console::attach(&start);
    trap::install();
    let heap = memory::take_over(&start, &raw const xen_boot_stack as usize);
    clock::attach(heap.shared_info);
    event::attach(heap.shared_info, &start);
    super::timer::attach();
    super::xenstore::attach(&start);
    super::grant::attach(heap.grant_window);
    crate::start::machine(Boot {
        heap: NonNull::new(heap.start as *mut u8).expect("the heap lies above the image"),
        heap_bytes: heap.bytes,
        command_line: start.command_line(),
    })
}
