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

use super::now_s;
use crate::engine::{Asker, Desk, Engine, Verdict};
use crate::limits::DATAGRAM_OCTETS_MAX;
use crate::rrl::Limiter;

/// Datagrams taken and sent by one system call.
const BATCH: usize = 64;
/// Datagrams at once that are many: after them a thread finds its queue empty only because the sender has not had the
/// processor, and looks some times more, giving way each time, before it sleeps; to wake a sleeping thread costs a sender
/// more. So many come at once only where the processors have no rest.
const MANY: usize = 16;
/// How often it looks.
const LOOKS: u32 = 20;
/// Slices of the processor that a thread asks for, in nanoseconds. Linux takes `sched_yield` for a whole slice used (since
/// 6.18), and lets the thread wait that much longer when it is woken next; and who asks for short ones goes before a sender
/// that runs long ones.
const SLICE_NS: u64 = 500_000;

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
    // Where Linux knows no slices it answers a little later.
    let _ = kernel::process::ask_for_slices_of(SLICE_NS);
    let mut station = Station::new(engine, socket, limiter);
    let mut looks = 0_u32;
    loop {
        let waits = if looks > 0 { MsgFlags::MSG_DONTWAIT } else { MsgFlags::MSG_WAITFORONE };
        let came = station.take(waits);
        if came == 0 {
            looks = looks.saturating_sub(1);
            std::thread::yield_now();
            continue;
        }
        looks = if came >= MANY { LOOKS } else { 0 };
        station.answer();
        station.begin_errands();
    }
}

/// A datagram that came: its octets, from where, to which address of ours.
type Came = (usize, Option<SockaddrStorage>, Own);

/// What a thread has for a batch.
struct Station<'s> {
    engine: &'s Engine,
    socket: &'s Arc<UdpSocket>,
    desk: Desk,
    datagrams: Vec<Vec<u8>>,
    outs: Vec<Vec<u8>>,
    receive: MultiHeaders<SockaddrStorage>,
    send: MultiHeaders<SockaddrStorage>,
    came: Vec<Came>,
    to: Vec<Option<SockaddrStorage>>,
    /// Which of those that came are errands.
    errands: Vec<usize>,
}

impl<'s> Station<'s> {
    fn new(engine: &'s Engine, socket: &'s Arc<UdpSocket>, limiter: Limiter) -> Station<'s> {
        let everywhere = socket.local_addr().is_ok_and(|address| address.ip().is_unspecified());
        let told = everywhere.then(|| nix::cmsg_space!(in6_pktinfo));
        Station {
            engine,
            socket,
            desk: engine.desk(limiter),
            datagrams: (0..BATCH).map(|_| vec![0; DATAGRAM_OCTETS_MAX]).collect(),
            outs: (0..BATCH).map(|_| Vec::with_capacity(DATAGRAM_OCTETS_MAX)).collect(),
            receive: MultiHeaders::preallocate(BATCH, told),
            send: MultiHeaders::preallocate(BATCH, None),
            came: Vec::with_capacity(BATCH),
            to: Vec::with_capacity(BATCH),
            errands: Vec::new(),
        }
    }

    /// Takes a batch; how many came.
    fn take(&mut self, waits: MsgFlags) -> usize {
        self.came.clear();
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            self.datagrams.iter_mut().map(|one| [IoSliceMut::new(one)]).collect();
        let taken = recvmmsg(self.socket.as_raw_fd(), &mut self.receive, slices.iter_mut(), waits, None);
        if let Ok(all) = taken {
            self.came.extend(all.map(|one| (one.bytes, one.address, Own::of(&one))));
        }
        self.came.len()
    }

    /// Answers what can be answered at once, and notes the errands.
    fn answer(&mut self) {
        self.engine.look_up(&mut self.desk, now_s());
        self.to.clear();
        self.errands.clear();
        for (at, (octets, from, own)) in self.came.iter().enumerate() {
            let Some(address) = from.as_ref().and_then(address_of) else { continue };
            let (out, asker) = (&mut self.outs[self.to.len()], asker(address));
            match (self.engine.handle(&mut self.desk, &self.datagrams[at][..*octets], asker, out), own) {
                (Verdict::Reply, Own::Bound) => self.to.push(*from),
                (Verdict::Reply, own) => from.iter().for_each(|from| own.send(self.socket, out, from)),
                (Verdict::Silence, _) => {}
                (Verdict::Errand, _) => self.errands.push(at),
            }
        }
        let mut done = 0;
        while done < self.to.len() {
            let outs = &self.outs[done..self.to.len()];
            done += send(self.socket, &mut self.send, outs, &self.to[done..]);
        }
    }

    /// Begins the errands, after the questions that came with them.
    fn begin_errands(&mut self) {
        let Some(errands) = self.engine.errands() else { return };
        for at in self.errands.drain(..) {
            let (octets, Some(from), own) = self.came[at] else { continue };
            let Some(address) = address_of(&from) else { continue };
            let socket = self.socket.clone();
            let send = move |reply: Vec<u8>| own.send(&socket, &reply, &from);
            errands.begin(&self.datagrams[at][..octets], asker(address), send);
        }
    }
}

/// Sends replies by one system call; how many are done with. One that cannot go (no route) must not hold back the rest.
fn send(
    socket: &UdpSocket,
    headers: &mut MultiHeaders<SockaddrStorage>,
    outs: &[Vec<u8>],
    to: &[Option<SockaddrStorage>],
) -> usize {
    let slices: Vec<[IoSlice<'_>; 1]> = outs.iter().map(|one| [IoSlice::new(one)]).collect();
    let sent = sendmmsg(socket.as_raw_fd(), headers, &slices, to, [], MsgFlags::empty());
    sent.map_or(1, |all| all.count().max(1))
}

fn asker(address: SocketAddr) -> Asker {
    Asker { address: address.ip(), stream: false }
}

fn address_of(storage: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(four) = storage.as_sockaddr_in() {
        return Some(SocketAddr::new(four.ip().into(), four.port()));
    }
    storage.as_sockaddr_in6().map(|six| SocketAddr::new(six.ip().into(), six.port()))
}
