//! The network protocol of `io/netif.h`, both directions, as pure code: which slots are out, what a response may say.
//!
//! Pages are numbered; what they hold and how they are granted is the caller's business. A page is either ours or the
//! backend's, and the tables here say which; a response can only give back what is out.

use alloc::vec;
use alloc::vec::Vec;

use super::fault::Fault;
use super::ring::FrontRing;
use super::shared::Shared;
use crate::platform::PAGE_BYTES;

/// Longest frame either way: an IP packet of 64 KiB and an Ethernet header.
pub const FRAME_BYTES_MAX: usize = 65535 + 14;
/// Slots that every backend takes for one packet (`XEN_NETIF_NR_SLOTS_MIN`).
pub const PACKET_SLOTS_MAX: usize = 18;

const TRANSMIT_CHECKSUM_BLANK: u16 = 1;
const TRANSMIT_DATA_VALIDATED: u16 = 2;
const TRANSMIT_MORE: u16 = 4;
const TRANSMIT_EXTRA: u16 = 8;
const RECEIVE_DATA_VALIDATED: u16 = 1;
const RECEIVE_CHECKSUM_BLANK: u16 = 2;
const RECEIVE_MORE: u16 = 4;
const RECEIVE_EXTRA: u16 = 8;
const EXTRA_SEGMENTATION: u8 = 1;
const EXTRA_MORE: u8 = 1;
const EXTRA_KINDS: u8 = 5;
/// Status of the response that answers an extra information slot.
const STATUS_NULL: i16 = 1;

/// What the backend is to do to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// Nothing.
    Plain,
    /// Complete its checksum.
    Checksum,
    /// Complete checksums and cut the payload into segments of `size` bytes.
    Segments {
        /// Payload of one segment.
        size: u16,
        /// TCP over IPv6, not IPv4.
        v6: bool,
    },
}

/// The transmit direction.
#[derive(Debug)]
pub struct Transmit<S> {
    ring: FrontRing<S>,
    /// For each page whether the backend has it.
    out: Vec<bool>,
    free: usize,
    /// Where the search for free pages starts.
    next: usize,
    /// Extra slots that wait for their empty answer.
    extras: u32,
}

impl<S: Shared> Transmit<S> {
    /// A ring on `page` that sends from `pages` data pages (at most 65,536).
    pub fn new(page: S, pages: usize) -> Self {
        Transmit { ring: FrontRing::new(page, 12), out: vec![false; pages], free: pages, next: 0, extras: 0 }
    }

    /// A run of `count` free pages that follow each other, if slots and pages suffice for such a packet.
    pub fn find(&mut self, count: usize) -> Option<usize> {
        // One slot more for the extra information.
        if self.free < count || (self.ring.room() as usize) < count + 1 {
            return None;
        }
        let last = self.out.len().checked_sub(count)?;
        let fits = |&start: &usize| !self.out[start..start + count].contains(&true);
        (self.next..=last).find(fits).or_else(|| (0..=last.min(self.next)).find(fits))
    }

    /// Sends `length` bytes that stand in the pages from `first` on, which [`Self::find`] returned. `grants` are those
    /// of all pages.
    pub fn send(&mut self, first: usize, length: usize, finish: Finish, grants: &[u32]) {
        let count = length.div_ceil(PAGE_BYTES).max(1);
        for index in 0..count {
            let page = first + index;
            let mut flags = if index + 1 < count { TRANSMIT_MORE } else { 0 };
            // The first slot says how long the whole packet is, the others how much they hold.
            let mut size = (length - index * PAGE_BYTES).min(PAGE_BYTES);
            if index == 0 {
                size = length;
                flags |= match finish {
                    Finish::Plain => 0,
                    Finish::Checksum => TRANSMIT_CHECKSUM_BLANK | TRANSMIT_DATA_VALIDATED,
                    Finish::Segments { .. } => {
                        TRANSMIT_CHECKSUM_BLANK | TRANSMIT_DATA_VALIDATED | TRANSMIT_EXTRA
                    }
                };
            }
            let mut request = [0; 12];
            request[0..4].copy_from_slice(&grants[page].to_le_bytes());
            request[6..8].copy_from_slice(&flags.to_le_bytes());
            request[8..10].copy_from_slice(&(page as u16).to_le_bytes());
            request[10..12].copy_from_slice(&(size as u16).to_le_bytes());
            self.ring.push(&request);
            self.out[page] = true;
            if let (0, Finish::Segments { size, v6 }) = (index, finish) {
                self.ring.push(&segmentation(size, v6));
                self.extras += 1;
            }
        }
        self.free -= count;
        self.next = if first + count < self.out.len() { first + count } else { 0 };
    }

