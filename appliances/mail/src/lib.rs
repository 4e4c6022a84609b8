//! A mail server for a household, over the store.

pub mod imap;
pub mod limits;
pub mod mailbox;
pub mod message;
pub mod smtp;

use chassis::http::Router;
use chassis::{Chassis, Failure, Identity, Service};

/// Who this appliance is.
pub static IDENTITY: Identity = Identity {
    name: "mail",
    title: "Mail",
    about: "Mail for your household: SMTP, IMAP and webmail.",
    version: env!("CARGO_PKG_VERSION"),
    services: &[
        Service::known("smtp", 25),
        Service::known("submission", 587),
        Service::known("submissions", 465),
        Service::known("imap", 143),
        Service::known("imaps", 993),
        Service::web(443, 443),
    ],
    store: |options| options,
    labels: &["mail", "imap", "smtp", "autoconfig", "autodiscover", "mta-sts"],
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
