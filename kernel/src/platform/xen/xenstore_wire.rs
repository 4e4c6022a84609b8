//! The protocol of `io/xs_wire.h` over its shared page, as pure code.
//!
//! The page holds 1,024 bytes of requests, 1,024 bytes of answers and four indexes. A message is a header (type, request
//! id, transaction id, length: u32 each) and at most 4,096 bytes. Several requests may be out, told apart by their ids;
//! watch events arrive between. The daemon is not trusted with our memory: an index that cannot be true, a message that is too long or an
//! answer to nothing ends the connection, and the machine goes on without xenstore.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use crate::platform::xen::shared::Shared;

const RING_BYTES: u32 = 1024;
const ANSWERS_AT: usize = 1024;
const REQUEST_CONSUMED: usize = 2048;
const REQUEST_PRODUCED: usize = 2052;
const ANSWER_CONSUMED: usize = 2056;
const ANSWER_PRODUCED: usize = 2060;
const HEADER_BYTES: usize = 16;
/// Longest payload of a message (`XENSTORE_PAYLOAD_MAX`).
pub const PAYLOAD_BYTES_MAX: usize = 4096;
/// Requests that are out at once; a machine with sixteen devices asks for some hundred at boot.
const OPEN_MAX: usize = 256;
/// Refusals of posted requests that wait to be named; more are dropped.
const REFUSALS_MAX: usize = 16;
/// Watch events that wait to be looked at; more are dropped, oldest first. Ours are few.
const EVENTS_MAX: usize = 64;

/// Kinds of messages that we send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// List the children of a node.
    Directory = 1,
    /// Read a node.
    Read = 2,
    /// Watch a node and what is below it.
    Watch = 4,
    /// Write a node.
    Write = 11,
}

const WATCH_EVENT: u32 = 15;
const ERROR: u32 = 16;

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The daemon refused it, with this word (`ENOENT`, `EACCES`, …).
    Refused(String),
    /// The connection is over: the daemon broke the protocol.
    Broken(&'static str),
    /// Nothing came in time.
    Silent,
}

/// What a request is answered.
pub type Answer = Result<Vec<u8>, Error>;

/// A watch fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The path that changed.
    pub path: String,
    /// What we called the watch.
    pub token: String,
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Open {
    id: u32,
    kind: u32,
    /// Nobody will fetch the answer: what the request was about, for the case that it is refused.
    posted: Option<String>,
}

/// The connection.
#[derive(Debug)]
pub struct Wire<S> {
    page: S,
    produced: u32,
    consumed: u32,
    request: u32,
    open: Vec<Open>,
    /// Answers that nobody has fetched yet.
    answers: Vec<(u32, Answer)>,
    /// What is still to be put into the ring.
    outgoing: VecDeque<u8>,
    /// What came of the message that is being received.
    incoming: Vec<u8>,
    events: VecDeque<Event>,
    /// What posted requests were about, and the word that refused them.
    refusals: VecDeque<(String, String)>,
    broken: Option<&'static str>,
}

impl<S: Shared> Wire<S> {
    /// Goes on with the connection on `page`.
    pub fn new(page: S) -> Self {
        let (produced, consumed) = (page.load(REQUEST_PRODUCED), page.load(ANSWER_CONSUMED));
        Wire {
            page,
            produced,
            consumed,
            request: 0,
            open: Vec::new(),
            answers: Vec::new(),
            outgoing: VecDeque::new(),
            incoming: Vec::new(),
            events: VecDeque::new(),
            refusals: VecDeque::new(),
            broken: None,
        }
    }

    /// Starts a request and gives its id. Its parts are joined as they are; callers put the NULs where the protocol wants
    /// them.
    pub fn start(&mut self, kind: Kind, parts: &[&[u8]]) -> Result<u32, Error> {
        self.put(kind, parts, None)
    }

    /// Starts a request whose answer nobody waits for. A refusal is kept with the words `about`.
    pub fn post(&mut self, kind: Kind, parts: &[&[u8]], about: &str) -> Result<(), Error> {
        self.put(kind, parts, Some(about.into())).map(drop)
    }

