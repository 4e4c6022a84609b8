//! CardDAV and the address book on the web, over the store.

mod duplicates;
mod editor;
mod facts;
mod people;
mod picture;

use chassis::http::Router;
use chassis::web::{Asset, NavItem};
use chassis::{Chassis, Failure, Identity, Service};
use dav::household::properties::Kind;
use dav::http::Site;
use dav::pages::{About, Routes};

/// Who this appliance is.
pub static IDENTITY: Identity = Identity {
    name: "contacts",
    title: "Contacts",
    about: "Your address book, on every device.",
    version: env!("CARGO_PKG_VERSION"),
    services: &[Service::web(8443, 444)],
    store: store::merge::calendars_and_cards,
    labels: &["contacts"],
};

static ABOUT: About = About {
    kind: Kind::AddressBook,
    word: "address book",
    end: "vcf",
    styles: &["dav.css", "contacts.css"],
    nav: &[
        NavItem { path: "/", title: "People" },
        NavItem { path: "/birthdays", title: "Birthdays" },
        NavItem { path: "/duplicates", title: "Duplicates" },
        NavItem { path: "/collections", title: "Books" },
        NavItem { path: "/history", title: "History" },
        NavItem { path: "/conflicts", title: "Conflicts" },
        NavItem { path: "/setup", title: "Set up" },
    ],
};

static STYLES: &[Asset] = &[Asset {
    name: "contacts.css",
    kind: "text/css; charset=utf-8",
    bytes: include_bytes!("../assets/contacts.css"),
}];

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
    dav::pages::life(chassis, &ABOUT, routes, STYLES).await
}

fn routes(site: &Site) -> Router {
    Routes::of(site)
        .get("/", people::list)
        .get("/birthdays", people::birthdays)
        .get("/photo/{book}/{name}", picture::photo)
        .get("/card/new", editor::new)
        .post("/card/new", editor::create)
        .get("/card/{book}/{name}", editor::show)
        .post("/card/{book}/{name}", editor::save)
        .post("/card/{book}/{name}/photo", editor::set_photo)
        .post("/card/{book}/{name}/delete", editor::delete)
        .get("/duplicates", duplicates::page)
        .post("/duplicates", duplicates::merge)
        .done()
}
