//! Disks as files: any offset, any length, and a flush that means it.
//!
//! Whole sectors go between the device and the program's own buffer. A write that covers a sector in part reads it
//! first, in a buffer of ours; writes that touch the same sectors wait for each other, so that no such read-and-write
//! takes back what another thread has just written. A thread waits until the device has answered; others run meanwhile.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cell::Cell;
use core::ops::Range;
use core::ptr::NonNull;

use super::{File, Placed, Watchers, sought};
use crate::errno::Errno;
use crate::global::Global;
use crate::platform::{Disk, DiskError, Operation, Request, SubmitError};
use crate::thread::{self, Waiting};

/// Number of a disk.
pub type DiskNumber = usize;

/// Longest transfer that goes through a buffer of ours, in bytes; longer ones are done in part.
const BOUNCE_BYTES_MAX: usize = 256 << 10;
/// What a device may want of a buffer's address.
const BUFFER_ALIGN: usize = 512;

#[derive(Clone, Copy)]
enum Progress {
    Running(Option<Waiting>),
    Done(Result<(), DiskError>),
}

struct Attached {
    device: Box<dyn Disk>,
    requests: BTreeMap<u64, Progress>,
    next_id: u64,
    /// Byte ranges being written.
    writing: Vec<Range<u64>>,
    /// Threads that wait for room in the queue or for a range.
    waiting: Vec<Waiting>,
}

static DISKS: Global<Vec<Attached>> = Global::new(Vec::new());

/// Takes over the carrier's disks.
pub fn start(devices: Vec<Box<dyn Disk>>) {
    DISKS.with(|disks| {
        *disks = devices
            .into_iter()
            .map(|device| Attached { device, requests: BTreeMap::new(), next_id: 0, writing: Vec::new(), waiting: Vec::new() })
            .collect();
    });
}

/// Takes completions and wakes who waits for them.
pub fn turn() {
    let woken: Vec<Waiting> = DISKS.with(|disks| {
        let mut woken = Vec::new();
        for disk in disks.iter_mut() {
            while let Some(completion) = disk.device.complete() {
                if let Some(progress) = disk.requests.get_mut(&completion.id) {
                    if let Progress::Running(Some(waiting)) = *progress {
                        woken.push(waiting);
                    }
                    *progress = Progress::Done(completion.result);
                }
                woken.append(&mut disk.waiting);
            }
        }
        woken
    });
    for waiting in woken {
        thread::wake(waiting);
    }
}

/// The disk of a name such as `xvda`.
pub fn find(name: &str) -> Option<DiskNumber> {
    DISKS.with(|disks| disks.iter().position(|disk| disk.device.name() == name))
}

/// Whether writes are refused.
pub fn is_read_only(disk: DiskNumber) -> bool {
    DISKS.with(|disks| disks[disk].device.is_read_only())
}

/// Flushes every writable disk; says whether all went well. A disk that does not know flushes has nothing to lose.
pub fn flush_all() -> bool {
    let count = DISKS.with(|disks| disks.len());
    (0..count).all(|disk| is_read_only(disk) || matches!(flush(disk), Ok(()) | Err(Errno(libc::EOPNOTSUPP))))
}

fn flush(disk: DiskNumber) -> Result<(), Errno> {
    let id = submit(disk, Operation::Flush);
    finish(disk, id)
}

fn errno(error: DiskError) -> Errno {
    Errno(match error {
        DiskError::Failed => libc::EIO,
        DiskError::Unsupported => libc::EOPNOTSUPP,
        DiskError::ReadOnly => libc::EROFS,
        DiskError::Full => libc::ENOSPC,
    })
}

/// Gives a request to the device, waiting for room in its queue.
fn submit(disk: DiskNumber, operation: Operation) -> u64 {
    loop {
        let submitted = DISKS.with(|disks| {
            let disk = &mut disks[disk];
            let id = disk.next_id;
            // SAFETY: the buffer belongs to a thread that does not leave `finish` before this request's completion.
            match unsafe { disk.device.submit(Request { id, operation }) } {
                Ok(()) => {
                    disk.next_id += 1;
                    disk.requests.insert(id, Progress::Running(None));
                    Some(id)
                }
                Err(SubmitError::Full) => {
                    disk.device.kick();
                    None
                }
            }
        });
        match submitted {
            Some(id) => return id,
            None => wait_for_change(disk),
        }
    }
}

