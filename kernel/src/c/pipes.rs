//! Pipes, pairs of local sockets, event counters.

use alloc::rc::Rc;
use core::ffi::c_int;

use super::{Answer, fail};
use crate::errno::Errno;
use crate::fd::event::Event;
use crate::fd::{self, File, pipe};

#[unsafe(no_mangle)]
extern "C" fn eventfd(count: u32, flags: c_int) -> c_int {
    let event = Event::new(count.into(), flags & libc::EFD_SEMAPHORE != 0);
    fd::insert(Rc::new(event), libc::O_RDWR, flags & libc::EFD_NONBLOCK != 0).answer() as c_int
}

fn insert_pair(one: impl File, other: impl File, nonblocking: bool, into: *mut c_int) -> c_int {
    let pair = fd::insert(Rc::new(one), libc::O_RDWR, nonblocking).and_then(|one| {
        let other = fd::insert(Rc::new(other), libc::O_RDWR, nonblocking).inspect_err(|_| {
            let _ = fd::close(one);
        })?;
        Ok([one, other])
    });
    pair.map(|pair| {
        // SAFETY: C's contract for pipe and socketpair: room for two descriptors.
        unsafe { into.cast::<[c_int; 2]>().write(pair) };
    })
    .answer() as c_int
}

#[unsafe(no_mangle)]
extern "C" fn pipe2(into: *mut c_int, flags: c_int) -> c_int {
    let (reading, writing) = pipe::End::pipe();
    insert_pair(reading, writing, flags & libc::O_NONBLOCK != 0, into)
}

#[unsafe(no_mangle)]
extern "C" fn pipe(into: *mut c_int) -> c_int {
    pipe2(into, 0)
}

#[unsafe(no_mangle)]
extern "C" fn socketpair(domain: c_int, kind: c_int, _: c_int, into: *mut c_int) -> c_int {
    if domain != libc::AF_UNIX || kind & 0xff != libc::SOCK_STREAM {
        return fail(Errno(libc::EOPNOTSUPP)) as c_int;
    }
    let (one, other) = pipe::End::pair();
    insert_pair(one, other, kind & libc::SOCK_NONBLOCK != 0, into)
}
