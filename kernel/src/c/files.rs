//! Descriptors and paths.

use alloc::vec::Vec;
use core::ffi::{c_char, c_int, c_long, c_void};

use libc::{iovec, off64_t};

use super::{Answer, buffer, bytes, fail, text};
use crate::errno::Errno;
use crate::fd::disk::DiskFile;
use crate::fd::{self, Description, Placed, paths};

/// Writes to descriptors that the other side has left: EPIPE, and no signal, as std asks for.
fn write_to(description: &Description, from: &[u8]) -> Result<usize, Errno> {
    description.check_writable()?;
    let deadline = description.file.socket().map_or(0, |socket| socket.timeout_ns(true));
    description.wait_for(deadline_after(deadline), || description.file.write(from))
}

fn read_from(description: &Description, into: &mut [u8]) -> Result<usize, Errno> {
    description.check_readable()?;
    let timeout = description.file.socket().map_or(0, |socket| socket.timeout_ns(false));
    description.wait_for(deadline_after(timeout), || description.file.read(into))
}

/// The moment `timeout_ns` from now; none for 0.
pub fn deadline_after(timeout_ns: u64) -> Option<u64> {
    (timeout_ns > 0).then(|| super::time::monotonic_ns().saturating_add(timeout_ns))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn read(descriptor: c_int, into: *mut u8, length: usize) -> isize {
    // SAFETY: C's contract for read.
    let into = unsafe { buffer(into, length) };
    fd::get(descriptor).and_then(|description| read_from(&description, into)).answer()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(descriptor: c_int, from: *const u8, length: usize) -> isize {
    // SAFETY: C's contract for write.
    let from = unsafe { bytes(from, length) };
    fd::get(descriptor).and_then(|description| write_to(&description, from)).answer()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn readv(descriptor: c_int, parts: *const iovec, count: c_int) -> isize {
    fd::get(descriptor)
        .and_then(|description| {
            // SAFETY: C's contract for readv: `count` parts, each valid.
            let parts = unsafe { bytes_of_parts(parts, count)? };
            let mut all = 0;
            for part in parts.iter().filter(|part| part.iov_len > 0) {
                // SAFETY: as above.
                let into = unsafe { buffer(part.iov_base.cast(), part.iov_len) };
                let length = into.len();
                // Only the first part may wait: what is there is returned.
                let got = match all {
                    0 => read_from(&description, into),
                    _ => description.file.read(into),
                };
                match got {
                    Ok(count) => all += count,
                    Err(error) if all == 0 => return Err(error),
                    Err(_) => break,
                }
                if got != Ok(length) {
                    break;
                }
            }
            Ok(all)
        })
        .answer()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn writev(descriptor: c_int, parts: *const iovec, count: c_int) -> isize {
    fd::get(descriptor)
        .and_then(|description| {
            // SAFETY: C's contract for writev: `count` parts, each valid.
            let parts = unsafe { bytes_of_parts(parts, count)? };
            // SAFETY: as above.
            let filled = parts.iter().map(|part| unsafe { bytes(part.iov_base.cast(), part.iov_len) });
            gather(filled, |from, first| if first { write_to(&description, from) } else { description.file.write(from) })
        })
        .answer()
}

/// Most parts of a vector (UIO_MAXIOV).
const PARTS_MAX: usize = 1024;
/// Parts shorter than this together are sent as one: a head and a body make one segment.
const GATHERED_BYTES_MAX: usize = 16 << 10;

/// The parts of a vector.
///
/// # Safety
/// `parts` must be valid for `count` parts.
pub unsafe fn bytes_of_parts<'a>(parts: *const iovec, count: c_int) -> Result<&'a [iovec], Errno> {
    match usize::try_from(count) {
        Ok(0) => Ok(&[]),
        // SAFETY: the caller's promise.
        Ok(count) if count <= PARTS_MAX => Ok(unsafe { core::slice::from_raw_parts(parts, count) }),
        _ => Err(Errno(libc::EINVAL)),
    }
}

/// Writes parts in order, short ones together; `write` is told whether it is the first and may wait.
fn gather<'a>(
    parts: impl Iterator<Item = &'a [u8]>,
    mut write: impl FnMut(&[u8], bool) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let mut parts = parts.filter(|part| !part.is_empty()).peekable();
    let mut all = 0;
    while let Some(part) = parts.next() {
        let mut joined = Vec::new();
        while let Some(next) = parts.peek()
            && joined.len().max(part.len()) + next.len() <= GATHERED_BYTES_MAX
        {
            if joined.is_empty() {
                joined.extend_from_slice(part);
            }
            joined.extend_from_slice(next);
            parts.next();
        }
        let piece = if joined.is_empty() { part } else { &joined };
        match write(piece, all == 0) {
            Ok(count) => {
                all += count;
                if count < piece.len() {
                    break;
                }
            }
            Err(error) if all == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(all)
}

fn disk<R>(descriptor: c_int, work: impl FnOnce(&DiskFile) -> Result<R, Errno>) -> Result<R, Errno> {
    let description = fd::get(descriptor)?;
    work(description.file_as::<DiskFile>().ok_or(Errno(libc::ESPIPE))?)
}

/// What `pread` and its kin work on: a file with places.
fn placed(description: &Description) -> Result<&dyn Placed, Errno> {
    description.file.placed().ok_or(Errno(libc::ESPIPE))
}

fn place(offset: off64_t) -> Result<u64, Errno> {
    u64::try_from(offset).map_err(|_| Errno(libc::EINVAL))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pread64(descriptor: c_int, into: *mut u8, length: usize, offset: off64_t) -> isize {
    // SAFETY: C's contract for pread.
    let into = unsafe { buffer(into, length) };
    fd::get(descriptor)
        .and_then(|description| {
            description.check_readable()?;
            placed(&description)?.read_at(into, place(offset)?)
        })
        .answer()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(descriptor: c_int, from: *const u8, length: usize, offset: off64_t) -> isize {
    // SAFETY: C's contract for pwrite.
    let from = unsafe { bytes(from, length) };
    fd::get(descriptor)
        .and_then(|description| {
            description.check_writable()?;
            placed(&description)?.write_at(from, place(offset)?)
        })
        .answer()
}

#[unsafe(no_mangle)]
extern "C" fn lseek64(descriptor: c_int, offset: off64_t, whence: c_int) -> off64_t {
    match fd::get(descriptor).and_then(|description| placed(&description)?.seek(offset, whence)) {
        Ok(position) => position as off64_t,
        Err(error) => fail(error) as off64_t,
    }
}

#[unsafe(no_mangle)]
extern "C" fn lseek(descriptor: c_int, offset: off64_t, whence: c_int) -> off64_t {
    lseek64(descriptor, offset, whence)
}

fn flush(descriptor: c_int) -> c_int {
    let result = fd::get(descriptor).and_then(|description| match description.file_as::<DiskFile>() {
        Some(disk) => disk.flush(),
        None => Err(Errno(libc::EINVAL)),
    });
    result.answer() as c_int
}

#[unsafe(no_mangle)]
extern "C" fn fsync(descriptor: c_int) -> c_int {
    flush(descriptor)
}

#[unsafe(no_mangle)]
extern "C" fn fdatasync(descriptor: c_int) -> c_int {
    flush(descriptor)
}

/// A disk has the size it has: only "what it is already" succeeds.
#[unsafe(no_mangle)]
extern "C" fn ftruncate64(descriptor: c_int, length: off64_t) -> c_int {
    let result = fd::get(descriptor).and_then(|description| {
        let (_, size) = description.file.status();
        let same = description.file_as::<DiskFile>().is_some() && size == length as u64;
        if same { Ok(()) } else { Err(Errno(libc::EINVAL)) }
    });
    result.answer() as c_int
}

/// Punching a hole in a disk is a discard; anything else has no meaning on a device.
#[unsafe(no_mangle)]
extern "C" fn fallocate64(descriptor: c_int, mode: c_int, offset: off64_t, length: off64_t) -> c_int {
    let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    let (Ok(offset), Ok(length)) = (u64::try_from(offset), u64::try_from(length)) else {
        return fail(Errno(libc::EINVAL)) as c_int;
    };
    if mode != punch {
        return fail(Errno(libc::EOPNOTSUPP)) as c_int;
    }
    disk(descriptor, |disk| disk.discard(offset, length)).answer() as c_int
}

/// One process, so nobody else can hold a lock.
#[unsafe(no_mangle)]
extern "C" fn flock(descriptor: c_int, _: c_int) -> c_int {
    fd::get(descriptor).map(drop).answer() as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, _mode: u32) -> c_int {
    // SAFETY: C's contract for open.
    unsafe { text(path) }
        .and_then(|path| fd::insert(paths::open(path, flags)?, flags, flags & libc::O_NONBLOCK != 0))
        .answer() as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: u32) -> c_int {
    // SAFETY: C's contract for open.
    unsafe { open64(path, flags, mode) }
}

/// Variadic in C. Names begin at the root: no directory can be opened to begin at.
#[unsafe(no_mangle)]
unsafe extern "C" fn openat64(_: c_int, path: *const c_char, flags: c_int, mode: u32) -> c_int {
    // SAFETY: C's contract for openat.
    unsafe { open64(path, flags, mode) }
}

#[unsafe(no_mangle)]
extern "C" fn close(descriptor: c_int) -> c_int {
    let lingering = fd::get(descriptor).map(|description| {
        if let Some(socket) = description.file.socket()
            && let Some(seconds) = socket.linger().filter(|&seconds| seconds > 0)
        {
            let _ = socket.shutdown(libc::SHUT_WR);
            let deadline = deadline_after(u64::from(seconds) * 1_000_000_000);
            let _ = description.wait_for(deadline, || socket.drained());
        }
    });
    lingering.and_then(|()| fd::close(descriptor)).answer() as c_int
}

#[unsafe(no_mangle)]
extern "C" fn dup(descriptor: c_int) -> c_int {
    fd::duplicate(descriptor, 0).answer() as c_int
}

/// Variadic in C.
#[unsafe(no_mangle)]
extern "C" fn fcntl(descriptor: c_int, command: c_int, argument: c_long) -> c_int {
    fd::get(descriptor)
        .and_then(|description| match command {
            libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => fd::duplicate(descriptor, argument as c_int),
            // There is no exec to close anything at.
            libc::F_GETFD => Ok(libc::FD_CLOEXEC),
            libc::F_SETFD => Ok(0),
            libc::F_GETFL => {
                Ok(description.flags & libc::O_ACCMODE | if description.nonblocking.get() { libc::O_NONBLOCK } else { 0 })
            }
            libc::F_SETFL => {
                description.nonblocking.set(argument as c_int & libc::O_NONBLOCK != 0);
                Ok(0)
            }
            libc::F_SETLK | libc::F_SETLKW | libc::F_OFD_SETLK | libc::F_OFD_SETLKW => Ok(0),
            _ => Err(Errno(libc::EINVAL)),
        })
        .answer() as c_int
}

#[unsafe(no_mangle)]
extern "C" fn fcntl64(descriptor: c_int, command: c_int, argument: c_long) -> c_int {
    fcntl(descriptor, command, argument)
}

/// BLKGETSIZE64: a block device's size in bytes.
const BLKGETSIZE64: u64 = 0x8008_1272;

/// Variadic in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn ioctl(descriptor: c_int, request: u64, argument: *mut c_void) -> c_int {
    fd::get(descriptor)
        .and_then(|description| {
            // SAFETY: ioctl's contract for each request: a valid pointer to what it wants.
            unsafe {
                match request {
                    libc::FIONBIO => description.nonblocking.set(*argument.cast::<c_int>() != 0),
                    libc::FIOCLEX | libc::FIONCLEX => {}
                    BLKGETSIZE64 if description.file_as::<DiskFile>().is_some() => {
                        argument.cast::<u64>().write(description.file.status().1);
                    }
                    _ => return Err(Errno(libc::ENOTTY)),
                }
            }
            Ok(())
        })
        .answer() as c_int
}

#[unsafe(no_mangle)]
extern "C" fn isatty(_: c_int) -> c_int {
    fail(Errno(libc::ENOTTY));
    0
}

fn fill_status((mode, size): (u32, u64), into: *mut libc::stat64) {
    // SAFETY: all zeros is a valid `stat64`, and C's contract gives a place for one.
    unsafe {
        let mut status: libc::stat64 = core::mem::zeroed();
        status.st_mode = mode;
        status.st_nlink = 1;
        status.st_blksize = 4096;
        // A block device's size is asked for by seeking, as on Linux.
        status.st_size = if mode & libc::S_IFMT == libc::S_IFBLK { 0 } else { size as i64 };
        into.write(status);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fstat64(descriptor: c_int, into: *mut libc::stat64) -> c_int {
    fd::get(descriptor).map(|description| fill_status(description.file.status(), into)).answer() as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fstat(descriptor: c_int, into: *mut libc::stat64) -> c_int {
    // SAFETY: `stat` and `stat64` are the same on this machine.
    unsafe { fstat64(descriptor, into) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn stat64(path: *const c_char, into: *mut libc::stat64) -> c_int {
    // SAFETY: C's contract for stat.
    unsafe { text(path) }.and_then(paths::status).map(|status| fill_status(status, into)).answer() as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lstat64(path: *const c_char, into: *mut libc::stat64) -> c_int {
    // SAFETY: C's contract for lstat; there are no symbolic links.
    unsafe { stat64(path, into) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fstatat64(_: c_int, path: *const c_char, into: *mut libc::stat64, _: c_int) -> c_int {
    // SAFETY: C's contract for fstatat.
    unsafe { stat64(path, into) }
}

/// std falls back to `fstat64` and `stat64`.
#[unsafe(no_mangle)]
extern "C" fn statx(_: c_int, _: *const c_char, _: c_int, _: u32, _: *mut c_void) -> c_int {
    fail(Errno(libc::ENOSYS)) as c_int
}

/// The answer of everything that would make, rename or remove a name: ENOENT for a path that is not there, else EROFS.
unsafe fn no_new_names(path: *const c_char) -> c_int {
    // SAFETY: C's contract for each of the callers.
    let known = unsafe { text(path) }.and_then(paths::status);
    fail(known.err().unwrap_or(Errno(libc::EROFS))) as c_int
}

macro_rules! no_names {
    ($($name:ident($($more:ty),*);)*) => {
        $(#[unsafe(no_mangle)]
        unsafe extern "C" fn $name(path: *const c_char $(, _: $more)*) -> c_int {
            // SAFETY: the C function's own contract.
            unsafe { no_new_names(path) }
        })*
    };
}

no_names! {
    unlink();
    rmdir();
    rename(*const c_char);
    chmod(u32);
    chown(u32, u32);
    lchown(u32, u32);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn utimensat(_: c_int, path: *const c_char, _: *const c_void, _: c_int) -> c_int {
    // SAFETY: C's contract for utimensat.
    unsafe { no_new_names(path) }
}

/// The root is where a program is, and stays.
#[unsafe(no_mangle)]
unsafe extern "C" fn chdir(path: *const c_char) -> c_int {
    // SAFETY: C's contract for chdir.
    let path = unsafe { text(path) };
    path.and_then(|path| match paths::status(path)? {
        (mode, _) if mode & libc::S_IFMT != libc::S_IFDIR => Err(Errno(libc::ENOTDIR)),
        _ if path.trim_matches('/').is_empty() => Ok(()),
        _ => Err(Errno(libc::EACCES)),
    })
    .answer() as c_int
}

#[unsafe(no_mangle)]
extern "C" fn mkdir(_: *const c_char, _: u32) -> c_int {
    fail(Errno(libc::EROFS)) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn link(_: *const c_char, _: *const c_char) -> c_int {
    fail(Errno(libc::EROFS)) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn symlink(_: *const c_char, _: *const c_char) -> c_int {
    fail(Errno(libc::EROFS)) as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlinkat(_: c_int, path: *const c_char, _: c_int) -> c_int {
    // SAFETY: C's contract for unlinkat.
    unsafe { no_new_names(path) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn readlink(path: *const c_char, _: *mut c_char, _: usize) -> isize {
    // SAFETY: C's contract for readlink: what exists is not a link.
    let known = unsafe { text(path) }.and_then(paths::status);
    fail(known.err().unwrap_or(Errno(libc::EINVAL)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn realpath(path: *const c_char, into: *mut c_char) -> *mut c_char {
    // SAFETY: C's contract for realpath: `into` is null or PATH_MAX long; every path here is its own real path.
    unsafe {
        let Err(error) = text(path).and_then(paths::status) else {
            let length = core::ffi::CStr::from_ptr(path).count_bytes() + 1;
            let memory = crate::machine::allocate(length, 16).map_or(core::ptr::null_mut(), |memory| memory.as_ptr().cast());
            let into = if into.is_null() { memory } else { into };
            if !into.is_null() {
                core::ptr::copy_nonoverlapping(path, into, length);
            }
            return into;
        };
        fail(error);
    }
    core::ptr::null_mut()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getcwd(into: *mut c_char, length: usize) -> *mut c_char {
    if into.is_null() || length < 2 {
        fail(Errno(libc::ERANGE));
        return core::ptr::null_mut();
    }
    // SAFETY: C's contract for getcwd, and the length was looked at.
    unsafe {
        *into = b'/' as c_char;
        *into.add(1) = 0;
    }
    into
}

/// Directories can be asked about, but not read: there is nothing in them to find that the program does not know.
#[unsafe(no_mangle)]
unsafe extern "C" fn opendir(path: *const c_char) -> *mut c_void {
    // SAFETY: C's contract for opendir.
    let known = unsafe { text(path) }.and_then(paths::status);
    fail(match known {
        Ok((mode, _)) if mode & libc::S_IFMT == libc::S_IFDIR => Errno(libc::EACCES),
        Ok(_) => Errno(libc::ENOTDIR),
        Err(error) => error,
    });
    core::ptr::null_mut()
}

#[unsafe(no_mangle)]
extern "C" fn readdir64(_: *mut c_void) -> *mut c_void {
    core::ptr::null_mut()
}

#[unsafe(no_mangle)]
extern "C" fn closedir(_: *mut c_void) -> c_int {
    0
}

#[unsafe(no_mangle)]
extern "C" fn dirfd(_: *mut c_void) -> c_int {
    fail(Errno(libc::EINVAL)) as c_int
}

/// Memory without a file is heap; a file cannot be mapped. Short enough to be inlined, so that the link sees where a mapped file
/// is all that code waits for: std's reader of debug information (a fifth of a small program) never gets its file here, and is left
/// out. Backtraces show addresses, which `nymote symbolize` names.
#[unsafe(no_mangle)]
extern "C" fn mmap64(_: *mut c_void, length: usize, _: c_int, flags: c_int, _: c_int, _: off64_t) -> *mut c_void {
    if flags & libc::MAP_ANONYMOUS == 0 || flags & libc::MAP_FIXED != 0 {
        fail(Errno(libc::ENODEV));
        return libc::MAP_FAILED;
    }
    map_anonymous(length)
}

#[inline(never)]
fn map_anonymous(length: usize) -> *mut c_void {
    match crate::machine::allocate(length.next_multiple_of(4096), 4096) {
        Some(memory) => {
            // SAFETY: the memory is `length` bytes long and ours.
            unsafe { core::ptr::write_bytes(memory.as_ptr(), 0, length) };
            memory.as_ptr().cast()
        }
        None => {
            fail(Errno(libc::ENOMEM));
            libc::MAP_FAILED
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn mmap(start: *mut c_void, length: usize, p: c_int, flags: c_int, d: c_int, o: off64_t) -> *mut c_void {
    mmap64(start, length, p, flags, d, o)
}

#[unsafe(no_mangle)]
extern "C" fn munmap(start: *mut c_void, _: usize) -> c_int {
    if let Some(start) = core::ptr::NonNull::new(start.cast()) {
        crate::machine::free(start);
    }
    0
}

/// Protection is the carrier's: what a program may do with its heap does not change.
#[unsafe(no_mangle)]
extern "C" fn mprotect(_: *mut c_void, _: usize, _: c_int) -> c_int {
    0
}

#[unsafe(no_mangle)]
extern "C" fn madvise(_: *mut c_void, _: usize, _: c_int) -> c_int {
    0
}
