//! GET, PUT, POST (add-member) and DELETE.

use bytes::Bytes;

use super::conditions::{Conditions, prefers_representation};
use super::media;
use super::properties::{content_type, http_date};
use super::subject::{At, Found, Subject};
use super::{Body, Fault, Request, Response, Service};
use crate::calendar::timezones::{ZonesWanted, applied_to};
use crate::household::names;
use crate::household::properties::Kind;
use crate::household::summary::{BadObject, ObjectKind, Summary};
use crate::household::view::Collection;
use crate::household::{Caller, Household};
use crate::limits::{ACCOUNT_BYTES_MAX, FILE_BYTES_MAX, MEMBERS_MAX, OBJECT_BYTES_MAX};
use crate::path::Place;

/// What a PUT did.
struct Put {
    id: store::ObjectId,
    created: bool,
}

impl Service {
    pub(super) fn get(&self, caller: &Caller, request: &Request, place: &Place) -> Result<Response, Fault> {
        match self.resolve(&caller.account, place)? {
            Subject::Member(at, name, member) => {
                let etag = member.id.to_string();
                let mut response = Response::new(200);
                response.header("etag", format!("\"{etag}\""));
                response.header("last-modified", http_date(member.summary.put_at));
                if Conditions::of(request).not_modified(&etag, member.summary.put_at)? {
                    response.status = 304;
                    return Ok(response);
                }
                let bytes = at.view.read(&at.collection, &name, &member)?;
                if matches!(member.summary.kind, ObjectKind::Card | ObjectKind::Group)
                    && let Some(converted) = converted(request, &bytes)
                {
                    // Another version than the one that was put: not the resource that the ETag names.
                    response.fields.retain(|(name, _)| *name != "etag");
                    response.header("content-type", "text/vcard; charset=utf-8").header("vary", "Accept");
                    response.body = Body::Whole(converted.into());
                    return Ok(response);
                }
                if let Some(field) = request.get("caldav-timezones")
                    && !matches!(member.summary.kind, ObjectKind::File | ObjectKind::Card | ObjectKind::Group)
                {
                    let wanted = ZonesWanted::of(Some(field))
                        .ok_or_else(|| Fault::new(400, "CalDAV-Timezones is T or F"))?;
                    let object = applied_to(&bytes, wanted);
                    if *object.as_bytes() != *bytes {
                        response.fields.retain(|(name, _)| *name != "etag");
                        response.header("content-type", content_type(&name, &member));
                        response.header("vary", "CalDAV-Timezones");
                        response.body = Body::Whole(object.into());
                        return Ok(response);
                    }
                }
                response.header("content-type", content_type(&name, &member));
                // What somebody put is shown by no browser as a page of ours.
                response
                    .header("content-security-policy", "sandbox")
                    .header("x-content-type-options", "nosniff");
                response.body = Body::Whole(bytes);
                Ok(response)
            }
            Subject::Collection(at) => Ok(super::export::collection_file(&at)),
            _ => Ok(Response::new(204)),
        }
    }

