//! A received packet while its pieces come in: where they stand in the receive pages, and whether they make one frame
//! there, so that nobody has to copy it together.
//!
//! A backend fills page after page as they were posted, and they are posted in the order in which they come back. So a
//! long packet mostly stands in one stretch already, but for the page whose slot carried the extra information behind the
//! first piece: that piece is moved there.

use alloc::vec::Vec;

use super::netif::Piece;
use crate::platform::PAGE_BYTES;

/// The pieces of one packet so far, and all pages that came back with it.
#[derive(Debug, Default)]
pub struct Packet {
    pieces: Vec<Piece>,
    pages: Vec<usize>,
    bytes: usize,
    lost: bool,
}

/// Where a whole packet can be read in one stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Its offset in the receive pages.
    pub start: usize,
    /// The first piece, if it has to be moved there.
    pub moved: Option<Piece>,
}

impl Packet {
    /// Adds a piece.
    pub fn piece(&mut self, piece: Piece) {
        self.pieces.push(piece);
        self.pages.push(piece.page);
        self.bytes += piece.length;
    }

    /// Adds a page that came back without data; the packet is lost if `dropped` says so.
    pub fn empty(&mut self, page: usize, dropped: bool) {
        self.pages.push(page);
        self.lost |= dropped;
    }

    /// Its pieces, in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// All pages that came back with it, in their order.
    pub fn pages(&self) -> &[usize] {
        &self.pages
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The backend could not deliver all of it.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Where it stands in one stretch, if it does or nearly does.
    pub fn stretch(&self) -> Option<Stretch> {
        let (first, rest) = self.pieces.split_first()?;
        let follows = |one: &Piece, next: &Piece| {
            next.page == one.page + 1 && one.offset + one.length == PAGE_BYTES && next.offset == 0
        };
        if !rest.windows(2).all(|two| follows(&two[0], &two[1])) {
            return None;
        }
        let stands = |moved| Stretch { start: first.page * PAGE_BYTES + first.offset, moved };
        let Some(second) = rest.first().filter(|second| !follows(first, second)) else {
            return Some(stands(None));
        };
        let before = second.page.checked_sub(1).filter(|_| second.offset == 0)?;
        let is_spare = self.pages.contains(&before) && self.pieces.iter().all(|piece| piece.page != before);
        is_spare.then(|| Stretch { start: second.page * PAGE_BYTES - first.length, moved: Some(*first) })
    }

    /// Makes it empty for the next packet.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.pages.clear();
        (self.bytes, self.lost) = (0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    fn packet(pieces: &[(usize, usize, usize)]) -> Packet {
        let mut packet = Packet::default();
        for &(page, offset, length) in pieces {
            match length {
                0 => packet.empty(page, false),
                _ => packet.piece(Piece { page, offset, length }),
            }
        }
        packet
    }

    #[test]
    fn pages_that_follow_each_other_are_one_stretch() {
        assert_eq!(packet(&[(5, 16, 100)]).stretch(), Some(Stretch { start: 5 * 4096 + 16, moved: None }));
        let two = packet(&[(5, 96, 4000), (6, 0, 9)]);
        assert_eq!(two.stretch(), Some(Stretch { start: 5 * 4096 + 96, moved: None }));
        assert_eq!((two.bytes(), two.pages()), (4009, &[5, 6][..]));
        assert_eq!(packet(&[(5, 0, 4000), (6, 0, 9)]).stretch(), None, "a gap");
        assert_eq!(packet(&[(7, 0, 4096), (0, 0, 9)]).stretch(), None, "around the end");
        assert_eq!(packet(&[(5, 0, 4096), (6, 4, 9)]).stretch(), None, "it starts inside of its page");
    }

    #[test]
    fn the_first_piece_moves_to_the_page_of_the_extra_information() {
        let moved = |page, length| Some(Piece { page, offset: 0, length });
        let whole = packet(&[(5, 0, 4096), (6, 0, 0), (7, 0, 4096), (8, 0, 3)]);
        assert_eq!(whole.stretch(), Some(Stretch { start: 6 * 4096, moved: moved(5, 4096) }));
        let short = packet(&[(5, 0, 100), (6, 0, 0), (7, 0, 3)]);
        assert_eq!(short.stretch(), Some(Stretch { start: 7 * 4096 - 100, moved: moved(5, 100) }));
        assert_eq!(packet(&[(9, 0, 4096), (7, 0, 3)]).stretch(), None, "that page is not of this packet");
        assert_eq!(packet(&[(6, 0, 4096), (5, 0, 0), (7, 0, 4096), (0, 0, 3)]).stretch(), None);
    }

    proptest! {
        /// Read as the stretch says, the bytes are those of the pieces; nothing but the packet's own pages is touched.
        #[test]
        fn a_stretch_holds_the_pieces(
            slots in proptest::collection::vec((0..12_usize, prop_oneof![Just(0), 0..4096_usize], 0..=4096_usize), 1..8),
        ) {
            let mut memory: vec::Vec<u8> = (0..12 * PAGE_BYTES).map(|at| (at / 7) as u8).collect();
            let mut seen = vec::Vec::new();
            let mut all = Packet::default();
            for (page, offset, length) in slots {
                if seen.contains(&page) {
                    continue;
                }
                seen.push(page);
                let length = length.min(PAGE_BYTES - offset);
                if length == 0 { all.empty(page, false) } else { all.piece(Piece { page, offset, length }) }
            }
            let place = |piece: &Piece| piece.page * PAGE_BYTES + piece.offset..piece.page * PAGE_BYTES + piece.offset + piece.length;
            let expected: vec::Vec<u8> = all.pieces().iter().flat_map(|piece| memory[place(piece)].to_vec()).collect();
            if let Some(stretch) = all.stretch() {
                if let Some(moved) = stretch.moved {
                    memory.copy_within(place(&moved), stretch.start);
                }
                let range = stretch.start..stretch.start + all.bytes();
                prop_assert!(range.clone().step_by(PAGE_BYTES).chain([range.end - 1]).all(|at| seen.contains(&(at / PAGE_BYTES))));
                prop_assert_eq!(&memory[range], &expected[..]);
            }
        }
    }
}
