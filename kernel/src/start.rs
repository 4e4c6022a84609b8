//! From the carrier's entry code to the program's `main`.

use alloc::ffi::CString;
use alloc::vec::Vec;
use core::ffi::{c_char, c_int, c_void};
use core::fmt::Write;

use crate::crash::Console;
use crate::global::Global;
use crate::platform::{Boot, Current, End, PAGE_BYTES, Platform};
use crate::{c, fd, machine, net, random, signal, thread};

unsafe extern "C" {
    /// What rustc generates around the program's `fn main`.
    fn main(argc: c_int, argv: *const *const c_char, envp: *const *const c_char) -> c_int;
    static __init_array_start: [extern "C" fn(c_int, *const *const c_char, *const *const c_char); 0];
    static __init_array_end: [extern "C" fn(c_int, *const *const c_char, *const *const c_char); 0];
}

/// Arguments and environment in the shape C wants. They live as long as the machine, the environment until it is changed.
struct Words {
    argc: c_int,
    argv: *const *const c_char,
    envp: *const *const c_char,
}

static WORDS: Global<Words> = Global::new(Words { argc: 0, argv: core::ptr::null(), envp: core::ptr::null() });

/// Takes over from the carrier: heap, settings, randomness, devices, threads, then `main`. See [`crate::platform`] for
/// what must be true by now.
pub fn machine(boot: Boot) -> ! {
    machine::start_heap(&boot);
    machine::start_settings(boot.command_line);
    random::start();
    Current::start_devices();
    set_stacks(boot.heap_bytes);
    net::start(Current::cards());
    fd::disk::start(Current::disks());
    fd::start();
    let line = machine::command_line();
    let name = machine::setting("hostname").unwrap_or_else(|| "nymote".into());
    let (argc, argv) = leak_words([name].into_iter().chain(line.arguments));
    let envp = c::set_environment(line.environment);
    WORDS.with(|words| *words = Words { argc, argv, envp });
    let main_stack = boot.heap_bytes / 16;
    if thread::spawn("main", main_stack.clamp(128 << 10, 8 << 20), main_thread, core::ptr::null_mut()).is_none() {
        crate::crash::machine(format_args!("{} bytes of memory are too few for the first thread", boot.heap_bytes));
    }
    thread::run_first()
}

/// The largest stack of a thread: a 64th of the memory, from 128 KiB to 2 MiB, or what the setting says.
fn set_stacks(heap_bytes: usize) {
    let by_memory = (heap_bytes / 64).clamp(128 << 10, 2 << 20);
    let wanted = machine::setting("stack").and_then(|kib| kib.parse::<usize>().ok()).map(|kib| kib << 10);
    thread::set_largest_stack(wanted.unwrap_or(by_memory).min(heap_bytes / 4).next_multiple_of(PAGE_BYTES));
}

fn leak_words(words: impl Iterator<Item = alloc::string::String>) -> (c_int, *const *const c_char) {
    let mut pointers: Vec<*const c_char> = words
        .filter_map(|word| CString::new(word).ok())
        .map(|word| word.into_raw().cast_const())
        .collect();
    let count = pointers.len() as c_int;
    pointers.push(core::ptr::null());
    (count, pointers.leak().as_ptr())
}

extern "C" fn main_thread(_: *mut c_void) -> *mut c_void {
    let (argc, argv, envp) = WORDS.with(|words| (words.argc, words.argv, words.envp));
    net::wait_for_addresses();
    // SAFETY: the linker's two symbols bound an array of initialisers of this shape (std's reads the arguments);
    // rustc's `main` has C's signature.
    let code = unsafe {
        let (mut at, end) = ((&raw const __init_array_start).cast(), (&raw const __init_array_end).cast());
        while at < end {
            let initialise: extern "C" fn(c_int, *const *const c_char, *const *const c_char) = *at;
            initialise(argc, argv, envp);
            at = at.add(1);
        }
        main(argc, argv, envp)
    };
    end(code)
}

/// Ends the machine as the program asked: its disks are flushed first.
pub fn end(code: c_int) -> ! {
    if !fd::disk::flush_all() {
        let _ = writeln!(Console, "kernel: a disk did not take its last flush");
    }
    net::stop();
    if signal::reboot_wanted() { Current::end(End::Reboot) } else { Current::end(End::Exit(code)) }
}
