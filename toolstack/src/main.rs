//! The `nymote` command: up, build, deploy, host, look inside.

mod account;
mod backup;
mod build;
mod certificate;
mod cli;
mod deploy;
mod device;
mod dns;
mod doctor;
mod git;
mod host;
mod household;
mod logs;
mod manifest;
mod place;
mod status;
mod store;
mod suite;
mod terminal;
mod trouble;
mod up;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some("appliance") {
        return suite::become_appliance(words);
    }
    cli::run()
}
