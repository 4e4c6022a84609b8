//! Our end of a device, as nodes in xenstore, and how it is led through the handshake.
//!
//! Nothing here waits: a look at the backend is begun when a watch says so, and followed when its answers are there.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::handshake::{Phase, State, Step, step};
use super::xenstore::{self, Answer, Ask, Pending};

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
    /// Which of the backend's nodes are of interest in which phase, and what they held when they were last read.
    names: (Phase, &'static [&'static str]),
    offered: Vec<Option<u64>>,
    look: Option<Look>,
    /// Something changed since it was begun.
    again: bool,
    watched: bool,
    /// The watch's first event, which tells nothing new, is still to come.
    first_event: bool,
}

/// A look that is under way.
#[derive(Debug)]
struct Look {
    pending: Pending,
    /// It asked to be told of changes first.
    watches: bool,
    /// It asked for what the backend offers.
    names: bool,
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

/// A look is under way: if its answers are here, does what follows from them.
pub fn follow(front: &mut impl FrontEnd) {
    let Some(state) = front.node().finish() else { return };
    match step(front.node().phase, state) {
        Step::Stay => (),
        Step::Offer => front.offer(),
        Step::OfferAgain => {
            front.forget();
            // What the new backend offers is read first.
            front.node().look();
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
    if core::mem::take(&mut front.node().again) {
        front.node().look();
    }
}

/// The paths of a device's nodes that [`Node::new`] wants the values of: those that every device has, then `own`.
pub fn paths(path: &str, own: &[&str]) -> Vec<String> {
    ["backend", "backend-id"].iter().chain(own).map(|name| format!("{path}/{name}")).collect()
}

impl Node {
    /// The device at `path`, with the answers to reading [`paths`]; `None` when its backend cannot be found. `names` are
    /// the backend's nodes that [`Self::offered`] will know, and the phase in which they are read. The second value has
    /// the device's own nodes.
    pub fn new(
        path: String,
        token: String,
        answers: &[Answer],
        names: (Phase, &'static [&'static str]),
    ) -> Option<(Self, Vec<Option<String>>)> {
        let mut values = answers.iter().map(xenstore::value);
        let backend = values.next()??;
        let domain = values.next()??.trim().parse().ok()?;
        let node = Node {
            path,
            backend,
            domain,
            token,
            phase: Phase::Waiting,
            names,
            offered: Vec::new(),
            look: None,
            again: false,
            watched: false,
            first_event: false,
        };
        Some((node, values.collect()))
    }

    /// The watch fired: begins to look, unless this is its first event, which comes without a change.
    pub fn event(&mut self) {
        if !core::mem::take(&mut self.first_event) {
            self.look();
        }
    }

    /// Begins to read the backend's state, and what it offers if that is of interest now. The first time it has changes
    /// of the state told from now on, and does so before it reads, so that none is missed.
    pub fn look(&mut self) {
        if self.look.is_some() {
            self.again = true;
            return;
        }
        let state = format!("{}/state", self.backend);
        let names = self.names.0 == self.phase;
        let watches = !core::mem::replace(&mut self.watched, true);
        let paths = self.names.1.iter().filter(|_| names).map(|name| format!("{}/{name}", self.backend));
        let paths: Vec<String> = paths.collect();
        // A refused watch is seen at boot: the device does not connect, and is named.
        let watch = Ask::Watch(&state, &self.token);
        let reads = paths.iter().map(|path| Ask::Read(path));
        let asks: Vec<Ask<'_>> =
            Some(watch).filter(|_| watches).into_iter().chain([Ask::Read(&state)]).chain(reads).collect();
        self.first_event |= watches;
        self.look = Some(Look { pending: xenstore::begin(&asks), watches, names });
    }

    /// The backend's state, once a look's answers are here.
    fn finish(&mut self) -> Option<State> {
        let look = self.look.as_ref()?;
        let answers = xenstore::finish(&look.pending)?;
        let mut numbers = answers.iter().skip(usize::from(look.watches)).map(xenstore::number);
        let state = numbers.next().flatten();
        if look.names {
            self.offered = numbers.collect();
        }
        self.look = None;
        Some(state.map_or(State::Unknown, State::from_number))
    }

    /// A number among the backend's nodes, as it was at the last look.
    pub fn offered(&self, name: &str) -> Option<u64> {
        let at = self.names.1.iter().position(|known| *known == name)?;
        *self.offered.get(at)?
    }

    /// Whether the backend offers a feature.
    pub fn offers(&self, feature: &str) -> bool {
        self.offered(feature) == Some(1)
    }

    /// Writes nodes of our end, then our state; false when there is no way to.
    #[must_use]
    pub fn tell(&self, nodes: &[(&str, String)], state: State) -> bool {
        let state = ("state", (state as u64).to_string());
        let all = nodes.iter().chain([&state]);
        let all: Vec<(String, &str)> =
            all.map(|(name, value)| (format!("{}/{name}", self.path), value.as_str())).collect();
        let all: Vec<(&str, &str)> = all.iter().map(|(path, value)| (path.as_str(), *value)).collect();
        xenstore::post(&all)
    }

    /// Writes our state.
    pub fn set_state(&self, state: State) {
        // When xenstore is gone the backend will not hear of it; nothing else follows from that.
        let _ = self.tell(&[], state);
    }
}
