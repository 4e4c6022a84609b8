//! What a body is said to be: an object's media type (RFC 4791 section 5.3.2.1, RFC 6352 section 6.3.2.1).

use super::object::checked;
use super::{Fault, Request};
use crate::household::properties::Kind;
use crate::household::summary::Summary;
use crate::household::view::Collection;

/// Checks a body for a collection and sums it up. A type that is neither the collection's nor one that says nothing is refused
/// whatever the bytes are; bytes that are no object are blamed on the type when that says nothing.
pub fn checked_as(request: &Request, collection: &Collection) -> Result<Summary, Fault> {
    let (own, condition): (&[&str], _) = match collection.properties.kind {
        Kind::Plain => return checked(collection, &request.body, request.now()),
        Kind::Calendar => (&["text/calendar", "text/x-vcalendar"], "C:supported-calendar-data"),
        Kind::AddressBook => (&["text/vcard", "text/x-vcard", "text/directory"], "R:supported-address-data"),
    };
    let Some(said) = request.media_type() else { return checked(collection, &request.body, request.now()) };
    let refused = || Fault::condition(403, condition, format!("{said:?} is not kept here, only {}", own[0]));
    if own.contains(&said.as_str()) {
        return checked(collection, &request.body, request.now());
    }
    match SAYS_NOTHING.contains(&said.as_str()) {
        true => checked(collection, &request.body, request.now()).map_err(|_| refused()),
        false => Err(refused()),
    }
}

/// What programs send that do not know what they send.
const SAYS_NOTHING: [&str; 3] =
    ["application/octet-stream", "application/x-www-form-urlencoded", "text/plain"];
