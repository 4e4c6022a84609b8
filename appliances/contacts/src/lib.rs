//! CardDAV and the address book on the web, over the store.

mod duplicates;
mod editor;
mod people;

use chassis::http::Router;
use chassis::web::{Asset, NavItem};
use chassis::{Chassis, Failure, Identity, Service};
use dav::household::properties::Kind;
use dav::http::Site;
use dav::pages::{self, About};

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

static ABOUT: About = About {
    kind: Kind::AddressBook,
    word: "address book",
    end: "vcf",
    styles: &["contacts.css"],
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
    let sites: [Site; 10] = std::array::from_fn(|_| site.clone());
    let [a, b, c, d, e, f, g, h, i, j] = sites;
    Router::new()
        .get("/", move |request| {
            let site = a.clone();
            async move { people::list(&site, &request).await }
        })
        .get("/birthdays", move |request| {
            let site = b.clone();
            async move { people::birthdays(&site, &request).await }
        })
        .get("/photo/{book}/{name}", move |request| {
            let site = c.clone();
            async move { people::photo(&site, &request).await }
        })
        .get("/card/new", move |request| {
            let site = d.clone();
            async move { editor::new(&site, &request).await }
        })
        .post("/card/new", move |request| {
            let site = e.clone();
            async move { editor::create(&site, request).await }
        })
        .get("/card/{book}/{name}", move |request| {
            let site = f.clone();
            async move { editor::show(&site, &request).await }
        })
        .post("/card/{book}/{name}", move |request| {
            let site = g.clone();
            async move { editor::save(&site, request).await }
        })
        .post("/card/{book}/{name}/delete", move |request| {
            let site = h.clone();
            async move { editor::delete(&site, request).await }
        })
        .get("/duplicates", move |request| {
            let site = i.clone();
            async move { duplicates::page(&site, &request).await }
        })
        .post("/duplicates", move |request| {
            let site = j.clone();
            async move { duplicates::merge(&site, request).await }
        })
}
