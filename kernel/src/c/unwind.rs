//! What the unwinder asks about the image. A panic ends its task or thread because of this.

use core::ffi::{c_char, c_int, c_void};
use core::fmt::Write;

use crate::crash::Console;
use crate::global::Global;
use crate::{image, unwinding};

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
    let within = (start..end).contains(&(address as usize));
    let Some(table) = within.then(|| table(address as usize)).flatten() else { return -1 };
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

/// The table by which the unwinder finds a function's entry (`.eh_frame_hdr`, System V ABI): the linker's, or where
/// `nymote build` left one of its own instead ([`unwinding`]), one that has this address's entry alone. The unwinder is done
/// with it when it asks again.
fn table(address: usize) -> Option<usize> {
    let head = image::unwind_table()?;
    // SAFETY: the image holds the table's head there: a version first, and a distance behind four bytes.
    let (version, distance) = unsafe { ((head as *const u8).read(), ((head + 4) as *const i32).read_unaligned()) };
    if version == LINKED {
        return Some(head);
    }
    let tables = (head + 4).wrapping_add_signed(distance as isize) as *const u8;
    // SAFETY: the head says where they are; they begin with their length and are never written.
    let tables = unsafe { core::slice::from_raw_parts(tables, unwinding::length(tables.cast::<[u8; 4]>().read())) };
    ENTRY.with(|room| {
        let place = room.0.as_ptr() as usize;
        unwinding::entry(tables, u32::try_from(address).ok()?, &mut room.0, u32::try_from(place).ok()?).map(|()| place)
    })
}

/// The linker's version of the table.
const LINKED: u8 = 1;
/// The entry that was asked for last. `nymote build` leaves no clean-ups for which this is too small.
static ENTRY: Global<Room> = Global::new(Room([0; 12 << 10]));

#[repr(C, align(8))]
struct Room([u8; 12 << 10]);

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
