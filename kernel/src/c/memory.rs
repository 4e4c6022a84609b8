//! Blocks of memory, strings, and the heap's C face.
//!
//! Copying and filling are loops of 16-byte moves, four a turn, in assembly ([`crate::copy`] says why). Switches of threads
//! are calls, so vector registers are free to use (docs/decisions/0101).

use core::arch::asm;
use core::arch::x86_64::__m128i;
use core::ffi::{c_char, c_int, c_void};
use core::ptr::NonNull;

use crate::machine;

/// What `malloc` aligns to.
const ALIGN: usize = 16;
/// Blocks up to this length need no loop.
const SHORT: usize = 32;

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: C's contract for memcpy: both ranges are valid and do not overlap.
    unsafe { copy_forward(to, from, length) }
}

/// Copies from the start on. Ranges may overlap if `to` is the lower one.
#[inline(always)]
unsafe fn copy_forward(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: the caller vouches for both ranges; every access lies within `length` bytes of its start.
    unsafe {
        if length <= SHORT {
            return copy_short(to, from, length);
        }
        if length <= 64 {
            let first = from.cast::<[u128; 2]>().read_unaligned();
            let last = from.add(length - 32).cast::<[u128; 2]>().read_unaligned();
            to.cast::<[u128; 2]>().write_unaligned(first);
            to.add(length - 32).cast::<[u128; 2]>().write_unaligned(last);
            return to;
        }
        crate::copy::blocks(to, from, length);
    }
    to
}