    fn put(&mut self, kind: Kind, parts: &[&[u8]], posted: Option<String>) -> Result<u32, Error> {
        if let Some(why) = self.broken {
            return Err(Error::Broken(why));
        }
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length > PAYLOAD_BYTES_MAX
            || self.outgoing.len() > 4 * PAYLOAD_BYTES_MAX
            || self.open.len() >= OPEN_MAX
        {
            return Err(Error::Refused("E2BIG".into()));
        }
        self.request = self.request.wrapping_add(1);
        for word in [kind as u32, self.request, 0, length as u32] {
            self.outgoing.extend(word.to_le_bytes());
        }
        parts.iter().for_each(|part| self.outgoing.extend(part.iter()));
        self.open.push(Open { id: self.request, kind: kind as u32, posted });
        Ok(self.request)
    }

    /// Moves bytes both ways as far as they go; true when the daemon is to be signalled.
    pub fn turn(&mut self) -> bool {
        if self.broken.is_some() {
            return false;
        }
        let sent = self.push();
        let received = self.pull();
        sent | received
    }

    /// Whether a request waits for its answer; none does once the connection is over.
    pub fn is_open(&self, request: u32) -> bool {
        self.broken.is_none() && self.open.iter().any(|open| open.id == request)
    }

    /// The answer to a request, once.
    pub fn answer(&mut self, request: u32) -> Option<Answer> {
        match self.answers.iter().position(|&(id, _)| id == request) {
            Some(at) => Some(self.answers.swap_remove(at).1),
            None => self.broken.map(|why| Err(Error::Broken(why))),
        }
    }

    /// Gives up waiting for a request: an answer that still comes will be dropped.
    pub fn give_up(&mut self, request: u32) {
        self.open.retain(|open| open.id != request);
        self.answers.retain(|&(id, _)| id != request);
    }

    /// The next posted request that was refused: what it was about, and the daemon's word.
    pub fn refusal(&mut self) -> Option<(String, String)> {
        self.refusals.pop_front()
    }

    /// The next watch event.
    pub fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Why the connection is over, if it is.
    pub fn broken(&self) -> Option<&'static str> {
        self.broken
    }

    fn push(&mut self) -> bool {
        let unread = self.produced.wrapping_sub(self.page.load(REQUEST_CONSUMED));
        if unread > RING_BYTES {
            self.broken = Some("its request index cannot be true");
            return false;
        }
        let count = ((RING_BYTES - unread) as usize).min(self.outgoing.len());
        for _ in 0..count {
            let byte = self.outgoing.pop_front().expect("counted");
            self.page.copy_in((self.produced % RING_BYTES) as usize, &[byte]);
            self.produced = self.produced.wrapping_add(1);
        }
        if count > 0 {
            self.page.store(REQUEST_PRODUCED, self.produced);
        }
        count > 0
    }

    fn pull(&mut self) -> bool {
        let there = self.page.load(ANSWER_PRODUCED).wrapping_sub(self.consumed);
        if there > RING_BYTES {
            self.broken = Some("its answer index cannot be true");
            return false;
        }
        for _ in 0..there {
            let mut byte = [0];
            self.page.copy_out(ANSWERS_AT + (self.consumed % RING_BYTES) as usize, &mut byte);
            self.consumed = self.consumed.wrapping_add(1);
            self.incoming.push(byte[0]);
            self.take_message();
            if self.broken.is_some() {
                break;
            }
        }
        if there > 0 {
            self.page.store(ANSWER_CONSUMED, self.consumed);
        }
        there > 0
    }

    /// If `incoming` holds a whole message, acts on it.
    fn take_message(&mut self) {
        if self.incoming.len() < HEADER_BYTES {
            return;
        }
        let word = |at: usize| u32::from_le_bytes(self.incoming[at..at + 4].try_into().expect("four bytes"));
        let (kind, request, length) = (word(0), word(4), word(12) as usize);
        if length > PAYLOAD_BYTES_MAX {
            self.broken = Some("its message is too long");
            return;
        }
        if self.incoming.len() < HEADER_BYTES + length {
            return;
        }
        let payload = self.incoming.split_off(HEADER_BYTES);
        self.incoming.clear();
        if kind == WATCH_EVENT {
            return self.take_event(&payload);
        }
        let Some(at) = self.open.iter().position(|open| open.id == request) else {
            return; // The late answer to a request that was given up.
        };
        if kind != self.open[at].kind && kind != ERROR {
            self.broken = Some("its answer is of another kind than the request");
            return;
        }
        match self.open.remove(at).posted {
            None if kind == ERROR => self.answers.push((request, Err(Error::Refused(text(&payload))))),
            None => self.answers.push((request, Ok(payload))),
            Some(about) if kind == ERROR && self.refusals.len() < REFUSALS_MAX => {
                self.refusals.push_back((about, text(&payload)));
            }
            Some(_) => {}
        }
    }

    fn take_event(&mut self, payload: &[u8]) {
        let mut words = payload.split(|&byte| byte == 0);
        if let (Some(path), Some(token)) = (words.next(), words.next()) {
            if self.events.len() == EVENTS_MAX {
                self.events.pop_front();
            }
            self.events.push_back(Event { path: text(path), token: text(token) });
        }
    }
}

