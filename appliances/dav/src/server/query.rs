//! calendar-query, addressbook-query, the multigets, and free-busy-query.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use store::ObjectId;

use super::conditions::Depth;
use super::propfind::{Wanted, default_zone, zone_of_text};
use super::report::Report;
use super::stream::{self, Members};
use super::subject::{At, Found, Subject};
use super::{Body, Fault, Response, Service};
use crate::calendar::civil::{Civil, DAY_S};
use crate::calendar::filter::{CompFilter, time_range};
use crate::calendar::freebusy;
use crate::calendar::occurs::{Range, series_occurs};
use crate::calendar::series::{Series, series_of};
use crate::calendar::zone::Zone;
use crate::card::filter::CardFilter;
use crate::household::properties::Kind;
use crate::household::summary::{ObjectKind, Summary};
use crate::household::view::Member;
use crate::limits::{MULTIGET_HREFS_MAX, REPORT_INSTANCES_MAX};
use crate::path::Place;
use crate::reading::{Component, read};
use crate::xml::read::Element;
use crate::xml::write::Writer;
use crate::xml::{CALDAV, CARDDAV, DAV};

/// Recurring objects whose times are kept ready, and how many at most.
static READY: OnceLock<Mutex<HashMap<ObjectId, Arc<Vec<Series>>>>> = OnceLock::new();
const READY_MAX: usize = 6_000;

impl Service {
    pub(super) fn calendar_query(
        &self,
        report: &Report<'_>,
        subject: &Subject,
        depth: Depth,
    ) -> Result<Response, Fault> {
        let Report { caller, root, .. } = *report;
        let filter = root
            .child(CALDAV, "filter")
            .ok_or_else(|| Fault::condition(403, "C:valid-filter", "a calendar-query has a filter"))?;
        let filter = CompFilter::of(filter).map_err(|bad| Fault::filter(&bad, true))?;
        let wanted = report.wanted()?;
        let zone = query_zone(root)?;
        let parts = members_asked(subject, Kind::Calendar, depth)?;
        let zone_for = move |at: &At| zone.clone().unwrap_or_else(|| default_zone(at));
        let (service, caller) = (self.clone(), caller.to_string());
        let bounded = wanted.calendar.as_ref().is_some_and(|data| data.expand.is_some());
        let mut budget = REPORT_INSTANCES_MAX;
        if bounded {
            // Instances are counted before the first octet of an answer that may have to be a refusal.
            let mut out = Writer::document("D:multistatus");
            for (at, name, member) in parts {
                let zone = zone_for(&at);
                if let Some(bytes) = matching(&at, &name, &member, &filter, &zone)? {
                    let bytes = bytes.map_or_else(|| at.view.read(&at.collection, &name, &member), Ok)?;
                    service.response_with(
                        &caller,
                        at,
                        name,
                        member,
                        &wanted,
                        &bytes,
                        &zone,
                        &mut budget,
                        &mut out,
                    )?;
                }
            }
            out.raw("</D:multistatus>");
            return Ok(Response::xml(207, Body::Whole(out.out.into())));
        }
        let render = move |(at, name, member): (At, String, Member), out: &mut Writer| {
            let zone = zone_for(&at);
            if let Ok(Some(_)) = matching(&at, &name, &member, &filter, &zone) {
                service.response(&caller, &Subject::Member(at, name, member), &wanted, &mut budget, out);
            }
        };
        Ok(Response::xml(
            207,
            stream::body(Writer::document("D:multistatus"), parts, render, "</D:multistatus>"),
        ))
    }

    /// A response whose data is made with a given zone, and whose bound is an error of the whole report.
    #[allow(clippy::too_many_arguments)]
    fn response_with(
        &self,
        caller: &str,
        at: At,
        name: String,
        member: Member,
        wanted: &Wanted,
        bytes: &Bytes,
        zone: &Zone,
        budget: &mut usize,
        out: &mut Writer,
    ) -> Result<(), Fault> {
        let mut data = Writer::default();
        super::propfind::write_data(bytes, &member, wanted, zone, budget, &mut data)?;
        let rest = Wanted { calendar: None, address: None, ..wanted.clone() };
        let mut response = Writer::default();
        self.response(caller, &Subject::Member(at, name, member), &rest, budget, &mut response);
        let with = format!(
            "<D:propstat><D:prop>{}</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>",
            data.out
        );
        out.raw(response.out.trim_end_matches("</D:response>")).raw(&with);
        Ok(())
    }

