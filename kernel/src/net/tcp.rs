//! TCP connections and listeners of a [`Network`].

use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec::Vec;
use core::net::IpAddr;

use libc::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{self, CongestionControl, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::IpListenEndpoint;

use super::Address;
use super::acknowledge::{Patience, parts};
use super::buffer::buffers;
use super::frame::Segment;
use super::options::Options;
use super::stack::{Full, Handle, LinkNumber, Network};
use crate::errno::Errno;

/// Longest backlog of a listener (Linux's somaxconn).
pub const BACKLOG_MAX: usize = 4096;
/// How long a half-open connection may wait for the third segment.
const HANDSHAKE: Duration = Duration::from_secs(20);
/// How long a closed connection may wait for the other side to close too (Linux's tcp_fin_timeout).
const ORPHAN: Duration = Duration::from_secs(60);
/// Where ephemeral ports are taken from.
pub const EPHEMERAL_PORTS: core::ops::Range<u16> = 32_768..61_000;

/// One connection.
pub(super) struct Connection {
    pub set: SocketSet<'static>,
    handle: SocketHandle,
    pub link: LinkNumber,
    local: Address,
    remote: Address,
    /// Its listener until it is accepted.
    listener: Option<usize>,
    established: bool,
    error: Option<Errno>,
    receive_shut: bool,
    send_shut: bool,
    pub deadline: Option<Instant>,
    /// Nobody holds it any more; it may finish until then.
    pub orphan_deadline: Option<Instant>,
    buffer_bytes: usize,
    /// What the other side acknowledged last.
    acknowledged: Option<u32>,
    /// How long our acknowledgements may wait.
    patience: Patience,
    /// What the program sent since the connection was last attended to.
    pub unattended: usize,
}

/// Where a program listens.
pub(super) struct Listener {
    pub address: Option<IpAddr>,
    pub port: u16,
    /// Accepts IPv4 / IPv6.
    pub families: (bool, bool),
    backlog: usize,
    options: Options,
    half_open: usize,
    waiting: VecDeque<usize>,
    /// Bound, but `listen` was not called: holds the port, wants no connections.
    muted: bool,
}

impl Connection {
    pub fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.set.get_mut(self.handle)
    }

    pub fn state(&self) -> State {
        self.set.get::<tcp::Socket<'_>>(self.handle).state()
    }

    /// Notes what a segment acknowledges; gives the parts in which smoltcp is to see that.
    pub fn acknowledged(
        &mut self,
        segment: Segment,
        segment_bytes: usize,
    ) -> impl Iterator<Item = u32> + use<> {
        let before = self.acknowledged;
        let newer = |&now: &u32| before.is_none_or(|before| now.wrapping_sub(before) < 1 << 30);
        self.acknowledged = segment.acknowledges.filter(newer).or(before);
        let both = before.zip(segment.acknowledges).filter(|_| segment.bare);
        both.into_iter().flat_map(move |(before, now)| parts(before, now, segment_bytes))
    }

    /// Chooses how soon smoltcp acknowledges the data of a segment that it is about to see.
    pub fn choose_ack_delay(&mut self, payload_bytes: usize, segment_bytes: usize) {
        let delay = self.patience.delay(payload_bytes, segment_bytes);
        self.socket().set_ack_delay(Some(delay));
    }

    /// Learns from a segment why the connection ended, if it did.
    pub fn after_segment(&mut self, before: State, segment: Segment) {
        if self.state() == State::Closed && before != State::Closed && segment.resets && self.error.is_none()
        {
            self.error = Some(Errno(match before {
                State::SynSent => libc::ECONNREFUSED,
                _ => libc::ECONNRESET,
            }));
        }
    }

    /// Learns from a turn without a segment why the connection ended, if it did.
    pub fn after_timers(&mut self, before: State) {
        let finished = matches!(before, State::Closed | State::TimeWait | State::LastAck);
        if self.state() == State::Closed
            && !finished
            && self.error.is_none()
            && self.orphan_deadline.is_none()
        {
            self.error = Some(Errno(libc::ETIMEDOUT));
        }
    }

    fn apply(&mut self, options: Options) {
        let socket = self.socket();
        socket.set_nagle_enabled(!options.nodelay);
        socket.set_keep_alive(options.keepalive.then(|| Duration::from_secs(options.keep_idle_s.into())));
        socket.set_hop_limit(options.hop_limit);
    }
}

