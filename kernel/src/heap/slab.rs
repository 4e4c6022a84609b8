//! Size classes: one or two pages cut into objects of one size.
//!
//! The freed objects of a slab form a list through their own first bytes. A slab with room hangs on its class's list; a
//! full one hangs nowhere; an empty one goes back to the page allocator unless it is its class's last with room.

use core::ptr::NonNull;

use super::BadFree;
use super::pages::{Kind, NONE, PAGE_BYTES, Pages};

/// The classes. Up to 512 bytes a slab is one page, above two.
const SIZES: [u16; 26] = [
    16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640, 768, 896, 1024, 1152,
    1344, 1632, 2048, 2720,
];

/// The largest size that lives in a slab.
pub(super) const LARGEST_BYTES: usize = 2720;

/// The class for an object, or `None` if it gets pages of its own.
pub(super) fn class_for(size: usize, align: usize) -> Option<usize> {
    if size > LARGEST_BYTES || align > PAGE_BYTES / 2 {
        return None;
    }
    // A power of two divides the page, so its objects are aligned to themselves; any class is aligned to 16.
    let size = if align <= 16 { size } else { size.max(align).next_power_of_two() };
    let class = SIZES.partition_point(|&class| (class as usize) < size);
    (class < SIZES.len()).then_some(class).filter(|&class| align <= 16 || SIZES[class].is_power_of_two())
}

pub(super) fn size_of_class(class: usize) -> usize {
    SIZES[class] as usize
}

fn slab_pages(class: usize) -> usize {
    if SIZES[class] <= 512 { 1 } else { 2 }
}

fn slab_objects(class: usize) -> usize {
    slab_pages(class) * PAGE_BYTES / size_of_class(class)
}

/// For each class, its slabs with room.
#[derive(Debug)]
pub(super) struct Slabs {
    with_room: [u32; SIZES.len()],
}

impl Slabs {
    pub const fn new() -> Self {
        Slabs { with_room: [NONE; SIZES.len()] }
    }

    pub fn allocate(&mut self, pages: &mut Pages, class: usize) -> Option<NonNull<u8>> {
        let slab = match self.with_room[class] {
            NONE => self.make_slab(pages, class)?,
            slab => slab as usize,
        };
        let start = pages.address(slab);
        let record = pages.record(slab);
        let object = if record.freed != 0 {
            let object = record.freed as usize - 1;
            // SAFETY: a freed object lies inside the slab; its first two bytes hold the list's next link.
            record.freed = unsafe { start.add(object * size_of_class(class)).cast::<u16>().read() };
            object
        } else {
            record.fresh += 1;
            record.fresh as usize - 1
        };
        record.used += 1;
        if record.used as usize == slab_objects(class) {
            self.unlink(pages, slab, class);
        }
        // SAFETY: `object` is below the slab's number of objects.
        Some(unsafe { start.add(object * size_of_class(class)) })
    }

    /// # Safety
    /// `page` must be a slab's page, and nobody may use the object any more.
    pub unsafe fn free(
        &mut self,
        pages: &mut Pages,
        page: usize,
        object: NonNull<u8>,
    ) -> Result<(), BadFree> {
        let slab = if pages.kind(page) == Kind::SlabTail { page - 1 } else { page };
        let address = object.as_ptr() as usize;
        let class = pages.class(slab);
        let offset = address - pages.address(slab).as_ptr() as usize;
        let number = offset / size_of_class(class);
        let record = pages.record(slab);
        if !offset.is_multiple_of(size_of_class(class)) || number >= record.fresh as usize {
            return Err(BadFree::NotOurs(address));
        }
        if record.used == 0 || record.freed as usize == number + 1 {
            return Err(BadFree::Twice(address));
        }
        // SAFETY: the object is ours again; every class has room for two bytes, and is aligned for them.
        unsafe { object.cast::<u16>().write(record.freed) };
        record.freed = number as u16 + 1;
        let was_full = record.used as usize == slab_objects(class);
        record.used -= 1;
        let empty = record.used == 0;
        if was_full {
            self.link(pages, slab, class);
        }
        let only_one = pages.record(slab).next == NONE && pages.record(slab).prev == NONE;
        if empty && !only_one {
            self.unlink(pages, slab, class);
            pages.release(slab, slab_pages(class));
        }
        Ok(())
    }

    fn make_slab(&mut self, pages: &mut Pages, class: usize) -> Option<usize> {
        let slab = pages.allocate(slab_pages(class), 1)?;
        for page in slab..slab + slab_pages(class) {
            let record = pages.record(page);
            record.kind = if page == slab { Kind::Slab } else { Kind::SlabTail };
            record.class = class as u8;
            (record.used, record.freed, record.fresh) = (0, 0, 0);
        }
        self.link(pages, slab, class);
        Some(slab)
    }

    fn link(&mut self, pages: &mut Pages, slab: usize, class: usize) {
        let head = self.with_room[class];
        let record = pages.record(slab);
        record.next = head;
        record.prev = NONE;
        if head != NONE {
            pages.record(head as usize).prev = slab as u32;
        }
        self.with_room[class] = slab as u32;
    }

    fn unlink(&mut self, pages: &mut Pages, slab: usize, class: usize) {
        let record = pages.record(slab);
        let (next, prev) = (record.next, record.prev);
        (record.next, record.prev) = (NONE, NONE);
        match prev {
            NONE => self.with_room[class] = next,
            prev => pages.record(prev as usize).next = next,
        }
        if next != NONE {
            pages.record(next as usize).prev = prev;
        }
    }
}
