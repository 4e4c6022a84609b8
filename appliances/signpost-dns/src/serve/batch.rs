//! Datagrams on Linux: a thread for each core with a socket of its own, many datagrams a system call.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};
use socket2::{Domain, Protocol, Socket, Type};

use super::{now_s, udp};
use crate::engine::{Asker, Desk, Engine, Verdict};
use crate::limits::DATAGRAM_OCTETS_MAX;
use crate::rrl::Limiter;

/// Datagrams taken and sent by one system call.
const BATCH: usize = 64;

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
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Serves a socket on this thread for ever. Must be called within a tokio runtime's context.
pub fn serve(engine: &Engine, socket: &Arc<UdpSocket>, limiter: Limiter) -> ! {
    let mut desk = engine.desk(limiter);
    let mut datagrams: Vec<Vec<u8>> = (0..BATCH).map(|_| vec![0; DATAGRAM_OCTETS_MAX]).collect();
    let mut outs: Vec<Vec<u8>> = (0..BATCH).map(|_| Vec::with_capacity(DATAGRAM_OCTETS_MAX)).collect();
    let mut receive = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
    let mut send = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
    let mut came: Vec<(usize, Option<SockaddrStorage>)> = Vec::with_capacity(BATCH);
    let mut to: Vec<Option<SockaddrStorage>> = Vec::with_capacity(BATCH);
    loop {
        came.clear();
        {
            let mut slices: Vec<[IoSliceMut<'_>; 1]> =
                datagrams.iter_mut().map(|one| [IoSliceMut::new(one)]).collect();
            match recvmmsg(
                socket.as_raw_fd(),
                &mut receive,
                slices.iter_mut(),
                MsgFlags::MSG_WAITFORONE,
                None,
            ) {
                Ok(all) => came.extend(all.map(|one| (one.bytes, one.address))),
                Err(_) => continue,
            }
        }
        engine.look_up(&mut desk, now_s());
        to.clear();
        for (datagram, (octets, from)) in datagrams.iter().zip(&came) {
            let Some(address) = from.as_ref().and_then(address_of) else { continue };
            if one(engine, &mut desk, &datagram[..*octets], address, &mut outs[to.len()], socket) {
                to.push(*from);
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
    from: SocketAddr,
    out: &mut Vec<u8>,
    socket: &Arc<UdpSocket>,
) -> bool {
    let asker = Asker { address: from.ip(), stream: false };
    match engine.handle(desk, datagram, asker, out) {
        Verdict::Reply => true,
        Verdict::Silence => false,
        Verdict::Errand => {
            let socket = socket.clone();
            udp::errand(engine, datagram, asker, move |reply| {
                let _ = socket.send_to(&reply, from);
            });
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
