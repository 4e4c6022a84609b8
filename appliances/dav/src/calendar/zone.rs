//! Zones: from a calendar object's own VTIMEZONE, from tzdata, from the names that Windows gives, or a fixed offset.
//! A time in a gap is read with the offset before the gap, a time that happens twice is the first one (RFC 5545
//! section 3.3.5).

use std::sync::{Arc, OnceLock};

use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::civil::Civil;
use super::repeat::Repeat;
use super::rule::Rule;
use super::windows;
use crate::limits::OBSERVANCES_MAX;

/// How wall-clock times become UTC and back.
#[derive(Clone, Debug)]
pub enum Zone {
    /// The same number of seconds east of UTC always.
    Fixed(i32),
    /// A zone of tzdata.
    Iana(TimeZone),
    /// A VTIMEZONE.
    Own(Arc<OwnZone>),
}

/// One STANDARD or DAYLIGHT of a VTIMEZONE (RFC 5545 section 3.6.5).
#[derive(Clone, Debug)]
pub struct Observance {
    /// DTSTART: the first onset, on the clock as it was before.
    pub start: Civil,
    /// TZOFFSETFROM in seconds.
    pub from_s: i32,
    /// TZOFFSETTO in seconds.
    pub to_s: i32,
    /// RRULEs.
    pub rules: Vec<Rule>,
    /// RDATEs on the clock as it was before.
    pub dates: Vec<Civil>,
}

/// The transitions of a VTIMEZONE from its first onset to 2200, in rising order.
#[derive(Debug)]
pub struct OwnZone {
    before_s: i32,
    transitions: Vec<Transition>,
}

#[derive(Clone, Copy, Debug)]
struct Transition {
    utc: i64,
    from_s: i32,
    to_s: i32,
}

/// VTIMEZONE rules are evaluated until here; afterwards the last offset stays.
const HORIZON_YEAR: i32 = 2200;
/// Onsets before this year are not listed one by one (Outlook's rules begin in 1601).
const DAWN_YEAR: i32 = 1900;

impl Zone {
    /// UTC.
    pub const UTC: Zone = Zone::Fixed(0);

    /// A zone by its tzdata name, any case.
    pub fn iana(name: &str) -> Option<Zone> {
        static TZDATA: OnceLock<TimeZoneDatabase> = OnceLock::new();
        if !name.is_ascii() || name.len() > 64 {
            return None;
        }
        TZDATA.get_or_init(TimeZoneDatabase::bundled).get(name).ok().map(Zone::Iana)
    }

    /// A zone by any TZID that is met without its VTIMEZONE: tzdata names, with the prefixes of Mozilla, Evolution and
    /// Citadel, Windows names, Outlook's `(UTC+01:00) Amsterdam, Berlin`, and `GMT+0100`.
    pub fn by_tzid(tzid: &str) -> Option<Zone> {
        let tzid = tzid.trim().trim_matches('"').replace("\\,", ",");
        if let Some(zone) = Zone::iana(&tzid) {
            return Some(zone);
        }
        if let Some(zone) = windows::iana_of(&tzid).and_then(Zone::iana) {
            return Some(zone);
        }
        let parts: Vec<&str> = tzid.split('/').filter(|part| !part.is_empty()).collect();
        if tzid.starts_with('/') {
            for take in [3, 2, 1] {
                let tail = parts.len().checked_sub(take).map(|from| parts[from..].join("/"));
                if let Some(zone) = tail.and_then(|name| Zone::iana(&name)) {
                    return Some(zone);
                }
            }
        }
        by_display_name(&tzid)
    }

    /// The zone's offset in seconds at a moment.
    pub fn offset_at(&self, utc: Civil) -> i32 {
        match self {
            Zone::Fixed(offset) => *offset,
            Zone::Iana(zone) => match jiff::Timestamp::from_second(utc.0) {
                Ok(moment) => zone.to_offset(moment).seconds(),
                Err(_) => 0,
            },
            Zone::Own(zone) => zone.offset_at(utc.0),
        }
    }

