//! Clocks and sleep.

use core::ffi::c_int;

use libc::timespec;

use super::Answer;
use crate::errno::Errno;
use crate::platform::{Current, Platform};
use crate::thread::{self, Woken};

const NS: u64 = 1_000_000_000;

/// The monotonic clock.
pub fn monotonic_ns() -> u64 {
    crate::machine::read_clock()
}

fn clock_ns(clock: c_int) -> Result<u64, Errno> {
    match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_TAI => Ok(Current::wall_clock_ns()),
        libc::CLOCK_MONOTONIC
        | libc::CLOCK_MONOTONIC_RAW
        | libc::CLOCK_MONOTONIC_COARSE
        | libc::CLOCK_BOOTTIME
        | libc::CLOCK_PROCESS_CPUTIME_ID
        | libc::CLOCK_THREAD_CPUTIME_ID => Ok(monotonic_ns()),
        _ => Err(Errno(libc::EINVAL)),
    }
}

/// A time of the program's in nanoseconds, or EINVAL.
///
/// # Safety
/// `time` must be valid.
pub unsafe fn nanoseconds(time: *const timespec) -> Result<u64, Errno> {
    // SAFETY: the caller's promise.
    let time = unsafe { *time };
    match (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec)) {
        (Ok(seconds), Ok(nanoseconds)) if nanoseconds < NS => Ok(seconds.saturating_mul(NS).saturating_add(nanoseconds)),
        _ => Err(Errno(libc::EINVAL)),
    }
}

/// Turns a moment on some clock into one on the monotonic clock.
pub fn on_monotonic(clock: c_int, moment_ns: u64) -> Result<u64, Errno> {
    let ahead = moment_ns.saturating_sub(clock_ns(clock)?);
    Ok(monotonic_ns().saturating_add(ahead))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: c_int, into: *mut timespec) -> c_int {
    thread::asked_in_vain();
    clock_ns(clock)
        .map(|ns| {
            // SAFETY: C's contract for clock_gettime.
            unsafe { into.write(time_of(ns)) };
        })
        .answer() as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_getres(_: c_int, into: *mut timespec) -> c_int {
    if !into.is_null() {
        // SAFETY: C's contract for clock_getres.
        unsafe { into.write(timespec { tv_sec: 0, tv_nsec: 1 }) };
    }
    0
}

/// Nanoseconds in the form of a time.
fn time_of(ns: u64) -> timespec {
    timespec { tv_sec: (ns / NS) as i64, tv_nsec: (ns % NS) as i64 }
}

/// Sleeps until a moment on the monotonic clock; interrupted by a signal it says how long was `left`, if that is asked for.
///
/// # Safety
/// `left` must be null or valid.
unsafe fn sleep(deadline_ns: u64, left: *mut timespec) -> Result<(), Errno> {
    let Woken::Signal { .. } = thread::sleep_or_be_interrupted(Some(deadline_ns)) else { return Ok(()) };
    if !left.is_null() {
        // SAFETY: the caller's promise.
        unsafe { left.write(time_of(deadline_ns.saturating_sub(monotonic_ns()))) };
    }
    Err(Errno(libc::EINTR))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_nanosleep(clock: c_int, flags: c_int, time: *const timespec, left: *mut timespec) -> c_int {
    // SAFETY: C's contract for clock_nanosleep.
    let slept = unsafe { nanoseconds(time) }.and_then(|ns| {
        // Who names a moment knows how long is left.
        let (deadline, left) = match flags & libc::TIMER_ABSTIME {
            0 => (monotonic_ns().saturating_add(ns), left),
            _ => (on_monotonic(clock, ns)?, core::ptr::null_mut()),
        };
        // SAFETY: as above.
        unsafe { sleep(deadline, left) }
    });
    slept.err().map_or(0, |Errno(error)| error)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nanosleep(time: *const timespec, left: *mut timespec) -> c_int {
    // SAFETY: C's contract for nanosleep.
    unsafe { nanoseconds(time).and_then(|ns| sleep(monotonic_ns().saturating_add(ns), left)) }.answer() as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn gettimeofday(into: *mut libc::timeval, _: *mut core::ffi::c_void) -> c_int {
    let ns = Current::wall_clock_ns();
    // SAFETY: C's contract for gettimeofday.
    unsafe { into.write(libc::timeval { tv_sec: (ns / NS) as i64, tv_usec: (ns % NS / 1000) as i64 }) };
    0
}
