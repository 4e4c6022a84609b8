//! PROPFIND, and the `response` elements that it shares with reports.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::conditions::{Depth, prefers_minimal, prefers_no_root};
use super::properties::{ALLPROP, LIVE};
use super::stream::{self, Members};
use super::subject::{At, Subject};
use super::{Fault, Request, Response, Service};
use crate::calendar::data::DataWanted;
use crate::calendar::zone::Zone;
use crate::card::data::AddressWanted;
use crate::household::Caller;
use crate::household::names;
use crate::household::view::Member;
use crate::path::Place;
use crate::reading::read;
use crate::xml::read::Element;
use crate::xml::write::Writer;
use crate::xml::{CALDAV, CARDDAV, DAV, Name};

/// Which properties are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// By name.
    pub names: Vec<Name>,
    /// `allprop`: those of RFC 4918 and all dead ones.
    pub all: bool,
    /// `propname`: names only.
    pub names_only: bool,
    /// CALDAV:calendar-data, in reports.
    pub calendar: Option<DataWanted>,
    /// CARDDAV:address-data, in reports.
    pub address: Option<AddressWanted>,
    /// Whether what is missing goes unsaid (Prefer: return=minimal).
    pub minimal: bool,
}

impl Wanted {
    /// Reads `prop`, `allprop` or `propname` inside of a request.
    pub fn of(request: &Element) -> Result<Wanted, Fault> {
        let mut wanted = Wanted::default();
        if request.child(DAV, "propname").is_some() {
            wanted.names_only = true;
            return Ok(wanted);
        }
        let Some(prop) = request.child(DAV, "prop") else {
            wanted.all = true;
            for extra in request.child(DAV, "include").into_iter().flat_map(|include| &include.children) {
                wanted.names.push(extra.name());
            }
            return Ok(wanted);
        };
        for one in &prop.children {
            if one.is(CALDAV, "calendar-data") {
                wanted.calendar = Some(DataWanted::of(one).map_err(|bad| Fault::filter(&bad, true))?);
            } else if one.is(CARDDAV, "address-data") {
                wanted.address = Some(AddressWanted::of(one).map_err(|bad| Fault::filter(&bad, false))?);
            } else if !wanted.names.contains(&one.name()) {
                wanted.names.push(one.name());
            }
        }
        Ok(wanted)
    }

    /// Whether members' bytes are wanted.
    pub fn wants_data(&self) -> bool {
        self.calendar.is_some() || self.address.is_some()
    }
}

impl Service {
    pub(super) fn propfind(
        &self,
        caller: &Caller,
        request: &Request,
        place: &Place,
    ) -> Result<Response, Fault> {
        let depth = Depth::of(request, Depth::Infinity)?;
        let mut wanted = match request.xml_body()? {
            None => Wanted { all: true, ..Wanted::default() },
            Some(root) if root.is(DAV, "propfind") => {
                let known =
                    ["prop", "allprop", "propname"].iter().filter(|n| root.child(DAV, n).is_some()).count();
                if known != 1 {
                    return Err(Fault::new(400, "a propfind has one of prop, allprop and propname"));
                }
                Wanted::of(&root)?
            }
            Some(_) => return Err(Fault::new(400, "the body is no DAV:propfind")),
        };
        let subject = self.resolve(&caller.account, place)?;
        if depth == Depth::Infinity && !matches!(subject, Subject::Member(..)) {
            return Err(Fault::condition(403, "D:propfind-finite-depth", "ask with Depth 0 or 1"));
        }
        wanted.minimal = prefers_minimal(request);
        let without_root = depth == Depth::One && prefers_no_root(request);
        let root = (!without_root).then(|| subject.clone());
        let mut subjects: Box<dyn Iterator<Item = Subject> + Send> = Box::new(root.into_iter());
        if depth == Depth::One {
            subjects = Box::new(subjects.chain(self.inside(&caller.account, subject)));
        }
        let applied = [(wanted.minimal, "return=minimal"), (without_root, "depth-noroot")];
        let body = self.multistatus(&caller.account, wanted, subjects, "</D:multistatus>");
        let mut response = Response::xml(207, body);
        response.applied(&applied);
        Ok(response)
    }

