//! Pieces of a mailbox that several threads work on. What they make comes in order, and no more is under way than a number of
//! pieces and of bytes, or one piece.

use crate::mailbox::{MailboxError, Row, Rows};
use chassis::aside::{Begun, begin};
use std::collections::VecDeque;
use std::iter::Peekable;
use std::sync::Arc;

/// Some messages, by ranges of their sequence numbers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Piece {
    pub ranges: Vec<(u32, u32)>,
    /// What they weigh together.
    pub weight: usize,
}

/// See the module.
pub(super) struct InOrder<T> {
    ahead: Peekable<std::vec::IntoIter<Piece>>,
    work: Arc<dyn Fn(&Piece) -> T + Send + Sync>,
    under_way: VecDeque<(usize, Begun<T>)>,
    pieces_max: usize,
    weight_max: usize,
}

impl<T: Send + 'static> InOrder<T> {
    /// Does the work on each piece; at most `pieces_max` at a time, which together weigh at most `weight_max`.
    pub fn new(
        pieces: Vec<Piece>,
        (pieces_max, weight_max): (usize, usize),
        work: impl Fn(&Piece) -> T + Send + Sync + 'static,
    ) -> InOrder<T> {
        let ahead = pieces.into_iter().peekable();
        InOrder { ahead, work: Arc::new(work), under_way: VecDeque::new(), pieces_max, weight_max }
    }

    /// What the next piece came to. Others are begun before it is waited for.
    pub async fn next(&mut self) -> Option<Result<T, MailboxError>> {
        while let Some(piece) = self.ahead.next_if(|piece| {
            let weight: usize = self.under_way.iter().map(|(weight, _)| weight).sum();
            let is_room = self.under_way.len() < self.pieces_max && weight + piece.weight <= self.weight_max;
            self.under_way.is_empty() || is_room
        }) {
            let work = self.work.clone();
            let weight = piece.weight;
            self.under_way.push_back((weight, begin(move || work(&piece))));
        }
        let (_, first) = self.under_way.pop_front()?;
        Some(first.await.ok_or(MailboxError::Stopping))
    }
}

/// The rows of these ranges in pieces that weigh so much or a little more.
pub(super) fn pieces(
    rows: &Rows,
    ranges: &[(u32, u32)],
    weight: impl Fn(&Row) -> usize,
    enough: usize,
) -> Vec<Piece> {
    let (mut pieces, mut piece) = (Vec::new(), Piece::default());
    for (number, row) in rows.in_ranges(ranges) {
        match piece.ranges.last_mut() {
            Some((_, high)) if *high + 1 == number => *high = number,
            _ => piece.ranges.push((number, number)),
        }
        piece.weight += weight(row);
        if piece.weight >= enough {
            pieces.push(std::mem::take(&mut piece));
        }
    }
    if !piece.ranges.is_empty() {
        pieces.push(piece);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::Flags;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use store::ObjectId;

    fn rows(sizes: &[u32]) -> Rows {
        let row = |(at, size): (usize, &u32)| Row {
            uid: at as u32 + 1,
            size: *size,
            date: 0,
            came: 1,
            modseq: 1,
            flags: Flags(0),
            blob: ObjectId([0; 20]),
        };
        Rows::new(&sizes.iter().enumerate().map(row).collect::<Vec<_>>())
    }

    #[test]
    fn pieces_hold_every_row_once() {
        let rows = rows(&[1, 1, 5, 9, 1, 1, 1]);
        let size = |row: &Row| row.size as usize;
        let cut = pieces(&rows, &[(1, 2), (4, 9)], size, 3);
        let ranges: Vec<_> = cut.iter().map(|piece| (piece.ranges.clone(), piece.weight)).collect();
        assert_eq!(ranges, [(vec![(1, 2), (4, 4)], 11), (vec![(5, 7)], 3)]);
        assert!(pieces(&rows, &[(8, 9)], size, 3).is_empty());
    }

    #[tokio::test]
    async fn results_come_in_order_and_no_more_is_under_way_than_allowed() {
        static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
        let rows = rows(&[3, 3, 3, 3, 90, 3, 3]);
        let cut = pieces(&rows, &[(1, 7)], |row| row.size as usize, 1);
        let mut found = InOrder::new(cut, (3, 10), |piece| {
            let weight = UNDER_WAY.fetch_add(piece.weight, Ordering::SeqCst) + piece.weight;
            std::thread::yield_now();
            UNDER_WAY.fetch_sub(piece.weight, Ordering::SeqCst);
            (piece.ranges[0].0, weight)
        });
        for number in 1..=7 {
            let (found, weight) = found.next().await.unwrap().unwrap();
            assert_eq!(found, number);
            assert!(weight <= 10 || number == 5 && weight == 90, "{number}: {weight}");
        }
        assert!(found.next().await.is_none());
    }
}
