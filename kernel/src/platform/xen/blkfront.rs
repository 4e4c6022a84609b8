//! A disk: the front end of `io/blkif.h`.
//!
//! Data goes through pages that are granted once and hold nothing else (the backend may keep them mapped: both sides say
//! `feature-persistent`). A write is copied in when it is submitted, a read is copied out when it is done. What is in
//! flight is remembered with its pages, so that a backend that restarts gets it again.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::ptr::NonNull;

use super::blkif::{
    Ask, DIRECT_SEGMENTS_MAX, INDIRECT_SEGMENTS_MAX, Outcome, Requests, SECTOR_BYTES, Segment,
};
use super::fault::Fault;
use super::grant::GrantedPages;
use super::handshake::{Phase, State};
use super::shared::{Mapped, Shared};
use super::xenbus::{FrontEnd, Node};
use super::xenstore::Answer;
use super::{event, hypercall, log, memory};
use crate::platform::{Completion, Disk, DiskError, Operation, PAGE_BYTES, Request, SubmitError};

/// Data pages: a thirty-second of the memory within these bounds.
const PAGES_MIN: usize = 32;
const PAGES_MAX: usize = 512;
/// Pages of one request, where indirect requests are offered.
const REQUEST_PAGES_MAX: usize = 32;
/// `info` bit: writes are refused (`VDISK_READONLY`).
const INFO_READ_ONLY: u64 = 4;

/// The backend's nodes that say what its disk is.
const OFFERED: [&str; 7] = [
    "sectors",
    "sector-size",
    "info",
    "feature-flush-cache",
    "feature-barrier",
    "feature-max-indirect-segments",
    "feature-discard",
];

/// What a disk is, as its backend says.
#[derive(Debug, Clone, Copy)]
struct Geometry {
    /// In units of 512 bytes.
    sectors: u64,
    sector_bytes: usize,
    read_only: bool,
    flush: Option<Ask>,
    discard: bool,
    /// Segments of an indirect request; 0 where there are none.
    indirect: usize,
}

/// A request in flight.
#[derive(Debug)]
struct Flight {
    request: Request,
    ask: Ask,
    /// Its data pages, by number, in order.
    pages: Vec<u16>,
    /// The page with the segments, if there are many.
    indirect: Option<u16>,
    bytes: usize,
}

/// What is connected to a backend.
struct Link {
    port: u32,
    ring: Requests<Mapped>,
    _page: GrantedPages,
}

/// The disk.
pub struct Blkfront {
    node: Node,
    name: String,
    handle: u16,
    link: Option<Link>,
    geometry: Option<Geometry>,
    /// Stay granted while the disk lives, also over a restart of the backend.
    data: Option<GrantedPages>,
    free_pages: Vec<u16>,
    /// By place in the ring; those without a place wait for the backend to come back.
    flights: Vec<Option<Flight>>,
    waiting: VecDeque<Flight>,
    done: VecDeque<Completion>,
}

impl Blkfront {
    /// The disk at `path`, with the answers to reading its nodes.
    pub fn new(path: String, token: String, answers: &[Answer]) -> Option<Self> {
        let handle: u16 = path.rsplit('/').next()?.parse::<u64>().ok()?.try_into().unwrap_or(0);
        let Some((node, _)) = Node::new(path, token, answers, (Phase::Offered, &OFFERED)) else {
            log(format_args!("disk {handle}: xenstore names no backend for it"));
            return None;
        };
        Some(Blkfront {
            name: disk_name(handle),
            node,
            handle,
            link: None,
            geometry: None,
            data: None,
            free_pages: Vec::new(),
            flights: Vec::new(),
            waiting: VecDeque::new(),
            done: VecDeque::new(),
        })
    }

    /// Where it stands with its backend.
    pub fn phase(&self) -> Phase {
        self.node.phase
    }

    /// One line if it is not connected when boot goes on.
    pub fn name_if_absent(&self) {
        if self.node.phase != Phase::Connected {
            log(format_args!("{}: its backend did not connect; going on without it", self.name));
        }
    }

    /// Ends the disk for good, with one line: everything in flight fails.
    fn fail(&mut self, fault: Fault) {
        log(format_args!("{}: its backend broke the protocol: {fault}; the disk is off", self.name));
        self.switch_off();
    }

