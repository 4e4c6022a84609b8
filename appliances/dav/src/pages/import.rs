//! Import of .ics and .vcf files: one commit, what cannot be taken is counted and named.

use std::collections::BTreeMap;

use chassis::http::{Fault, Request};
use chassis::web::Visitor;

use crate::calendar::data::text_of;
use crate::household::names::stored;
use crate::household::properties::Kind;
use crate::household::view::{Collection, View};
use crate::household::{Caller, Household, summarise_anew};
use crate::reading::read;
use crate::server::Fault as DavFault;

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// New objects.
    pub added: usize,
    /// Objects whose UID was there already.
    pub replaced: usize,
    /// Objects that are as they were.
    pub unchanged: usize,
    /// Objects that could not be taken.
    pub refused: usize,
}

impl std::fmt::Display for Imported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} added, {} replaced, {} unchanged", self.added, self.replaced, self.unchanged)?;
        if self.refused > 0 {
            write!(f, ", {} could not be read", self.refused)?;
        }
        Ok(())
    }
}

/// Cuts a file into objects: each card; each UID's components with the zones that stand beside them.
pub fn objects_of(bytes: &[u8], kind: Kind) -> Result<Vec<Vec<u8>>, DavFault> {
    let all = read(bytes).map_err(|error| DavFault::new(400, error.to_string()))?;
    if kind == Kind::AddressBook {
        return Ok(all
            .iter()
            .filter(|c| c.name == "VCARD")
            .map(|c| bytes[c.range.clone()].to_vec())
            .collect());
    }
    let mut out = Vec::new();
    for calendar in all.iter().filter(|c| c.name == "VCALENDAR") {
        let zones: Vec<(&str, String)> = calendar
            .components
            .iter()
            .filter(|c| c.name == "VTIMEZONE")
            .map(|c| (c.value("TZID").unwrap_or_default(), whole(bytes, c.range.clone())))
            .collect();
        let mut by_uid: BTreeMap<(String, String), String> = BTreeMap::new();
        for (at, component) in calendar.components.iter().enumerate().filter(|(_, c)| c.name != "VTIMEZONE") {
            let uid = component.value("UID").map_or_else(|| format!("\u{0}{at}"), str::to_string);
            by_uid
                .entry((uid, component.name.clone()))
                .or_default()
                .push_str(&whole(bytes, component.range.clone()));
        }
        for ((_, _), components) in by_uid {
            let names = |zone: &str| {
                [format!("TZID={zone}"), format!("TZID=\"{zone}\"")]
                    .iter()
                    .any(|one| components.contains(one))
            };
            let used: String =
                zones.iter().filter(|(zone, _)| names(zone)).map(|(_, text)| text.as_str()).collect();
            out.push(format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//nymote//import//EN\r\n{used}{components}END:VCALENDAR\r\n").into_bytes());
        }
    }
    Ok(out)
}

fn whole(bytes: &[u8], range: std::ops::Range<usize>) -> String {
    let text = text_of(&bytes[range]).into_owned();
    if text.ends_with('\n') { text } else { text + "\r\n" }
}

/// Takes a file into a collection, by its stored path; `progress` hears how many objects are done.
pub async fn take(
    household: &Household,
    caller: &Caller,
    path: &str,
    bytes: &[u8],
    now_ms: u64,
    mut progress: impl FnMut(usize, usize),
) -> Result<Imported, DavFault> {
    let view = household.view(&caller.account)?;
    let kind = view.collections.get(path).map(|c| c.properties.kind).ok_or_else(DavFault::not_found)?;
    let objects = objects_of(bytes, kind)?;
    if objects.is_empty() {
        let what = if kind == Kind::AddressBook { "card" } else { "event or task" };
        return Err(DavFault::new(400, format!("there is no {what} in this file")));
    }
    let done = household.change(&caller.account, caller, |view, change| {
        let collection = view.collections.get(path).ok_or_else(DavFault::not_found)?;
        let mut imported = Imported::default();
        for (at, object) in objects.iter().enumerate() {
            let now = (now_ms / 1000) as i64;
            let summary = summarise_anew(object, kind, now);
            if summary.kind.component().is_empty() {
                imported.refused += 1;
                continue;
            }
            let id = store::ObjectId::of(store::Kind::Blob, object)
                .map_err(|e| DavFault::new(400, e.to_string()))?;
            let end = if kind == Kind::Calendar { "ics" } else { "vcf" };
            let place = match collection.with_uid(&summary.uid).filter(|_| !summary.uid.is_empty()) {
                Some(name) => match collection.member(name) {
                    Some(member) if member.id == id || says_the_same(view, collection, name, object)? => {
                        imported.unchanged += 1;
                        progress(at + 1, objects.len());
                        continue;
                    }
                    Some(member) => {
                        imported.replaced += 1;
                        collection.member_path(name, member)
                    }
                    None => continue,
                },
                None => {
                    imported.added += 1;
                    let name = format!("{id}.{end}");
                    collection.path_for(&stored(&name).map_err(|bad| DavFault::new(403, bad.to_string()))?)
                }
            };
            change.put(&place, object.clone())?;
            Household::note(change, kind, id, &summary);
            progress(at + 1, objects.len());
        }
        Ok::<_, DavFault>((
            imported.clone(),
            format!("Imported into “{}”: {imported}", collection.display_name()),
        ))
    });
    Ok(done.await?.0)
}

/// Whether a member is what an import would make of it: our own export comes back as it is.
fn says_the_same(view: &View, collection: &Collection, name: &str, object: &[u8]) -> Result<bool, DavFault> {
    let Some(member) = collection.member(name) else { return Ok(false) };
    let there = view.read(collection, name, member)?;
    Ok(objects_of(&there, collection.properties.kind).is_ok_and(|all| all.len() == 1 && all[0] == object))
}

/// The file of a form that was sent with one; the form's secret stands in the query, since the body is not read as fields.
pub async fn uploaded(request: &mut Request, visitor: &Visitor, limit: usize) -> Result<Vec<u8>, Fault> {
    let given = request.query_form().text("csrf").to_string();
    if !visitor.gave(&given) {
        return Err(Fault::forbidden("This form is from another session.")
            .advise("Go back, reload the page and send it again."));
    }
    // What stands around the file is small.
    let body = request.bytes(limit + (64 << 10)).await?;
    let none = || Fault::bad_request("There is no file in the form.");
    let boundary = request
        .header("content-type")
        .and_then(|t| t.split("boundary=").nth(1))
        .map(|b| b.trim_matches('"').to_string())
        .ok_or_else(none)?;
    file_of(&body, &boundary).map(<[u8]>::to_vec).ok_or_else(none)
}

/// The first part of a multipart form that has a file's name.
fn file_of<'a>(body: &'a [u8], boundary: &str) -> Option<&'a [u8]> {
    let mark = format!("--{boundary}");
    let find = |haystack: &[u8], needle: &[u8]| haystack.windows(needle.len()).position(|w| w == needle);
    let mut rest = body;
    while let Some(at) = find(rest, mark.as_bytes()) {
        let part = &rest[at + mark.len()..];
        let head_end = find(part, b"\r\n\r\n")?;
        let content = &part[head_end + 4..];
        let end = find(content, format!("\r\n{mark}").as_bytes())?;
        if find(&part[..head_end], b"filename=").is_some() {
            return Some(&content[..end]);
        }
        rest = &content[end..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_cut_into_objects_with_their_zones() {
        let file = b"BEGIN:VCALENDAR\r\nBEGIN:VTIMEZONE\r\nTZID:X\r\nEND:VTIMEZONE\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART;TZID=X:20240101T000000\r\nEND:VEVENT\r\nBEGIN:VEVENT\r\nUID:2\r\nDTSTART:20240101T000000Z\r\nEND:VEVENT\r\nBEGIN:VEVENT\r\nUID:1\r\nRECURRENCE-ID;TZID=X:20240101T000000\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
        let objects = objects_of(file, Kind::Calendar).unwrap();
        assert_eq!(objects.len(), 2);
        let first = String::from_utf8_lossy(&objects[0]).into_owned();
        assert!(first.contains("VTIMEZONE") && first.matches("BEGIN:VEVENT").count() == 2);
        assert!(!String::from_utf8_lossy(&objects[1]).contains("VTIMEZONE"));
        let cards =
            objects_of(b"BEGIN:VCARD\nFN:a\nEND:VCARD\nBEGIN:VCARD\nFN:b\nEND:VCARD", Kind::AddressBook)
                .unwrap();
        assert_eq!(cards.len(), 2);
        let again = objects_of(&objects[0], Kind::Calendar).unwrap();
        assert_eq!(again, objects[..1], "what was cut out is cut out the same");
    }

    #[test]
    fn a_file_in_a_form() {
        let body = b"--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n1\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nBEGIN\r\nEND\r\n--b--\r\n";
        assert_eq!(file_of(body, "b"), Some(&b"BEGIN\r\nEND"[..]));
        assert_eq!(file_of(b"--b\r\n", "b"), None);
    }
}
