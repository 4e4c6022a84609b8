//! A component's times as they were written, each with its zone: DTSTART, DTEND, DUE, DURATION, RDATE, EXDATE,
//! RECURRENCE-ID, RRULE.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use super::civil::{Civil, DAY_S};
use super::rule::{BadRule, Rule};
use super::value::{self, Duration, Written};
use super::zone::{Observance, OwnZone, Zone};
use crate::limits::DATES_MAX;
use crate::reading::{Component, Property};

/// A DATE or DATE-TIME with its zone. Without a zone a local time is floating.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// What was written.
    pub written: Written,
    /// What its TZID means.
    pub zone: Option<Zone>,
}

impl Stamp {
    /// The moment as UTC; a floating time or a day is read in `default`.
    pub fn utc(&self, default: &Zone) -> Civil {
        match self.written {
            Written::Utc(civil) => civil,
            Written::Local(civil) => self.zone.as_ref().unwrap_or(default).to_utc(civil),
            Written::Date(day) => default.to_utc(day.midnight()),
        }
    }

    /// Whether it is a whole day.
    pub fn is_date(&self) -> bool {
        matches!(self.written, Written::Date(_))
    }

    /// The zone on whose clock a rule that begins here runs.
    pub fn clock<'a>(&'a self, default: &'a Zone) -> &'a Zone {
        match self.written {
            Written::Utc(_) => &Zone::UTC,
            Written::Local(_) => self.zone.as_ref().unwrap_or(default),
            Written::Date(_) => default,
        }
    }
}

/// How long an instance lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Length {
    /// DTEND or DUE: the same number of seconds for every instance.
    Exact(i64),
    /// DURATION, or days: by the clock.
    Nominal(Duration),
    /// Nothing is said and the start is a time: no length.
    None,
}

/// RDATE's value: a start, and for a PERIOD its own length.
#[derive(Clone, Debug)]
pub struct Extra {
    /// When it starts.
    pub start: Stamp,
    /// A PERIOD's length.
    pub length: Option<Length>,
}

/// The times of one VEVENT, VTODO or VJOURNAL.
#[derive(Clone, Debug)]
pub struct Times {
    /// DTSTART.
    pub start: Option<Stamp>,
    /// DTEND, or DUE of a VTODO.
    pub end: Option<Stamp>,
    /// DURATION.
    pub duration: Option<Duration>,
    /// RRULE.
    pub rules: Vec<Rule>,
    /// EXRULE of RFC 2445.
    pub not_rules: Vec<Rule>,
    /// RDATE.
    pub extras: Vec<Extra>,
    /// EXDATE.
    pub not: Vec<Stamp>,
    /// RECURRENCE-ID.
    pub recurrence_id: Option<Stamp>,
    /// RANGE=THISANDFUTURE.
    pub and_future: bool,
}

/// Why a component's times cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadTime {
    /// A property's value is no DATE, DATE-TIME, PERIOD or DURATION.
    #[error("{0} cannot be read: {1:?}")]
    Value(String, String),
    /// An RRULE.
    #[error(transparent)]
    Rule(#[from] BadRule),
    /// More than [`DATES_MAX`] RDATEs or EXDATEs.
    #[error("more than {DATES_MAX} dates")]
    TooMany,
}

/// The zones that one calendar object names.
#[derive(Clone, Debug, Default)]
pub struct Zones {
    own: HashMap<String, Zone>,
}

impl Zones {
    /// The zones of a VCALENDAR's VTIMEZONEs.
    pub fn of(calendar: &Component) -> Zones {
        let mut zones = Zones::default();
        for component in calendar.components.iter().filter(|c| c.name == "VTIMEZONE") {
            if let (Some(tzid), Some(zone)) = (component.property("TZID"), own_zone(component)) {
                zones.own.insert(tzid.text().trim().to_string(), zone);
            }
        }
        zones
    }

