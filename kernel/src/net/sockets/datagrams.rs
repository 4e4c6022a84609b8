//! The program's UDP sockets.

use core::cell::RefCell;
use core::ffi::c_int;
use core::net::IpAddr;

use super::Settings;
use crate::errno::Errno;
use crate::fd::{File, Watchers};
use crate::net::stack::Handle;
use crate::net::{Address, Socket, look, watch, with};

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
            Some(to) => self.settings.destination(to)?,
            None => self.state.borrow().peer.ok_or(Errno(libc::EDESTADDRREQ))?,
        };
        let broadcast = matches!(to.ip(), IpAddr::V4(ip) if ip.is_broadcast());
        if broadcast && !self.settings.broadcast.get() {
            return Err(Errno(libc::EACCES));
        }
        let id = self.id()?;
        let hop_limit = match to.ip().is_multicast() {
            // smoltcp knows no packets that go nowhere.
            true => Some(self.settings.multicast_hops.get().max(1)),
            false => self.settings.hop_limit.get(),
        };
        with(|network| network.udp_send(id, from, to, hop_limit))
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
        let peer = self.settings.destination(address)?;
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
