//! MKCOL (with RFC 5689's body) and MKCALENDAR.

use super::proppatch::{Edit, edits_of};
use super::subject::Found;
use super::{Fault, Request, Response, Service};
use crate::household::Caller;
use crate::household::names::COLLECTION_FILE;
use crate::household::properties::{Kind, Properties};
use crate::household::view::{join, stored_path};
use crate::limits::COLLECTIONS_MAX;
use crate::path::Place;
use crate::xml::read::Element;
use crate::xml::write::Writer;
use crate::xml::{CALDAV, CARDDAV, DAV};

impl Service {
    pub(super) async fn make(
        &self,
        caller: &Caller,
        request: &Request,
        place: &Place,
    ) -> Result<Response, Fault> {
        let calendar = request.method == "MKCALENDAR";
        let body = request.xml_body()?;
        let set = self.set_of(calendar, body.as_ref())?;
        let Place::In(account, names, _) = place else { return Err(Fault::new(405, "it is there already")) };
        let at = match self.find(&caller.account, place)? {
            Found::Subject(_) if calendar => {
                return Err(Fault::condition(403, "D:resource-must-be-null", "there is something already"));
            }
            Found::Subject(_) => return Err(Fault::new(405, "there is something already")),
            Found::Nowhere => {
                return Err(Fault::new(409, "the collection that should hold it does not exist"));
            }
            Found::Vacant(at, _) => at,
        };
        if account != &caller.account {
            return Err(Fault::not_yours());
        }
        at.owned()?;
        let kind = kind_of(calendar, &set)?;
        if at.collection.is_sharded() {
            let condition = if kind == Kind::Calendar {
                "C:calendar-collection-location-ok"
            } else {
                "R:addressbook-collection-location-ok"
            };
            return Err(Fault::condition(403, condition, "a calendar or book holds no collections"));
        }
        if at.view.collections.len() >= COLLECTIONS_MAX {
            return Err(Fault::condition(
                507,
                "D:quota-not-exceeded",
                format!("an account has at most {COLLECTIONS_MAX} collections"),
            ));
        }
        let path = stored_path(names).ok_or_else(|| Fault::new(403, "this name cannot be one"))?;
        let mut properties = Properties { kind, ..Properties::default() };
        let mut refused = Vec::new();
        for edit in &set {
            if !edit.is_resource_type() && edit.apply(&mut properties, kind).is_err() {
                refused.push(edit.name.clone());
            }
        }
        if !refused.is_empty() {
            return Ok(refused_properties(calendar, &refused));
        }
        let text = properties.write();
        let made = self.household.change(&caller.account, caller, |view, change| {
            if view.collections.contains_key(&path) || change.entry(&path)?.is_some() {
                return Err(Fault::new(405, "there is something already"));
            }
            change.expect(&path, None)?;
            change.put(join(&path, COLLECTION_FILE), text.clone())?;
            let what = match kind {
                Kind::Calendar => "Calendar",
                Kind::AddressBook => "Address book",
                Kind::Plain => "Folder",
            };
            let name = properties.name.clone().or_else(|| names.last().cloned()).unwrap_or_default();
            Ok(((), format!("{what} “{name}” made")))
        });
        made.await?;
        let mut response = Response::new(201);
        response.header("cache-control", "no-cache");
        Ok(response)
    }

    fn set_of(&self, calendar: bool, body: Option<&Element>) -> Result<Vec<Edit>, Fault> {
        let Some(root) = body else { return Ok(Vec::new()) };
        let expected = if calendar { root.is(CALDAV, "mkcalendar") } else { root.is(DAV, "mkcol") };
        if !expected {
            return Err(Fault::new(415, "the body is not one of this method"));
        }
        edits_of(root)
    }
}

fn kind_of(calendar: bool, set: &[Edit]) -> Result<Kind, Fault> {
    let types = set.iter().filter(|edit| edit.is_resource_type()).filter_map(|edit| edit.value.as_ref());
    let mut kind = if calendar { Kind::Calendar } else { Kind::Plain };
    for one in types.flat_map(|value| &value.children) {
        kind = match (one.ns.as_str(), one.local.as_str(), kind) {
            (DAV, "collection", kind) => kind,
            (CALDAV, "calendar", Kind::Plain | Kind::Calendar) => Kind::Calendar,
            (CARDDAV, "addressbook", Kind::Plain) => Kind::AddressBook,
            _ => {
                return Err(Fault::condition(
                    403,
                    "D:valid-resourcetype",
                    format!("{} cannot be made", one.name()),
                ));
            }
        };
    }
    Ok(kind)
}

fn refused_properties(calendar: bool, refused: &[crate::xml::Name]) -> Response {
    let root = if calendar { "C:mkcalendar-response" } else { "D:mkcol-response" };
    let mut out = Writer::document(root);
    out.raw("<D:propstat><D:prop>");
    refused.iter().for_each(|name| {
        out.empty(name);
    });
    out.raw("</D:prop><D:status>HTTP/1.1 403 Forbidden</D:status></D:propstat></").raw(root).raw(">");
    Response::xml(if calendar { 207 } else { 424 }, super::Body::Whole(out.out.into()))
}
