//! Pages and calls over HTTPS: dyndns2 and its plain sister, DNS over HTTPS, the devices' page.

mod doh;
mod dyndns;
mod git;
mod pages;

use std::sync::Arc;

use chassis::Chassis;
use chassis::http::Router;

use crate::house::House;

/// All routes.
pub fn routes(chassis: &Chassis, house: &Arc<House>) -> Router {
    dyndns::routes(house)
        .and(doh::routes(house))
        .and(git::routes(chassis, house))
        .and(pages::routes(chassis, house))
}
