//! `syscall`: std's and tokio's way to futexes, and a few calls that glibc had no name for.

use core::ffi::{c_int, c_long};

use super::{Answer, fail, time};
use crate::errno::Errno;
use crate::thread::futex::{self, Waited};

unsafe extern "C" {
    fn getrandom(into: *mut u8, length: usize, flags: u32) -> isize;
    fn gettid() -> c_int;
    fn accept4(fd: c_int, address: *mut libc::sockaddr, length: *mut libc::socklen_t, flags: c_int) -> c_int;
}

/// Variadic in C; on this machine's calling convention the first six numbers arrive as here.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(call: c_long, a: usize, b: usize, c: usize, d: usize, _e: usize, f: usize) -> c_long {
    // SAFETY: the program calls as Linux wants it for each number.
    unsafe {
        match call {
            libc::SYS_futex => futex(a as *const u32, b as c_int, c as u32, d, f as u32).answer() as c_long,
            libc::SYS_getrandom => getrandom(a as *mut u8, b, c as u32) as c_long,
            libc::SYS_gettid => gettid().into(),
            libc::SYS_accept4 => accept4(a as c_int, b as *mut _, c as *mut _, d as c_int).into(),
            // statx, copy_file_range, close_range, pidfd and the like: std falls back to something it finds.
            _ => fail(Errno(libc::ENOSYS)) as c_long,
        }
    }
}

unsafe fn futex(address: *const u32, operation: c_int, value: u32, time: usize, bits: u32) -> Result<usize, Errno> {
    let realtime = operation & libc::FUTEX_CLOCK_REALTIME != 0;
    let clock = if realtime { libc::CLOCK_REALTIME } else { libc::CLOCK_MONOTONIC };
    let limit = time as *const libc::timespec;
    // SAFETY: futex(2): the address is a word of the program's, the time null or valid.
    unsafe {
        match operation & !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME) {
            libc::FUTEX_WAIT => {
                let deadline = match limit.is_null() {
                    true => None,
                    false => Some(time::monotonic_ns().saturating_add(time::nanoseconds(limit)?)),
                };
                waited(futex::wait(address, value, u32::MAX, deadline))
            }
            libc::FUTEX_WAIT_BITSET => {
                if bits == 0 {
                    return Err(Errno(libc::EINVAL));
                }
                let deadline = match limit.is_null() {
                    true => None,
                    false => Some(time::on_monotonic(clock, time::nanoseconds(limit)?)?),
                };
                waited(futex::wait(address, value, bits, deadline))
            }
            libc::FUTEX_WAKE => Ok(futex::wake_up(address, value as usize, u32::MAX)),
            libc::FUTEX_WAKE_BITSET if bits == 0 => Err(Errno(libc::EINVAL)),
            libc::FUTEX_WAKE_BITSET => Ok(futex::wake_up(address, value as usize, bits)),
            _ => Err(Errno(libc::ENOSYS)),
        }
    }
}

fn waited(how: Waited) -> Result<usize, Errno> {
    match how {
        Waited::Woken => Ok(0),
        Waited::Changed => Err(Errno(libc::EAGAIN)),
        Waited::TimedOut => Err(Errno(libc::ETIMEDOUT)),
    }
}
