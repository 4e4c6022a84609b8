//! What the service remembers of an object so that it does not have to read it: UID, type, and when it takes place. It is
//! derived from the object's bytes alone and kept under their hash, so that it can never be out of date.

use crate::calendar::civil::{Civil, DAY_S};
use crate::calendar::occurs::Range;
use crate::calendar::series::{Bound, series_of};
use crate::calendar::times::BadTime;
use crate::calendar::zone::Zone;
use crate::card::person::Person;
use crate::limits::{ALARMS_MAX, ATTENDEES_MAX, INSTANCES_MAX, OBJECT_BYTES_MAX};
use crate::reading::{Component, Unreadable, read};

/// A summary.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Summary {
    /// UID; empty when the object has none.
    pub uid: Box<str>,
    /// What it is.
    pub kind: ObjectKind,
    /// Whether it has more than one instance.
    pub recurs: bool,
    /// No instance begins before; UTC seconds, floating times widened by a day.
    pub first: i64,
    /// No instance ends after; the largest number when there is no end.
    pub last: i64,
    /// Octets of the object.
    pub size: u32,
    /// When it was put, seconds since 1970.
    pub put_at: i64,
    /// SUMMARY or FN, cut short.
    pub title: Box<str>,
}

/// What an object is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ObjectKind {
    /// A file.
    #[default]
    File,
    /// VEVENT
    Event,
    /// VTODO
    Todo,
    /// VJOURNAL
    Journal,
    /// VFREEBUSY
    FreeBusy,
    /// VCARD
    Card,
    /// VCARD that is a group
    Group,
}

/// Why bytes may not stand in a calendar or book.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadObject {
    /// CALDAV:valid-calendar-data, CARDDAV:valid-address-data
    #[error("{0}")]
    Data(String),
    /// CALDAV:valid-calendar-object-resource
    #[error("{0}")]
    Resource(String),
    /// CALDAV:supported-calendar-component
    #[error("the calendar does not take {0}")]
    Component(String),
    /// max-resource-size
    #[error("it has more than {OBJECT_BYTES_MAX} bytes")]
    TooLarge,
    /// CALDAV:max-instances
    #[error("it takes place more than {INSTANCES_MAX} times within a year")]
    Instances,
    /// CALDAV:max-attendees-per-instance
    #[error("it has more than {ATTENDEES_MAX} attendees")]
    Attendees,
}

impl ObjectKind {
    /// The component's name; empty for a file.
    pub fn component(self) -> &'static str {
        match self {
            ObjectKind::File => "",
            ObjectKind::Event => "VEVENT",
            ObjectKind::Todo => "VTODO",
            ObjectKind::Journal => "VJOURNAL",
            ObjectKind::FreeBusy => "VFREEBUSY",
            ObjectKind::Card | ObjectKind::Group => "VCARD",
        }
    }

    fn of_component(name: &str) -> Option<ObjectKind> {
        match name {
            "VEVENT" => Some(ObjectKind::Event),
            "VTODO" => Some(ObjectKind::Todo),
            "VJOURNAL" => Some(ObjectKind::Journal),
            "VFREEBUSY" => Some(ObjectKind::FreeBusy),
            _ => None,
        }
    }
}

impl Summary {
    /// Of a plain file.
    pub fn of_file(bytes: &[u8], now: i64) -> Summary {
        Summary { size: bytes.len() as u32, put_at: now, ..Summary::default() }
    }

    /// Whether an instance may be in the range; `false` is certain.
    pub fn may_occur(&self, range: Range) -> bool {
        self.first < range.to.0 && self.last >= range.from.0
    }

