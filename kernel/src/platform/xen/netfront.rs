//! A network card: the front end of `io/netif.h`.
//!
//! Data pages keep their grants: the backend copies to and from them. A frame to send is written straight into pages that
//! the backend may read. A short received one is copied out of pages that it may write, once, before anybody looks at it;
//! of a long one the pages are withheld from the backend while it is looked at, and nothing is copied. So the protocol
//! costs no hypercall but the signal, and a page is never shared with anything else in it.

use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::ptr::NonNull;

use super::fault::Fault;
use super::grant::GrantedPages;
use super::handshake::{Phase, State};
use super::moderation::{Moderation, Plan};
use super::netif::{FRAME_BYTES_MAX, Finish, Receive, Received, Transmit};
use super::packet::Packet;
use super::shared::{Mapped, Shared};
use super::xenbus::{FrontEnd, Node};
use super::xenstore::Answer;
use super::{clock, event, hypercall, log, memory};
use crate::platform::{Frame, NetworkCard, Offload, PAGE_BYTES, Send};

/// Data pages each way: a sixty-fourth of the memory, but enough for the longest packet.
const PAGES_MIN: usize = 32;
const PAGES_MAX: usize = 256;
/// Frame buffers that are kept for the next frames.
const SPARE_BUFFERS_MAX: usize = 4;
/// Frames below this are copied: that costs less than withholding their pages.
const IN_PLACE_BYTES_MIN: usize = 2048;
/// IPv4 and TCP headers without options, and the most that follows the Ethernet header: a transmit slot's length has 16
/// bits, and the pages of such a frame fit any backend ([`super::netif::PACKET_SLOTS_MAX`]).
const HEADERS_BYTES: usize = 40;
const SUPER_FRAME_BYTES_MAX: usize = u16::MAX as usize - 14;

/// The card's own nodes of which [`Netfront::new`] wants the values.
pub const OWN: [&str; 2] = ["mac", "mtu"];
/// The backend's nodes that say what it does for us.
const OFFERED: [&str; 5] = [
    "feature-sg",
    "feature-no-csum-offload",
    "feature-ipv6-csum-offload",
    "feature-gso-tcpv4",
    "feature-gso-tcpv6",
];

/// There is something to do: the machine does not sleep.
#[derive(Debug)]
pub struct Awake;

/// What is connected to a backend.
struct Link {
    port: u32,
    transmit: Transmit<Mapped>,
    receive: Receive<Mapped>,
    transmit_pages: GrantedPages,
    receive_pages: Rc<GrantedPages>,
    /// Kept so that they outlive the rings above, which are on them.
    _rings: GrantedPages,
    moderation: Moderation,
    /// Somebody was told that there is no room to send.
    full: bool,
}

/// The card.
pub struct Netfront {
    node: Node,
    number: usize,
    mac: [u8; 6],
    mtu: usize,
    link: Option<Link>,
    offload: Option<Offload>,
    /// The packet that is being received.
    open: Packet,
    /// Frames on loan, by token.
    loans: Vec<Option<Loan>>,
    /// Buffers for copies. They are only ever lengthened, so that a frame's place is not filled with zeroes first.
    spare: Vec<Vec<u8>>,
}

/// The memory of a frame on loan.
enum Loan {
    /// A copy.
    Copy(Vec<u8>),
    /// The pages themselves, withheld from the backend. They outlive the link if they must.
    InPlace { pages: Rc<GrantedPages>, packet: Packet },
}

impl Netfront {
    /// The card at `path`, with the answers to reading its nodes.
    pub fn new(path: String, token: String, number: usize, answers: &[Answer]) -> Option<Self> {
        let Some((node, own)) = Node::new(path, token, answers, (Phase::Waiting, &OFFERED)) else {
            log(format_args!("eth{number}: xenstore names no backend for it"));
            return None;
        };
        let own = |at: usize| own.get(at).and_then(Option::as_deref);
        let mac = own(0).and_then(parse_mac);
        let Some(mac) = mac else {
            log(format_args!("eth{number}: it has no Ethernet address in xenstore"));
            return None;
        };
        // Linux's netback gives the size of IP packets by `mtu`, if it gives it.
        let mtu = own(1).and_then(|text| text.parse().ok()).filter(|mtu| (576..=9000).contains(mtu));
        Some(Netfront {
            node,
            number,
            mac,
            mtu: mtu.unwrap_or(1500),
            link: None,
            offload: None,
            open: Packet::default(),
            loans: Vec::new(),
            spare: Vec::new(),
        })
    }

    /// Where it stands with its backend.
    pub fn phase(&self) -> Phase {
        self.node.phase
    }

