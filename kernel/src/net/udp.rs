//! UDP sockets of a [`Network`].
//!
//! One of the program's sockets is a smoltcp socket on each link where it may be heard: smoltcp would otherwise send
//! what is queued through whichever link is polled first.

use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use libc::{EPOLLERR, EPOLLIN, EPOLLOUT};
use smoltcp::iface::{PollResult, SocketHandle};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::udp;
use smoltcp::wire::{IpListenEndpoint, IpProtocol, IpRepr, UdpPacket, UdpRepr};

use super::Address;
use super::frame::Undelivered;
use super::stack::{BATCH_FRAMES, Handle, LOOPBACK, LinkNumber, Network};
use crate::errno::Errno;

/// Largest datagram we send over a card: what smoltcp's fragmentation buffer holds.
const CARD_DATAGRAM_BYTES_MAX: usize = 8192 - 28;
const IPV4_HEADER_BYTES: usize = 20;
/// Least and most memory for what arrives on one link, in bytes.
const RECEIVE_BYTES: core::ops::RangeInclusive<usize> = (16 << 10)..=(256 << 10);
/// Most a UDP length can say, for the loopback, which carries packets of any length.
const LOOPBACK_DATAGRAM_BYTES_MAX: usize = u16::MAX as usize - 8;
/// Memory for what waits to be sent over a card (an address being resolved, no room).
const SEND_BYTES: usize = 16 << 10;
const SEND_DATAGRAMS: usize = 32;

/// One socket.
pub(super) struct Datagrams {
    parts: Vec<(LinkNumber, SocketHandle)>,
    address: Option<IpAddr>,
    port: u16,
    families: (bool, bool),
    peer: Option<Address>,
    next_part: usize,
    bytes: usize,
    /// What an ICMP error said of a datagram to the peer, until the program is told.
    error: Option<Errno>,
}

