//! The border between the kernel's neutral part and what carries it.
//!
//! Above this border are threads, heap, descriptors, sockets and the C library: they know neither Xen nor Linux.
//! Below it is one carrier, chosen at compile time by a feature: `platform/xen` (a Xen PV domain) or
//! `platform/hosted` (a static Linux process that makes raw system calls). Without either feature the crate is an
//! ordinary library whose neutral parts can be tested, and there is no carrier at all.
//!
//! # The life of a machine
//! 1. The carrier's own entry code runs first. It sets up what it needs to survive (its stack, page tables, fault
//!    handlers, event channels, clock) and calls [`crate::start::machine`] once, with a [`Boot`]. It must not
//!    allocate before that call. The stack it stands on needs 64 KiB and stays in use until the first thread runs.
//! 2. The neutral part takes [`Boot::heap`] for its allocator. From here on `alloc` works everywhere, also below the
//!    border. Then it asks, in this order and once each: [`Platform::seed`], [`Platform::start_devices`],
//!    [`Platform::cards`], [`Platform::disks`], and starts the program's `main` on a thread of its own.
//! 3. While the machine lives there is one virtual CPU and no asynchronous entry into our code: no interrupt
//!    handler, no signal handler, no upcall runs while the program runs (a fault handler that never returns is the
//!    exception). Threads change only at calls into the kernel. So nothing here needs a lock, and nothing here may be
//!    called from two places at once.
//! 4. When no thread can run, the neutral part calls [`Platform::wait`]. After every wait, and now and then between,
//!    it calls [`Platform::dispatch`] and looks through all cards and disks for work.
//! 5. [`Platform::end`] ends the machine. It is reached by `main` returning, `exit`, `abort`, a fault, an exhausted
//!    heap.
//!
//! # Trust
//! What arrives through cards, disks and settings comes from outside. The carrier has copied it to memory that only we
//! can write, and has checked every id, offset and length, before any of it crosses this border.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::ptr::NonNull;

#[cfg(all(feature = "hosted", not(feature = "xen")))]
pub mod hosted;
#[cfg(all(feature = "hosted", not(feature = "xen")))]
pub use hosted::Hosted as Current;

pub mod xen;
#[cfg(feature = "xen")]
pub use xen::Xen as Current;

/// What the carrier's entry code hands to [`crate::start::machine`].
#[derive(Debug)]
pub struct Boot {
    /// Start of the memory for heap, thread stacks and buffers: page-aligned, mapped readable and writable, not
    /// executable, holding nothing that is still needed. The neutral part owns it from the call on.
    pub heap: NonNull<u8>,
    /// Its length in bytes, a multiple of 4096. Everything that is not the image, page tables or a device page.
    pub heap_bytes: usize,
    /// The command line: what stands after the image's name. The grammar is in [`crate::settings`].
    pub command_line: &'static [u8],
}

/// Length of a page in bytes. Guards, grants and disk buffers come in this unit.
pub const PAGE_BYTES: usize = 4096;

/// What carries the kernel. Implemented by a type without values; every function may be called from any thread's
/// stack, never concurrently.
pub trait Platform {
    /// Its name as it stands in the boot line: `xen` or `hosted`.
    const NAME: &'static str;

    /// Nanoseconds since some moment before boot. Never goes back, does not stop, is not stepped.
    fn monotonic_ns() -> u64;

    /// Nanoseconds since 1970-01-01T00:00:00Z, as far as the carrier knows. May be stepped.
    fn wall_clock_ns() -> u64;

    /// 32 bytes of fresh entropy for the kernel's generator (`crate::random`), which is seeded at start and again
    /// every few minutes. `None` when there is no source fit for keys: the machine then refuses to start.
    fn seed() -> Option<[u8; 32]>;

    /// Writes all of `bytes` to the console, waiting for the other side if it must, but never longer than about a
    /// second: a console nobody reads must not hang the machine (then it drops the rest).
    fn console_write(bytes: &[u8]);

    /// Takes up to `into.len()` bytes that were typed at the console; 0 when nothing is there now.
    fn console_read(into: &mut [u8]) -> usize;

    /// Blocks the virtual CPU until an event arrives (card, disk, console, settings, shutdown) or until
    /// [`Self::monotonic_ns`] reaches `deadline_ns`. `None` waits for an event alone. An event that arrived since the
    /// last [`Self::dispatch`] makes it return at once, so none is slept over. May return early without a reason.
    /// Must not spin: an idle machine uses no time.
    fn wait(deadline_ns: Option<u64>);

