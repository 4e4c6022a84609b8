//! Sockets over smoltcp (docs/decisions/0102).
//!
//! `stack` and its siblings are a network without a machine: they are given frames and the time, and are tested so.
//! This file and `sockets` join it to the machine: the clock, the threads that wait, the descriptors.

mod acknowledge;
mod buffer;
mod checksum;
pub mod configure;
mod duplicate;
mod frame;
mod groups;
mod options;
pub mod query;
mod segment;
mod silence;
mod solicit;
pub mod stack;
mod tcp;
mod udp;
mod wire;

#[cfg(any(feature = "hosted", feature = "xen"))]
mod machine;
#[cfg(any(feature = "hosted", feature = "xen"))]
pub mod resolve;
#[cfg(any(feature = "hosted", feature = "xen"))]
pub mod sockets;
#[cfg(test)]
mod tests;

pub use options::Options;

/// An address and a port.
pub type Address = core::net::SocketAddr;

#[cfg(any(feature = "hosted", feature = "xen"))]
pub use machine::{
    Socket, look, nameservers, next_deadline_ns, start, stop, turn, wait_for_addresses, watch, with,
};