    /// The machine is about to sleep: says when the backend is to wake it. Gives the moment at which it is to look by itself,
    /// or an error when there is no need to sleep.
    pub fn before_sleep(&mut self) -> Result<Option<u64>, Awake> {
        let Some(link) = &mut self.link else { return Ok(None) };
        let mut moderation = link.moderation;
        let plan = moderation.plan(clock::latest_ns(), link.receive.outstanding());
        match link.receive.arm(plan.frames) {
            Ok(false) => {
                link.moderation = moderation;
                Ok(plan.until_ns)
            }
            Ok(true) => Err(Awake),
            Err(fault) => {
                self.fail(fault);
                Err(Awake)
            }
        }
    }

    /// The machine was woken, or looks at a moment that was planned: whether to sleep on while frames gather, as
    /// [`Self::before_sleep`] says it.
    pub fn sleep_on(&mut self, now_ns: u64) -> Result<Option<u64>, Awake> {
        let Some(link) = &mut self.link else { return Ok(None) };
        let signalled = event::clear(link.port);
        match link.sleep_on(signalled, now_ns) {
            Ok(plan) => plan.map(|plan| plan.until_ns).ok_or(Awake),
            Err(fault) => {
                self.fail(fault);
                Err(Awake)
            }
        }
    }

    /// One line if it is not connected when boot goes on.
    pub fn name_if_absent(&self) {
        if self.node.phase != Phase::Connected {
            log(format_args!("eth{}: its backend did not connect; going on without it", self.number));
        }
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
        let receive_pages = Rc::new(receive_pages);
        let port = hypercall::allocate_port(domain).ok()?;
        if !event::listen(port) {
            hypercall::close_port(port);
            return None;
        }
        Some(Link {
            port,
            transmit,
            receive,
            transmit_pages,
            receive_pages,
            _rings: rings,
            moderation: Moderation::default(),
            full: false,
        })
    }

    /// Notes what the backend does for us.
    fn take_offload(&mut self) {
        let gathers = self.node.offers("feature-sg");
        // As many whole segments as fit: no short one goes out in the middle of a stream.
        let segment = self.mtu - HEADERS_BYTES;
        let longest = HEADERS_BYTES + (SUPER_FRAME_BYTES_MAX - HEADERS_BYTES) / segment * segment;
        let segments = |offered: bool| if offered && gathers { longest } else { 0 };
        let offload = Offload {
            transmit_checksum_v4: !self.node.offers("feature-no-csum-offload"),
            transmit_checksum_v6: self.node.offers("feature-ipv6-csum-offload"),
            segmentation_v4_bytes: segments(self.node.offers("feature-gso-tcpv4")),
            segmentation_v6_bytes: segments(self.node.offers("feature-gso-tcpv6")),
        };
        if self.offload.is_some_and(|before| !offers_all(offload, before)) {
            log(format_args!("eth{}: its new backend does less: sums and cuts are made here", self.number));
        }
        self.offload = Some(offload);
    }

    /// The next whole frame.
    fn receive_frame(&mut self) -> Result<Option<Frame>, Fault> {
        let Some(link) = &mut self.link else { return Ok(None) };
        loop {
            let Some(received) = link.receive.next_piece()? else { return Ok(None) };
            let (last, good) = match received {
                Received::Piece { piece, last, checksum_good } => {
                    self.open.piece(piece);
                    (last, checksum_good)
                }
                Received::Empty { page, dropped, last } => {
                    self.open.empty(page, dropped);
                    (last, link.receive.checksum_good())
                }
            };
            if !last {
                continue;
            }
            if !self.open.is_lost() {
                let (bytes, loan) = match link.in_place(&mut self.open) {
                    Some(in_place) => in_place,
                    None => link.copied(&mut self.open, self.spare.pop().unwrap_or_default()),
                };
                let token = self.loans.iter().position(Option::is_none).unwrap_or(self.loans.len());
                if token == self.loans.len() {
                    self.loans.push(None);
                }
                self.loans[token] = Some(loan);
                return Ok(Some(Frame { bytes, token, checksum_good: good }));
            }
            link.post(&self.open);
            self.open.clear();
        }
    }

    /// Keeps a buffer for the next copy.
    fn keep(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < SPARE_BUFFERS_MAX && buffer.capacity() <= FRAME_BYTES_MAX + PAGE_BYTES {
            self.spare.push(buffer);
        }
    }
}

impl Link {
    /// How to sleep on, or `None` when there is something to do.
    fn sleep_on(&mut self, signalled: bool, now_ns: u64) -> Result<Option<Plan>, Fault> {
        loop {
            let frames = self.receive.ready()?;
            // A signal without a frame is about what was sent, and who waits for room is not to wait for frames too.
            if signalled && (self.full || frames == 0) {
                return Ok(None);
            }
            let Some(plan) = self.moderation.sleep_on(frames, now_ns) else { return Ok(None) };
            if !self.receive.arm(plan.frames)? {
                return Ok(Some(plan));
            }
        }
    }

    /// Gives a packet's pages back to the backend.
    fn post(&mut self, packet: &Packet) {
        for &page in packet.pages() {
            self.receive.post(page, self.receive_pages.grants()[page]);
        }
    }

