//! The machine's first work, when `nymote build` cut its code into streams: to put it together ([`crate::streams`] has the form).
//!
//! All that runs until then lies at the beginning of the code, which is not cut, and calls nothing else; the linker's script
//! gathers it and the build looks at it. Xen's builder mapped the image writable and executable, and half a megabyte of free
//! memory behind what it handed over (`xen.h`); the rights are set afterwards (`memory`), when nobody writes to code any more.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU32, Ordering};

use super::abi::{self, schedule};
use super::console::{OUT_AT, OUT_BYTES, OUT_PRODUCED};
use super::hypercall;
use super::start_info::StartInfo;
use crate::platform::PAGE_BYTES;
use crate::streams;

/// Free memory that Xen's builder maps behind its stack at least.
const FREE_BYTES: usize = 512 << 10;

// The build finds the note, and says where it put the streams' head and where code ends (toolstack/src/build/segments.rs).
global_asm!(
    ".pushsection .note.Xen, \"a\", @note",
    ".p2align 2",
    ".long 7, 24, 1",
    ".asciz \"nymote\"",
    ".p2align 2",
    ".globl xen_streams",
    "xen_streams: .quad __streams_start, 0, 0",
    ".popsection",
);

unsafe extern "C" {
    static xen_streams: [u64; 3];
    static __image_start: u8;
    static __code_start: u8;
}

/// Puts the code together, if it was cut. Called once, by the first instructions.
#[unsafe(link_section = ".text.xen_restore")]
#[inline(never)]
pub extern "C" fn restore(start_info: usize) {
    // SAFETY: constant data that the assembly above defines; the build, and no code, changes it, so it is read as it lies there.
    let [from, head, end] = unsafe { (&raw const xen_streams).read_volatile() }.map(|word| word as usize);
    if head == 0 {
        return;
    }
    // Behind the page tables the builder has one page of stack, which we left.
    let free = word(start_info, abi::start::PAGE_TABLES)
        + (word(start_info, abi::start::PAGE_TABLE_PAGES) + 1) * PAGE_BYTES;
    let bytes = (word(start_info, abi::start::PAGES) * PAGE_BYTES).saturating_sub(free).min(FREE_BYTES);
    // SAFETY: the build gives the bounds of the code behind this one, which nobody runs yet; the builder mapped it writable, and
    // the free memory too, which nobody uses.
    let (code, free) = unsafe {
        (
            core::slice::from_raw_parts_mut(from as *mut u8, end.saturating_sub(from)),
            core::slice::from_raw_parts_mut(free as *mut u8, bytes),
        )
    };
    let (image, first) = (&raw const __image_start as usize, &raw const __code_start as usize);
    let constants = |address: usize, bytes: usize| {
        let within = (image..first.saturating_sub(bytes)).contains(&address);
        // SAFETY: the place is within the constants, which the builder mapped writable; nobody has looked at what the build left out.
        within.then(|| unsafe { core::slice::from_raw_parts_mut(address as *mut u8, bytes) })
    };
    if streams::restore(code, from as u32, head.wrapping_sub(from), free, constants).is_none() {
        let console = StartInfo::address_of(word(start_info, abi::start::CONSOLE_FRAME) as u64);
        fail(
            console,
            word(start_info, abi::start::CONSOLE_PORT) as u32,
            b"kernel: the image is damaged: its code cannot be put together; build or copy it anew\n",
        );
    }
}

/// A word of the start info page. `StartInfo` has words, elsewhere, for a page that is too short.
#[inline(always)]
fn word(start_info: usize, at: usize) -> usize {
    // SAFETY: Xen passed this address, and the page stays mapped and is ours; all that is read lies within it, aligned.
    unsafe { ((start_info + at) as *const usize).read() }
}

/// Says a line by hand, for the console's code is not there, and ends the domain as crashed.
#[inline(always)]
fn fail(page: usize, port: u32, line: &[u8]) -> ! {
    // SAFETY: the console page is mapped for as long as the machine lives; its indexes are aligned.
    let index = unsafe { &*((page + OUT_PRODUCED) as *const AtomicU32) };
    let mut produced = index.load(Ordering::Relaxed);
    for byte in line {
        // SAFETY: the place is inside the ring, which is ours to write.
        unsafe { ((page + OUT_AT + (produced % OUT_BYTES) as usize) as *mut u8).write_volatile(*byte) };
        produced = produced.wrapping_add(1);
    }
    index.store(produced, Ordering::SeqCst);
    hypercall::notify(port);
    hypercall::shut_down(schedule::REASON_CRASH)
}
