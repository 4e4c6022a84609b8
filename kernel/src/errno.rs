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
//! | `fsync` of what is not a disk; `lseek`, `pread` of the same | EINVAL; ESPIPE | nothing to flush; no position |
//! | mapping a file | ENODEV | memory comes from the heap alone |
//! | `ioctl` that is not known; `isatty` | ENOTTY | no terminals |
//! | `statx`, `close_range`, `pidfd_*`, other `syscall` numbers | ENOSYS | std falls back to the older call |
//! | starting other programs: `fork`, `exec*`, `posix_spawn*`, and `dup2` for them | ENOSYS | there is nothing to start; std says "unsupported" |
//! | `sendfile`, `splice`, `preadv`, `pwritev` | ENOSYS | std reads and writes instead |
//! | becoming another user, group, session; another root | EPERM | there is one of each |
//! | `chdir` to what is not the root | EACCES | names begin at the root |
//! | `getpwuid_r` | nobody found | there are no users |
//! | waiting for, signalling other processes | ECHILD, ESRCH | there are none |
//! | `setenv`, `unsetenv` | EPERM | the environment is the machine's configuration |
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

/// What an error is called on the console, as std prints it.
pub fn name(number: c_int) -> &'static str {
    match number {
        libc::EPERM => "operation not permitted",
        libc::ENOENT => "no such file or directory",
        libc::ESRCH => "no such thread or process",
        libc::EINTR => "interrupted",
        libc::EIO => "input/output error",
        libc::EBADF => "not a descriptor",
        libc::ECHILD => "no child processes",
        libc::EAGAIN => "not now, try again",
        libc::ENOMEM => "out of memory",
        libc::EACCES => "permission denied",
        libc::EFAULT => "bad address",
        libc::EBUSY => "busy",
        libc::EEXIST => "exists already",
        libc::ENODEV => "no such device",
        libc::ENOTDIR => "not a directory",
        libc::EISDIR => "is a directory",
        libc::EINVAL => "invalid argument",
        libc::EMFILE => "too many open descriptors",
        libc::ENOTTY => "not a terminal",
        libc::ENOSPC => "no space left on device",
        libc::ESPIPE => "cannot seek",
        libc::EROFS => "read-only file system",
        libc::EPIPE => "broken pipe",
        libc::EDOM => "out of domain",
        libc::ERANGE => "out of range",
        libc::EDEADLK => "would deadlock",
        libc::ENAMETOOLONG => "name too long",
        libc::ENOSYS => "function not implemented",
        libc::ENOTSOCK => "not a socket",
        libc::EDESTADDRREQ => "destination address required",
        libc::EMSGSIZE => "message too long",
        libc::ENOPROTOOPT => "option not available",
        libc::ESOCKTNOSUPPORT => "socket type not supported",
        libc::EOPNOTSUPP => "operation not supported",
        libc::EAFNOSUPPORT => "address family not supported",
        libc::EADDRINUSE => "address in use",
        libc::EADDRNOTAVAIL => "address not available",
        libc::ENETUNREACH => "network unreachable",
        libc::ECONNABORTED => "connection aborted",
        libc::ECONNRESET => "connection reset by peer",
        libc::ENOBUFS => "no buffer space",
        libc::EISCONN => "already connected",
        libc::ENOTCONN => "not connected",
        libc::ETIMEDOUT => "timed out",
        libc::ECONNREFUSED => "connection refused",
        libc::EALREADY => "already in progress",
        libc::EINPROGRESS => "in progress",
        _ => "unknown error",
    }
}
