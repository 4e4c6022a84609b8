//! epoll: level-triggered, edge-triggered, one-shot.
//!
//! A file whose readiness changes tells its sets, which put the entry on their ready list. `wait` walks that list only,
//! asks each file what it is ready for now, and keeps level-triggered entries on the list as long as they are ready. So
//! ten thousand idle connections cost nothing.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::rc::Rc;
use core::cell::RefCell;
use core::ffi::c_int;

use libc::{EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLONESHOT, epoll_event};

use super::{Description, File, Watchers};
use crate::errno::Errno;
use crate::thread::{self, Woken};

/// What is never masked.
const ALWAYS: u32 = (EPOLLERR | EPOLLHUP) as u32;
const MODES: u32 = (EPOLLET | EPOLLONESHOT | libc::EPOLLEXCLUSIVE | libc::EPOLLWAKEUP) as u32;

/// What an entry is known by, as on Linux: the number it was added with, and the open file behind it. The number may be closed
/// and stand for another file while a duplicate keeps the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    descriptor: c_int,
    /// Where the description is; it has entries only while it has numbers.
    description: usize,
}

impl Key {
    /// The entry of a number and what it stands for.
    pub fn new(descriptor: c_int, description: &Description) -> Self {
        Key { descriptor, description: core::ptr::from_ref(description).addr() }
    }

    /// Whether it is an entry of this description.
    pub fn is_of(self, description: &Description) -> bool {
        self.description == core::ptr::from_ref(description).addr()
    }
}

struct Interest {
    file: Rc<dyn File>,
    events: u32,
    data: u64,
    queued: bool,
}

/// A set of descriptors to watch.
#[derive(Default)]
pub struct Epoll {
    interests: RefCell<BTreeMap<Key, Interest>>,
    ready: RefCell<VecDeque<Key>>,
    watchers: Watchers,
}

impl Epoll {
    /// `epoll_ctl`.
    pub fn control(
        self: &Rc<Self>,
        operation: c_int,
        descriptor: c_int,
        description: &Description,
        event: Option<epoll_event>,
    ) -> Result<(), Errno> {
        let key = Key::new(descriptor, description);
        match (operation, event) {
            (libc::EPOLL_CTL_ADD, Some(event)) => self.add(key, description, event),
            (libc::EPOLL_CTL_MOD, Some(event)) => self.modify(key, event),
            (libc::EPOLL_CTL_DEL, _) => {
                description.file.watchers().sets.borrow_mut().retain(|(set, other)| {
                    *other != key || set.upgrade().is_none_or(|set| !Rc::ptr_eq(&set, self))
                });
                if self.forget(key) { Ok(()) } else { Err(Errno(libc::ENOENT)) }
            }
            (libc::EPOLL_CTL_ADD | libc::EPOLL_CTL_MOD, None) => Err(Errno(libc::EFAULT)),
            _ => Err(Errno(libc::EINVAL)),
        }
    }

    fn add(self: &Rc<Self>, key: Key, description: &Description, event: epoll_event) -> Result<(), Errno> {
        if description.file_as::<Epoll>().is_some() {
            return Err(Errno(libc::EINVAL));
        }
        if description.file_as::<super::disk::DiskFile>().is_some() {
            return Err(Errno(libc::EPERM));
        }
        if self.interests.borrow().contains_key(&key) {
            return Err(Errno(libc::EEXIST));
        }
        let file = description.file.clone();
        file.watchers().sets.borrow_mut().push((Rc::downgrade(self), key));
        let interest = Interest { file, events: event.events, data: event.u64, queued: false };
        self.interests.borrow_mut().insert(key, interest);
        self.changed(key);
        Ok(())
    }

    fn modify(&self, key: Key, event: epoll_event) -> Result<(), Errno> {
        match self.interests.borrow_mut().get_mut(&key) {
            Some(interest) => {
                interest.events = event.events;
                interest.data = event.u64;
            }
            None => return Err(Errno(libc::ENOENT)),
        }
        self.changed(key);
        Ok(())
    }

    /// Takes an entry out; says whether there was one.
    pub fn forget(&self, key: Key) -> bool {
        self.interests.borrow_mut().remove(&key).is_some()
    }

    /// A watched file may be ready for something new.
    pub fn changed(&self, key: Key) {
        let mut interests = self.interests.borrow_mut();
        let Some(interest) = interests.get_mut(&key) else { return };
        let wanted = (interest.events & !MODES) | ALWAYS;
        if interest.queued || interest.events & !MODES == 0 || interest.file.ready() & wanted == 0 {
            return;
        }
        interest.queued = true;
        drop(interests);
        self.ready.borrow_mut().push_back(key);
        self.watchers.notify();
    }

    /// `epoll_wait`: fills `events` and says how many. Waits for so long, for ever without a time, and not at all with 0.
    /// EINTR when a signal's handler has run meanwhile.
    pub fn wait(&self, events: &mut [epoll_event], timeout_ns: Option<u64>) -> Result<usize, Errno> {
        crate::machine::turn();
        // Nobody is stopped who does not wait: a thread that finds something at every look would keep the others from it.
        if thread::give_way() {
            crate::machine::turn();
        }
        let found = self.collect(events);
        if found > 0 || timeout_ns == Some(0) {
            return Ok(found);
        }
        // The turn has read the clock.
        let deadline_ns = timeout_ns.map(|timeout| crate::machine::latest_clock().saturating_add(timeout));
        let mut woken = self.watchers.wait_after_turn(deadline_ns);
        loop {
            let found = self.collect(events);
            match woken {
                _ if found > 0 => return Ok(found),
                Woken::Timeout => return Ok(0),
                Woken::Signal { .. } => return Err(Errno(libc::EINTR)),
                Woken::Event => {}
            }
            woken = self.watchers.wait(deadline_ns);
        }
    }

    fn collect(&self, events: &mut [epoll_event]) -> usize {
        let mut found = 0;
        let candidates = self.ready.borrow().len();
        for _ in 0..candidates {
            if found == events.len() {
                break;
            }
            let Some(key) = self.ready.borrow_mut().pop_front() else { break };
            let mut interests = self.interests.borrow_mut();
            let Some(interest) = interests.get_mut(&key) else { continue };
            interest.queued = false;
            let wanted = (interest.events & !MODES) | ALWAYS;
            let ready = interest.file.ready() & wanted;
            if ready == 0 || interest.events & !MODES == 0 {
                continue;
            }
            events[found] = epoll_event { events: ready, u64: interest.data };
            found += 1;
            if interest.events & EPOLLONESHOT as u32 != 0 {
                interest.events &= MODES;
            } else if interest.events & EPOLLET as u32 == 0 {
                interest.queued = true;
                drop(interests);
                self.ready.borrow_mut().push_back(key);
            }
        }
        found
    }
}

impl File for Epoll {
    fn read(&self, _: &mut [u8]) -> Result<usize, Errno> {
        Err(Errno(libc::EINVAL))
    }

    fn write(&self, _: &[u8]) -> Result<usize, Errno> {
        Err(Errno(libc::EINVAL))
    }

    fn ready(&self) -> u32 {
        if self.ready.borrow().is_empty() { 0 } else { EPOLLIN as u32 }
    }

    fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    fn status(&self) -> (u32, u64) {
        (0o600, 0)
    }
}
