//! Authoritative DNS whose zone is in the store: constant names for a household's devices.
//!
//! The parts, from the wire inwards: [`query`] reads a question without allocating, [`answer`] writes the reply from a
//! [`zone`] compiled for it, [`zonefile`] and [`record`] know text and wire form of records.

pub mod answer;
pub mod calendar;
pub mod dnssec;
pub mod engine;
pub mod guest;
pub mod keeper;
pub mod limits;
pub mod message;
pub mod name;
pub mod network;
pub mod query;
pub mod record;
pub mod rrl;
pub mod serve;
pub mod settings;
pub mod tsig;
pub mod update;
pub mod zone;
pub mod zonefile;

use chassis::http::Router;
use chassis::{Chassis, Failure, Identity, Service};

/// Who this appliance is.
pub static IDENTITY: Identity = Identity {
    name: "signpost",
    title: "Signpost",
    about: "Names for your household's machines, wherever they are.",
    version: env!("CARGO_PKG_VERSION"),
    services: &[Service::known("dns", 53), Service::web(8445, 446)],
    store: |options| options,
    labels: &["signpost", "ns1"],
};

/// The life of the appliance: listens, says that it is ready, ends when it is told to.
///
/// # Errors
/// Whatever keeps it from starting.
pub async fn run(chassis: Chassis) -> Result<(), Failure> {
    chassis.http(Router::new()).await?;
    chassis.ready();
    chassis.stopping().await;
    Ok(())
}
