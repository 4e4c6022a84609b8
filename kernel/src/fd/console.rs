//! Descriptors 0, 1 and 2: the machine's console.

use alloc::collections::VecDeque;

use super::{File, Watchers};
use crate::errno::Errno;
use crate::global::Global;
use crate::platform::{Current, Platform};

/// What was typed and not yet read is kept up to this many bytes.
const TYPED_BYTES_MAX: usize = 4096;

static TYPED: Global<VecDeque<u8>> = Global::new(VecDeque::new());

struct Shared(core::cell::OnceCell<Watchers>);
// SAFETY: one virtual CPU; see `Global`. `Watchers` is only touched by the running thread.
unsafe impl Sync for Shared {}
static WATCHERS: Shared = Shared(core::cell::OnceCell::new());

/// The console as a file.
pub struct Console;

/// Takes what was typed.
pub fn turn() {
    let mut bytes = [0; 64];
    loop {
        let room = TYPED_BYTES_MAX - TYPED.with(|typed| typed.len());
        let count = Current::console_read(&mut bytes[..room.min(64)]);
        if count == 0 {
            return;
        }
        TYPED.with(|typed| typed.extend(&bytes[..count]));
        Console.watchers().notify();
    }
}

impl File for Console {
    fn read(&self, into: &mut [u8]) -> Result<usize, Errno> {
        TYPED.with(|typed| {
            if typed.is_empty() && !into.is_empty() {
                return Err(Errno(libc::EAGAIN));
            }
            let count = into.len().min(typed.len());
            into.iter_mut().zip(typed.drain(..count)).for_each(|(slot, byte)| *slot = byte);
            Ok(count)
        })
    }

    fn write(&self, from: &[u8]) -> Result<usize, Errno> {
        Current::console_write(from);
        Ok(from.len())
    }

    fn ready(&self) -> u32 {
        let readable = if TYPED.with(|typed| typed.is_empty()) { 0 } else { libc::EPOLLIN };
        (readable | libc::EPOLLOUT) as u32
    }

    fn watchers(&self) -> &Watchers {
        WATCHERS.0.get_or_init(Watchers::default)
    }

    fn status(&self) -> (u32, u64) {
        (libc::S_IFCHR | 0o620, 0)
    }
}
