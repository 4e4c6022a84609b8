//! Grant tables, version 1: which of our pages which domain may reach.
//!
//! Only pages of [`GrantedPages`] are ever granted: whole pages, taken for this purpose, holding nothing else. A page
//! goes back to the heap only when Xen says that nobody uses its grant any more; otherwise it is given up for good.

use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU16, Ordering};

use super::abi::{self, call, grant};
use super::hypercall::hypercall;
use super::memory;
use super::shared::Mapped;
use crate::global::Global;
use crate::platform::PAGE_BYTES;

/// Frames of the table that we ask for; 512 grants each.
const TABLE_FRAMES: usize = 4;
const ENTRY_BYTES: usize = 8;
/// The first entries belong to console and xenstore (`GNTTAB_NR_RESERVED_ENTRIES`).
const RESERVED: u32 = 8;

static TABLE: Global<Table> =
    Global::new(Table { address: 0, unused: RESERVED, end: RESERVED, free: Vec::new() });

struct Table {
    address: usize,
    /// The first reference that was never given.
    unused: u32,
    end: u32,
    free: Vec<u32>,
}

/// Maps the grant table at `window`.
pub fn attach(window: usize) {
    #[repr(C)]
    struct SetupTable {
        domain: u16,
        frames: u32,
        status: i16,
        list: *mut u64,
    }
    let mut list = [0u64; TABLE_FRAMES];
    let mut setup = SetupTable {
        domain: abi::DOMAIN_SELF,
        frames: TABLE_FRAMES as u32,
        status: 0,
        list: list.as_mut_ptr(),
    };
    let arguments = [grant::SETUP_TABLE, &raw mut setup as usize, 1, 0];
    // SAFETY: the structure is the one GNTTABOP_setup_table wants; Xen writes the status and the list's four entries.
    let done = unsafe { hypercall(call::GRANT_TABLE_OP, arguments) };
    let mapped = done.is_ok() && setup.status == 0 && {
        let mut frames = list.iter().enumerate();
        frames.all(|(index, frame)| memory::map(window + index * PAGE_BYTES, frame << 12).is_ok())
    };
    if mapped {
        TABLE.with(|table| {
            table.address = window;
            table.end = (TABLE_FRAMES * PAGE_BYTES / ENTRY_BYTES) as u32;
        });
    }
}

/// The flags of a grant.
fn access(read_only: bool) -> u16 {
    grant::PERMIT_ACCESS | if read_only { grant::READ_ONLY } else { 0 }
}

/// Lets `domain` reach the page at `address`; `None` when the table is full (or there is none).
fn permit(domain: u16, address: usize, read_only: bool) -> Option<u32> {
    TABLE.with(|table| {
        let reference = table.free.pop().or_else(|| {
            let next = table.unused;
            (next < table.end).then(|| {
                table.unused += 1;
                next
            })
        })?;
        let entry = table.address + reference as usize * ENTRY_BYTES;
        // SAFETY: the entry lies in the mapped table and is not in use, so Xen does not look at it before its flags say
        // that it is valid; those are written last.
        unsafe {
            ((entry + 2) as *mut u16).write_volatile(domain);
            ((entry + 4) as *mut u32).write_volatile(memory::frame_of(address) as u32);
        }
        table.flags(reference).store(access(read_only), Ordering::SeqCst);
        Some(reference)
    })
}

/// Takes a permission back for good; false when the other domain still uses the page.
fn revoke(reference: u32) -> bool {
    TABLE.with(|table| {
        let revoked = table.suspend(reference);
        if revoked {
            table.free.push(reference);
        }
        revoked
    })
}

impl Table {
    /// The flags of an entry.
    fn flags(&self, reference: u32) -> &AtomicU16 {
        // SAFETY: the entry lies in the mapped table; its flags are an aligned half word that Xen also changes.
        unsafe { &*((self.address + reference as usize * ENTRY_BYTES) as *const AtomicU16) }
    }

    /// Makes an entry void, so that the page is ours alone; false when the other domain still uses it.
    fn suspend(&self, reference: u32) -> bool {
        let flags = self.flags(reference);
        let old = flags.load(Ordering::SeqCst);
        old & grant::IN_USE == 0 && flags.compare_exchange(old, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

/// Pages that follow each other in our memory, all granted to one domain.
#[derive(Debug)]
pub struct GrantedPages {
    address: usize,
    layout: Layout,
    grants: Vec<u32>,
    domain: u16,
    read_only: bool,
}

impl GrantedPages {
    /// `count` zeroed pages for `domain`, or `None` when heap or grant table have no room.
    pub fn new(count: usize, domain: u16, read_only: bool) -> Option<Self> {
        let layout = Layout::from_size_align(count.checked_mul(PAGE_BYTES)?, PAGE_BYTES).ok()?;
        assert!(count > 0, "at least one page");
        // SAFETY: the layout is not empty.
        let address = unsafe { alloc_zeroed(layout) } as usize;
        if address == 0 {
            return None;
        }
        let mut pages =
            GrantedPages { address, layout, grants: Vec::with_capacity(count), domain, read_only };
        for index in 0..count {
            pages.grants.push(permit(domain, address + index * PAGE_BYTES, read_only)?);
        }
        Some(pages)
    }

    /// Which domain may reach them.
    pub fn domain(&self) -> u16 {
        self.domain
    }

    /// The grant of each page.
    pub fn grants(&self) -> &[u32] {
        &self.grants
    }

    /// The address of page `index`.
    pub fn page(&self, index: usize) -> usize {
        assert!(index < self.grants.len(), "no such page");
        self.address + index * PAGE_BYTES
    }

    /// Makes all of `pages` ours alone until [`Self::lend`]; none, and false, when the other domain still uses one of them
    /// (it maps it instead of having Xen copy).
    pub fn withhold(&self, pages: &[usize]) -> bool {
        TABLE.with(|table| {
            let refused = pages.iter().position(|&page| !table.suspend(self.grants[page]));
            pages[..refused.unwrap_or(0)].iter().for_each(|&page| self.permit_again(table, page));
            refused.is_none()
        })
    }

    /// Lets the other domain reach `pages` again.
    pub fn lend(&self, pages: &[usize]) {
        TABLE.with(|table| pages.iter().for_each(|&page| self.permit_again(table, page)));
    }

    fn permit_again(&self, table: &Table, page: usize) {
        table.flags(self.grants[page]).store(access(self.read_only), Ordering::SeqCst);
    }

    /// All of them, as memory that others change.
    ///
    /// The value must not be used after the pages are dropped; the devices keep both side by side.
    pub fn shared(&self) -> Mapped {
        // SAFETY: the pages are mapped, and nobody makes references into them but for filling read-only grants, and for
        // reading pages that are withheld.
        unsafe { Mapped::new(self.address, self.grants.len() * PAGE_BYTES) }
    }
}

impl Drop for GrantedPages {
    fn drop(&mut self) {
        let mut unused = true;
        for reference in self.grants.drain(..) {
            unused &= revoke(reference);
        }
        // While somebody still maps one of them, none may become ordinary memory again.
        if unused {
            // SAFETY: allocated with this layout in `new`, and nobody reaches the pages any more.
            unsafe { dealloc(self.address as *mut u8, self.layout) };
        }
    }
}