    /// What a TZID means: the object's own VTIMEZONE, else what it is known for elsewhere.
    pub fn zone(&self, tzid: &str) -> Option<Zone> {
        let tzid = tzid.trim();
        if let Some(zone) = self.own.get(tzid) {
            return Some(zone.clone());
        }
        let plain = tzid.replace("\\,", ",");
        self.own.get(&plain).cloned().or_else(|| Zone::by_tzid(&plain))
    }
}

impl Times {
    /// Reads a component's times.
    pub fn of(component: &Component, zones: &Zones) -> Result<Times, BadTime> {
        let end = component.property("DTEND").or_else(|| component.property("DUE"));
        let rules =
            |name| component.all(name).map(|p| Rule::parse(&p.value)).collect::<Result<Vec<Rule>, BadRule>>();
        let recurrence = component.property("RECURRENCE-ID");
        let range = recurrence.and_then(|property| property.parameter("RANGE"));
        let duration =
            component.property("DURATION").map(|p| value::duration(&p.value).ok_or_else(|| bad(p)));
        Ok(Times {
            start: component.property("DTSTART").map(|p| stamp(p, zones)).transpose()?,
            end: end.map(|p| stamp(p, zones)).transpose()?,
            duration: duration.transpose()?,
            rules: rules("RRULE")?,
            not_rules: rules("EXRULE")?,
            extras: extras(component, zones)?,
            not: list(component, "EXDATE", zones)?,
            recurrence_id: recurrence.map(|p| stamp(p, zones)).transpose()?,
            and_future: range.is_some_and(|range| range.eq_ignore_ascii_case("THISANDFUTURE")),
        })
    }

    /// Whether it has more instances than its DTSTART.
    pub fn recurs(&self) -> bool {
        !self.rules.is_empty() || !self.extras.is_empty()
    }

    /// How long an instance lasts (RFC 5545 section 3.6.1: a day without an end lasts a day, a time none; section 3.8.5.3:
    /// with DTEND the exact length repeats, with DURATION the nominal one).
    pub fn length(&self, default: &Zone) -> Length {
        let Some(start) = &self.start else { return Length::None };
        match (&self.end, self.duration) {
            (Some(end), _) if start.is_date() && end.is_date() => {
                let days = (end.written.civil().0 - start.written.civil().0) / DAY_S;
                Length::Nominal(Duration { days: days.max(0), seconds: 0 })
            }
            (Some(end), _) => Length::Exact((end.utc(default).0 - start.utc(default).0).max(0)),
            (None, Some(duration)) if duration.total_seconds() >= 0 => Length::Nominal(duration),
            (None, _) if start.is_date() => Length::Nominal(Duration { days: 1, seconds: 0 }),
            _ => Length::None,
        }
    }
}

impl Length {
    /// The end of an instance that starts on `local` of `clock`, as UTC.
    pub fn end(self, local: Civil, clock: &Zone) -> Civil {
        match self {
            Length::Exact(seconds) => Civil(clock.to_utc(local).0 + seconds),
            Length::Nominal(duration) => {
                Civil(clock.to_utc(Civil(local.0 + duration.days * DAY_S)).0 + duration.seconds)
            }
            Length::None => clock.to_utc(local),
        }
    }

    /// An upper bound of the length in seconds, zone changes included.
    pub fn seconds_max(self) -> i64 {
        match self {
            Length::Exact(seconds) => seconds,
            Length::Nominal(duration) => duration.total_seconds() + DAY_S,
            Length::None => 0,
        }
    }
}

/// Reads one DATE or DATE-TIME property with its TZID.
pub fn stamp(property: &Property, zones: &Zones) -> Result<Stamp, BadTime> {
    stamp_of(&property.value, property, zones)
}

