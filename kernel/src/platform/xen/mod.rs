//! The carrier `xen`: a Xen PV domain. docs/kernel-xen.md has the memory map and the order of boot.
//!
//! The upper half is protocol as pure code: it sees shared pages through [`shared::Shared`], believes nothing it reads
//! there, and is tested, fuzzed and run under Miri on Linux. The lower half, there with the feature `xen` alone, is what
//! touches the hypervisor.

pub mod blkif;
pub mod fault;
pub mod handshake;
pub mod moderation;
pub mod netif;
pub mod packet;
pub mod ring;
pub mod shared;
pub mod xenstore_wire;

#[cfg(feature = "xen")]
mod abi;
#[cfg(feature = "xen")]
mod blkfront;
#[cfg(feature = "xen")]
mod carrier;
#[cfg(feature = "xen")]
mod clock;
#[cfg(feature = "xen")]
mod console;
#[cfg(feature = "xen")]
mod control;
#[cfg(feature = "xen")]
mod devices;
#[cfg(feature = "xen")]
mod entropy;
#[cfg(feature = "xen")]
mod entry;
#[cfg(feature = "xen")]
mod event;
#[cfg(feature = "xen")]
mod grant;
#[cfg(feature = "xen")]
mod hypercall;
#[cfg(feature = "xen")]
mod memory;
#[cfg(feature = "xen")]
mod netfront;
#[cfg(feature = "xen")]
mod restore;
#[cfg(feature = "xen")]
mod start_info;
#[cfg(feature = "xen")]
mod timer;
#[cfg(feature = "xen")]
mod trap;
#[cfg(feature = "xen")]
mod tripwire;
#[cfg(feature = "xen")]
mod xenbus;
#[cfg(feature = "xen")]
mod xenstore;

#[cfg(feature = "xen")]
pub use carrier::Xen;

/// One line on the console about a device or the host.
#[cfg(feature = "xen")]
fn log(what: core::fmt::Arguments<'_>) {
    use core::fmt::Write;
    let _ = writeln!(crate::crash::Console, "kernel: {what}");
}
