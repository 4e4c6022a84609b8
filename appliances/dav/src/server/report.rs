//! REPORT: which one it is, and those that are about no particular kind of collection.

use super::conditions::{Depth, prefers_minimal};
use super::propfind::Wanted;
use super::subject::Subject;
use super::{Body, Fault, Request, Response, Service};
use crate::calendar::timezones::ZonesWanted;
use crate::household::Caller;
use crate::path::Place;
use crate::xml::read::Element;
use crate::xml::write::Writer;
use crate::xml::{CALDAV, CARDDAV, DAV, Name};

/// How deep expand-property follows hrefs.
const EXPAND_DEPTH_MAX: usize = 3;

/// A REPORT: who asks, and what.
#[derive(Clone, Copy)]
pub(super) struct Report<'a> {
    /// The account that asks.
    pub caller: &'a str,
    /// The request.
    pub request: &'a Request,
    /// Its body.
    pub root: &'a Element,
}

impl Report<'_> {
    /// The properties and data that are wanted, preferences included.
    pub fn wanted(&self) -> Result<Wanted, Fault> {
        let mut wanted = Wanted::of(self.root)?;
        wanted.minimal = prefers_minimal(self.request);
        if let Some(data) = &mut wanted.calendar {
            data.zones = ZonesWanted::of(self.request.get("caldav-timezones"))
                .ok_or_else(|| Fault::new(400, "CalDAV-Timezones is T or F"))?;
        }
        Ok(wanted)
    }
}

impl Service {
    pub(super) fn report(
        &self,
        caller: &Caller,
        request: &Request,
        place: &Place,
    ) -> Result<Response, Fault> {
        let root = request.xml_body()?.ok_or_else(|| Fault::new(400, "there is no body"))?;
        let subject = self.resolve(&caller.account, place)?;
        let account = &caller.account;
        let report = Report { caller: account, request, root: &root };
        let mut response = self.report_about(&report, subject)?;
        response.applied(&[(response.status == 207 && prefers_minimal(request), "return=minimal")]);
        Ok(response)
    }

    fn report_about(&self, report: &Report<'_>, subject: Subject) -> Result<Response, Fault> {
        let Report { caller: account, request, root } = *report;
        let not_here =
            || Fault::condition(403, "D:supported-report", format!("{} is not served here", root.name()));
        match (root.ns.as_str(), root.local.as_str()) {
            (DAV, "sync-collection") => match subject {
                Subject::Collection(at) => self.sync(report, at),
                _ => Err(not_here()),
            },
            (DAV, "expand-property") => {
                let mut out = Writer::document("D:multistatus");
                self.expand(account, &subject, root, EXPAND_DEPTH_MAX, &mut out);
                out.raw("</D:multistatus>");
                Ok(Response::xml(207, Body::Whole(out.out.into())))
            }
            (DAV, "principal-property-search") => self.principal_search(account, root),
            (DAV, "principal-search-property-set") => Ok(super::principals::search_property_set()),
            (DAV, "principal-match") => {
                let subjects = std::iter::once(Subject::Principal(account.to_string()));
                Ok(Response::xml(
                    207,
                    self.multistatus(account, report.wanted()?, subjects, "</D:multistatus>"),
                ))
            }
            // RFC 3253 section 3.6: without a Depth it is 0.
            (CALDAV, "calendar-query") => {
                self.calendar_query(report, &subject, Depth::of(request, Depth::Zero)?)
            }
            (CARDDAV, "addressbook-query") => {
                self.addressbook_query(report, &subject, Depth::of(request, Depth::Zero)?)
            }
            (CALDAV, "calendar-multiget") | (CARDDAV, "addressbook-multiget") => {
                self.multiget(report, &subject)
            }
            (CALDAV, "free-busy-query") => self.free_busy(&subject, root, request.now()),
            _ => Err(not_here()),
        }
    }

    /// RFC 3253 section 3.8: properties, and properties of what their hrefs name.
    fn expand(&self, caller: &str, subject: &Subject, request: &Element, depth: usize, out: &mut Writer) {
        out.raw("<D:response>").href(&subject.href());
        let (mut found, mut missing) = (Writer::default(), Vec::new());
        for property in request.all(DAV, "property") {
            let Some(local) = property.attribute("name") else { continue };
            let ns = property.attribute("namespace").unwrap_or(DAV);
            let mut value = Writer::default();
            if !self.live(caller, subject, ns, local, &mut value) {
                missing.push(Name::new(ns, local));
            } else if property.children.is_empty() || depth == 0 {
                found.raw(&value.out);
            } else {
                let name = Name::new(ns, local);
                let close = found.open(&name);
                for href in hrefs_in(&value.out) {
                    let inner = Place::parse(&href).ok().and_then(|place| self.resolve(caller, &place).ok());
                    if let Some(inner) = inner {
                        self.expand(caller, &inner, property, depth - 1, &mut found);
                    }
                }
                found.raw(&close);
            }
        }
        out.raw("<D:propstat><D:prop>").raw(&found.out);
        out.raw("</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>");
        if !missing.is_empty() {
            out.raw("<D:propstat><D:prop>");
            missing.iter().for_each(|name| {
                out.empty(name);
            });
            out.raw("</D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>");
        }
        out.raw("</D:response>");
    }
}

fn hrefs_in(xml: &str) -> Vec<String> {
    let parts = xml.split("<D:href>").skip(1);
    parts.filter_map(|part| part.split("</D:href>").next()).map(str::to_string).collect()
}