    /// Shows what was sent; true when the backend wants a signal.
    pub fn publish(&mut self) -> bool {
        self.ring.publish()
    }

    /// Takes pages back that the backend is done with.
    pub fn reclaim(&mut self) -> Result<(), Fault> {
        let mut response = [0; 4];
        while self.ring.pop(&mut response)? {
            let id = u16::from_le_bytes([response[0], response[1]]);
            let status = i16::from_le_bytes([response[2], response[3]]);
            if status == STATUS_NULL && self.extras > 0 {
                self.extras -= 1;
                continue;
            }
            // A packet that the backend could not send is lost, as packets may be.
            match self.out.get_mut(id as usize) {
                Some(out) if *out => *out = false,
                _ => return Err(Fault::UnknownId(id.into())),
            }
            self.free += 1;
        }
        Ok(())
    }

    /// Asks for a signal when half of what is out came back; true when that is so already.
    pub fn arm(&mut self) -> Result<bool, Fault> {
        let half = self.ring.outstanding() / 2 + 1;
        self.ring.arm(half)
    }
}

fn segmentation(size: u16, v6: bool) -> [u8; 8] {
    let size = size.to_le_bytes();
    [EXTRA_SEGMENTATION, 0, size[0], size[1], if v6 { 2 } else { 1 }, 0, 0, 0]
}

/// One piece of a received packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The page it stands in.
    pub page: usize,
    /// Where in the page it starts; piece and page end are checked.
    pub offset: usize,
    /// Its length in bytes.
    pub length: usize,
}

/// What the receive direction has next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// A piece; the caller copies it and then gives the page back by [`Receive::post`].
    Piece {
        /// Where it is.
        piece: Piece,
        /// The packet ends with it.
        last: bool,
        /// The backend checked the checksum, or it never left the host.
        checksum_good: bool,
    },
    /// A page came back without data (an error, or its slot carried extra information): post it again. The packet it
    /// belongs to, if one is open, is to be dropped when `dropped` says so.
    Empty {
        /// The page.
        page: usize,
        /// The packet is lost.
        dropped: bool,
        /// The packet ends with it.
        last: bool,
    },
}

/// The receive direction.
#[derive(Debug)]
pub struct Receive<S> {
    ring: FrontRing<S>,
    /// For each slot which page was posted there.
    posted: Vec<Option<u16>>,
    /// Extra information slots follow.
    extra: bool,
    /// The slot before them said that the packet goes on after them.
    more_after_extra: bool,
    /// Bytes and slots of the open packet.
    bytes: usize,
    pieces: usize,
    /// The flags of the open packet's first slot.
    checksum_good: bool,
}

impl<S: Shared> Receive<S> {
    /// An empty ring on `page`.
    pub fn new(page: S) -> Self {
        let ring = FrontRing::new(page, 8);
        let slots = ring.slots() as usize;
        Receive {
            ring,
            posted: vec![None; slots],
            extra: false,
            more_after_extra: false,
            bytes: 0,
            pieces: 0,
            checksum_good: false,
        }
    }

    /// How many slots there are: no more pages than this can be out.
    pub fn slots(&self) -> usize {
        self.posted.len()
    }