    fn switch_off(&mut self) {
        if let Some(link) = self.link.take() {
            event::close(link.port);
        }
        let unfinished: Vec<Flight> =
            self.flights.drain(..).flatten().chain(self.waiting.drain(..)).collect();
        for flight in unfinished {
            self.done.push_back(Completion { id: flight.request.id, result: Err(DiskError::Failed) });
        }
        self.node.phase = Phase::Off;
        self.node.set_state(State::Closed);
    }

    fn new_link(&mut self) -> Option<Link> {
        let domain = self.node.domain;
        if self.data.as_ref().is_none_or(|data| data.domain() != domain) {
            let count = (memory::pages() / 32).clamp(PAGES_MIN, PAGES_MAX);
            // Another domain than before: requests that wait have their data in pages that it cannot reach.
            if !self.waiting.is_empty() {
                return None;
            }
            self.data = Some(GrantedPages::new(count, domain, false)?);
            self.free_pages = (0..count as u16).rev().collect();
        }
        let page = GrantedPages::new(1, domain, false)?;
        // SAFETY: the link keeps the page as long as the ring.
        let ring = Requests::new(unsafe { Mapped::new(page.page(0), PAGE_BYTES) }, self.handle);
        let port = hypercall::allocate_port(domain).ok()?;
        if !event::listen(port) {
            hypercall::close_port(port);
            return None;
        }
        Some(Link { port, ring, _page: page })
    }

    fn read_geometry(&self) -> Result<Geometry, Fault> {
        let sectors = self.node.offered("sectors").ok_or(Fault::Property("sectors"))?;
        let sector_bytes = self.node.offered("sector-size").unwrap_or(SECTOR_BYTES as u64) as usize;
        if !sector_bytes.is_power_of_two() || !(SECTOR_BYTES..=PAGE_BYTES).contains(&sector_bytes) {
            return Err(Fault::Property("sector-size"));
        }
        if sectors == 0 || sectors > u64::MAX / SECTOR_BYTES as u64 {
            return Err(Fault::Property("sectors"));
        }
        let flush = match (self.node.offers("feature-flush-cache"), self.node.offers("feature-barrier")) {
            (true, _) => Some(Ask::Flush),
            (false, true) => Some(Ask::Barrier),
            (false, false) => None,
        };
        let segments = self.node.offered("feature-max-indirect-segments").unwrap_or(0) as usize;
        Ok(Geometry {
            sectors: sectors - sectors % (sector_bytes / SECTOR_BYTES) as u64,
            sector_bytes,
            read_only: self.node.offered("info").unwrap_or(0) & INFO_READ_ONLY != 0,
            flush,
            discard: self.node.offers("feature-discard"),
            indirect: segments.min(REQUEST_PAGES_MAX).min(INDIRECT_SEGMENTS_MAX),
        })
    }

    fn request_pages_max(&self) -> usize {
        match self.geometry {
            Some(geometry) => geometry.indirect.clamp(DIRECT_SEGMENTS_MAX, PAGES_MIN - 1),
            None => DIRECT_SEGMENTS_MAX,
        }
    }

    /// Takes a request: finishes what cannot succeed at once, copies the data of a write.
    fn submit(&mut self, request: Request) -> Result<(), SubmitError> {
        let checked = match self.geometry {
            Some(geometry) if self.node.phase != Phase::Off => check(geometry, request.operation),
            _ => Err(DiskError::Failed),
        };
        let (ask, bytes) = match checked {
            Ok(asked) => asked,
            Err(error) => {
                self.done.push_back(Completion { id: request.id, result: Err(error) });
                return Ok(());
            }
        };
        let count = bytes.div_ceil(PAGE_BYTES);
        let indirect_pages = usize::from(count > DIRECT_SEGMENTS_MAX);
        if count > self.request_pages_max() {
            self.done.push_back(Completion { id: request.id, result: Err(DiskError::Failed) });
            return Ok(());
        }
        let places = self.flights.len().max(1);
        let full = self.flights.iter().flatten().count() + self.waiting.len() >= places;
        if full || self.free_pages.len() < count + indirect_pages {
            return Err(SubmitError::Full);
        }
        let rest = self.free_pages.len() - count;
        let pages = self.free_pages.split_off(rest);
        let indirect = if indirect_pages > 0 { self.free_pages.pop() } else { None };
        let flight = Flight { request, ask, pages, indirect, bytes };
        if let Operation::Write { buffer, .. } = request.operation {
            self.copy(&flight, buffer, |data, at, piece| data.copy_in(at, piece));
        }
        self.waiting.push_back(flight);
        self.send_waiting();
        Ok(())
    }

