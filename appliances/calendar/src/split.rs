//! A series in two: what was before an instance stays, this one and all that follow become a series of their own. And the
//! keys of what is special in a series (overrides, EXDATEs) when its times move: the n-th instance stays the n-th.

use chassis::http::{Fault, Form};
use content_lines::{ComponentId, Document, Limits, Property};
use dav::calendar::civil::{Civil, Day, days_in_month};
use dav::calendar::rule::{Freq, Rule};
use dav::calendar::series::{Series, series_of};
use dav::calendar::value;
use dav::calendar::zone::Zone;
use dav::reading::read;

use crate::form::{Like, Shown, edited, nth_event};
use crate::instance::{Found, master_of};

/// Starts of a series that are compared when its times move; what is special beyond them moves by the clock.
const STARTS_MAX: usize = 2_000;

/// What says how an event repeats.
const REPEATS: [&str; 4] = ["RRULE", "RDATE", "EXDATE", "EXRULE"];

/// A series in two.
pub struct Split {
    /// What was before; none when nothing was, and the new part is the whole.
    pub before: Option<Vec<u8>>,
    /// This one and all that follow.
    pub after: Vec<u8>,
}

/// The VEVENTs of one object as a series, and the place where it is cut.
struct Cut<'a> {
    bytes: &'a [u8],
    series: Series,
    clock: Zone,
    like: Like,
    key: Civil,
}

/// Cuts at an instance; `form` says what it and all that follow are to be, `uid` is the new series' own.
pub fn split(found: &Found, bytes: &[u8], form: &Form, zone: &Zone, uid: &str) -> Result<Split, Fault> {
    let cut = Cut::new(found, bytes, zone)?;
    let before = cut.before(zone)?;
    let whole = cut.after(found, zone, before.is_some().then_some(uid))?;
    let whole = cut.shifted(found, whole, zone)?;
    let master = master_of(&whole);
    let changed = edited(&whole, master, form, false)?;
    let changed = with_moved_rule(&whole, &changed)?;
    Ok(Split { before, after: rekeyed(&whole, &changed, zone)? })
}

/// The series without an instance and all that follow; none when nothing was before.
pub fn ended_before(found: &Found, bytes: &[u8], zone: &Zone) -> Result<Option<Vec<u8>>, Fault> {
    Cut::new(found, bytes, zone)?.before(zone)
}

