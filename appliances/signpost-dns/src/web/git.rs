//! `git clone https://HOST/zones.git`: the zones and views with their history. A push is checked before it is taken: what
//! is no zone is refused with the file and line at fault, what is one is served when the push returns.

use std::sync::Arc;

use chassis::Chassis;
use chassis::git::{Mount, serve};
use chassis::http::Router;

use crate::house::House;
use crate::keeper::BRANCH;

/// The repository's address.
pub fn routes(chassis: &Chassis, house: &Arc<House>) -> Router {
    let (chassis, house) = (chassis.clone(), house.clone());
    Router::new().any("/zones.git/{*rest}", move |request| {
        let (chassis, house) = (chassis.clone(), house.clone());
        async move {
            let visitor = chassis.require(&request).await?;
            let user = visitor.account().user.clone();
            let (who, runtime) = (user.clone(), tokio::runtime::Handle::current());
            let mount = Mount {
                store: chassis.store().clone(),
                branch: BRANCH.to_string(),
                user,
                rules: |_| Ok(()),
                take: Some(Arc::new(move |commit| {
                    runtime.block_on(house.take_push(&who, commit)).map_err(|error| error.to_string())
                })),
            };
            let path = format!("/{}", request.matched("rest"));
            serve(mount, path, request).await
        }
    })
}
