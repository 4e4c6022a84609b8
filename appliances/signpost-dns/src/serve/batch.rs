//! Datagrams on Linux: a thread for each core with a socket of its own, many datagrams a system call.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::libc::in6_pktinfo;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::now_s;
use super::outbox::{Outbox, Own, Way};
use crate::engine::{Asker, Desk, Engine, Verdict};
use crate::limits::DATAGRAM_OCTETS_MAX;
use crate::rrl::Limiter;

/// Datagrams taken by one system call.
const BATCH: usize = 64;
/// Datagrams at once that are many: after them a thread finds its queue empty only because the sender has not had the
/// processor: it gives way before it looks, and looks some times more, before it sleeps; to wake a sleeping thread costs a
/// sender more. So many come at once only where the processors have no rest.
const MANY: usize = 8;
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
        if looks > 0 {
            // More are on the way: what is taken with them costs less, and who waits for these can read them.
            std::thread::yield_now();
        }
    }
}

/// A datagram that came: its octets, and the way of its reply.
type Came = (usize, Option<Way>);

/// What a thread has for a batch.
struct Station<'s> {
    engine: &'s Engine,
    socket: &'s Arc<UdpSocket>,
    desk: Desk,
    datagrams: Vec<Vec<u8>>,
    receive: MultiHeaders<SockaddrStorage>,
    came: Vec<Came>,
    outbox: Outbox,
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
            receive: MultiHeaders::preallocate(BATCH, told),
            came: Vec::with_capacity(BATCH),
            outbox: Outbox::new(BATCH, DATAGRAM_OCTETS_MAX),
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
            self.came.extend(all.map(|one| {
                let asker = one.address.as_ref().and_then(address_of);
                (one.bytes, asker.map(|asker| Way { asker, own: Own::of(&one) }))
            }));
        }
        self.came.len()
    }

    /// Answers what can be answered at once, and notes the errands.
    fn answer(&mut self) {
        self.engine.look_up(&mut self.desk, now_s());
        self.errands.clear();
        for (at, (octets, way)) in self.came.iter().enumerate() {
            let Some(way) = *way else { continue };
            let datagram = &self.datagrams[at][..*octets];
            match self.engine.handle(&mut self.desk, datagram, asker(way), self.outbox.sheet()) {
                Verdict::Reply => self.outbox.post(way),
                Verdict::Silence => {}
                Verdict::Errand => self.errands.push(at),
            }
        }
        self.outbox.send(self.socket);
    }

    /// Begins the errands, after the questions that came with them.
    fn begin_errands(&mut self) {
        let Some(errands) = self.engine.errands() else { return };
        for at in self.errands.drain(..) {
            let (octets, Some(way)) = self.came[at] else { continue };
            let socket = self.socket.clone();
            let send = move |reply: Vec<u8>| way.send(&socket, &reply);
            errands.begin(&self.datagrams[at][..octets], asker(way), send);
        }
    }
}

fn asker(way: Way) -> Asker {
    Asker { address: way.asker.ip(), stream: false }
}

fn address_of(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let four = storage.as_sockaddr_in().map(|four| SocketAddr::new(four.ip().into(), four.port()));
    four.or_else(|| storage.as_sockaddr_in6().map(|six| SocketAddr::from(*six)))
}
