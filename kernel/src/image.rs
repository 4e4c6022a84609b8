//! The program's own ELF headers: where its thread-local image and its unwind tables are.
//!
//! The linker script must load the ELF header and the program headers with the image; `__ehdr_start` is the linker's
//! name for the place.

use core::ptr::NonNull;

/// ELF-64 file header, as far as it is read here.
#[repr(C)]
struct FileHeader {
    ident: [u8; 16],
    kind: u16,
    machine: u16,
    version: u32,
    entry: u64,
    program_headers: u64,
    section_headers: u64,
    flags: u32,
    header_bytes: u16,
    program_header_bytes: u16,
    program_header_count: u16,
}

/// ELF-64 program header.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    physical: u64,
    file_bytes: u64,
    memory_bytes: u64,
    align: u64,
}

const PT_LOAD: u32 = 1;
const PT_TLS: u32 = 7;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;

unsafe extern "C" {
    static __ehdr_start: FileHeader;
}

/// The initial image of a thread's storage.
#[derive(Debug, Clone, Copy)]
pub struct Tls {
    /// The bytes to copy.
    pub start: *const u8,
    /// How many.
    pub file_bytes: usize,
    /// How long the storage is; what follows the copied bytes is zero.
    pub memory_bytes: usize,
    /// Its alignment.
    pub align: usize,
}

/// The program's headers.
pub fn program_headers() -> &'static [ProgramHeader] {
    // SAFETY: the linker defines the symbol as the address of the loaded ELF header, whose program headers follow it
    // in the same segment and never change.
    unsafe {
        let start = (&raw const __ehdr_start).cast::<u8>();
        let table = start.add(__ehdr_start.program_headers as usize).cast::<ProgramHeader>();
        core::slice::from_raw_parts(table, __ehdr_start.program_header_count as usize)
    }
}

fn header(kind: u32) -> Option<&'static ProgramHeader> {
    program_headers().iter().find(|header| header.kind == kind)
}

/// The thread-local image; an empty one when the program has no thread-locals.
pub fn tls() -> Tls {
    match header(PT_TLS) {
        Some(header) => Tls {
            start: header.address as *const u8,
            file_bytes: header.file_bytes as usize,
            memory_bytes: header.memory_bytes as usize,
            align: header.align as usize,
        },
        None => Tls { start: NonNull::dangling().as_ptr(), file_bytes: 0, memory_bytes: 0, align: 16 },
    }
}

/// The search table of the unwind information (`.eh_frame_hdr`).
pub fn unwind_table() -> Option<usize> {
    header(PT_GNU_EH_FRAME).map(|header| header.address as usize)
}

/// Lowest and one past the highest address of the image.
pub fn extent() -> (usize, usize) {
    let loaded = || program_headers().iter().filter(|header| header.kind == PT_LOAD);
    let low = loaded().map(|header| header.address).min().unwrap_or(0);
    let high = loaded().map(|header| header.address + header.memory_bytes).max().unwrap_or(0);
    (low as usize, high as usize)
}