    /// The moment that a wall clock in this zone means, as UTC.
    pub fn to_utc(&self, local: Civil) -> Civil {
        let offset = match self {
            Zone::Fixed(offset) => *offset,
            Zone::Iana(zone) => match civil_of_jiff(local) {
                Some(time) => match zone.to_ambiguous_timestamp(time).offset() {
                    jiff::tz::AmbiguousOffset::Unambiguous { offset } => offset.seconds(),
                    jiff::tz::AmbiguousOffset::Gap { before, .. } => before.seconds(),
                    jiff::tz::AmbiguousOffset::Fold { before, .. } => before.seconds(),
                },
                None => 0,
            },
            Zone::Own(zone) => zone.offset_of_local(local.0),
        };
        Civil(local.0 - i64::from(offset))
    }

    /// What a wall clock in this zone shows at a moment.
    pub fn to_local(&self, utc: Civil) -> Civil {
        Civil(utc.0 + i64::from(self.offset_at(utc)))
    }

    /// The tzdata name, when it has one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Zone::Iana(zone) => zone.iana_name(),
            Zone::Fixed(0) => Some("UTC"),
            _ => None,
        }
    }
}

impl OwnZone {
    /// The zone of these observances; `None` when there is none.
    pub fn new(observances: &[Observance]) -> Option<OwnZone> {
        let mut transitions = Vec::new();
        for one in observances.iter().take(OBSERVANCES_MAX) {
            let onset = |local: Civil| Transition {
                utc: local.0 - i64::from(one.from_s),
                from_s: one.from_s,
                to_s: one.to_s,
            };
            transitions.push(onset(one.start));
            transitions.extend(one.dates.iter().take(OBSERVANCES_MAX).map(|date| onset(*date)));
            for rule in &one.rules {
                add_onsets(one, rule, &onset, &mut transitions);
            }
        }
        transitions.sort_by_key(|t| t.utc);
        transitions.dedup_by_key(|t| t.utc);
        let before_s = transitions.first()?.from_s;
        Some(OwnZone { before_s, transitions })
    }

    fn offset_at(&self, utc: i64) -> i32 {
        match self.transitions.partition_point(|t| t.utc <= utc) {
            0 => self.before_s,
            n => self.transitions[n - 1].to_s,
        }
    }

    /// A transition takes effect for a wall clock when the clock, put forward or back, has passed both of its readings:
    /// that makes a gap use the offset before it, and a doubled hour its first pass.
    fn offset_of_local(&self, local: i64) -> i32 {
        let passed = |t: &Transition| t.utc + i64::from(t.from_s.max(t.to_s)) <= local;
        match self.transitions.partition_point(passed) {
            0 => self.before_s,
            n => self.transitions[n - 1].to_s,
        }
    }
}

fn add_onsets(one: &Observance, rule: &Rule, onset: &dyn Fn(Civil) -> Transition, out: &mut Vec<Transition>) {
    use super::civil::Day;
    use super::value::Written;
    let horizon = Day::new(HORIZON_YEAR, 1, 1).map_or(Civil(0), Day::midnight);
    let dawn = match rule.count {
        None => Day::new(DAWN_YEAR, 1, 1).map_or(Civil(0), Day::midnight),
        Some(_) => one.start,
    };
    let mut walk = Repeat::new(rule, one.start, dawn, horizon);
    let mut left = rule.count.unwrap_or(u64::MAX).min(OBSERVANCES_MAX as u64);
    while left > 0 {
        let Ok(Some(local)) = walk.next_time() else { return };
        let transition = onset(local);
        let ended = match rule.until {
            Some(Written::Utc(until)) => transition.utc > until.0,
            Some(Written::Local(until)) => local > until,
            Some(Written::Date(until)) => local.day() > until,
            None => false,
        };
        if ended {
            return;
        }
        out.push(transition);
        left -= 1;
    }
}

fn civil_of_jiff(local: Civil) -> Option<jiff::civil::DateTime> {
    let (year, month, day) = local.day().ymd();
    let (hour, minute, second) = local.hms();
    jiff::civil::DateTime::new(
        i16::try_from(year).ok()?,
        month as i8,
        day as i8,
        hour as i8,
        minute as i8,
        second as i8,
        0,
    )
    .ok()
}

