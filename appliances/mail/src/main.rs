//! The appliance as a program of its own: a Linux process, or a machine.

#[cfg(any(feature = "hosted", feature = "xen"))]
extern crate kernel as _;

use std::process::ExitCode;

fn main() -> ExitCode {
    chassis::run(&mail::IDENTITY, mail::run)
}
