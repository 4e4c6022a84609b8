//! Our end of a device, as nodes in xenstore.

use alloc::format;
use alloc::string::String;

use super::handshake::{Phase, State};
use super::xenstore;

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
}

impl Node {
    /// The device at `path`, or `None` when its backend cannot be found.
    pub fn open(path: String, token: String) -> Option<Self> {
        let mut node = Node { path, backend: String::new(), domain: 0, token, phase: Phase::Waiting };
        node.find_backend()?;
        xenstore::watch(&format!("{}/state", node.backend), &node.token).ok()?;
        Some(node)
    }

    /// Reads where the backend is.
    fn find_backend(&mut self) -> Option<()> {
        self.backend = xenstore::read(&format!("{}/backend", self.path)).ok()?;
        let domain = xenstore::read_number(&format!("{}/backend-id", self.path))?;
        self.domain = u16::try_from(domain).ok()?;
        Some(())
    }

    /// The backend's state.
    pub fn backend_state(&self) -> State {
        self.offered("state").map_or(State::Unknown, State::from_number)
    }

    /// A number among the backend's nodes.
    pub fn offered(&self, name: &str) -> Option<u64> {
        xenstore::read_number(&format!("{}/{name}", self.backend))
    }

    /// Whether the backend offers a feature.
    pub fn offers(&self, feature: &str) -> bool {
        self.offered(feature) == Some(1)
    }

    /// A node of our own end.
    pub fn own(&self, name: &str) -> Option<String> {
        xenstore::read(&format!("{}/{name}", self.path)).ok()
    }

    /// Writes a number to a node of our end; false when xenstore does not take it.
    #[must_use]
    pub fn tell(&self, name: &str, value: u64) -> bool {
        xenstore::write_number(&format!("{}/{name}", self.path), value).is_ok()
    }

    /// Writes our state.
    pub fn set_state(&self, state: State) {
        // When xenstore is gone the backend will not hear of it; nothing else follows from that.
        let _ = self.tell("state", state as u64);
    }
}
