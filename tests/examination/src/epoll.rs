//! epoll sets and descriptors that are duplicated and closed.

use std::os::fd::AsFd;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;

/// What a set says is readable, by the numbers that were given with the entries.
fn readable(set: &Epoll) -> Vec<u64> {
    let mut events = [EpollEvent::empty(); 8];
    let found = set.wait(&mut events, EpollTimeout::ZERO).unwrap();
    let mut data: Vec<u64> = events[..found].iter().map(EpollEvent::data).collect();
    data.sort();
    data
}

/// An entry lives as long as the open file, not as long as its number (epoll(7), questions and answers).
pub fn duplicates() -> String {
    let set = Epoll::new(EpollCreateFlags::empty()).unwrap();
    let watch = |file: &dyn AsFd, data| set.add(file.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, data));
    let first = EventFd::from_value(1).unwrap();
    let duplicate = first.as_fd().try_clone_to_owned().unwrap();
    watch(&first, 1).unwrap();
    let again = watch(&first, 1).unwrap_err();
    watch(&duplicate, 2).unwrap();
    drop(first);
    let kept = readable(&set);
    // It gets the number of the first.
    let other = EventFd::from_value(1).unwrap();
    watch(&other, 3).unwrap();
    let beside = readable(&set);
    drop(duplicate);
    let alone = readable(&set);
    drop(other);
    format!("{again:?}; {kept:?}, then {beside:?}, then {alone:?}, then {:?}", readable(&set))
}
