//! The disk protocol of `io/blkif.h` as pure code: requests in their slots, what a response may say.
//!
//! A request in flight has a tag: its place in the table of requests, with a number that makes each use of the place
//! different. A response must carry the tag and the operation of a request that is out; anything else is a fault.

use alloc::vec::Vec;

use super::fault::Fault;
use super::ring::FrontRing;
use super::shared::Shared;
use crate::platform::PAGE_BYTES;

/// Segments that fit a plain request.
pub const DIRECT_SEGMENTS_MAX: usize = 11;
/// Segments that one page of an indirect request describes.
pub const INDIRECT_SEGMENTS_MAX: usize = PAGE_BYTES / 8;
/// The protocol counts in these, whatever the disk's own sectors are.
pub const SECTOR_BYTES: usize = 512;

const SLOT_BYTES: usize = 112;
const READ: u8 = 0;
const WRITE: u8 = 1;
const BARRIER: u8 = 2;
const FLUSH: u8 = 3;
const DISCARD: u8 = 5;
const INDIRECT: u8 = 6;
const STATUS_OKAY: i16 = 0;
const STATUS_UNSUPPORTED: i16 = -2;

/// What a request asks for, in the protocol's sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Read into the segments.
    Read {
        /// First sector.
        sector: u64,
    },
    /// Write from the segments.
    Write {
        /// First sector.
        sector: u64,
    },
    /// Flush by its own operation.
    Flush,
    /// Flush by an empty barrier, for backends that know no flush.
    Barrier,
    /// Discard sectors.
    Discard {
        /// First sector.
        sector: u64,
        /// How many.
        count: u64,
    },
}

/// One page of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The grant of the page.
    pub grant: u32,
    /// Its first 512-byte sector that takes part.
    pub first: u8,
    /// Its last one.
    pub last: u8,
}

impl Segment {
    /// The eight bytes that describe it in a request or an indirect page.
    pub fn bytes(&self) -> [u8; 8] {
        let [a, b, c, d] = self.grant.to_le_bytes();
        [a, b, c, d, self.first, self.last, 0, 0]
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Okay,
    /// The backend does not know the operation.
    Unsupported,
    /// It failed.
    Failed,
}

/// A place in the table of requests.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// Counts the uses of the place.
    uses: u32,
    /// The operation that is out, if one is, and as which the answer may name it. blkback answers an indirect request
    /// by the operation inside, other backends by the one outside.
    operation: Option<(u8, u8)>,
}

/// The ring of a disk.
#[derive(Debug)]
pub struct Requests<S> {
    ring: FrontRing<S>,
    places: Vec<Place>,
    handle: u16,
}

impl<S: Shared> Requests<S> {
    /// An empty ring on `page` for the virtual device number `handle`.
    pub fn new(page: S, handle: u16) -> Self {
        let ring = FrontRing::new(page, SLOT_BYTES);
        let places = (0..ring.slots()).map(|_| Place::default()).collect();
        Requests { ring, places, handle }
    }

    /// How many requests can be out at once; places are numbered below it.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// A place for one more request.
    pub fn free_place(&self) -> Option<usize> {
        self.places.iter().position(|place| place.operation.is_none()).filter(|_| self.ring.room() > 0)
    }

    /// Sends a request from a free place. With more than [`DIRECT_SEGMENTS_MAX`] segments, `indirect` is the grant of a
    /// page in which their [`Segment::bytes`] stand.
    pub fn send(&mut self, place: usize, ask: Ask, segments: &[Segment], indirect: Option<u32>) {
        let slot = &mut self.places[place];
        slot.uses = slot.uses.wrapping_add(1);
        let tag = u64::from(slot.uses) << 32 | place as u64;
        let (operation, sector) = match ask {
            Ask::Read { sector } => (READ, sector),
            Ask::Write { sector } => (WRITE, sector),
            Ask::Flush => (FLUSH, 0),
            Ask::Barrier => (BARRIER, 0),
            Ask::Discard { sector, .. } => (DISCARD, sector),
        };
        let mut request = [0; SLOT_BYTES];
        request[8..16].copy_from_slice(&tag.to_le_bytes());
        request[16..24].copy_from_slice(&sector.to_le_bytes());
        match indirect {
            Some(grant) => {
                slot.operation = Some((operation, INDIRECT));
                request[0] = INDIRECT;
                request[1] = operation;
                request[2..4].copy_from_slice(&(segments.len() as u16).to_le_bytes());
                request[24..26].copy_from_slice(&self.handle.to_le_bytes());
                request[28..32].copy_from_slice(&grant.to_le_bytes());
            }
            None => {
                slot.operation = Some((operation, operation));
                request[0] = operation;
                request[1] = segments.len() as u8;
                request[2..4].copy_from_slice(&self.handle.to_le_bytes());
                for (at, segment) in (24..).step_by(8).zip(segments) {
                    request[at..at + 8].copy_from_slice(&segment.bytes());
                }
            }
        }
        if let Ask::Discard { count, .. } = ask {
            request[1] = 0;
            request[24..32].copy_from_slice(&count.to_le_bytes());
        }
        self.ring.push(&request);
    }

    /// Shows what was sent; true when the backend wants a signal.
    pub fn publish(&mut self) -> bool {
        self.ring.publish()
    }

    /// Asks for a signal at the next response; true when there is one already.
    pub fn arm(&mut self) -> Result<bool, Fault> {
        self.ring.arm(1)
    }