    /// Puts requests into the ring as far as there are places.
    fn send_waiting(&mut self) {
        if self.node.phase != Phase::Connected {
            return;
        }
        let (Some(link), Some(data)) = (self.link.as_mut(), self.data.as_ref()) else { return };
        while let (Some(place), Some(flight)) = (link.ring.free_place(), self.waiting.pop_front()) {
            let segments: Vec<Segment> = flight
                .pages
                .iter()
                .enumerate()
                .map(|(index, &page)| {
                    let bytes = (flight.bytes - index * PAGE_BYTES).min(PAGE_BYTES);
                    let last = (bytes / SECTOR_BYTES - 1) as u8;
                    Segment { grant: data.grants()[page as usize], first: 0, last }
                })
                .collect();
            let indirect = flight.indirect.map(|page| {
                for (index, segment) in segments.iter().enumerate() {
                    data.shared().copy_in(page as usize * PAGE_BYTES + index * 8, &segment.bytes());
                }
                data.grants()[page as usize]
            });
            link.ring.send(place, flight.ask, &segments, indirect);
            self.flights[place] = Some(flight);
        }
    }

    fn kick(&mut self) {
        if let Some(link) = self.link.as_mut()
            && link.ring.publish()
        {
            hypercall::notify(link.port);
        }
    }

    /// The next finished request.
    fn complete(&mut self) -> Option<Completion> {
        if let Some(done) = self.done.pop_front() {
            return Some(done);
        }
        let next = self.next_answer();
        match next {
            Ok(Some((place, outcome))) => self.finish(place, outcome),
            Ok(None) => None,
            Err(fault) => {
                self.fail(fault);
                self.done.pop_front()
            }
        }
    }

    fn next_answer(&mut self) -> Result<Option<(usize, Outcome)>, Fault> {
        let Some(link) = self.link.as_mut() else { return Ok(None) };
        loop {
            if let Some(answer) = link.ring.next_answer()? {
                return Ok(Some(answer));
            }
            if !link.ring.arm()? {
                return Ok(None);
            }
        }
    }

    fn finish(&mut self, place: usize, outcome: Outcome) -> Option<Completion> {
        let flight = self.flights.get_mut(place)?.take()?;
        if let (Operation::Read { buffer, .. }, Outcome::Okay) = (flight.request.operation, outcome) {
            self.copy(&flight, buffer, |data, at, piece| data.copy_out(at, piece));
        }
        self.free_pages.extend(&flight.pages);
        self.free_pages.extend(flight.indirect);
        self.send_waiting();
        let result = match outcome {
            Outcome::Okay => Ok(()),
            Outcome::Unsupported => Err(DiskError::Unsupported),
            Outcome::Failed => Err(DiskError::Failed),
        };
        Some(Completion { id: flight.request.id, result })
    }

    /// Goes through a flight's pages with the pieces of the program's buffer that belong to them.
    fn copy(&self, flight: &Flight, buffer: NonNull<[u8]>, each: impl Fn(&Mapped, usize, &mut [u8])) {
        let Some(data) = &self.data else { return };
        let shared = data.shared();
        // SAFETY: whoever submitted the request promised that the buffer stays valid and untouched until now.
        let buffer = unsafe { &mut *buffer.as_ptr() };
        for (piece, &page) in buffer.chunks_mut(PAGE_BYTES).zip(&flight.pages) {
            each(&shared, page as usize * PAGE_BYTES, piece);
        }
    }
}

impl FrontEnd for Blkfront {
    fn node(&mut self) -> &mut Node {
        &mut self.node
    }

    /// Drops the ring of a backend that is gone, and keeps what was in flight for the next one.
    fn forget(&mut self) {
        if let Some(link) = self.link.take() {
            event::close(link.port);
            let unfinished = self.flights.drain(..).flatten();
            self.waiting.extend(unfinished);
            let count = self.waiting.len();
            log(format_args!("{}: its backend went away; {count} requests wait for it", self.name));
        }
        self.node.phase = Phase::Waiting;
    }

    /// Makes a ring and tells the backend.
    fn offer(&mut self) {
        let Some(link) = self.new_link() else {
            log(format_args!("{}: no memory, grants or event channel for it; the disk is off", self.name));
            return self.switch_off();
        };
        let details = [
            ("ring-ref", link._page.grants()[0].to_string()),
            ("event-channel", link.port.to_string()),
            ("feature-persistent", "1".to_string()),
            ("protocol", "x86_64-abi".to_string()),
        ];
        let told = self.node.tell(&details, State::Initialised);
        self.flights.resize_with(link.ring.places(), || None);
        self.link = Some(link);
        if !told {
            log(format_args!("{}: xenstore does not take its details; the disk is off", self.name));
            return self.switch_off();
        }
        self.node.phase = Phase::Offered;
    }

