//! CalDAV and the calendar on the web, over the store.

use chassis::{Chassis, Failure, Identity, Service};
use dav::http::Site;

/// Who this appliance is.
pub static IDENTITY: Identity = Identity {
    name: "calendar",
    title: "Calendar",
    about: "Your calendars and tasks, on every device.",
    version: env!("CARGO_PKG_VERSION"),
    services: &[Service::web(8444, 445)],
    store: dav::household::policy::with_policies,
    labels: &["calendar"],
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
