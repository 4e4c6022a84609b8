//! The pages of people: names and devices, zones and what the registrar must be told, views.

mod names;
mod views;
mod zones;

use std::pin::Pin;
use std::sync::Arc;

use chassis::Chassis;
use chassis::http::{Answer, Request, Router, see_other};
use chassis::web::{Activity, NavItem, Page, Visitor};
use store::Commit;

use crate::house::House;
use crate::name::Name;

const NAV: &[NavItem] = &[
    NavItem { path: "/names", title: "Names" },
    NavItem { path: "/zones", title: "Zones" },
    NavItem { path: "/views", title: "Views" },
];
/// Changes that a list of what happened shows.
const HISTORY_SHOWN: usize = 30;

type Handler = fn(Desk, Request) -> Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What a page is made with.
#[derive(Clone)]
struct Desk {
    chassis: Chassis,
    house: Arc<House>,
}

impl Desk {
    fn show(
        &self,
        visitor: &Visitor,
        active: &'static str,
        title: &str,
        body: &dyn askama::DynTemplate,
    ) -> Answer {
        self.chassis.page(Some(visitor), &Page { nav: NAV, active, ..Page::titled(title) }, body)
    }
}

/// The routes.
pub fn routes(chassis: &Chassis, house: &Arc<House>) -> Router {
    let desk = Desk { chassis: chassis.clone(), house: house.clone() };
    let with = |handler: Handler| {
        let desk = desk.clone();
        move |request: Request| handler(desk.clone(), request)
    };
    Router::new()
        .get("/", with(|_, _| Box::pin(async { Ok(see_other("/names")) })))
        .get("/names", with(|desk, request| Box::pin(names::list(desk, request))))
        .post("/names", with(|desk, request| Box::pin(names::add(desk, request))))
        .get("/names/device", with(|desk, request| Box::pin(names::one(desk, request))))
        .post("/names/home", with(|desk, request| Box::pin(names::set_home(desk, request))))
        .post("/names/revoke", with(|desk, request| Box::pin(names::revoke(desk, request))))
        .get("/zones", with(|desk, request| Box::pin(zones::list(desk, request))))
        .post("/zones/check", with(|desk, request| Box::pin(zones::check(desk, request))))
        .post("/zones/undo", with(|desk, request| Box::pin(zones::undo(desk, request))))
        .get("/views", with(|desk, request| Box::pin(views::list(desk, request))))
        .post("/views", with(|desk, request| Box::pin(views::set(desk, request))))
}

/// A commit as a line of what happened to a zone; the first commit of all cannot be undone.
fn line_of(commit: &Commit, origin: &Name, undo: String) -> Activity {
    let first = commit.message.lines().next().unwrap_or_default();
    let first = first.strip_prefix(&format!("{origin} ")).unwrap_or(first);
    let details: Vec<&str> = commit.message.lines().skip(2).take(3).collect();
    let what = match details.is_empty() {
        true => first.to_string(),
        false => format!("{first}: {}", details.join("; ")),
    };
    let at_ms = u64::try_from(commit.author.seconds).unwrap_or(0) * 1000;
    Activity {
        at_ms,
        who: commit.author.name.clone(),
        what,
        link: String::new(),
        undo: if commit.parents.is_empty() { String::new() } else { undo },
    }
}
