//! The carrier `hosted`: a static Linux process that makes raw system calls, with a TAP or veth device and disk files.
//!
//! It takes its hardware from the process's environment:
//!
//! | variable | meaning |
//! |---|---|
//! | `NYMOTE_MEMORY` | the machine's memory in MiB, or in KiB with a K behind the number; 64 MiB without it |
//! | `NYMOTE_CARDS` | cards with commas: `tap:NAME` opens a TAP device, `packet:NAME` a packet socket on an interface; `@MAC` after either sets the card's address |
//! | `NYMOTE_DISKS` | disk files or block devices with commas, `xvda` first; `:ro` after one makes it read-only |
//! | `NYMOTE_OFFLOAD` | `off` leaves checksums and segmentation to us |
//! | `NYMOTE_LOSS` | percent of frames that the cards lose in each direction, for tests |
//! | `NYMOTE_SETTING_name` | a setting, see [`crate::settings`] |
//!
//! The process's arguments are the machine's command line. No libc is linked: `start` is the process's first
//! instruction, and `linux` makes the system calls.

mod card;
mod disk;
mod linux;
mod start;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::ptr::NonNull;

use super::{Disk, End, NetworkCard, PAGE_BYTES, Platform, Shutdown};
use crate::crash::Console;
use crate::global::Global;
use linux::{PollFd, Timespec, call};

/// The carrier.
pub struct Hosted;

/// What the process's start found out, and the descriptors that are waited for.
struct Process {
    words: start::Words,
    fast_thread_pointer: bool,
    signals: i32,
    console_open: bool,
    cards: Vec<i32>,
}

static PROCESS: Global<Process> = Global::new(Process {
    words: start::Words::none(),
    fast_thread_pointer: false,
    signals: -1,
    console_open: true,
    cards: Vec::new(),
});

const NS: u64 = 1_000_000_000;

fn clock_ns(clock: usize) -> u64 {
    let mut time = Timespec::default();
    // SAFETY: the structure outlives the call.
    unsafe { call(linux::CLOCK_GETTIME, [clock, &raw mut time as usize, 0, 0, 0, 0]) };
    time.seconds as u64 * NS + time.nanoseconds as u64
}

fn environment(name: &str) -> Option<String> {
    PROCESS
        .with(|process| process.words.variable(name).map(|value| String::from_utf8_lossy(value).into_owned()))
}

impl Platform for Hosted {
    const NAME: &'static str = "hosted";

    fn monotonic_ns() -> u64 {
        clock_ns(linux::CLOCK_MONOTONIC)
    }

    fn wall_clock_ns() -> u64 {
        clock_ns(linux::CLOCK_REALTIME)
    }

    fn seed() -> Option<[u8; 32]> {
        let mut seed = [0; 32];
        // SAFETY: the buffer is as long as said.
        let got = unsafe { call(linux::GETRANDOM, [&raw mut seed as usize, seed.len(), 0, 0, 0, 0]) };
        (got == seed.len() as isize).then_some(seed)
    }

    fn console_write(bytes: &[u8]) {
        let mut left = bytes;
        while !left.is_empty() {
            // SAFETY: the buffer is as long as said.
            match unsafe { call(linux::WRITE, [1, left.as_ptr() as usize, left.len(), 0, 0, 0]) } {
                count @ 1.. => left = &left[(count as usize).min(left.len())..],
                linux::EAGAIN => {
                    let mut poll = [PollFd { fd: 1, events: linux::POLLOUT, revents: 0 }];
                    let second = Timespec { seconds: 1, nanoseconds: 0 };
                    if linux::poll(&mut poll, Some(second)) <= 0 {
                        return;
                    }
                }
                linux::EINTR => {}
                _ => return,
            }
        }
    }

    fn console_read(into: &mut [u8]) -> usize {
        if into.is_empty() || !PROCESS.with(|process| process.console_open) {
            return 0;
        }
        let mut poll = [PollFd { fd: 0, events: linux::POLLIN, revents: 0 }];
        if linux::poll(&mut poll, Some(Timespec::default())) <= 0 {
            return 0;
        }
        // SAFETY: the buffer is as long as said.
        let count = unsafe { call(linux::READ, [0, into.as_mut_ptr() as usize, into.len(), 0, 0, 0]) };
        if count <= 0 {
            PROCESS.with(|process| process.console_open = false);
        }
        count.max(0) as usize
    }

