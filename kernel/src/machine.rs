//! The machine as a whole: its heap, its devices, and the turn in which they are looked after.

use alloc::string::String;
use core::fmt::Write;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::crash::Console;
use crate::global::Global;
use crate::heap::{Figures, Heap};
use crate::platform::{Boot, Current, Platform};
use crate::settings::CommandLine;
use crate::{fd, net, signal, thread};

static HEAP: Global<Option<Heap>> = Global::new(None);
static COMMAND_LINE: Global<Option<CommandLine>> = Global::new(None);
static TURN_NS: AtomicU64 = AtomicU64::new(0);
/// The last request that found no memory, in bytes. What no heap of this size could hold does not count.
static REFUSED_BYTES: AtomicUsize = AtomicUsize::new(0);
/// With less in one piece a program cannot go on.
const LITTLE_BYTES: usize = 64 << 10;
/// The least free memory that was told of.
static TOLD_FREE: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Gives the heap its memory.
pub fn start_heap(boot: &Boot) {
    // SAFETY: the carrier promises in `Boot` that this range is ours.
    HEAP.with(|heap| *heap = Some(unsafe { Heap::new(boot.heap, boot.heap_bytes) }));
}

/// Reads the command line.
pub fn start_settings(line: &[u8]) {
    let parsed = CommandLine::parse(line);
    COMMAND_LINE.with(|line| *line = Some(parsed));
}

/// Memory from the heap; `None` when there is none.
pub fn allocate(bytes: usize, align: usize) -> Option<NonNull<u8>> {
    HEAP.with(|heap| {
        let heap = heap.as_mut()?;
        let object = heap.allocate(bytes, align);
        if object.is_none() && bytes <= heap.figures().total {
            REFUSED_BYTES.store(bytes, Ordering::Relaxed);
        }
        object
    })
}

/// Whether the heap has not even what it refused last, or hardly anything.
pub fn is_heap_exhausted() -> bool {
    heap_figures().longest_free < REFUSED_BYTES.load(Ordering::Relaxed).max(LITTLE_BYTES)
}

/// Gives memory back. A wrong address ends the machine: the heap would be damaged.
pub fn free(object: NonNull<u8>) {
    // SAFETY: whoever frees an object promises not to use it; the heap checks the rest.
    let result = HEAP.with(|heap| heap.as_mut().map_or(Ok(()), |heap| unsafe { heap.free(object) }));
    if let Err(bad) = result {
        crate::crash::machine(format_args!("the heap was given back {bad:x?}"));
    }
}

/// The real length of an object and whether it could be made `bytes` long without moving.
pub fn resize(object: NonNull<u8>, bytes: usize) -> (usize, bool) {
    HEAP.with(|heap| {
        heap.as_mut().map_or((0, false), |heap| {
            let has = heap.size_of(object).unwrap_or(0);
            (has, heap.resize_in_place(object, bytes))
        })
    })
}

/// Bytes of the heap in free pages.
pub fn heap_free() -> usize {
    HEAP.with(|heap| heap.as_ref().map_or(0, Heap::free_bytes))
}

/// What the heap holds.
pub fn heap_figures() -> Figures {
    HEAP.with(|heap| heap.as_ref().map(Heap::figures)).unwrap_or(Figures { total: 0, free: 0, longest_free: 0, peak: 0 })
}

/// A setting, from the command line or else from the carrier.
pub fn setting(name: &str) -> Option<String> {
    COMMAND_LINE
        .with(|line| line.as_ref().and_then(|line| line.setting(name)).map(String::from))
        .or_else(|| Current::setting(name))
}

/// The command line, for the program's arguments and environment.
pub fn command_line() -> CommandLine {
    COMMAND_LINE.with(|line| line.clone()).unwrap_or_default()
}

/// Looks after devices and timers once. Called whenever a thread waits, yields, or polls.
pub fn turn() {
    Current::dispatch();
    let now = read_clock();
    net::turn();
    fd::disk::turn();
    fd::console::turn();
    thread::expire_timers(now);
    signal::turn();
    watch_memory();
}

/// Says when less memory was free than ever before: at a sixteenth of it, and at each half of that.
fn watch_memory() {
    let Some((least, total)) = HEAP.with(|heap| heap.as_ref().map(Heap::least_free)) else { return };
    let told = TOLD_FREE.load(Ordering::Relaxed).min(total / 8);
    if least >= told / 2 {
        return;
    }
    TOLD_FREE.store(least, Ordering::Relaxed);
    let heap = heap_figures();
    let _ = writeln!(
        Console,
        "kernel: memory is short: {} KiB of {} were free at the least, {} are now, {} in one piece",
        least >> 10,
        total >> 10,
        heap.free >> 10,
        heap.longest_free >> 10
    );
}

/// Nanoseconds on the monotonic clock, read now.
pub fn read_clock() -> u64 {
    let now = Current::monotonic_ns();
    TURN_NS.store(now, Ordering::Relaxed);
    now
}

/// The monotonic clock as it was last read: at the latest turn, or since then by the program. Good for what is measured
/// in milliseconds. Where the host emulates the processor's counter, reading costs as much as all of a small packet's way.
pub fn latest_clock() -> u64 {
    TURN_NS.load(Ordering::Relaxed)
}

/// Waits in the carrier until something happens or a deadline of threads or of the network passes.
pub fn wait(deadline_ns: Option<u64>) {
    let deadline = match (deadline_ns, net::next_deadline_ns()) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    Current::wait(deadline);
}
