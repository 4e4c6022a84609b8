//! Signals, as far as they mean something in a machine: the host's wish to shut down arrives as SIGTERM.
//!
//! A handler runs on the stack of whichever thread happens to be in the kernel, as on Linux. It must not wait. A signal to
//! the program then ends what the main thread waits for with EINTR, where Linux does.

use core::ffi::c_int;

use libc::{SIGTERM, sigaction, sighandler_t};

use crate::errno::Errno;
use crate::global::Global;
use crate::platform::{Current, End, Platform, Shutdown};
use crate::thread;

/// One more than the highest signal number.
pub const SIGNALS: usize = 65;

struct Signals {
    handlers: [sighandler_t; SIGNALS],
    flags: [c_int; SIGNALS],
    /// A bit for each signal, the lowest for number 1.
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
    let index = index(signal)?;
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

/// A signal's place in the tables, or EINVAL.
fn index(signal: c_int) -> Result<usize, Errno> {
    usize::try_from(signal).ok().filter(|index| (1..SIGNALS).contains(index)).ok_or(Errno(libc::EINVAL))
}

/// `kill`: sends a signal to the program.
pub fn send(signal: c_int) -> Result<(), Errno> {
    let bit = 1 << (index(signal)? - 1);
    SIGNALS_STATE.with(|state| state.pending |= bit);
    turn();
    Ok(())
}

/// `raise`: sends a signal to the calling thread. Within a handler it waits for that one's end.
pub fn raise(signal: c_int) -> Result<(), Errno> {
    index(signal)?;
    if SIGNALS_STATE.with(|state| core::mem::replace(&mut state.delivering, true)) {
        return send(signal);
    }
    deliver(signal);
    SIGNALS_STATE.with(|state| state.delivering = false);
    turn();
    Ok(())
}

/// Whether the host wants the machine to start again after this.
pub fn reboot_wanted() -> bool {
    SIGNALS_STATE.with(|state| state.reboot)
}

/// Takes the host's wishes and runs the handlers of what is pending.
pub fn turn() {
    if let Some(request) = Current::shutdown_request() {
        SIGNALS_STATE.with(|state| {
            state.pending |= 1 << (SIGTERM - 1);
            state.reboot = request == Shutdown::Reboot;
        });
    }
    while let Some(signal) = SIGNALS_STATE.with(|state| {
        if state.pending == 0 || state.delivering {
            return None;
        }
        let signal = state.pending.trailing_zeros() as c_int + 1;
        state.pending &= state.pending - 1;
        state.delivering = true;
        Some(signal)
    }) {
        let handled = deliver(signal);
        SIGNALS_STATE.with(|state| state.delivering = false);
        if let Some(flags) = handled {
            thread::interrupt(flags & libc::SA_RESTART != 0);
        }
    }
}

/// Does what the program wants done about a signal; gives the flags of the handler that ran.
fn deliver(signal: c_int) -> Option<c_int> {
    let (handler, flags) = SIGNALS_STATE.with(|state| (state.handlers[signal as usize], state.flags[signal as usize]));
    match handler {
        libc::SIG_IGN => None,
        libc::SIG_DFL => {
            default_action(signal);
            None
        }
        handler => {
            let errno = thread::local::errno();
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
            Some(flags)
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
