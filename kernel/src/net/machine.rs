//! The one network of the machine.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::ffi::c_int;
use core::fmt::Write;
use core::net::IpAddr;

use smoltcp::time::Instant;

use super::Address;
use super::configure::CardSettings;
use super::stack::{Handle, Network};
use crate::crash::Console;
use crate::errno::Errno;
use crate::fd::{File, Watchers};
use crate::global::Global;
use crate::platform::{Current, NetworkCard, Platform};

/// What a socket can do beyond reading and writing. What a kind of socket does not know answers EOPNOTSUPP.
pub trait Socket {
    /// Sends, to `to` or to whom it is connected.
    fn send_to(&self, from: &[u8], to: Option<Address>) -> Result<usize, Errno>;
    /// Receives: length, sender, and whether the datagram was longer than `into`.
    fn receive_from(&self, into: &mut [u8], peek: bool) -> Result<(usize, Option<Address>, bool), Errno>;
    /// `shutdown`.
    fn shutdown(&self, how: c_int) -> Result<(), Errno>;
    /// AF_INET, AF_INET6 or AF_UNIX.
    fn family(&self) -> c_int;
    /// `bind`.
    fn bind(&self, _: Address) -> Result<(), Errno> {
        Err(Errno(libc::EOPNOTSUPP))
    }
    /// Starts `connect`; EAGAIN means: ask [`Self::connected`].
    fn connect(&self, _: Address) -> Result<(), Errno> {
        Err(Errno(libc::EISCONN))
    }
    /// How connecting went; EAGAIN while it goes on.
    fn connected(&self) -> Result<(), Errno> {
        Ok(())
    }
    /// `listen`.
    fn listen(&self, _: usize) -> Result<(), Errno> {
        Err(Errno(libc::EOPNOTSUPP))
    }
    /// The next connection and where it comes from.
    fn accept(&self) -> Result<(Rc<dyn File>, Address), Errno> {
        Err(Errno(libc::EOPNOTSUPP))
    }
    /// `getsockname`.
    fn local(&self) -> Option<Address> {
        None
    }
    /// `getpeername`.
    fn peer(&self) -> Option<Address> {
        None
    }
    /// `setsockopt` of a number.
    fn set_option(&self, _: c_int, _: c_int, _: c_int) -> Result<(), Errno> {
        Ok(())
    }
    /// `getsockopt` of a number.
    fn option(&self, _: c_int, _: c_int) -> Result<c_int, Errno> {
        Err(Errno(libc::ENOPROTOOPT))
    }
    /// SO_RCVTIMEO or SO_SNDTIMEO in nanoseconds, 0 for none.
    fn timeout_ns(&self, _send: bool) -> u64 {
        0
    }
    /// Sets [`Self::timeout_ns`].
    fn set_timeout_ns(&self, _send: bool, _: u64) {}
    /// Sets SO_LINGER: seconds to wait when closed, 0 to reset.
    fn set_linger(&self, _: Option<u32>) {}
    /// What SO_LINGER is.
    fn linger(&self) -> Option<u32> {
        None
    }
    /// Whether a lingering close may return: EAGAIN while data is under way.
    fn drained(&self) -> Result<(), Errno> {
        Ok(())
    }
}

struct State {
    network: Option<Network>,
    by_handle: BTreeMap<Handle, Rc<Watchers>>,
}

static STATE: Global<State> = Global::new(State { network: None, by_handle: BTreeMap::new() });

fn now() -> Instant {
    Instant::from_micros((crate::machine::latest_clock() / 1000) as i64)
}

/// Part of the memory that socket buffers may use.
const BUDGET_DIVISOR: usize = 2;
/// How long the program's start waits for DHCP.
const DHCP_WAIT_NS: u64 = 5_000_000_000;

/// Makes the network and attaches the cards.
pub fn start(cards: Vec<Box<dyn NetworkCard>>) {
    crate::machine::read_clock();
    let budget = crate::machine::heap_figures().free / BUDGET_DIVISOR;
    let mut network = Network::new(budget, Box::new(crate::random::number), now());
    network.share_memory(crate::machine::heap_free);
    for (number, card) in cards.into_iter().enumerate() {
        let (settings, wrong) = CardSettings::read(number, crate::machine::setting);
        for line in wrong {
            let _ = writeln!(Console, "kernel: setting {line}");
        }
        let link = network.attach(card, settings, now());
        let _ = writeln!(Console, "kernel: {}", network.describe(link));
    }
    STATE.with(|state| state.network = Some(network));
}

/// Waits until the cards have addresses, but not for long.
pub fn wait_for_addresses() {
    let deadline = Current::monotonic_ns() + DHCP_WAIT_NS;
    while !with(|network| network.is_configured()) && Current::monotonic_ns() < deadline {
        crate::thread::sleep_until((Current::monotonic_ns() + 20_000_000).min(deadline));
    }
}

/// Does something with the network, and wakes whom it concerns.
pub fn with<R>(work: impl FnOnce(&mut Network) -> R) -> R {
    let (result, changed) = STATE.with(|state| {
        let Some(network) = state.network.as_mut() else {
            crate::crash::machine(format_args!("the network was used before its start"))
        };
        network.now = now();
        let result = work(network);
        let changed: Vec<Rc<Watchers>> = network
            .take_changed()
            .into_iter()
            .filter_map(|handle| state.by_handle.get(&handle).cloned())
            .collect();
        (result, changed)
    });
    for watchers in changed {
        watchers.notify();
    }
    result
}

/// Looks at the network without changing it: nobody is woken, so this may be called while others are being told.
pub fn look<R>(look: impl FnOnce(&Network) -> R) -> R {
    STATE.with(|state| match state.network.as_ref() {
        Some(network) => look(network),
        None => crate::crash::machine(format_args!("the network was used before its start")),
    })
}

/// Has `watchers` told about a socket's changes, or nobody any more.
pub fn watch(handle: Handle, watchers: Option<Rc<Watchers>>) {
    STATE.with(|state| match watchers {
        Some(watchers) => drop(state.by_handle.insert(handle, watchers)),
        None => drop(state.by_handle.remove(&handle)),
    });
}

/// One turn of the network.
pub fn turn() {
    let news = with(|network| {
        network.turn(now());
        network.take_news()
    });
    for line in news {
        let _ = writeln!(Console, "kernel: {line}");
    }
}

/// When the network wants its next turn.
pub fn next_deadline_ns() -> Option<u64> {
    let deadline = STATE.with(|state| state.network.as_ref()?.next_deadline())?;
    Some((deadline.total_micros().max(0) as u64).saturating_mul(1000))
}

/// Lets frames leave that are on their way out, before the machine ends.
pub fn stop() {
    turn();
}

/// Who is asked for names.
pub fn nameservers() -> Vec<IpAddr> {
    with(|network| network.nameservers())
}
