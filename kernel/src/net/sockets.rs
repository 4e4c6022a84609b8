//! The program's TCP and UDP sockets.

use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::ffi::c_int;
use core::net::IpAddr;

use super::stack::{Handle, Network};
use super::{Address, Options, Socket, look, watch, with};
use crate::errno::Errno;
use crate::fd::{File, Watchers};

/// What every socket remembers.
struct Settings {
    family: c_int,
    v6_only: Cell<bool>,
    reuse: Cell<bool>,
    broadcast: Cell<bool>,
    timeouts_ns: [Cell<u64>; 2],
    watchers: Rc<Watchers>,
}

impl Settings {
    fn new(family: c_int) -> Self {
        Settings {
            family,
            v6_only: Cell::new(false),
            reuse: Cell::new(false),
            broadcast: Cell::new(false),
            timeouts_ns: [Cell::new(0), Cell::new(0)],
            watchers: Rc::default(),
        }
    }

    /// Which IP versions this socket hears when bound to `address`.
    fn families(&self, address: Option<IpAddr>) -> (bool, bool) {
        match address {
            Some(IpAddr::V4(_)) => (true, false),
            Some(IpAddr::V6(_)) => (false, true),
            None if self.family == libc::AF_INET => (true, false),
            None => (!self.v6_only.get(), true),
        }
    }

    /// An address of the program's, as the network knows it.
    fn inward(&self, address: Address) -> Result<Address, Errno> {
        let ip = match address.ip() {
            IpAddr::V6(ip) if self.family == libc::AF_INET6 => match ip.to_ipv4_mapped() {
                Some(_) if self.v6_only.get() => return Err(Errno(libc::ENETUNREACH)),
                Some(ip) => IpAddr::V4(ip),
                None => IpAddr::V6(ip),
            },
            IpAddr::V4(ip) if self.family == libc::AF_INET => IpAddr::V4(ip),
            _ => return Err(Errno(libc::EAFNOSUPPORT)),
        };
        Ok(Address::new(ip, address.port()))
    }

    /// An address of the network's, as the program wants it: IPv4 is mapped for an IPv6 socket (RFC 3493 3.7).
    fn outward(&self, address: Address) -> Address {
        match address.ip() {
            IpAddr::V4(ip) if self.family == libc::AF_INET6 => {
                Address::new(ip.to_ipv6_mapped().into(), address.port())
            }
            _ => address,
        }
    }

    /// What to bind to: nothing for "any address".
    fn place(&self, address: Address) -> Result<(Option<IpAddr>, u16), Errno> {
        let address = self.inward(address)?;
        if address.ip().is_unspecified() {
            return Ok((None, address.port()));
        }
        let is_ours =
            |network: &Network| network.is_ours(address.ip()) || network.is_to_be_ours(address.ip());
        if !look(is_ours) && !address.ip().is_multicast() {
            return Err(Errno(libc::EADDRNOTAVAIL));
        }
        Ok((Some(address.ip()), address.port()))
    }

    fn unspecified(&self, port: u16) -> Address {
        match self.family {
            libc::AF_INET => Address::from(([0, 0, 0, 0], port)),
            _ => Address::from(([0; 8], port)),
        }
    }

    fn set(&self, level: c_int, name: c_int, value: c_int) -> Result<(), Errno> {
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_REUSEADDR | libc::SO_REUSEPORT) => self.reuse.set(value != 0),
            (libc::SOL_SOCKET, libc::SO_BROADCAST) => self.broadcast.set(value != 0),
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) => self.v6_only.set(value != 0),
            // Sizes and hints that a program may give and that change nothing here.
            (
                libc::SOL_SOCKET,
                libc::SO_RCVBUF | libc::SO_SNDBUF | libc::SO_PRIORITY | libc::SO_OOBINLINE,
            ) => {}
            // No card takes part in any group: what Linux says of a machine without such a card.
            (libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP | libc::IP_DROP_MEMBERSHIP)
            | (libc::IPPROTO_IPV6, libc::IPV6_ADD_MEMBERSHIP | libc::IPV6_DROP_MEMBERSHIP) => {
                return Err(Errno(libc::ENODEV));
            }
            (libc::IPPROTO_IP, libc::IP_TOS | libc::IP_TTL | libc::IP_MTU_DISCOVER | libc::IP_RECVERR) => {}
            (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS | libc::IPV6_TCLASS | libc::IPV6_MTU_DISCOVER) => {}
            _ => return Err(Errno(libc::ENOPROTOOPT)),
        }
        Ok(())
    }

    fn get(&self, level: c_int, name: c_int) -> Result<c_int, Errno> {
        Ok(match (level, name) {
            (libc::SOL_SOCKET, libc::SO_REUSEADDR | libc::SO_REUSEPORT) => self.reuse.get().into(),
            (libc::SOL_SOCKET, libc::SO_BROADCAST) => self.broadcast.get().into(),
            (libc::SOL_SOCKET, libc::SO_DOMAIN) => self.family,
            (libc::SOL_SOCKET, libc::SO_RCVBUF | libc::SO_SNDBUF) => 256 << 10,
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) => self.v6_only.get().into(),
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) => 64,
            _ => return Err(Errno(libc::ENOPROTOOPT)),
        })
    }
}

