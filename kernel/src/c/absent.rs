//! What std, tokio and their friends can call and a machine cannot do: other programs, users, links of names. Each answers as
//! the list in [`crate::errno`] says.

use core::ffi::{c_char, c_int, c_void};

use super::fail;
use crate::errno::Errno;

/// Functions that fail, whatever they are given: this calling convention lets a callee not look at its arguments.
macro_rules! fail_with {
    ($($error:ident: $($name:ident)*;)*) => {
        $($(#[unsafe(no_mangle)]
        extern "C" fn $name() -> c_int {
            fail(Errno(libc::$error)) as c_int
        })*)*
    };
}

fail_with! {
    ENOSYS: fork vfork execv execve execvp dup2 dup3 sendfile64 splice preadv64 pwritev64 preadv pwritev;
    EPERM: chroot setuid setgid setgroups setsid setpgid;
    EROFS: linkat symlinkat mkdirat renameat mkfifo fchmod fchown futimens;
}

/// Functions that answer with the error itself.
macro_rules! answer_with {
    ($($error:ident: $($name:ident)*;)*) => {
        $($(#[unsafe(no_mangle)]
        extern "C" fn $name() -> c_int {
            libc::$error
        })*)*
    };
}

answer_with! {
    ENOSYS: posix_spawn posix_spawnp posix_spawn_file_actions_init posix_spawn_file_actions_adddup2
        posix_spawn_file_actions_addchdir_np posix_spawn_file_actions_destroy posix_spawnattr_init posix_spawnattr_destroy
        posix_spawnattr_setflags posix_spawnattr_setpgroup posix_spawnattr_setsigdefault;
}

/// Nobody started the program.
#[unsafe(no_mangle)]
extern "C" fn getppid() -> c_int {
    0
}

/// There are no users to know anything about.
#[unsafe(no_mangle)]
unsafe extern "C" fn getpwuid_r(_: u32, _: *mut c_void, _: *mut c_char, _: usize, found: *mut *mut c_void) -> c_int {
    // SAFETY: C's contract for getpwuid_r: a place for the answer, which is null when there is none.
    unsafe { found.write(core::ptr::null_mut()) };
    0
}

/// No directory can be opened, so that there is none to be read by its descriptor.
#[unsafe(no_mangle)]
extern "C" fn fdopendir(_: c_int) -> *mut c_void {
    fail(Errno(libc::ENOTDIR));
    core::ptr::null_mut()
}
