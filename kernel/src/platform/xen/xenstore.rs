//! The client of xenstore, the host's tree of settings and device states.
//!
//! [`ask`] blocks the virtual CPU until the daemon answers, for some seconds at most; once it was silent for that long,
//! later calls give up at once until it is heard again. [`begin`] and [`post`] do not wait. A machine whose xenstore lies or is gone keeps its devices and
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

/// How long a call waits for an answer. A first domain that is short of memory or time can be this slow.
const PATIENCE_NS: u64 = 10_000_000_000;
/// How long once the daemon has been silent.
const IMPATIENCE_NS: u64 = 20_000_000;

struct Client {
    wire: wire::Wire<Mapped>,
    port: u32,
    silent: bool,
    told: bool,
    /// [`ask`] cleared the port's event.
    unseen: bool,
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
        *client =
            Some(Client { wire: wire::Wire::new(page), port, silent: false, told: false, unseen: false });
    });
}

/// A request.
#[derive(Debug, Clone, Copy)]
pub enum Ask<'a> {
    /// The names of a node's children.
    List(&'a str),
    /// The value of a node.
    Read(&'a str),
    /// Watch a node and what is below it; events carry the second word. The first event comes at once.
    Watch(&'a str, &'a str),
}

/// Requests that are under way.
#[derive(Debug)]
pub struct Pending(Vec<Result<u32, Error>>);

/// Asks for several things at once, and waits for all answers. The daemon does them in this order. One wait for many
/// answers is what makes boot short: the daemon is woken once.
pub fn ask(asks: &[Ask<'_>]) -> Vec<Answer> {
    CLIENT.with(|client| match client.as_mut() {
        Some(client) => client.ask(asks),
        None => asks.iter().map(|_| Err(Error::Silent)).collect(),
    })
}

/// Asks for several things at once; [`finish`] gives the answers when all are there. The daemon's event tells that there
/// are some.
pub fn begin(asks: &[Ask<'_>]) -> Pending {
    CLIENT.with(|client| match client.as_mut() {
        Some(client) => client.begin(asks),
        None => Pending(asks.iter().map(|_| Err(Error::Silent)).collect()),
    })
}

/// The answers to what was begun, or `None` while one is missing.
pub fn finish(pending: &Pending) -> Option<Vec<Answer>> {
    CLIENT.with(|client| {
        let Some(client) = client.as_mut() else {
            return Some(pending.0.iter().map(|_| Err(Error::Silent)).collect());
        };
        client.turn();
        client.is_done(pending).then(|| client.collect(pending))
    })
}

/// Writes nodes in this order, without waiting; false when there is no way to. What the daemon refuses is named on the
/// console.
#[must_use]
pub fn post(nodes: &[(&str, &str)]) -> bool {
    CLIENT.with(|client| client.as_mut().is_some_and(|client| client.post(nodes)))
}

/// The value of a node.
pub fn read(path: &str) -> Result<String, Error> {
    ask(&[Ask::Read(path)]).pop().unwrap_or(Err(Error::Silent)).map(|value| wire::text(&value))
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

/// The number in the answer to [`Ask::Read`].
pub fn number(answer: &Answer) -> Option<u64> {
    value(answer)?.trim().parse().ok()
}

/// Whether a call took what came from the daemon since this was last asked: nobody has looked at it then, and no event
/// will tell of it any more.
pub fn take_unseen() -> bool {
    CLIENT.with(|client| client.as_mut().is_some_and(|client| core::mem::take(&mut client.unseen)))
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
    fn begin(&mut self, asks: &[Ask<'_>]) -> Pending {
        let pending = Pending(asks.iter().map(|ask| self.start(*ask)).collect());
        self.turn();
        pending
    }

    fn post(&mut self, nodes: &[(&str, &str)]) -> bool {
        let put = |(path, value): &(&str, &str)| {
            self.wire.post(Kind::Write, &[path.as_bytes(), b"\0", value.as_bytes()], path).is_ok()
        };
        let all = nodes.iter().all(put);
        self.turn();
        all
    }

    fn is_done(&self, pending: &Pending) -> bool {
        !pending.0.iter().flatten().any(|&id| self.wire.is_open(id))
    }

    /// The answers there are; who has none was not answered in time.
    fn collect(&mut self, pending: &Pending) -> Vec<Answer> {
        let answer = |request: &Result<u32, Error>| {
            let id = request.clone()?;
            let answer = self.wire.answer(id).unwrap_or(Err(Error::Silent));
            self.wire.give_up(id);
            answer
        };
        pending.0.iter().map(answer).collect()
    }

    fn ask(&mut self, asks: &[Ask<'_>]) -> Vec<Answer> {
        if asks.is_empty() {
            return Vec::new();
        }
        let pending = self.begin(asks);
        self.unseen = true;
        let end = clock::monotonic_ns() + if self.silent { IMPATIENCE_NS } else { PATIENCE_NS };
        loop {
            // Cleared before the ring is read: what comes after that sets it again, and the poll returns at once.
            event::clear(self.port);
            self.turn();
            if self.is_done(&pending) {
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
        self.collect(&pending)
    }

    fn start(&mut self, ask: Ask<'_>) -> Result<u32, Error> {
        match ask {
            Ask::List(path) => self.wire.start(Kind::Directory, &[path.as_bytes(), b"\0"]),
            Ask::Read(path) => self.wire.start(Kind::Read, &[path.as_bytes(), b"\0"]),
            Ask::Watch(path, token) => {
                self.wire.start(Kind::Watch, &[path.as_bytes(), b"\0", token.as_bytes(), b"\0"])
            }
        }
    }

    fn turn(&mut self) {
        while self.wire.turn() {
            hypercall::notify(self.port);
        }
        while let Some((path, word)) = self.wire.refusal() {
            super::log(format_args!("xenstore refuses to write {path}: {word}"));
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