    /// A multistatus with a response for each subject.
    pub fn multistatus(
        &self,
        caller: &str,
        wanted: Wanted,
        subjects: impl Iterator<Item = Subject> + Send + 'static,
        tail: &'static str,
    ) -> super::Body {
        let (service, caller) = (self.clone(), caller.to_string());
        let mut budget = crate::limits::REPORT_INSTANCES_MAX;
        let render = move |subject: Subject, out: &mut Writer| {
            // Bounds were asked before; what still fails here is told for its resource alone.
            service.response(&caller, &subject, &wanted, &mut budget, out);
        };
        stream::body(Writer::document("D:multistatus"), subjects, render, tail)
    }

    /// What stands directly inside of a collection.
    pub fn inside(&self, caller: &str, subject: Subject) -> Box<dyn Iterator<Item = Subject> + Send> {
        match subject {
            Subject::Root => Box::new([Subject::Accounts, Subject::Principals].into_iter()),
            Subject::Accounts => match self.resolve(caller, &Place::In(caller.into(), vec![], true)) {
                Ok(home) => Box::new(std::iter::once(home)),
                Err(_) => Box::new(std::iter::empty()),
            },
            Subject::Principals => Box::new(std::iter::once(Subject::Principal(caller.into()))),
            Subject::Principal(_) | Subject::Member(..) => Box::new(std::iter::empty()),
            Subject::Collection(at) => {
                let children: Vec<Subject> = at
                    .view
                    .children(&at.collection)
                    .map(|collection| {
                        let mut names = at.names.clone();
                        names.extend(collection.names.last().cloned());
                        Subject::Collection(At { names, collection: collection.clone(), ..at.clone() })
                    })
                    .collect();
                let mounted = match at.names.is_empty() && at.access == super::Access::Own {
                    true => self.mounted(caller),
                    false => Vec::new(),
                };
                let members = Members::of(at.collection.clone());
                let mounted = mounted.into_iter().map(Subject::Collection);
                let members = members.map(move |(name, member)| Subject::Member(at.clone(), name, member));
                Box::new(children.into_iter().chain(mounted).chain(members))
            }
        }
    }

    /// One `response` element.
    pub fn response(
        &self,
        caller: &str,
        subject: &Subject,
        wanted: &Wanted,
        budget: &mut usize,
        out: &mut Writer,
    ) {
        out.raw("<D:response>").href(&subject.href());
        let dead =
            if wanted.all || wanted.names_only || wanted.names.iter().any(|n| !super::properties::is_live(n))
            {
                self.dead_properties(subject)
            } else {
                Arc::default()
            };
        let mut found = Writer::default();
        let mut missing: Vec<&Name> = Vec::new();
        if wanted.names_only {
            self.names_of(caller, subject, &dead, &mut found);
        }
        if wanted.all {
            for local in ALLPROP {
                self.live(caller, subject, DAV, local, &mut found);
            }
            dead.values().for_each(|xml| {
                found.raw(xml);
            });
        }
        for name in &wanted.names {
            if self.live(caller, subject, &name.ns, &name.local, &mut found) {
                continue;
            }
            match dead.get(&name.to_string()) {
                Some(_) if wanted.all => {}
                Some(xml) => drop(found.raw(xml)),
                None => missing.push(name),
            }
        }
        let mut refused = None;
        if wanted.wants_data() {
            match self.data(subject, wanted, budget, &mut found) {
                Ok(true) => {}
                Ok(false) => refused = Some("HTTP/1.1 404 Not Found"),
                Err(_) => refused = Some("HTTP/1.1 507 Insufficient Storage"),
            }
        }
        if !found.out.is_empty() || (missing.is_empty() && refused.is_none()) || wanted.minimal {
            out.raw("<D:propstat><D:prop>").raw(&found.out);
            out.raw("</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>");
        }
        if !missing.is_empty() && !wanted.minimal {
            out.raw("<D:propstat><D:prop>");
            for name in missing {
                out.empty(name);
            }
            out.raw("</D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>");
        }
        if let Some(status) = refused {
            let name = if wanted.calendar.is_some() { "<C:calendar-data/>" } else { "<R:address-data/>" };
            out.raw("<D:propstat><D:prop>")
                .raw(name)
                .raw("</D:prop>")
                .leaf("D:status", status)
                .raw("</D:propstat>");
        }
        out.raw("</D:response>");
    }