impl Network {
    /// Opens a socket at an address (or all) and a port; port 0 takes a free one. Says its number and its port.
    pub fn udp_open(
        &mut self,
        address: Option<IpAddr>,
        port: u16,
        families: (bool, bool),
    ) -> Result<(usize, u16), Errno> {
        let clashes = |network: &Network, port: u16| {
            network.datagrams.values().any(|other| {
                other.port == port
                    && (other.families.0 && families.0 || other.families.1 && families.1)
                    && (other.address.is_none() || address.is_none() || other.address == address)
            })
        };
        let port = match port {
            0 => self.free_port(|network, port| !clashes(network, port))?,
            port if clashes(self, port) => return Err(Errno(libc::EADDRINUSE)),
            port => port,
        };
        let receive_bytes = (self.budget / 32).clamp(*RECEIVE_BYTES.start(), *RECEIVE_BYTES.end());
        let only = address.map(|address| if address.is_loopback() { LOOPBACK } else { usize::MAX });
        let links: Vec<LinkNumber> = (0..self.links.len())
            .filter(|&link| only.is_none_or(|only| only != LOOPBACK || link == LOOPBACK))
            .collect();
        let bytes =
            links.len() * receive_bytes + (links.len() - usize::from(links.contains(&LOOPBACK))) * SEND_BYTES;
        if self.used + bytes > self.budget {
            return Err(Errno(libc::ENOBUFS));
        }
        self.used += bytes;
        let mut parts = Vec::new();
        for link in links {
            let receive = udp::PacketBuffer::new(
                vec![udp::PacketMetadata::EMPTY; receive_bytes / 128],
                vec![0; receive_bytes],
            );
            let (waiting, waiting_bytes) =
                if link == LOOPBACK { (0, 0) } else { (SEND_DATAGRAMS, SEND_BYTES) };
            let send =
                udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; waiting], vec![0; waiting_bytes]);
            let mut socket = udp::Socket::new(receive, send);
            let endpoint = IpListenEndpoint { addr: address.map(Into::into), port };
            socket.bind(endpoint).map_err(|_| Errno(libc::EINVAL))?;
            parts.push((link, self.links[link].datagrams.add(socket)));
        }
        let id = self.number();
        self.datagrams.insert(
            id,
            Datagrams { parts, address, port, families, peer: None, next_part: 0, bytes, error: None },
        );
        Ok((id, port))
    }

    /// Takes only what comes from `peer` from now on.
    pub fn udp_connect(&mut self, id: usize, peer: Option<Address>) {
        if let Some(socket) = self.datagrams.get_mut(&id) {
            socket.peer = peer;
        }
    }

    /// Sends one datagram over at most `hop_limit` hops.
    pub fn udp_send(
        &mut self,
        id: usize,
        bytes: &[u8],
        to: Address,
        hop_limit: Option<u8>,
    ) -> Result<usize, Errno> {
        let link = self.route(to.ip()).ok_or(Errno(libc::ENETUNREACH))?;
        if let Some(error) = self.udp_error(id) {
            return Err(error);
        }
        let socket = self.datagrams.get(&id).ok_or(Errno(libc::EBADF))?;
        if to.port() == 0 {
            return Err(Errno(libc::EINVAL));
        }
        if link != LOOPBACK && bytes.len() > CARD_DATAGRAM_BYTES_MAX {
            return Err(Errno(libc::EMSGSIZE));
        }
        let source =
            socket.address.filter(|address| !address.is_multicast()).or_else(|| self.source_for(to.ip()));
        let source = source.ok_or(Errno(libc::EADDRNOTAVAIL))?;
        if link == LOOPBACK {
            return self.loop_back(Address::new(source, socket.port), to, bytes, hop_limit);
        }
        let &(_, handle) = socket.parts.iter().find(|(on, _)| *on == link).ok_or(Errno(libc::ENETUNREACH))?;
        let part = self.links[link].datagrams.get_mut::<udp::Socket<'_>>(handle);
        part.set_hop_limit(hop_limit);
        let mut metadata = udp::UdpMetadata::from(smoltcp::wire::IpEndpoint::from(to));
        metadata.local_address = Some(source.into());
        match part.send_slice(bytes, metadata) {
            Ok(()) => {}
            Err(udp::SendError::BufferFull) => return Err(Errno(libc::EAGAIN)),
            Err(_) => return Err(Errno(libc::EINVAL)),
        }
        if self.send_datagrams(link) {
            self.attend_link(link);
        }
        self.links[link].wire.nudge();
        Ok(bytes.len())
    }

    /// Puts a datagram on the loopback: it waits there, in no buffer of its sender's.
    fn loop_back(
        &mut self,
        from: Address,
        to: Address,
        bytes: &[u8],
        hop_limit: Option<u8>,
    ) -> Result<usize, Errno> {
        let header_bytes = if to.is_ipv4() { IPV4_HEADER_BYTES } else { 0 };
        if bytes.len() > LOOPBACK_DATAGRAM_BYTES_MAX - header_bytes {
            return Err(Errno(libc::EMSGSIZE));
        }
        let wire = &mut self.links[LOOPBACK].wire;
        if !wire.has_room() {
            return Err(Errno(libc::EAGAIN));
        }
        let (udp, unsummed) =
            (UdpRepr { src_port: from.port(), dst_port: to.port() }, ChecksumCapabilities::ignored());
        let (source, target) = (from.ip().into(), to.ip().into());
        let payload_bytes = udp.header_len() + bytes.len();
        let ip = IpRepr::new(source, target, IpProtocol::Udp, payload_bytes, hop_limit.unwrap_or(64));
        let mut packet = vec![0; ip.buffer_len()];
        ip.emit(&mut packet, &unsummed);
        let mut rest = UdpPacket::new_unchecked(&mut packet[ip.header_len()..]);
        udp.emit(&mut rest, &source, &target, bytes.len(), |room| room.copy_from_slice(bytes), &unsummed);
        wire.loop_back(packet);
        Ok(bytes.len())
    }

    /// Lets queued datagrams leave; true when the card has no room for them.
    fn send_datagrams(&mut self, link: LinkNumber) -> bool {
        let now = self.now;
        let link = &mut self.links[link];
        for _ in 0..BATCH_FRAMES {
            if link.interface.poll_egress(now, &mut link.wire, &mut link.datagrams) == PollResult::None {
                break;
            }
        }
        link.plan(now);
        link.deadline.is_some_and(|due| due <= now)
    }

    /// Takes one datagram: its length (it may be longer than `into`, the rest is lost) and its sender.
    pub fn udp_receive(&mut self, id: usize, into: &mut [u8], peek: bool) -> Result<(usize, Address), Errno> {
        let socket = self.datagrams.get_mut(&id).ok_or(Errno(libc::EBADF))?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let count = socket.parts.len();
        for step in 0..count {
            let at = (socket.next_part + step) % count;
            let (link, handle) = socket.parts[at];
            let part = self.links[link].datagrams.get_mut::<udp::Socket<'_>>(handle);
            while let Ok((bytes, metadata)) = part.peek() {
                let from = Address::new(metadata.endpoint.addr.into(), metadata.endpoint.port);
                let family = if from.is_ipv4() { socket.families.0 } else { socket.families.1 };
                if !family || socket.peer.is_some_and(|peer| peer != from) {
                    let _ = part.recv();
                    continue;
                }
                let length = bytes.len();
                let copied = length.min(into.len());
                into[..copied].copy_from_slice(&bytes[..copied]);
                if !peek {
                    let _ = part.recv();
                    socket.next_part = at;
                }
                return Ok((length, from));
            }
        }
        Err(Errno(libc::EAGAIN))
    }

    /// An ICMP error came for a datagram: the socket that is connected there hears of it. One that is not connected does
    /// not, as on Linux: it could not know which of its peers is meant.
    pub(super) fn udp_undelivered(&mut self, news: Undelivered) {
        let concerned = self
            .datagrams
            .iter_mut()
            .find(|(_, socket)| socket.peer == Some(news.remote) && socket.port == news.local.port());
        if let Some((&id, socket)) = concerned {
            socket.error = Some(Errno(if news.refused { libc::ECONNREFUSED } else { libc::EHOSTUNREACH }));
            self.note(Handle::Datagrams(id));
        }
    }

    /// Takes the pending error, as SO_ERROR does.
    pub fn udp_error(&mut self, id: usize) -> Option<Errno> {
        self.datagrams.get_mut(&id)?.error.take()
    }

    /// What could be done without waiting, as EPOLL bits.
    pub fn udp_ready(&self, id: usize) -> u32 {
        let Some(socket) = self.datagrams.get(&id) else { return 0 };
        let part = |&(link, handle): &(LinkNumber, SocketHandle)| {
            self.links[link].datagrams.get::<udp::Socket<'_>>(handle)
        };
        let readable = socket.parts.iter().any(|at| part(at).can_recv());
        let writable =
            socket.parts.iter().filter(|(link, _)| *link != LOOPBACK).all(|at| part(at).can_send());
        let failed = if socket.error.is_some() { EPOLLERR | EPOLLIN } else { 0 };
        (failed | (if readable { EPOLLIN } else { 0 }) | (if writable { EPOLLOUT } else { 0 })) as u32
    }

    /// Closes a socket.
    pub fn udp_close(&mut self, id: usize) {
        if let Some(socket) = self.datagrams.remove(&id) {
            for (link, handle) in socket.parts {
                self.links[link].datagrams.remove(handle);
            }
            self.used -= socket.bytes;
        }
    }
}
