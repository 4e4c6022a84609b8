//! The client of xenstore, the host's tree of settings and device states.
//!
//! Calls block the virtual CPU until the daemon answers, for a short time at most; once it was silent for that long,
//! later calls give up at once until it is heard again. A machine whose xenstore lies or is gone keeps its devices and
//! goes on; it hears of no shutdown request and connects nothing new.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::abi;
use super::shared::Mapped;
use super::start_info::StartInfo;
use super::xenstore_wire::{self as wire, Kind};
pub use super::xenstore_wire::{Error, Event};
use super::{clock, event, hypercall};
use crate::global::Global;
use crate::platform::PAGE_BYTES;

/// How long a call waits for an answer.
const PATIENCE_NS: u64 = 3_000_000_000;
/// How long once the daemon has been silent.
const IMPATIENCE_NS: u64 = 20_000_000;

struct Client {
    wire: wire::Wire<Mapped>,
    port: u32,
    silent: bool,
    told: bool,
}

static CLIENT: Global<Option<Client>> = Global::new(None);
/// Address of the page and the port, until the heap is there and [`start`] makes the client of them.
static PLACE: Global<(usize, u32)> = Global::new((0, 0));

/// Finds xenstore's page.
pub fn attach(info: &StartInfo) {
    let page = StartInfo::address_of(info.word(abi::start::STORE_FRAME));
    PLACE.with(|place| *place = (page, info.half(abi::start::STORE_PORT)));
}

/// Makes the client; needs the heap.
pub fn start() {
    let (address, port) = PLACE.with(|place| *place);
    // SAFETY: the builder mapped xenstore's page there for good, and nothing else refers to it.
    let page = unsafe { Mapped::new(address, PAGE_BYTES) };
    CLIENT.with(|client| {
        *client = Some(Client { wire: wire::Wire::new(page), port, silent: false, told: false });
    });
}

/// The value of a node.
pub fn read(path: &str) -> Result<String, Error> {
    request(Kind::Read, &[path.as_bytes(), b"\0"]).map(|value| String::from_utf8_lossy(&value).into_owned())
}

/// The value of a node as a decimal number.
pub fn read_number(path: &str) -> Option<u64> {
    read(path).ok()?.trim().parse().ok()
}

/// The names of a node's children.
pub fn list(path: &str) -> Result<Vec<String>, Error> {
    let names = request(Kind::Directory, &[path.as_bytes(), b"\0"])?;
    Ok(names.split(|&byte| byte == 0).filter(|name| !name.is_empty()).map(wire::text).collect())
}

/// Writes a node.
pub fn write(path: &str, value: &str) -> Result<(), Error> {
    request(Kind::Write, &[path.as_bytes(), b"\0", value.as_bytes()]).map(|_| ())
}

/// Writes a number to a node.
pub fn write_number(path: &str, value: u64) -> Result<(), Error> {
    write(path, &format!("{value}"))
}

/// Watches a node and what is below it; events carry `token`. The first event comes at once.
pub fn watch(path: &str, token: &str) -> Result<(), Error> {
    request(Kind::Watch, &[path.as_bytes(), b"\0", token.as_bytes(), b"\0"]).map(|_| ())
}

/// The next watch event, if one is there.
pub fn next_event() -> Option<Event> {
    CLIENT.with(|client| {
        let client = client.as_mut()?;
        client.turn();
        client.wire.event()
    })
}

fn request(kind: Kind, parts: &[&[u8]]) -> Result<Vec<u8>, Error> {
    CLIENT.with(|client| client.as_mut().ok_or(Error::Silent)?.request(kind, parts))
}

impl Client {
    fn request(&mut self, kind: Kind, parts: &[&[u8]]) -> Result<Vec<u8>, Error> {
        self.wire.start(kind, parts)?;
        let end = clock::monotonic_ns() + if self.silent { IMPATIENCE_NS } else { PATIENCE_NS };
        loop {
            // Cleared before the ring is read: what comes after that sets it again, and the poll returns at once.
            event::clear(self.port);
            self.turn();
            if let Some(answer) = self.wire.answer() {
                self.silent = false;
                return answer;
            }
            if clock::monotonic_ns() >= end {
                self.silent = true;
                self.tell(format_args!("it does not answer"));
                return Err(Error::Silent);
            }
            hypercall::poll(&[self.port], end);
        }
    }

    fn turn(&mut self) {
        while self.wire.turn() {
            hypercall::notify(self.port);
        }
        if let Some(why) = self.wire.broken() {
            self.tell(format_args!("{why}"));
        }
    }

    /// One line on the console, once.
    fn tell(&mut self, why: core::fmt::Arguments<'_>) {
        if !core::mem::replace(&mut self.told, true) {
            super::log(format_args!("xenstore: {why}; going on without it"));
        }
    }
}
