//! The appliance as a program of its own: a Linux process, or a machine.

use std::process::ExitCode;

fn main() -> ExitCode {
    chassis::run(&calendar::IDENTITY, calendar::run)
}