impl<'a> Cut<'a> {
    fn new(found: &Found, bytes: &'a [u8], zone: &Zone) -> Result<Cut<'a>, Fault> {
        let series = series(bytes).ok_or_else(Fault::not_found)?;
        let clock = series.clock(zone);
        Ok(Cut { bytes, series, clock, like: found.like(), key: found.key() })
    }

    fn before(&self, zone: &Zone) -> Result<Option<Vec<u8>>, Fault> {
        let first = self.series.instances(Civil(i64::MIN / 4), self.clock.to_utc(self.key), zone, STARTS_MAX);
        let anything = match first {
            Ok(all) => all.iter().any(|one| one.recurrence.is_some_and(|key| key < self.key)),
            Err(_) => true,
        };
        if !anything {
            return Ok(None);
        }
        let mut document = parse(self.bytes)?;
        self.keep(&mut document, |key| key < self.key)?;
        let master = master(&document)?;
        let last = match self.like {
            Like::Day => Day(self.key.day().0 - 1).basic(),
            Like::Floating => Civil(self.key.0 - 1).basic(),
            _ => format!("{}Z", Civil(self.clock.to_utc(self.key).0 - 1).basic()),
        };
        let used = self.counted(zone)?;
        for line in lines(&document, master, "RRULE").into_iter().rev() {
            let text = value_of(&document, line);
            let Ok(rule) = Rule::parse(&text) else { continue };
            if self.is_over(&rule, used) {
                continue;
            }
            document.set_value(line, with_part(&text, &format!("UNTIL={last}")).as_bytes()).map_err(bad)?;
        }
        stamped(&mut document, master)?;
        Ok(Some(document.to_bytes()))
    }

    /// The instance and all that follow, as they are now, with the instance as the first.
    fn after(&self, found: &Found, zone: &Zone, uid: Option<&str>) -> Result<Vec<u8>, Fault> {
        let said = found.has_range.then(|| self.as_master(found)).transpose()?;
        let mut document = parse(said.as_deref().unwrap_or(self.bytes))?;
        // An override of this one gives way to the form, which shows what it says.
        self.keep(&mut document, |key| key > self.key)?;
        let event = master(&document)?;
        let used = self.counted(zone)?;
        for line in lines(&document, event, "RRULE").into_iter().rev() {
            let text = value_of(&document, line);
            let Ok(rule) = Rule::parse(&text) else { continue };
            match rule.count {
                _ if self.is_over(&rule, used) => document.remove(line).map_err(bad)?,
                Some(count) => {
                    let text = with_part(&text, &format!("COUNT={}", count - used));
                    document.set_value(line, text.as_bytes()).map_err(bad)?;
                }
                None => {}
            }
        }
        let seconds = found.seconds();
        let had_end = document.property(event, "DTEND").is_some();
        set_time(&mut document, event, "DTSTART", self.key, &self.like)?;
        if had_end {
            let event = master(&document)?;
            set_time(&mut document, event, "DTEND", Civil(self.key.0 + seconds), &self.like)?;
        }
        for nth in (0..).take_while(|nth| nth_event(&document, *nth).is_some()).collect::<Vec<_>>() {
            let (Some(event), Some(uid)) = (nth_event(&document, nth), uid) else { continue };
            document.set_property(event, "UID", &Property::raw("UID", uid)).map_err(bad)?;
        }
        Ok(document.to_bytes())
    }

    /// The object whose master says what an override says that is of this one and all that follow. It repeats as before,
    /// at the times from before.
    fn as_master(&self, found: &Found) -> Result<Vec<u8>, Fault> {
        let mut document = parse(self.bytes)?;
        let said = nth_event(&document, found.nth).ok_or_else(Fault::not_found)?;
        let mut copy = parse(&document.component_bytes(said))?;
        let of_copy = |copy: &Document| nth_event(copy, 0).ok_or_else(Fault::not_found);
        let event = of_copy(&copy)?;
        for name in REPEATS.iter().chain(&["RECURRENCE-ID", "DURATION"]) {
            copy.remove_properties(event, name).map_err(bad)?;
        }
        let old = master(&document)?;
        for line in REPEATS.iter().flat_map(|name| lines(&document, old, name)) {
            copy.add_property(of_copy(&copy)?, &property_of(&document, line)).map_err(bad)?;
        }
        for (name, at) in [("DTSTART", self.key), ("DTEND", Civil(self.key.0 + found.seconds()))] {
            let event = of_copy(&copy)?;
            set_time(&mut copy, event, name, at, &self.like)?;
        }
        for event in [said.max(old), said.min(old)] {
            document.remove_component(event).map_err(bad)?;
        }
        let root = document.find_component("VCALENDAR").ok_or_else(Fault::not_found)?;
        document.add_component(root, &copy.to_bytes()).map_err(bad)?;
        Ok(document.to_bytes())
    }

    /// What follows at the times that such an override moved it to; what is special about one stays where it was put.
    fn shifted(&self, found: &Found, whole: Vec<u8>, zone: &Zone) -> Result<Vec<u8>, Fault> {
        let start = found.instance.local;
        if !found.has_range || start == self.key {
            return Ok(whole);
        }
        let mut document = parse(&whole)?;
        for (name, at) in [("DTSTART", start), ("DTEND", Civil(start.0 + found.seconds()))] {
            let event = master(&document)?;
            set_time(&mut document, event, name, at, &self.like)?;
        }
        rekeyed_as(&whole, &with_moved_rule(&whole, &document.to_bytes())?, zone, false)
    }

    /// How many of a COUNT the instances before the cut have used up.
    fn counted(&self, zone: &Zone) -> Result<u64, Fault> {
        self.series.counted_before(self.key, zone).map_err(|bound| refuse(&format!("{bound}.")))
    }

    /// Whether a rule generates nothing from the cut on.
    fn is_over(&self, rule: &Rule, used: u64) -> bool {
        let until = rule.until.map(|until| match until {
            value::Written::Utc(utc) if !matches!(self.like, Like::Day) => self.clock.to_local(utc),
            value::Written::Date(day) => Civil(Day(day.0 + 1).midnight().0 - 1),
            other => other.civil(),
        });
        rule.count.is_some_and(|count| count <= used) || until.is_some_and(|until| until < self.key)
    }

    /// Keeps of overrides, EXDATEs and RDATEs those whose key is wanted.
    fn keep(&self, document: &mut Document, wanted: impl Fn(Civil) -> bool) -> Result<(), Fault> {
        for (event, key) in overrides(document, &self.clock).into_iter().rev() {
            if !wanted(key) {
                document.remove_component(event).map_err(bad)?;
            }
        }
        let event = master(document)?;
        let dates = ["EXDATE", "RDATE"].iter().flat_map(|name| lines(document, event, name));
        let mut dates: Vec<usize> = dates.collect();
        dates.sort_unstable();
        for line in dates.into_iter().rev() {
            let text = value_of(document, line);
            let zone = tzid(document, line);
            let kept: Vec<&str> = text
                .split(',')
                .filter(|one| key_of(one, zone.as_ref(), &self.clock).is_none_or(&wanted))
                .collect();
            match kept.is_empty() {
                true => document.remove(line).map_err(bad)?,
                false => document.set_value(line, kept.join(",").as_bytes()).map_err(bad)?,
            }
        }
        Ok(())
    }
}

/// What stands on other days when a series moves: weekdays turn with it, and so do the days of a month or year.
pub fn with_moved_rule(before: &[u8], after: &[u8]) -> Result<Vec<u8>, Fault> {
    let day_of = |bytes: &[u8]| start_of(bytes).map(Civil::day);
    let (Some(was), Some(is)) = (day_of(before), day_of(after)) else { return Ok(after.to_vec()) };
    let mut document = parse(after)?;
    let event = master(&document)?;
    for line in lines(&document, event, "RRULE") {
        let Ok(mut rule) = Rule::parse(&value_of(&document, line)) else { continue };
        let same = rule.clone();
        turn(&mut rule, was, is);
        if rule != same {
            document.set_value(line, rule.to_string().as_bytes()).map_err(bad)?;
        }
    }
    Ok(document.to_bytes())
}

fn turn(rule: &mut Rule, was: Day, is: Day) {
    let ((_, old_month, old_day), (year, month, day)) = (was.ymd(), is.ymd());
    let turned = |weekday: u32| (i64::from(weekday) + i64::from(is.0 - was.0)).rem_euclid(7) as u32;
    if rule.by_day.iter().all(|one| one.nth == 0) {
        rule.by_day.iter_mut().for_each(|one| one.weekday = turned(one.weekday));
    } else if let [one] = &mut rule.by_day[..]
        && matches!(rule.freq, Freq::Monthly | Freq::Yearly)
    {
        one.weekday = is.weekday();
        one.nth = match one.nth {
            ..0 => -((days_in_month(year, month) as i32 - day as i32) / 7 + 1),
            _ => (day as i32 - 1) / 7 + 1,
        };
    }
    if rule.by_month_day == [old_day as i32] {
        rule.by_month_day = vec![day as i32];
    }
    if rule.by_month == [old_month] {
        rule.by_month = vec![month];
    }
}

/// The object with the keys of its overrides and EXDATEs as they are after its master changed: what was special about the
/// n-th instance is special about the n-th. An override that had the series' own time goes along with it.
pub fn rekeyed(before: &[u8], after: &[u8], zone: &Zone) -> Result<Vec<u8>, Fault> {
    rekeyed_as(before, after, zone, true)
}

fn rekeyed_as(before: &[u8], after: &[u8], zone: &Zone, goes_along: bool) -> Result<Vec<u8>, Fault> {
    let (Some(old), Some(new)) = (series(before), series(after)) else { return Ok(after.to_vec()) };
    let (was, is) = (start_of(before), start_of(after));
    let like = |bytes: &[u8]| shown_master(bytes).map(|shown| Like::of(shown.all_day, &shown.zone));
    let (Some(was), Some(is), Some(own)) = (was, is, like(after)) else { return Ok(after.to_vec()) };
    let alike = like(before).is_some_and(|before| before == own);
    let clock = old.clock(zone);
    let (old, new) = (plain_starts(&old, zone), plain_starts(&new, zone));
    if old == new && alike {
        return Ok(after.to_vec());
    }
    let moved = |key: Civil| {
        let nth = old.iter().position(|one| *one == key).and_then(|nth| new.get(nth).copied());
        nth.unwrap_or(Civil(key.0 + is.0 - was.0))
    };
    let mut document = parse(after)?;
    let event = master(&document)?;
    for line in lines(&document, event, "EXDATE").into_iter().rev() {
        let (text, zone) = (value_of(&document, line), tzid(&document, line));
        let keys = text.split(',').filter_map(|one| key_of(one, zone.as_ref(), &clock));
        let values: Vec<String> = keys.map(|key| own.value(moved(key))).collect();
        document.replace(line, &own.property("EXDATE", values.join(","))).map_err(bad)?;
    }
    for at in 0..overrides(&document, &clock).len() {
        let Some((event, key)) = overrides(&document, &clock).get(at).copied() else { break };
        let has_range =
            document.property(event, "RECURRENCE-ID").is_some_and(|l| l.parameter("RANGE").is_some());
        let key_line = own.property("RECURRENCE-ID", own.value(moved(key)));
        let key_line = if has_range { key_line.parameter("RANGE", ["THISANDFUTURE"]) } else { key_line };
        let shown = override_times(&document, event, &clock);
        document.set_property(event, "RECURRENCE-ID", &key_line).map_err(bad)?;
        if let Some((start, seconds)) = shown.filter(|(start, _)| goes_along && *start == key) {
            let start = moved(start);
            set_time(&mut document, event, "DTSTART", start, &own)?;
            let Some((event, _)) = overrides(&document, &clock).get(at).copied() else { break };
            document.remove_properties(event, "DURATION").map_err(bad)?;
            let Some((event, _)) = overrides(&document, &clock).get(at).copied() else { break };
            set_time(&mut document, event, "DTEND", Civil(start.0 + seconds), &own)?;
        }
    }
    Ok(document.to_bytes())
}

/// Start on the series' clock, and length, of an override.
fn override_times(document: &Document, event: ComponentId, clock: &Zone) -> Option<(Civil, i64)> {
    let bytes = document.component_bytes(event);
    let wrapped = [&b"BEGIN:VCALENDAR\r\n"[..], &bytes, b"END:VCALENDAR\r\n"].concat();
    let component = read(&wrapped).ok()?.into_iter().next()?;
    let shown = Shown::of(component.components.first()?)?;
    let line = document.properties(event, "DTSTART").next()?;
    let start = key_of(&value_of(document, line), tzid(document, line).as_ref(), clock)?;
    let time = dav::commands::moment;
    let seconds = time(&shown.end)?.0 - time(&shown.start)?.0;
    Some((start, if shown.all_day { seconds + 60 } else { seconds }))
}

/// The starts of a series as if nothing were special about any.
fn plain_starts(series: &Series, zone: &Zone) -> Vec<Civil> {
    let mut plain = series.clone();
    plain.overrides.clear();
    if let Some((_, times)) = &mut plain.master {
        times.not.clear();
    }
    let from = plain.master.as_ref().and_then(|(_, times)| times.start.as_ref()).map(|start| start.utc(zone));
    let Some(from) = from else { return Vec::new() };
    for days in [8_000, 800, 80, 8, 1] {
        let to = Civil(from.0 + days * dav::calendar::civil::DAY_S);
        if let Ok(all) = plain.instances(from, to, zone, STARTS_MAX) {
            return all.iter().map(|one| one.recurrence.unwrap_or(one.local)).collect();
        }
    }
    Vec::new()
}

fn series(bytes: &[u8]) -> Option<Series> {
    let calendar = read(bytes).ok()?.into_iter().next()?;
    series_of(&calendar).ok()?.into_iter().find(|series| series.kind == "VEVENT")
}

fn shown_master(bytes: &[u8]) -> Option<Shown> {
    let calendar = read(bytes).ok()?.into_iter().next()?;
    calendar.components.iter().filter(|c| c.name == "VEVENT").nth(master_of(bytes)).and_then(Shown::of)
}

/// The master's beginning on its own clock.
fn start_of(bytes: &[u8]) -> Option<Civil> {
    dav::commands::moment(&shown_master(bytes)?.start)
}

fn parse(bytes: &[u8]) -> Result<Document, Fault> {
    Document::parse(bytes, &Limits::default()).map_err(|error| refuse(&error.to_string()))
}

fn master(document: &Document) -> Result<ComponentId, Fault> {
    nth_event(document, master_of(&document.to_bytes())).ok_or_else(Fault::not_found)
}

/// The overrides of a document and their keys on the series' clock.
fn overrides(document: &Document, clock: &Zone) -> Vec<(ComponentId, Civil)> {
    let events = (0..).map_while(|nth| nth_event(document, nth));
    let keyed = events.filter_map(|event| {
        let line = document.properties(event, "RECURRENCE-ID").next()?;
        Some((event, key_of(&value_of(document, line), tzid(document, line).as_ref(), clock)?))
    });
    keyed.collect()
}

fn lines(document: &Document, event: ComponentId, name: &str) -> Vec<usize> {
    document.properties(event, name).collect()
}

fn value_of(document: &Document, line: usize) -> String {
    document.lines()[line].value_str().unwrap_or_default().to_string()
}

/// A property as it stands.
fn property_of(document: &Document, line: usize) -> Property {
    let line = &document.lines()[line];
    let name = String::from_utf8_lossy(line.name());
    line.parameters().fold(Property::raw(&name, line.value()), |property, parameter| {
        let values: Vec<String> = parameter.values().map(|value| value.decoded().into_owned()).collect();
        property.parameter(&String::from_utf8_lossy(parameter.name()), values)
    })
}

fn tzid(document: &Document, line: usize) -> Option<Zone> {
    let values = document.lines()[line].parameter_values("TZID");
    values.first().and_then(|name| Zone::by_tzid(name))
}

/// A DATE, DATE-TIME or PERIOD's start on the series' clock.
fn key_of(text: &str, zone: Option<&Zone>, clock: &Zone) -> Option<Civil> {
    let start = text.split('/').next().unwrap_or_default();
    Some(match value::date_or_time(start.trim())? {
        value::Written::Utc(utc) => clock.to_local(utc),
        value::Written::Local(local) => {
            zone.filter(|zone| zone.name() != clock.name()).map_or(local, |z| clock.to_local(z.to_utc(local)))
        }
        value::Written::Date(day) => day.midnight(),
    })
}

/// A rule's text with one part in the place of COUNT and UNTIL; what we do not know of it stays.
fn with_part(rule: &str, part: &str) -> String {
    let ends = |one: &&str| {
        let name = one.split('=').next().unwrap_or_default().trim();
        !name.eq_ignore_ascii_case("COUNT") && !name.eq_ignore_ascii_case("UNTIL")
    };
    let kept = rule.split(';').filter(|one| !one.trim().is_empty()).filter(ends);
    kept.chain([part]).collect::<Vec<_>>().join(";")
}

fn set_time(
    document: &mut Document,
    event: ComponentId,
    name: &str,
    at: Civil,
    like: &Like,
) -> Result<(), Fault> {
    document.set_property(event, name, &like.property(name, like.value(at))).map_err(bad)
}

fn stamped(document: &mut Document, event: ComponentId) -> Result<(), Fault> {
    let line = document.property(event, "SEQUENCE");
    let sequence = line.and_then(|line| line.value_str()?.trim().parse::<u32>().ok()).unwrap_or(0);
    let now = format!("{}Z", Civil((chassis::clock::now_ms() / 1000) as i64).basic());
    for (name, value) in
        [("SEQUENCE", (sequence + 1).to_string()), ("LAST-MODIFIED", now.clone()), ("DTSTAMP", now)]
    {
        let event = if name == "SEQUENCE" { event } else { master(document)? };
        document.set_property(event, name, &Property::raw(name, value)).map_err(bad)?;
    }
    Ok(())
}

fn bad(error: content_lines::PropertyError) -> Fault {
    refuse(&error.to_string())
}

fn refuse(why: &str) -> Fault {
    Fault::bad_request(why.to_string())
}

#[cfg(test)]
#[path = "split_tests.rs"]
mod tests;
