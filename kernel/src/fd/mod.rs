//! Descriptors: what the program's small numbers stand for.
//!
//! A descriptor points to an open [`Description`], shared by its duplicates, which holds a [`File`]: console, disk,
//! socket, pipe end, event counter, epoll set, or a small text. A file never waits by itself: it answers EAGAIN, and
//! [`Description::wait_for`] makes the calling thread wait and try again unless the program asked not to.

pub mod console;
pub mod disk;
pub mod epoll;
pub mod event;
pub mod paths;
pub mod pipe;

use alloc::rc::{Rc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::cell::{Cell, RefCell};
use core::ffi::c_int;

use crate::errno::Errno;
use crate::global::Global;
use crate::net::Socket;
use crate::thread::{self, Waiting, Woken};

/// Most descriptors at once.
pub const DESCRIPTORS_MAX: usize = 65_536;

/// An open file of any kind.
pub trait File: Any {
    /// Takes bytes, or EAGAIN when there are none yet; 0 is the end.
    fn read(&self, into: &mut [u8]) -> Result<usize, Errno>;
    /// Gives bytes, or EAGAIN when there is no room yet.
    fn write(&self, from: &[u8]) -> Result<usize, Errno>;
    /// What could be done without waiting, as EPOLL bits.
    fn ready(&self) -> u32;
    /// Who is to be told when that changes.
    fn watchers(&self) -> &Watchers;
    /// Kind bits (S_IF…) and permissions for `fstat`, and the size in bytes.
    fn status(&self) -> (u32, u64);
    /// The socket it is, if it is one.
    fn socket(&self) -> Option<&dyn Socket> {
        None
    }
    /// Itself, if its bytes have places.
    fn placed(&self) -> Option<&dyn Placed> {
        None
    }
}

/// A file whose bytes have places: `pread`, `pwrite`, `lseek`.
pub trait Placed {
    /// Reads from `offset` on; less than asked for at the end only.
    fn read_at(&self, into: &mut [u8], offset: u64) -> Result<usize, Errno>;
    /// Writes at `offset`: all of it, or as much as fits before the end; ENOSPC at the end.
    fn write_at(&self, from: &[u8], offset: u64) -> Result<usize, Errno>;
    /// Moves the place at which `read` and `write` go on; says where it is.
    fn seek(&self, offset: i64, whence: c_int) -> Result<u64, Errno>;
}

/// Where `lseek` leads in a file of `size` bytes whose place is `position`.
fn sought(position: u64, size: u64, offset: i64, whence: c_int) -> Result<u64, Errno> {
    let base = match whence {
        libc::SEEK_SET => 0,
        libc::SEEK_CUR => position,
        libc::SEEK_END => size,
        _ => return Err(Errno(libc::EINVAL)),
    };
    base.checked_add_signed(offset).filter(|&at| at <= i64::MAX as u64).ok_or(Errno(libc::EINVAL))
}

/// An open file with its mode, shared by duplicated descriptors.
pub struct Description {
    /// The file.
    pub file: Rc<dyn File>,
    /// O_NONBLOCK.
    pub nonblocking: Cell<bool>,
    /// The O_… flags it was opened with.
    pub flags: c_int,
}

impl Description {
    /// Does `attempt` until it does not answer EAGAIN, waiting in between as long as `deadline_ns` allows; only once if
    /// the program asked not to wait. A signal ends the wait unless its handler lets calls go on (SA_RESTART) and the call
    /// has no time of its own (signal(7)).
    pub fn wait_for<R>(
        &self,
        deadline_ns: Option<u64>,
        mut attempt: impl FnMut() -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        let mut woken = Woken::Event;
        loop {
            match (attempt(), woken) {
                (Err(Errno(libc::EAGAIN)), Woken::Timeout) => return Err(Errno(libc::EAGAIN)),
                (Err(Errno(libc::EAGAIN)), Woken::Signal { restarts }) if !restarts || deadline_ns.is_some() => {
                    return Err(Errno(libc::EINTR));
                }
                (Err(Errno(libc::EAGAIN)), _) if !self.nonblocking.get() => {
                    woken = self.file.watchers().wait(deadline_ns);
                }
                (result, _) => {
                    if matches!(result, Err(Errno(libc::EAGAIN))) {
                        thread::asked_in_vain();
                    }
                    return result;
                }
            }
        }
    }

    /// EBADF unless it was opened for reading.
    pub fn check_readable(&self) -> Result<(), Errno> {
        if self.flags & libc::O_ACCMODE == libc::O_WRONLY { Err(Errno(libc::EBADF)) } else { Ok(()) }
    }

    /// EBADF unless it was opened for writing.
    pub fn check_writable(&self) -> Result<(), Errno> {
        if self.flags & libc::O_ACCMODE == libc::O_RDONLY { Err(Errno(libc::EBADF)) } else { Ok(()) }
    }

    /// The file as a particular kind.
    pub fn file_as<F: File>(&self) -> Option<&F> {
        let file: &dyn Any = &*self.file;
        file.downcast_ref()
    }
}

/// Who wants to know when a file's readiness changes: threads that wait for it, and epoll sets that hold it.
#[derive(Default)]
pub struct Watchers {
    threads: RefCell<Vec<Waiting>>,
    sets: RefCell<Vec<(Weak<epoll::Epoll>, epoll::Key)>>,
}

impl Watchers {
    /// Waits for the next change.
    pub fn wait(&self, deadline_ns: Option<u64>) -> Woken {
        let waiting = self.join();
        let woken = thread::block(deadline_ns);
        self.leave(waiting);
        woken
    }

    /// Waits for the next change after a turn of the calling thread's.
    pub fn wait_after_turn(&self, deadline_ns: Option<u64>) -> Woken {
        let waiting = self.join();
        let woken = thread::block_after_turn(deadline_ns);
        self.leave(waiting);
        woken
    }

    /// Notes the calling thread's present wait.
    fn join(&self) -> Waiting {
        let waiting = thread::prepare_to_wait_or_be_interrupted();
        self.add(waiting);
        waiting
    }

    /// Notes a wait.
    pub fn add(&self, waiting: Waiting) {
        self.threads.borrow_mut().push(waiting);
    }

    /// Forgets a wait.
    pub fn leave(&self, waiting: Waiting) {
        self.threads.borrow_mut().retain(|other| *other != waiting);
    }

    /// Tells everybody that something may have changed.
    pub fn notify(&self) {
        let threads = core::mem::take(&mut *self.threads.borrow_mut());
        for waiting in threads {
            thread::wake(waiting);
        }
        for (set, key) in self.sets.borrow().iter() {
            if let Some(set) = set.upgrade() {
                set.changed(*key);
            }
        }
    }
}

struct Table {
    descriptors: Vec<Option<Rc<Description>>>,
    /// No free number is below this one.
    lowest_free: usize,
}

static TABLE: Global<Table> = Global::new(Table { descriptors: Vec::new(), lowest_free: 0 });

/// Opens 0, 1 and 2 on the console.
pub fn start() {
    let console: Rc<dyn File> = Rc::new(console::Console);
    for _ in 0..3 {
        let _ = insert(console.clone(), libc::O_RDWR, false);
    }
}

/// Gives a file the lowest free number.
pub fn insert(file: Rc<dyn File>, flags: c_int, nonblocking: bool) -> Result<c_int, Errno> {
    insert_description(Rc::new(Description { file, nonblocking: Cell::new(nonblocking), flags }), 0)
}

fn insert_description(description: Rc<Description>, least: usize) -> Result<c_int, Errno> {
    TABLE.with(|table| {
        let start = least.max(table.lowest_free);
        let number = (start..table.descriptors.len())
            .find(|&number| table.descriptors[number].is_none())
            .unwrap_or(table.descriptors.len().max(least));
        if number >= DESCRIPTORS_MAX {
            return Err(Errno(libc::EMFILE));
        }
        while table.descriptors.len() <= number {
            table.descriptors.push(None);
        }
        table.descriptors[number] = Some(description);
        if least <= table.lowest_free {
            table.lowest_free = number + 1;
        }
        Ok(number as c_int)
    })
}

/// What a descriptor stands for, or EBADF.
pub fn get(descriptor: c_int) -> Result<Rc<Description>, Errno> {
    TABLE.with(|table| {
        let number = usize::try_from(descriptor).map_err(|_| Errno(libc::EBADF))?;
        table.descriptors.get(number).and_then(Clone::clone).ok_or(Errno(libc::EBADF))
    })
}

/// Another number, at least `least`, for the same description.
pub fn duplicate(descriptor: c_int, least: c_int) -> Result<c_int, Errno> {
    insert_description(get(descriptor)?, usize::try_from(least).map_err(|_| Errno(libc::EINVAL))?)
}

/// Frees a number. The file is closed when its last number and its last use are gone; with the last number it leaves its
/// epoll sets.
pub fn close(descriptor: c_int) -> Result<(), Errno> {
    let description = get(descriptor)?;
    let closed = TABLE.with(|table| {
        let number = descriptor as usize;
        table.lowest_free = table.lowest_free.min(number);
        table.descriptors[number].take()
    });
    drop(closed);
    if !has_number(&description) {
        let watchers = description.file.watchers();
        let sets = core::mem::take(&mut *watchers.sets.borrow_mut());
        let (gone, kept): (Vec<_>, Vec<_>) = sets.into_iter().partition(|(_, key)| key.is_of(&description));
        *watchers.sets.borrow_mut() = kept;
        for (set, key) in gone {
            if let Some(set) = set.upgrade() {
                set.forget(key);
            }
        }
    }
    Ok(())
}

/// Whether a descriptor stands for this description.
fn has_number(description: &Rc<Description>) -> bool {
    let is_it = |one: &Rc<Description>| Rc::ptr_eq(one, description);
    // The caller's own is one; most have no others.
    Rc::strong_count(description) > 1 && TABLE.with(|table| table.descriptors.iter().flatten().any(is_it))
}
