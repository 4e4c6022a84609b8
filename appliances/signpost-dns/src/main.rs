//! The appliance as a program. See the library for what it does.

#[cfg(any(feature = "hosted", feature = "xen"))]
extern crate kernel as _;

use std::process::ExitCode;

fn main() -> ExitCode {
    match signpost_dns::guest::serve_static(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("signpost-dns: {message}");
            ExitCode::FAILURE
        }
    }
}