    pub(super) fn addressbook_query(
        &self,
        report: &Report<'_>,
        subject: &Subject,
        depth: Depth,
    ) -> Result<Response, Fault> {
        let Report { caller, root, .. } = *report;
        let filter = match root.child(CARDDAV, "filter") {
            Some(filter) => CardFilter::of(filter).map_err(|bad| Fault::filter(&bad, false))?,
            None => {
                return Err(Fault::condition(403, "R:supported-filter", "an addressbook-query has a filter"));
            }
        };
        let wanted = report.wanted()?;
        let limit = root.child(CARDDAV, "limit").and_then(|limit| limit.child(CARDDAV, "nresults"));
        let limit = match limit {
            None => usize::MAX,
            Some(n) => n.text.trim().parse().map_err(|_| Fault::new(400, "nresults is a number"))?,
        };
        let parts = members_asked(subject, Kind::AddressBook, depth)?;
        let own = subject.href();
        let (service, caller) = (self.clone(), caller.to_string());
        let (mut found, mut budget) = (0, REPORT_INSTANCES_MAX);
        let render = move |(at, name, member): (At, String, Member), out: &mut Writer| {
            if found > limit {
                return;
            }
            let Ok(bytes) = at.view.read(&at.collection, &name, &member) else { return };
            let card = read(&bytes).ok().and_then(|all| all.into_iter().next());
            if !card.is_some_and(|card| filter.matches(&card)) {
                return;
            }
            found += 1;
            if found > limit {
                // RFC 6352 section 8.6.2.
                out.raw("<D:response>").href(&own).leaf("D:status", "HTTP/1.1 507 Insufficient Storage");
                out.raw("<D:error><D:number-of-matches-within-limits/></D:error></D:response>");
                return;
            }
            service.response(&caller, &Subject::Member(at, name, member), &wanted, &mut budget, out);
        };
        Ok(Response::xml(
            207,
            stream::body(Writer::document("D:multistatus"), parts, render, "</D:multistatus>"),
        ))
    }

    pub(super) fn multiget(&self, report: &Report<'_>, subject: &Subject) -> Result<Response, Fault> {
        let Report { caller, root, .. } = *report;
        let wanted = report.wanted()?;
        let hrefs: Vec<String> = root.all(DAV, "href").map(|href| href.text.trim().to_string()).collect();
        if hrefs.len() > MULTIGET_HREFS_MAX {
            let why = format!("a multiget has at most {MULTIGET_HREFS_MAX} hrefs");
            return Err(Fault::condition(403, "D:number-of-matches-within-limits", why));
        }
        let home = match subject {
            Subject::Collection(at) | Subject::Member(at, _, _) => Some(at.clone()),
            _ => None,
        };
        let (service, caller) = (self.clone(), caller.to_string());
        let mut budget = REPORT_INSTANCES_MAX;
        let find = {
            let (service, caller) = (service.clone(), caller.clone());
            move |href: &str| match Place::parse(href) {
                Ok(Place::In(account, names, _)) => {
                    let here = home.as_ref().filter(|at| {
                        at.account == account
                            && names.len() == at.names.len() + 1
                            && names.starts_with(&at.names)
                    });
                    if let (Some(at), Some(name)) = (here, names.last()) {
                        let member = at.collection.member(name)?.clone();
                        return Some(Subject::Member(at.clone(), name.clone(), member));
                    }
                    match service.find(&caller, &Place::In(account, names, false)) {
                        Ok(Found::Subject(subject @ Subject::Member(..))) => Some(subject),
                        _ => None,
                    }
                }
                _ => None,
            }
        };
        if wanted.calendar.as_ref().is_some_and(|data| data.expand.is_some()) {
            let mut probe = REPORT_INSTANCES_MAX;
            for href in &hrefs {
                if let Some(Subject::Member(at, name, member)) = find(href) {
                    let bytes = at.view.read(&at.collection, &name, &member)?;
                    let zone = default_zone(&at);
                    super::propfind::write_data(
                        &bytes,
                        &member,
                        &wanted,
                        &zone,
                        &mut probe,
                        &mut Writer::default(),
                    )?;
                }
            }
        }
        let render = move |href: String, out: &mut Writer| match find(&href) {
            Some(subject) => service.response(&caller, &subject, &wanted, &mut budget, out),
            None => {
                out.raw("<D:response>")
                    .href(&href)
                    .leaf("D:status", "HTTP/1.1 404 Not Found")
                    .raw("</D:response>");
            }
        };
        let body =
            stream::body(Writer::document("D:multistatus"), hrefs.into_iter(), render, "</D:multistatus>");
        Ok(Response::xml(207, body))
    }

    pub(super) fn free_busy(&self, subject: &Subject, root: &Element, now: i64) -> Result<Response, Fault> {
        let range =
            root.child(CALDAV, "time-range").ok_or_else(|| Fault::new(400, "there is no time-range"))?;
        let range = time_range(range).map_err(|bad| Fault::new(400, bad.to_string()))?;
        let mut periods = Vec::new();
        for at in collections(subject, Kind::Calendar) {
            if at.collection.properties.transparent {
                continue;
            }
            let zone = default_zone(&at);
            for (name, member) in at.collection.members() {
                let busy = matches!(member.summary.kind, ObjectKind::Event | ObjectKind::FreeBusy);
                if busy && member.summary.may_occur(range) {
                    let bytes = at.view.read(&at.collection, name, member)?;
                    if let Some(calendar) = first(&bytes) {
                        freebusy::collect(&calendar, range, &zone, REPORT_INSTANCES_MAX, &mut periods)?;
                    }
                }
            }
        }
        let mut response = Response::new(200);
        response.header("content-type", "text/calendar; charset=utf-8");
        response.body = Body::Whole(freebusy::answer(&periods, range, Civil(now)).into());
        Ok(response)
    }
}

