//! What the store stands on: a row of bytes that can be read, written and flushed.
//!
//! A file and a bare disk hold the same bytes. A write is durable only when a later flush has returned; until then any
//! part of it may or may not be on the device, in units of [`SECTOR_BYTES`], which a device writes whole or not at all.

mod fault;
mod file;
mod memory;
mod trace;

use std::io;

pub use fault::Fault;
pub use file::FileDevice;
pub use memory::MemoryDevice;
pub use trace::{CutDevice, Operation, PowerCuts, Trace};

/// What a device writes whole or not at all.
pub const SECTOR_BYTES: u64 = 512;

/// A row of bytes. All calls take `&self`, may be made from any thread, and block.
pub trait Device: Send + Sync {
    /// How many bytes there are.
    fn len(&self) -> io::Result<u64>;

    /// Whether there are none.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buffer` from `offset` on, or fails.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all of `data` at `offset`, or fails; after a failure any part of it may have been written.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// `Ok` when everything written before is durable. After an error nothing is known, and trying again proves
    /// nothing: the store never does.
    fn flush(&self) -> io::Result<()>;

    /// Makes room up to `len` bytes, filled with zeros and really there, so that no later write into them fails for
    /// want of room. `StorageFull` when it cannot be had; then nothing has changed.
    fn grow(&self, len: u64) -> io::Result<()>;

    /// Whether it could grow to `len` bytes, as far as it knows. Others may be quicker: only growing tells.
    fn room_to_grow(&self, len: u64) -> bool {
        let _ = len;
        false
    }

    /// Gives up everything behind `len` bytes; `false` when it cannot, which is no error.
    fn shrink(&self, len: u64) -> io::Result<bool> {
        let _ = len;
        Ok(false)
    }
}

impl<D: Device + ?Sized> Device for std::sync::Arc<D> {
    fn len(&self) -> io::Result<u64> {
        (**self).len()
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        (**self).read(offset, buffer)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        (**self).write(offset, data)
    }

    fn flush(&self) -> io::Result<()> {
        (**self).flush()
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        (**self).grow(len)
    }

    fn room_to_grow(&self, len: u64) -> bool {
        (**self).room_to_grow(len)
    }

    fn shrink(&self, len: u64) -> io::Result<bool> {
        (**self).shrink(len)
    }
}