impl Listener {
    fn wants(&self, local: Address) -> bool {
        let family = if local.is_ipv4() { self.families.0 } else { self.families.1 };
        !self.muted
            && family
            && self.port == local.port()
            && self.address.is_none_or(|address| address == local.ip())
    }
}

impl Network {
    /// Listens. Port 0 takes a free one; the second value says which.
    pub fn tcp_listen(
        &mut self,
        address: Option<IpAddr>,
        port: u16,
        families: (bool, bool),
        backlog: usize,
        options: Options,
    ) -> Result<(usize, u16), Errno> {
        let port = if port == 0 { self.free_tcp_port()? } else { port };
        let taken = self.listeners.values().any(|other| {
            other.port == port
                && (other.families.0 && families.0 || other.families.1 && families.1)
                && (other.address.is_none() || address.is_none() || other.address == address)
        });
        if taken {
            return Err(Errno(libc::EADDRINUSE));
        }
        let id = self.number();
        let backlog = backlog.clamp(1, BACKLOG_MAX);
        self.listeners.insert(
            id,
            Listener {
                address,
                port,
                families,
                backlog,
                options,
                half_open: 0,
                waiting: VecDeque::new(),
                muted: false,
            },
        );
        Ok((id, port))
    }

    /// Changes what later connections of a listener inherit, and its backlog.
    pub fn tcp_listener_options(&mut self, id: usize, options: Options, backlog: Option<usize>) {
        if let Some(listener) = self.listeners.get_mut(&id) {
            listener.options = options;
            listener.backlog = backlog.map_or(listener.backlog, |backlog| backlog.clamp(1, BACKLOG_MAX));
        }
    }

    /// Lets a listener hold its port without taking connections, or take them.
    pub fn tcp_mute(&mut self, id: usize, muted: bool) {
        if let Some(listener) = self.listeners.get_mut(&id) {
            listener.muted = muted;
        }
    }

    /// The next connection that is ready: its number, its local and its remote address.
    pub fn tcp_accept(&mut self, id: usize) -> Result<(usize, Address, Address), Errno> {
        let listener = self.listeners.get_mut(&id).ok_or(Errno(libc::EINVAL))?;
        let accepted = listener.waiting.pop_front().ok_or(Errno(libc::EAGAIN))?;
        let connection = self.connections.get_mut(&accepted).ok_or(Errno(libc::ECONNABORTED))?;
        connection.listener = None;
        connection.mind_silence();
        Ok((accepted, connection.local, connection.remote))
    }

    /// Stops listening; connections nobody accepted are reset.
    pub fn tcp_unlisten(&mut self, id: usize) {
        self.listeners.remove(&id);
        let left: Vec<usize> =
            self.connections.iter().filter(|(_, one)| one.listener == Some(id)).map(|(&id, _)| id).collect();
        for id in left {
            self.tcp_close(id, true);
        }
    }

    /// Starts to connect. The answer comes with [`Self::tcp_connected`].
    pub fn tcp_connect(
        &mut self,
        from: Option<IpAddr>,
        port: u16,
        to: Address,
        options: Options,
    ) -> Result<(usize, Address), Errno> {
        let ip = to.ip();
        let link = self.route(ip).ok_or(Errno(libc::ENETUNREACH))?;
        let source = from.or_else(|| self.source_for(ip)).ok_or(Errno(libc::EADDRNOTAVAIL))?;
        if to.port() == 0 || source.is_ipv4() != ip.is_ipv4() {
            return Err(Errno(libc::EADDRNOTAVAIL));
        }
        let port = if port == 0 { self.free_flow_port(source, to)? } else { port };
        let local = Address::new(source, port);
        if self.flows.contains_key(&(local, to)) {
            return Err(Errno(libc::EADDRNOTAVAIL));
        }
        let id = self.make_connection(link, local, to, None).map_err(|Full| Errno(libc::ENOBUFS))?;
        let connection = self.connections.get_mut(&id).ok_or(Errno(libc::ENOBUFS))?;
        connection.apply(options);
        connection.mind_silence();
        let context = self.links[link].interface.context();
        let started =
            connection.set.get_mut::<tcp::Socket<'_>>(connection.handle).connect(context, to, local);
        if started.is_err() {
            self.forget(id);
            return Err(Errno(libc::EADDRNOTAVAIL));
        }
        self.attend(id);
        Ok((id, local))
    }

