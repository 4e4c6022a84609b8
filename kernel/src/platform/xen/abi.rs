//! Numbers and layouts of Xen's interface, as its public headers (`xen/include/public`) give them for x86_64.
//!
//! Structures that are shared with the hypervisor or another domain are not Rust types: they are offsets into pages
//! that somebody else writes, read by volatile loads.

/// Hypercall numbers (`xen.h`).
pub mod call {
    /// Registers the handlers of exceptions.
    pub const SET_TRAP_TABLE: usize = 0;
    /// Changes page table entries.
    pub const MMU_UPDATE: usize = 1;
    /// Sets a debug register.
    pub const SET_DEBUGREG: usize = 8;
    /// Changes the entry that maps one virtual address.
    pub const UPDATE_VA_MAPPING: usize = 14;
    /// Grant table operations.
    pub const GRANT_TABLE_OP: usize = 20;
    /// Operations on a virtual CPU.
    pub const VCPU_OP: usize = 24;
    /// Sets the base of FS or GS.
    pub const SET_SEGMENT_BASE: usize = 25;
    /// Scheduling: block, poll, shut down.
    pub const SCHED_OP: usize = 29;
    /// Event channel operations.
    pub const EVENT_CHANNEL_OP: usize = 32;
}

/// `SCHEDOP_…` (`sched.h`).
pub mod schedule {
    /// Ends the domain with a reason.
    pub const SHUTDOWN: usize = 2;
    /// Blocks until one of the named event channels is pending, or a time is reached.
    pub const POLL: usize = 3;
    /// Reason of [`SHUTDOWN`]: the domain is done.
    pub const REASON_POWEROFF: u32 = 0;
    /// Reason of [`SHUTDOWN`]: it wants to be started again.
    pub const REASON_REBOOT: u32 = 1;
    /// Reason of [`SHUTDOWN`]: it crashed.
    pub const REASON_CRASH: u32 = 3;
}

/// `VCPUOP_…` (`vcpu.h`).
pub mod vcpu {
    /// Ends the ticks that a virtual CPU gets while it runs.
    pub const STOP_PERIODIC_TIMER: usize = 7;
    /// Sets the timer that comes once.
    pub const SET_SINGLESHOT_TIMER: usize = 8;
}

/// `EVTCHNOP_…` (`event_channel.h`).
pub mod event {
    /// Makes a port of one of Xen's own events.
    pub const BIND_VIRQ: usize = 1;
    /// What [`BIND_VIRQ`] calls the virtual CPU's timers.
    pub const VIRQ_TIMER: u32 = 0;
    /// Closes a port.
    pub const CLOSE: usize = 3;
    /// Signals the other end of a port.
    pub const SEND: usize = 4;
    /// Makes a port that another domain may bind to.
    pub const ALLOC_UNBOUND: usize = 6;
}

/// `GNTTABOP_…` (`grant_table.h`).
pub mod grant {
    /// Sizes the table and tells which frames hold it.
    pub const SETUP_TABLE: usize = 2;
    /// Entry flag: another domain may map or copy the frame.
    pub const PERMIT_ACCESS: u16 = 1;
    /// Entry flag: it may only read.
    pub const READ_ONLY: u16 = 1 << 2;
    /// Entry flags that Xen sets while the frame is in use for reading or writing.
    pub const IN_USE: u16 = (1 << 3) | (1 << 4);
}

/// The domain that a hypercall means when it means the caller.
pub const DOMAIN_SELF: u16 = 0x7ff0;

/// Offsets in the start info page (`xen.h`).
pub mod start {
    /// Pages of the domain, u64.
    pub const PAGES: usize = 32;
    /// Machine address of the shared info page, u64.
    pub const SHARED_INFO: usize = 40;
    /// Event channel of xenstore, u32.
    pub const STORE_PORT: usize = 64;
    /// Frame of the xenstore page, u64.
    pub const STORE_FRAME: usize = 56;
    /// Frame of the console page, u64.
    pub const CONSOLE_FRAME: usize = 72;
    /// Event channel of the console, u32.
    pub const CONSOLE_PORT: usize = 80;
    /// Virtual address of the top-level page table, u64.
    pub const PAGE_TABLES: usize = 88;
    /// How many page table pages the builder made, u64; they are contiguous.
    pub const PAGE_TABLE_PAGES: usize = 96;
    /// Virtual address of the list of machine frames, one u64 for each page of the domain.
    pub const FRAME_LIST: usize = 104;
    /// The command line, ended by NUL.
    pub const COMMAND_LINE: usize = 128;
    /// Its longest length with the NUL, in bytes.
    pub const COMMAND_LINE_BYTES: usize = 1024;
}

/// Offsets in the shared info page.
pub mod shared {
    /// Pending bit of the first virtual CPU, u8 each: pending, padding, mask.
    pub const VCPU_MASK: usize = 2;
    /// Faulting address of the last page fault, u64.
    pub const FAULT_ADDRESS: usize = 16;
    /// The virtual CPU's time page, 32 bytes.
    pub const VCPU_TIME: usize = 32;
    /// Pending bits of the event channels, 512 bytes.
    pub const PENDING: usize = 2048;
    /// Mask bits of the event channels, 512 bytes.
    pub const MASK: usize = 2560;
    /// The wall clock: version u32, seconds u32, nanoseconds u32, high seconds u32.
    pub const WALL_CLOCK: usize = 3072;
}

/// Where Xen shows the table from machine frames to pages of the domain.
pub const MACHINE_TO_PHYSICAL: usize = 0xffff_8000_0000_0000;

/// The kernel code segment that Xen provides.
pub const KERNEL_CODE_SEGMENT: u16 = 0xe033;
