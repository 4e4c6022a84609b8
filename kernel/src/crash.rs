//! The end of a machine that cannot go on: it names itself on the console, then ends as crashed.

use core::fmt::{self, Write};

use crate::platform::{Current, End, Platform};

/// What a carrier's fault handler knows when it calls [`fault`].
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// In words: `page fault`, `invalid instruction`, `general protection`, `division`.
    pub kind: &'static str,
    /// The address that was touched, for page faults.
    pub address: Option<usize>,
    /// Where the program was.
    pub instruction: usize,
    /// Its stack pointer.
    pub stack: usize,
}

/// Ends the machine because of a fault. Runs on a stack that the carrier keeps for this; does not allocate.
pub fn fault(fault: Fault) -> ! {
    match fault.address {
        Some(address) if crate::thread::overflow_of(address) => machine(format_args!(
            "stack overflow at address {address:#x}, instruction {:#x}; the setting `stack` allows larger ones",
            fault.instruction
        )),
        Some(address) => machine(format_args!(
            "{} at address {address:#x}, instruction {:#x}, stack {:#x}",
            fault.kind, fault.instruction, fault.stack
        )),
        None => machine(format_args!(
            "{}, instruction {:#x}, stack {:#x}",
            fault.kind, fault.instruction, fault.stack
        )),
    }
}

/// Ends the machine as crashed, after one line on the console. Does not allocate.
pub fn machine(why: fmt::Arguments<'_>) -> ! {
    let _ = write!(Console, "\nkernel: the machine crashed");
    crate::thread::describe_current(|name, serial| {
        let _ = write!(Console, " in thread {serial} \"{name}\"");
    });
    let _ = writeln!(Console, ": {why}");
    Current::end(End::Crashed)
}

/// The console as a sink for `write!`, without allocation.
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        Current::console_write(text.as_bytes());
        Ok(())
    }
}