    /// The backend connected: what kind of disk it is, and again what it had not finished before.
    fn connect(&mut self) {
        let geometry = match self.read_geometry() {
            Ok(geometry) => geometry,
            Err(fault) => return self.fail(fault),
        };
        if let Some(old) = self.geometry
            && (old.sectors, old.sector_bytes) != (geometry.sectors, geometry.sector_bytes)
        {
            log(format_args!("{}: its new backend has a disk of another size; the disk is off", self.name));
            return self.switch_off();
        }
        self.geometry = Some(geometry);
        self.node.phase = Phase::Connected;
        self.node.set_state(State::Connected);
        self.send_waiting();
        self.kick();
    }
}

/// What to ask the backend for, and how many bytes go with it; or why it cannot succeed.
fn check(geometry: Geometry, operation: Operation) -> Result<(Ask, usize), DiskError> {
    let inside = |offset: u64, length: u64| {
        let aligned = (offset | length).is_multiple_of(geometry.sector_bytes as u64) && length > 0;
        let end = offset.checked_add(length).filter(|_| aligned);
        end.is_some_and(|end| end <= geometry.sectors * SECTOR_BYTES as u64)
            .then_some(offset / SECTOR_BYTES as u64)
    };
    match operation {
        Operation::Read { offset, buffer } => {
            let sector = inside(offset, buffer.len() as u64).ok_or(DiskError::Failed)?;
            Ok((Ask::Read { sector }, buffer.len()))
        }
        Operation::Write { .. } | Operation::Discard { .. } if geometry.read_only => Err(DiskError::ReadOnly),
        Operation::Write { offset, buffer } => {
            let sector = inside(offset, buffer.len() as u64).ok_or(DiskError::Failed)?;
            Ok((Ask::Write { sector }, buffer.len()))
        }
        Operation::Flush => geometry.flush.map(|ask| (ask, 0)).ok_or(DiskError::Unsupported),
        Operation::Discard { offset, length } => {
            let sector = inside(offset, length).ok_or(DiskError::Failed)?;
            let ask = Ask::Discard { sector, count: length / SECTOR_BYTES as u64 };
            if geometry.discard { Ok((ask, 0)) } else { Err(DiskError::Unsupported) }
        }
    }
}

/// The name Linux gives virtual device number `handle`: 51712 is `xvda`.
fn disk_name(handle: u16) -> String {
    let (disk, part) = (handle >> 4 & 0xf, handle & 0xf);
    let letter = char::from(b'a' + disk as u8);
    if handle >> 8 != 202 {
        return alloc::format!("xvd{handle}");
    }
    if part == 0 { alloc::format!("xvd{letter}") } else { alloc::format!("xvd{letter}{part}") }
}

/// The disk as the neutral part holds it.
pub struct BlockDisk {
    disk: Rc<RefCell<Blkfront>>,
    name: String,
}

impl BlockDisk {
    /// A handle of a disk that is connected.
    pub fn new(disk: Rc<RefCell<Blkfront>>) -> Self {
        let name = disk.borrow().name.clone();
        BlockDisk { disk, name }
    }
}

impl Disk for BlockDisk {
    fn name(&self) -> &str {
        &self.name
    }

    fn size_bytes(&self) -> u64 {
        self.disk.borrow().geometry.map_or(0, |geometry| geometry.sectors * SECTOR_BYTES as u64)
    }

    fn sector_bytes(&self) -> usize {
        self.disk.borrow().geometry.map_or(SECTOR_BYTES, |geometry| geometry.sector_bytes)
    }

    fn is_read_only(&self) -> bool {
        self.disk.borrow().geometry.is_some_and(|geometry| geometry.read_only)
    }

    fn request_bytes_max(&self) -> usize {
        self.disk.borrow().request_pages_max() * PAGE_BYTES
    }

    unsafe fn submit(&mut self, request: Request) -> Result<(), SubmitError> {
        self.disk.borrow_mut().submit(request)
    }

    fn kick(&mut self) {
        self.disk.borrow_mut().kick();
    }

    fn complete(&mut self) -> Option<Completion> {
        self.disk.borrow_mut().complete()
    }
}
