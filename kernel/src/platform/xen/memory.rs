//! The domain's memory: one flat range, fully mapped, nothing both writable and executable.
//!
//! A PV guest edits its own page tables through the hypervisor, which refuses every entry that would let it write to a
//! page table or reach another domain's frame. Virtual address = page number × 4096 for all memory of the domain. The
//! builder mapped its first megabytes, writable and executable; [`take_over`] maps the rest, takes the rights away that
//! nobody needs, and unmaps the first 64 KiB and the guard page of the first stack.

use core::arch::x86_64::__cpuid;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::abi::{self, call};
use super::hypercall::{Refused, hypercall};
use super::start_info::StartInfo;
use crate::image;
use crate::platform::PAGE_BYTES;

/// Pages of the grant table for which addresses are kept free: 512 grants each.
pub const GRANT_PAGES_MAX: usize = 32;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const USED: u64 = 0x60; // Accessed and dirty, so that the processor need not set them.
const NO_EXECUTE: u64 = 1 << 63;
const FRAME: u64 = 0x000f_ffff_ffff_f000;
const ENTRIES: usize = 512;
/// Bytes that one lowest-level table maps.
const TABLE_BYTES: usize = ENTRIES * PAGE_BYTES;
/// `update_va_mapping`: forget the old translation on this processor.
const FORGET_ONE: usize = 2;

/// NO_EXECUTE, or 0 on a processor that lacks it.
static NO_EXECUTE_BIT: AtomicU64 = AtomicU64::new(0);
/// Address and length of the list of machine frames.
static FRAMES: AtomicUsize = AtomicUsize::new(0);
static PAGES: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" {
    static __image_start: u8;
    static __code_start: u8;
    static __code_end: u8;
    static __data_end: u8;
}

/// What [`take_over`] leaves to others.
#[derive(Debug)]
pub struct Memory {
    /// First address of the free memory, page-aligned.
    pub start: usize,
    /// Its length in bytes.
    pub bytes: usize,
    /// Where the shared info page is mapped.
    pub shared_info: usize,
    /// [`GRANT_PAGES_MAX`] pages of addresses, unmapped, for the grant table.
    pub grant_window: usize,
}

/// Maps all memory and sets its rights. `boot_stack_guard` is the page below the stack we stand on.
pub fn take_over(start: &StartInfo, boot_stack_guard: usize) -> Memory {
    let pages = start.word(abi::start::PAGES) as usize;
    FRAMES.store(start.word(abi::start::FRAME_LIST) as usize, Ordering::Relaxed);
    PAGES.store(pages, Ordering::Relaxed);
    if has_no_execute() {
        NO_EXECUTE_BIT.store(NO_EXECUTE, Ordering::Relaxed);
    }
    let tables = start.word(abi::start::PAGE_TABLES) as usize;
    let tables_end = tables + start.word(abi::start::PAGE_TABLE_PAGES) as usize * PAGE_BYTES;
    // After the page tables the builder put one page of stack, which we left; it stays as it is.
    let mut tree = Tree { top: tables, next_free: tables_end + PAGE_BYTES, updates: Updates::new() };
    let window = pages * PAGE_BYTES;
    let window_bytes = (1 + GRANT_PAGES_MAX) * PAGE_BYTES;

    tree.protect(boot_stack_guard, tables..tables_end, start.word(abi::start::FRAME_LIST) as usize);
    for chunk in (0..window + window_bytes).step_by(TABLE_BYTES) {
        tree.map_chunk(chunk, pages);
    }
    tree.updates.apply();
    map(window, start.word(abi::start::SHARED_INFO)).expect("Xen lets us map our shared info page");
    Memory {
        start: tree.next_free,
        bytes: window - tree.next_free,
        shared_info: window,
        grant_window: window + PAGE_BYTES,
    }
}

