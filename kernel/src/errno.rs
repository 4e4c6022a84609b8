//! Error numbers, and the list of what answers which.

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