    /// The next finished request: its place, free again, and how it went.
    pub fn next_answer(&mut self) -> Result<Option<(usize, Outcome)>, Fault> {
        let mut response = [0; 12];
        if !self.ring.pop(&mut response)? {
            return Ok(None);
        }
        let tag = u64::from_le_bytes(response[0..8].try_into().expect("eight bytes"));
        let status = i16::from_le_bytes([response[10], response[11]]);
        let index = (tag & 0xffff_ffff) as usize;
        let place = self.places.get_mut(index).filter(|place| u64::from(place.uses) == tag >> 32);
        let place = place.ok_or(Fault::UnknownId(tag))?;
        match place.operation {
            None => return Err(Fault::UnknownId(tag)),
            Some((inside, outside)) if ![inside, outside].contains(&response[8]) => {
                return Err(Fault::WrongOperation(response[8]));
            }
            Some(_) => place.operation = None,
        }
        let outcome = match status {
            STATUS_OKAY => Outcome::Okay,
            STATUS_UNSUPPORTED => Outcome::Unsupported,
            _ => Outcome::Failed,
        };
        Ok(Some((index, outcome)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::xen::ring::back::BackRing;
    use crate::platform::xen::shared::Local;
    use std::vec;

    fn pair() -> (Requests<Local>, BackRing<Local>) {
        let page = Local::new(PAGE_BYTES);
        (Requests::new(page.clone(), 0xca00), BackRing::new(page, SLOT_BYTES))
    }

    fn answer(request: &[u8], operation: u8, status: i16) -> vec::Vec<u8> {
        let mut response = request[8..16].to_vec();
        response.push(operation);
        response.push(0);
        response.extend(status.to_le_bytes());
        response
    }

    #[test]
    fn blkif_h_layout_of_a_read() {
        let (mut front, mut back) = pair();
        let segment = Segment { grant: 0x0102_0304, first: 0, last: 7 };
        front.send(0, Ask::Read { sector: 0x1122 }, &[segment], None);
        assert!(front.publish());
        let request = back.take().unwrap();
        assert_eq!(request[..4], [READ, 1, 0x00, 0xca]);
        assert_eq!(request[16..24], 0x1122u64.to_le_bytes());
        assert_eq!(request[24..32], [4, 3, 2, 1, 0, 7, 0, 0]);
        back.answer(&answer(&request, READ, 0));
        assert_eq!(front.next_answer(), Ok(Some((0, Outcome::Okay))));
        assert_eq!(front.next_answer(), Ok(None));
    }

    #[test]
    fn blkif_h_layout_of_an_indirect_write_and_a_discard() {
        let (mut front, mut back) = pair();
        let segments = vec![Segment { grant: 9, first: 0, last: 7 }; 32];
        front.send(0, Ask::Write { sector: 8 }, &segments, Some(77));
        front.send(1, Ask::Discard { sector: 16, count: 32 }, &[], None);
        assert!(front.publish());
        let request = back.take().unwrap();
        assert_eq!(request[..4], [INDIRECT, WRITE, 32, 0]);
        assert_eq!((&request[24..26], &request[28..32]), (&[0x00, 0xca][..], &[77, 0, 0, 0][..]));
        back.answer(&answer(&request, INDIRECT, -1));
        let discard = back.take().unwrap();
        assert_eq!((discard[0], &discard[24..32]), (DISCARD, &32u64.to_le_bytes()[..]));
        back.answer(&answer(&discard, DISCARD, -2));
        assert_eq!(front.next_answer(), Ok(Some((0, Outcome::Failed))));
        assert_eq!(front.next_answer(), Ok(Some((1, Outcome::Unsupported))));
        // Linux's blkback names the operation inside.
        front.send(2, Ask::Write { sector: 8 }, &segments, Some(78));
        let _ = front.publish();
        let again = back.take().unwrap();
        back.answer(&answer(&again, WRITE, 0));
        assert_eq!(front.next_answer(), Ok(Some((2, Outcome::Okay))));
    }

    #[test]
    fn an_answer_is_taken_once_and_only_for_what_was_asked() {
        let (mut front, mut back) = pair();
        front.send(0, Ask::Flush, &[], None);
        front.send(1, Ask::Flush, &[], None);
        assert!(front.publish());
        let request = back.take().unwrap();
        back.answer(&answer(&request, FLUSH, 0));
        assert_eq!(front.next_answer(), Ok(Some((0, Outcome::Okay))));
        back.answer(&answer(&request, FLUSH, 0));
        assert!(matches!(front.next_answer(), Err(Fault::UnknownId(_))));

        let (mut front, mut back) = pair();
        front.send(0, Ask::Flush, &[], None);
        assert!(front.publish());
        let request = back.take().unwrap();
        back.answer(&answer(&request, READ, 0));
        assert_eq!(front.next_answer(), Err(Fault::WrongOperation(READ)));
    }

    #[test]
    fn an_old_answer_does_not_fit_a_new_request_of_the_same_place() {
        let (mut front, mut back) = pair();
        front.send(0, Ask::Flush, &[], None);
        assert!(front.publish());
        let old = back.take().unwrap();
        back.answer(&answer(&old, FLUSH, 0));
        assert!(front.next_answer().unwrap().is_some());
        front.send(0, Ask::Flush, &[], None);
        let _ = front.publish();
        back.answer(&answer(&old, FLUSH, 0));
        assert!(matches!(front.next_answer(), Err(Fault::UnknownId(_))));
    }
}