    pub(super) async fn put(
        &self,
        caller: &Caller,
        request: &Request,
        place: &Place,
    ) -> Result<Response, Fault> {
        if request.get("content-range").is_some() {
            return Err(Fault::new(400, "a PUT of a part is not served"));
        }
        let Place::In(_, _, slash) = place else {
            return Err(Fault::new(405, "there is nothing to put here"));
        };
        let (at, name) = match self.find(&caller.account, place)? {
            Found::Subject(Subject::Member(at, name, _)) | Found::Vacant(at, name) => (at, name),
            Found::Subject(_) => return Err(Fault::new(405, "a collection is made by MKCOL")),
            Found::Nowhere => {
                return Err(Fault::new(409, "the collection that should hold it does not exist"));
            }
        };
        if *slash {
            return Err(Fault::new(405, "a collection is made by MKCOL"));
        }
        at.writable()?;
        let summary = media::checked_as(request, &at.collection)?;
        let done = self.put_object(caller, request, &at, &name, &summary).await;
        let put = match done {
            Err(fault) if fault.status == 412 => {
                let done = self.put_offline(caller, request, &at, &name, &summary, fault).await;
                return self.with_representation(caller, request, place, done);
            }
            other => other?,
        };
        let mut response = Response::new(if put.created { 201 } else { 204 });
        response.header("etag", format!("\"{}\"", put.id));
        if prefers_representation(request) {
            response.status = if put.created { 201 } else { 200 };
            response.header("preference-applied", "return=representation");
            response.header(
                "content-type",
                if at.collection.properties.kind == Kind::AddressBook {
                    "text/vcard; charset=utf-8"
                } else {
                    "text/calendar; charset=utf-8"
                },
            );
            response.body = Body::Whole(request.body.clone());
        }
        Ok(response)
    }

    /// RFC 8144 section 3: who is refused by a condition and prefers a representation is given what stands there.
    fn with_representation(
        &self,
        caller: &Caller,
        request: &Request,
        place: &Place,
        done: Result<Response, Fault>,
    ) -> Result<Response, Fault> {
        match done {
            Err(fault) if fault.status == 412 && prefers_representation(request) => {
                let read = Request { fields: Vec::new(), ..request.clone() };
                let mut response = self.get(caller, &read, place).map_err(|_| fault)?;
                response.status = 412;
                response.header("preference-applied", "return=representation");
                response.header("content-location", self.resolve(&caller.account, place)?.href());
                Ok(response)
            }
            done => done,
        }
    }

    /// The conditions of a request that changes something.
    pub(super) fn conditions(&self, account: &str, request: &Request) -> Conditions {
        Conditions::with(request, |place| match self.resolve(account, place).ok()? {
            Subject::Member(_, _, member) => Some(member.id.to_string()),
            Subject::Collection(at) => at.collection.tree.map(|tree| tree.to_string()),
            _ => None,
        })
    }

    async fn put_object(
        &self,
        caller: &Caller,
        request: &Request,
        at: &At,
        name: &str,
        summary: &Summary,
    ) -> Result<Put, Fault> {
        let conditions = self.conditions(&caller.account, request);
        let path = at.collection.path.clone();
        // A member that has its UID already needs no reservation: the store compares what stands there.
        let has_it = at.collection.member(name).is_some_and(|member| member.summary.uid == summary.uid);
        let _reserved = match summary.uid.is_empty() || !at.collection.is_sharded() || has_it {
            true => None,
            false => Some(
                self.household
                    .reserve(&at.owner, &at.collection, &summary.uid)
                    .ok_or_else(|| Fault::new(503, "another change of the same UID is under way"))?,
            ),
        };
        let body: Bytes = request.body.clone();
        let changed = self
            .household
            .change(&at.owner, caller, |view, change| {
                let collection = view.collections.get(&path).ok_or_else(Fault::not_found)?;
                let member = collection.member(name);
                let etag = member.map(|member| member.id.to_string());
                conditions.for_change(etag.as_deref())?;
                member.map_or(Ok(()), |member| conditions.unmodified(member.summary.put_at))?;
                uid_is_free(at, collection, name, &summary.uid)?;
                room(view, collection, member.is_none(), body.len())?;
                let stored = names::stored(name).map_err(|bad| Fault::new(403, bad.to_string()))?;
                let place = match member {
                    Some(member) => collection.member_path(name, member),
                    None => collection.path_for(&stored),
                };
                change.expect(&place, member.map(|member| member.id))?;
                let id = change.put(&place, body.clone())?;
                Household::note(change, collection.properties.kind, id, summary);
                let verb = if member.is_some() { "changed" } else { "added" };
                Ok::<_, Fault>((
                    Put { id, created: member.is_none() },
                    format!("{} {verb}", thing(summary, name)),
                ))
            })
            .await;
        Ok(changed?.0)
    }

