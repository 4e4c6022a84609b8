//! A file or a block device.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;

use super::Device;

/// A file, which grows as the store needs it, or a block device, which is as large as it is. Locked against a second
/// process as long as it is open, where the system has such locks.
pub struct FileDevice {
    file: File,
    fixed: bool,
    bytes_max: u64,
}

impl FileDevice {
    /// Opens an existing file or block device.
    pub fn open(path: impl AsRef<Path>) -> io::Result<FileDevice> {
        FileDevice::with(OpenOptions::new().read(true).write(true), path.as_ref())
    }

    /// Makes a new file, refusing one that exists; opens a block device.
    pub fn create(path: impl AsRef<Path>) -> io::Result<FileDevice> {
        let path = path.as_ref();
        if path.exists() && !is_regular(path)? {
            return FileDevice::open(path);
        }
        let device = FileDevice::with(OpenOptions::new().read(true).write(true).create_new(true), path)?;
        // The name of a new file is durable only when its directory is.
        if let Some(directory) = path.parent() {
            let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
            File::open(directory)?.sync_all()?;
        }
        Ok(device)
    }

    /// Never lets the file grow beyond this size.
    pub fn with_limit(mut self, bytes_max: u64) -> FileDevice {
        self.bytes_max = bytes_max;
        self
    }

    fn with(options: &OpenOptions, path: &Path) -> io::Result<FileDevice> {
        let file = options.open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let what = format!("{} is in use by another process", path.display());
                return Err(io::Error::new(ErrorKind::ResourceBusy, what));
            }
            // A system without file locks runs one program.
            Err(TryLockError::Error(_)) => {}
        }
        let kind = file.metadata()?.file_type();
        let fixed = kind.is_block_device() || kind.is_char_device();
        Ok(FileDevice { file, fixed, bytes_max: u64::MAX })
    }
}

fn is_regular(path: &Path) -> io::Result<bool> {
    Ok(path.metadata()?.file_type().is_file())
}

impl Device for FileDevice {
    fn len(&self) -> io::Result<u64> {
        // A block device has no length in its metadata; its end can be sought.
        if self.fixed { (&self.file).seek(SeekFrom::End(0)) } else { Ok(self.file.metadata()?.len()) }
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        let have = self.len()?;
        if len <= have {
            return Ok(());
        }
        if self.fixed || len > self.bytes_max {
            return Err(ErrorKind::StorageFull.into());
        }
        // Written, not merely declared: later writes then change no metadata, and never find the disk full.
        let zeros = vec![0; 1 << 18];
        let mut at = have;
        while at < len {
            let step = (len - at).min(zeros.len() as u64);
            if let Err(error) = self.file.write_all_at(&zeros[..step as usize], at) {
                self.file.set_len(have)?;
                return Err(error);
            }
            at += step;
        }
        Ok(())
    }

    fn room_to_grow(&self, len: u64) -> bool {
        !self.fixed && len <= self.bytes_max
    }

    fn shrink(&self, len: u64) -> io::Result<bool> {
        if self.fixed {
            return Ok(false);
        }
        self.file.set_len(len)?;
        Ok(true)
    }
}
