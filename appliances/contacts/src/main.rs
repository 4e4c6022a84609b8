//! The appliance as a program. See the library for what it does.

#[cfg(any(feature = "hosted", feature = "xen"))]
extern crate kernel as _;

fn main() -> std::process::ExitCode {
    chassis::run(&contacts::IDENTITY, contacts::run)
}