    /// Takes notice of events: acknowledges event channels, reads rings' producer indexes, reconnects a backend that
    /// came back. Cheap when nothing happened. Called before the neutral part looks through cards and disks.
    fn dispatch();

    /// Finds devices and connects them. Waits at most a few seconds for backends, and names on the console what did
    /// not come. Called once, with the heap ready, before [`Self::cards`] and [`Self::disks`].
    fn start_devices();

    /// The network cards, in the order of their names (`eth0` first). Called once.
    fn cards() -> Vec<Box<dyn NetworkCard>>;

    /// The disks, in the order of their names. Called once.
    fn disks() -> Vec<Box<dyn Disk>>;

    /// A setting that came beside the command line: from xenstore on Xen, from `NYMOTE_SETTING_…` of the process's
    /// environment when hosted. `key` is a name of [`crate::settings`], such as `ip` or `nameserver`; the command
    /// line wins over it.
    fn setting(key: &str) -> Option<String>;

    /// What the host asked for, each request once: `xl shutdown` and `xl reboot`, SIGTERM and SIGINT.
    fn shutdown_request() -> Option<Shutdown>;

    /// Makes the page at `page` (page-aligned, inside [`Boot::heap`]) inaccessible, or, with `guarded` false, readable
    /// and writable again. Guard pages stand below thread stacks. Its bytes need not survive.
    fn guard(page: NonNull<u8>, guarded: bool);

    /// Sets the thread pointer (the base of FS). Called at each switch of threads.
    fn set_thread_pointer(address: usize);

    /// Says that a thread now runs on the stack whose lowest usable address is `lowest`. Called at each switch of
    /// threads, for carriers that can name an overflow only if they see it coming.
    fn watch_stack(lowest: usize) {
        let _ = lowest;
    }

    /// Ends the machine. Console output written before must have left.
    fn end(reason: End) -> !;
}

/// What the host asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Stop and stay off: the program gets SIGTERM.
    PowerOff,
    /// Stop and start again: the program gets SIGTERM, and the machine then ends with [`End::Reboot`].
    Reboot,
}

/// Why the machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The program ended with this code. The carrier powers off (Xen) or exits with it (hosted).
    Exit(i32),
    /// The program ended after [`Shutdown::Reboot`].
    Reboot,
    /// A fault, an exhausted heap, `abort`: the reason has been named on the console. Xen's crash reason; hosted
    /// raises SIGABRT.
    Crashed,
}

/// A network card.
///
/// It carries whole Ethernet frames without frame check sequence. After a backend restart it goes on with the same
/// address; frames lost meanwhile are TCP's business.
pub trait NetworkCard {
    /// Its own Ethernet address.
    fn mac(&self) -> [u8; 6];

    /// Largest IP packet of a frame in bytes, 1500 as a rule.
    fn mtu(&self) -> usize;

    /// What the card does for us now. What it says first is what the stack builds on; if a restarted backend offers less,
    /// `net::wire` makes up for it.
    fn offload(&self) -> Offload;

    /// The next received frame, if any.
    fn receive(&mut self) -> Option<Frame>;

    /// Gives a received frame back: the card may receive into its memory again. Each frame is given back exactly once,
    /// in any order, before the next call of [`Self::flush`].
    fn release(&mut self, frame: Frame);

    /// Whether a frame of up to `mtu() + 14` bytes (or a segmentation super-frame, if those are offered) can be taken
    /// now. `false` is back-pressure; the neutral part tries again after the next event, so the card must see to it
    /// that an event comes when room does.
    fn can_transmit(&mut self) -> bool;

    /// Sends one frame of `length` bytes. `fill` is called exactly once and writes all of them, Ethernet header first,
    /// to memory that the card supplies (not necessarily zeroed); it answers what is to be done to the frame. Called
    /// only after [`Self::can_transmit`] said yes. The other side need not be told before [`Self::flush`].
    fn transmit(&mut self, length: usize, fill: &mut dyn FnMut(&mut [u8]) -> Send);

    /// Ends a batch: tells the other side about frames to send and about memory to receive into.
    fn flush(&mut self);

    /// Hears of how many parties frames were just received, at the latest turn: a card may wait for as many the next time.
    fn heard(&mut self, _parties: usize) {}

    /// Whether the backend is connected.
    fn is_up(&self) -> bool;
}