    /// Gives page number `page` to the backend to receive into.
    pub fn post(&mut self, page: usize, grant: u32) {
        let mut request = [0; 8];
        request[0..2].copy_from_slice(&(page as u16).to_le_bytes());
        request[4..8].copy_from_slice(&grant.to_le_bytes());
        self.posted[self.ring.next_slot()] = Some(page as u16);
        self.ring.push(&request);
    }

    /// Shows what was posted; true when the backend wants a signal.
    pub fn publish(&mut self) -> bool {
        self.ring.publish()
    }

    /// Asks for a signal when `after` more responses are there; true when they are already.
    pub fn arm(&mut self, after: u32) -> Result<bool, Fault> {
        self.ring.arm(after)
    }

    /// Slots that the backend has filled: frames, or pieces of them.
    pub fn ready(&self) -> Result<u32, Fault> {
        self.ring.ready()
    }

    /// Pages that the backend has.
    pub fn outstanding(&self) -> u32 {
        self.ring.outstanding()
    }

    /// Whether the open packet's first slot vouched for its checksum.
    pub fn checksum_good(&self) -> bool {
        self.checksum_good
    }

    /// The next piece, or `None` when nothing is there now.
    pub fn next_piece(&mut self) -> Result<Option<Received>, Fault> {
        let slot = self.ring.next_response_slot();
        let mut response = [0; 8];
        if !self.ring.pop(&mut response)? {
            return Ok(None);
        }
        let page = self.posted[slot].take().ok_or(Fault::UnknownId(slot as u64))?;
        if self.extra {
            return self.extra_slot(response, page.into()).map(Some);
        }
        let id = u16::from_le_bytes([response[0], response[1]]);
        if id != page {
            return Err(Fault::UnknownId(id.into()));
        }
        let offset = u16::from_le_bytes([response[2], response[3]]) as usize;
        let flags = u16::from_le_bytes([response[4], response[5]]);
        let status = i16::from_le_bytes([response[6], response[7]]);
        self.data_slot(page.into(), offset, flags, status).map(Some)
    }

    fn data_slot(&mut self, page: usize, offset: usize, flags: u16, status: i16) -> Result<Received, Fault> {
        if self.pieces == 0 {
            self.checksum_good = flags & (RECEIVE_DATA_VALIDATED | RECEIVE_CHECKSUM_BLANK) != 0;
            self.extra = flags & RECEIVE_EXTRA != 0;
        }
        let more = flags & RECEIVE_MORE != 0;
        self.more_after_extra = more;
        let last = !more && !self.extra;
        if self.pieces >= PACKET_SLOTS_MAX {
            return Err(Fault::PacketTooLong(self.bytes));
        }
        if status < 0 {
            self.open_or_close(last);
            return Ok(Received::Empty { page, dropped: true, last });
        }
        let length = status as usize;
        if offset + length > PAGE_BYTES {
            return Err(Fault::OutsidePage { offset, length });
        }
        self.bytes += length;
        if self.bytes > FRAME_BYTES_MAX {
            return Err(Fault::PacketTooLong(self.bytes));
        }
        self.open_or_close(last);
        let checksum_good = self.checksum_good;
        Ok(Received::Piece { piece: Piece { page, offset, length }, last, checksum_good })
    }

    /// Extra information says how to cut a packet that is whole here, so it needs no more than a plausible form.
    fn extra_slot(&mut self, response: [u8; 8], page: usize) -> Result<Received, Fault> {
        let [kind, flags, ..] = response;
        if kind == 0 || kind >= EXTRA_KINDS {
            return Err(Fault::Extra(kind));
        }
        if self.pieces > PACKET_SLOTS_MAX + usize::from(EXTRA_KINDS) {
            return Err(Fault::Extra(kind));
        }
        self.extra = flags & EXTRA_MORE != 0;
        let last = !self.extra && !self.more_after_extra;
        self.open_or_close(last);
        Ok(Received::Empty { page, dropped: false, last })
    }

    fn open_or_close(&mut self, last: bool) {
        self.pieces = if last { 0 } else { self.pieces + 1 };
        if last {
            self.bytes = 0;
        }
    }
}

#[cfg(test)]
#[path = "netif_tests.rs"]
mod tests;
