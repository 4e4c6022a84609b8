//! The process's first instruction, its memory, its signals, its end.

use core::ffi::{CStr, c_char};
use core::ptr::NonNull;

use super::PROCESS;
use super::linux::{self, call};
use crate::crash::{self, Fault};
use crate::platform::{Boot, PAGE_BYTES};

/// Memory without `NYMOTE_MEMORY`, in MiB.
const MEMORY_MIB_DEFAULT: usize = 64;
const MEMORY_BYTES_MIN: usize = 1 << 20;
const COMMAND_LINE_BYTES_MAX: usize = crate::settings::COMMAND_LINE_BYTES_MAX;
const FAULT_STACK_BYTES: usize = 64 << 10;
const AT_HWCAP2: usize = 26;
/// AT_HWCAP2: programs may set the FS base by themselves.
const HWCAP2_FSGSBASE: usize = 2;

const SIGINT: usize = 2;
const SIGABRT: usize = 6;
const SIGPIPE: usize = 13;
const SIGTERM: usize = 15;
/// Faults, and what to call them.
const FAULTS: [(usize, &str); 4] =
    [(4, "invalid instruction"), (7, "bus error"), (8, "division error"), (11, "page fault")];

/// The process's arguments and environment, as Linux put them on the first stack.
#[derive(Clone, Copy)]
pub struct Words {
    arguments: *const *const c_char,
    environment: *const *const c_char,
}

impl Words {
    /// None yet.
    pub const fn none() -> Self {
        Words { arguments: core::ptr::null(), environment: core::ptr::null() }
    }

    /// The value of an environment variable.
    pub fn variable(&self, name: &str) -> Option<&'static [u8]> {
        list(self.environment).find_map(|word| word.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }
}

/// The words of a list that ends with a null pointer.
fn list(mut at: *const *const c_char) -> impl Iterator<Item = &'static [u8]> {
    core::iter::from_fn(move || {
        // SAFETY: Linux's lists end with a null pointer, and their words with NUL; both stay for the process's life.
        unsafe {
            if at.is_null() || (*at).is_null() {
                return None;
            }
            let word = CStr::from_ptr(*at).to_bytes();
            at = at.add(1);
            Some(word)
        }
    })
}

/// The entry point: the stack pointer is at the argument count.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    core::arch::naked_asm!("xor ebp, ebp", "mov rdi, rsp", "and rsp, -16", "call {enter}", "ud2", enter = sym enter)
}

unsafe extern "C" fn enter(stack: *const usize) -> ! {
    // SAFETY: Linux lays out: count, arguments, null, environment, null, auxiliary vector of pairs, ended by 0.
    let words = unsafe {
        let arguments = stack.add(1);
        let environment = arguments.add(*stack + 1);
        let mut auxiliary = environment;
        while *auxiliary != 0 {
            auxiliary = auxiliary.add(1);
        }
        auxiliary = auxiliary.add(1);
        while *auxiliary != 0 {
            if *auxiliary == AT_HWCAP2 {
                let fast = *auxiliary.add(1) & HWCAP2_FSGSBASE != 0;
                PROCESS.with(|process| process.fast_thread_pointer = fast);
            }
            auxiliary = auxiliary.add(2);
        }
        Words { arguments: arguments.cast(), environment: environment.cast() }
    };
    PROCESS.with(|process| process.words = words);
    catch_faults();
    let asked = words.variable("NYMOTE_MEMORY").and_then(memory_bytes);
    let heap_bytes = asked.unwrap_or(MEMORY_MIB_DEFAULT << 20).max(MEMORY_BYTES_MIN) & !(PAGE_BYTES - 1);
    let access = linux::PROT_READ | linux::PROT_WRITE;
    /// MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE.
    const MAPPING: usize = 0x2 | 0x20 | 0x4000;
    // SAFETY: a fresh mapping wherever Linux likes it.
    let heap = unsafe { call(linux::MMAP, [0, heap_bytes, access, MAPPING, usize::MAX, 0]) };
    match NonNull::new(heap as *mut u8) {
        Some(heap) if (heap.as_ptr() as isize) > 0 => {
            crate::start::machine(Boot { heap, heap_bytes, command_line: command_line(words) })
        }
        _ => crash::machine(format_args!("Linux gives no {} KiB of memory", heap_bytes >> 10)),
    }
}

/// MiB, or KiB with a K behind the number.
fn memory_bytes(text: &[u8]) -> Option<usize> {
    match text.strip_suffix(b"K") {
        Some(kib) => number(kib)?.checked_mul(1 << 10),
        None => number(text)?.checked_mul(1 << 20),
    }
}

fn number(text: &[u8]) -> Option<usize> {
    core::str::from_utf8(text).ok()?.parse().ok()
}

