//! What a Linux process does before it begins.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// glibc gives every thread a heap of its own, and each keeps what it needed at its fullest: an appliance with three threads
/// then takes twice the memory. It is told to use one heap, and to give back what is free, by variables that it reads
/// when a program starts; so the program begins once more in the same process, with them set.
pub(crate) fn with_one_heap() {
    if std::env::var_os(HEAPS).is_some() {
        return;
    }
    let mut words = std::env::args_os();
    let mut again = Command::new("/proc/self/exe");
    if let Some(name) = words.next() {
        again.arg0(name);
    }
    // Where that cannot be done (no /proc), it takes more memory and nothing else.
    let _ = again.args(words).env(HEAPS, "1").env("MALLOC_TRIM_THRESHOLD_", "262144").exec();
}

const HEAPS: &str = "MALLOC_ARENA_MAX";
