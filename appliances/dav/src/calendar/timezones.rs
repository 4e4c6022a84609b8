//! Zones by reference (RFC 7809): objects with or without the VTIMEZONEs of zones that everybody knows, and VTIMEZONEs made
//! from tzdata for objects that name a zone and do not define it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::civil::{Civil, DAY_S, Day, days_in_month};
use super::data::{fold_into, text_of};
use super::value;
use super::zone::Zone;
use crate::reading::{Component, read};

/// What the field CalDAV-Timezones asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ZonesWanted {
    /// Nothing is said: the object comes as it was put.
    #[default]
    AsPut,
    /// `T`: every zone that is named is defined.
    Defined,
    /// `F`: zones of tzdata are not defined.
    ByReference,
}

/// First and last year for which a definition is exact; after it the last rule goes on.
const YEARS_AHEAD: i32 = 12;
const WEEKDAYS: [&str; 7] = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];

impl ZonesWanted {
    /// Reads the field; `None` when it is neither T nor F.
    pub fn of(field: Option<&str>) -> Option<ZonesWanted> {
        match field.map(str::trim) {
            None => Some(ZonesWanted::AsPut),
            Some("T" | "t") => Some(ZonesWanted::Defined),
            Some("F" | "f") => Some(ZonesWanted::ByReference),
            Some(_) => None,
        }
    }

    /// The object with its zones as they are wanted.
    pub fn applied<'a>(self, object: Cow<'a, str>) -> Cow<'a, str> {
        if self == ZonesWanted::AsPut {
            return object;
        }
        let Some(calendar) = read(object.as_bytes()).ok().and_then(|all| all.into_iter().next()) else {
            return object;
        };
        let defined = |c: &Component| c.name == "VTIMEZONE";
        match self {
            ZonesWanted::ByReference => {
                let standard = |c: &&Component| {
                    defined(c) && c.text("TZID").is_some_and(|tzid| Zone::iana(&tzid).is_some())
                };
                let mut out = object.into_owned();
                for zone in calendar.components.iter().rev().filter(standard) {
                    out.replace_range(zone.range.clone(), "");
                }
                Cow::Owned(out)
            }
            _ => {
                let known: BTreeSet<String> = calendar
                    .components
                    .iter()
                    .filter(|c| defined(c))
                    .filter_map(|c| c.text("TZID"))
                    .collect();
                let zones: String = named(&calendar)
                    .difference(&known)
                    .filter_map(|tzid| definition(tzid, &calendar))
                    .collect();
                let Some(first) = calendar.components.first().filter(|_| !zones.is_empty()) else {
                    return object;
                };
                let mut out = object.into_owned();
                out.insert_str(first.range.start, &zones);
                Cow::Owned(out)
            }
        }
    }
}

/// Every zone that a property names.
fn named(component: &Component) -> BTreeSet<String> {
    let own = component.properties.iter().filter_map(|p| p.parameter("TZID")).map(str::to_string);
    component.components.iter().flat_map(named).chain(own).collect()
}

/// A VTIMEZONE for a name of tzdata, exact from the year before the object's first time on.
fn definition(tzid: &str, calendar: &Component) -> Option<String> {
    let zone = Zone::iana(tzid)?;
    let starts = calendar.components.iter().filter_map(|c| value::date_or_time(c.value("DTSTART")?));
    let first = starts.map(|start| start.civil().day().year()).min().unwrap_or(1970);
    Some(vtimezone(tzid, &zone, first - 1))
}

/// One change of a zone's clock.
#[derive(Clone, Copy, Debug)]
struct Change {
    /// The clock before the change, at that moment.
    local: Civil,
    from_s: i32,
    to_s: i32,
}

