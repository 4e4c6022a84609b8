//! Runs of pages: best fit, merged with free neighbours when freed.
//!
//! Every page has a record. Only the first and the last record of a free run, the first of a used run, and all records
//! of a slab are meaningful. Free runs hang on doubly linked lists, one for each short length and one for each power of
//! two above.

use core::ptr::NonNull;

/// Length of a page in bytes.
pub const PAGE_BYTES: usize = 4096;

/// No page: the end of a list.
pub(super) const NONE: u32 = u32::MAX;

/// Lists for runs of exactly 1 to 31 pages.
const EXACT: usize = 32;
/// Then one list for each power of two, up to 2^31 pages.
const LISTS: usize = EXACT + 27;
/// How far one list is searched for a better fit.
const SEARCHED_MAX: usize = 64;

/// What a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// First or last page of a free run (those between keep what they were).
    Free,
    /// First page of a used run.
    Run,
    /// Inside a used run.
    RunTail,
    /// First page of a slab.
    Slab,
    /// Second page of a slab of two.
    SlabTail,
}

/// The record of one page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    pub kind: Kind,
    /// Slab: its size class.
    pub class: u8,
    /// Slab: objects in use.
    pub used: u16,
    /// Slab: first object of the list of freed ones, counted from 1; 0 for none.
    pub freed: u16,
    /// Slab: objects that were ever given out.
    pub fresh: u16,
    /// Free and used runs: pages.
    pub length: u32,
    /// Free runs, and slabs with room: neighbours in their list.
    pub next: u32,
    pub prev: u32,
}

/// What the heap holds, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// All memory that can be given out.
    pub total: usize,
    /// In free runs of whole pages.
    pub free: usize,
    /// The longest free run.
    pub longest_free: usize,
    /// The most that was ever in use at once.
    pub peak: usize,
}

/// The page allocator.
#[derive(Debug)]
pub(super) struct Pages {
    base: NonNull<u8>,
    records: NonNull<Page>,
    count: usize,
    lists: [u32; LISTS],
    free: usize,
    least_free: usize,
}

impl Pages {
    /// # Safety
    /// The range must be valid, page-aligned and used by nobody else.
    pub unsafe fn new(start: NonNull<u8>, bytes: usize) -> Self {
        let all = bytes / PAGE_BYTES;
        let record_pages = (all * size_of::<Page>()).div_ceil(PAGE_BYTES);
        let count = all.saturating_sub(record_pages);
        let records = start.cast::<Page>();
        let blank = Page {
            kind: Kind::RunTail,
            class: 0,
            used: 0,
            freed: 0,
            fresh: 0,
            length: 0,
            next: NONE,
            prev: NONE,
        };
        for index in 0..count {
            // SAFETY: the first `record_pages` pages are ours and long enough for `count` records.
            unsafe { records.add(index).write(blank) };
        }
        // SAFETY: `record_pages` is not above the pages of the range.
        let base = unsafe { start.add(record_pages.min(all) * PAGE_BYTES) };
        let mut pages = Pages { base, records, count, lists: [NONE; LISTS], free: 0, least_free: count };
        if count > 0 {
            pages.insert(0, count);
        }
        pages
    }

    pub fn record(&mut self, index: usize) -> &mut Page {
        assert!(index < self.count, "page {index} of {}", self.count);
        // SAFETY: the index is in range, the record was written in `new`, and `&mut self` makes the access exclusive.
        unsafe { self.records.add(index).as_mut() }
    }

    fn peek(&self, index: usize) -> &Page {
        assert!(index < self.count, "page {index} of {}", self.count);
        // SAFETY: as in `record`, shared.
        unsafe { self.records.add(index).as_ref() }
    }

    /// Bytes that are free now.
    pub fn free_bytes(&self) -> usize {
        self.free * PAGE_BYTES
    }

    /// Bytes that were free at the least, and all.
    pub fn least_free(&self) -> (usize, usize) {
        (self.least_free * PAGE_BYTES, self.count * PAGE_BYTES)
    }

    pub fn kind(&self, index: usize) -> Kind {
        self.peek(index).kind
    }

    pub fn class(&self, index: usize) -> usize {
        self.peek(index).class as usize
    }

    pub fn run_length(&self, index: usize) -> usize {
        self.peek(index).length as usize
    }

    pub fn address(&self, index: usize) -> NonNull<u8> {
        debug_assert!(index < self.count);
        // SAFETY: `index` is below `count`, so the page lies in the range.
        unsafe { self.base.add(index * PAGE_BYTES) }
    }

    pub fn index_of(&self, address: usize) -> Option<usize> {
        let index = address.checked_sub(self.base.as_ptr() as usize)? / PAGE_BYTES;
        (index < self.count).then_some(index)
    }