    /// Checks what is to stand in a calendar (RFC 4791 section 4.1) and sums it up. A METHOD is let through: invitations
    /// are saved as they came.
    pub fn of_calendar(bytes: &[u8], now: i64) -> Result<Summary, BadObject> {
        let calendar = one(bytes, "VCALENDAR")?;
        let mut kind = None;
        let mut uid: Option<&str> = None;
        let (mut alarms, mut masters) = (0, 0);
        for component in calendar.components.iter().filter(|c| c.name != "VTIMEZONE") {
            let Some(found) = ObjectKind::of_component(&component.name) else {
                if kind.is_none() && !component.name.starts_with("X-") && component.name.starts_with('V') {
                    return Err(BadObject::Component(component.name.clone()));
                }
                continue;
            };
            if kind.is_some_and(|kind| kind != found) {
                return Err(BadObject::Resource("it has components of more than one type".into()));
            }
            kind = Some(found);
            let own = component.value("UID").unwrap_or_default();
            if uid.is_some_and(|uid| uid != own) {
                return Err(BadObject::Resource("it has components of more than one UID".into()));
            }
            uid = Some(own);
            masters += usize::from(component.property("RECURRENCE-ID").is_none());
            alarms += component.components.iter().filter(|c| c.name == "VALARM").count();
            if alarms > ALARMS_MAX {
                return Err(BadObject::Data(format!("it has more than {ALARMS_MAX} alarms")));
            }
            if component.all("ATTENDEE").count() > ATTENDEES_MAX {
                return Err(BadObject::Attendees);
            }
        }
        let kind =
            kind.ok_or_else(|| BadObject::Resource("it has no event, task or journal entry".into()))?;
        if masters > 1 {
            return Err(BadObject::Resource("its UID stands in two components without RECURRENCE-ID".into()));
        }
        let (recurs, first, last) = when(&calendar)?;
        let uid = uid.unwrap_or_default().into();
        let title = calendar.components.iter().find_map(|c| c.text("SUMMARY")).unwrap_or_default();
        let title = shortened(&title);
        Ok(Summary { uid, kind, recurs, first, last, size: bytes.len() as u32, put_at: now, title })
    }

    /// Checks what is to stand in an address book (RFC 6352 section 5.1) and sums it up.
    pub fn of_card(bytes: &[u8], now: i64) -> Result<Summary, BadObject> {
        let card = one(bytes, "VCARD")?;
        if let Some(version) = card.value("VERSION")
            && !["2.1", "3.0", "4.0"].contains(&version)
        {
            return Err(BadObject::Data(format!("vCard {version:?} is not known")));
        }
        let person = Person::of(&card);
        let kind = if person.is_group { ObjectKind::Group } else { ObjectKind::Card };
        let title = shortened(&person.name);
        let uid = card.value("UID").unwrap_or_default().into();
        Ok(Summary { uid, kind, title, size: bytes.len() as u32, put_at: now, ..Summary::default() })
    }

    /// As bytes, for the store's derived table.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT, self.kind as u8, u8::from(self.recurs)];
        for number in [self.first, self.last, self.put_at] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&(self.title.len() as u16).to_le_bytes());
        out.extend_from_slice(self.title.as_bytes());
        out.extend_from_slice(self.uid.as_bytes());
        out
    }

    /// Reads what [`Summary::encode`] wrote; `None` for another format.
    pub fn decode(bytes: &[u8]) -> Option<Summary> {
        use ObjectKind::*;
        let number = |at: usize| Some(i64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        if *bytes.first()? != FORMAT {
            return None;
        }
        let kind = *[File, Event, Todo, Journal, FreeBusy, Card, Group].get(usize::from(*bytes.get(1)?))?;
        let uid_at = 33 + usize::from(u16::from_le_bytes(bytes.get(31..33)?.try_into().ok()?));
        Some(Summary {
            kind,
            title: std::str::from_utf8(bytes.get(33..uid_at)?).ok()?.into(),
            recurs: *bytes.get(2)? != 0,
            first: number(3)?,
            last: number(11)?,
            put_at: number(19)?,
            size: u32::from_le_bytes(bytes.get(27..31)?.try_into().ok()?),
            uid: std::str::from_utf8(bytes.get(uid_at..)?).ok()?.into(),
        })
    }
}

/// First octet of an encoded summary; a change of its meaning gets a new number, and old ones are made anew.
const FORMAT: u8 = 1;

fn shortened(text: &str) -> Box<str> {
    let line = text.lines().next().unwrap_or_default().trim();
    line.chars().take(100).collect::<String>().into()
}

fn one(bytes: &[u8], name: &str) -> Result<Component, BadObject> {
    let mut all = read(bytes).map_err(|error| match error {
        Unreadable::TooLarge => BadObject::TooLarge,
        other => BadObject::Data(other.to_string()),
    })?;
    if all.len() != 1 || all[0].name != name {
        let found = all.len();
        return Err(match found {
            0 | 1 => BadObject::Data(format!("it is no {name}")),
            _ => BadObject::Data(format!("it has {found} objects, not one")),
        });
    }
    Ok(all.remove(0))
}

