//! When sockets of a link are due while smoltcp looks for a router.
//!
//! smoltcp 0.14 counts its own search in: an interface that looks for routers takes the search's next step for the deadline of
//! each of its sockets that has one, and forgets the deadlines of all others. After the third question without an answer
//! that step stays in the past, and every connection would be due at once, for ever. So an interface that looks for nobody
//! is asked instead, and the steps of the search are counted here.

use alloc::boxed::Box;
use alloc::vec::Vec;

use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::Device;
use smoltcp::time::{Duration, Instant};

/// Enough for the three questions (RFC 4861 section 10, MAX_RTR_SOLICITATIONS), whose first one waits for the address that it is
/// asked from.
const STEPS: u32 = 5;
/// Between them: a little more than RTR_SOLICITATION_INTERVAL, so that smoltcp finds the next one due.
const INTERVAL: Duration = Duration::from_millis(4100);

/// A link's search for a router.
pub struct Search {
    /// Says when sockets are due; sends nothing.
    clock: Box<Interface>,
    began: Instant,
}

impl Search {
    /// The search of an interface that is made of this configuration.
    pub fn new(config: &Config, device: &mut (impl Device + ?Sized), now: Instant) -> Search {
        let mut own = Config::new(config.hardware_addr);
        own.random_seed = config.random_seed;
        Search { clock: Box::new(Interface::new(own, device, now)), began: now }
    }

    /// When one of the sockets is due.
    pub fn due(&mut self, now: Instant, sockets: &SocketSet<'_>) -> Option<Instant> {
        self.clock.poll_at(now, sockets)
    }

    /// When the interface itself is: for the next question, or for a fragment that it holds.
    pub fn next_step(&self, now: Instant, interface: &mut Interface) -> Option<Instant> {
        // Without sockets smoltcp names fragments alone.
        let fragments = interface.poll_at(now, &SocketSet::new(Vec::new()));
        let steps = (1..=STEPS).map(|count| self.began + INTERVAL * count);
        steps.filter(|step| *step > now).chain(fragments).min()
    }
}