/// Up to 32 bytes by two overlapping moves of the largest size that fits; all is read before anything is written, so
/// overlapping ranges are copied right.
#[inline(always)]
unsafe fn copy_short(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: each access lies within `length` bytes of its start.
    unsafe {
        match length {
            16..=SHORT => {
                let first = from.cast::<u128>().read_unaligned();
                let last = from.add(length - 16).cast::<u128>().read_unaligned();
                to.cast::<u128>().write_unaligned(first);
                to.add(length - 16).cast::<u128>().write_unaligned(last);
            }
            8..16 => {
                let first = from.cast::<u64>().read_unaligned();
                let last = from.add(length - 8).cast::<u64>().read_unaligned();
                to.cast::<u64>().write_unaligned(first);
                to.add(length - 8).cast::<u64>().write_unaligned(last);
            }
            4..8 => {
                let first = from.cast::<u32>().read_unaligned();
                let last = from.add(length - 4).cast::<u32>().read_unaligned();
                to.cast::<u32>().write_unaligned(first);
                to.add(length - 4).cast::<u32>().write_unaligned(last);
            }
            1..4 => {
                let (first, middle, last) = (*from, *from.add(length / 2), *from.add(length - 1));
                *to = first;
                *to.add(length / 2) = middle;
                *to.add(length - 1) = last;
            }
            _ => {}
        }
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: C's contract for memmove: both ranges are valid. Ranges that overlap with the target behind the source
    // are copied from their ends.
    unsafe {
        if length <= SHORT {
            return copy_short(to, from, length);
        }
        if (to as usize).wrapping_sub(from as usize) >= length {
            return copy_forward(to, from, length);
        }
        let mut left = length;
        while left >= 16 {
            left -= 16;
            let part = from.add(left).cast::<u128>().read_unaligned();
            to.add(left).cast::<u128>().write_unaligned(part);
        }
        // The first bytes are still as they were: everything written lies above them.
        copy_short(to, from, left);
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: c_int, length: usize) -> *mut u8 {
    let pattern = u128::from_ne_bytes([byte as u8; 16]);
    // SAFETY: C's contract for memset: the range is valid; every access lies within it.
    unsafe {
        if length < 16 {
            // Volatile, so that the compiler does not see memset itself.
            (0..length).for_each(|at| to.add(at).write_volatile(byte as u8));
            return to;
        }
        to.cast::<u128>().write_unaligned(pattern);
        to.add(length - 16).cast::<u128>().write_unaligned(pattern);
        // Between the two, from the next 16-byte line on.
        let (start, end) = ((to as usize + 16) & !15, (to as usize + length) & !15);
        asm!(
            "jmp 3f",
            "2:",
            "movups [rdi], xmm0",
            "add rdi, 16",
            "3:",
            "cmp rdi, rdx",
            "jb 2b",
            inout("rdi") start => _, in("rdx") end, in("xmm0") core::mem::transmute::<u128, __m128i>(pattern),
            options(nostack),
        );
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, length: usize) -> c_int {
    // SAFETY: C's contract for memcmp: both ranges are valid.
    unsafe {
        let mut at = 0;
        while at + 8 <= length {
            let a = one.add(at).cast::<u64>().read_unaligned();
            let b = other.add(at).cast::<u64>().read_unaligned();
            if a != b {
                return if a.swap_bytes() < b.swap_bytes() { -1 } else { 1 };
            }
            at += 8;
        }
        while at < length {
            let (a, b) = (*one.add(at), *other.add(at));
            if a != b {
                return c_int::from(a) - c_int::from(b);
            }
            at += 1;
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, length: usize) -> c_int {
    // SAFETY: the same contract.
    unsafe { memcmp(one, other, length) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memchr(start: *const u8, byte: c_int, length: usize) -> *mut c_void {
    // SAFETY: C's contract for memchr: the range is valid.
    let found = unsafe { super::bytes(start, length) }.iter().position(|&here| here == byte as u8);
    // SAFETY: the position is within the range.
    found.map_or(core::ptr::null_mut(), |at| unsafe { start.add(at) }.cast_mut().cast())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const c_char) -> usize {
    let mut length = 0;
    // SAFETY: C's contract for strlen: a NUL ends the text. The volatile read keeps the compiler from seeing strlen.
    while unsafe { text.add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}

#[unsafe(no_mangle)]
unsafe extern "C" fn strnlen(text: *const c_char, most: usize) -> usize {
    // SAFETY: C's contract for strnlen: a NUL ends the text, or it is `most` long.
    (0..most).find(|&at| unsafe { text.add(at).read_volatile() } == 0).unwrap_or(most)
}

fn or_no_memory(object: Option<NonNull<u8>>) -> *mut c_void {
    match object {
        Some(object) => object.as_ptr().cast(),
        None => {
            super::fail(crate::errno::Errno(libc::ENOMEM));
            core::ptr::null_mut()
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn malloc(bytes: usize) -> *mut c_void {
    or_no_memory(machine::allocate(bytes, ALIGN))
}

#[unsafe(no_mangle)]
extern "C" fn calloc(count: usize, bytes: usize) -> *mut c_void {
    let Some(all) = count.checked_mul(bytes) else { return or_no_memory(None) };
    let object = machine::allocate(all, ALIGN);
    if let Some(object) = object {
        // SAFETY: the object is `all` bytes long.
        unsafe { memset(object.as_ptr(), 0, all) };
    }
    or_no_memory(object)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn free(object: *mut c_void) {
    if let Some(object) = NonNull::new(object.cast()) {
        machine::free(object);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(object: *mut c_void, bytes: usize) -> *mut c_void {
    let Some(old) = NonNull::new(object.cast::<u8>()) else { return malloc(bytes) };
    let (has, fits) = machine::resize(old, bytes);
    if fits {
        return object;
    }
    let new = machine::allocate(bytes, ALIGN);
    if let Some(new) = new {
        // SAFETY: the objects are different, and as long as the shorter of the two at least.
        unsafe { memcpy(new.as_ptr(), old.as_ptr(), has.min(bytes)) };
        machine::free(old);
    }
    or_no_memory(new)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(into: *mut *mut c_void, align: usize, bytes: usize) -> c_int {
    if !align.is_power_of_two() || !align.is_multiple_of(size_of::<usize>()) {
        return libc::EINVAL;
    }
    match machine::allocate(bytes, align) {
        Some(object) => {
            // SAFETY: C's contract for posix_memalign: `into` is valid.
            unsafe { *into = object.as_ptr().cast() };
            0
        }
        None => libc::ENOMEM,
    }
}

#[unsafe(no_mangle)]
extern "C" fn aligned_alloc(align: usize, bytes: usize) -> *mut c_void {
    or_no_memory(machine::allocate(bytes, align.max(1).next_power_of_two()))
}
