//! The network of a machine, without the machine: links, flows, timers.
//!
//! Each TCP connection is a smoltcp socket in a set of its own, found by its flow. An arriving segment is handed to its
//! own connection alone, and only connections that have something to do are asked to send: neither costs more when
//! thousands are open. A segment that opens a connection makes a socket when a listener wants it and its backlog has
//! room; this is the backlog that smoltcp does not have.
//!
//! No clock, no waiting: `now` is an argument, and who is to be woken is a list to be fetched.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};

use super::configure::{CardSettings, Lease};
use super::duplicate::Duplicates;
use super::frame::{Content, Segment, undelivered};
use super::groups::Groups;
use super::solicit::Search;
use super::tcp::{Connection, Listener};
use super::udp::Datagrams;
use super::wire::Wire;
use crate::platform::NetworkCard;

/// Number of a link; 0 is the loopback.
pub type LinkNumber = usize;
/// The loopback's number.
pub const LOOPBACK: LinkNumber = 0;
/// Frames taken from one link before others get their turn.
pub(super) const BATCH_FRAMES: usize = 256;

/// A socket of this network, for the list of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Handle {
    /// A TCP connection.
    Connection(usize),
    /// A TCP listener.
    Listener(usize),
    /// A UDP socket.
    Datagrams(usize),
}

/// One link and what smoltcp knows about it.
pub(super) struct Link {
    pub wire: Wire,
    pub interface: Interface,
    /// The UDP sockets' parts on this link, and the DHCP client.
    pub datagrams: SocketSet<'static>,
    pub settings: CardSettings,
    pub lease: Lease,
    pub duplicates: Duplicates,
    pub groups: Groups,
    /// Of an interface that looks for routers.
    pub search: Option<Search>,
    /// When UDP, DHCP or the interface itself want to be polled.
    pub deadline: Option<Instant>,
}

/// The network.
pub struct Network {
    pub(super) links: Vec<Link>,
    pub(super) connections: BTreeMap<usize, Connection>,
    pub(super) flows: BTreeMap<(super::Address, super::Address), usize>,
    pub(super) listeners: BTreeMap<usize, Listener>,
    pub(super) datagrams: BTreeMap<usize, Datagrams>,
    deadlines: BTreeSet<(Instant, usize)>,
    changed: BTreeSet<Handle>,
    next_number: usize,
    /// The connection of the segment that came last.
    heard_last: Option<usize>,
    /// Connections that wait for room on their link.
    starved: BTreeSet<usize>,
    /// Memory for socket buffers in bytes, and how much is used.
    pub(super) budget: usize,
    pub(super) used: usize,
    /// Bytes of all memory that are free now.
    pub(super) free: fn() -> usize,
    /// Connections that there was no memory for.
    pub(super) refused: usize,
    pub(super) random: Box<dyn FnMut() -> u64>,
    pub(super) news: Vec<String>,
    pub(super) now: Instant,
}