    /// RFC 5995: a member whose name the server chooses.
    pub(super) async fn post(
        &self,
        caller: &Caller,
        request: &Request,
        place: &Place,
    ) -> Result<Response, Fault> {
        if !request.target.ends_with("?add-member") {
            return Err(Fault::new(405, "POST is served at a collection's DAV:add-member only"));
        }
        let Subject::Collection(at) = self.resolve(&caller.account, place)? else {
            return Err(Fault::new(405, "only a collection takes new members"));
        };
        at.writable()?;
        let kind = at.collection.properties.kind;
        if kind == Kind::Plain {
            return Err(Fault::new(405, "this collection has no DAV:add-member"));
        }
        let summary = media::checked_as(request, &at.collection)?;
        let end = if kind == Kind::Calendar { "ics" } else { "vcf" };
        let id = store::ObjectId::of(store::Kind::Blob, &request.body)
            .map_err(|e| Fault::new(400, e.to_string()))?;
        let plain: String = summary
            .uid
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || "-_@.".contains(*c))
            .take(100)
            .collect();
        let plain = plain.trim_matches('.');
        let hash = id.to_string();
        let mut name = format!("{}.{end}", if plain.is_empty() { hash.as_str() } else { plain });
        if at.collection.member(&name).is_some() {
            name = format!("{id}.{end}");
        }
        let put = self.put_object(caller, request, &at, &name, &summary).await?;
        let mut response = Response::new(201);
        response.header("location", at.member_href(&name)).header("etag", format!("\"{}\"", put.id));
        Ok(response)
    }

    pub(super) async fn delete(
        &self,
        caller: &Caller,
        request: &Request,
        place: &Place,
    ) -> Result<Response, Fault> {
        let conditions = self.conditions(&caller.account, request);
        if request.get("depth").is_some_and(|depth| !depth.trim().eq_ignore_ascii_case("infinity"))
            && matches!(self.resolve(&caller.account, place)?, Subject::Collection(_))
        {
            return Err(Fault::new(400, "a collection is deleted with all that is in it"));
        }
        match self.resolve(&caller.account, place)? {
            Subject::Member(at, name, _) => {
                at.writable()?;
                let path = at.collection.path.clone();
                let removed = self.household.change(&at.owner, caller, |view, change| {
                    let collection = view.collections.get(&path).ok_or_else(Fault::not_found)?;
                    let member = collection.member(&name).ok_or_else(Fault::not_found)?;
                    conditions.for_change(Some(&member.id.to_string()))?;
                    conditions.unmodified(member.summary.put_at)?;
                    let place = collection.member_path(&name, member);
                    change.expect(&place, Some(member.id))?;
                    change.remove(&place)?;
                    if let Ok(stored) = names::stored(&name) {
                        change.remove(collection.properties_path(&stored))?;
                    }
                    Ok::<_, Fault>(((), format!("{} deleted", thing(&member.summary, &name))))
                });
                removed.await?;
            }
            Subject::Collection(at) => {
                at.owned()?;
                if at.names.is_empty() || at.collection.path.is_empty() {
                    return Err(Fault::new(403, "an account's tree is deleted with the account"));
                }
                let path = at.collection.path.clone();
                let removed = self.household.change(&at.owner, caller, |view, change| {
                    let collection = view.collections.get(&path).ok_or_else(Fault::not_found)?;
                    conditions.for_change(collection.tree.map(|tree| tree.to_string()).as_deref())?;
                    change.remove(&path)?;
                    let what = format!(
                        "Collection “{}” deleted, with {} objects",
                        collection.display_name(),
                        collection.count()
                    );
                    Ok::<_, Fault>(((), what))
                });
                removed.await?;
            }
            _ => return Err(Fault::new(403, "this cannot be deleted")),
        }
        Ok(Response::new(204))
    }
}

