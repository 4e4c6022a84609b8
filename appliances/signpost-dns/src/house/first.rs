//! The zone of a household that has none yet: its own domain, with the little that a zone must have.

use std::net::{IpAddr, UdpSocket};

use chassis::Chassis;

use super::House;
use crate::keeper::{BRANCH, Cause, KeepError};
use crate::name::Name;
use crate::zone::Zone;
use crate::zonefile;

impl House {
    /// Makes the domain's zone in a store that was never written; later, nobody but the owner makes or removes zones.
    ///
    /// # Errors
    /// `KeepError`; nothing changed.
    pub async fn begin(self: &std::sync::Arc<Self>, chassis: &Chassis) -> Result<(), KeepError> {
        if self.store.branch(BRANCH)?.head().is_some() {
            return Ok(());
        }
        let words = |error: &dyn std::fmt::Display| KeepError::Other(error.to_string());
        let origin = Name::from_text(chassis.domain(), Some(&Name::root())).map_err(|error| words(&error))?;
        let address = own_address(&chassis.options().bind);
        let kind = if address.is_ipv4() { "A" } else { "AAAA" };
        let text = format!(
            "@ 300 IN SOA ns1 hostmaster 1 3600 900 1209600 300\n@ 3600 IN NS ns1\nns1 3600 IN {kind} {address}\n"
        );
        let records = zonefile::parse(&text, &origin, None).map_err(|error| words(&error))?;
        let zone = Zone::build(&origin, records).map_err(|error| words(&error))?;
        self.import(&origin, &zone, &Cause::new("signpost", "the household's zone")).await?;
        Ok(())
    }
}

/// The address by which others know this machine: one that it is bound to, or the one that it has towards the world (the
/// routing table is asked, nothing is sent).
fn own_address(bind: &[IpAddr]) -> IpAddr {
    let bound = bind.iter().copied().find(|address| !address.is_unspecified());
    let outward = || {
        let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
        socket.connect("192.0.2.1:9").ok()?;
        socket.local_addr().ok().map(|at| at.ip()).filter(|address| !address.is_unspecified())
    };
    bound.or_else(outward).unwrap_or(IpAddr::from([127, 0, 0, 1]))
}