/// A zone as a VTIMEZONE, exact from the beginning of a year on.
pub fn vtimezone(tzid: &str, zone: &Zone, from_year: i32) -> String {
    let begin = Day::new(from_year.clamp(1900, 9000), 1, 1).map_or(Civil(0), Day::midnight);
    let this_year = from_year.max(2026);
    let end = Day::new((this_year + YEARS_AHEAD).min(9990), 1, 1).map_or(begin, Day::midnight);
    let changes = changes(zone, begin, end);
    let mut out = String::from("BEGIN:VTIMEZONE\r\n");
    fold_into(&format!("TZID:{tzid}"), &mut out);
    let first = zone.offset_at(begin);
    observance("STANDARD", first, first, zone.to_local(begin), "", &mut out);
    let usual = changes.iter().map(|change| change.to_s).min().unwrap_or(first);
    let mut kinds: Vec<(i32, i32)> = changes.iter().map(|c| (c.from_s, c.to_s)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    for (from_s, to_s) in kinds {
        let of_kind: Vec<Change> =
            changes.iter().filter(|c| (c.from_s, c.to_s) == (from_s, to_s)).copied().collect();
        let name = if to_s > usual { "DAYLIGHT" } else { "STANDARD" };
        let (single, yearly) = yearly(&of_kind, end);
        if let Some((start, rule)) = yearly {
            observance(name, from_s, to_s, start, &format!("RRULE:{rule}"), &mut out);
        }
        if let Some((first, rest)) = single.split_first() {
            let dates: Vec<String> = rest.iter().map(|c| c.local.basic()).collect();
            let line = if dates.is_empty() { String::new() } else { format!("RDATE:{}", dates.join(",")) };
            observance(name, from_s, to_s, first.local, &line, &mut out);
        }
    }
    out.push_str("END:VTIMEZONE\r\n");
    out
}

fn observance(name: &str, from_s: i32, to_s: i32, start: Civil, more: &str, out: &mut String) {
    out.push_str(&format!(
        "BEGIN:{name}\r\nDTSTART:{}\r\nTZOFFSETFROM:{}\r\nTZOFFSETTO:{}\r\n",
        start.basic(),
        offset(from_s),
        offset(to_s)
    ));
    if !more.is_empty() {
        fold_into(more, out);
    }
    out.push_str(&format!("END:{name}\r\n"));
}

fn offset(seconds: i32) -> String {
    let (sign, all) = (if seconds < 0 { '-' } else { '+' }, seconds.abs());
    let text = format!("{sign}{:02}{:02}", all / 3600, all / 60 % 60);
    if all % 60 == 0 { text } else { format!("{text}{:02}", all % 60) }
}

/// The changes of a zone's offset between two moments: each day is looked at, and within a day of a change the second is
/// found by halving.
fn changes(zone: &Zone, begin: Civil, end: Civil) -> Vec<Change> {
    let mut out = Vec::new();
    let (mut at, mut offset_s) = (begin.0, zone.offset_at(begin));
    while at < end.0 {
        let next = at + DAY_S;
        let after = zone.offset_at(Civil(next));
        if after != offset_s {
            let (mut low, mut high) = (at, next);
            while high - low > 1 {
                let middle = low + (high - low) / 2;
                if zone.offset_at(Civil(middle)) == offset_s { low = middle } else { high = middle }
            }
            let to_s = zone.offset_at(Civil(high));
            out.push(Change { local: Civil(high + i64::from(offset_s)), from_s: offset_s, to_s });
            (at, offset_s) = (high, to_s);
        } else {
            at = next;
        }
    }
    out
}

/// Changes that no rule says, and the rule that the last ones follow with its first time, when they follow one to the end.
fn yearly(changes: &[Change], end: Civil) -> (Vec<Change>, Option<(Civil, String)>) {
    let whole = || (changes.to_vec(), None);
    let Some(last) = changes.last().filter(|last| last.local.day().year() >= end.day().year() - 1) else {
        return whole();
    };
    for nth in [-1, nth_of(last.local.day())] {
        let follows = |change: &&Change| {
            let (day, wanted) = (change.local.day(), last.local.day());
            day.ymd().1 == wanted.ymd().1
                && day.weekday() == wanted.weekday()
                && change.local.second_of_day() == last.local.second_of_day()
                && if nth < 0 { is_last(day) } else { nth_of(day) == nth }
        };
        let run = changes.iter().rev().take_while(follows).count();
        let years_in_a_row = changes[changes.len() - run..]
            .windows(2)
            .all(|pair| pair[1].local.day().year() == pair[0].local.day().year() + 1);
        if run >= 3 && years_in_a_row {
            let first = changes[changes.len() - run];
            let day = last.local.day();
            let rule = format!(
                "FREQ=YEARLY;BYMONTH={};BYDAY={nth}{}",
                day.ymd().1,
                WEEKDAYS[day.weekday() as usize]
            );
            return (changes[..changes.len() - run].to_vec(), Some((first.local, rule)));
        }
    }
    whole()
}

fn nth_of(day: Day) -> i32 {
    (day.ymd().2 as i32 - 1) / 7 + 1
}

fn is_last(day: Day) -> bool {
    let (year, month, of_month) = day.ymd();
    of_month + 7 > days_in_month(year, month)
}

/// The bytes of an object with its zones as they are wanted.
pub fn applied_to(bytes: &[u8], wanted: ZonesWanted) -> String {
    wanted.applied(text_of(bytes)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::times::Zones;

    const OBJECT: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART;TZID=Europe/Berlin:20240501T100000\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";

    #[test]
    fn rfc7809_definitions_are_equal_to_tzdata() {
        for tzid in [
            "Europe/Berlin",
            "America/New_York",
            "America/Vancouver",
            "Australia/Lord_Howe",
            "Africa/Casablanca",
            "Asia/Kathmandu",
            "America/Sao_Paulo",
            "Europe/Dublin",
            "Pacific/Apia",
            "Antarctica/Troll",
        ] {
            let iana = Zone::iana(tzid).unwrap();
            let text = format!("BEGIN:VCALENDAR\r\n{}END:VCALENDAR\r\n", vtimezone(tzid, &iana, 2005));
            assert!(text.lines().all(|line| line.len() <= 75), "{text}");
            let calendar = read(text.as_bytes()).unwrap().remove(0);
            let own = Zones::of(&calendar).zone(tzid).unwrap();
            let mut at = Day::new(2005, 1, 1).unwrap().midnight();
            while at < Day::new(2037, 1, 1).unwrap().midnight() {
                assert_eq!(own.offset_at(at), iana.offset_at(at), "{tzid} at {}\n{text}", at.basic());
                at.0 += 3 * 3600 + 1800;
            }
        }
    }

    #[test]
    fn rfc7809_7_timezones_field() {
        let with = ZonesWanted::Defined.applied(Cow::Borrowed(OBJECT)).into_owned();
        assert!(with.contains("BEGIN:VTIMEZONE\r\nTZID:Europe/Berlin\r\n"), "{with}");
        assert!(with.contains("RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU\r\n"), "{with}");
        assert_eq!(ZonesWanted::Defined.applied(Cow::Borrowed(&with)), with, "once is enough");
        assert_eq!(ZonesWanted::ByReference.applied(Cow::Borrowed(&with)), OBJECT);
        let own = with.replace("Europe/Berlin", "Own zone");
        assert_eq!(ZonesWanted::ByReference.applied(Cow::Borrowed(&own)), own, "only tzdata's are left out");
        assert_eq!(ZonesWanted::of(Some("x")), None);
    }
}
