//! A network card: the front end of `io/netif.h`.
//!
//! Data pages are granted once and stay granted: the backend copies to and from them. A frame to send is written
//! straight into pages that the backend may read; a received one is copied out of pages that it may write, once, before
//! anybody looks at it. So the protocol costs no hypercall but the signal, and a page is never shared with anything
//! else in it.

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::ptr::{NonNull, slice_from_raw_parts_mut};

use super::fault::Fault;
use super::grant::GrantedPages;
use super::handshake::{Phase, State, Step, step};
use super::netif::{FRAME_BYTES_MAX, Finish, Receive, Received, Transmit};
use super::shared::{Mapped, Shared};
use super::xenbus::Node;
use super::{event, hypercall, log, memory};
use crate::platform::{Frame, NetworkCard, Offload, PAGE_BYTES, Send};

/// Data pages each way: a sixty-fourth of the memory, but enough for the longest packet.
const PAGES_MIN: usize = 32;
const PAGES_MAX: usize = 256;
/// Frame buffers that are kept for the next frames.
const SPARE_BUFFERS_MAX: usize = 4;
/// A super-frame that leaves us: 15 pages and their slots always fit.
const SEGMENTATION_BYTES: usize = 15 * PAGE_BYTES;

/// What is connected to a backend.
struct Link {
    port: u32,
    transmit: Transmit<Mapped>,
    receive: Receive<Mapped>,
    transmit_pages: GrantedPages,
    receive_pages: GrantedPages,
    /// Kept so that they outlive the rings above, which are on them.
    _rings: GrantedPages,
}

/// The card.
pub struct Netfront {
    node: Node,
    number: usize,
    mac: [u8; 6],
    mtu: usize,
    link: Option<Link>,
    offload: Option<Offload>,
    /// The packet that is being received: what came so far, and whether it is lost.
    open: Vec<u8>,
    open_lost: bool,
    /// Frames on loan, by token.
    loans: Vec<Option<Vec<u8>>>,
    spare: Vec<Vec<u8>>,
}

impl Netfront {
    /// The card at `path`.
    pub fn open(path: String, token: String, number: usize) -> Option<Self> {
        let Some(node) = Node::open(path, token) else {
            log(format_args!("eth{number}: xenstore names no backend for it"));
            return None;
        };
        let mac = node.own("mac").and_then(|text| parse_mac(&text));
        let Some(mac) = mac else {
            log(format_args!("eth{number}: it has no Ethernet address in xenstore"));
            return None;
        };
        // Linux's netback gives the size of IP packets by `mtu`, if it gives it.
        let mtu = node.own("mtu").and_then(|text| text.parse().ok()).filter(|mtu| (576..=9000).contains(mtu));
        Some(Netfront {
            node,
            number,
            mac,
            mtu: mtu.unwrap_or(1500),
            link: None,
            offload: None,
            open: Vec::new(),
            open_lost: false,
            loans: Vec::new(),
            spare: Vec::new(),
        })
    }

    /// The name of its watch.
    pub fn token(&self) -> &str {
        &self.node.token
    }

    /// Where it stands with its backend.
    pub fn phase(&self) -> Phase {
        self.node.phase
    }

    /// One line if it is not connected when boot goes on.
    pub fn name_if_absent(&self) {
        if self.node.phase != Phase::Connected {
            log(format_args!("eth{}: its backend did not connect; going on without it", self.number));
        }
    }

    /// The backend's state may have changed.
    pub fn backend_changed(&mut self) {
        let state = self.node.backend_state();
        match step(self.node.phase, state) {
            Step::Stay => (),
            Step::Offer => self.offer(),
            Step::OfferAgain => {
                self.forget();
                self.offer();
            }
            Step::Connect => self.connect(),
            Step::Leave => {
                self.forget();
                self.node.set_state(State::Closed);
            }
            Step::StartAgain => {
                self.forget();
                self.node.set_state(State::Initialising);
            }
        }
    }

    /// Drops rings and pages of a backend that is gone; frames under way are lost, as frames may be.
    fn forget(&mut self) {
        if let Some(link) = self.link.take() {
            event::close(link.port);
            log(format_args!("eth{}: its backend went away", self.number));
        }
        self.open.clear();
        self.open_lost = false;
        self.node.phase = Phase::Waiting;
    }

    /// Ends the card for good, with one line.
    fn fail(&mut self, fault: Fault) {
        log(format_args!("eth{}: its backend broke the protocol: {fault}; the card is off", self.number));
        if let Some(link) = self.link.take() {
            event::close(link.port);
        }
        self.node.phase = Phase::Off;
        self.node.set_state(State::Closed);
    }