/// A received frame: memory of the card on loan.
///
/// `bytes` is valid, private (no other domain can write it) and the stack's own, to change too, until
/// [`NetworkCard::release`].
#[derive(Debug)]
pub struct Frame {
    /// The whole frame, Ethernet header first.
    pub bytes: NonNull<[u8]>,
    /// The card's own note, for [`NetworkCard::release`].
    pub token: usize,
    /// The TCP or UDP checksum is known to be good (the card checked it, or the frame never left this host, so that it
    /// may not even be filled in).
    pub checksum_good: bool,
}

/// What a card takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offload {
    /// Frames to send may carry a TCP or UDP checksum that is not filled in over IPv4: see [`Send::Checksum`].
    pub transmit_checksum_v4: bool,
    /// The same over IPv6.
    pub transmit_checksum_v6: bool,
    /// Largest TCP over IPv4 super-frame in bytes (IP header included) that it cuts to segments; 0 if it does not.
    pub segmentation_v4_bytes: usize,
    /// The same over IPv6.
    pub segmentation_v6_bytes: usize,
}

/// What is to be done to a frame on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Send {
    /// Nothing: it is complete.
    Plain,
    /// The TCP or UDP checksum field holds the sum of the pseudo-header alone (Linux's CHECKSUM_PARTIAL); the card or
    /// whoever is behind it completes it.
    Checksum,
    /// As `Checksum`, and the TCP payload is to be cut to segments of this many bytes.
    Segments(u16),
}

/// A disk: an array of bytes, read and written in sectors.
pub trait Disk {
    /// Its name: `xvda` is opened as `/dev/xvda`.
    fn name(&self) -> &str;

    /// Size in bytes, a multiple of [`Self::sector_bytes`].
    fn size_bytes(&self) -> u64;

    /// Smallest unit of transfer in bytes: a power of two from 512 to 4096. Offsets and lengths of requests are
    /// multiples of it.
    fn sector_bytes(&self) -> usize;

    /// Writes are refused.
    fn is_read_only(&self) -> bool;

    /// Longest read or write of one request in bytes, a multiple of 4096, 4096 at least.
    fn request_bytes_max(&self) -> usize;

    /// Takes one request, or says that its queue is full ([`SubmitError::Full`]); the neutral part then waits for a
    /// completion. The request's buffer stays valid and untouched until its completion. A request that cannot succeed
    /// (out of range, write to a read-only disk) may be taken and completed with an error.
    ///
    /// # Safety
    /// `request`'s buffer must be valid for its transfer until [`Self::complete`] has returned its id.
    unsafe fn submit(&mut self, request: Request) -> Result<(), SubmitError>;

    /// Ends a batch of submissions: tells the other side.
    fn kick(&mut self);

    /// The next finished request. Requests may finish in any order, except that a flush finishes only after every
    /// write that finished before it was submitted is on stable storage.
    fn complete(&mut self) -> Option<Completion>;
}

/// One request to a disk.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Chosen by the neutral part, returned in the completion.
    pub id: u64,
    /// What is to be done.
    pub operation: Operation,
}

/// What a disk is asked to do. Offsets and lengths are in bytes, multiples of the sector length; buffers are aligned
/// to 512 at least and may lie anywhere in the heap (a card or disk that shares pages with another domain copies
/// through pages of its own: no page is granted that holds anything else).
#[derive(Debug, Clone, Copy)]
pub enum Operation {
    /// Fill `buffer` from `offset` on.
    Read {
        /// Where on the disk.
        offset: u64,
        /// Where to.
        buffer: NonNull<[u8]>,
    },
    /// Write `buffer` to `offset`.
    Write {
        /// Where on the disk.
        offset: u64,
        /// Where from.
        buffer: NonNull<[u8]>,
    },
    /// Bring everything that was acknowledged before to stable storage.
    Flush,
    /// The range's content is no longer needed.
    Discard {
        /// Where on the disk.
        offset: u64,
        /// How much.
        length: u64,
    },
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubmitError {
    /// Its queue is full: wait for a completion and try again.
    Full,
}

/// One finished request.
#[derive(Debug, Clone, Copy)]
pub struct Completion {
    /// The request's id.
    pub id: u64,
    /// How it went.
    pub result: Result<(), DiskError>,
}

/// Why a disk did not do what it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskError {
    /// The device says it failed, or it broke its protocol and was shut off: EIO.
    Failed,
    /// The device does not know this operation (a flush or discard that is not offered): EOPNOTSUPP.
    Unsupported,
    /// A write to a read-only disk: EROFS.
    ReadOnly,
    /// No space behind a sparse disk: ENOSPC.
    Full,
}
