//! PROPPATCH: all of it or nothing.

use std::collections::BTreeMap;

use super::conditions::prefers_minimal;
use super::properties::{SETTABLE, is_live};
use super::subject::Subject;
use super::{Body, Fault, Request, Response, Service};
use crate::household::Caller;
use crate::household::names::{self, COLLECTION_FILE};
use crate::household::properties::{Kind, Properties};
use crate::household::view::join;
use crate::limits::{DEAD_PROPERTIES_MAX, DEAD_PROPERTY_BYTES_MAX};
use crate::path::Place;
use crate::xml::read::Element;
use crate::xml::write::{Writer, standalone};
use crate::xml::{APPLE, CALDAV, CARDDAV, DAV, Name};

/// One property to set (with a value) or to remove.
#[derive(Clone, Debug)]
pub struct Edit {
    /// The property.
    pub name: Name,
    /// Its new value; `None` removes it.
    pub value: Option<Element>,
}

/// A property that cannot be changed so.
#[derive(Debug)]
pub struct Protected;

/// Reads the `set` and `remove` elements of a request, in order.
pub fn edits_of(root: &Element) -> Result<Vec<Edit>, Fault> {
    let mut out = Vec::new();
    for part in &root.children {
        let set = match (part.ns.as_str(), part.local.as_str()) {
            (DAV, "set") => true,
            (DAV, "remove") => false,
            _ => continue,
        };
        let prop = part.child(DAV, "prop").ok_or_else(|| Fault::new(400, "a set or remove has no prop"))?;
        out.extend(
            prop.children.iter().map(|value| Edit { name: value.name(), value: set.then(|| value.clone()) }),
        );
    }
    Ok(out)
}

impl Edit {
    /// Whether it is DAV:resourcetype, which only a new collection is given.
    pub fn is_resource_type(&self) -> bool {
        self.name == Name::dav("resourcetype")
    }

    /// Changes a collection's properties.
    pub fn apply(&self, properties: &mut Properties, kind: Kind) -> Result<(), Protected> {
        let text = self.value.as_ref().map(|value| value.text.trim().to_string());
        match (self.name.ns.as_str(), self.name.local.as_str()) {
            (DAV, "displayname") => properties.name = text,
            (CALDAV, "calendar-description") | (CARDDAV, "addressbook-description") => {
                properties.description = text
            }
            (CALDAV, "calendar-timezone") => {
                if text.as_deref().is_some_and(|text| super::propfind::zone_of_text(text).is_none()) {
                    return Err(Protected);
                }
                properties.timezone = self.value.as_ref().map(|value| value.text.clone());
            }
            (CALDAV, "calendar-timezone-id") => {
                if text.as_deref().is_some_and(|id| crate::calendar::zone::Zone::iana(id).is_none()) {
                    return Err(Protected);
                }
                properties.timezone_id = text;
            }
            (CALDAV, "schedule-calendar-transp") => {
                let transparent = |value: &Element| value.child(CALDAV, "transparent").is_some();
                properties.transparent = self.value.as_ref().is_some_and(transparent);
            }
            (CALDAV, "supported-calendar-component-set") => {
                let value = self.value.as_ref().ok_or(Protected)?;
                let listed = value.all(CALDAV, "comp").filter_map(|comp| comp.attribute("name"));
                properties.components = listed.map(str::to_ascii_uppercase).collect();
                let known = ["VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY"];
                if properties.components.iter().any(|component| !known.contains(&component.as_str())) {
                    return Err(Protected);
                }
            }
            (APPLE, "calendar-color") => properties.color = text,
            (APPLE, "calendar-order") => {
                properties.order = text.map(|text| text.parse().map_err(|_| Protected)).transpose()?;
            }
            _ if is_live(&self.name) => return Err(Protected),
            _ => set_dead(&mut properties.dead, self)?,
        }
        debug_assert!(kind == properties.kind);
        Ok(())
    }
}

fn set_dead(dead: &mut BTreeMap<String, String>, edit: &Edit) -> Result<(), Protected> {
    let name = edit.name.to_string();
    match &edit.value {
        None => drop(dead.remove(&name)),
        Some(value) => {
            let xml = standalone(value);
            if xml.len() > DEAD_PROPERTY_BYTES_MAX
                || (dead.len() >= DEAD_PROPERTIES_MAX && !dead.contains_key(&name))
            {
                return Err(Protected);
            }
            dead.insert(name, xml);
        }
    }
    Ok(())
}

