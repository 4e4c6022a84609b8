//! Process-wide things: environment, exit, errors' names, system figures, signals.

use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::{CStr, c_char, c_int, c_long, c_void};
use core::fmt::Write;

use super::{Answer, fail, number};
use crate::crash::Console;
use crate::environment::Environment;
use crate::errno::{self, Errno};
use crate::global::Global;
use crate::platform::PAGE_BYTES;
use crate::thread::Woken;
use crate::{signal, start, thread};

#[unsafe(no_mangle)]
extern "C" fn __errno_location() -> *mut c_int {
    thread::local::errno()
}

static ENVIRONMENT: Global<Environment> = Global::new(Environment::EMPTY);
/// The environment in C's shape. std reads and changes it under a lock of its own.
#[unsafe(no_mangle)]
static mut environ: *const *const c_char = core::ptr::null();

/// Fills the environment before the program starts; gives it in C's shape.
pub fn set_environment(words: Vec<String>) -> *const *const c_char {
    let _ = change_environment(|environment| {
        environment.extend(words);
        Ok(())
    });
    ENVIRONMENT.with(|environment| environment.pointers())
}

fn change_environment(change: impl FnOnce(&mut Environment) -> Result<(), Errno>) -> Result<(), Errno> {
    ENVIRONMENT.with(|environment| {
        let result = change(environment);
        // SAFETY: whoever reads `environ` does not while it is changed: that is C's contract for setenv.
        unsafe { environ = environment.pointers() };
        result
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getenv(name: *const c_char) -> *mut c_char {
    // SAFETY: C's contract for getenv: a string that ends with NUL.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    ENVIRONMENT.with(|environment| environment.get(name)).map_or(core::ptr::null_mut(), <*const c_char>::cast_mut)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn setenv(name: *const c_char, value: *const c_char, replace: c_int) -> c_int {
    // SAFETY: C's contract for setenv: two strings that end with NUL.
    let (name, value) = unsafe { (CStr::from_ptr(name).to_bytes(), CStr::from_ptr(value).to_bytes()) };
    change_environment(|environment| environment.set(name, value, replace != 0)).answer() as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unsetenv(name: *const c_char) -> c_int {
    // SAFETY: C's contract for unsetenv: a string that ends with NUL.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    change_environment(|environment| environment.remove(name)).answer() as c_int
}

#[unsafe(no_mangle)]
extern "C" fn exit(code: c_int) -> ! {
    start::end(code)
}

#[unsafe(no_mangle)]
extern "C" fn _exit(code: c_int) -> ! {
    start::end(code)
}

#[unsafe(no_mangle)]
extern "C" fn abort() -> ! {
    if crate::machine::is_heap_exhausted() {
        let heap = crate::machine::heap_figures();
        let _ = writeln!(
            Console,
            "kernel: the heap is exhausted: {} of {} bytes free, {} the longest piece",
            heap.free, heap.total, heap.longest_free
        );
    }
    crate::crash::machine(format_args!("the program aborted"))
}

#[unsafe(no_mangle)]
extern "C" fn __cxa_finalize(_: *mut c_void) {}

#[unsafe(no_mangle)]
unsafe extern "C" fn __xpg_strerror_r(error: c_int, into: *mut c_char, length: usize) -> c_int {
    // SAFETY: C's contract for strerror_r: `into` is valid for `length` bytes.
    let into = unsafe { super::buffer(into.cast(), length) };
    let text = errno::name(error);
    if into.len() <= text.len() {
        return libc::ERANGE;
    }
    into[..text.len()].copy_from_slice(text.as_bytes());
    into[text.len()] = 0;
    0
}

#[unsafe(no_mangle)]
extern "C" fn getauxval(_: u64) -> u64 {
    fail(Errno(libc::ENOENT));
    0
}

#[unsafe(no_mangle)]
extern "C" fn sysconf(name: c_int) -> c_long {
    match name {
        libc::_SC_PAGESIZE => PAGE_BYTES as c_long,
        libc::_SC_NPROCESSORS_ONLN | libc::_SC_NPROCESSORS_CONF => 1,
        libc::_SC_OPEN_MAX => crate::fd::DESCRIPTORS_MAX as c_long,
        libc::_SC_CLK_TCK => 100,
        libc::_SC_IOV_MAX => 1024,
        libc::_SC_PHYS_PAGES => (crate::machine::heap_figures().total / PAGE_BYTES) as c_long,
        _ => fail(Errno(libc::EINVAL)) as c_long,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sched_getaffinity(_: c_int, length: usize, set: *mut u8) -> c_int {
    // SAFETY: C's contract: `set` is valid for `length` bytes.
    let set = unsafe { super::buffer(set, length) };
    set.fill(0);
    if let Some(first) = set.first_mut() {
        *first = 1;
    }
    0
}

#[unsafe(no_mangle)]
extern "C" fn getpid() -> c_int {
    1
}

#[unsafe(no_mangle)]
extern "C" fn getuid() -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn geteuid() -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn gnu_get_libc_version() -> *const c_char {
    c"2.36".as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn dlsym(_: *mut c_void, _: *const c_char) -> *mut c_void {
    core::ptr::null_mut()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(into: *mut u8, length: usize, _: u32) -> isize {
    // SAFETY: C's contract for getrandom.
    crate::random::fill(unsafe { super::buffer(into, length) });
    length as isize
}

#[unsafe(no_mangle)]
unsafe extern "C" fn uname(into: *mut libc::utsname) -> c_int {
    let mut words = [[0 as c_char; 65]; 6];
    let host = crate::machine::setting("hostname").unwrap_or_else(|| "nymote".into());
    let texts = ["nymote", &host, env!("CARGO_PKG_VERSION"), "", "x86_64", ""];
    for (word, text) in words.iter_mut().zip(texts) {
        word.iter_mut().zip(text.bytes().take(64)).for_each(|(slot, byte)| *slot = byte as c_char);
    }
    // SAFETY: C's contract for uname; `utsname` is six words of 65 characters.
    unsafe { into.cast::<[[c_char; 65]; 6]>().write(words) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn gethostname(into: *mut c_char, length: usize) -> c_int {
    let host = crate::machine::setting("hostname").unwrap_or_else(|| "nymote".into());
    // SAFETY: C's contract for gethostname.
    let into = unsafe { super::buffer(into.cast(), length) };
    if into.len() <= host.len() {
        return fail(Errno(libc::ENAMETOOLONG)) as c_int;
    }
    into[..host.len()].copy_from_slice(host.as_bytes());
    into[host.len()] = 0;
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sigaction(signal: c_int, new: *const libc::sigaction, old: *mut libc::sigaction) -> c_int {
    // SAFETY: C's contract for sigaction: both are null or valid.
    unsafe {
        signal::action(signal, new.as_ref())
            .map(|(handler, flags)| {
                if let Some(old) = old.as_mut() {
                    *old = core::mem::zeroed();
                    old.sa_sigaction = handler;
                    old.sa_flags = flags;
                }
            })
            .answer() as c_int
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn signal(number: c_int, handler: libc::sighandler_t) -> libc::sighandler_t {
    // SAFETY: all zeros is a valid `sigaction`.
    let mut new: libc::sigaction = unsafe { core::mem::zeroed() };
    new.sa_sigaction = handler;
    match signal::action(number, Some(&new)) {
        Ok((old, _)) => old,
        Err(error) => {
            fail(error);
            libc::SIG_ERR
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn raise(number: c_int) -> c_int {
    signal::raise(number).answer() as c_int
}

#[unsafe(no_mangle)]
extern "C" fn kill(process: c_int, number: c_int) -> c_int {
    if process != getpid() {
        return fail(Errno(libc::ESRCH)) as c_int;
    }
    match number {
        0 => 0,
        number => signal::send(number).answer() as c_int,
    }
}

#[unsafe(no_mangle)]
extern "C" fn pause() -> c_int {
    while !matches!(thread::sleep_or_be_interrupted(None), Woken::Signal { .. }) {}
    fail(Errno(libc::EINTR)) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn sigaltstack(_: *const c_void, _: *mut c_void) -> c_int {
    0
}

#[unsafe(no_mangle)]
extern "C" fn sigemptyset(set: *mut u64) -> c_int {
    // SAFETY: C's contract: the set is valid; its first word holds all signals there are here.
    unsafe { set.write(0) };
    0
}

#[unsafe(no_mangle)]
extern "C" fn sigaddset(_: *mut u64, _: c_int) -> c_int {
    0
}

#[unsafe(no_mangle)]
extern "C" fn pthread_sigmask(_: c_int, _: *const u64, _: *mut u64) -> c_int {
    number(Ok(()))
}

#[unsafe(no_mangle)]
extern "C" fn __libc_current_sigrtmax() -> c_int {
    64
}

#[unsafe(no_mangle)]
extern "C" fn __libc_current_sigrtmin() -> c_int {
    34
}

/// No processes: nobody to wait for.
#[unsafe(no_mangle)]
extern "C" fn waitid(_: c_int, _: u32, _: *mut c_void, _: c_int) -> c_int {
    fail(Errno(libc::ECHILD)) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn waitpid(_: c_int, _: *mut c_int, _: c_int) -> c_int {
    fail(Errno(libc::ECHILD)) as c_int
}