/// The machine frame behind `address`, which must be in the domain's memory.
pub fn frame_of(address: usize) -> u64 {
    let page = address / PAGE_BYTES;
    assert!(page < PAGES.load(Ordering::Relaxed), "{address:#x} is no memory of this domain");
    let list = FRAMES.load(Ordering::Relaxed) as *const u64;
    // SAFETY: the list has one entry for each page, and never changes.
    unsafe { list.add(page).read() }
}

/// How many pages the domain has.
pub fn pages() -> usize {
    PAGES.load(Ordering::Relaxed)
}

/// Makes a page of the heap inaccessible, or readable and writable again.
pub fn guard(address: usize, guarded: bool) {
    let entry = if guarded { 0 } else { data_entry(frame_of(address)) };
    // A refusal leaves the page as it was: the machine works on, with one guard less.
    let _ = update(address, entry);
}

/// Maps machine address `machine` (a page's first byte) readable and writable at `address`, whose table exists.
pub fn map(address: usize, machine: u64) -> Result<(), Refused> {
    update(address, data_entry(machine / PAGE_BYTES as u64))
}

fn update(address: usize, entry: u64) -> Result<(), Refused> {
    // SAFETY: callers change only pages that hold nothing (guards) or addresses that were unmapped (the window).
    unsafe { hypercall(call::UPDATE_VA_MAPPING, [address, entry as usize, FORGET_ONE, 0]) }.map(|_| ())
}

fn data_entry(frame: u64) -> u64 {
    frame << 12 | PRESENT | WRITABLE | USER | USED | NO_EXECUTE_BIT.load(Ordering::Relaxed)
}

fn constant_entry(frame: u64) -> u64 {
    frame << 12 | PRESENT | USER | USED | NO_EXECUTE_BIT.load(Ordering::Relaxed)
}

fn code_entry(frame: u64) -> u64 {
    frame << 12 | PRESENT | USER | USED
}

fn has_no_execute() -> bool {
    let extended = 0x8000_0001;
    __cpuid(0x8000_0000).eax >= extended && __cpuid(extended).edx & (1 << 20) != 0
}

/// The page tables, read where they are mapped (read-only) and changed through [`Updates`].
struct Tree {
    top: usize,
    /// Mapped memory that nobody uses yet; new tables come from here.
    next_free: usize,
    updates: Updates,
}

impl Tree {
    /// Sets the rights of what the builder mapped.
    fn protect(&mut self, boot_stack_guard: usize, tables: core::ops::Range<usize>, frame_list: usize) {
        let (image, code) = (&raw const __image_start as usize, &raw const __code_start as usize);
        let (code_end, data_end) = (&raw const __code_end as usize, &raw const __data_end as usize);
        let image_end = image::extent().1.next_multiple_of(PAGE_BYTES);
        let frame_list = frame_list..frame_list + PAGES.load(Ordering::Relaxed) * 8;
        let pages = PAGES.load(Ordering::Relaxed);
        for chunk in (0..).step_by(TABLE_BYTES) {
            let Some(table) = self.table(chunk, 1) else { break };
            for index in 0..ENTRIES {
                let address = chunk + index * PAGE_BYTES;
                let old = entry_of(table, index);
                if old & PRESENT == 0 || address / PAGE_BYTES >= pages {
                    continue;
                }
                let frame = (old & FRAME) >> 12;
                let new = match address {
                    nothing if nothing < image || nothing == boot_stack_guard => 0,
                    constant if constant < code => constant_entry(frame),
                    text if text < code_end => code_entry(frame),
                    data if data < data_end => data_entry(frame),
                    constant if constant < image_end => constant_entry(frame),
                    list if frame_list.contains(&list) => constant_entry(frame),
                    table if tables.contains(&table) => constant_entry(frame),
                    _ => data_entry(frame),
                };
                if new != old {
                    self.updates.add(machine_address(table) + index as u64 * 8, new);
                }
            }
        }
        self.updates.apply();
    }