    /// Whether a connection stands: EAGAIN while it is being made, else why it failed.
    pub fn tcp_connected(&mut self, id: usize) -> Result<(), Errno> {
        let connection = self.connections.get_mut(&id).ok_or(Errno(libc::ENOTCONN))?;
        match connection.state() {
            State::SynSent => Err(Errno(libc::EAGAIN)),
            _ if connection.established => Ok(()),
            State::Closed => Err(connection.error.take().unwrap_or(Errno(libc::ECONNREFUSED))),
            _ => Ok(()),
        }
    }

    /// Whether a connection that was begun has been made.
    pub fn tcp_stands(&self, id: usize) -> bool {
        self.connections.get(&id).is_some_and(|connection| connection.established)
    }

    /// Takes the pending error, as SO_ERROR does.
    pub fn tcp_error(&mut self, id: usize) -> Option<Errno> {
        self.connections.get_mut(&id)?.error.take()
    }

    /// Sends as much as there is room for.
    pub fn tcp_send(&mut self, id: usize, bytes: &[u8]) -> Result<usize, Errno> {
        let connection = self.connections.get_mut(&id).ok_or(Errno(libc::ENOTCONN))?;
        if let Some(error) = connection.error.take() {
            return Err(error);
        }
        match connection.state() {
            State::SynSent | State::SynReceived => return Err(Errno(libc::EAGAIN)),
            _ if connection.send_shut => return Err(Errno(libc::EPIPE)),
            _ => {}
        }
        let sent = connection.socket().send_slice(bytes).map_err(|_| Errno(libc::EPIPE))?;
        if sent == 0 && !bytes.is_empty() {
            return Err(Errno(libc::EAGAIN));
        }
        self.attend_to_sent(id, sent);
        Ok(sent)
    }

    /// Takes what has arrived; 0 after the other side's end.
    pub fn tcp_receive(&mut self, id: usize, into: &mut [u8], peek: bool) -> Result<usize, Errno> {
        let connection = self.connections.get_mut(&id).ok_or(Errno(libc::ENOTCONN))?;
        if into.is_empty() {
            return Ok(0);
        }
        if connection.state() == State::SynSent {
            return Err(Errno(libc::EAGAIN));
        }
        let socket = connection.socket();
        // Only then can reading open a window that was told to be less than half of what it is now.
        let was_half_full = socket.recv_queue() >= socket.recv_capacity() / 2;
        let result = match peek {
            // smoltcp's peek_slice knows no end of a stream, its peek does.
            true => socket.peek(1).map(drop).and_then(|()| socket.peek_slice(into)),
            false => socket.recv_slice(into),
        };
        match result {
            // What has come is read even so, as on Linux.
            Ok(0) if connection.receive_shut => Ok(0),
            Ok(0) => Err(Errno(libc::EAGAIN)),
            Ok(count) => {
                if !peek && was_half_full {
                    self.attend_at_once(id);
                }
                Ok(count)
            }
            Err(tcp::RecvError::Finished) => Ok(0),
            Err(tcp::RecvError::InvalidState) => connection.error.take().map_or(Ok(0), Err),
        }
    }

    /// Sends the end, or ignores what still comes, or both.
    pub fn tcp_shutdown(&mut self, id: usize, receive: bool, send: bool) -> Result<(), Errno> {
        let connection = self.connections.get_mut(&id).ok_or(Errno(libc::ENOTCONN))?;
        if connection.state() == State::Closed {
            return Err(Errno(libc::ENOTCONN));
        }
        connection.receive_shut |= receive;
        if send && !connection.send_shut {
            connection.send_shut = true;
            connection.socket().close();
        }
        self.attend(id);
        Ok(())
    }

    /// Lets a connection go. It ends in order, or with a reset when `abort` says so or when data lies unread (RFC 1122
    /// 4.2.2.13).
    pub fn tcp_close(&mut self, id: usize, abort: bool) {
        let deadline = self.now + ORPHAN;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.orphan_deadline = Some(deadline);
        let socket = connection.socket();
        if abort || socket.recv_queue() > 0 {
            socket.abort();
        } else {
            socket.close();
        }
        self.attend(id);
    }

    /// Whether everything sent has been acknowledged.
    pub fn tcp_is_drained(&mut self, id: usize) -> bool {
        self.connections.get_mut(&id).is_none_or(|connection| {
            let done = matches!(connection.state(), State::FinWait2 | State::TimeWait | State::Closed);
            done || connection.socket().send_queue() == 0 && !connection.send_shut
        })
    }

