//! A device in memory: tests, and stores that need not outlive their process.

use std::io::{self, ErrorKind};
use std::sync::RwLock;

use super::Device;

/// Bytes in memory, growing up to a limit.
pub struct MemoryDevice {
    bytes: RwLock<Vec<u8>>,
    bytes_max: u64,
}

impl MemoryDevice {
    /// An empty device without a limit.
    pub fn new() -> MemoryDevice {
        MemoryDevice::from_image(Vec::new())
    }

    /// An empty device that refuses to grow beyond `bytes_max`.
    pub fn with_limit(bytes_max: u64) -> MemoryDevice {
        MemoryDevice { bytes: RwLock::default(), bytes_max }
    }

    /// A device that holds an image.
    pub fn from_image(image: Vec<u8>) -> MemoryDevice {
        MemoryDevice { bytes: RwLock::new(image), bytes_max: u64::MAX }
    }

    /// A copy of what it holds.
    pub fn image(&self) -> Vec<u8> {
        self.bytes.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

impl Default for MemoryDevice {
    fn default() -> MemoryDevice {
        MemoryDevice::new()
    }
}

fn range(offset: u64, len: usize, have: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).map_err(|_| ErrorKind::UnexpectedEof)?;
    let end = start.checked_add(len).filter(|&end| end <= have).ok_or(ErrorKind::UnexpectedEof)?;
    Ok(start..end)
}

impl Device for MemoryDevice {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.read().unwrap_or_else(|poisoned| poisoned.into_inner()).len() as u64)
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        buffer.copy_from_slice(&bytes[range(offset, buffer.len(), bytes.len())?]);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.bytes.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let range = range(offset, data.len(), bytes.len())?;
        bytes[range].copy_from_slice(data);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        if len > self.bytes_max {
            return Err(ErrorKind::StorageFull.into());
        }
        let mut bytes = self.bytes.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        if len > bytes.len() as u64 {
            bytes.resize(len as usize, 0);
        }
        Ok(())
    }

    fn room_to_grow(&self, len: u64) -> bool {
        len <= self.bytes_max
    }

    fn shrink(&self, len: u64) -> io::Result<bool> {
        self.bytes.write().unwrap_or_else(|poisoned| poisoned.into_inner()).truncate(len as usize);
        Ok(true)
    }
}
