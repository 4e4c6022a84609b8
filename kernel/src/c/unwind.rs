//! What the unwinder asks about the image. A panic ends its task or thread because of this.

use core::ffi::{c_char, c_int, c_void};

use crate::image;

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
    let Some(table) = image::unwind_table().filter(|_| (start..end).contains(&(address as usize))) else { return -1 };
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
