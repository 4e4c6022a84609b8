//! What makes two properties, or two components, the same one in two versions.

use super::Format;
use crate::{ComponentId, Document, Line};

/// How often a property may stand, and what tells its instances apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Its name is its identity, unless a version has it more than once.
    ByName,
    /// Its value is its identity; a changed value is recognised by what is left over.
    ByValue,
    /// Its value is its identity and is never changed into another: addresses, links.
    ByValueOnly,
    /// A list of values, merged as a set.
    List,
    /// Together with others it says one thing, under this name.
    Together(&'static str),
}

pub(super) fn class(format: Format, component: &str, name: &str) -> Class {
    match (format, component, name) {
        (Format::ICalendar, "VALARM", "DURATION" | "REPEAT") => Class::Together("DURATION"),
        (Format::ICalendar, _, "DTSTART" | "DTEND" | "DUE" | "DURATION") => Class::Together("DTSTART"),
        (Format::ICalendar, _, "ATTENDEE" | "RELATED-TO" | "REFID") => Class::ByValueOnly,
        (Format::ICalendar, _, "CATEGORIES" | "RESOURCES" | "EXDATE" | "RDATE" | "FREEBUSY") => Class::List,
        (Format::ICalendar, _, name) if I_CALENDAR_SEVERAL.contains(&name) => Class::ByValue,
        (Format::VCard, _, "MEMBER" | "X-ADDRESSBOOKSERVER-MEMBER" | "CLIENTPIDMAP") => Class::ByValueOnly,
        (Format::VCard, _, "CATEGORIES" | "NICKNAME") => Class::List,
        (Format::VCard, _, name) if V_CARD_SEVERAL.contains(&name) => Class::ByValue,
        _ => Class::ByName,
    }
}

/// Properties that describe the writing and take the greater value (true) or that of the side that stays (false).
pub(super) fn settles_itself(name: &str) -> Option<bool> {
    match name {
        "SEQUENCE" | "DTSTAMP" | "LAST-MODIFIED" | "REV" | "ACKNOWLEDGED" | "X-MOZ-LASTACK" => Some(true),
        "PRODID" | "CREATED" => Some(false),
        _ => None,
    }
}

/// The identity of one of several properties of a name: PID, ALTID with LANGUAGE, an address, or the value itself.
pub(super) fn value_identity(format: Format, name: &str, line: &Line) -> Vec<u8> {
    if format == Format::VCard {
        if let Some(pid) = line.parameter("PID") {
            return [b"pid ", pid.raw()].concat().to_ascii_lowercase();
        }
        if let Some(altid) = line.parameter("ALTID") {
            let language = line.parameter("LANGUAGE").map_or(&b""[..], |language| language.raw());
            return [b"altid ", altid.raw(), b" ", language].concat().to_ascii_lowercase();
        }
    }
    let value = line.value();
    match name {
        "ATTENDEE" | "EMAIL" => value.to_ascii_lowercase(),
        "TEL" => {
            let digits: Vec<u8> =
                value.iter().copied().filter(|b| b.is_ascii_digit() || *b == b'+').collect();
            if digits.is_empty() { value.to_vec() } else { digits }
        }
        _ => value.to_vec(),
    }
}

