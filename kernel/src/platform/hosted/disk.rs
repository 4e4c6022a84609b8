//! Disks that are files or block devices of Linux.

use alloc::collections::VecDeque;
use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;

use super::linux::{self, call};
use crate::platform::{Completion, Disk, DiskError, Operation, Request, SubmitError};

const SECTOR_BYTES: usize = 512;
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// A disk file. Requests are done when they are submitted: Linux's cache answers most of them at once.
pub struct FileDisk {
    descriptor: i32,
    name: String,
    size_bytes: u64,
    read_only: bool,
    done: VecDeque<Completion>,
}

impl FileDisk {
    /// Opens `PATH` or `PATH:ro`.
    pub fn open(word: &str, name: String) -> Result<Self, String> {
        const O_RDWR_CLOEXEC: usize = 0o2_000_002;
        const O_RDONLY_CLOEXEC: usize = 0o2_000_000;
        const SEEK_END: usize = 2;
        let (path, wanted_read_only) = word.strip_suffix(":ro").map_or((word, false), |path| (path, true));
        let path = CString::new(path).map_err(|_| String::from("not a path"))?;
        // SAFETY: the path ends with NUL and outlives the call.
        let open = |flags: usize| unsafe { call(linux::OPEN, [path.as_ptr() as usize, flags, 0, 0, 0, 0]) };
        let mut read_only = wanted_read_only;
        let mut opened = open(if read_only { O_RDONLY_CLOEXEC } else { O_RDWR_CLOEXEC });
        if !read_only && matches!(opened, linux::EROFS | linux::EACCES) {
            read_only = true;
            opened = open(O_RDONLY_CLOEXEC);
        }
        let descriptor =
            i32::try_from(opened).ok().filter(|&one| one >= 0).ok_or_else(|| format!("error {}", -opened))?;
        // SAFETY: lseek takes numbers.
        let end = unsafe { call(linux::LSEEK, [descriptor as usize, 0, SEEK_END, 0, 0, 0]) };
        let size_bytes = u64::try_from(end).map_err(|_| format!("error {}", -end))?;
        let size_bytes = size_bytes / SECTOR_BYTES as u64 * SECTOR_BYTES as u64;
        Ok(FileDisk { descriptor, name, size_bytes, read_only, done: VecDeque::new() })
    }

    fn call(&self, number: usize, arguments: [usize; 3]) -> isize {
        let [a, b, c] = arguments;
        // SAFETY: the callers below pass buffers whose owner has promised them to `submit`.
        unsafe { call(number, [self.descriptor as usize, a, b, c, 0, 0]) }
    }

    /// Repeats a transfer until all is done.
    fn transfer(&self, number: usize, buffer: *mut u8, length: usize, offset: u64) -> Result<(), DiskError> {
        if offset.checked_add(length as u64).is_none_or(|end| end > self.size_bytes) {
            return Err(DiskError::Failed);
        }
        let mut done = 0;
        while done < length {
            match self.call(number, [buffer as usize + done, length - done, offset as usize + done]) {
                count @ 1.. => done += count as usize,
                linux::EINTR => {}
                linux::ENOSPC => return Err(DiskError::Full),
                _ => return Err(DiskError::Failed),
            }
        }
        Ok(())
    }

    fn perform(&self, operation: Operation) -> Result<(), DiskError> {
        match operation {
            Operation::Read { offset, buffer } => {
                self.transfer(linux::PREAD64, buffer.cast().as_ptr(), buffer.len(), offset)
            }
            _ if self.read_only => Err(DiskError::ReadOnly),
            Operation::Write { offset, buffer } => {
                self.transfer(linux::PWRITE64, buffer.cast().as_ptr(), buffer.len(), offset)
            }
            Operation::Flush if self.call(linux::FDATASYNC, [0; 3]) == 0 => Ok(()),
            Operation::Flush => Err(DiskError::Failed),
            Operation::Discard { offset, length } => {
                const PUNCH_HOLE_KEEP_SIZE: usize = 3;
                match self.call(linux::FALLOCATE, [PUNCH_HOLE_KEEP_SIZE, offset as usize, length as usize]) {
                    0 => Ok(()),
                    _ => Err(DiskError::Unsupported),
                }
            }
        }
    }
}

impl Disk for FileDisk {
    fn name(&self) -> &str {
        &self.name
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn sector_bytes(&self) -> usize {
        SECTOR_BYTES
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn request_bytes_max(&self) -> usize {
        REQUEST_BYTES_MAX
    }

    unsafe fn submit(&mut self, request: Request) -> Result<(), SubmitError> {
        let result = self.perform(request.operation);
        self.done.push_back(Completion { id: request.id, result });
        Ok(())
    }

    fn kick(&mut self) {}

    fn complete(&mut self) -> Option<Completion> {
        self.done.pop_front()
    }
}