fn stamp_of(text: &str, property: &Property, zones: &Zones) -> Result<Stamp, BadTime> {
    let mut written = value::date_or_time(text).ok_or_else(|| bad(property))?;
    if property.parameter("VALUE").is_some_and(|v| v.eq_ignore_ascii_case("DATE")) {
        written = Written::Date(written.civil().day());
    }
    let zone = match written {
        Written::Local(_) => property.parameter("TZID").and_then(|tzid| zones.zone(tzid)),
        _ => None,
    };
    Ok(Stamp { written, zone })
}

fn bad(property: &Property) -> BadTime {
    BadTime::Value(property.name.clone(), property.value.chars().take(80).collect())
}

fn list(component: &Component, name: &str, zones: &Zones) -> Result<Vec<Stamp>, BadTime> {
    let mut out = Vec::new();
    for property in component.all(name) {
        for text in property.value.split(',').filter(|text| !text.trim().is_empty()) {
            // An EXDATE as PERIOD is not allowed; its start is what was meant.
            let text = text.split('/').next().unwrap_or(text);
            out.push(stamp_of(text, property, zones)?);
            if out.len() > DATES_MAX {
                return Err(BadTime::TooMany);
            }
        }
    }
    Ok(out)
}

fn extras(component: &Component, zones: &Zones) -> Result<Vec<Extra>, BadTime> {
    let mut out = Vec::new();
    for property in component.all("RDATE") {
        for text in property.value.split(',').filter(|text| !text.trim().is_empty()) {
            let (begin, rest) = match text.split_once('/') {
                Some((begin, rest)) => (begin, Some(rest)),
                None => (text, None),
            };
            let start = stamp_of(begin, property, zones)?;
            let length = match rest {
                None => None,
                Some(text) if text.trim_start().starts_with(['P', 'p', '+', '-']) => {
                    Some(Length::Nominal(value::duration(text).ok_or_else(|| bad(property))?))
                }
                Some(text) => {
                    let end = stamp_of(text, property, zones)?;
                    Some(Length::Exact((end.utc(&Zone::UTC).0 - start.utc(&Zone::UTC).0).max(0)))
                }
            };
            out.push(Extra { start, length });
            if out.len() > DATES_MAX {
                return Err(BadTime::TooMany);
            }
        }
    }
    Ok(out)
}

/// The zone of a VTIMEZONE; `None` when it has no observance that can be read. Every event of a calendar carries the same
/// few VTIMEZONEs, so that the last ones are remembered by their content.
fn own_zone(timezone: &Component) -> Option<Zone> {
    let observances: Vec<Observance> = timezone
        .components
        .iter()
        .filter(|c| matches!(c.name.as_str(), "STANDARD" | "DAYLIGHT"))
        .filter_map(observance)
        .collect();
    let key = format!("{observances:?}");
    static KNOWN: OnceLock<Mutex<HashMap<String, Zone>>> = OnceLock::new();
    let known = KNOWN.get_or_init(Mutex::default);
    let lock = || known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(zone) = lock().get(&key) {
        return Some(zone.clone());
    }
    let zone = Zone::Own(Arc::new(OwnZone::new(&observances)?));
    let mut known = lock();
    if known.len() >= 64 {
        known.clear();
    }
    if key.len() < 8192 {
        known.insert(key, zone.clone());
    }
    Some(zone)
}

fn observance(component: &Component) -> Option<Observance> {
    let start = value::date_or_time(component.value("DTSTART")?)?.civil();
    let to_s = value::utc_offset(component.value("TZOFFSETTO")?)?;
    let from_s = component.value("TZOFFSETFROM").and_then(value::utc_offset).unwrap_or(to_s);
    let rules = component.all("RRULE").filter_map(|p| Rule::parse(&p.value).ok()).collect();
    let dates = component
        .all("RDATE")
        .flat_map(|p| p.value.split(','))
        .filter_map(|text| value::date_or_time(text.split('/').next()?))
        .map(Written::civil)
        .collect();
    Some(Observance { start, from_s, to_s, rules, dates })
}
