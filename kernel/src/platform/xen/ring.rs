//! The front end's half of Xen's shared ring (`io/ring.h`), for any slot layout.
//!
//! One page: request producer, request event, response producer, response event (u32 each), padding to 64 bytes, then a
//! power of two of slots that hold requests on the way out and responses on the way back. Indexes only grow. A side asks
//! to be signalled by putting the index it waits for into its event field.
//!
//! Whatever the other side writes, the only thing taken from the page is the response producer, checked against the
//! number of requests that are out, and the bytes of a response, copied once.

use core::sync::atomic::{Ordering, fence};

use super::fault::Fault;
use super::shared::Shared;
use crate::platform::PAGE_BYTES;

const REQUEST_PRODUCER: usize = 0;
const REQUEST_EVENT: usize = 4;
const RESPONSE_PRODUCER: usize = 8;
const RESPONSE_EVENT: usize = 12;
const SLOTS_AT: usize = 64;

/// A ring on a page that we own and share.
#[derive(Debug)]
pub struct FrontRing<S> {
    page: S,
    slot_bytes: usize,
    slots: u32,
    produced: u32,
    published: u32,
    consumed: u32,
}

impl<S: Shared> FrontRing<S> {
    /// Makes `page` an empty ring of slots of `slot_bytes` (the larger of request and response).
    pub fn new(page: S, slot_bytes: usize) -> Self {
        let fitting = (PAGE_BYTES - SLOTS_AT) / slot_bytes;
        let slots = 1u32 << fitting.ilog2();
        page.store(REQUEST_PRODUCER, 0);
        page.store(RESPONSE_PRODUCER, 0);
        page.store(REQUEST_EVENT, 1);
        page.store(RESPONSE_EVENT, 1);
        FrontRing { page, slot_bytes, slots, produced: 0, published: 0, consumed: 0 }
    }

    /// How many slots there are.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// How many more requests fit.
    pub fn room(&self) -> u32 {
        self.slots - self.produced.wrapping_sub(self.consumed)
    }

    /// The slot number of the next request.
    pub fn next_slot(&self) -> usize {
        (self.produced % self.slots) as usize
    }

    /// The slot number of the next response.
    pub fn next_response_slot(&self) -> usize {
        (self.consumed % self.slots) as usize
    }

    /// Puts a request into the next slot. There must be room. The other side sees it after [`Self::publish`].
    pub fn push(&mut self, request: &[u8]) {
        assert!(self.room() > 0 && request.len() <= self.slot_bytes, "no room in the ring");
        self.page.copy_in(SLOTS_AT + self.next_slot() * self.slot_bytes, request);
        self.produced = self.produced.wrapping_add(1);
    }

    /// Shows all pushed requests to the other side; true when it wants to be signalled.
    #[must_use]
    pub fn publish(&mut self) -> bool {
        let old = core::mem::replace(&mut self.published, self.produced);
        if old == self.produced {
            return false;
        }
        self.page.store(REQUEST_PRODUCER, self.produced);
        fence(Ordering::SeqCst);
        let wanted = self.page.load(REQUEST_EVENT);
        self.produced.wrapping_sub(wanted) < self.produced.wrapping_sub(old)
    }

    /// Copies the next response to `into`; false when there is none now.
    pub fn pop(&mut self, into: &mut [u8]) -> Result<bool, Fault> {
        if self.ready()? == 0 {
            return Ok(false);
        }
        self.page.copy_out(SLOTS_AT + self.next_response_slot() * self.slot_bytes, into);
        self.consumed = self.consumed.wrapping_add(1);
        Ok(true)
    }

    /// Asks for a signal when `after` more responses are there (1: the next one); true when that is so already.
    pub fn arm(&mut self, after: u32) -> Result<bool, Fault> {
        self.page.store(RESPONSE_EVENT, self.consumed.wrapping_add(after));
        fence(Ordering::SeqCst);
        Ok(self.ready()? >= after)
    }

    /// Requests that were published and not answered.
    pub fn outstanding(&self) -> u32 {
        self.published.wrapping_sub(self.consumed)
    }

    /// Responses that are there.
    pub fn ready(&self) -> Result<u32, Fault> {
        let ready = self.page.load(RESPONSE_PRODUCER).wrapping_sub(self.consumed);
        if ready > self.outstanding() {
            return Err(Fault::TooManyResponses { claimed: ready, outstanding: self.outstanding() });
        }
        Ok(ready)
    }
}

