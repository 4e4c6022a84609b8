//! epoll and poll.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::ffi::c_int;

use libc::{epoll_event, pollfd};

use super::{Answer, fail};
use crate::errno::Errno;
use crate::fd::epoll::Epoll;
use crate::fd::{self, Description};
use crate::thread::{self, Woken};

#[unsafe(no_mangle)]
extern "C" fn epoll_create1(_: c_int) -> c_int {
    fd::insert(Rc::new(Epoll::default()), libc::O_RDWR, false).answer() as c_int
}

fn set(descriptor: c_int) -> Result<Rc<Epoll>, Errno> {
    let file: Rc<dyn core::any::Any> = fd::get(descriptor)?.file.clone();
    file.downcast().map_err(|_| Errno(libc::EINVAL))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_ctl(set_of: c_int, operation: c_int, descriptor: c_int, event: *const epoll_event) -> c_int {
    // SAFETY: C's contract for epoll_ctl: null or valid.
    let event = unsafe { event.as_ref() }.copied();
    set(set_of)
        .and_then(|set| set.control(operation, descriptor, &*fd::get(descriptor)?, event))
        .answer() as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_wait(set_of: c_int, events: *mut epoll_event, most: c_int, timeout_ms: c_int) -> c_int {
    let Ok(most @ 1..) = usize::try_from(most) else { return fail(Errno(libc::EINVAL)) as c_int };
    // SAFETY: C's contract for epoll_wait: room for `most` events.
    let events = unsafe { core::slice::from_raw_parts_mut(events, most) };
    set(set_of).and_then(|set| set.wait(events, nanoseconds(timeout_ms))).answer() as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_pwait(
    set_of: c_int,
    events: *mut epoll_event,
    most: c_int,
    timeout_ms: c_int,
    _: *const core::ffi::c_void,
) -> c_int {
    // SAFETY: the same contract.
    unsafe { epoll_wait(set_of, events, most, timeout_ms) }
}

/// A timeout in nanoseconds; a negative one is none.
fn nanoseconds(timeout_ms: c_int) -> Option<u64> {
    u64::try_from(timeout_ms).ok().map(|ms| ms * 1_000_000)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn poll(polled: *mut pollfd, count: libc::nfds_t, timeout_ms: c_int) -> c_int {
    let polled = match count {
        0 => &mut [],
        // SAFETY: C's contract for poll.
        count => unsafe { core::slice::from_raw_parts_mut(polled, count as usize) },
    };
    let deadline = nanoseconds(timeout_ms).map(|ns| super::time::monotonic_ns().saturating_add(ns));
    let descriptions: Vec<Option<Rc<Description>>> = polled.iter().map(|one| fd::get(one.fd).ok()).collect();
    crate::machine::turn();
    if thread::give_way() {
        crate::machine::turn();
    }
    let mut woken = Woken::Event;
    loop {
        let mut ready = 0;
        for (one, description) in polled.iter_mut().zip(&descriptions) {
            let wanted = one.events as u32 | (libc::POLLERR | libc::POLLHUP) as u32;
            one.revents = match description {
                // EPOLL's and POLL's bits are the same.
                Some(description) => (description.file.ready() & wanted) as i16,
                None if one.fd < 0 => 0,
                None => libc::POLLNVAL,
            };
            ready += c_int::from(one.revents != 0);
        }
        if ready > 0 || timeout_ms == 0 {
            return ready;
        }
        match woken {
            Woken::Timeout => return 0,
            Woken::Signal { .. } => return fail(Errno(libc::EINTR)) as c_int,
            Woken::Event => {}
        }
        let waiting = thread::prepare_to_wait_or_be_interrupted();
        for description in descriptions.iter().flatten() {
            description.file.watchers().add(waiting);
        }
        woken = thread::block(deadline);
        for description in descriptions.iter().flatten() {
            description.file.watchers().leave(waiting);
        }
    }
}