    fn names_of(&self, caller: &str, subject: &Subject, dead: &BTreeMap<String, String>, out: &mut Writer) {
        let mut scratch = Writer::default();
        for (ns, locals) in LIVE {
            for local in *locals {
                if self.live(caller, subject, ns, local, &mut scratch) {
                    out.empty(&Name::new(ns, local));
                }
                scratch.out.clear();
            }
        }
        for name in dead.keys().filter_map(|name| name.parse::<Name>().ok()) {
            out.empty(&name);
        }
    }

    /// Writes calendar-data or address-data; `false` when the resource has none.
    fn data(
        &self,
        subject: &Subject,
        wanted: &Wanted,
        budget: &mut usize,
        out: &mut Writer,
    ) -> Result<bool, Fault> {
        let Subject::Member(at, name, member) = subject else { return Ok(false) };
        let bytes = at.view.read(&at.collection, name, member)?;
        let zone = default_zone(at);
        write_data(&bytes, member, wanted, &zone, budget, out)
    }

    /// A resource's dead properties: names in Clark notation, values as XML.
    pub fn dead_properties(&self, subject: &Subject) -> Arc<BTreeMap<String, String>> {
        match subject {
            Subject::Collection(at) => Arc::new(at.collection.properties.dead.clone()),
            Subject::Member(at, name, _) => {
                let path = names::stored(name).ok().map(|stored| at.collection.properties_path(&stored));
                let bytes = path.and_then(|path| at.view.snapshot.read(path).ok().flatten());
                Arc::new(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
            }
            _ => Arc::default(),
        }
    }
}

/// The zone in which a calendar's floating times and days are read: its own, else UTC.
pub fn default_zone(at: &At) -> Zone {
    let properties = &at.collection.properties;
    let by_id = properties.timezone_id.as_deref().and_then(Zone::by_tzid);
    by_id.or_else(|| properties.timezone.as_deref().and_then(zone_of_text)).unwrap_or(Zone::UTC)
}

/// The zone of an iCalendar object with one VTIMEZONE.
pub fn zone_of_text(text: &str) -> Option<Zone> {
    let calendar = read(text.as_bytes()).ok()?.into_iter().next()?;
    let tzid = calendar.components.iter().find(|c| c.name == "VTIMEZONE")?.text("TZID")?;
    crate::calendar::times::Zones::of(&calendar).zone(&tzid)
}

/// Writes an object's bytes as the request wants them.
pub fn write_data(
    bytes: &[u8],
    member: &Member,
    wanted: &Wanted,
    zone: &Zone,
    budget: &mut usize,
    out: &mut Writer,
) -> Result<bool, Fault> {
    use crate::household::summary::ObjectKind::{Card, File, Group};
    let is_card = matches!(member.summary.kind, Card | Group);
    match (&wanted.calendar, &wanted.address) {
        (Some(data), _) if !is_card && member.summary.kind != File => {
            if data.is_whole() {
                out.leaf("C:calendar-data", &crate::calendar::data::text_of(bytes));
                return Ok(true);
            }
            let Some(calendar) = read(bytes).ok().and_then(|all| all.into_iter().next()) else {
                return Ok(false);
            };
            out.leaf("C:calendar-data", &data.render(bytes, &calendar, zone, budget)?);
        }
        (_, Some(data)) if is_card => {
            if data.is_whole() {
                out.leaf("R:address-data", &crate::calendar::data::text_of(bytes));
                return Ok(true);
            }
            let Some(card) = read(bytes).ok().and_then(|all| all.into_iter().next()) else {
                return Ok(false);
            };
            out.leaf("R:address-data", &data.render(bytes, &card));
        }
        _ => return Ok(false),
    }
    Ok(true)
}
