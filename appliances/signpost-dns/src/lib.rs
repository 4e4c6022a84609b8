//! Authoritative DNS whose zone is in the store: constant names for a household's devices.

pub mod guest;

use chassis::http::Router;
use chassis::{Chassis, Failure, Identity, Service};

/// Who this appliance is.
pub static IDENTITY: Identity = Identity {
    name: "signpost",
    title: "Signpost",
    about: "Names for your household's machines, wherever they are.",
    version: env!("CARGO_PKG_VERSION"),
    services: &[Service::known("dns", 53), Service::web(8445, 446)],
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
