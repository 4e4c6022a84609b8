//! All cards and disks of the machine: found at boot, told when xenstore says that their backend changed.

use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;

use super::blkfront::{Blkfront, BlockDisk};
use super::handshake::Phase;
use super::netfront::{NetCard, Netfront};
use super::{clock, control, event, log, xenstore};
use crate::global::Global;
use crate::platform::{Disk, NetworkCard};

/// How long backends have to connect at boot.
const CONNECT_NS: u64 = 10_000_000_000;
/// Devices of a kind; the guest's event channels are counted for this.
const DEVICES_MAX: usize = 8;

#[derive(Default)]
struct Devices {
    cards: Vec<Rc<RefCell<Netfront>>>,
    disks: Vec<Rc<RefCell<Blkfront>>>,
}

static DEVICES: Global<Option<Devices>> = Global::new(None);

/// Finds the devices, and waits until all are connected or it took too long.
pub fn start() {
    let cards = found("device/vif").into_iter().enumerate();
    let cards =
        cards.filter_map(|(index, node)| Netfront::open(node, format!("vif{index}"), index)).collect();
    let disks = found("device/vbd").into_iter().enumerate();
    let disks = disks.filter_map(|(index, node)| Blkfront::open(node, format!("vbd{index}"))).collect();
    DEVICES.with(|devices| *devices = Some(wrapped(cards, disks)));
    let end = clock::monotonic_ns() + CONNECT_NS;
    while !all_settled() && clock::monotonic_ns() < end {
        notice();
        if all_settled() {
            break;
        }
        event::wait(Some(end));
        event::take();
    }
    with_all(|card| card.borrow().name_if_absent(), |disk| disk.borrow().name_if_absent());
}

/// Looks at what xenstore has to say.
pub fn notice() {
    while let Some(event) = xenstore::next_event() {
        if event.token == control::TOKEN {
            control::notice();
            continue;
        }
        with_all(
            |card| {
                if card.borrow().token() == event.token {
                    card.borrow_mut().backend_changed();
                }
            },
            |disk| {
                if disk.borrow().token() == event.token {
                    disk.borrow_mut().backend_changed();
                }
            },
        );
    }
}

/// The network cards, by number.
pub fn cards() -> Vec<Box<dyn NetworkCard>> {
    let cards = DEVICES.with(|devices| devices.as_ref().map(|all| all.cards.clone()).unwrap_or_default());
    cards.into_iter().map(|card| Box::new(NetCard(card)) as Box<dyn NetworkCard>).collect()
}

/// The disks that are connected, by number.
pub fn disks() -> Vec<Box<dyn Disk>> {
    let disks = DEVICES.with(|devices| devices.as_ref().map(|all| all.disks.clone()).unwrap_or_default());
    let there = disks.into_iter().filter(|disk| disk.borrow().phase() == Phase::Connected);
    there.map(|disk| Box::new(BlockDisk::new(disk)) as Box<dyn Disk>).collect()
}

fn wrapped(cards: Vec<Netfront>, disks: Vec<Blkfront>) -> Devices {
    let cards = cards.into_iter().map(|card| Rc::new(RefCell::new(card))).collect();
    let disks = disks.into_iter().map(|disk| Rc::new(RefCell::new(disk))).collect();
    Devices { cards, disks }
}

/// The nodes of devices of a kind, by number.
fn found(kind: &str) -> Vec<String> {
    let mut numbers: Vec<u64> = match xenstore::list(kind) {
        Ok(names) => names.iter().filter_map(|name| name.parse().ok()).collect(),
        Err(_) => Vec::new(),
    };
    numbers.sort_unstable();
    if numbers.len() > DEVICES_MAX {
        log(format_args!("{kind}: {} devices, only the first {DEVICES_MAX} are used", numbers.len()));
        numbers.truncate(DEVICES_MAX);
    }
    numbers.into_iter().map(|number| format!("{kind}/{number}")).collect()
}

fn all_settled() -> bool {
    let mut settled = true;
    with_all(|card| settled &= matches!(card.borrow().phase(), Phase::Connected | Phase::Off), |_| ());
    let mut disks = true;
    with_all(|_| (), |disk| disks &= matches!(disk.borrow().phase(), Phase::Connected | Phase::Off));
    settled && disks
}

/// Calls one of the functions for each device, without keeping the list lent meanwhile.
fn with_all(mut card: impl FnMut(&RefCell<Netfront>), mut disk: impl FnMut(&RefCell<Blkfront>)) {
    let (cards, disks) = DEVICES.with(|devices| match devices {
        Some(all) => (all.cards.clone(), all.disks.clone()),
        None => Default::default(),
    });
    cards.iter().for_each(|one| card(one));
    disks.iter().for_each(|one| disk(one));
}