#[derive(Clone, Copy)]
enum State {
    Fresh,
    /// A place that nobody listens at yet is held by a listener without a backlog of its own.
    Bound {
        listener: usize,
        local: (Option<IpAddr>, u16),
    },
    Listening {
        listener: usize,
        local: (Option<IpAddr>, u16),
    },
    Connection {
        id: usize,
        local: Address,
        remote: Address,
    },
}

/// A TCP socket.
pub struct Tcp {
    settings: Settings,
    state: Cell<State>,
    options: Cell<Options>,
    linger: Cell<Option<u32>>,
    connecting: Cell<bool>,
}

impl Tcp {
    /// A fresh socket.
    pub fn new(family: c_int) -> Self {
        Tcp {
            settings: Settings::new(family),
            state: Cell::new(State::Fresh),
            options: Cell::default(),
            linger: Cell::new(None),
            connecting: Cell::new(false),
        }
    }

    fn connection(&self) -> Result<usize, Errno> {
        match self.state.get() {
            State::Connection { id, .. } => Ok(id),
            _ => Err(Errno(libc::ENOTCONN)),
        }
    }

    fn watch(&self, handle: Handle) {
        watch(handle, Some(self.settings.watchers.clone()));
    }

    fn hold(&self, local: (Option<IpAddr>, u16)) -> Result<(usize, u16), Errno> {
        let families = self.settings.families(local.0);
        with(|network| network.tcp_listen(local.0, local.1, families, 0, self.options.get()))
    }

    fn apply(&self) {
        let options = self.options.get();
        match self.state.get() {
            State::Connection { id, .. } => with(|network| network.tcp_options(id, options)),
            State::Listening { listener, .. } => {
                with(|network| network.tcp_listener_options(listener, options, None))
            }
            _ => {}
        }
    }
}

impl File for Tcp {
    fn read(&self, into: &mut [u8]) -> Result<usize, Errno> {
        let id = self.connection()?;
        with(|network| network.tcp_receive(id, into, false))
    }

    fn write(&self, from: &[u8]) -> Result<usize, Errno> {
        let id = self.connection()?;
        with(|network| network.tcp_send(id, from))
    }

    fn ready(&self) -> u32 {
        match self.state.get() {
            State::Connection { id, .. } => look(|network| network.tcp_ready(id)),
            State::Listening { listener, .. } => look(|network| network.tcp_listener_ready(listener)),
            _ => (libc::EPOLLOUT | libc::EPOLLHUP) as u32,
        }
    }

    fn watchers(&self) -> &Watchers {
        &self.settings.watchers
    }

    fn status(&self) -> (u32, u64) {
        (libc::S_IFSOCK | 0o777, 0)
    }

    fn socket(&self) -> Option<&dyn Socket> {
        Some(self)
    }
}

impl Socket for Tcp {
    fn send_to(&self, from: &[u8], _: Option<Address>) -> Result<usize, Errno> {
        self.write(from)
    }

    fn receive_from(&self, into: &mut [u8], peek: bool) -> Result<(usize, Option<Address>, bool), Errno> {
        let id = self.connection()?;
        Ok((with(|network| network.tcp_receive(id, into, peek))?, None, false))
    }

    fn shutdown(&self, how: c_int) -> Result<(), Errno> {
        let id = self.connection()?;
        let (receive, send) = match how {
            libc::SHUT_RD => (true, false),
            libc::SHUT_WR => (false, true),
            libc::SHUT_RDWR => (true, true),
            _ => return Err(Errno(libc::EINVAL)),
        };
        with(|network| network.tcp_shutdown(id, receive, send))
    }