/// The back end's half, for tests that play a backend.
#[cfg(test)]
#[allow(missing_docs, reason = "part of the tests")]
pub mod back {
    use super::*;
    use std::vec::Vec;

    /// A backend that can also misbehave.
    pub struct BackRing<S> {
        pub page: S,
        slot_bytes: usize,
        slots: u32,
        pub consumed: u32,
        pub produced: u32,
    }

    impl<S: Shared> BackRing<S> {
        pub fn new(page: S, slot_bytes: usize) -> Self {
            let slots = 1u32 << ((PAGE_BYTES - SLOTS_AT) / slot_bytes).ilog2();
            BackRing { page, slot_bytes, slots, consumed: 0, produced: 0 }
        }

        pub fn take(&mut self) -> Option<Vec<u8>> {
            if self.consumed == self.page.load(REQUEST_PRODUCER) {
                self.page.store(REQUEST_EVENT, self.consumed.wrapping_add(1));
                return None;
            }
            let mut bytes = std::vec![0; self.slot_bytes];
            self.page
                .copy_out(SLOTS_AT + (self.consumed % self.slots) as usize * self.slot_bytes, &mut bytes);
            self.consumed = self.consumed.wrapping_add(1);
            Some(bytes)
        }

        pub fn answer(&mut self, response: &[u8]) {
            self.page.copy_in(SLOTS_AT + (self.produced % self.slots) as usize * self.slot_bytes, response);
            self.produced = self.produced.wrapping_add(1);
            self.page.store(RESPONSE_PRODUCER, self.produced);
        }

        pub fn claim(&mut self, produced: u32) {
            self.page.store(RESPONSE_PRODUCER, produced);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::back::BackRing;
    use super::*;
    use crate::platform::xen::shared::Local;

    fn pair(slot_bytes: usize) -> (FrontRing<Local>, BackRing<Local>) {
        let page = Local::new(PAGE_BYTES);
        (FrontRing::new(page.clone(), slot_bytes), BackRing::new(page, slot_bytes))
    }

    #[test]
    fn io_ring_h_slot_counts() {
        assert_eq!(pair(112).0.slots(), 32);
        assert_eq!(pair(12).0.slots(), 256);
        assert_eq!(pair(8).0.slots(), 256);
    }

    #[test]
    fn requests_go_out_and_responses_come_back_over_many_turns() {
        let (mut front, mut back) = pair(8);
        // More than there are slots.
        for turn in 0..if cfg!(miri) { 600 } else { 1000u64 } {
            front.push(&turn.to_le_bytes());
            assert!(front.publish(), "an idle backend asked to be signalled");
            assert_eq!(back.take().unwrap(), turn.to_le_bytes());
            assert!(back.take().is_none());
            assert!(!front.arm(1).unwrap());
            back.answer(&(turn * 2).to_le_bytes());
            let mut answer = [0; 8];
            assert!(front.pop(&mut answer).unwrap());
            assert_eq!(u64::from_le_bytes(answer), turn * 2);
            assert!(!front.pop(&mut answer).unwrap());
        }
    }

    #[test]
    fn a_busy_backend_is_not_signalled_again() {
        let (mut front, _) = pair(8);
        front.push(&[1; 8]);
        assert!(front.publish());
        front.push(&[2; 8]);
        assert!(!front.publish(), "it has not taken the first yet");
    }

    #[test]
    fn a_full_ring_has_no_room() {
        let (mut front, _) = pair(112);
        for _ in 0..32 {
            front.push(&[0; 112]);
        }
        assert_eq!(front.room(), 0);
    }

    #[test]
    fn a_backend_that_claims_more_than_is_out_is_caught() {
        let (mut front, mut back) = pair(8);
        front.push(&[1; 8]);
        assert!(front.publish());
        for claim in [2, 1000, u32::MAX, 0x8000_0000] {
            back.claim(claim);
            assert!(front.pop(&mut [0; 8]).is_err(), "claimed {claim}");
            assert!(front.arm(1).is_err());
        }
    }

    #[test]
    fn requests_that_were_not_published_cannot_be_answered() {
        let (mut front, mut back) = pair(8);
        front.push(&[1; 8]);
        back.claim(1);
        assert!(front.pop(&mut [0; 8]).is_err());
    }
}
