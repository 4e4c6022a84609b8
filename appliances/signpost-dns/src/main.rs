//! The appliance as a program. With a place for its data (`--dir`, `--device`) it is the whole appliance, otherwise it
//! serves one static zone. See the library for what both do.

#[cfg(any(feature = "hosted", feature = "xen"))]
extern crate kernel as _;

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "suite")]
    if std::env::args().any(|word| word.starts_with("--dir") || word.starts_with("--device")) {
        return chassis::run(&signpost_dns::IDENTITY, signpost_dns::run);
    }
    match signpost_dns::guest::serve_static(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("signpost-dns: {message}");
            ExitCode::FAILURE
        }
    }
}
