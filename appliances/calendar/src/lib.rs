//! CalDAV and the calendar on the web, over the store.

mod editor;
mod form;
mod grid;
mod instance;
mod sheets;
mod split;
mod views;

use chassis::http::Router;
use chassis::web::{Asset, NavItem};
use chassis::{Chassis, Failure, Identity, Service};
use dav::household::properties::Kind;
use dav::http::Site;
use dav::pages::{About, Routes};

/// Who this appliance is.
pub static IDENTITY: Identity = Identity {
    name: "calendar",
    title: "Calendar",
    about: "Your calendars and tasks, on every device.",
    version: env!("CARGO_PKG_VERSION"),
    services: &[Service::web(8444, 445)],
    store: store::merge::calendars_and_cards,
    labels: &["calendar"],
};

static ABOUT: About = About {
    kind: Kind::Calendar,
    word: "calendar",
    end: "ics",
    styles: &["dav.css", "calendar.css", "grid.css", "colours.css"],
    nav: &[
        NavItem { path: "/", title: "Calendar" },
        NavItem { path: "/collections", title: "Calendars" },
        NavItem { path: "/history", title: "History" },
        NavItem { path: "/conflicts", title: "Conflicts" },
        NavItem { path: "/setup", title: "Set up" },
    ],
};

static ASSETS: &[Asset] = &[
    Asset {
        name: "calendar.css",
        kind: "text/css; charset=utf-8",
        bytes: include_bytes!("../assets/calendar.css"),
    },
    Asset {
        name: "move.js",
        kind: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../assets/move.js"),
    },
];

/// What this appliance adds to `nymote`.
#[cfg(feature = "command")]
pub static PART: chassis::command::Part = chassis::command::Part {
    command: || dav::command::words(&ABOUT),
    run: |matches, reach| Box::pin(dav::command::run(&ABOUT, matches, reach)),
    register: |chassis| dav::commands::register(&Site::new(chassis)),
};

/// The life of the appliance: listens, says that it is ready, ends when it is told to.
///
/// # Errors
/// Whatever keeps it from starting.
pub async fn run(chassis: Chassis) -> Result<(), Failure> {
    dav::pages::life(chassis, &ABOUT, routes, ASSETS).await
}

fn routes(site: &Site) -> Router {
    Routes::of(site)
        .get("/", views::page)
        .get("/assets/grid.css", sheets::grid)
        .get("/assets/colours.css", sheets::colours)
        .get("/event/new", editor::new)
        .post("/event/new", editor::create)
        .get("/event/{calendar}/{name}", editor::show)
        .post("/event/{calendar}/{name}", editor::save)
        .post("/event/{calendar}/{name}/delete", editor::delete)
        .post("/event/{calendar}/{name}/move", editor::moved)
        .done()
}