    /// Makes rings and tells the backend.
    fn offer(&mut self) {
        match self.new_link() {
            Some(link) if self.tell(&link) => {
                self.link = Some(link);
                self.node.phase = Phase::Offered;
                self.node.set_state(State::Connected);
            }
            Some(link) => {
                event::close(link.port);
                log(format_args!("eth{}: xenstore does not take its details", self.number));
            }
            None => {
                self.node.phase = Phase::Off;
                log(format_args!(
                    "eth{}: no memory, grants or event channel for it; the card is off",
                    self.number
                ));
            }
        }
    }

    fn new_link(&self) -> Option<Link> {
        let domain = self.node.domain;
        let pages = (memory::pages() / 64).clamp(PAGES_MIN, PAGES_MAX);
        let rings = GrantedPages::new(2, domain, false)?;
        let transmit_pages = GrantedPages::new(pages, domain, true)?;
        let receive_pages = GrantedPages::new(pages, domain, false)?;
        // SAFETY: each ring gets a page of its own of `rings`, which the link keeps as long as the rings.
        let (first, second) =
            unsafe { (Mapped::new(rings.page(0), PAGE_BYTES), Mapped::new(rings.page(1), PAGE_BYTES)) };
        let transmit = Transmit::new(first, pages);
        let mut receive = Receive::new(second);
        for (page, &grant) in receive_pages.grants().iter().enumerate().take(receive.slots()) {
            receive.post(page, grant);
        }
        let _ = receive.publish();
        let port = hypercall::allocate_port(domain).ok()?;
        if !event::listen(port) {
            hypercall::close_port(port);
            return None;
        }
        Some(Link { port, transmit, receive, transmit_pages, receive_pages, _rings: rings })
    }

    fn tell(&self, link: &Link) -> bool {
        let rings = link._rings.grants();
        self.node.tell("tx-ring-ref", rings[0].into())
            && self.node.tell("rx-ring-ref", rings[1].into())
            && self.node.tell("event-channel", link.port.into())
            && self.node.tell("request-rx-copy", 1)
            && self.node.tell("feature-rx-notify", 1)
            && self.node.tell("feature-sg", 1)
            && self.node.tell("feature-gso-tcpv4", 1)
            && self.node.tell("feature-gso-tcpv6", 1)
            && self.node.tell("feature-ipv6-csum-offload", 1)
    }

    fn connect(&mut self) {
        let gathers = self.node.offers("feature-sg");
        let segments = |offered: bool| if offered && gathers { SEGMENTATION_BYTES } else { 0 };
        let offload = Offload {
            transmit_checksum_v4: !self.node.offers("feature-no-csum-offload"),
            transmit_checksum_v6: self.node.offers("feature-ipv6-csum-offload"),
            segmentation_v4_bytes: segments(self.node.offers("feature-gso-tcpv4")),
            segmentation_v6_bytes: segments(self.node.offers("feature-gso-tcpv6")),
        };
        // The stack was promised what the first backend offered; a lesser one would have to cut and sum for it.
        let promised = *self.offload.get_or_insert(offload);
        if !offers_all(offload, promised) {
            log(format_args!(
                "eth{}: its new backend offers less than the old one; the card is off",
                self.number
            ));
            self.forget();
            self.node.phase = Phase::Off;
            self.node.set_state(State::Closed);
            return;
        }
        self.node.phase = Phase::Connected;
    }

    /// Copies the next whole frame out of its pages.
    fn receive_frame(&mut self) -> Result<Option<(Vec<u8>, bool)>, Fault> {
        let Some(link) = &mut self.link else { return Ok(None) };
        loop {
            let Some(received) = link.receive.next_piece()? else {
                if link.receive.arm()? {
                    continue;
                }
                return Ok(None);
            };
            let (page, last, good) = match received {
                Received::Piece { piece, last, checksum_good } => {
                    let start = self.open.len();
                    self.open.resize(start + piece.length, 0);
                    let at = piece.page * PAGE_BYTES + piece.offset;
                    link.receive_pages.shared().copy_out(at, &mut self.open[start..]);
                    (piece.page, last, checksum_good)
                }
                Received::Empty { page, dropped, last } => {
                    self.open_lost |= dropped;
                    (page, last, link.receive.checksum_good())
                }
            };
            link.receive.post(page, link.receive_pages.grants()[page]);
            if last {
                let buffer = self.spare.pop().unwrap_or_default();
                let mut frame = core::mem::replace(&mut self.open, buffer);
                self.open.clear();
                if !core::mem::take(&mut self.open_lost) {
                    return Ok(Some((frame, good)));
                }
                frame.clear();
                self.spare.push(frame);
            }
        }
    }

