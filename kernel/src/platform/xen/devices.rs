//! All cards and disks of the machine: found at boot, told when xenstore says that their backend changed.

use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::sync::atomic::{AtomicU64, Ordering};

use super::blkfront::{Blkfront, BlockDisk};
use super::handshake::Phase;
use super::netfront::{self, Awake, NetCard, Netfront};
use super::xenbus::{self, FrontEnd};
use super::xenstore::{self, Answer, Ask};
use super::{clock, control, event, log};
use crate::global::Global;
use crate::platform::{Disk, NetworkCard};

/// How long backends have to connect at boot.
const CONNECT_NS: u64 = 10_000_000_000;
/// Devices of a kind; the guest's event channels are counted for this.
const DEVICES_MAX: usize = 8;

/// The node of the card that nearly every machine has.
const FIRST_CARD: &str = "device/vif/0";
/// Answers to what is asked of a disk ([`xenbus::paths`]).
const DISK_ANSWERS: usize = 2;

#[derive(Default)]
struct Devices {
    cards: Vec<Rc<RefCell<Netfront>>>,
    disks: Vec<Rc<RefCell<Blkfront>>>,
}

/// When cards that are not connected are to be named; 0 when all are, or they were named.
static ABSENT_AT: AtomicU64 = AtomicU64::new(0);
static DEVICES: Global<Option<Devices>> = Global::new(None);

/// The nodes of the card that nearly every machine has: they are asked for before anybody knows that it is there, which
/// spares a question and its answer at boot.
pub fn first_card_paths() -> Vec<String> {
    xenbus::paths(FIRST_CARD, &netfront::OWN)
}

/// Connects the devices whose nodes are `cards` and `disks`; `first_card` are the answers to [`first_card_paths`]. Waits
/// for disks, which the program may open at once; a card's backend has only to say what it offers: the stack fills its
/// rings while the backend connects.
pub fn start(cards: Vec<u64>, disks: Vec<u64>, first_card: &[Answer]) {
    let (cards, disks) = (nodes("device/vif", cards), nodes("device/vbd", disks));
    let known = |path: &String| path == FIRST_CARD;
    let of_cards =
        cards.iter().filter(|path| !known(path)).flat_map(|path| xenbus::paths(path, &netfront::OWN));
    let asked: Vec<String> = of_cards.chain(disks.iter().flat_map(|path| xenbus::paths(path, &[]))).collect();
    let answers = xenstore::ask(&asked.iter().map(|path| Ask::Read(path)).collect::<Vec<_>>());
    let mut rest = answers.as_slice();
    let mut take = |count: usize| {
        let (these, others) = rest.split_at(count);
        rest = others;
        these
    };
    let cards = cards.into_iter().enumerate().filter_map(|(index, path)| {
        let answers = if known(&path) { first_card } else { take(first_card.len()) };
        Netfront::new(path, format!("vif{index}"), index, answers)
    });
    let cards: Vec<Netfront> = cards.collect();
    let disks = disks.into_iter().enumerate();
    let disks =
        disks.filter_map(|(index, path)| Blkfront::new(path, format!("vbd{index}"), take(DISK_ANSWERS)));
    let disks = disks.collect();
    DEVICES.with(|devices| *devices = Some(wrapped(cards, disks)));
    with_all(|card| card.borrow_mut().node().look(), |disk| disk.borrow_mut().node().look());
    let end = clock::monotonic_ns() + CONNECT_NS;
    let settled =
        || all_are(&[Phase::Offered, Phase::Connected, Phase::Off], &[Phase::Connected, Phase::Off]);
    loop {
        notice();
        if settled() || clock::monotonic_ns() >= end {
            break;
        }
        event::wait(Some(end));
        event::take();
    }
    ABSENT_AT.store(end, Ordering::Relaxed);
    with_all(|_| (), |disk| disk.borrow().name_if_absent());
    remark_absent();
}

/// When a card that is still not connected is to be named; `None` when there is nothing to name.
pub fn absent_at() -> Option<u64> {
    Some(ABSENT_AT.load(Ordering::Relaxed)).filter(|&at| at != 0)
}

/// Names cards whose backends did not connect in time, once.
pub fn remark_absent() {
    let Some(at) = absent_at() else { return };
    let connected = all_are(
        &[Phase::Connected, Phase::Off],
        &[Phase::Connected, Phase::Off, Phase::Waiting, Phase::Offered],
    );
    if !connected && clock::monotonic_ns() >= at {
        with_all(|card| card.borrow().name_if_absent(), |_| ());
    }
    if connected || clock::monotonic_ns() >= at {
        ABSENT_AT.store(0, Ordering::Relaxed);
    }
}

/// The machine is about to sleep until an event, at the latest until the moment that this gives; an error when it need not.
pub fn before_sleep() -> Result<Option<u64>, Awake> {
    DEVICES.with(|devices| {
        let cards = devices.iter().flat_map(|all| &all.cards);
        cards
            .map(|card| card.borrow_mut().before_sleep())
            .try_fold(None, |earliest: Option<u64>, at| Ok(earliest.into_iter().chain(at?).min()))
    })
}

/// Woken, or at the moment that was planned: sleeps on as [`before_sleep`] says it, unless there is something to do.
pub fn sleep_on(now_ns: u64) -> Result<Option<u64>, Awake> {
    let earliest = DEVICES.with(|devices| {
        let cards = devices.iter().flat_map(|all| &all.cards);
        cards
            .map(|card| card.borrow_mut().sleep_on(now_ns))
            .try_fold(None, |earliest: Option<u64>, at| Ok(earliest.into_iter().chain(at?).min()))
    })?;
    // Whatever else happened: xenstore, a disk, the console.
    if event::is_any_pending() { Err(Awake) } else { Ok(earliest) }
}

/// Looks at what xenstore has to say: watches that fired, answers to looks.
pub fn notice() {
    while let Some(event) = xenstore::next_event() {
        if event.token == control::TOKEN {
            control::notice();
            continue;
        }
        with_all(|card| heed(card, &event.token), |disk| heed(disk, &event.token));
    }
    with_all(|card| xenbus::follow(&mut *card.borrow_mut()), |disk| xenbus::follow(&mut *disk.borrow_mut()));
}

/// Has a device look at its backend if the watch of this name is its own.
fn heed<F: FrontEnd>(front: &RefCell<F>, token: &str) {
    let mut front = front.borrow_mut();
    if front.node().token == token {
        front.node().event();
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
fn nodes(kind: &str, mut numbers: Vec<u64>) -> Vec<String> {
    numbers.sort_unstable();
    if numbers.len() > DEVICES_MAX {
        log(format_args!("{kind}: {} devices, only the first {DEVICES_MAX} are used", numbers.len()));
        numbers.truncate(DEVICES_MAX);
    }
    numbers.into_iter().map(|number| format!("{kind}/{number}")).collect()
}

/// Whether all cards and all disks are in one of the named phases.
fn all_are(of_cards: &[Phase], of_disks: &[Phase]) -> bool {
    let (mut cards, mut disks) = (true, true);
    with_all(
        |card| cards &= of_cards.contains(&card.borrow().phase()),
        |disk| disks &= of_disks.contains(&disk.borrow().phase()),
    );
    cards && disks
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