/// Whether a member matches; with its bytes when they were read on the way.
fn matching(
    at: &At,
    name: &str,
    member: &Member,
    filter: &CompFilter,
    zone: &Zone,
) -> Result<Option<Option<Bytes>>, Fault> {
    let summary = &member.summary;
    if filter.only_type().is_some_and(|kind| kind != summary.kind.component() && kind != "VTIMEZONE") {
        return Ok(None);
    }
    let range = filter.only_range();
    if range.is_some_and(|range| !summary.may_occur(range)) {
        return Ok(None);
    }
    if filter.is_plain() {
        match range {
            None if filter.only_type() != Some("VTIMEZONE") => return Ok(Some(None)),
            Some(range) if certainly_occurs(summary, range) => return Ok(Some(None)),
            Some(range) if summary.kind == ObjectKind::Event => {
                let series = ready(at, name, member)?;
                return Ok(series.iter().any(|one| series_occurs(one, range, zone)).then_some(None));
            }
            _ => {}
        }
    }
    let bytes = at.view.read(&at.collection, name, member)?;
    let matches = first(&bytes).is_some_and(|calendar| filter.matches(&calendar, zone));
    Ok(matches.then_some(Some(bytes)))
}

/// A single event that begins well inside of the range; a summary's bounds are a day wide.
fn certainly_occurs(summary: &Summary, range: Range) -> bool {
    let start = summary.first.saturating_add(DAY_S);
    summary.kind == ObjectKind::Event
        && !summary.recurs
        && summary.first > i64::MIN
        && start >= range.from.0.saturating_add(DAY_S)
        && start < range.to.0.saturating_sub(DAY_S)
}

/// The times of a recurring event, kept ready by its blob.
fn ready(at: &At, name: &str, member: &Member) -> Result<Arc<Vec<Series>>, Fault> {
    let known = READY.get_or_init(Mutex::default);
    let lock = || known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(series) = lock().get(&member.id) {
        return Ok(series.clone());
    }
    let bytes = at.view.read(&at.collection, name, member)?;
    let series = Arc::new(first(&bytes).and_then(|c| series_of(&c).ok()).unwrap_or_default());
    let small = series.iter().map(|s| s.overrides.len()).sum::<usize>() < 20;
    if member.summary.recurs && small {
        let mut known = lock();
        if known.len() >= READY_MAX {
            known.clear();
        }
        known.insert(member.id, series.clone());
    }
    Ok(series)
}

fn first(bytes: &[u8]) -> Option<Component> {
    read(bytes).ok()?.into_iter().next()
}

/// The collections of a kind that a report at this resource is about: itself, or those inside.
fn collections(subject: &Subject, kind: Kind) -> Vec<At> {
    let Subject::Collection(at) = subject else { return Vec::new() };
    if at.collection.properties.kind == kind {
        return vec![at.clone()];
    }
    let below = at.view.below(&at.collection).filter(|collection| collection.properties.kind == kind);
    below.map(|c| At { names: c.names.clone(), collection: c.clone(), ..at.clone() }).collect()
}

type Part = (At, String, Member);

/// The members that a query is about. Of a collection itself (Depth 0) there are none: that is how all servers but Radicale
/// read RFC 4791 section 7.8 and RFC 6352 section 8.6, and why every client sends Depth 1.
fn members_asked(
    subject: &Subject,
    kind: Kind,
    depth: Depth,
) -> Result<Box<dyn Iterator<Item = Part> + Send>, Fault> {
    match subject {
        Subject::Member(at, name, member) => {
            Ok(Box::new(std::iter::once((at.clone(), name.clone(), member.clone()))))
        }
        Subject::Collection(_) if depth == Depth::Zero => Ok(Box::new(std::iter::empty())),
        Subject::Collection(_) => {
            let collections = collections(subject, kind).into_iter();
            Ok(Box::new(collections.flat_map(|at| {
                Members::of(at.collection.clone()).map(move |(name, member)| (at.clone(), name, member))
            })))
        }
        _ => Err(Fault::condition(403, "D:supported-report", "there is no calendar or book here")),
    }
}

/// The zone that a query names (RFC 4791 section 9.8, RFC 7809 section 4.2).
fn query_zone(root: &Element) -> Result<Option<Zone>, Fault> {
    let invalid = |why: &str| Fault::condition(403, "C:valid-timezone", why.to_string());
    if let Some(id) = root.child(CALDAV, "timezone-id") {
        return Zone::iana(id.text.trim()).map(Some).ok_or_else(|| invalid("this zone is not known"));
    }
    match root.child(CALDAV, "timezone") {
        None => Ok(None),
        Some(text) => zone_of_text(&text.text).map(Some).ok_or_else(|| invalid("this is no VTIMEZONE")),
    }
}