    fn wait(deadline_ns: Option<u64>) {
        let mut polled = [const { PollFd { fd: -1, events: linux::POLLIN, revents: 0 } }; 10];
        PROCESS.with(|process| {
            polled[0].fd = if process.console_open { 0 } else { -1 };
            polled[1].fd = process.signals;
            for (slot, card) in polled[2..].iter_mut().zip(&process.cards) {
                slot.fd = *card;
            }
        });
        let timeout = deadline_ns.map(|deadline| {
            let left = deadline.saturating_sub(Self::monotonic_ns());
            Timespec { seconds: (left / NS) as i64, nanoseconds: (left % NS) as i64 }
        });
        linux::poll(&mut polled, timeout);
    }

    fn dispatch() {}

    fn start_devices() {
        PROCESS.with(|process| process.signals = start::signal_descriptor());
    }

    fn cards() -> Vec<Box<dyn NetworkCard>> {
        let offload = environment("NYMOTE_OFFLOAD").as_deref() != Some("off");
        let loss = environment("NYMOTE_LOSS").and_then(|percent| percent.parse().ok()).unwrap_or(0);
        let wanted = environment("NYMOTE_CARDS").unwrap_or_default();
        let mut cards: Vec<Box<dyn NetworkCard>> = Vec::new();
        for word in wanted.split(',').filter(|word| !word.is_empty()) {
            match card::Card::open(word, offload, loss) {
                Ok(card) => {
                    PROCESS.with(|process| process.cards.push(card.descriptor()));
                    cards.push(Box::new(card));
                }
                Err(why) => drop(writeln!(Console, "kernel: no card {word}: {why}")),
            }
        }
        cards
    }

    fn disks() -> Vec<Box<dyn Disk>> {
        let wanted = environment("NYMOTE_DISKS").unwrap_or_default();
        let mut disks: Vec<Box<dyn Disk>> = Vec::new();
        for (word, letter) in wanted.split(',').filter(|word| !word.is_empty()).zip('a'..='z') {
            match disk::FileDisk::open(word, format!("xvd{letter}")) {
                Ok(disk) => disks.push(Box::new(disk)),
                Err(why) => drop(writeln!(Console, "kernel: no disk {word}: {why}")),
            }
        }
        disks
    }

    fn setting(key: &str) -> Option<String> {
        environment(&format!("NYMOTE_SETTING_{key}"))
    }

    fn shutdown_request() -> Option<Shutdown> {
        let descriptor = PROCESS.with(|process| process.signals);
        start::next_signal(descriptor).map(|_| Shutdown::PowerOff)
    }

    fn guard(page: NonNull<u8>, guarded: bool) {
        let protection = if guarded { 0 } else { linux::PROT_READ | linux::PROT_WRITE };
        // SAFETY: the page lies in the heap's mapping, and its owner gives its content up.
        unsafe { call(linux::MPROTECT, [page.as_ptr() as usize, PAGE_BYTES, protection, 0, 0, 0]) };
    }

    fn set_thread_pointer(address: usize) {
        if PROCESS.with(|process| process.fast_thread_pointer) {
            // SAFETY: Linux said at start that programs may use this instruction; the kernel owns the FS base.
            unsafe {
                core::arch::asm!("wrfsbase {}", in(reg) address, options(nostack, nomem, preserves_flags))
            };
        } else {
            // SAFETY: arch_prctl sets a register.
            unsafe { call(linux::ARCH_PRCTL, [linux::ARCH_SET_FS, address, 0, 0, 0, 0]) };
        }
    }

    fn end(reason: End) -> ! {
        match reason {
            End::Exit(code) => linux::exit(code),
            End::Reboot => start::again(),
            End::Crashed => {
                start::abort();
                linux::exit(134)
            }
        }
    }
}
