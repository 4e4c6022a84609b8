//! A layer that fails: the N-th thing that is asked of it, or everything from then on.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Device;

/// Counts what is asked, and fails when it is time.
pub struct Fault<D> {
    below: D,
    asked: AtomicU64,
    fails_at: u64,
    for_good: bool,
}

impl<D: Device> Fault<D> {
    /// Fails the call with this number, counted from 0.
    pub fn once(below: D, fails_at: u64) -> Fault<D> {
        Fault { below, asked: AtomicU64::new(0), fails_at, for_good: false }
    }

    /// Fails the call with this number and all after it.
    pub fn for_good(below: D, fails_at: u64) -> Fault<D> {
        Fault { below, asked: AtomicU64::new(0), fails_at, for_good: true }
    }

    /// How much was asked so far.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    fn ask(&self) -> io::Result<()> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        if number == self.fails_at || (self.for_good && number > self.fails_at) {
            return Err(io::Error::other("the device failed, as it was asked to"));
        }
        Ok(())
    }
}

impl<D: Device> Device for Fault<D> {
    fn len(&self) -> io::Result<u64> {
        self.below.len()
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.ask()?;
        self.below.read(offset, buffer)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if let Err(error) = self.ask() {
            // Half of it is there.
            self.below.write(offset, &data[..data.len() / 2])?;
            return Err(error);
        }
        self.below.write(offset, data)
    }

    fn flush(&self) -> io::Result<()> {
        self.ask()?;
        self.below.flush()
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        self.ask()?;
        self.below.grow(len)
    }

    fn room_to_grow(&self, len: u64) -> bool {
        self.below.room_to_grow(len)
    }
}
