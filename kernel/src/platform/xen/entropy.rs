//! Randomness from the processor: RDSEED, or RDRAND where there is no RDSEED.
//!
//! What comes out seeds the kernel's generator. A processor whose instructions fail, or give the same value again and
//! again (some did after a sleep), is no source; then the machine refuses to start, because keys made on it could be
//! guessed.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count, _rdtsc};

use super::clock;

/// RDSEED may be empty for a moment when asked often; RDRAND is not.
const TRIES: usize = 10_000;

/// 32 bytes of fresh entropy, or `None` when the processor has no source.
pub fn seed() -> Option<[u8; 32]> {
    let has_seed = __cpuid(0).eax >= 7 && __cpuid_count(7, 0).ebx & (1 << 18) != 0;
    let has_random = __cpuid(1).ecx & (1 << 30) != 0;
    let from_seed = if has_seed { collect(rdseed) } else { None };
    let words = from_seed.or_else(|| if has_random { collect(rdrand) } else { None })?;
    // The clocks add what they can; they cannot take anything away.
    let mut words = words;
    // SAFETY: RDTSC is there on every 64-bit processor, and Xen lets PV guests use it.
    words[0] ^= unsafe { _rdtsc() };
    words[1] ^= clock::wall_clock_ns();
    words[2] ^= clock::monotonic_ns();
    let mut bytes = [0; 32];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    Some(bytes)
}

/// Four words from `source`, each the sum of eight draws, with the check that draws differ.
fn collect(source: fn() -> Option<u64>) -> Option<[u64; 4]> {
    let mut words = [0u64; 4];
    let mut last = source_patiently(source)?;
    let mut repeats = 0;
    for word in &mut words {
        for turn in 0..8 {
            let next = source_patiently(source)?;
            repeats += usize::from(next == last);
            last = next;
            *word = word.rotate_left(turn * 7).wrapping_add(next);
        }
    }
    // Two equal 64-bit draws in a row happen once in 2^64 times on a good source.
    (repeats == 0).then_some(words)
}

fn source_patiently(source: fn() -> Option<u64>) -> Option<u64> {
    (0..TRIES).find_map(|_| {
        source().or_else(|| {
            core::hint::spin_loop();
            None
        })
    })
}

fn rdseed() -> Option<u64> {
    let (value, good): (u64, u8);
    // SAFETY: called only where CPUID says that the instruction is there.
    unsafe { asm!("rdseed {}", "setc {}", out(reg) value, out(reg_byte) good, options(nomem, nostack)) };
    (good == 1).then_some(value)
}

fn rdrand() -> Option<u64> {
    let (value, good): (u64, u8);
    // SAFETY: called only where CPUID says that the instruction is there.
    unsafe { asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) good, options(nomem, nostack)) };
    (good == 1).then_some(value)
}
