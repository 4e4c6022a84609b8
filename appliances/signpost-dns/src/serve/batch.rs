//! Datagrams on Linux: a thread for each core, a socket for some of them, many datagrams a system call.

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
/// Threads that share a socket: whichever rests takes what comes, and no question waits for a thread whose core is busy while
/// another is free. More of them would wait for each other at the socket's lock.
pub const SHARERS: usize = 4;
/// Slices of the processor that a thread asks for, in nanoseconds. Linux takes `sched_yield` for a whole slice used (since
/// 6.18), and lets the thread wait that much longer when it is woken next; and who asks for short ones goes before a sender
/// that runs long ones.
const SLICE_NS: u64 = 500_000;

/// Opens a socket that shares its address with the others (SO_REUSEPORT).
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
    let mut pace = Pace::default();
    loop {
        let came =
            station.take(if pace.looks > 0 { MsgFlags::MSG_DONTWAIT } else { MsgFlags::MSG_WAITFORONE });
        if came > 0 {
            station.answer();
            station.begin_errands();
        }
        pace.took(came);
        if pace.looks > 0 {
            // More are on the way: what is taken with them costs less, and who waits for these can read them.
            std::thread::yield_now();
        }
    }
}

/// Whether a thread sleeps when it has answered, or gives way and looks again. Where the processors have no rest it finds
/// its queue empty only because the sender has not had one, and to wake a sleeping thread costs a sender more than to find
/// it awake; where they have, looking takes from who waits for the answers.
#[derive(Default)]
struct Pace {
    /// How many datagrams came at once of late, in parts of [`Pace::ONE`]: a mean over some 256 batches, in which one large
    /// batch counts little, since any pause of a processor makes one.
    mean: usize,
    /// How often it looks before it sleeps.
    looks: u32,
}

impl Pace {
    const ONE: usize = 1 << 16;
    /// Datagrams at once that are many.
    const MANY: usize = 8;
    /// More than this at once in the mean, and the processors have no rest: 1.6 come at half of what they can answer, 3 to 5
    /// where they can no more and the threads sleep each time.
    const BUSY: usize = 5 * Pace::ONE / 2;
    /// How often a thread looks, after many.
    const LOOKS: u32 = 20;

    /// A batch was taken, or nothing was found.
    fn took(&mut self, came: usize) {
        if came == 0 {
            self.looks = self.looks.saturating_sub(1);
            return;
        }
        self.mean = self.mean - self.mean / 256 + came.min(2 * Pace::MANY) * Pace::ONE / 256;
        self.looks = if came >= Pace::MANY && self.mean > Pace::BUSY { Pace::LOOKS } else { 0 };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_many_come_again_and_again_a_thread_looks() {
        let mut pace = Pace::default();
        for _ in 0..10 {
            // A pause of the processor, and the rest of the second.
            pace.took(BATCH);
            assert_eq!(pace.looks, 0);
            (0..200).for_each(|one| pace.took(1 + one % 2));
        }
        (0..2000).for_each(|one| pace.took(2 + one % 9));
        pace.took(Pace::MANY);
        assert_eq!(pace.looks, Pace::LOOKS);
        (0..Pace::LOOKS).for_each(|_| pace.took(0));
        assert_eq!(pace.looks, 0, "it sleeps where nothing comes");
        (0..2000).for_each(|_| pace.took(1));
        pace.took(BATCH);
        assert_eq!(pace.looks, 0, "a rush that is over leaves nothing behind");
    }
}