/// Bytes as text, up to the first NUL.
pub fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::PAGE_BYTES;
    use crate::platform::xen::shared::Local;
    use std::vec;

    /// The daemon's side: puts raw bytes into the answer ring as far as they fit, and takes requests out.
    struct Daemon {
        page: Local,
        produced: u32,
        consumed: u32,
    }

    impl Daemon {
        fn say(&mut self, wire: &mut Wire<Local>, bytes: &[u8]) {
            for chunk in bytes.chunks(100) {
                for &byte in chunk {
                    self.page.copy_in(ANSWERS_AT + (self.produced % RING_BYTES) as usize, &[byte]);
                    self.produced = self.produced.wrapping_add(1);
                }
                self.page.store(ANSWER_PRODUCED, self.produced);
                wire.turn();
            }
        }

        fn take(&mut self) -> vec::Vec<u8> {
            let produced = self.page.load(REQUEST_PRODUCED);
            let mut bytes = vec![];
            while self.consumed != produced {
                let mut byte = [0];
                self.page.copy_out((self.consumed % RING_BYTES) as usize, &mut byte);
                self.consumed = self.consumed.wrapping_add(1);
                bytes.push(byte[0]);
            }
            self.page.store(REQUEST_CONSUMED, self.consumed);
            bytes
        }
    }

    fn pair() -> (Wire<Local>, Daemon) {
        let page = Local::new(PAGE_BYTES);
        (Wire::new(page.clone()), Daemon { page, produced: 0, consumed: 0 })
    }

    fn message(kind: u32, request: u32, payload: &[u8]) -> vec::Vec<u8> {
        let mut bytes: vec::Vec<u8> =
            [kind, request, 0, payload.len() as u32].into_iter().flat_map(u32::to_le_bytes).collect();
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn a_read_is_asked_and_answered() {
        let (mut wire, mut daemon) = pair();
        wire.start(Kind::Read, &[b"name\0"]).unwrap();
        assert!(wire.turn());
        assert_eq!(daemon.take(), message(2, 1, b"name\0"));
        assert_eq!((wire.is_open(1), wire.answer(1)), (true, None));
        daemon.say(&mut wire, &message(2, 1, b"guest"));
        assert_eq!((wire.is_open(1), wire.answer(1)), (false, Some(Ok(b"guest".to_vec()))));
        assert_eq!(wire.answer(1), None);
    }

    #[test]
    fn events_arrive_between_and_long_messages_pass_the_small_ring() {
        let (mut wire, mut daemon) = pair();
        let long = vec![b'x'; 4000];
        wire.start(Kind::Write, &[b"a\0", &long]).unwrap();
        let mut sent = vec![];
        while wire.turn() {
            sent.extend(daemon.take());
        }
        assert_eq!(sent, message(11, 1, &[&b"a\0"[..], &long].concat()));
        daemon.say(&mut wire, &message(WATCH_EVENT, 0, b"a/state\0vif0\0"));
        daemon.say(&mut wire, &message(ERROR, 1, b"EACCES\0"));
        assert_eq!(wire.answer(1), Some(Err(Error::Refused("EACCES".into()))));
        assert_eq!(wire.event(), Some(Event { path: "a/state".into(), token: "vif0".into() }));
        wire.start(Kind::Read, &[b"b\0"]).unwrap();
        daemon.say(&mut wire, &message(2, 2, &long));
        assert_eq!(wire.answer(2), Some(Ok(long)));
    }

    #[test]
    fn several_requests_are_out_at_once_and_answered_in_any_order() {
        let (mut wire, mut daemon) = pair();
        let ids: vec::Vec<u32> = (0..10u8).map(|at| wire.start(Kind::Read, &[&[at, 0]]).unwrap()).collect();
        wire.turn();
        assert_eq!(daemon.take().len(), 10 * 18);
        for &id in ids.iter().rev() {
            daemon.say(&mut wire, &message(2, id, &[id as u8]));
        }
        assert!(!ids.iter().any(|&id| wire.is_open(id)));
        assert!(ids.iter().all(|&id| wire.answer(id) == Some(Ok(vec![id as u8]))));
    }

    #[test]
    fn of_a_posted_request_only_a_refusal_is_heard() {
        let (mut wire, mut daemon) = pair();
        wire.post(Kind::Write, &[b"good\0", b"1"], "good").unwrap();
        wire.post(Kind::Write, &[b"bad\0", b"1"], "bad").unwrap();
        daemon.say(&mut wire, &message(11, 1, b"OK\0"));
        daemon.say(&mut wire, &message(ERROR, 2, b"EACCES\0"));
        assert_eq!((wire.answer(1), wire.answer(2)), (None, None));
        assert_eq!(wire.refusal(), Some(("bad".into(), "EACCES".into())));
        assert_eq!(wire.refusal(), None);
    }

    #[test]
    fn more_requests_than_can_be_kept_are_refused() {
        let (mut wire, _) = pair();
        for _ in 0..OPEN_MAX {
            wire.start(Kind::Read, &[b"x\0"]).unwrap();
        }
        assert_eq!(wire.start(Kind::Read, &[b"x\0"]), Err(Error::Refused("E2BIG".into())));
    }

    #[test]
    fn a_daemon_that_lies_ends_the_connection_and_nothing_else() {
        for bytes in [message(2, 1, b""), message(1, 1, b"x"), [[0xff; 16].to_vec(), vec![0; 8]].concat()] {
            let (mut wire, mut daemon) = pair();
            wire.start(Kind::Directory, &[b"device\0"]).unwrap();
            daemon.say(&mut wire, &bytes);
            let answer = wire.answer(1);
            assert!(wire.broken().is_some() == !matches!(answer, Some(Ok(_))), "{answer:?}");
        }
        for at in [ANSWER_PRODUCED, REQUEST_CONSUMED] {
            let (mut wire, daemon) = pair();
            daemon.page.store(at, 5000);
            wire.start(Kind::Read, &[b"x\0"]).unwrap();
            wire.turn();
            assert!(matches!(wire.answer(1), Some(Err(Error::Broken(_)))));
            assert!(matches!(wire.start(Kind::Read, &[b"x\0"]), Err(Error::Broken(_))));
        }
    }

    #[test]
    fn the_late_answer_to_a_request_that_was_given_up_is_dropped() {
        let (mut wire, mut daemon) = pair();
        wire.start(Kind::Read, &[b"slow\0"]).unwrap();
        wire.give_up(1);
        wire.start(Kind::Read, &[b"next\0"]).unwrap();
        daemon.say(&mut wire, &message(2, 1, b"old"));
        assert_eq!(wire.answer(1), None);
        daemon.say(&mut wire, &message(2, 2, b"new"));
        assert_eq!(wire.answer(2), Some(Ok(b"new".to_vec())));
    }
}