    fn family(&self) -> c_int {
        self.settings.family
    }

    fn bind(&self, address: Address) -> Result<(), Errno> {
        let State::Fresh = self.state.get() else { return Err(Errno(libc::EINVAL)) };
        let place = self.settings.place(address)?;
        let (listener, port) = self.hold(place)?;
        self.state.set(State::Bound { listener, local: (place.0, port) });
        with(|network| network.tcp_mute(listener, true));
        Ok(())
    }

    fn connect(&self, address: Address) -> Result<(), Errno> {
        let (from, port) = match self.state.get() {
            State::Fresh => (None, 0),
            State::Bound { listener, local } => {
                with(|network| network.tcp_unlisten(listener));
                self.state.set(State::Fresh);
                local
            }
            State::Connection { .. } if self.connecting.get() => return Err(Errno(libc::EALREADY)),
            State::Connection { .. } | State::Listening { .. } => return Err(Errno(libc::EISCONN)),
        };
        let to = self.settings.inward(address)?;
        let (id, local) = with(|network| network.tcp_connect(from, port, to, self.options.get()))?;
        self.state.set(State::Connection { id, local, remote: to });
        self.connecting.set(true);
        self.watch(Handle::Connection(id));
        Err(Errno(libc::EAGAIN))
    }

    fn connected(&self) -> Result<(), Errno> {
        let id = self.connection()?;
        let result = with(|network| network.tcp_connected(id));
        self.connecting.set(result == Err(Errno(libc::EAGAIN)));
        result
    }

    fn listen(&self, backlog: usize) -> Result<(), Errno> {
        let (listener, local) = match self.state.get() {
            State::Fresh => {
                let (listener, port) = self.hold((None, 0))?;
                (listener, (None, port))
            }
            State::Bound { listener, local } | State::Listening { listener, local } => (listener, local),
            State::Connection { .. } => return Err(Errno(libc::EINVAL)),
        };
        with(|network| {
            network.tcp_mute(listener, false);
            network.tcp_listener_options(listener, self.options.get(), Some(backlog));
        });
        self.state.set(State::Listening { listener, local });
        self.watch(Handle::Listener(listener));
        Ok(())
    }

    fn accept(&self) -> Result<(Rc<dyn File>, Address), Errno> {
        let State::Listening { listener, .. } = self.state.get() else { return Err(Errno(libc::EINVAL)) };
        let (id, local, remote) = with(|network| network.tcp_accept(listener))?;
        let accepted = Tcp::new(self.settings.family);
        accepted.options.set(self.options.get());
        accepted.state.set(State::Connection { id, local, remote });
        accepted.watch(Handle::Connection(id));
        Ok((Rc::new(accepted), self.settings.outward(remote)))
    }

    fn local(&self) -> Option<Address> {
        Some(match self.state.get() {
            State::Fresh => self.settings.unspecified(0),
            State::Bound { local, .. } | State::Listening { local, .. } => match local {
                (Some(ip), port) => self.settings.outward(Address::new(ip, port)),
                (None, port) => self.settings.unspecified(port),
            },
            State::Connection { local, .. } => self.settings.outward(local),
        })
    }

    fn peer(&self) -> Option<Address> {
        match self.state.get() {
            State::Connection { remote, .. } if !self.connecting.get() => Some(self.settings.outward(remote)),
            _ => None,
        }
    }

    fn set_option(&self, level: c_int, name: c_int, value: c_int) -> Result<(), Errno> {
        let mut options = self.options.get();
        match (level, name) {
            (libc::IPPROTO_TCP, libc::TCP_NODELAY) => options.nodelay = value != 0,
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => {
                options.keepalive_s = (value != 0).then(|| options.keepalive_s.unwrap_or(7200));
            }
            (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE | libc::TCP_KEEPINTVL) => {
                let seconds =
                    u32::try_from(value).ok().filter(|&seconds| seconds > 0).ok_or(Errno(libc::EINVAL))?;
                options.keepalive_s = options.keepalive_s.map(|_| seconds);
            }
            (
                libc::IPPROTO_TCP,
                libc::TCP_KEEPCNT | libc::TCP_USER_TIMEOUT | libc::TCP_QUICKACK | libc::TCP_CORK,
            ) => {}
            _ => return self.settings.set(level, name, value),
        }
        self.options.set(options);
        self.apply();
        Ok(())
    }

