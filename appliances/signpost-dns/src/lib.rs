//! Authoritative DNS whose zone is in the store: constant names for a household's devices.
//!
//! The parts, from the wire inwards: [`query`] reads a question without allocating, [`answer`] writes the reply from a
//! [`zone`] compiled for it, [`engine`] decides what is answered at once and what becomes an errand, [`serve`] has the
//! sockets. Behind the feature `suite`: `keeper` keeps a zone in the store, `house` does the errands (updates,
//! transfers), `appliance` lives on the chassis. [`zonefile`] and [`record`] know text and wire form of records,
//! [`update`], [`tsig`] and [`dnssec`] are their RFCs without I/O.

pub mod answer;
#[cfg(feature = "suite")]
mod appliance;
pub mod calendar;
#[cfg(feature = "command")]
pub mod command;
pub mod dnssec;
pub mod engine;
pub mod errand;
pub mod guest;
#[cfg(feature = "suite")]
pub mod house;
#[cfg(feature = "suite")]
pub mod keeper;
pub mod limits;
pub mod message;
pub mod name;
pub mod network;
#[cfg(feature = "command")]
pub mod publish;
pub mod query;
pub mod record;
pub mod rrl;
pub mod serve;
#[cfg(feature = "suite")]
pub mod settings;
pub mod tsig;
pub mod update;
#[cfg(feature = "suite")]
mod web;
pub mod zone;
pub mod zonefile;

#[cfg(feature = "suite")]
pub use appliance::{IDENTITY, register_offline, run};