/// The identity of a component among its siblings.
pub(super) fn component_identity(document: &Document, id: ComponentId) -> Vec<u8> {
    let name = upper(&document.component(id).name);
    let value = |property: &str| document.property(id, property).map(Line::value);
    let with_zone = |property: &str| {
        document.property(id, property).map(|line| {
            let zone = line.parameter("TZID").map_or(&b""[..], |zone| zone.raw());
            [zone, b" ", line.value()].concat()
        })
    };
    let mut key = name.clone().into_bytes();
    key.push(0);
    match name.as_str() {
        "VTIMEZONE" => key.extend_from_slice(value("TZID").unwrap_or_default()),
        "VCALENDAR" => {}
        "VALARM" => match value("UID").or(value("X-WR-ALARMUID")) {
            Some(uid) => key.extend_from_slice(uid),
            None => {
                key.extend_from_slice(&value("ACTION").unwrap_or_default().to_ascii_uppercase());
                key.push(0);
                key.extend_from_slice(
                    &document
                        .property(id, "TRIGGER")
                        .map(Line::unfolded)
                        .unwrap_or_default()
                        .to_ascii_uppercase(),
                );
            }
        },
        _ => match (value("UID"), value("FN")) {
            (Some(uid), _) => {
                key.extend_from_slice(uid);
                key.push(0);
                key.extend_from_slice(&with_zone("RECURRENCE-ID").unwrap_or_default());
            }
            (None, _) if name == "VCARD" => {}
            _ => key.extend_from_slice(&canonical(document, id)),
        },
    }
    key
}

/// A component's logical lines in sorted order, then its components in sorted order: equal when only order, folds and
/// line ends differ. The depth is bounded by the limits of parsing.
pub(super) fn canonical(document: &Document, id: ComponentId) -> Vec<u8> {
    let mut lines: Vec<&[u8]> =
        document.lines_of(id).map(|index| document.lines()[index].unfolded()).collect();
    lines.sort_unstable();
    let component = document.component(id);
    let mut inner: Vec<Vec<u8>> =
        component.children.iter().map(|child| canonical(document, *child)).collect();
    inner.sort_unstable();
    let begin = document.lines()[component.begin].unfolded();
    [begin, b"\n", &lines.join(&b'\n'), b"\n", &inner.concat(), b"END\n"].concat()
}

/// A component for people: its name, UID and RECURRENCE-ID.
pub(super) fn describe(document: &Document, id: ComponentId) -> String {
    let mut words = upper(&document.component(id).name);
    let unnamed = document.property(id, "UID").is_none();
    for (property, word) in DESCRIBING {
        let wanted = *property != "FN" || unnamed;
        if let Some(line) = document.property(id, property).filter(|_| wanted) {
            words += &format!(" {word}={}", String::from_utf8_lossy(line.value()));
        }
    }
    words
}

pub(super) fn upper(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_ascii_uppercase()
}

/// RFC 5545 3.8, RFC 7986, RFC 9073, RFC 9253: properties that may stand more than once.
const I_CALENDAR_SEVERAL: &[&str] = &[
    "ATTACH",
    "COMMENT",
    "CONTACT",
    "REQUEST-STATUS",
    "CONFERENCE",
    "IMAGE",
    "STRUCTURED-DATA",
    "STYLED-DESCRIPTION",
    "LINK",
    "CONCEPT",
];

/// RFC 6350 6, RFC 6474, RFC 6715, RFC 9554, and what Apple writes: properties that may stand more than once.
const V_CARD_SEVERAL: &[&str] = &[
    "ADR",
    "AGENT",
    "CALADRURI",
    "CALURI",
    "CONTACT-URI",
    "EMAIL",
    "EXPERTISE",
    "FBURL",
    "GEO",
    "HOBBY",
    "IMPP",
    "INTEREST",
    "KEY",
    "LABEL",
    "LANG",
    "LOGO",
    "NOTE",
    "ORG",
    "ORG-DIRECTORY",
    "PHOTO",
    "PRONOUNS",
    "RELATED",
    "ROLE",
    "SOCIALPROFILE",
    "SOUND",
    "SOURCE",
    "TEL",
    "TITLE",
    "TZ",
    "URL",
    "XML",
    "X-ABDATE",
    "X-ABRELATEDNAMES",
    "X-SOCIALPROFILE",
    "GRAMGENDER",
];

/// What tells people which component is meant; FN only for a card without UID.
const DESCRIBING: &[(&str, &str)] =
    &[("UID", "uid"), ("RECURRENCE-ID", "recurrence-id"), ("TZID", "tzid"), ("FN", "fn")];
