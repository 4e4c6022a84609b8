//! CalDAV and the calendar on the web, over the store.

mod editor;
mod views;

use chassis::http::Router;
use chassis::web::{Asset, NavItem};
use chassis::{Chassis, Failure, Identity, Service};
use dav::household::properties::Kind;
use dav::http::Site;
use dav::pages::{self, About};

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

static ABOUT: About = About {
    kind: Kind::Calendar,
    word: "calendar",
    end: "ics",
    styles: &["calendar.css"],
    nav: &[
        NavItem { path: "/", title: "Calendar" },
        NavItem { path: "/collections", title: "Calendars" },
        NavItem { path: "/history", title: "History" },
        NavItem { path: "/conflicts", title: "Conflicts" },
        NavItem { path: "/setup", title: "Set up" },
    ],
};

static STYLES: &[Asset] = &[Asset {
    name: "calendar.css",
    kind: "text/css; charset=utf-8",
    bytes: include_bytes!("../assets/calendar.css"),
}];

/// The life of the appliance: listens, says that it is ready, ends when it is told to.
///
/// # Errors
/// Whatever keeps it from starting.
pub async fn run(chassis: Chassis) -> Result<(), Failure> {
    let site = Site::new(&chassis);
    chassis
        .http(routes(&site).and(site.routes()).and(pages::routes(&site, &ABOUT)).and(Asset::routes(STYLES)))
        .await?;
    chassis.ready();
    chassis.stopping().await;
    Ok(())
}

fn routes(site: &Site) -> Router {
    let sites: [Site; 6] = std::array::from_fn(|_| site.clone());
    let [a, b, c, d, e, f] = sites;
    Router::new()
        .get("/", move |request| {
            let site = a.clone();
            async move { views::page(&site, &request).await }
        })
        .get("/event/new", move |request| {
            let site = b.clone();
            async move { editor::new(&site, &request).await }
        })
        .post("/event/new", move |request| {
            let site = c.clone();
            async move { editor::create(&site, request).await }
        })
        .get("/event/{calendar}/{name}", move |request| {
            let site = d.clone();
            async move { editor::show(&site, &request).await }
        })
        .post("/event/{calendar}/{name}", move |request| {
            let site = e.clone();
            async move { editor::save(&site, request).await }
        })
        .post("/event/{calendar}/{name}/delete", move |request| {
            let site = f.clone();
            async move { editor::delete(&site, request).await }
        })
}
