//! The heap: a page allocator, and size classes on its pages.
//!
//! Made for a program that runs for weeks in a few megabytes: what is freed is usable again for any size. A free run of
//! pages is merged with its free neighbours at once; a slab whose last object is freed gives its pages back; small
//! sizes never share a page with other sizes, so that short-lived small objects cannot pin the pages of large ones.
//! `free` finds an object's size by its page, so objects carry no header.
//!
//! Not thread-safe: the machine has one virtual CPU and switches threads only inside the kernel
//! (docs/decisions/0101). Invariants are checked where that is cheap, and a broken one is reported to the caller, who
//! ends the machine: a damaged heap must not go on.

mod pages;
mod slab;

#[cfg(test)]
mod tests;

use core::ptr::NonNull;

pub use pages::{Figures, PAGE_BYTES};
use pages::{Kind, Pages};
use slab::Slabs;

/// Why the heap refuses to take something back: its caller is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadFree {
    /// The address is not one that this heap gave out.
    NotOurs(usize),
    /// The address was already given back.
    Twice(usize),
}

/// A heap over one range of memory.
#[derive(Debug)]
pub struct Heap {
    pages: Pages,
    slabs: Slabs,
}

// SAFETY: a heap owns its memory; its pointers are into that memory alone.
unsafe impl core::marker::Send for Heap {}

impl Heap {
    /// A heap over `bytes` bytes at `start`, some of which (about one in two hundred) hold its own records.
    ///
    /// # Safety
    /// The range must be valid for reads and writes, page-aligned, and used by nobody else from now on.
    pub unsafe fn new(start: NonNull<u8>, bytes: usize) -> Self {
        // SAFETY: the caller's promise is the one that is asked for.
        Heap { pages: unsafe { Pages::new(start, bytes) }, slabs: Slabs::new() }
    }

    /// `size` bytes aligned to `align` (a power of two), or `None` when there is no room. A size of 0 gets a unique
    /// address too.
    pub fn allocate(&mut self, size: usize, align: usize) -> Option<NonNull<u8>> {
        if let Some(class) = slab::class_for(size, align) {
            return self.slabs.allocate(&mut self.pages, class);
        }
        let pages = size.checked_add(PAGE_BYTES - 1)? / PAGE_BYTES;
        let first = self.pages.allocate(pages.max(1), (align / PAGE_BYTES).max(1))?;
        Some(self.pages.address(first))
    }

    /// Takes back what [`Self::allocate`] gave.
    ///
    /// # Safety
    /// Nobody may use the object any more.
    pub unsafe fn free(&mut self, object: NonNull<u8>) -> Result<(), BadFree> {
        let address = object.as_ptr() as usize;
        let index = self.pages.index_of(address).ok_or(BadFree::NotOurs(address))?;
        match self.pages.kind(index) {
            Kind::Run if self.pages.address(index) == object => {
                self.pages.free(index);
                Ok(())
            }
            // SAFETY: the page belongs to a slab, and the object is unused by the caller's promise.
            Kind::Slab | Kind::SlabTail => unsafe { self.slabs.free(&mut self.pages, index, object) },
            Kind::Free if address.is_multiple_of(PAGE_BYTES) => Err(BadFree::Twice(address)),
            _ => Err(BadFree::NotOurs(address)),
        }
    }

    /// How many bytes the object really has, which is at least what was asked for.
    pub fn size_of(&self, object: NonNull<u8>) -> Option<usize> {
        let index = self.pages.index_of(object.as_ptr() as usize)?;
        match self.pages.kind(index) {
            Kind::Run => Some(self.pages.run_length(index) * PAGE_BYTES),
            Kind::Slab | Kind::SlabTail => Some(slab::size_of_class(self.pages.class(index))),
            _ => None,
        }
    }

    /// Makes an object at least `size` bytes long without moving it, or says that this cannot be done. An object much
    /// longer than `size` gives whole pages back, or says no so that the caller moves it to a smaller class.
    pub fn resize_in_place(&mut self, object: NonNull<u8>, size: usize) -> bool {
        let Some(index) = self.pages.index_of(object.as_ptr() as usize) else { return false };
        match self.pages.kind(index) {
            Kind::Run => {
                let wanted = size.div_ceil(PAGE_BYTES).max(1);
                size > slab::LARGEST_BYTES && self.pages.resize(index, wanted)
            }
            Kind::Slab | Kind::SlabTail => {
                let has = slab::size_of_class(self.pages.class(index));
                size <= has && (has <= 64 || size > has / 2)
            }
            _ => false,
        }
    }

    /// Bytes in free pages.
    pub fn free_bytes(&self) -> usize {
        self.pages.free_bytes()
    }

    /// The least that was ever free, and all that can be given out, in bytes.
    pub fn least_free(&self) -> (usize, usize) {
        self.pages.least_free()
    }

    /// What the heap holds now.
    pub fn figures(&self) -> Figures {
        self.pages.figures()
    }
}
