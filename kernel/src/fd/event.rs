//! eventfd: a counter to wait for; tokio's way to wake its poller from another thread.

use core::cell::Cell;

use super::{File, Watchers};
use crate::errno::Errno;

/// The counter.
pub struct Event {
    count: Cell<u64>,
    semaphore: bool,
    watchers: Watchers,
}

impl Event {
    /// A counter that starts at `count`; as a semaphore each read takes one.
    pub fn new(count: u64, semaphore: bool) -> Self {
        Event { count: Cell::new(count), semaphore, watchers: Watchers::default() }
    }
}

impl File for Event {
    fn read(&self, into: &mut [u8]) -> Result<usize, Errno> {
        let into = into.first_chunk_mut::<8>().ok_or(Errno(libc::EINVAL))?;
        let taken = match self.count.get() {
            0 => return Err(Errno(libc::EAGAIN)),
            _ if self.semaphore => 1,
            all => all,
        };
        self.count.set(self.count.get() - taken);
        *into = taken.to_ne_bytes();
        self.watchers.notify();
        Ok(8)
    }

    fn write(&self, from: &[u8]) -> Result<usize, Errno> {
        let added = u64::from_ne_bytes(*from.first_chunk::<8>().ok_or(Errno(libc::EINVAL))?);
        if added == u64::MAX {
            return Err(Errno(libc::EINVAL));
        }
        let sum = self.count.get().checked_add(added).filter(|&sum| sum < u64::MAX).ok_or(Errno(libc::EAGAIN))?;
        self.count.set(sum);
        self.watchers.notify();
        Ok(8)
    }

    fn ready(&self) -> u32 {
        let readable = if self.count.get() > 0 { libc::EPOLLIN } else { 0 };
        let writable = if self.count.get() < u64::MAX - 1 { libc::EPOLLOUT } else { 0 };
        (readable | writable) as u32
    }

    fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    fn status(&self) -> (u32, u64) {
        (0o600, 0)
    }
}