fn wait_for_change(disk: DiskNumber) {
    let waiting = thread::prepare_to_wait();
    DISKS.with(|disks| disks[disk].waiting.push(waiting));
    thread::block(None);
}

/// Waits for a request's completion.
fn finish(disk: DiskNumber, id: u64) -> Result<(), Errno> {
    DISKS.with(|disks| disks[disk].device.kick());
    loop {
        turn();
        let done = DISKS.with(|disks| {
            let requests = &mut disks[disk].requests;
            match requests.get(&id) {
                Some(Progress::Running(_)) => None,
                Some(Progress::Done(_)) | None => requests.remove(&id),
            }
        });
        if let Some(Progress::Done(result)) = done {
            return result.map_err(errno);
        }
        let waiting = thread::prepare_to_wait();
        DISKS.with(|disks| disks[disk].requests.insert(id, Progress::Running(Some(waiting))));
        thread::block(None);
    }
}

/// Moves whole sectors between device and `buffer`, in requests as long as the device takes.
fn transfer(disk: DiskNumber, offset: u64, buffer: NonNull<[u8]>, write: bool) -> Result<(), Errno> {
    let step = DISKS.with(|disks| disks[disk].device.request_bytes_max());
    let start = buffer.cast::<u8>();
    let requests: Vec<u64> = (0..buffer.len())
        .step_by(step)
        .map(|at| {
            let length = step.min(buffer.len() - at);
            // SAFETY: `at + length` is within the buffer.
            let part = NonNull::slice_from_raw_parts(unsafe { start.add(at) }, length);
            let offset = offset + at as u64;
            submit(disk, if write { Operation::Write { offset, buffer: part } } else { Operation::Read { offset, buffer: part } })
        })
        .collect();
    // All are waited for, also after a failure: the device may still be using the buffer.
    requests.into_iter().map(|id| finish(disk, id)).fold(Ok(()), Result::and)
}

/// An open disk.
pub struct DiskFile {
    disk: DiskNumber,
    position: Cell<u64>,
    watchers: Watchers,
}

impl DiskFile {
    /// The disk opened at its start.
    pub fn new(disk: DiskNumber) -> Self {
        DiskFile { disk, position: Cell::new(0), watchers: Watchers::default() }
    }

    fn size(&self) -> u64 {
        DISKS.with(|disks| disks[self.disk].device.size_bytes())
    }

    fn sector(&self) -> u64 {
        DISKS.with(|disks| disks[self.disk].device.sector_bytes()) as u64
    }

    fn write_locked(&self, from: &[u8], offset: u64, covered: &Range<u64>) -> Result<(), Errno> {
        let sector = self.sector();
        if is_direct(from.as_ptr(), offset, from.len(), sector) {
            return transfer(self.disk, offset, NonNull::from(from), true);
        }
        let mut bounce = Bounce::new((covered.end - covered.start) as usize)?;
        let bytes = bounce.bytes();
        let (skip, last) = ((offset - covered.start) as usize, bytes.len() - sector as usize);
        if skip > 0 {
            transfer(self.disk, covered.start, NonNull::from(&mut bytes[..sector as usize]), false)?;
        }
        if skip + from.len() < bytes.len() && (last > 0 || skip == 0) {
            transfer(self.disk, covered.end - sector, NonNull::from(&mut bytes[last..]), false)?;
        }
        bytes[skip..skip + from.len()].copy_from_slice(from);
        transfer(self.disk, covered.start, NonNull::from(bytes), true)
    }

    fn lock(&self, range: &Range<u64>) {
        while DISKS.with(|disks| {
            let writing = &mut disks[self.disk].writing;
            let taken = writing.iter().any(|other| other.start < range.end && range.start < other.end);
            if !taken {
                writing.push(range.clone());
            }
            taken
        }) {
            wait_for_change(self.disk);
        }
    }

    fn unlock(&self, range: &Range<u64>) {
        let waiting = DISKS.with(|disks| {
            let disk = &mut disks[self.disk];
            if let Some(at) = disk.writing.iter().position(|other| other == range) {
                disk.writing.swap_remove(at);
            }
            core::mem::take(&mut disk.waiting)
        });
        for waiting in waiting {
            thread::wake(waiting);
        }
    }