/// The process's arguments as one line, each in quotes that the line's grammar takes off again. Settings and `--` stay
/// what they are in quotes.
fn command_line(words: Words) -> &'static [u8] {
    static mut LINE: [u8; COMMAND_LINE_BYTES_MAX] = [0; COMMAND_LINE_BYTES_MAX];
    let line = &raw mut LINE;
    // SAFETY: called once, before anything else runs.
    let line = unsafe { &mut *line };
    let mut length = 0;
    let mut put = |byte: u8| {
        if length < COMMAND_LINE_BYTES_MAX {
            line[length] = byte;
            length += 1;
        }
    };
    for word in list(words.arguments).skip(1) {
        put(b'"');
        for &byte in word {
            if matches!(byte, b'"' | b'\\') {
                put(b'\\');
            }
            put(byte);
        }
        put(b'"');
        put(b' ');
    }
    &line[..length]
}

/// Linux's `struct sigaction`.
#[repr(C)]
struct Action {
    handler: usize,
    flags: usize,
    restorer: usize,
    mask: u64,
}

/// Has faults reported on a stack of their own: the thread's may be what is broken.
fn catch_faults() {
    static mut STACK: [u8; FAULT_STACK_BYTES] = [0; FAULT_STACK_BYTES];
    const SA_SIGINFO: usize = 4;
    const SA_ONSTACK: usize = 0x0800_0000;
    const SA_RESTORER: usize = 0x0400_0000;
    let stack = [(&raw mut STACK) as usize, 0, FAULT_STACK_BYTES];
    // SAFETY: the structures outlive the calls; the stack is used by nobody else; the handler never returns, so its
    // restorer is never called.
    unsafe {
        call(linux::SIGALTSTACK, [&raw const stack as usize, 0, 0, 0, 0, 0]);
        for (signal, _) in FAULTS {
            let handler = report_fault as *const () as usize;
            let action =
                Action { handler, flags: SA_SIGINFO | SA_ONSTACK | SA_RESTORER, restorer: handler, mask: 0 };
            call(linux::RT_SIGACTION, [signal, &raw const action as usize, 0, 8, 0, 0]);
        }
    }
}

extern "C" fn report_fault(signal: usize, info: *const usize, context: *const usize) {
    let kind = FAULTS.iter().find(|(number, _)| *number == signal).map_or("fault", |(_, kind)| kind);
    // SAFETY: Linux hands in a `siginfo_t`, whose address field is its third word, and a `ucontext_t`, whose general
    // registers begin at its sixth word; RSP is the 16th of them and RIP the 17th.
    let (address, stack, instruction) = unsafe { (*info.add(2), *context.add(5 + 15), *context.add(5 + 16)) };
    let address = (signal == 11 || signal == 7).then_some(address);
    crash::fault(Fault { kind, address, instruction, stack });
}

fn mask(signals: &[usize]) -> u64 {
    signals.iter().map(|signal| 1_u64 << (signal - 1)).sum()
}

/// Turns SIGTERM and SIGINT into something to read, and lets SIGPIPE be.
pub fn signal_descriptor() -> i32 {
    const SIG_BLOCK: usize = 0;
    const SFD_NONBLOCK: usize = 0o4000;
    let blocked = mask(&[SIGINT, SIGTERM, SIGPIPE]);
    let read = mask(&[SIGINT, SIGTERM]);
    // SAFETY: the masks outlive the calls.
    unsafe {
        call(linux::RT_SIGPROCMASK, [SIG_BLOCK, &raw const blocked as usize, 0, 8, 0, 0]);
        call(linux::SIGNALFD4, [usize::MAX, &raw const read as usize, 8, SFD_NONBLOCK, 0, 0]) as i32
    }
}

/// The next signal that has arrived.
pub fn next_signal(descriptor: i32) -> Option<u32> {
    let mut info = [0_u32; 32];
    // SAFETY: a `signalfd_siginfo` is 128 bytes long and begins with the signal's number.
    let got = unsafe { call(linux::READ, [descriptor as usize, &raw mut info as usize, 128, 0, 0, 0]) };
    (got == 128).then_some(info[0])
}

/// Starts the process's program again: a reboot.
pub fn again() -> ! {
    let words = PROCESS.with(|process| process.words);
    let (path, blocked) = (c"/proc/self/exe", 0_u64);
    const SIG_SETMASK: usize = 2;
    // SAFETY: Linux's own lists, still as they were.
    unsafe {
        call(linux::RT_SIGPROCMASK, [SIG_SETMASK, &raw const blocked as usize, 0, 8, 0, 0]);
        call(
            linux::EXECVE,
            [path.as_ptr() as usize, words.arguments as usize, words.environment as usize, 0, 0, 0],
        );
    }
    linux::exit(1)
}

/// Ends the process by SIGABRT.
pub fn abort() {
    // SAFETY: both calls take numbers.
    unsafe {
        let me = call(linux::GETPID, [0; 6]);
        call(linux::KILL, [me as usize, SIGABRT, 0, 0, 0, 0]);
    }
}
