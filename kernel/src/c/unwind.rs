//! What the unwinder asks about the image. A panic ends its task or thread because of this.

use core::ffi::{c_char, c_int, c_void};
use core::fmt::Write;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::crash::Console;
use crate::{image, machine};

/// GCC's `struct dl_find_object`.
#[repr(C)]
struct Found {
    flags: u64,
    map_start: *mut c_void,
    map_end: *mut c_void,
    link_map: *mut c_void,
    unwind_table: *mut c_void,
    reserved: [u64; 7],
}

/// The C library's `struct dl_phdr_info`.
#[repr(C)]
struct Info {
    address: usize,
    name: *const c_char,
    headers: *const image::ProgramHeader,
    header_count: u16,
    adds: u64,
    subs: u64,
    tls_module: usize,
    tls_data: *mut c_void,
}

#[unsafe(no_mangle)]
unsafe extern "C" fn _dl_find_object(address: *mut c_void, found: *mut Found) -> c_int {
    let (start, end) = image::extent();
    let Some(table) = table().filter(|_| (start..end).contains(&(address as usize))) else { return -1 };
    let answer = Found {
        flags: 0,
        map_start: start as *mut c_void,
        map_end: end as *mut c_void,
        link_map: core::ptr::null_mut(),
        unwind_table: table as *mut c_void,
        reserved: [0; 7],
    };
    // SAFETY: the unwinder hands in a place for the answer.
    unsafe { found.write(answer) };
    0
}

/// The table by which the unwinder finds a function's entry (`.eh_frame_hdr`, System V ABI): the image's own, or where
/// `nymote build` left out what it lists, one that is made of the entries at the first panic. Without memory for it the
/// unwinder goes through the entries one by one.
fn table() -> Option<usize> {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let linked = image::unwind_table()?;
    // SAFETY: the image holds the table's head there, four encodings first.
    let encoding = unsafe { (linked as *const u8).add(3).read() };
    if encoding != OMITTED {
        return Some(linked);
    }
    if MADE.load(Ordering::Relaxed) == 0 {
        MADE.store(make_table(linked).unwrap_or(linked), Ordering::Relaxed);
    }
    Some(MADE.load(Ordering::Relaxed))
}

/// Encodings of numbers in the table (`DW_EH_PE_…`): none, four bytes as they are, four bytes from the table's start.
const OMITTED: u8 = 0xff;
const ABSOLUTE: u8 = 0x03;
const FROM_TABLE: u8 = 0x3b;
/// Bytes of the table before its list.
const TABLE_HEAD_BYTES: usize = 12;

/// Makes a table with its list. The entries that `nymote build` leaves (toolstack/src/build/unwind.rs) are sorted and begin
/// with their function's address.
fn make_table(linked: usize) -> Option<usize> {
    // SAFETY: behind its encodings the head holds the distance from there to the entries.
    let entries = (linked + 4).wrapping_add_signed(unsafe { ((linked + 4) as *const i32).read() } as isize);
    let count = Entries(entries).count();
    let made = machine::allocate(TABLE_HEAD_BYTES + 8 * count, 8)?;
    let start = made.as_ptr() as usize;
    let from_start = |address: usize| i32::try_from(address.cast_signed() - start.cast_signed()).ok();
    // SAFETY: the memory is ours alone, and as long as what is written to it.
    unsafe {
        made.cast::<[u8; 4]>().write([1, ABSOLUTE, ABSOLUTE, FROM_TABLE]);
        made.cast::<u32>().add(1).write(u32::try_from(entries).ok()?);
        made.cast::<u32>().add(2).write(u32::try_from(count).ok()?);
        let list = made.cast::<i32>().add(TABLE_HEAD_BYTES / 4);
        for (index, (function, entry)) in Entries(entries).enumerate() {
            list.add(2 * index).write(from_start(function)?);
            list.add(2 * index + 1).write(from_start(entry)?);
        }
    }
    Some(start)
}

/// The functions' addresses and the entries' in `.eh_frame`, from an entry on to the end.
struct Entries(usize);

impl Iterator for Entries {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let at = self.0;
            // SAFETY: the section is a row of entries that begin with their length, up to a length of zero; each has an id
            // behind it, zero for what is common to others, and a function's has that function's address next.
            let [length, id, function] = unsafe { (at as *const [u32; 3]).read_unaligned() };
            if length == 0 {
                return None;
            }
            self.0 += 4 + length as usize;
            if id != 0 {
                return Some((function as usize, at));
            }
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dl_iterate_phdr(
    each: extern "C" fn(*mut Info, usize, *mut c_void) -> c_int,
    data: *mut c_void,
) -> c_int {
    let headers = image::program_headers();
    let mut info = Info {
        address: 0,
        name: c"".as_ptr(),
        headers: headers.as_ptr(),
        header_count: headers.len() as u16,
        adds: 1,
        subs: 0,
        tls_module: 0,
        tls_data: core::ptr::null_mut(),
    };
    each(&mut info, size_of::<Info>(), data)
}

unsafe extern "C" {
    /// GCC's `_Unwind_Backtrace`, renamed by `nymote build` in the copy of its library that machines are linked with.
    fn gcc_unwind_backtrace(each: extern "C" fn(*mut c_void, *mut c_void) -> c_int, data: *mut c_void) -> c_int;
    fn _Unwind_GetIP(context: *mut c_void) -> usize;
}

/// GCC's `_URC_NO_REASON` and `_URC_END_OF_STACK`.
const GO_ON: c_int = 0;
const END_OF_STACK: c_int = 5;
/// Most callers that are listed.
const CALLERS_MAX: usize = 100;

/// Where std asks for a backtrace, the callers' addresses go to the console as they are, for `nymote symbolize`, and std is
/// told of none. It would look for debug information, which no machine has; as it is never called back, its reader of that
/// (a fifth of a small program) is left out of the image. See docs/decisions/0104.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(_: *const c_void, _: *mut c_void) -> c_int {
    list_callers();
    END_OF_STACK
}

#[inline(never)]
fn list_callers() {
    let _ = write!(Console, "kernel: called from");
    let mut count = 0_usize;
    // SAFETY: the unwinder calls back with contexts of its own while it walks this stack, and with our counter.
    unsafe { gcc_unwind_backtrace(list_one, (&raw mut count).cast()) };
    let _ = writeln!(Console);
}

extern "C" fn list_one(context: *mut c_void, count: *mut c_void) -> c_int {
    // SAFETY: the unwinder hands back its own context, and the counter of `list_callers`.
    let (address, count) = unsafe { (_Unwind_GetIP(context), &mut *count.cast::<usize>()) };
    *count += 1;
    if address == 0 || *count > CALLERS_MAX {
        return END_OF_STACK;
    }
    let _ = write!(Console, " {address:#x}");
    GO_ON
}
