//! Names to addresses, for `getaddrinfo`: the configured servers are asked in order, over UDP.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

use super::query::{self, Kind, Reply};
use super::sockets::Udp;
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
            let id = crate::random::number() as u16;
            let question = query::question(id, name, kind).ok_or(Failure::NoSuchName)?;
            match ask_one(server, &question) {
                Some(Reply::Addresses(addresses)) => return Ok(addresses),
                Some(Reply::NoSuchName) => return Err(Failure::NoSuchName),
                Some(Reply::Failed) | None => {}
            }
        }
    }
    Err(Failure::NoAnswer)
}

fn ask_one(server: IpAddr, question: &[u8]) -> Option<Reply> {
    let socket = Rc::new(Udp::new(if server.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }));
    socket.connect(Address::new(server, 53)).ok()?;
    socket.write(question).ok()?;
    let deadline = Current::monotonic_ns() + PATIENCE_NS;
    loop {
        let mut answer = [0; query::ANSWER_BYTES_MAX];
        match socket.read(&mut answer) {
            Ok(length) => {
                if let Some(reply) = query::reply(question, &answer[..length]) {
                    return Some(reply);
                }
            }
            Err(Errno(libc::EAGAIN)) => {
                if socket.watchers().wait(Some(deadline)) == Woken::Timeout {
                    return None;
                }
            }
            Err(_) => return None,
        }
    }
}
