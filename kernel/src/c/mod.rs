//! The C library that std, tokio and their friends were compiled against.
//!
//! Everything here is a thin shell: it turns C's arguments into Rust's, asks the kernel, and turns the answer into a
//! number and an `errno`. The functions are those that std itself can call, and what the link of our programs asks for besides;
//! what they cannot do here answers as the list in [`crate::errno`] says.

mod absent;
mod files;
mod math;
mod memory;
mod names;
mod pipes;
mod poll;
mod process;
mod sockets;
mod syscall;
mod threads;
mod time;
mod unwind;

use core::ffi::{CStr, c_char, c_int};

pub use process::set_environment;

use crate::errno::Errno;

/// Sets `errno` and gives C's word for failure.
fn fail(Errno(number): Errno) -> isize {
    // SAFETY: the running thread's `errno` lives as long as the thread.
    unsafe { *crate::thread::local::errno() = number };
    -1
}

/// C's form of a result: a number, or -1 and `errno`.
trait Answer {
    fn answer(self) -> isize;
}

impl Answer for Result<usize, Errno> {
    fn answer(self) -> isize {
        self.map_or_else(fail, |value| value as isize)
    }
}

impl Answer for Result<c_int, Errno> {
    fn answer(self) -> isize {
        self.map_or_else(fail, |value| value as isize)
    }
}

impl Answer for Result<(), Errno> {
    fn answer(self) -> isize {
        self.map_or_else(fail, |()| 0)
    }
}

/// The pthread functions' form of a result: 0 or the error itself.
fn number(result: Result<(), Errno>) -> c_int {
    result.map_or_else(|Errno(number)| number, |()| 0)
}

/// A C string as text; ENOENT when it is not UTF-8, for no such name exists here.
///
/// # Safety
/// `text` must be null or a string that ends with NUL and stays unchanged during the use of the answer.
unsafe fn text<'a>(text: *const c_char) -> Result<&'a str, Errno> {
    if text.is_null() {
        return Err(Errno(libc::EFAULT));
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_str().map_err(|_| Errno(libc::ENOENT))
}

/// A buffer of the program's, to be filled.
///
/// # Safety
/// `start` must be valid for `length` bytes and not otherwise used during the use of the answer; it may be null when
/// the length is 0.
unsafe fn buffer<'a>(start: *mut u8, length: usize) -> &'a mut [u8] {
    if length == 0 {
        return &mut [];
    }
    // SAFETY: the caller's promise. Programs hand in memory that was never written; the kernel only writes to it.
    unsafe { core::slice::from_raw_parts_mut(start, length.min(isize::MAX as usize)) }
}

/// Bytes of the program's, to be read.
///
/// # Safety
/// As for [`buffer`], for reading.
unsafe fn bytes<'a>(start: *const u8, length: usize) -> &'a [u8] {
    if length == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { core::slice::from_raw_parts(start, length.min(isize::MAX as usize)) }
}
