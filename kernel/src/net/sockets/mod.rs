//! The program's TCP and UDP sockets, and what both remember.

mod datagrams;
mod streams;

pub use datagrams::Udp;
pub use streams::Tcp;

use alloc::rc::Rc;
use core::cell::Cell;
use core::ffi::c_int;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::stack::Network;
use super::{Address, look};
use crate::errno::Errno;
use crate::fd::Watchers;

/// What every socket remembers.
struct Settings {
    family: c_int,
    v6_only: Cell<bool>,
    reuse: Cell<bool>,
    broadcast: Cell<bool>,
    timeouts_ns: [Cell<u64>; 2],
    /// IP_TTL or IPV6_UNICAST_HOPS, if it was set.
    hop_limit: Cell<Option<u8>>,
    multicast_hops: Cell<u8>,
    multicast_loops: Cell<bool>,
    watchers: Rc<Watchers>,
}

/// How far packets go unless a program says otherwise.
const HOP_LIMIT: u8 = 64;

impl Settings {
    fn new(family: c_int) -> Self {
        Settings {
            family,
            v6_only: Cell::new(false),
            reuse: Cell::new(false),
            broadcast: Cell::new(false),
            timeouts_ns: [Cell::new(0), Cell::new(0)],
            hop_limit: Cell::new(None),
            multicast_hops: Cell::new(1),
            multicast_loops: Cell::new(true),
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

    /// An address to send to or to connect to. As on Linux the unspecified one means this machine.
    fn destination(&self, address: Address) -> Result<Address, Errno> {
        let address = self.inward(address)?;
        let ip = match address.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
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
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) => {
                let hops = hops(value)?;
                if hops == Some(0) {
                    return Err(Errno(libc::EINVAL));
                }
                self.hop_limit.set(hops);
            }
            (libc::IPPROTO_IP, libc::IP_MULTICAST_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS) => {
                self.multicast_hops.set(hops(value)?.unwrap_or(1));
            }
            (libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP) | (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP) => {
                self.multicast_loops.set(value != 0);
            }
            (libc::IPPROTO_IP, libc::IP_TOS | libc::IP_MTU_DISCOVER | libc::IP_RECVERR) => {}
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS | libc::IPV6_MTU_DISCOVER) => {}
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
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) => {
                self.hop_limit.get().unwrap_or(HOP_LIMIT).into()
            }
            (libc::IPPROTO_IP, libc::IP_MULTICAST_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS) => {
                self.multicast_hops.get().into()
            }
            (libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP) | (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP) => {
                self.multicast_loops.get().into()
            }
            _ => return Err(Errno(libc::ENOPROTOOPT)),
        })
    }
}

/// A number of hops as a program gives it; -1 means the usual one.
fn hops(value: c_int) -> Result<Option<u8>, Errno> {
    match value {
        -1 => Ok(None),
        value => u8::try_from(value).map(Some).map_err(|_| Errno(libc::EINVAL)),
    }
}
