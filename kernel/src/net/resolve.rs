//! Names to addresses, for `getaddrinfo`: the configured servers are asked in order, over UDP with EDNS, over TCP when an
//! answer was cut.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

use super::query::{self, Kind, Reply};
use super::sockets::{Tcp, Udp};
use super::{Address, Socket, nameservers};
use crate::errno::Errno;
use crate::fd::File;
use crate::platform::{Current, Platform};
use crate::thread::Woken;

/// Why a name has no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// A server said so, or it is not a name.
    NoSuchName,
    /// No server answered in time, or none is configured.
    NoAnswer,
}

/// What `localhost` means (RFC 6761 6.3).
pub const LOCALHOST: [IpAddr; 2] =
    [IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(core::net::Ipv4Addr::LOCALHOST)];

/// Where name servers listen.
const PORT: u16 = 53;
/// How long a server may take.
const PATIENCE_NS: u64 = 2_000_000_000;
/// How often the list of servers is gone through.
const ROUNDS: usize = 2;

/// The addresses of a name, of the wanted kinds.
pub fn addresses_of(name: &str, v4: bool, v6: bool) -> Result<Vec<IpAddr>, Failure> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(Vec::from([address]));
    }
    let bare = name.strip_suffix('.').unwrap_or(name);
    let ours = crate::machine::setting("hostname");
    if bare.eq_ignore_ascii_case("localhost")
        || bare.to_ascii_lowercase().ends_with(".localhost")
        || ours.is_some_and(|ours| ours == bare)
    {
        return Ok(LOCALHOST.to_vec());
    }
    let mut found = Vec::new();
    let mut failure = None;
    for kind in
        [(v6, Kind::Aaaa), (v4, Kind::A)].into_iter().filter_map(|(wanted, kind)| wanted.then_some(kind))
    {
        match ask(bare, kind) {
            Ok(addresses) => found.extend(addresses),
            Err(why) => failure = Some(why),
        }
    }
    match failure {
        Some(why) if found.is_empty() => Err(why),
        _ if found.is_empty() => Err(Failure::NoSuchName),
        _ => Ok(found),
    }
}

fn ask(name: &str, kind: Kind) -> Result<Vec<IpAddr>, Failure> {
    let servers = nameservers();
    for _ in 0..ROUNDS {
        for &server in &servers {
            // A fresh port and a fresh number for each question: hard to guess for who would forge an answer.
            match ask_server(server, name, kind)? {
                Some(Reply::Addresses(addresses)) => return Ok(addresses),
                Some(Reply::NoSuchName) => return Err(Failure::NoSuchName),
                _ => {}
            }
        }
    }
    Err(Failure::NoAnswer)
}

/// Asks one server as it understands; `None` when it does not answer in time.
fn ask_server(server: IpAddr, name: &str, kind: Kind) -> Result<Option<Reply>, Failure> {
    let question =
        |edns| query::question(crate::random::number() as u16, name, kind, edns).ok_or(Failure::NoSuchName);
    let asked = question(true)?;
    let mut reply = over_udp(server, &asked);
    if reply == Some(Reply::NotUnderstood) {
        let plain = question(false)?;
        reply = over_udp(server, &plain);
    }
    Ok(if reply == Some(Reply::Cut) { over_tcp(server, &asked) } else { reply })
}

fn family(server: IpAddr) -> libc::c_int {
    if server.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }
}

/// Does `work` again and again while it says EAGAIN, until the deadline.
fn wait_for<T>(socket: &dyn File, deadline_ns: u64, mut work: impl FnMut() -> Result<T, Errno>) -> Option<T> {
    loop {
        match work() {
            Ok(done) => return Some(done),
            Err(Errno(libc::EAGAIN)) if socket.watchers().wait(Some(deadline_ns)) != Woken::Timeout => {}
            Err(_) => return None,
        }
    }
}

fn over_udp(server: IpAddr, question: &[u8]) -> Option<Reply> {
    let socket = Rc::new(Udp::new(family(server)));
    socket.connect(Address::new(server, PORT)).ok()?;
    socket.write(question).ok()?;
    let deadline = Current::monotonic_ns() + PATIENCE_NS;
    loop {
        let mut answer = [0; query::DATAGRAM_BYTES_MAX];
        let length = wait_for(&*socket, deadline, || socket.read(&mut answer))?;
        if let Some(reply) = query::reply(question, &answer[..length.min(query::DATAGRAM_BYTES_MAX)]) {
            return Some(reply);
        }
    }
}

/// The same question on a stream, with its length before it (RFC 7766).
fn over_tcp(server: IpAddr, question: &[u8]) -> Option<Reply> {
    let socket = Rc::new(Tcp::new(family(server)));
    let deadline = Current::monotonic_ns() + PATIENCE_NS;
    match socket.connect(Address::new(server, PORT)) {
        Ok(()) | Err(Errno(libc::EAGAIN)) => wait_for(&*socket, deadline, || socket.connected())?,
        Err(_) => return None,
    }
    let mut message = Vec::from((question.len() as u16).to_be_bytes());
    message.extend_from_slice(question);
    let mut sent = 0;
    while sent < message.len() {
        sent += wait_for(&*socket, deadline, || socket.write(&message[sent..]))?;
    }
    let mut answer = Vec::new();
    loop {
        if let Some((head, rest)) = answer.split_first_chunk::<2>()
            && let Some(whole) = rest.get(..usize::from(u16::from_be_bytes(*head)))
        {
            return query::reply(question, whole);
        }
        let mut part = [0; 1024];
        match wait_for(&*socket, deadline, || socket.read(&mut part))? {
            0 => return None,
            length => answer.extend_from_slice(&part[..length]),
        }
        if answer.len() > query::STREAM_BYTES_MAX {
            return None;
        }
    }
}
