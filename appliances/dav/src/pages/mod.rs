//! Pages that contacts and calendar share: collections, history with undo, conflicts, set-up of devices.

mod archive;
mod collections;
mod conflicts;
mod difference;
mod history;
pub mod html;
mod import;
pub mod object;
mod routes;
mod setup;
mod upload;

use chassis::http::{Fault, Request, Router};
use chassis::web::{NavItem, Page, Visitor};

use crate::household::Caller;
use crate::household::properties::Kind;
use crate::http::Site;
use crate::server::Fault as DavFault;

pub use import::{Imported, take, uploaded};
pub use routes::{Routes, life};
pub use upload::Imports;

/// What an appliance's pages are about.
#[derive(Clone, Copy)]
pub struct About {
    /// The kind of collection.
    pub kind: Kind,
    /// Its navigation.
    pub nav: &'static [NavItem],
    /// `calendar` or `address book`.
    pub word: &'static str,
    /// `ics` or `vcf`.
    pub end: &'static str,
    /// Own style sheets.
    pub styles: &'static [&'static str],
}

/// The shared pages of an appliance.
pub fn routes(site: &Site, about: &'static About) -> Router {
    collections::routes(site, about)
        .and(history::routes(site, about))
        .and(conflicts::routes(site, about))
        .and(setup::routes(site, about))
        .and(object::routes(site))
        .and(Routes::of(site).get("/everything.tar", archive::everything).done())
}

impl About {
    /// A page in this appliance's frame.
    pub fn page(&self, title: &'static str, active: &'static str) -> Page<'static> {
        Page { nav: self.nav, active, styles: self.styles, ..Page::titled(title) }
    }
}

/// Who changes something on a page: the browser is the device.
pub fn caller(visitor: &Visitor, request: &Request) -> Caller {
    Caller {
        account: visitor.account().user.clone(),
        device: "the web page".into(),
        program: request.agent(),
    }
}

/// A refusal of the WebDAV server as one of a page.
pub fn fault(refused: DavFault) -> Fault {
    use chassis::http::StatusCode;
    let status = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut letters = refused.why.chars();
    let first: String = letters.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    Fault::new(status, format!("{first}{}.", letters.as_str()))
}

/// A failure of the store as one of a page.
pub fn broken(error: store::Error) -> Fault {
    fault(DavFault::from(error))
}