    fn lend(&mut self, mut bytes: Vec<u8>, checksum_good: bool) -> Frame {
        let loaned = slice_from_raw_parts_mut(bytes.as_mut_ptr(), bytes.len());
        let token = self.loans.iter().position(Option::is_none).unwrap_or_else(|| {
            self.loans.push(None);
            self.loans.len() - 1
        });
        self.loans[token] = Some(bytes);
        // A vector's memory is never at address zero.
        let bytes = NonNull::new(loaned).unwrap_or(NonNull::from(&mut []));
        Frame { bytes, token, checksum_good }
    }
}

fn offers_all(offload: Offload, promised: Offload) -> bool {
    offload.transmit_checksum_v4 >= promised.transmit_checksum_v4
        && offload.transmit_checksum_v6 >= promised.transmit_checksum_v6
        && offload.segmentation_v4_bytes >= promised.segmentation_v4_bytes
        && offload.segmentation_v6_bytes >= promised.segmentation_v6_bytes
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.trim().split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

/// The card as the neutral part holds it.
pub struct NetCard(pub Rc<RefCell<Netfront>>);

impl NetworkCard for NetCard {
    fn mac(&self) -> [u8; 6] {
        self.0.borrow().mac
    }

    fn mtu(&self) -> usize {
        self.0.borrow().mtu
    }

    fn offload(&self) -> Offload {
        self.0.borrow().offload.unwrap_or_default()
    }

    fn receive(&mut self) -> Option<Frame> {
        let mut card = self.0.borrow_mut();
        match card.receive_frame() {
            Ok(frame) => frame.map(|(bytes, good)| card.lend(bytes, good)),
            Err(fault) => {
                card.fail(fault);
                None
            }
        }
    }

    fn release(&mut self, frame: Frame) {
        let mut card = self.0.borrow_mut();
        let Some(mut buffer) = card.loans.get_mut(frame.token).and_then(Option::take) else { return };
        if card.spare.len() < SPARE_BUFFERS_MAX && buffer.capacity() <= FRAME_BYTES_MAX + PAGE_BYTES {
            buffer.clear();
            card.spare.push(buffer);
        }
    }

    fn can_transmit(&mut self) -> bool {
        let mut card = self.0.borrow_mut();
        let longest = card
            .offload
            .map_or(0, |offload| offload.segmentation_v4_bytes.max(offload.segmentation_v6_bytes));
        let pages = (longest.max(card.mtu) + 14).div_ceil(PAGE_BYTES);
        let Some(link) = card.link.as_mut() else { return false };
        let mut room = || -> Result<bool, Fault> {
            loop {
                link.transmit.reclaim()?;
                if link.transmit.find(pages).is_some() {
                    return Ok(true);
                }
                if !link.transmit.arm()? {
                    return Ok(false);
                }
            }
        };
        match room() {
            Ok(room) => room,
            Err(fault) => {
                card.fail(fault);
                false
            }
        }
    }

    fn transmit(&mut self, length: usize, fill: &mut dyn FnMut(&mut [u8]) -> Send) {
        let mut card = self.0.borrow_mut();
        let pages = length.div_ceil(PAGE_BYTES).max(1);
        let place = card.link.as_mut().and_then(|link| Some((link.transmit.find(pages)?, link)));
        let Some((first, link)) = place else {
            // The backend went away since the question whether there is room: the frame is lost.
            fill(&mut alloc::vec![0; length]);
            return;
        };
        let target = link.transmit_pages.page(first) as *mut u8;
        // SAFETY: these pages are granted for reading alone, so nobody but us writes them, and the table of pages says
        // that none of them is under way.
        let target = unsafe { core::slice::from_raw_parts_mut(target, length) };
        let finish = match fill(target) {
            Send::Plain => Finish::Plain,
            Send::Checksum => Finish::Checksum,
            Send::Segments(size) => Finish::Segments { size, v6: target.get(12..14) == Some(&[0x86, 0xdd]) },
        };
        link.transmit.send(first, length, finish, link.transmit_pages.grants());
    }

    fn flush(&mut self) {
        let mut card = self.0.borrow_mut();
        if let Some(link) = card.link.as_mut() {
            let (sent, posted) = (link.transmit.publish(), link.receive.publish());
            if sent || posted {
                hypercall::notify(link.port);
            }
        }
    }

    fn is_up(&self) -> bool {
        self.0.borrow().node.phase == Phase::Connected
    }
}
