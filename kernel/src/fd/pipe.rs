//! Pipes, and pairs of connected local sockets made of two of them. tokio's signal handling wants such a pair.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::ffi::c_int;

use super::{File, Watchers};
use crate::errno::Errno;
use crate::net::{Address, Socket};

/// What one direction holds at most, in bytes.
const BYTES_MAX: usize = 64 << 10;

/// One direction.
#[derive(Default)]
struct Channel {
    bytes: RefCell<VecDeque<u8>>,
    writer_gone: Cell<bool>,
    reader_gone: Cell<bool>,
    reader: Rc<Watchers>,
    writer: Rc<Watchers>,
}

impl Channel {
    fn new(reader: &Rc<Watchers>, writer: &Rc<Watchers>) -> Rc<Self> {
        Rc::new(Channel { reader: reader.clone(), writer: writer.clone(), ..Channel::default() })
    }

    fn read(&self, into: &mut [u8]) -> Result<usize, Errno> {
        let mut bytes = self.bytes.borrow_mut();
        if bytes.is_empty() && !into.is_empty() {
            return if self.writer_gone.get() { Ok(0) } else { Err(Errno(libc::EAGAIN)) };
        }
        let count = into.len().min(bytes.len());
        for (slot, byte) in into.iter_mut().zip(bytes.drain(..count)) {
            *slot = byte;
        }
        drop(bytes);
        self.writer.notify();
        Ok(count)
    }

    fn write(&self, from: &[u8]) -> Result<usize, Errno> {
        if self.reader_gone.get() || self.writer_gone.get() {
            return Err(Errno(libc::EPIPE));
        }
        let room = BYTES_MAX - self.bytes.borrow().len();
        if room == 0 && !from.is_empty() {
            return Err(Errno(libc::EAGAIN));
        }
        let count = from.len().min(room);
        self.bytes.borrow_mut().extend(&from[..count]);
        self.reader.notify();
        Ok(count)
    }

    fn end_writing(&self) {
        self.writer_gone.set(true);
        self.reader.notify();
    }

    fn end_reading(&self) {
        self.reader_gone.set(true);
        self.writer.notify();
    }
}

/// One end of a pipe or of a pair of sockets.
pub struct End {
    incoming: Option<Rc<Channel>>,
    outgoing: Option<Rc<Channel>>,
    watchers: Rc<Watchers>,
}

impl End {
    /// The reading and the writing end of a pipe.
    pub fn pipe() -> (Self, Self) {
        let (reader, writer) = (Rc::default(), Rc::default());
        let channel = Channel::new(&reader, &writer);
        let reading = End { incoming: Some(channel.clone()), outgoing: None, watchers: reader };
        (reading, End { incoming: None, outgoing: Some(channel), watchers: writer })
    }

    /// Two connected sockets.
    pub fn pair() -> (Self, Self) {
        let (one, other) = (Rc::default(), Rc::default());
        let (there, back) = (Channel::new(&other, &one), Channel::new(&one, &other));
        let first = End { incoming: Some(back.clone()), outgoing: Some(there.clone()), watchers: one };
        (first, End { incoming: Some(there), outgoing: Some(back), watchers: other })
    }
}

impl File for End {
    fn read(&self, into: &mut [u8]) -> Result<usize, Errno> {
        self.incoming.as_ref().ok_or(Errno(libc::EBADF))?.read(into)
    }

    fn write(&self, from: &[u8]) -> Result<usize, Errno> {
        self.outgoing.as_ref().ok_or(Errno(libc::EBADF))?.write(from)
    }

    fn ready(&self) -> u32 {
        let mut ready = 0;
        if let Some(incoming) = &self.incoming {
            let ended = incoming.writer_gone.get();
            ready |= if ended || !incoming.bytes.borrow().is_empty() { libc::EPOLLIN } else { 0 };
            ready |= if ended { libc::EPOLLRDHUP } else { 0 };
            ready |= if ended && self.outgoing.as_ref().is_none_or(|out| out.reader_gone.get()) { libc::EPOLLHUP } else { 0 };
        }
        if let Some(outgoing) = &self.outgoing {
            let gone = outgoing.reader_gone.get();
            ready |= if gone || outgoing.bytes.borrow().len() < BYTES_MAX { libc::EPOLLOUT } else { 0 };
            ready |= if gone && self.incoming.is_none() { libc::EPOLLERR } else { 0 };
        }
        ready as u32
    }

    fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    fn status(&self) -> (u32, u64) {
        let kind = if self.incoming.is_some() && self.outgoing.is_some() { libc::S_IFSOCK } else { libc::S_IFIFO };
        (kind | 0o600, 0)
    }

    fn socket(&self) -> Option<&dyn Socket> {
        (self.incoming.is_some() && self.outgoing.is_some()).then_some(self)
    }
}

impl Socket for End {
    fn send_to(&self, from: &[u8], _: Option<Address>) -> Result<usize, Errno> {
        self.write(from)
    }

    fn receive_from(&self, into: &mut [u8], peek: bool) -> Result<(usize, Option<Address>, bool), Errno> {
        if peek {
            let incoming = self.incoming.as_ref().ok_or(Errno(libc::EBADF))?;
            let bytes = incoming.bytes.borrow();
            if bytes.is_empty() && !incoming.writer_gone.get() {
                return Err(Errno(libc::EAGAIN));
            }
            let count = into.iter_mut().zip(bytes.iter()).map(|(slot, byte)| *slot = *byte).count();
            return Ok((count, None, false));
        }
        Ok((self.read(into)?, None, false))
    }

    fn shutdown(&self, how: c_int) -> Result<(), Errno> {
        if matches!(how, libc::SHUT_RD | libc::SHUT_RDWR)
            && let Some(incoming) = &self.incoming
        {
            incoming.end_writing();
            incoming.end_reading();
        }
        if matches!(how, libc::SHUT_WR | libc::SHUT_RDWR)
            && let Some(outgoing) = &self.outgoing
        {
            outgoing.end_writing();
        }
        Ok(())
    }

    fn family(&self) -> c_int {
        libc::AF_UNIX
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(incoming) = &self.incoming {
            incoming.end_reading();
        }
        if let Some(outgoing) = &self.outgoing {
            outgoing.end_writing();
        }
    }
}