    /// A run of `length` pages whose first page's address is a multiple of `align` pages.
    pub fn allocate(&mut self, length: usize, align: usize) -> Option<usize> {
        let slack = align - 1;
        let found = self.best_fit(length.checked_add(slack)?)?;
        let found_length = self.run_length(found);
        self.unlink(found);
        let page_number = self.address(found).as_ptr() as usize / PAGE_BYTES;
        let skip = page_number.next_multiple_of(align) - page_number;
        if skip > 0 {
            self.insert(found, skip);
        }
        let first = found + skip;
        let rest = found_length - skip - length;
        if rest > 0 {
            self.insert(first + length, rest);
        }
        self.mark_used(first, length);
        Some(first)
    }

    /// Takes a run back and merges it with its free neighbours.
    pub fn free(&mut self, index: usize) {
        let length = self.run_length(index);
        self.release(index, length);
    }

    /// Takes `length` pages at `index` back, whatever they were part of.
    pub fn release(&mut self, index: usize, length: usize) {
        let (mut start, mut end) = (index, index + length);
        if end < self.count && self.kind(end) == Kind::Free {
            let after = self.run_length(end);
            self.unlink(end);
            end += after;
        }
        if start > 0 && self.kind(start - 1) == Kind::Free {
            start -= self.run_length(start - 1);
            self.unlink(start);
        }
        for inner in [index, index + length - 1] {
            self.record(inner).kind = Kind::RunTail;
        }
        self.insert(start, end - start);
    }

    /// Grows or shrinks a used run in place.
    pub fn resize(&mut self, index: usize, wanted: usize) -> bool {
        let length = self.run_length(index);
        if wanted < length {
            self.record(index).length = wanted as u32;
            self.release(index + wanted, length - wanted);
        } else if wanted > length {
            let next = index + length;
            if next >= self.count || self.kind(next) != Kind::Free {
                return false;
            }
            let available = self.run_length(next);
            let extra = wanted - length;
            if available < extra {
                return false;
            }
            self.unlink(next);
            if available > extra {
                self.insert(next + extra, available - extra);
            }
            self.mark_used(index, wanted);
        }
        true
    }

    pub fn figures(&self) -> Figures {
        let mut longest = 0;
        for &head in self.lists.iter().rev() {
            let mut at = head;
            while at != NONE {
                longest = longest.max(self.run_length(at as usize));
                at = self.peek(at as usize).next;
            }
            if longest > 0 {
                break;
            }
        }
        Figures {
            total: self.count * PAGE_BYTES,
            free: self.free * PAGE_BYTES,
            longest_free: longest * PAGE_BYTES,
            peak: (self.count - self.least_free) * PAGE_BYTES,
        }
    }

    /// The shortest run of at least `length` pages, as far as the search goes; of equals the lowest found.
    fn best_fit(&self, length: usize) -> Option<usize> {
        for list in list_of(length)..LISTS {
            let mut best: Option<(usize, usize)> = None;
            let mut at = self.lists[list];
            let mut searched = 0;
            while at != NONE && (searched < SEARCHED_MAX || best.is_none()) {
                let here = (self.run_length(at as usize), at as usize);
                if here.0 >= length && best.is_none_or(|best| here < best) {
                    best = Some(here);
                }
                at = self.peek(at as usize).next;
                searched += 1;
            }
            if let Some((_, index)) = best {
                return Some(index);
            }
        }
        None
    }

    fn mark_used(&mut self, first: usize, length: usize) {
        for index in first + 1..first + length {
            self.record(index).kind = Kind::RunTail;
        }
        let record = self.record(first);
        record.kind = Kind::Run;
        record.length = length as u32;
        self.least_free = self.least_free.min(self.free);
    }

    fn insert(&mut self, first: usize, length: usize) {
        let list = list_of(length);
        let head = self.lists[list];
        let record = self.record(first);
        record.kind = Kind::Free;
        record.length = length as u32;
        record.next = head;
        record.prev = NONE;
        let last = self.record(first + length - 1);
        last.kind = Kind::Free;
        last.length = length as u32;
        if head != NONE {
            self.record(head as usize).prev = first as u32;
        }
        self.lists[list] = first as u32;
        self.free += length;
    }

    fn unlink(&mut self, first: usize) {
        let Page { length, next, prev, .. } = *self.record(first);
        match prev {
            NONE => self.lists[list_of(length as usize)] = next,
            prev => self.record(prev as usize).next = next,
        }
        if next != NONE {
            self.record(next as usize).prev = prev;
        }
        // The ends stop looking free, so that no later neighbour merges with a run that is gone.
        self.record(first).kind = Kind::RunTail;
        self.record(first + length as usize - 1).kind = Kind::RunTail;
        self.free -= length as usize;
    }
}

fn list_of(length: usize) -> usize {
    if length < EXACT { length } else { EXACT - 5 + length.ilog2() as usize }.min(LISTS - 1)
}