/// `(UTC+01:00) Amsterdam, Berlin` and `GMT+0100`: the first city that tzdata knows with that standard offset, else the
/// offset alone.
fn by_display_name(name: &str) -> Option<Zone> {
    let (inner, cities) = match name.strip_prefix('(') {
        Some(rest) => rest.split_once(')')?,
        None => (name, ""),
    };
    let upper = inner.trim().to_ascii_uppercase();
    let sign = upper.strip_prefix("UTC").or_else(|| upper.strip_prefix("GMT"))?.trim();
    let offset = match sign {
        "" => 0,
        _ if !sign.starts_with(['+', '-']) => return None,
        _ => {
            let digits: String = sign[1..].chars().filter(char::is_ascii_digit).collect();
            let padded = match digits.len() {
                1 | 2 => format!("{digits:0>2}00"),
                3 => format!("0{digits}"),
                _ => digits,
            };
            super::value::utc_offset(&format!("{}{padded}", &sign[..1]))?
        }
    };
    let january = super::civil::Day::new(2024, 1, 15)?.midnight();
    let july = super::civil::Day::new(2024, 7, 15)?.midnight();
    for city in cities.split(',').map(|city| city.trim().replace(' ', "_")).filter(|city| !city.is_empty()) {
        for region in ["Europe", "America", "Asia", "Africa", "Australia", "Pacific", "Atlantic", "Indian"] {
            if let Some(zone) = Zone::iana(&format!("{region}/{city}"))
                && zone.offset_at(january).min(zone.offset_at(july)) == offset
            {
                return Some(zone);
            }
        }
    }
    Some(Zone::Fixed(offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::value::date_or_time;

    fn at(text: &str) -> Civil {
        date_or_time(text).unwrap().civil()
    }

    fn berlin() -> Zone {
        let observance = |start: &str, from_s, to_s, rule: &str| Observance {
            start: at(start),
            from_s,
            to_s,
            rules: vec![Rule::parse(rule).unwrap()],
            dates: vec![],
        };
        let own = OwnZone::new(&[
            observance("16010101T030000", 7200, 3600, "FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=10"),
            observance("16010101T020000", 3600, 7200, "FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=3"),
        ]);
        Zone::Own(Arc::new(own.unwrap()))
    }

    #[test]
    fn outlooks_rules_equal_tzdata() {
        let (own, iana) = (berlin(), Zone::iana("Europe/Berlin").unwrap());
        let mut local = at("20000101T000000");
        while local < at("20300101T000000") {
            assert_eq!(own.to_utc(local), iana.to_utc(local), "{}", local.basic());
            let utc = own.to_utc(local);
            assert_eq!(own.to_local(utc), iana.to_local(utc), "{}", utc.basic());
            local.0 += 1800;
        }
    }

    #[test]
    fn rfc5545_3_3_5_gap_and_fold() {
        for zone in [berlin(), Zone::iana("Europe/Berlin").unwrap()] {
            assert_eq!(zone.to_utc(at("20240331T023000")), at("20240331T013000"));
            assert_eq!(zone.to_local(at("20240331T013000")), at("20240331T033000"));
            assert_eq!(zone.to_utc(at("20241027T023000")), at("20241027T003000"));
        }
    }

    #[test]
    fn names_that_are_met_in_the_wild() {
        let may = at("20240520T000000");
        for (name, offset) in [
            ("Europe/Berlin", 7200),
            ("europe/berlin", 7200),
            ("/freeassociation.sourceforge.net/Tzfile/Europe/Berlin", 7200),
            ("/mozilla.org/20070129_1/America/Argentina/Buenos_Aires", -10_800),
            ("W. Europe Standard Time", 7200),
            ("(UTC+01:00) Amsterdam\\, Berlin", 7200),
            ("(UTC+01:00) Amsterdam, Berlin, Bern, Rome, Stockholm, Vienna", 7200),
            ("(GMT-05:00) Nowhere", -18_000),
            ("GMT+0530", 19_800),
            ("UTC", 0),
        ] {
            assert_eq!(Zone::by_tzid(name).map(|z| z.offset_at(may)), Some(offset), "{name}");
        }
        assert!(Zone::by_tzid("Customized Time Zone").is_none());
    }

    #[test]
    fn tzdata_is_of_2026() {
        // Vancouver stays on its summer time from November 2026 on; tzdata 2025b does not know.
        let zone = Zone::iana("America/Vancouver").unwrap();
        assert_eq!(zone.offset_at(at("20261215T000000")), -7 * 3600);
    }
}
