//! Datagrams on Linux: a thread for each core with a socket of its own, many datagrams a system call.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::libc::{in_addr, in_pktinfo, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg,
    sendmmsg, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{now_s, udp};
use crate::engine::{Asker, Desk, Engine, Verdict};
use crate::limits::DATAGRAM_OCTETS_MAX;
use crate::rrl::Limiter;

/// Datagrams taken and sent by one system call.
const BATCH: usize = 64;
/// How often a thread that has just answered many looks for the next datagram before it sleeps, giving way each time: some
/// ten microseconds. A sender that must wake a sleeping thread pays more for that than we for looking.
const LOOKS: usize = 20;
/// Datagrams at once that are many: with fewer the processor is better left to others.
const MANY: usize = 4;

/// Opens a socket that shares its address with the other threads' (SO_REUSEPORT).
///
/// # Errors
/// What the system says.
pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A burst must find room while the thread is busy; the system lowers what is too much.
    let _ = socket.set_recv_buffer_size(4 << 20);
    let _ = socket.set_send_buffer_size(4 << 20);
    // Bound to all addresses: each datagram tells which one it was sent to, and its reply comes from there.
    if address.ip().is_unspecified() {
        match address.is_ipv6() {
            true => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
            false => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
        }
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// The address of ours that a datagram was sent to, as the system tells it and takes it back.
#[derive(Clone, Copy)]
enum Own {
    /// The socket's.
    Bound,
    Four(in_pktinfo),
    Six(in6_pktinfo),
}

impl Own {
    fn of<S>(message: &RecvMsg<'_, '_, S>) -> Own {
        for one in message.cmsgs().into_iter().flatten() {
            match one {
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    // The address it was sent to becomes the one it is answered from; the way is the system's choice.
                    return Own::Four(in_pktinfo {
                        ipi_ifindex: 0,
                        ipi_spec_dst: info.ipi_addr,
                        ipi_addr: in_addr { s_addr: 0 },
                    });
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    let local = info.ipi6_addr.s6_addr[..2] == [0xFE, 0x80];
                    return Own::Six(in6_pktinfo {
                        ipi6_ifindex: if local { info.ipi6_ifindex } else { 0 },
                        ..info
                    });
                }
                _ => {}
            }
        }
        Own::Bound
    }

    /// Sends one datagram from this address.
    fn send(self, socket: &UdpSocket, octets: &[u8], to: &SockaddrStorage) {
        let slice = [IoSlice::new(octets)];
        let from: &[ControlMessage<'_>] = match &self {
            Own::Bound => &[],
            Own::Four(info) => &[ControlMessage::Ipv4PacketInfo(info)],
            Own::Six(info) => &[ControlMessage::Ipv6PacketInfo(info)],
        };
        // A datagram that cannot go (no route) is lost like one on the way.
        let _ = sendmsg(socket.as_raw_fd(), &slice, from, MsgFlags::empty(), Some(to));
    }
}

/// Serves a socket on this thread for ever.
pub fn serve(engine: &Engine, socket: &Arc<UdpSocket>, limiter: Limiter) -> ! {
    let mut desk = engine.desk(limiter);
    let mut datagrams: Vec<Vec<u8>> = (0..BATCH).map(|_| vec![0; DATAGRAM_OCTETS_MAX]).collect();
    let mut outs: Vec<Vec<u8>> = (0..BATCH).map(|_| Vec::with_capacity(DATAGRAM_OCTETS_MAX)).collect();
    let everywhere = socket.local_addr().is_ok_and(|address| address.ip().is_unspecified());
    let told = everywhere.then(|| nix::cmsg_space!(in6_pktinfo));
    let mut receive = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, told);
    let mut send = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
    let mut came: Vec<(usize, Option<SockaddrStorage>, Own)> = Vec::with_capacity(BATCH);
    let mut to: Vec<Option<SockaddrStorage>> = Vec::with_capacity(BATCH);
    let mut looked = LOOKS;
    loop {
        came.clear();
        {
            let mut slices: Vec<[IoSliceMut<'_>; 1]> =
                datagrams.iter_mut().map(|one| [IoSliceMut::new(one)]).collect();
            match recvmmsg(
                socket.as_raw_fd(),
                &mut receive,
                slices.iter_mut(),
                if looked < LOOKS { MsgFlags::MSG_DONTWAIT } else { MsgFlags::MSG_WAITFORONE },
                None,
            ) {
                Ok(all) => came.extend(all.map(|one| (one.bytes, one.address, Own::of(&one)))),
                Err(_) => {
                    looked += 1;
                    std::thread::yield_now();
                    continue;
                }
            }
            looked = if came.len() >= MANY { 0 } else { LOOKS };
        }
        engine.look_up(&mut desk, now_s());
        to.clear();
        for (datagram, (octets, from, own)) in datagrams.iter().zip(&came) {
            let Some(from) = from else { continue };
            let out = &mut outs[to.len()];
            match (one(engine, &mut desk, &datagram[..*octets], (from, *own), out, socket), own) {
                (true, Own::Bound) => to.push(Some(*from)),
                (true, own) => own.send(socket, out, from),
                (false, _) => {}
            }
        }
        let mut done = 0;
        while done < to.len() {
            let slices: Vec<[IoSlice<'_>; 1]> =
                outs[done..to.len()].iter().map(|one| [IoSlice::new(one)]).collect();
            let sent = sendmmsg(socket.as_raw_fd(), &mut send, &slices, &to[done..], [], MsgFlags::empty());
            // One datagram that cannot go (no route) must not hold back the rest.
            done += sent.map_or(1, |all| all.count().max(1));
        }
    }
}

/// Handles one datagram; whether there is a reply to send.
fn one(
    engine: &Engine,
    desk: &mut Desk,
    datagram: &[u8],
    (from, own): (&SockaddrStorage, Own),
    out: &mut Vec<u8>,
    socket: &Arc<UdpSocket>,
) -> bool {
    let Some(address) = address_of(from) else { return false };
    let asker = Asker { address: address.ip(), stream: false };
    match engine.handle(desk, datagram, asker, out) {
        Verdict::Reply => true,
        Verdict::Silence => false,
        Verdict::Errand => {
            let (socket, from) = (socket.clone(), *from);
            udp::errand(engine, datagram, asker, move |reply| own.send(&socket, &reply, &from));
            false
        }
    }
}

fn address_of(storage: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(four) = storage.as_sockaddr_in() {
        return Some(SocketAddr::new(four.ip().into(), four.port()));
    }
    storage.as_sockaddr_in6().map(|six| SocketAddr::new(six.ip().into(), six.port()))
}
