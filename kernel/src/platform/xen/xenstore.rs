//! The client of xenstore, the host's tree of settings and device states.
//!
//! Calls block the virtual CPU until the daemon answers, for a short time at most; once it was silent for that long,
//! later calls give up at once until it is heard again. A machine whose xenstore lies or is gone keeps its devices and
//! goes on; it hears of no shutdown request and connects nothing new.

use alloc::string::String;
use alloc::vec::Vec;

use super::abi;
use super::shared::Mapped;
use super::start_info::StartInfo;
use super::xenstore_wire::{self as wire, Kind};
pub use super::xenstore_wire::{Answer, Error, Event};
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

/// A request.
#[derive(Debug, Clone, Copy)]
pub enum Ask<'a> {
    /// The names of a node's children.
    List(&'a str),
    /// The value of a node.
    Read(&'a str),
    /// A node's new value.
    Write(&'a str, &'a str),
    /// Watch a node and what is below it; events carry the second word. The first event comes at once.
    Watch(&'a str, &'a str),
}

/// Asks for several things at once, and waits for all answers. The daemon does them in this order. One wait for many
/// answers is what makes boot short: the daemon is woken once.
pub fn ask(asks: &[Ask<'_>]) -> Vec<Answer> {
    CLIENT.with(|client| match client.as_mut() {
        Some(client) => client.ask(asks),
        None => asks.iter().map(|_| Err(Error::Silent)).collect(),
    })
}

/// The value of a node.
pub fn read(path: &str) -> Result<String, Error> {
    ask(&[Ask::Read(path)]).pop().unwrap_or(Err(Error::Silent)).map(|value| wire::text(&value))
}

/// Writes a node.
pub fn write(path: &str, value: &str) -> Result<(), Error> {
    ask(&[Ask::Write(path, value)]).pop().unwrap_or(Err(Error::Silent)).map(drop)
}

/// The names in the answer to [`Ask::List`]; none when it failed.
pub fn names(answer: &Answer) -> Vec<String> {
    let names = answer.as_deref().unwrap_or_default();
    names.split(|&byte| byte == 0).filter(|name| !name.is_empty()).map(wire::text).collect()
}

/// The text in the answer to [`Ask::Read`].
pub fn value(answer: &Answer) -> Option<String> {
    answer.as_deref().ok().map(wire::text)
}

/// The next watch event, if one is there.
pub fn next_event() -> Option<Event> {
    CLIENT.with(|client| {
        let client = client.as_mut()?;
        client.turn();
        client.wire.event()
    })
}

impl Client {
    fn ask(&mut self, asks: &[Ask<'_>]) -> Vec<Answer> {
        let requests: Vec<Result<u32, Error>> = asks.iter().map(|ask| self.start(*ask)).collect();
        let end = clock::monotonic_ns() + if self.silent { IMPATIENCE_NS } else { PATIENCE_NS };
        loop {
            // Cleared before the ring is read: what comes after that sets it again, and the poll returns at once.
            event::clear(self.port);
            self.turn();
            if self.wire.open() == 0 {
                self.silent = false;
                break;
            }
            if clock::monotonic_ns() >= end {
                self.silent = true;
                self.tell(format_args!("it does not answer"));
                break;
            }
            hypercall::poll(&[self.port], end);
        }
        let answer = |request: Result<u32, Error>| self.wire.answer(request?).unwrap_or(Err(Error::Silent));
        let answers = requests.into_iter().map(answer).collect();
        self.wire.give_up();
        answers
    }

    fn start(&mut self, ask: Ask<'_>) -> Result<u32, Error> {
        match ask {
            Ask::List(path) => self.wire.start(Kind::Directory, &[path.as_bytes(), b"\0"]),
            Ask::Read(path) => self.wire.start(Kind::Read, &[path.as_bytes(), b"\0"]),
            Ask::Write(path, value) => {
                self.wire.start(Kind::Write, &[path.as_bytes(), b"\0", value.as_bytes()])
            }
            Ask::Watch(path, token) => {
                self.wire.start(Kind::Watch, &[path.as_bytes(), b"\0", token.as_bytes(), b"\0"])
            }
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