    /// A long packet where it stands, if that is one stretch and the backend does not hold on to its pages.
    fn in_place(&mut self, packet: &mut Packet) -> Option<(NonNull<[u8]>, Loan)> {
        if packet.bytes() < IN_PLACE_BYTES_MIN {
            return None;
        }
        let stretch = packet.stretch()?;
        let memory = self.receive_pages.page(0) as *mut u8;
        // Nobody looks at these bytes before the pages are withheld.
        let frame = core::ptr::slice_from_raw_parts_mut(memory.wrapping_add(stretch.start), packet.bytes());
        let frame = NonNull::new(frame).filter(|_| self.receive_pages.withhold(packet.pages()))?;
        if let Some(piece) = stretch.moved {
            // SAFETY: both ranges lie in pages of this packet, which are ours alone now, and not in the same one.
            unsafe {
                let from = memory.add(piece.page * PAGE_BYTES + piece.offset);
                core::ptr::copy_nonoverlapping(from, memory.add(stretch.start), piece.length);
            }
        }
        let loan = Loan::InPlace { pages: self.receive_pages.clone(), packet: core::mem::take(packet) };
        Some((frame, loan))
    }

    /// A packet copied to `buffer`; its pages go back to the backend at once.
    fn copied(&mut self, packet: &mut Packet, mut buffer: Vec<u8>) -> (NonNull<[u8]>, Loan) {
        if buffer.len() < packet.bytes() {
            buffer.resize(packet.bytes(), 0);
        }
        let mut start = 0;
        for piece in packet.pieces() {
            let into = &mut buffer[start..start + piece.length];
            self.receive_pages.shared().copy_out(piece.page * PAGE_BYTES + piece.offset, into);
            start += piece.length;
        }
        self.post(packet);
        packet.clear();
        (NonNull::from(&mut buffer[..start]), Loan::Copy(buffer))
    }

    /// Gives the pages of a frame that was read in place back to the backend, if it is still the same.
    fn take_back(&mut self, pages: &Rc<GrantedPages>, packet: &Packet) {
        if Rc::ptr_eq(pages, &self.receive_pages) {
            pages.lend(packet.pages());
            self.post(packet);
        }
    }
}

impl FrontEnd for Netfront {
    fn node(&mut self) -> &mut Node {
        &mut self.node
    }

    /// Drops rings and pages of a backend that is gone; frames under way are lost, as frames may be.
    fn forget(&mut self) {
        if let Some(link) = self.link.take() {
            event::close(link.port);
            log(format_args!("eth{}: its backend went away", self.number));
        }
        self.open.clear();
        self.node.phase = Phase::Waiting;
    }

    /// Makes rings and tells the backend. What it offers was read just before, so that the stack can begin to fill the
    /// rings while the backend is still connecting.
    fn offer(&mut self) {
        self.take_offload();
        match self.new_link() {
            Some(link) if self.node.tell(&details(&link), State::Connected) => {
                self.link = Some(link);
                self.node.phase = Phase::Offered;
            }
            Some(link) => {
                event::close(link.port);
                self.node.set_state(State::Closed);
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

    fn connect(&mut self) {
        self.node.phase = Phase::Connected;
    }
}

/// What the backend must know about a link.
fn details(link: &Link) -> [(&'static str, String); 9] {
    let rings = link._rings.grants();
    let one = || String::from("1");
    [
        ("tx-ring-ref", rings[0].to_string()),
        ("rx-ring-ref", rings[1].to_string()),
        ("event-channel", link.port.to_string()),
        ("request-rx-copy", one()),
        ("feature-rx-notify", one()),
        ("feature-sg", one()),
        ("feature-gso-tcpv4", one()),
        ("feature-gso-tcpv6", one()),
        ("feature-ipv6-csum-offload", one()),
    ]
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
            Ok(frame) => frame,
            Err(fault) => {
                card.fail(fault);
                None
            }
        }
    }

    fn release(&mut self, frame: Frame) {
        let mut card = self.0.borrow_mut();
        match card.loans.get_mut(frame.token).and_then(Option::take) {
            Some(Loan::Copy(buffer)) => card.keep(buffer),
            Some(Loan::InPlace { pages, mut packet }) => {
                if let Some(link) = card.link.as_mut() {
                    link.take_back(&pages, &packet);
                }
                packet.clear();
                if card.open.pages().is_empty() {
                    // Its lists are long enough for the next one.
                    card.open = packet;
                }
            }
            None => {}
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
            Ok(room) => {
                link.full = !room;
                room
            }
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

    fn heard(&mut self, parties: usize) {
        if let Some(link) = self.0.borrow_mut().link.as_mut() {
            link.moderation.heard(parties, clock::latest_ns());
        }
    }

    fn is_up(&self) -> bool {
        self.0.borrow().link.is_some()
    }
}
