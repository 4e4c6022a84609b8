//! What every appliance stands on: start-up, configuration, accounts, TLS, HTTP, web shell.
//!
//! docs/chassis.md shows how an appliance plugs in. The order of a start: options, the supervisor's seed, store and
//! configuration, accounts, certificate, control socket; then the appliance's own listeners and routes; then `ready`.

pub mod accounts;
pub mod aside;
pub mod clock;
#[cfg(feature = "command")]
pub mod command;
pub mod config;
pub mod control;
pub mod git;
pub mod http;
pub mod identity;
pub mod limits;
pub mod listen;
pub mod log;
mod memory;
pub mod metrics;
pub mod options;
pub mod place;
#[cfg(feature = "process")]
mod process;
mod room;
pub mod run;
pub mod seed;
pub mod stop;
pub mod tls;
pub mod web;

pub use identity::{Identity, Service};
pub use options::Options;
pub use run::{Chassis, Failure, StartError, run, run_with};
