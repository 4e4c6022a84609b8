//! Boots an ordinary Rust program on Xen PV, drives its devices and is its C library.
//!
//! An appliance's `main.rs` names this crate under the feature `hosted` or `xen`. The crate then exports the C symbols
//! that std, tokio and their friends import, and whatever carries us (a Xen PV domain, or a Linux process reached by raw
//! system calls) enters the program through its C `main`. Without either feature this is an ordinary library that
//! exports nothing; its neutral parts are tested that way, and [`process`] is for appliances that are Linux processes.
//!
//! The map is docs/kernel.md; the border between neutral part and carrier is [`platform`].

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(any(test, feature = "hosted", feature = "xen"))]
pub mod environment;
pub mod errno;
pub mod heap;
pub mod net;
pub mod platform;
pub mod process;
pub mod random;
pub mod settings;
pub mod streams;
#[cfg(test)]
mod streams_tests;
pub mod unwinding;

/// Everything that needs a carrier.
macro_rules! machine {
    ($($(#[$meta:meta])* $name:ident),* $(,)?) => {
        $($(#[$meta])* #[cfg(any(feature = "hosted", feature = "xen"))] pub mod $name;)*
    };
}

machine! { c, copy, crash, fd, global, image, machine, signal, start, thread }
