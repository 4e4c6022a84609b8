//! Pages: the layout, faults, the start page, and the list of what happened.

use askama::Template;

use super::visitor::Visitor;
use crate::clock;
use crate::http::{Answer, Fault, Response, Router, StatusCode, header, reply};
use crate::run::Chassis;
use crate::seed::Sibling;

/// An entry of an appliance's own navigation.
#[derive(Debug, Clone, Copy)]
pub struct NavItem {
    /// Where it leads.
    pub path: &'static str,
    /// What it is called.
    pub title: &'static str,
}

/// A page to be: its title, its navigation, and what stands in it.
#[derive(Debug)]
pub struct Page<'a> {
    /// The title, also the heading of the window.
    pub title: &'a str,
    /// The appliance's own navigation.
    pub nav: &'a [NavItem],
    /// The path of the entry where we are.
    pub active: &'a str,
    /// Own style sheets and scripts under `/assets/`, by name.
    pub styles: &'a [&'a str],
    /// Scripts that make it nicer; everything works without them.
    pub scripts: &'a [&'a str],
    /// The full width of the window instead of a column for reading.
    pub wide: bool,
}

impl<'a> Page<'a> {
    /// A page with this title and no navigation.
    pub fn titled(title: &'a str) -> Page<'a> {
        Page { title, nav: &[], active: "", styles: &[], scripts: &[], wide: false }
    }
}

#[derive(Template)]
#[template(path = "layout.html")]
struct Layout<'a> {
    page: &'a Page<'a>,
    appliance: &'a str,
    name: &'a str,
    siblings: Vec<Sibling>,
    visitor: Option<&'a Visitor>,
    body: &'a str,
}

#[derive(Template)]
#[template(path = "fault.html")]
struct FaultBody<'a> {
    code: u16,
    what: &'a str,
    advice: &'a str,
}

#[derive(Template)]
#[template(path = "start.html")]
struct StartBody<'a> {
    title: &'a str,
    about: &'a str,
    domain: &'a str,
    address: &'a str,
    services: Vec<(String, String)>,
}

/// One thing that happened, for the activity list.
#[derive(Debug, Clone)]
pub struct Activity {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who or which device.
    pub who: String,
    /// What, as a sentence without its subject: `changed the event “Dentist”`.
    pub what: String,
    /// Where to see it, or empty.
    pub link: String,
    /// Where an undo form posts to, or empty.
    pub undo: String,
}

#[derive(Template)]
#[template(path = "activity.html")]
struct ActivityBody<'a> {
    entries: &'a [Activity],
    now_ms: u64,
    csrf: String,
}

impl Activity {
    /// The list as HTML, newest first as given.
    pub fn list(entries: &[Activity], visitor: &Visitor) -> String {
        let body = ActivityBody { entries, now_ms: clock::now_ms(), csrf: visitor.csrf() };
        body.render().unwrap_or_default()
    }
}

impl Chassis {
    /// A page of the appliance: `body` (a template of yours) in the frame that all pages share.
    pub fn page(&self, visitor: Option<&Visitor>, page: &Page<'_>, body: &dyn askama::DynTemplate) -> Answer {
        let body = body.dyn_render().map_err(Fault::internal)?;
        self.page_of_html(visitor, page, &body)
    }

    /// The same with HTML that is already made.
    pub fn page_of_html(&self, visitor: Option<&Visitor>, page: &Page<'_>, body: &str) -> Answer {
        let identity = self.identity();
        let siblings = self.siblings();
        let layout = Layout { page, appliance: identity.title, name: identity.name, siblings, visitor, body };
        let html = layout.render().map_err(Fault::internal)?;
        let mut response = reply(StatusCode::OK, "text/html; charset=utf-8", html);
        // What a person reads is theirs: no cache keeps it after they log out.
        response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

/// A fault as a page.
pub(super) fn fault(chassis: &Chassis, visitor: Option<&Visitor>, fault: Fault) -> Response {
    let body = FaultBody { code: fault.status.as_u16(), what: &fault.what, advice: &fault.advice };
    let title = fault.status.canonical_reason().unwrap_or("Error");
    match chassis.page(visitor, &Page::titled(title), &body) {
        Ok(mut response) => {
            *response.status_mut() = fault.status;
            response.headers_mut().extend(*fault.headers);
            response
        }
        Err(fault) => fault.into_text(),
    }
}

/// `/` of an appliance that has no page of its own there.
pub(super) fn start_route(chassis: &Chassis) -> Router {
    let chassis = chassis.clone();
    Router::new().get("/", move |request| {
        let chassis = chassis.clone();
        async move {
            let visitor = chassis.require(&request).await?;
            let identity = chassis.identity();
            let host = request.host().map_or("localhost", |host| host.split(':').next().unwrap_or(host));
            let services = identity.services.iter().filter(|service| service.name != "web");
            let services = services
                .filter_map(|service| {
                    let at = chassis.endpoint(service.name)?;
                    Some((service.name.to_owned(), format!("{host}, port {}", at.port())))
                })
                .collect();
            let body = StartBody {
                title: identity.title,
                about: identity.about,
                domain: chassis.domain(),
                address: &visitor.account().address,
                services,
            };
            chassis.page(Some(&visitor), &Page::titled(identity.title), &body)
        }
    })
}