    fn option(&self, level: c_int, name: c_int) -> Result<c_int, Errno> {
        let options = self.options.get();
        Ok(match (level, name) {
            (libc::SOL_SOCKET, libc::SO_ERROR) => match self.connection() {
                Ok(id) => {
                    if self.connecting.get() {
                        match self.connected() {
                            Ok(()) | Err(Errno(libc::EAGAIN)) => 0,
                            Err(Errno(error)) => error,
                        }
                    } else {
                        with(|network| network.tcp_error(id)).map_or(0, |Errno(error)| error)
                    }
                }
                Err(_) => 0,
            },
            (libc::SOL_SOCKET, libc::SO_TYPE) => libc::SOCK_STREAM,
            (libc::SOL_SOCKET, libc::SO_PROTOCOL) => libc::IPPROTO_TCP,
            (libc::SOL_SOCKET, libc::SO_ACCEPTCONN) => {
                matches!(self.state.get(), State::Listening { .. }).into()
            }
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => options.keepalive_s.is_some().into(),
            (libc::IPPROTO_TCP, libc::TCP_NODELAY) => options.nodelay.into(),
            (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE | libc::TCP_KEEPINTVL) => {
                options.keepalive_s.unwrap_or(7200) as c_int
            }
            (libc::IPPROTO_TCP, libc::TCP_MAXSEG) => 1460,
            _ => return self.settings.get(level, name),
        })
    }

    fn timeout_ns(&self, send: bool) -> u64 {
        self.settings.timeouts_ns[usize::from(send)].get()
    }

    fn set_timeout_ns(&self, send: bool, timeout_ns: u64) {
        self.settings.timeouts_ns[usize::from(send)].set(timeout_ns);
    }

    fn set_linger(&self, linger: Option<u32>) {
        self.linger.set(linger);
    }

    fn linger(&self) -> Option<u32> {
        self.linger.get()
    }

    fn drained(&self) -> Result<(), Errno> {
        match self.connection() {
            Ok(id) if !with(|network| network.tcp_is_drained(id)) => Err(Errno(libc::EAGAIN)),
            _ => Ok(()),
        }
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        match self.state.get() {
            State::Fresh => {}
            State::Bound { listener, .. } | State::Listening { listener, .. } => {
                watch(Handle::Listener(listener), None);
                with(|network| network.tcp_unlisten(listener));
            }
            State::Connection { id, .. } => {
                watch(Handle::Connection(id), None);
                with(|network| network.tcp_close(id, self.linger.get() == Some(0)));
            }
        }
    }
}

/// A UDP socket.
pub struct Udp {
    settings: Settings,
    state: RefCell<UdpState>,
}

#[derive(Clone, Copy, Default)]
struct UdpState {
    id: Option<usize>,
    local: (Option<IpAddr>, u16),
    peer: Option<Address>,
    receive_shut: bool,
}

impl Udp {
    /// A fresh socket.
    pub fn new(family: c_int) -> Self {
        Udp { settings: Settings::new(family), state: RefCell::default() }
    }

    fn open(&self, local: (Option<IpAddr>, u16)) -> Result<usize, Errno> {
        let families = self.settings.families(local.0);
        let (id, port) = with(|network| network.udp_open(local.0, local.1, families))?;
        let mut state = self.state.borrow_mut();
        state.id = Some(id);
        state.local = (local.0, port);
        watch(Handle::Datagrams(id), Some(self.settings.watchers.clone()));
        Ok(id)
    }

    fn id(&self) -> Result<usize, Errno> {
        let known = self.state.borrow().id;
        known.map_or_else(|| self.open((None, 0)), Ok)
    }
}

impl File for Udp {
    fn read(&self, into: &mut [u8]) -> Result<usize, Errno> {
        let (length, ..) = self.receive_from(into, false)?;
        Ok(length.min(into.len()))
    }

    fn write(&self, from: &[u8]) -> Result<usize, Errno> {
        self.send_to(from, None)
    }

    fn ready(&self) -> u32 {
        let state = *self.state.borrow();
        let ready = state.id.map_or(libc::EPOLLOUT as u32, |id| look(|network| network.udp_ready(id)));
        if state.receive_shut { ready | (libc::EPOLLIN | libc::EPOLLRDHUP) as u32 } else { ready }
    }

    fn watchers(&self) -> &Watchers {
        &self.settings.watchers
    }

    fn status(&self) -> (u32, u64) {
        (libc::S_IFSOCK | 0o777, 0)
    }

