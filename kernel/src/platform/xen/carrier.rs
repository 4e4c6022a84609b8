//! The border's functions for Xen: each leads to the module that does it.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ptr::NonNull;

use super::abi::{call, schedule};
use super::xenstore::Ask;
use super::{clock, console, control, devices, entropy, event, hypercall, memory, tripwire, xenstore};
use crate::global::Global;
use crate::platform::{Disk, End, NetworkCard, Platform, Shutdown};

/// Where settings stand in xenstore, below our own home.
const SETTINGS: &str = "vm-data/nymote";
static KNOWN_SETTINGS: Global<Vec<String>> = Global::new(Vec::new());

/// `SEGBASE_FS` of `set_segment_base`.
const BASE_OF_FS: usize = 0;

/// A Xen PV domain.
#[derive(Debug)]
pub enum Xen {}

impl Platform for Xen {
    const NAME: &'static str = "xen";

    fn monotonic_ns() -> u64 {
        clock::monotonic_ns()
    }

    fn wall_clock_ns() -> u64 {
        clock::wall_clock_ns()
    }

    fn seed() -> Option<[u8; 32]> {
        entropy::seed()
    }

    fn console_write(bytes: &[u8]) {
        console::write(bytes);
    }

    fn console_read(into: &mut [u8]) -> usize {
        console::read(into)
    }

    fn wait(deadline_ns: Option<u64>) {
        let deadline = [deadline_ns, devices::absent_at()].into_iter().flatten().min();
        let mut plan = devices::before_sleep();
        while let Ok(look_at) = plan {
            event::wait([deadline, look_at].into_iter().flatten().min());
            let now = clock::monotonic_ns();
            plan = match deadline {
                Some(deadline) if deadline <= now => break,
                _ => devices::sleep_on(now),
            };
        }
    }

    fn dispatch() {
        if event::take() | xenstore::take_unseen() {
            devices::notice();
        }
        devices::remark_absent();
    }

    fn start_devices() {
        xenstore::start();
        let first = devices::first_card_paths();
        let asks = [Ask::List("device/vif"), Ask::List("device/vbd"), Ask::List(SETTINGS), control::START];
        let asks: Vec<Ask<'_>> = asks.into_iter().chain(first.iter().map(|path| Ask::Read(path))).collect();
        let answers = xenstore::ask(&asks);
        let numbers = |list| -> Vec<u64> {
            xenstore::names(list).iter().filter_map(|name| name.parse().ok()).collect()
        };
        KNOWN_SETTINGS.with(|known| *known = xenstore::names(&answers[2]));
        devices::start(numbers(&answers[0]), numbers(&answers[1]), &answers[4..]);
        control::started(&answers[3]);
    }

    fn cards() -> Vec<Box<dyn NetworkCard>> {
        devices::cards()
    }

    fn disks() -> Vec<Box<dyn Disk>> {
        devices::disks()
    }

    fn setting(key: &str) -> Option<String> {
        // Most machines have none: only what was there at the start is asked for.
        let known = KNOWN_SETTINGS.with(|known| known.iter().any(|name| name == key));
        known.then(|| xenstore::read(&format!("{SETTINGS}/{key}")).ok())?
    }

    fn shutdown_request() -> Option<Shutdown> {
        control::request()
    }

    fn guard(page: NonNull<u8>, guarded: bool) {
        memory::guard(page.as_ptr() as usize, guarded);
    }

    fn set_thread_pointer(address: usize) {
        // SAFETY: the base of FS is where the program's thread-local storage is; the caller hands over a valid one.
        let _ = unsafe { hypercall::hypercall(call::SET_SEGMENT_BASE, [BASE_OF_FS, address, 0, 0]) };
    }

    fn watch_stack(lowest: usize) {
        tripwire::watch(lowest);
    }

    fn end(reason: End) -> ! {
        console::drain();
        hypercall::shut_down(match reason {
            End::Exit(_) => schedule::REASON_POWEROFF,
            End::Reboot => schedule::REASON_REBOOT,
            End::Crashed => schedule::REASON_CRASH,
        })
    }
}