/// Checks a body for a collection and sums it up.
pub fn checked(collection: &Collection, body: &Bytes, now: i64) -> Result<Summary, Fault> {
    match collection.properties.kind {
        Kind::Plain => match body.len() > FILE_BYTES_MAX {
            true => Err(Fault::new(413, format!("a file has at most {FILE_BYTES_MAX} bytes"))),
            false => Ok(Summary::of_file(body, now)),
        },
        Kind::Calendar => {
            if body.len() > OBJECT_BYTES_MAX {
                return Err(Fault::object(&BadObject::TooLarge, true));
            }
            let summary = Summary::of_calendar(body, now).map_err(|bad| Fault::object(&bad, true))?;
            let listed = &collection.properties.components;
            let kind = summary.kind.component();
            if !listed.is_empty() && !listed.iter().any(|one| one == kind) {
                return Err(Fault::object(&BadObject::Component(kind.into()), true));
            }
            Ok(summary)
        }
        Kind::AddressBook => {
            if body.len() > OBJECT_BYTES_MAX {
                return Err(Fault::object(&BadObject::TooLarge, false));
            }
            Summary::of_card(body, now).map_err(|bad| Fault::object(&bad, false))
        }
    }
}

/// A UID stands in one member of a calendar or book, and a member keeps its UID (RFC 4791 section 5.3.2.1).
pub fn uid_is_free(at: &At, collection: &Collection, name: &str, uid: &str) -> Result<(), Fault> {
    if !collection.is_sharded() || uid.is_empty() {
        return Ok(());
    }
    let condition = match collection.properties.kind {
        Kind::AddressBook => "R:no-uid-conflict",
        _ => "C:no-uid-conflict",
    };
    if let Some(other) = collection.with_uid(uid).filter(|other| *other != name) {
        let fault = Fault::condition(409, condition, format!("its UID stands in {other} already"));
        return Err(fault.with_href(&at.member_href(other)));
    }
    match collection.member(name) {
        Some(member) if !member.summary.uid.is_empty() && *member.summary.uid != *uid => {
            let fault =
                Fault::condition(409, condition, "an object keeps its UID; put this one under another name");
            Err(fault.with_href(&at.member_href(name)))
        }
        _ => Ok(()),
    }
}

/// What an object is called in histories: `Event “Dentist”`.
pub fn thing(summary: &Summary, name: &str) -> String {
    let kind = match summary.kind {
        ObjectKind::File => "File",
        ObjectKind::Event => "Event",
        ObjectKind::Todo => "Task",
        ObjectKind::Journal => "Journal entry",
        ObjectKind::FreeBusy => "Free and busy times",
        ObjectKind::Card => "Contact",
        ObjectKind::Group => "Group",
    };
    format!("{kind} “{}”", if summary.title.is_empty() { name } else { &summary.title })
}

/// Whether a collection and its account have room for a PUT.
pub fn room(
    view: &crate::household::view::View,
    collection: &Collection,
    new: bool,
    bytes: usize,
) -> Result<(), Fault> {
    if new && collection.count() >= MEMBERS_MAX {
        return Err(Fault::condition(
            507,
            "D:quota-not-exceeded",
            format!("a collection has at most {MEMBERS_MAX} members"),
        ));
    }
    let used: u64 = view.collections.values().map(|c| c.bytes()).sum();
    if used + bytes as u64 > ACCOUNT_BYTES_MAX {
        return Err(Fault::condition(507, "D:quota-not-exceeded", "the account has no room left"));
    }
    Ok(())
}

fn converted(request: &Request, bytes: &Bytes) -> Option<String> {
    let wanted = crate::card::data::AddressWanted::of_accept(request.get("accept")?)?;
    let card = crate::reading::read(bytes).ok()?.into_iter().next()?;
    match wanted.render(bytes, &card) {
        std::borrow::Cow::Owned(text) => Some(text),
        std::borrow::Cow::Borrowed(_) => None,
    }
}
