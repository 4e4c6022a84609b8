//! pthreads.
//!
//! A `pthread_t` is a thread's place plus one. std and tokio make their locks from futexes (`syscall`); the pthread locks
//! here serve the unwinder and ring, and stand on the same futexes.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::fmt::Write;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::number;
use crate::crash::Console;
use crate::errno::Errno;
use crate::thread::{self, JoinError, futex, local};

/// A thread attribute; glibc's is 56 bytes long.
#[repr(C)]
struct Attribute {
    stack_bytes: usize,
    stack_start: usize,
    guard_bytes: usize,
}

/// std's default.
const STACK_BYTES_DEFAULT: usize = 2 << 20;

fn join_error(error: JoinError) -> Errno {
    Errno(match error {
        JoinError::NoSuchThread => libc::ESRCH,
        JoinError::Deadlock => libc::EDEADLK,
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    into: *mut usize,
    attribute: *const Attribute,
    entry: thread::Entry,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: C's contract for pthread_create: `attribute` is null or initialised, `into` is valid.
    unsafe {
        let wanted = attribute.as_ref().map_or(STACK_BYTES_DEFAULT, |attribute| attribute.stack_bytes);
        match thread::spawn("", wanted.min(thread::largest_stack()), entry, argument) {
            Some(place) => {
                *into = place + 1;
                0
            }
            None => {
                tell_of_no_thread();
                libc::EAGAIN
            }
        }
    }
}

/// A program that gets no thread mostly waits for one and says nothing: at the first, second, fourth and so on.
fn tell_of_no_thread() {
    static TIMES: AtomicUsize = AtomicUsize::new(0);
    let times = TIMES.fetch_add(1, Ordering::Relaxed) + 1;
    if times.is_power_of_two() {
        let heap = crate::machine::heap_figures();
        let _ = writeln!(
            Console,
            "kernel: no thread could be made ({times} times so far): {} KiB of memory are free, {} in one piece, for a stack of {}",
            heap.free >> 10,
            heap.longest_free >> 10,
            thread::largest_stack() >> 10
        );
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_join(id: usize, into: *mut *mut c_void) -> c_int {
    number(thread::join(id.wrapping_sub(1)).map_err(join_error).map(|result| {
        if !into.is_null() {
            // SAFETY: C's contract for pthread_join.
            unsafe { *into = result };
        }
    }))
}

#[unsafe(no_mangle)]
extern "C" fn pthread_detach(id: usize) -> c_int {
    number(thread::detach(id.wrapping_sub(1)).map_err(join_error))
}

#[unsafe(no_mangle)]
extern "C" fn pthread_self() -> usize {
    thread::current() + 1
}

#[unsafe(no_mangle)]
extern "C" fn pthread_exit(result: *mut c_void) -> ! {
    thread::end(result)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_setname_np(id: usize, name: *const c_char) -> c_int {
    // SAFETY: C's contract: a string that ends with NUL.
    let name = unsafe { CStr::from_ptr(name) };
    thread::set_name(id.wrapping_sub(1), name.to_str().unwrap_or("?"));
    0
}

#[unsafe(no_mangle)]
extern "C" fn sched_yield() -> c_int {
    thread::yield_now();
    0
}

#[unsafe(no_mangle)]
extern "C" fn gettid() -> c_int {
    thread::current_serial()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_attr_init(attribute: *mut Attribute) -> c_int {
    // SAFETY: C's contract: a place for an attribute.
    unsafe { attribute.write(Attribute { stack_bytes: STACK_BYTES_DEFAULT, stack_start: 0, guard_bytes: 4096 }) };
    0
}

#[unsafe(no_mangle)]
extern "C" fn pthread_attr_destroy(_: *mut Attribute) -> c_int {
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_attr_setstacksize(attribute: *mut Attribute, bytes: usize) -> c_int {
    // SAFETY: C's contract: an initialised attribute.
    unsafe { (*attribute).stack_bytes = bytes };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_getattr_np(_: usize, attribute: *mut Attribute) -> c_int {
    let (stack_start, stack_bytes) = thread::current_stack();
    // SAFETY: C's contract: a place for an attribute.
    unsafe { attribute.write(Attribute { stack_bytes, stack_start, guard_bytes: 4096 }) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_attr_getstack(attribute: *const Attribute, start: *mut usize, bytes: *mut usize) -> c_int {
    // SAFETY: C's contract: an initialised attribute and two places.
    unsafe {
        *start = (*attribute).stack_start;
        *bytes = (*attribute).stack_bytes;
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_attr_getguardsize(attribute: *const Attribute, bytes: *mut usize) -> c_int {
    // SAFETY: as above.
    unsafe { *bytes = (*attribute).guard_bytes };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_key_create(into: *mut u32, destructor: Option<local::Destructor>) -> c_int {
    match local::make_key(destructor) {
        Some(key) => {
            // SAFETY: C's contract: a place for the key.
            unsafe { *into = key as u32 };
            0
        }
        None => libc::EAGAIN,
    }
}

#[unsafe(no_mangle)]
extern "C" fn pthread_key_delete(key: u32) -> c_int {
    if local::delete_key(key as usize) { 0 } else { libc::EINVAL }
}

#[unsafe(no_mangle)]
extern "C" fn pthread_setspecific(key: u32, value: *mut c_void) -> c_int {
    if local::set_value(key as usize, value) { 0 } else { libc::EINVAL }
}

#[unsafe(no_mangle)]
extern "C" fn pthread_getspecific(key: u32) -> *mut c_void {
    local::value(key as usize)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __cxa_thread_atexit_impl(destructor: local::Destructor, object: *mut c_void, _: *mut c_void) -> c_int {
    local::at_thread_exit(destructor, object);
    0
}

/// Runs a function once. All-zero is the initial value in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_once(once: *mut u32, run: extern "C" fn()) -> c_int {
    // SAFETY: C's contract: a `pthread_once_t`, 4 bytes long.
    unsafe {
        if *once == 0 {
            *once = 1;
            run();
            *once = 2;
            futex::wake_up(once, usize::MAX, u32::MAX);
        }
        while once.read_volatile() == 1 {
            futex::wait(once, 1, u32::MAX, None);
        }
    }
    0
}

/// Locks a mutex whose first word is 0 when free. The owner and recursion of glibc's other kinds are not used by the
/// unwinder or by ring.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutex_lock(mutex: *mut u32) -> c_int {
    // SAFETY: C's contract: an initialised mutex.
    unsafe {
        while mutex.read_volatile() != 0 {
            futex::wait(mutex, mutex.read_volatile(), u32::MAX, None);
        }
        *mutex = 1;
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutex_trylock(mutex: *mut u32) -> c_int {
    // SAFETY: as above.
    unsafe {
        if *mutex != 0 {
            return libc::EBUSY;
        }
        *mutex = 1;
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutex_unlock(mutex: *mut u32) -> c_int {
    // SAFETY: as above.
    unsafe { *mutex = 0 };
    futex::wake_up(mutex, 1, u32::MAX);
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutex_init(mutex: *mut u32, _: *const c_void) -> c_int {
    // SAFETY: C's contract: a place for a mutex.
    unsafe { *mutex = 0 };
    0
}

#[unsafe(no_mangle)]
extern "C" fn pthread_mutex_destroy(_: *mut u32) -> c_int {
    0
}

/// Any number of readers, or one writer.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_rwlock_rdlock(lock: *mut u32) -> c_int {
    // SAFETY: C's contract: a lock, all zeros when free; its first word counts readers, or is all ones for a writer.
    unsafe {
        while lock.read_volatile() == u32::MAX {
            futex::wait(lock, u32::MAX, u32::MAX, None);
        }
        *lock += 1;
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_rwlock_wrlock(lock: *mut u32) -> c_int {
    // SAFETY: as above.
    unsafe {
        while lock.read_volatile() != 0 {
            futex::wait(lock, lock.read_volatile(), u32::MAX, None);
        }
        *lock = u32::MAX;
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_rwlock_unlock(lock: *mut u32) -> c_int {
    // SAFETY: as above.
    unsafe { *lock = if *lock == u32::MAX { 0 } else { *lock - 1 } };
    futex::wake_up(lock, usize::MAX, u32::MAX);
    0
}