impl Service {
    pub(super) async fn proppatch(
        &self,
        caller: &Caller,
        request: &Request,
        place: &Place,
    ) -> Result<Response, Fault> {
        let root = request.xml_body()?.ok_or_else(|| Fault::new(400, "there is no body"))?;
        if !root.is(DAV, "propertyupdate") {
            return Err(Fault::new(400, "the body is no DAV:propertyupdate"));
        }
        let edits = edits_of(&root)?;
        let subject = self.resolve(&caller.account, place)?;
        let refused: Vec<bool> = match &subject {
            Subject::Collection(at) => {
                at.owned()?;
                let mut scratch = Properties::clone(&at.collection.properties);
                let kind = scratch.kind;
                let fixed = |edit: &Edit| {
                    edit.is_resource_type() || edit.name.local == "supported-calendar-component-set"
                };
                edits.iter().map(|edit| fixed(edit) || edit.apply(&mut scratch, kind).is_err()).collect()
            }
            Subject::Member(at, _, _) => {
                at.writable()?;
                let mut scratch = BTreeMap::clone(&self.dead_properties(&subject));
                edits
                    .iter()
                    .map(|edit| is_live(&edit.name) || set_dead(&mut scratch, edit).is_err())
                    .collect()
            }
            _ => vec![true; edits.len()],
        };
        if !refused.contains(&true) {
            self.apply(caller, &subject, &edits).await?;
            if prefers_minimal(request) {
                let mut response = Response::new(204);
                response.applied(&[(true, "return=minimal")]);
                return Ok(response);
            }
        }
        Ok(answer(&subject, &edits, &refused))
    }

    async fn apply(&self, caller: &Caller, subject: &Subject, edits: &[Edit]) -> Result<(), Fault> {
        match subject {
            Subject::Collection(at) => {
                let path = at.collection.path.clone();
                let changed = self.household.change(&at.owner, caller, |view, change| {
                    let collection = view.collections.get(&path).ok_or_else(Fault::not_found)?;
                    let mut properties = Properties::clone(&collection.properties);
                    let kind = properties.kind;
                    for edit in edits {
                        edit.apply(&mut properties, kind)
                            .map_err(|_| Fault::new(409, "it changed meanwhile"))?;
                    }
                    change.put(join(&path, COLLECTION_FILE), properties.write())?;
                    Ok::<_, Fault>((
                        (),
                        format!("Collection “{}”: properties changed", collection.display_name()),
                    ))
                });
                changed.await?;
            }
            Subject::Member(at, name, _) => {
                let stored = names::stored(name).map_err(|bad| Fault::new(403, bad.to_string()))?;
                let path = at.collection.properties_path(&stored);
                let changed = self.household.change(&at.owner, caller, |view, change| {
                    let known = view.snapshot.read(&path)?;
                    let mut dead: BTreeMap<String, String> =
                        known.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
                    for edit in edits {
                        set_dead(&mut dead, edit).map_err(|_| Fault::new(409, "it changed meanwhile"))?;
                    }
                    match dead.is_empty() {
                        true => drop(change.remove(&path)?),
                        false => {
                            change.put(&path, serde_json::to_string_pretty(&dead).unwrap_or_default())?;
                        }
                    }
                    Ok::<_, Fault>(((), format!("“{name}”: properties changed")))
                });
                changed.await?;
            }
            _ => {}
        }
        Ok(())
    }
}

fn answer(subject: &Subject, edits: &[Edit], refused: &[bool]) -> Response {
    let mut out = Writer::document("D:multistatus");
    out.raw("<D:response>").href(&subject.href());
    let failed = refused.contains(&true);
    let mut part = |names: Vec<&Name>, status: &str, extra: &str| {
        if names.is_empty() {
            return;
        }
        out.raw("<D:propstat><D:prop>");
        names.into_iter().for_each(|name| {
            out.empty(name);
        });
        out.raw("</D:prop>").leaf("D:status", status).raw(extra).raw("</D:propstat>");
    };
    let pick = |wanted: bool| {
        edits.iter().zip(refused).filter(move |(_, r)| **r == wanted).map(|(e, _)| &e.name).collect()
    };
    if failed {
        part(
            pick(true),
            "HTTP/1.1 403 Forbidden",
            "<D:error><D:cannot-modify-protected-property/></D:error>",
        );
        part(pick(false), "HTTP/1.1 424 Failed Dependency", "");
    } else {
        part(pick(false), "HTTP/1.1 200 OK", "");
    }
    out.raw("</D:response></D:multistatus>");
    debug_assert!(SETTABLE.iter().all(|(ns, local)| is_live(&Name::new(ns, local))));
    Response::xml(207, Body::Whole(out.out.into()))
}
