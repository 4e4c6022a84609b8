//! Error numbers, and the list of what answers which.
//!
//! A machine has no users, no processes, no terminals, and no names but those in [`crate::fd::paths`]. What a program asks
//! for beyond that is answered so that std and tokio take their documented way out:
//!
//! | call | answer | why |
//! |---|---|---|
//! | opening, looking at, resolving a path that is not there | ENOENT | there are no other files |
//! | creating, renaming, removing, linking, making directories; owners, rights and times of names | EROFS | names do not change (ENOENT if it is not there) |
//! | opening a text or a read-only disk for writing | EROFS | it cannot change |
//! | opening `/`, `/dev`, `/etc` | EACCES (EISDIR for writing) | nothing in them that a program does not know by name |
//! | `readlink` | EINVAL | there are no links |
//! | `ftruncate` of a disk | EINVAL | its size is what it is; setting that very size succeeds |
//! | reading or writing past a disk's end | 0 / ENOSPC | as block devices do |
//! | `fsync` and kin | EIO | the device's flush failed: nothing since the last good one is known to be stable |
//! | the same | EOPNOTSUPP | the device knows no flush: no promise can be made |
//! | `fsync` of what is not a disk; `lseek`, `pread` of a socket, a pipe, the console | EINVAL; ESPIPE | nothing to flush; no position |
//! | mapping a file | ENODEV | memory comes from the heap alone |
//! | `ioctl` that is not known; `isatty` | ENOTTY | no terminals |
//! | `statx`, `close_range`, `pidfd_*`, other `syscall` numbers | ENOSYS | std falls back to the older call |
//! | starting other programs: `fork`, `exec*`, `posix_spawn*`, and `dup2` for them | ENOSYS | there is nothing to start; std says "unsupported" |
//! | `sendfile`, `splice`, `preadv`, `pwritev` | ENOSYS | std reads and writes instead |
//! | becoming another user, group, session; another root | EPERM | there is one of each |
//! | `chdir` to what is not the root | EACCES | names begin at the root |
//! | `getpwuid_r` | nobody found | there are no users |
//! | waiting for, signalling other processes | ECHILD, ESRCH | there are none |
//! | sockets of other families; of other types | EAFNOSUPPORT; ESOCKTNOSUPPORT | IPv4, IPv6, TCP, UDP; local ones come in pairs |
//! | socket options that are not known | ENOPROTOOPT | nothing is pretended; sizes and priorities are accepted as hints |
//! | joining a multicast group | ENODEV | no card takes part in one |
//! | connecting without a way there | ENETUNREACH | no address or no route of that family |
//! | connecting when the memory for sockets is used up | ENOBUFS | see docs/kernel.md, Limits |
//! | sending a datagram of more than 8,164 bytes over a card | EMSGSIZE | the fragmentation buffer |
//! | a lock on a file | success | nobody else could hold it |
//! | `mprotect`, `madvise` | success, no effect | the carrier decides what memory may do |

use core::ffi::c_int;

/// An error number as Linux on x86-64 numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub c_int);

/// What an error is called, in glibc's words: programs print them, and some look for them.
pub fn name(number: c_int) -> &'static str {
    match number {
        libc::EPERM => "Operation not permitted",
        libc::ENOENT => "No such file or directory",
        libc::ESRCH => "No such process",
        libc::EINTR => "Interrupted system call",
        libc::EIO => "Input/output error",
        libc::EBADF => "Bad file descriptor",
        libc::ECHILD => "No child processes",
        libc::EAGAIN => "Resource temporarily unavailable",
        libc::ENOMEM => "Cannot allocate memory",
        libc::EACCES => "Permission denied",
        libc::EFAULT => "Bad address",
        libc::EBUSY => "Device or resource busy",
        libc::EEXIST => "File exists",
        libc::ENODEV => "No such device",
        libc::ENOTDIR => "Not a directory",
        libc::EISDIR => "Is a directory",
        libc::EINVAL => "Invalid argument",
        libc::EMFILE => "Too many open files",
        libc::ENOTTY => "Inappropriate ioctl for device",
        libc::ENOSPC => "No space left on device",
        libc::ESPIPE => "Illegal seek",
        libc::EROFS => "Read-only file system",
        libc::EPIPE => "Broken pipe",
        libc::EDOM => "Numerical argument out of domain",
        libc::ERANGE => "Numerical result out of range",
        libc::EDEADLK => "Resource deadlock avoided",
        libc::ENAMETOOLONG => "File name too long",
        libc::ENOSYS => "Function not implemented",
        libc::ENOTSOCK => "Socket operation on non-socket",
        libc::EDESTADDRREQ => "Destination address required",
        libc::EMSGSIZE => "Message too long",
        libc::ENOPROTOOPT => "Protocol not available",
        libc::ESOCKTNOSUPPORT => "Socket type not supported",
        libc::EOPNOTSUPP => "Operation not supported",
        libc::EAFNOSUPPORT => "Address family not supported by protocol",
        libc::EADDRINUSE => "Address already in use",
        libc::EADDRNOTAVAIL => "Cannot assign requested address",
        libc::ENETUNREACH => "Network is unreachable",
        libc::ECONNABORTED => "Software caused connection abort",
        libc::ECONNRESET => "Connection reset by peer",
        libc::ENOBUFS => "No buffer space available",
        libc::EISCONN => "Transport endpoint is already connected",
        libc::ENOTCONN => "Transport endpoint is not connected",
        libc::ETIMEDOUT => "Connection timed out",
        libc::ECONNREFUSED => "Connection refused",
        libc::EALREADY => "Operation already in progress",
        libc::EINPROGRESS => "Operation now in progress",
        libc::EHOSTUNREACH => "No route to host",
        _ => "Unknown error",
    }
}