    /// Returns after the device has brought every acknowledged write to stable storage, or says why it could not.
    pub fn flush(&self) -> Result<(), Errno> {
        if is_read_only(self.disk) { Ok(()) } else { flush(self.disk) }
    }

    /// Tells the device that a range is no longer needed.
    pub fn discard(&self, offset: u64, length: u64) -> Result<(), Errno> {
        let id = submit(self.disk, Operation::Discard { offset, length });
        finish(self.disk, id)
    }
}

/// Whether the device can use the program's own buffer.
fn is_direct(buffer: *const u8, offset: u64, length: usize, sector: u64) -> bool {
    (buffer as usize).is_multiple_of(BUFFER_ALIGN) && offset.is_multiple_of(sector) && (length as u64).is_multiple_of(sector)
}

/// The sectors that a range of bytes touches, in bytes.
fn sectors(offset: u64, length: usize, sector: u64) -> Range<u64> {
    offset / sector * sector..(offset + length as u64).next_multiple_of(sector)
}

/// A buffer of whole sectors, aligned as devices like it.
struct Bounce {
    memory: Vec<u8>,
    skip: usize,
    length: usize,
}

impl Bounce {
    fn new(length: usize) -> Result<Self, Errno> {
        let mut memory = Vec::new();
        memory.try_reserve_exact(length + BUFFER_ALIGN).map_err(|_| Errno(libc::ENOMEM))?;
        memory.resize(length + BUFFER_ALIGN, 0);
        let skip = memory.as_ptr().align_offset(BUFFER_ALIGN);
        Ok(Bounce { memory, skip, length })
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.skip..self.skip + self.length]
    }
}

impl Placed for DiskFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> Result<usize, Errno> {
        let length = self.size().saturating_sub(offset).min(into.len() as u64) as usize;
        let (into, sector) = (&mut into[..length], self.sector());
        if length == 0 {
            return Ok(0);
        }
        if is_direct(into.as_ptr(), offset, length, sector) {
            transfer(self.disk, offset, NonNull::from(into), false)?;
            return Ok(length);
        }
        let length = length.min(BOUNCE_BYTES_MAX);
        let into = &mut into[..length];
        let covered = sectors(offset, length, sector);
        let mut bounce = Bounce::new((covered.end - covered.start) as usize)?;
        transfer(self.disk, covered.start, NonNull::from(bounce.bytes()), false)?;
        let skip = (offset - covered.start) as usize;
        into.copy_from_slice(&bounce.bytes()[skip..skip + length]);
        Ok(length)
    }

    fn write_at(&self, from: &[u8], offset: u64) -> Result<usize, Errno> {
        let length = self.size().saturating_sub(offset).min(from.len() as u64) as usize;
        if length == 0 {
            return if from.is_empty() { Ok(0) } else { Err(Errno(libc::ENOSPC)) };
        }
        let sector = self.sector();
        let direct = is_direct(from.as_ptr(), offset, length, sector);
        let length = if direct { length } else { length.min(BOUNCE_BYTES_MAX) };
        let covered = sectors(offset, length, sector);
        self.lock(&covered);
        let result = self.write_locked(&from[..length], offset, &covered);
        self.unlock(&covered);
        result.map(|()| length)
    }

    fn seek(&self, offset: i64, whence: i32) -> Result<u64, Errno> {
        let position = sought(self.position.get(), self.size(), offset, whence)?;
        self.position.set(position);
        Ok(position)
    }
}

impl File for DiskFile {
    fn read(&self, into: &mut [u8]) -> Result<usize, Errno> {
        let count = self.read_at(into, self.position.get())?;
        self.position.set(self.position.get() + count as u64);
        Ok(count)
    }

    fn write(&self, from: &[u8]) -> Result<usize, Errno> {
        let count = self.write_at(from, self.position.get())?;
        self.position.set(self.position.get() + count as u64);
        Ok(count)
    }

    fn ready(&self) -> u32 {
        (libc::EPOLLIN | libc::EPOLLOUT) as u32
    }

    fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    fn status(&self) -> (u32, u64) {
        (libc::S_IFBLK | 0o660, self.size())
    }

    fn placed(&self) -> Option<&dyn Placed> {
        Some(self)
    }
}
