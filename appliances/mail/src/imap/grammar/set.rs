//! Sequence sets (RFC 3501 9 `sequence-set`, RFC 5182 `$`).

use super::cursor::{Cursor, Parsed};

/// Numbers and ranges as written; `*` is `u32::MAX`. Each pair is ordered (low, high).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Set {
    ranges: Vec<(u32, u32)>,
}

/// A set, or `$`: what the last SEARCH with RETURN (SAVE) found (RFC 5182).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetOrSaved {
    /// Numbers said by the client.
    Set(Set),
    /// `$`.
    Saved,
}

impl Set {
    /// The stand-in for `*`: the largest number in use.
    pub const STAR: u32 = u32::MAX;

    /// A set of these ranges (low, high).
    pub fn from_ranges(ranges: Vec<(u32, u32)>) -> Set {
        Set { ranges }
    }

    /// A set of single numbers, which are made ranges where they follow each other.
    pub fn from_sorted(numbers: impl IntoIterator<Item = u32>) -> Set {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for n in numbers {
            match ranges.last_mut() {
                Some((_, high)) if *high != u32::MAX && *high + 1 == n => *high = n,
                _ => ranges.push((n, n)),
            }
        }
        Set { ranges }
    }

    /// The ranges as written.
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.ranges
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ranges with `*` read as `largest`, sorted, overlaps joined. Empty where `largest` is zero. `5:*` with a
    /// largest of 3 is `3:5`, as RFC 3501 says of UIDs.
    pub fn resolve(&self, largest: u32) -> Vec<(u32, u32)> {
        if largest == 0 {
            return Vec::new();
        }
        let star = |n: u32| if n == Set::STAR { largest } else { n };
        let mut all: Vec<(u32, u32)> = self
            .ranges
            .iter()
            .map(|&(a, b)| {
                let (a, b) = (star(a), star(b));
                (a.min(b), a.max(b))
            })
            .collect();
        all.sort_unstable();
        let mut joined: Vec<(u32, u32)> = Vec::with_capacity(all.len());
        for (low, high) in all {
            match joined.last_mut() {
                Some((_, top)) if low <= top.saturating_add(1) => *top = (*top).max(high),
                _ => joined.push((low, high)),
            }
        }
        joined
    }

    /// Writes the set as IMAP shows it (`1:3,7`).
    pub fn write(&self, out: &mut Vec<u8>) {
        for (i, &(low, high)) in self.ranges.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(low.to_string().as_bytes());
            if high != low {
                out.push(b':');
                out.extend_from_slice(high.to_string().as_bytes());
            }
        }
    }
}

impl Cursor<'_> {
    /// `sequence-set` without `$`.
    pub(super) fn set(&mut self) -> Parsed<Set> {
        let mut ranges = Vec::new();
        loop {
            let low = self.set_number()?;
            let high = if self.eat(b':') { self.set_number()? } else { low };
            ranges.push((low.min(high), low.max(high)));
            if !self.eat(b',') {
                return Ok(Set { ranges });
            }
        }
    }

    /// `sequence-set` with `$` (RFC 5182).
    pub(super) fn set_or_saved(&mut self) -> Parsed<SetOrSaved> {
        if self.eat(b'$') { Ok(SetOrSaved::Saved) } else { self.set().map(SetOrSaved::Set) }
    }

    fn set_number(&mut self) -> Parsed<u32> {
        // The largest number there is stands for `*`; no UID reaches it.
        if self.eat(b'*') { Ok(Set::STAR) } else { Ok(self.nz_number()?.min(Set::STAR - 1)) }
    }
}