/// Whether it recurs, and its bounds in time; floating times may lie a day further.
fn when(calendar: &Component) -> Result<(bool, i64, i64), BadObject> {
    let all = series_of(calendar).map_err(|error| match error {
        BadTime::TooMany => BadObject::Instances,
        other => BadObject::Data(other.to_string()),
    })?;
    let (mut recurs, mut first, mut last) = (false, i64::MAX, i64::MIN);
    for series in &all {
        recurs |= series.recurs();
        if series.master.as_ref().is_some_and(|(_, times)| times.recurs())
            && let Some(hint) = series.first_hint(&Zone::UTC)
        {
            let year = Civil(hint.0 + 366 * DAY_S);
            match series.instances(hint, year, &Zone::UTC, INSTANCES_MAX) {
                Err(Bound::Instances(_)) => return Err(BadObject::Instances),
                Ok(_) | Err(Bound::Steps(_)) => {}
            }
        }
        // A task or journal entry without a start is asked by other rules than instances.
        let timeless = series.master.iter().chain(&series.overrides).any(|(_, times)| times.start.is_none());
        let (begin, end) = if timeless { (None, None) } else { series.bounds(&Zone::UTC) };
        first = first.min(begin.map_or(i64::MIN, |civil| civil.0.saturating_sub(DAY_S)));
        last = last.max(end.map_or(i64::MAX, |civil| civil.0.saturating_add(DAY_S)));
    }
    if all.is_empty() { Ok((false, i64::MIN, i64::MAX)) } else { Ok((recurs, first, last)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar(body: &str) -> Result<Summary, BadObject> {
        Summary::of_calendar(format!("BEGIN:VCALENDAR\r\n{body}\r\nEND:VCALENDAR\r\n").as_bytes(), 7)
    }

    #[test]
    fn summaries_come_back() {
        let summary =
            calendar("BEGIN:VEVENT\r\nUID:é\r\nDTSTART:20240101T000000Z\r\nRRULE:FREQ=DAILY\r\nEND:VEVENT")
                .unwrap();
        assert_eq!((&*summary.uid, summary.recurs, summary.last), ("é", true, i64::MAX));
        assert_eq!(Summary::decode(&summary.encode()), Some(summary));
        assert_eq!(Summary::decode(b""), None);
    }

    #[test]
    fn rfc4791_4_1_what_may_stand_in_a_calendar() {
        let event = |uid: &str, more: &str| {
            format!("BEGIN:VEVENT\r\nUID:{uid}\r\nDTSTART:20240101T000000Z\r\n{more}END:VEVENT")
        };
        assert!(calendar(&event("1", "")).is_ok());
        assert!(matches!(
            calendar(&[event("1", ""), event("2", "")].join("\r\n")),
            Err(BadObject::Resource(_))
        ));
        assert!(matches!(
            calendar(&[event("1", ""), event("1", "")].join("\r\n")),
            Err(BadObject::Resource(_))
        ));
        assert!(
            calendar(&[event("1", ""), event("1", "RECURRENCE-ID:20240101T000000Z\r\n")].join("\r\n"))
                .is_ok()
        );
        assert!(matches!(calendar(""), Err(BadObject::Resource(_))));
        assert!(matches!(calendar("BEGIN:VPOLL\r\nEND:VPOLL"), Err(BadObject::Component(_))));
        assert!(matches!(calendar(&event("1", "RRULE:nonsense\r\n")), Err(BadObject::Data(_))));
        assert_eq!(calendar(&event("1", "RRULE:FREQ=SECONDLY\r\n")), Err(BadObject::Instances));
        let alarms = "BEGIN:VALARM\r\nTRIGGER:PT0S\r\nEND:VALARM\r\n".repeat(501);
        assert!(matches!(calendar(&event("1", &alarms)), Err(BadObject::Data(_))));
        assert!(matches!(Summary::of_calendar(b"\xff", 0), Err(BadObject::Data(_))));
        assert!(matches!(Summary::of_calendar(b"BEGIN:VCARD\r\nEND:VCARD", 0), Err(BadObject::Data(_))));
    }
}