    fn socket(&self) -> Option<&dyn Socket> {
        Some(self)
    }
}

impl Socket for Udp {
    fn send_to(&self, from: &[u8], to: Option<Address>) -> Result<usize, Errno> {
        let to = match to {
            Some(to) => self.settings.inward(to)?,
            None => self.state.borrow().peer.ok_or(Errno(libc::EDESTADDRREQ))?,
        };
        let broadcast = matches!(to.ip(), IpAddr::V4(ip) if ip.is_broadcast());
        if broadcast && !self.settings.broadcast.get() {
            return Err(Errno(libc::EACCES));
        }
        let id = self.id()?;
        with(|network| network.udp_send(id, from, to))
    }

    fn receive_from(&self, into: &mut [u8], peek: bool) -> Result<(usize, Option<Address>, bool), Errno> {
        if self.state.borrow().receive_shut {
            return Ok((0, None, false));
        }
        let id = self.id()?;
        let (length, from) = with(|network| network.udp_receive(id, into, peek))?;
        Ok((length, Some(self.settings.outward(from)), length > into.len()))
    }

    fn shutdown(&self, how: c_int) -> Result<(), Errno> {
        if self.state.borrow().peer.is_none() {
            return Err(Errno(libc::ENOTCONN));
        }
        if matches!(how, libc::SHUT_RD | libc::SHUT_RDWR) {
            self.state.borrow_mut().receive_shut = true;
            self.settings.watchers.notify();
        }
        Ok(())
    }

    fn family(&self) -> c_int {
        self.settings.family
    }

    fn bind(&self, address: Address) -> Result<(), Errno> {
        if self.state.borrow().id.is_some() {
            return Err(Errno(libc::EINVAL));
        }
        let place = self.settings.place(address)?;
        self.open(place).map(drop)
    }

    fn connect(&self, address: Address) -> Result<(), Errno> {
        let id = self.id()?;
        let peer = self.settings.inward(address)?;
        with(|network| network.route(peer.ip())).ok_or(Errno(libc::ENETUNREACH))?;
        with(|network| network.udp_connect(id, Some(peer)));
        self.state.borrow_mut().peer = Some(peer);
        Ok(())
    }

    fn local(&self) -> Option<Address> {
        let state = *self.state.borrow();
        let of_peer = || state.peer.and_then(|peer| look(|network| network.source_for(peer.ip())));
        Some(match state.local.0.or_else(of_peer) {
            Some(ip) => self.settings.outward(Address::new(ip, state.local.1)),
            None => self.settings.unspecified(state.local.1),
        })
    }

    fn peer(&self) -> Option<Address> {
        self.state.borrow().peer.map(|peer| self.settings.outward(peer))
    }

    fn set_option(&self, level: c_int, name: c_int, value: c_int) -> Result<(), Errno> {
        match (level, name) {
            // What is asked to be reported with datagrams is not; a program must do without, as on other systems.
            (libc::IPPROTO_IP, libc::IP_PKTINFO) | (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) => {
                if value == 0 { Ok(()) } else { Err(Errno(libc::ENOPROTOOPT)) }
            }
            _ => self.settings.set(level, name, value),
        }
    }

    fn option(&self, level: c_int, name: c_int) -> Result<c_int, Errno> {
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_ERROR) => {
                let id = self.state.borrow().id;
                let error = id.and_then(|id| with(|network| network.udp_error(id)));
                Ok(error.map_or(0, |Errno(error)| error))
            }
            (libc::SOL_SOCKET, libc::SO_ACCEPTCONN) => Ok(0),
            (libc::SOL_SOCKET, libc::SO_TYPE) => Ok(libc::SOCK_DGRAM),
            (libc::SOL_SOCKET, libc::SO_PROTOCOL) => Ok(libc::IPPROTO_UDP),
            _ => self.settings.get(level, name),
        }
    }

    fn timeout_ns(&self, send: bool) -> u64 {
        self.settings.timeouts_ns[usize::from(send)].get()
    }

    fn set_timeout_ns(&self, send: bool, timeout_ns: u64) {
        self.settings.timeouts_ns[usize::from(send)].set(timeout_ns);
    }
}

impl Drop for Udp {
    fn drop(&mut self) {
        if let Some(id) = self.state.borrow().id {
            watch(Handle::Datagrams(id), None);
            with(|network| network.udp_close(id));
        }
    }
}