    /// Applies changed options.
    pub fn tcp_options(&mut self, id: usize, options: Options) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.apply(options);
        }
        self.attend_at_once(id);
    }

    /// What could be done without waiting, as EPOLL bits.
    pub fn tcp_ready(&self, id: usize) -> u32 {
        let Some(connection) = self.connections.get(&id) else {
            return (EPOLLIN | EPOLLOUT | EPOLLHUP) as u32;
        };
        let socket = connection.set.get::<tcp::Socket<'_>>(connection.handle);
        let state = socket.state();
        if state == State::SynSent {
            return 0;
        }
        let receive_ended = connection.receive_shut
            || matches!(
                state,
                State::CloseWait | State::LastAck | State::Closing | State::TimeWait | State::Closed
            );
        let mut ready = 0;
        ready |= if receive_ended { EPOLLIN | EPOLLRDHUP } else { 0 };
        ready |= if socket.can_recv() { EPOLLIN } else { 0 };
        ready |=
            if socket.can_send() || connection.send_shut || state == State::Closed { EPOLLOUT } else { 0 };
        ready |= if state == State::Closed || receive_ended && connection.send_shut { EPOLLHUP } else { 0 };
        ready |= if connection.error.is_some() { EPOLLERR } else { 0 };
        ready as u32
    }

    /// Whether a listener has a connection to accept.
    pub fn tcp_listener_ready(&self, id: usize) -> u32 {
        self.listeners
            .get(&id)
            .map_or(0, |listener| if listener.waiting.is_empty() { 0 } else { EPOLLIN as u32 })
    }

    /// How many connections there are, in whatever state.
    pub fn tcp_count(&self) -> usize {
        self.connections.len()
    }

    /// Makes a socket for a segment that opens a connection, if somebody listens and has room.
    pub(super) fn welcome(&mut self, link: LinkNumber, segment: Segment) -> Result<Option<usize>, Full> {
        if !self.links[link].interface.has_ip_addr(segment.local.ip()) {
            return Ok(None);
        }
        // A listener on exactly this address goes before one on any.
        let wanting = self.listeners.iter().filter(|(_, listener)| listener.wants(segment.local));
        let Some((&number, listener)) = wanting.max_by_key(|(_, listener)| listener.address.is_some()) else {
            return Ok(None);
        };
        if listener.half_open + listener.waiting.len() >= listener.backlog {
            return Err(Full);
        }
        let options = listener.options;
        let id = self.make_connection(link, segment.local, segment.remote, Some(number))?;
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.apply(options);
            let socket = connection.socket();
            socket.set_timeout(Some(HANDSHAKE));
            let _ = socket.listen(IpListenEndpoint {
                addr: Some(segment.local.ip().into()),
                port: segment.local.port(),
            });
        }
        if let Some(listener) = self.listeners.get_mut(&number) {
            listener.half_open += 1;
        }
        Ok(Some(id))
    }

    fn make_connection(
        &mut self,
        link: LinkNumber,
        local: Address,
        remote: Address,
        listener: Option<usize>,
    ) -> Result<usize, Full> {
        let Some((buffer_bytes, receive, send)) = buffers(self.budget, self.used, (self.free)()) else {
            self.tell_of_no_memory(remote);
            return Err(Full);
        };
        let mut socket = tcp::Socket::new(receive, send);
        socket.set_congestion_control(CongestionControl::Reno);
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let handle = set.add(socket);
        self.used += 2 * buffer_bytes;
        let id = self.number();
        let connection = Connection {
            set,
            handle,
            link,
            local,
            remote,
            listener,
            established: false,
            error: None,
            receive_shut: false,
            send_shut: false,
            deadline: None,
            orphan_deadline: None,
            buffer_bytes,
            acknowledged: None,
            patience: Patience::default(),
            unattended: 0,
        };
        self.connections.insert(id, connection);
        self.flows.insert((local, remote), id);
        Ok(id)
    }

    /// A connection that is not made is tried again by its client, who hears nothing: the console does, of the first, second,
    /// fourth and so on.
    fn tell_of_no_memory(&mut self, remote: Address) {
        self.refused += 1;
        if self.refused.is_power_of_two() {
            let (times, free) = (self.refused, (self.free)() >> 10);
            self.news.push(format!(
                "no memory for a connection with {remote} ({times} times so far): {free} KiB are free"
            ));
        }
    }

    /// Follows a connection's state: hands it to its listener, forgets it when it is over.
    pub(super) fn settle(&mut self, id: usize) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let state = connection.state();
        let stands = !matches!(state, State::Closed | State::Listen | State::SynSent | State::SynReceived);
        if stands && !connection.established {
            connection.established = true;
            if let Some(number) = connection.listener
                && let Some(listener) = self.listeners.get_mut(&number)
            {
                listener.half_open -= 1;
                listener.waiting.push_back(id);
                self.note(Handle::Listener(number));
            }
            return;
        }
        // Half-open ones that failed: their listener hears nothing of them.
        let failed = matches!(state, State::Listen | State::Closed);
        if connection.listener.is_some() && !connection.established && failed {
            if let Some(listener) = connection.listener.and_then(|number| self.listeners.get_mut(&number)) {
                listener.half_open -= 1;
            }
            return self.forget(id);
        }
        let Some(deadline) = connection.orphan_deadline else { return };
        let unwanted = connection.socket().recv_queue() > 0 && state != State::Closed;
        // TIME-WAIT holds memory for late segments; when memory is short, new connections are worth more.
        let short = self.used > self.budget / 2 || (self.free)() < self.budget / 2;
        if state == State::Closed
            || (deadline <= now && state != State::TimeWait)
            || (short && state == State::TimeWait)
        {
            self.forget(id);
        } else if unwanted {
            connection.socket().abort();
            self.attend(id);
        }
    }

    /// Whether a flow is only kept for late segments (RFC 9293 3.10.7.4 lets a new SYN take its place).
    pub(super) fn is_lingering(&self, id: usize) -> bool {
        self.connections
            .get(&id)
            .is_some_and(|one| one.orphan_deadline.is_some() && one.state() == State::TimeWait)
    }

    pub(super) fn forget(&mut self, id: usize) {
        if let Some(mut gone) = self.connections.remove(&id) {
            if !matches!(gone.state(), State::Closed | State::TimeWait) {
                // Tell the other side.
                gone.socket().abort();
                let link = &mut self.links[gone.link];
                link.interface.poll_egress(self.now, &mut link.wire, &mut gone.set);
            }
            self.drop_deadline(id, gone.deadline);
            self.flows.remove(&(gone.local, gone.remote));
            self.used -= 2 * gone.buffer_bytes;
        }
    }

    /// Lets leave what the program sent. While earlier data is under way, what fills no super-frame waits for more until
    /// the turn, which comes when the program waits: a stream goes out in whole super-frames.
    fn attend_to_sent(&mut self, id: usize, sent: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let link = &mut self.links[connection.link];
        let whole = link.wire.super_frame_bytes().filter(|_| connection.local.is_ipv4());
        let alone = connection.socket().send_queue() == sent;
        let Some(whole) = whole.filter(|_| !alone) else { return self.attend_at_once(id) };
        connection.unattended += sent;
        let frames = connection.unattended / whole;
        connection.unattended %= whole;
        for _ in 0..frames {
            link.interface.poll_egress(self.now, &mut link.wire, &mut connection.set);
        }
        if frames > 0 {
            link.wire.nudge();
        }
        self.attend_next_turn(id);
    }

    /// [`Self::attend`] for the program's own calls.
    fn attend_at_once(&mut self, id: usize) {
        self.attend(id);
        if let Some(connection) = self.connections.get(&id) {
            let link = connection.link;
            self.links[link].wire.nudge();
        }
    }

    fn free_tcp_port(&mut self) -> Result<u16, Errno> {
        self.free_port(|network, port| network.listeners.values().all(|listener| listener.port != port))
    }

    fn free_flow_port(&mut self, source: IpAddr, to: Address) -> Result<u16, Errno> {
        self.free_port(|network, port| {
            !network.flows.contains_key(&(Address::new(source, port), to))
                && network.listeners.values().all(|listener| listener.port != port)
        })
    }

    /// A port that `is_free`, searched from a random one on (RFC 6056 algorithm 1).
    pub(super) fn free_port(&mut self, is_free: impl Fn(&Self, u16) -> bool) -> Result<u16, Errno> {
        let count = EPHEMERAL_PORTS.len() as u64;
        let start = (self.random)() % count;
        (0..count)
            .map(|step| EPHEMERAL_PORTS.start + ((start + step) % count) as u16)
            .find(|&port| is_free(self, port))
            .ok_or(Errno(libc::EADDRINUSE))
    }
}
