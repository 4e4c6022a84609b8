//! CardDAV and the address book on the web, over the store.

use chassis::{Chassis, Failure, Identity, Service};
use dav::http::Site;

/// Who this appliance is.
pub static IDENTITY: Identity = Identity {
    name: "contacts",
    title: "Contacts",
    about: "Your address book, on every device.",
    version: env!("CARGO_PKG_VERSION"),
    services: &[Service::web(8443, 444)],
    store: dav::household::policy::with_policies,
    labels: &["contacts"],
};

/// The life of the appliance: listens, says that it is ready, ends when it is told to.
///
/// # Errors
/// Whatever keeps it from starting.
pub async fn run(chassis: Chassis) -> Result<(), Failure> {
    let site = Site::new(&chassis);
    chassis.http(site.routes()).await?;
    chassis.ready();
    chassis.stopping().await;
    Ok(())
}
