//! Our end of a device, as nodes in xenstore, and how it is led through the handshake.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::handshake::{Phase, State, Step, step};
use super::xenstore::{self, Ask};

/// Our end of a device.
#[derive(Debug)]
pub struct Node {
    /// `device/vif/0`, below our own home in xenstore.
    pub path: String,
    /// The backend's node, absolute.
    pub backend: String,
    /// The domain it lives in.
    pub domain: u16,
    /// What the watch on the backend's state is called.
    pub token: String,
    /// Where we stand.
    pub phase: Phase,
    /// Which of the backend's nodes are of interest, and what they held when they were last read.
    names: &'static [&'static str],
    offered: Vec<Option<u64>>,
}

/// A front end: what the handshake asks it to do.
pub trait FrontEnd {
    /// Its node.
    fn node(&mut self) -> &mut Node;
    /// Makes rings and tells the backend.
    fn offer(&mut self);
    /// The backend connected.
    fn connect(&mut self);
    /// Drops the rings of a backend that is gone.
    fn forget(&mut self);
}

/// The backend's state may have changed: looks, and does what follows.
pub fn look(front: &mut impl FrontEnd) {
    let state = front.node().refresh();
    match step(front.node().phase, state) {
        Step::Stay => (),
        Step::Offer => front.offer(),
        Step::OfferAgain => {
            front.forget();
            front.offer();
        }
        Step::Connect => front.connect(),
        Step::Leave => {
            front.forget();
            front.node().set_state(State::Closed);
        }
        Step::StartAgain => {
            front.forget();
            front.node().set_state(State::Initialising);
        }
    }
}

impl Node {
    /// The device at `path`, with the values of its own nodes `own`; `None` when its backend cannot be found. `names` are
    /// the backend's nodes that [`Self::offered`] will know.
    pub fn open(
        path: String,
        token: String,
        own: &[&str],
        names: &'static [&'static str],
    ) -> Option<(Self, Vec<Option<String>>)> {
        let paths: Vec<String> =
            ["backend", "backend-id"].iter().chain(own).map(|name| format!("{path}/{name}")).collect();
        let asks: Vec<Ask<'_>> = paths.iter().map(|path| Ask::Read(path)).collect();
        let mut answers = xenstore::ask(&asks).into_iter().map(|answer| xenstore::value(&answer));
        let backend = answers.next()??;
        let domain = answers.next()??.trim().parse().ok()?;
        let node = Node { path, backend, domain, token, phase: Phase::Waiting, names, offered: Vec::new() };
        Some((node, answers.collect()))
    }

    /// Has changes of the backend's state told from now on; the first word comes at once.
    pub fn watch(&self) {
        // A refusal is seen at boot: the device does not connect, and is named.
        xenstore::ask(&[Ask::Watch(&format!("{}/state", self.backend), &self.token)]);
    }

    /// Reads the backend's state and what it offers.
    fn refresh(&mut self) -> State {
        let names = ["state"].iter().chain(self.names);
        let paths: Vec<String> = names.map(|name| format!("{}/{name}", self.backend)).collect();
        let asks: Vec<Ask<'_>> = paths.iter().map(|path| Ask::Read(path)).collect();
        let number = |answer| xenstore::value(&answer)?.trim().parse().ok();
        let mut numbers = xenstore::ask(&asks).into_iter().map(number);
        let state = numbers.next().flatten();
        self.offered = numbers.collect();
        state.map_or(State::Unknown, State::from_number)
    }

    /// A number among the backend's nodes, as it was at the last look.
    pub fn offered(&self, name: &str) -> Option<u64> {
        let at = self.names.iter().position(|known| *known == name)?;
        *self.offered.get(at)?
    }

    /// Whether the backend offers a feature.
    pub fn offers(&self, feature: &str) -> bool {
        self.offered(feature) == Some(1)
    }

    /// Writes nodes of our end, then our state; false when xenstore does not take them.
    #[must_use]
    pub fn tell(&self, nodes: &[(&str, String)], state: State) -> bool {
        let state = ("state", (state as u64).to_string());
        let all = nodes.iter().chain([&state]);
        let all: Vec<(String, &str)> =
            all.map(|(name, value)| (format!("{}/{name}", self.path), value.as_str())).collect();
        let asks: Vec<Ask<'_>> = all.iter().map(|(path, value)| Ask::Write(path, value)).collect();
        xenstore::ask(&asks).iter().all(Result::is_ok)
    }

    /// Writes our state.
    pub fn set_state(&self, state: State) {
        // When xenstore is gone the backend will not hear of it; nothing else follows from that.
        let _ = self.tell(&[], state);
    }
}
