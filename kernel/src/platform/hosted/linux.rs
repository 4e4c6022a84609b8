//! Linux system calls for x86-64, as far as they are needed here.

use core::arch::asm;

pub const READ: usize = 0;
pub const WRITE: usize = 1;
pub const OPEN: usize = 2;
pub const LSEEK: usize = 8;
pub const MMAP: usize = 9;
pub const MPROTECT: usize = 10;
pub const RT_SIGACTION: usize = 13;
pub const RT_SIGPROCMASK: usize = 14;
pub const IOCTL: usize = 16;
pub const PREAD64: usize = 17;
pub const PWRITE64: usize = 18;
pub const GETPID: usize = 39;
pub const SOCKET: usize = 41;
pub const BIND: usize = 49;
pub const SETSOCKOPT: usize = 54;
pub const EXECVE: usize = 59;
pub const KILL: usize = 62;
pub const FDATASYNC: usize = 75;
pub const SIGALTSTACK: usize = 131;
pub const ARCH_PRCTL: usize = 158;
pub const CLOCK_GETTIME: usize = 228;
pub const EXIT_GROUP: usize = 231;
pub const PPOLL: usize = 271;
pub const FALLOCATE: usize = 285;
pub const SIGNALFD4: usize = 289;
pub const GETRANDOM: usize = 318;

pub const CLOCK_REALTIME: usize = 0;
pub const CLOCK_MONOTONIC: usize = 1;
pub const ARCH_SET_FS: usize = 0x1002;
pub const PROT_READ: usize = 1;
pub const PROT_WRITE: usize = 2;
pub const POLLIN: i16 = 1;
pub const POLLOUT: i16 = 4;
pub const EINTR: isize = -4;
pub const EAGAIN: isize = -11;
pub const EROFS: isize = -30;
pub const ENOSPC: isize = -28;
pub const EACCES: isize = -13;

/// `struct timespec`.
#[repr(C)]
#[derive(Default, Clone, Copy)]
pub struct Timespec {
    pub seconds: i64,
    pub nanoseconds: i64,
}

/// `struct pollfd`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PollFd {
    pub fd: i32,
    pub events: i16,
    pub revents: i16,
}

/// Makes a system call; a negative answer is an error number.
///
/// # Safety
/// The arguments must be what the call wants: pointers valid for what it reads and writes.
pub unsafe fn call(number: usize, arguments: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    // SAFETY: the caller's promise; Linux keeps all registers but rax, rcx and r11.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// Waits for descriptors; without a timeout for as long as it takes.
pub fn poll(polled: &mut [PollFd], timeout: Option<Timespec>) -> isize {
    let timeout_at = timeout.as_ref().map_or(0, |timeout| core::ptr::from_ref(timeout) as usize);
    // SAFETY: the slice and the time outlive the call.
    unsafe { call(PPOLL, [polled.as_mut_ptr() as usize, polled.len(), timeout_at, 0, 8, 0]) }
}

/// Ends the process.
pub fn exit(code: i32) -> ! {
    loop {
        // SAFETY: nothing is left to be valid.
        unsafe { call(EXIT_GROUP, [code as usize, 0, 0, 0, 0, 0]) };
    }
}