    /// Maps the pages of one lowest-level table's reach, making the tables on the way that are missing.
    fn map_chunk(&mut self, chunk: usize, pages: usize) {
        if let Some(table) = self.table(chunk, 1) {
            for index in 0..ENTRIES {
                let page = chunk / PAGE_BYTES + index;
                // What the builder mapped is set already; what lies below the image was unmapped on purpose.
                let unmapped =
                    entry_of(table, index) & PRESENT == 0 && chunk + index * PAGE_BYTES >= self.next_free;
                if page < pages && unmapped {
                    let entry = data_entry(frame_of(page * PAGE_BYTES));
                    self.updates.add(machine_address(table) + index as u64 * 8, entry);
                }
            }
            return self.updates.apply();
        }
        for level in [3, 2] {
            if self.table(chunk, level - 1).is_none() && self.table(chunk, level).is_some() && level > 2 {
                self.link(chunk, level, |_| 0);
            }
        }
        let first = chunk / PAGE_BYTES;
        self.link(chunk, 2, |index| {
            if first + index < pages { data_entry(frame_of((first + index) * PAGE_BYTES)) } else { 0 }
        });
    }

    /// Makes a table, filled by `entry`, and enters it in the table of `level` (2: page directory) for `address`.
    fn link(&mut self, address: usize, level: usize, entry: impl Fn(usize) -> u64) {
        let table = self.next_free;
        self.next_free += PAGE_BYTES;
        for index in 0..ENTRIES {
            // SAFETY: this page of the domain is mapped writable and nobody uses it.
            unsafe { (table as *mut u64).add(index).write(entry(index)) };
        }
        let frame = frame_of(table);
        update(table, constant_entry(frame)).expect("Xen lets us give up writing to a page of ours");
        let parent = self.table(address, level).expect("the level above is there");
        let index = index_at(address, level);
        let entry = frame << 12 | PRESENT | WRITABLE | USER | USED;
        self.updates.add(machine_address(parent) + index as u64 * 8, entry);
        self.updates.apply();
    }

    /// The address of the table of `level` (1: lowest) that is responsible for `address`.
    fn table(&self, address: usize, level: usize) -> Option<usize> {
        let mut table = self.top;
        for above in (level + 1..=4).rev() {
            let entry = entry_of(table, index_at(address, above));
            if entry & PRESENT == 0 {
                return None;
            }
            table = StartInfo::address_of((entry & FRAME) >> 12);
        }
        Some(table)
    }
}

fn index_at(address: usize, level: usize) -> usize {
    address >> (12 + 9 * (level - 1)) & (ENTRIES - 1)
}

fn entry_of(table: usize, index: usize) -> u64 {
    // SAFETY: `table` is a page table of this domain, mapped read-only, and `index` is below 512.
    unsafe { (table as *const u64).add(index).read_volatile() }
}

fn machine_address(address: usize) -> u64 {
    frame_of(address) << 12 | (address % PAGE_BYTES) as u64
}

/// Changes of page table entries, sent to Xen in batches.
struct Updates {
    list: [(u64, u64); 128],
    count: usize,
}

impl Updates {
    fn new() -> Self {
        Updates { list: [(0, 0); 128], count: 0 }
    }

    /// Queues: the entry at machine address `at` becomes `value`.
    fn add(&mut self, at: u64, value: u64) {
        self.list[self.count] = (at, value);
        self.count += 1;
        if self.count == self.list.len() {
            self.apply();
        }
    }

    fn apply(&mut self) {
        if self.count == 0 {
            return;
        }
        let arguments = [self.list.as_ptr() as usize, self.count, 0, abi::DOMAIN_SELF as usize];
        // SAFETY: the entries concern addresses that hold nothing yet, or take rights away that nobody uses.
        let done = unsafe { hypercall(call::MMU_UPDATE, arguments) };
        if let Err(Refused(error)) = done {
            panic!("Xen refused to change the page tables (error {error})");
        }
        self.count = 0;
    }
}
