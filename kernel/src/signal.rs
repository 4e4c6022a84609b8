//! Signals, as far as they mean something in a machine: the host's wish to shut down arrives as SIGTERM.
//!
//! A handler runs on the stack of whichever thread happens to be in the kernel, as on Linux. It must not wait.

use core::ffi::c_int;

use libc::{SIGTERM, sigaction, sighandler_t};

use crate::errno::Errno;
use crate::global::Global;
use crate::platform::{Current, End, Platform, Shutdown};

/// One more than the highest signal number.
pub const SIGNALS: usize = 65;

struct Signals {
    handlers: [sighandler_t; SIGNALS],
    flags: [c_int; SIGNALS],
    pending: u64,
    reboot: bool,
    delivering: bool,
}

static SIGNALS_STATE: Global<Signals> = Global::new(Signals {
    handlers: [libc::SIG_DFL; SIGNALS],
    flags: [0; SIGNALS],
    pending: 0,
    reboot: false,
    delivering: false,
});

/// Sets and tells a signal's handler.
///
/// SIGSEGV and SIGBUS answer that they are handled, and are: a fault ends the machine with its name on the console.
pub fn action(signal: c_int, new: Option<&sigaction>) -> Result<(sighandler_t, c_int), Errno> {
    let index = usize::try_from(signal).ok().filter(|index| (1..SIGNALS).contains(index)).ok_or(Errno(libc::EINVAL))?;
    if signal == libc::SIGSEGV || signal == libc::SIGBUS {
        return Ok((fatal as *const () as sighandler_t, libc::SA_SIGINFO));
    }
    SIGNALS_STATE.with(|state| {
        let old = (state.handlers[index], state.flags[index]);
        if let Some(new) = new {
            state.handlers[index] = new.sa_sigaction;
            state.flags[index] = new.sa_flags;
        }
        Ok(old)
    })
}

extern "C" fn fatal(_: c_int) {}

/// Sends a signal to the program itself.
pub fn raise(signal: c_int) {
    SIGNALS_STATE.with(|state| state.pending |= 1 << signal);
    turn();
}

/// Whether the host wants the machine to start again after this.
pub fn reboot_wanted() -> bool {
    SIGNALS_STATE.with(|state| state.reboot)
}

/// Takes the host's wishes and runs the handlers of what is pending.
pub fn turn() {
    if let Some(request) = Current::shutdown_request() {
        SIGNALS_STATE.with(|state| {
            state.pending |= 1 << SIGTERM;
            state.reboot = request == Shutdown::Reboot;
        });
    }
    while let Some(signal) = SIGNALS_STATE.with(|state| {
        if state.pending == 0 || state.delivering {
            return None;
        }
        let signal = state.pending.trailing_zeros() as c_int;
        state.pending &= state.pending - 1;
        state.delivering = true;
        Some(signal)
    }) {
        deliver(signal);
        SIGNALS_STATE.with(|state| state.delivering = false);
    }
}

fn deliver(signal: c_int) {
    let (handler, flags) = SIGNALS_STATE.with(|state| (state.handlers[signal as usize], state.flags[signal as usize]));
    match handler {
        libc::SIG_IGN => {}
        libc::SIG_DFL => default_action(signal),
        handler => {
            let errno = crate::thread::local::errno();
            // SAFETY: the program installed `handler` as a function of this shape; `errno` is the running thread's.
            unsafe {
                let saved = *errno;
                if flags & libc::SA_SIGINFO != 0 {
                    let mut info: libc::siginfo_t = core::mem::zeroed();
                    info.si_signo = signal;
                    let call: extern "C" fn(c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                        core::mem::transmute(handler);
                    call(signal, &mut info, core::ptr::null_mut());
                } else {
                    let call: extern "C" fn(c_int) = core::mem::transmute(handler);
                    call(signal);
                }
                *errno = saved;
            }
        }
    }
}

/// What Linux does to a process without a handler.
fn default_action(signal: c_int) {
    match signal {
        libc::SIGCHLD | libc::SIGURG | libc::SIGWINCH | libc::SIGCONT => {}
        libc::SIGTERM if reboot_wanted() => Current::end(End::Reboot),
        libc::SIGABRT => crate::crash::machine(format_args!("the program aborted")),
        signal => Current::end(End::Exit(128 + signal)),
    }
}
