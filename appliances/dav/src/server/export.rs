//! A whole collection as one file: for subscriptions, for export, for looking.

use std::collections::HashSet;

use super::stream::{self, Members};
use super::subject::At;
use super::{Access, Body, Response, Service};
use crate::calendar::data::{fold_into, text_of};
use crate::household::properties::Kind;
use crate::household::view::Member;
use crate::reading::{escape, read};
use crate::xml::write::Writer;

impl Service {
    /// The collection behind a public link's secret, read-only.
    pub fn public_link(&self, secret: &str) -> Option<Response> {
        if secret.len() < 16 {
            return None;
        }
        for owner in self.household.accounts() {
            let Ok(view) = self.household.view(&owner) else { continue };
            let found = view.collections.values().find(|c| c.properties.public.as_deref() == Some(secret));
            if let Some(found) = found {
                let names = found.names.clone();
                let (collection, account) = (found.clone(), owner.clone());
                return Some(collection_file(&At {
                    account,
                    names,
                    owner,
                    access: Access::Read,
                    view: view.clone(),
                    collection,
                }));
            }
        }
        None
    }
}

/// What GET of a collection gives.
pub fn collection_file(at: &At) -> Response {
    let mut response = Response::new(200);
    match at.collection.properties.kind {
        Kind::Calendar => {
            response.header("content-type", "text/calendar; charset=utf-8");
            response.body = export_calendar(at);
        }
        Kind::AddressBook => {
            response.header("content-type", "text/vcard; charset=utf-8");
            response.body = export_book(at);
        }
        Kind::Plain => {
            response.header("content-type", "text/plain; charset=utf-8");
            let mut names: Vec<String> =
                at.collection.members().map(|(name, _)| format!("{name}\n")).collect();
            names.extend(
                at.view.children(&at.collection).filter_map(|c| Some(format!("{}/\n", c.names.last()?))),
            );
            names.sort();
            response.body = Body::Whole(names.concat().into());
        }
    }
    response
}

/// All objects of a calendar as one iCalendar object; each zone stands in it once.
pub fn export_calendar(at: &At) -> Body {
    let mut head = Writer::default();
    head.raw("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//nymote//calendar//EN\r\n");
    fold_into(&format!("X-WR-CALNAME:{}", escape(&at.collection.display_name())), &mut head.out);
    if let Some(color) = &at.collection.properties.color {
        fold_into(&format!("X-APPLE-CALENDAR-COLOR:{}", color.get(..7).unwrap_or(color)), &mut head.out);
    }
    let at = at.clone();
    let parts = Members::of(at.collection.clone());
    let mut zones = HashSet::new();
    let render = move |(name, member): (String, Member), out: &mut Writer| {
        let Ok(bytes) = at.view.read(&at.collection, &name, &member) else { return };
        let Some(calendar) = read(&bytes).ok().and_then(|all| all.into_iter().next()) else { return };
        for component in &calendar.components {
            if component.name == "VTIMEZONE" && !zones.insert(component.text("TZID").unwrap_or_default()) {
                continue;
            }
            let text = text_of(&bytes[component.range.clone()]);
            out.raw(&text);
            if !text.ends_with('\n') {
                out.raw("\r\n");
            }
        }
    };
    stream::body(head, parts, render, "END:VCALENDAR\r\n")
}

/// All cards of a book, one after the other.
pub fn export_book(at: &At) -> Body {
    let at = at.clone();
    let parts = Members::of(at.collection.clone());
    let render = move |(name, member): (String, Member), out: &mut Writer| {
        let Ok(bytes) = at.view.read(&at.collection, &name, &member) else { return };
        let text = text_of(&bytes);
        out.raw(&text);
        if !text.ends_with('\n') {
            out.raw("\r\n");
        }
    };
    stream::body(Writer::default(), parts, render, "")
}
