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
        let flags = grant::PERMIT_ACCESS | if read_only { grant::READ_ONLY } else { 0 };
        // SAFETY: the entry lies in the mapped table and is not in use, so Xen does not look at it before its flags say
        // that it is valid; those are written last.
        unsafe {
            ((entry + 2) as *mut u16).write_volatile(domain);
            ((entry + 4) as *mut u32).write_volatile(memory::frame_of(address) as u32);
            (*(entry as *const AtomicU16)).store(flags, Ordering::SeqCst);
        }
        Some(reference)
    })
}

/// Takes a permission back; false when the other domain still uses the page.
fn revoke(reference: u32) -> bool {
    TABLE.with(|table| {
        // SAFETY: the entry lies in the mapped table; its flags are an aligned half word that Xen also changes.
        let flags = unsafe { &*((table.address + reference as usize * ENTRY_BYTES) as *const AtomicU16) };
        let old = flags.load(Ordering::SeqCst);
        let unused = old & grant::IN_USE == 0;
        let revoked = unused && flags.compare_exchange(old, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if revoked {
            table.free.push(reference);
        }
        revoked
    })
}

/// Pages that follow each other in our memory, all granted to one domain.
#[derive(Debug)]
pub struct GrantedPages {
    address: usize,
    layout: Layout,
    grants: Vec<u32>,
    domain: u16,
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
        let mut pages = GrantedPages { address, layout, grants: Vec::with_capacity(count), domain };
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

    /// All of them, as memory that others change.
    ///
    /// The value must not be used after the pages are dropped; the devices keep both side by side.
    pub fn shared(&self) -> Mapped {
        // SAFETY: the pages are mapped, and nobody makes references into them but for filling read-only grants.
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