impl Network {
    /// A network with a loopback alone. `budget` bytes are for the buffers of sockets.
    pub fn new(budget: usize, mut random: Box<dyn FnMut() -> u64>, now: Instant) -> Self {
        let mut wire = Wire::loopback();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = random();
        let mut interface = Interface::new(config, &mut wire, now);
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::new(IpAddr::from([127, 0, 0, 1]).into(), 8));
            let _ = addresses.push(IpCidr::new(core::net::Ipv6Addr::LOCALHOST.into(), 128));
        });
        // All of 127.0.0.0/8, and the cards' addresses: only what is this machine's is routed here.
        interface.set_any_ip(true);
        let loopback = Link {
            wire,
            interface,
            datagrams: SocketSet::new(Vec::new()),
            settings: CardSettings::default(),
            lease: Lease::default(),
            duplicates: Duplicates::default(),
            groups: Groups::default(),
            search: None,
            deadline: None,
        };
        Network {
            links: Vec::from([loopback]),
            connections: BTreeMap::new(),
            flows: BTreeMap::new(),
            listeners: BTreeMap::new(),
            datagrams: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            changed: BTreeSet::new(),
            next_number: 0,
            heard_last: None,
            starved: BTreeSet::new(),
            budget,
            used: 0,
            free: || usize::MAX,
            refused: 0,
            random,
            news: Vec::new(),
            now,
        }
    }

    /// The program takes from the same memory: from now on connections are made with what it leaves, by what `free` says.
    pub fn share_memory(&mut self, free: fn() -> usize) {
        self.free = free;
    }

    /// Attaches a card; its addresses come as `settings` say.
    pub fn attach(&mut self, card: Box<dyn NetworkCard>, settings: CardSettings, now: Instant) -> LinkNumber {
        let mut wire = Wire::card(card);
        let mac = wire.mac().unwrap_or_default();
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac)));
        config.random_seed = (self.random)();
        config.slaac = settings.router_advertisements;
        let search = config.slaac.then(|| Search::new(&config, &mut wire, now));
        let interface = Interface::new(config, &mut wire, now);
        let datagrams = SocketSet::new(Vec::new());
        let link = Link {
            wire,
            interface,
            datagrams,
            settings,
            lease: Lease::default(),
            duplicates: Duplicates::default(),
            groups: Groups::default(),
            search,
            deadline: Some(now),
        };
        self.links.push(link);
        let number = self.links.len() - 1;
        self.configure(number);
        number
    }

    /// What happened to addresses since the last call, one line each.
    pub fn take_news(&mut self) -> Vec<String> {
        core::mem::take(&mut self.news)
    }

    /// Sockets whose readiness may have changed since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<Handle> {
        core::mem::take(&mut self.changed)
    }

    pub(super) fn note(&mut self, handle: Handle) {
        self.changed.insert(handle);
    }

    pub(super) fn number(&mut self) -> usize {
        self.next_number += 1;
        self.next_number
    }

    /// Does everything that is due: takes frames, answers, runs timers.
    pub fn turn(&mut self, now: Instant) {
        self.now = now;
        for number in 0..self.links.len() {
            self.take_frames(number);
        }
        self.run_timers();
        // What the loopback got from this turn is delivered in this turn.
        for _ in 0..BATCH_FRAMES {
            if !self.links[LOOPBACK].wire.has_waiting() {
                break;
            }
            self.take_frames(LOOPBACK);
        }
        for link in &mut self.links {
            link.wire.flush();
        }
    }

    /// When [`Self::turn`] is wanted again without a frame arriving.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.links[LOOPBACK].wire.has_waiting() {
            return Some(self.now);
        }
        let links = self.links.iter().filter_map(|link| link.deadline);
        links.chain(self.deadlines.first().map(|&(deadline, _)| deadline)).min()
    }

    fn take_frames(&mut self, number: LinkNumber) {
        let mut touched = BTreeSet::new();
        let mut datagrams = 0;
        let mut neighbours = false;
        for _ in 0..BATCH_FRAMES {
            let Some(content) = self.links[number].wire.take() else { break };
            match content {
                Content::Tcp(segment) => touched.extend(self.take_segment(number, segment)),
                content => {
                    if let Some(news) = self.links[number].wire.packet().and_then(undelivered) {
                        self.udp_undelivered(news);
                    }
                    if content == Content::Neighbour {
                        neighbours = true;
                        self.heed_neighbour(number);
                    } else {
                        self.heed_query(number);
                    }
                    datagrams += 1;
                    let link = &mut self.links[number];
                    link.interface.poll_ingress_single(self.now, &mut link.wire, &mut link.datagrams);
                }
            }
            self.links[number].wire.give_back();
        }
        // A connection that is heard again and again is still one party.
        let again = touched.len() == 1 && touched.first() == self.heard_last.as_ref();
        self.heard_last = touched.last().copied().or(self.heard_last);
        if datagrams + touched.len() > 0 {
            self.links[number].wire.heard(datagrams + touched.len() - usize::from(again));
        }
        if neighbours {
            // Somebody may have waited for just this address.
            touched.extend(self.connections.iter().filter(|(_, one)| one.link == number).map(|(&id, _)| id));
        }
        for id in touched {
            self.attend(id);
        }
        if datagrams > 0 || self.links[number].deadline.is_some_and(|deadline| deadline <= self.now) {
            self.attend_link(number);
        }
    }

    /// Hands a segment to its connection, or makes one for it; says which.
    fn take_segment(&mut self, number: LinkNumber, segment: Segment) -> Option<usize> {
        let id = match self.flows.get(&(segment.local, segment.remote)) {
            Some(&id) if segment.opens && self.is_lingering(id) => {
                self.forget(id);
                self.welcome(number, segment)
            }
            Some(&id) => Ok(Some(id)),
            None if segment.opens => self.welcome(number, segment),
            None => Ok(None),
        };
        let link = &mut self.links[number];
        match id {
            Ok(Some(id)) => {
                let connection = self.connections.get_mut(&id)?;
                let before = connection.state();
                let segment_bytes = link.wire.segment_bytes();
                connection.choose_ack_delay(segment.payload_bytes, segment_bytes);
                for part in connection.acknowledged(segment, segment_bytes) {
                    if !link.wire.show_again(part) {
                        break;
                    }
                    link.interface.poll_ingress_single(self.now, &mut link.wire, &mut connection.set);
                    if let Some(whole) = segment.acknowledges {
                        link.wire.show_again(whole);
                    }
                }
                link.interface.poll_ingress_single(self.now, &mut link.wire, &mut connection.set);
                connection.after_segment(before, segment);
                Some(id)
            }
            Ok(None) => {
                // Nobody's: smoltcp answers with a reset if the address is ours and the checksum right.
                let mut nobody = SocketSet::new(Vec::new());
                link.interface.poll_ingress_single(self.now, &mut link.wire, &mut nobody);
                None
            }
            // A full backlog loses the segment; the peer will send it again.
            Err(Full) => None,
        }
    }

    /// Lets a connection send what it has, and notes its next deadline and what changed.
    pub(super) fn attend(&mut self, id: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let link = &mut self.links[connection.link];
        let before = connection.state();
        connection.mind_silence();
        for _ in 0..BATCH_FRAMES {
            let sent = link.interface.poll_egress(self.now, &mut link.wire, &mut connection.set);
            if sent == smoltcp::iface::PollResult::None {
                break;
            }
        }
        connection.after_timers(before);
        connection.unattended = 0;
        if let Some(deadline) = connection.deadline.take() {
            self.deadlines.remove(&(deadline, id));
        }
        let due = connection.orphan_deadline.into_iter();
        let due = due.chain(link.due(self.now, &connection.set)).min();
        if let Some(due) = due {
            if due <= self.now && !link.wire.has_room() {
                self.starved.insert(id);
            } else {
                let due = due.max(self.now);
                connection.deadline = Some(due);
                self.deadlines.insert((due, id));
            }
        }
        self.changed.insert(Handle::Connection(id));
        self.settle(id);
    }

    /// Has a connection attended to when the network has its next turn.
    pub(super) fn attend_next_turn(&mut self, id: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if let Some(deadline) = connection.deadline.replace(self.now) {
            self.deadlines.remove(&(deadline, id));
        }
        self.deadlines.insert((self.now, id));
        self.changed.insert(Handle::Connection(id));
    }

    /// Forgets a connection's place in the list of deadlines.
    pub(super) fn drop_deadline(&mut self, id: usize, deadline: Option<Instant>) {
        if let Some(deadline) = deadline {
            self.deadlines.remove(&(deadline, id));
        }
        self.starved.remove(&id);
    }

    pub(super) fn attend_link(&mut self, number: LinkNumber) {
        let link = &mut self.links[number];
        link.interface.poll_maintenance(self.now);
        for _ in 0..BATCH_FRAMES {
            let sent = link.interface.poll_egress(self.now, &mut link.wire, &mut link.datagrams);
            if sent == smoltcp::iface::PollResult::None {
                break;
            }
        }
        self.follow_lease(number);
        let link = &mut self.links[number];
        link.plan(self.now);
        if link.deadline.is_some_and(|deadline| deadline <= self.now) && !link.wire.has_room() {
            link.deadline = None;
        }
        let waiting: Vec<usize> = self.datagrams.keys().copied().collect();
        self.changed.extend(waiting.into_iter().map(Handle::Datagrams));
    }

    fn run_timers(&mut self) {
        if self.links.iter_mut().any(|link| link.wire.has_room_again()) {
            for id in core::mem::take(&mut self.starved) {
                self.attend(id);
            }
            for number in 0..self.links.len() {
                self.attend_link(number);
            }
        }
        while let Some(&(deadline, id)) = self.deadlines.first() {
            if deadline > self.now {
                break;
            }
            self.deadlines.pop_first();
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.deadline = None;
            }
            self.attend(id);
            if self
                .connections
                .get(&id)
                .is_some_and(|one| one.deadline.is_some_and(|again| again <= self.now))
            {
                // Due again at once (a neighbour is being looked for): not in this turn.
                break;
            }
        }
        for number in 0..self.links.len() {
            if self.links[number].deadline.is_some_and(|deadline| deadline <= self.now) {
                self.attend_link(number);
            }
        }
    }

    /// Whether an address is one of this machine's.
    pub fn is_ours(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.links.iter().skip(1).any(|link| link.interface.has_ip_addr(address))
    }

    /// Whether an address is this machine's unless somebody else answers for it.
    pub fn is_to_be_ours(&self, address: IpAddr) -> bool {
        let asked = |link: &Link| matches!(address, IpAddr::V6(v6) if link.duplicates.is_asked_for(v6));
        self.links.iter().any(asked)
    }

    /// The link to an address, or `None` when there is no way.
    pub fn route(&self, to: IpAddr) -> Option<LinkNumber> {
        if self.is_ours(to) {
            return Some(LOOPBACK);
        }
        let cards = || self.links.iter().enumerate().skip(1);
        let near = cards()
            .find(|(_, link)| link.interface.ip_addrs().iter().any(|net| net.contains_addr(&to.into())));
        let far = || {
            cards().find(|(_, link)| match to {
                _ if link
                    .interface
                    .ip_addrs()
                    .iter()
                    .all(|net| IpAddr::from(net.address()).is_ipv4() != to.is_ipv4()) =>
                {
                    false
                }
                _ if to.is_multicast() => true,
                IpAddr::V4(to) if to.is_broadcast() => true,
                IpAddr::V4(_) => link.interface.routes().get_default_ipv4_route().is_some(),
                IpAddr::V6(to) if to.is_unicast_link_local() => true,
                IpAddr::V6(_) => link.interface.routes().get_default_ipv6_route().is_some(),
            })
        };
        near.or_else(far).map(|(number, _)| number)
    }

    /// The address that packets to `to` carry as their source.
    pub fn source_for(&self, to: IpAddr) -> Option<IpAddr> {
        match self.route(to)? {
            LOOPBACK if to.is_loopback() && to.is_ipv4() => Some(Ipv4Addr::LOCALHOST.into()),
            LOOPBACK => Some(to),
            number => self.links[number].interface.get_source_address(&to.into()).map(IpAddr::from),
        }
    }

    /// One line for the console about what this network has.
    pub fn describe(&self, number: LinkNumber) -> String {
        let addresses: Vec<String> =
            self.links[number].interface.ip_addrs().iter().map(|net| format!("{net}")).collect();
        format!("eth{}: {}", number - 1, addresses.join(" "))
    }
}

impl Link {
    /// When one of a connection's sockets is due.
    fn due(&mut self, now: Instant, sockets: &SocketSet<'_>) -> Option<Instant> {
        match &mut self.search {
            Some(search) => search.due(now, sockets),
            None => self.interface.poll_at(now, sockets),
        }
    }

    /// Notes when it wants its next turn.
    pub fn plan(&mut self, now: Instant) {
        let due = match &mut self.search {
            Some(search) => {
                let step = search.next_step(now, &mut self.interface);
                search.due(now, &self.datagrams).into_iter().chain(step).min()
            }
            None => self.interface.poll_at(now, &self.datagrams),
        };
        let due = due.into_iter().chain(self.duplicates.deadline());
        self.deadline = due.chain(self.groups.deadline()).min();
    }
}

/// A listener's backlog, or the memory for connections, is full.
pub(super) struct Full;
