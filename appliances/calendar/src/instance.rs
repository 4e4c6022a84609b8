//! One instance of a series: found by its RECURRENCE-ID, changed by an override, taken out by EXDATE. An override with
//! RANGE=THISANDFUTURE says what the instances after it are as well; when its own becomes another or goes, the next one takes
//! the range over.

use chassis::http::Fault;
use content_lines::{ComponentId, Document, Limits};
use dav::calendar::civil::{Civil, DAY_S};
use dav::calendar::series::{Instance, Series, series_of};
use dav::calendar::value;
use dav::calendar::zone::Zone;
use dav::reading::{Component, read};

use crate::form::{Like, Shown, nth_event};

/// An instance in its object.
pub struct Found {
    /// The object.
    pub calendar: Component,
    /// The instance.
    pub instance: Instance,
    /// Which of the object's VEVENTs says what it is: the master, its own override, or that of an earlier one which changed
    /// all that follow.
    pub nth: usize,
    /// Whether that is an override of its own.
    pub is_override: bool,
    /// Whether that is an override of all that follow.
    pub has_range: bool,
    /// The next instance that its own override says.
    next: Option<Instance>,
    /// How times of the series are written.
    like: Like,
    key: Civil,
}

/// Instances that are looked through around the one that is sought.
const AROUND_MAX: usize = 1_000;

/// Finds the instance that `key` names, as [`dav::agenda::Occurrence::key`] tells it.
pub fn find(bytes: &[u8], key: &str, zone: &Zone) -> Option<Found> {
    let calendar = read(bytes).ok()?.into_iter().next()?;
    let key = value::date_or_time(key)?.civil();
    let all = series_of(&calendar).ok()?;
    let series = all.iter().find(|series| series.kind == "VEVENT")?;
    let instance = around(series, key, zone).into_iter().find(|one| one.recurrence == Some(key))?;
    let nth = calendar.components[..instance.component].iter().filter(|c| c.name == "VEVENT").count();
    let (of, has_range) = series.override_at(instance.component, zone).unzip();
    let (is_override, has_range) = (of == Some(key), has_range == Some(true));
    let next = if is_override && has_range { follower(series, &instance, zone) } else { None };
    let (master, _) = series.master.as_ref()?;
    let shown = Shown::of(&calendar.components[*master])?;
    let like = Like::of(shown.all_day, &shown.zone);
    Some(Found { instance, nth, is_override, has_range, next, like, key, calendar })
}

/// The next times of a series from a moment on.
pub fn next(bytes: &[u8], from: Civil, most: usize, zone: &Zone) -> Vec<Instance> {
    let Some(calendar) = read(bytes).ok().and_then(|all| all.into_iter().next()) else { return Vec::new() };
    let all = series_of(&calendar).unwrap_or_default();
    let Some(series) = all.iter().find(|series| series.kind == "VEVENT") else { return Vec::new() };
    for days in [60, 800, 8_000] {
        let found =
            series.instances(from, Civil(from.0 + days * DAY_S), zone, AROUND_MAX).unwrap_or_default();
        if found.len() >= most || days == 8_000 {
            return found.into_iter().take(most).collect();
        }
    }
    Vec::new()
}

/// The first instance after one that the same component says.
fn follower(series: &Series, one: &Instance, zone: &Zone) -> Option<Instance> {
    let from = Civil(one.start.0.min(one.recurrence?.0) - 2 * DAY_S);
    [60, 800, 8_000].into_iter().find_map(|days| {
        let all = series.instances(from, Civil(from.0 + days * DAY_S), zone, AROUND_MAX).ok()?;
        let after = all.into_iter().filter(|o| o.component == one.component && o.recurrence > one.recurrence);
        after.min_by_key(|other| other.recurrence)
    })
}

/// An instance may have been moved far from where its RECURRENCE-ID says.
fn around(series: &Series, key: Civil, zone: &Zone) -> Vec<Instance> {
    let near = series.instances(Civil(key.0 - 2 * DAY_S), Civil(key.0 + 2 * DAY_S), zone, AROUND_MAX);
    let near = near.unwrap_or_default();
    if near.iter().any(|one| one.recurrence == Some(key)) {
        return near;
    }
    series
        .instances(Civil(key.0 - 800 * DAY_S), Civil(key.0 + 800 * DAY_S), zone, AROUND_MAX)
        .unwrap_or_default()
}

/// Which of an object's VEVENTs is the master; the first one where there is none.
pub fn master_of(bytes: &[u8]) -> usize {
    let calendar = read(bytes).ok().and_then(|all| all.into_iter().next()).unwrap_or_default();
    let mut events = calendar.components.iter().filter(|c| c.name == "VEVENT");
    events.position(|c| c.property("RECURRENCE-ID").is_none()).unwrap_or(0)
}

impl Found {
    /// Which instance it is, on the series' clock.
    pub fn key(&self) -> Civil {
        self.key
    }

    /// How times of the series are written.
    pub fn like(&self) -> Like {
        self.like.clone()
    }

    /// How many seconds it lasts.
    pub fn seconds(&self) -> i64 {
        self.instance.end.0 - self.instance.start.0
    }

    /// What the form shows of it.
    pub fn shown(&self) -> Option<Shown> {
        let mut shown = Shown::of(&self.calendar.components[self.instance.component])?;
        if !self.is_override {
            let length = self.instance.end.0 - self.instance.start.0;
            shown.set_times(self.instance.local, Civil(self.instance.local.0 + length));
        }
        Some(shown)
    }

    /// The object with an override for this instance alone, and which VEVENT that is; it says what was said before.
    pub fn with_override(&self, bytes: &[u8]) -> Result<(Vec<u8>, usize), Fault> {
        if self.is_override {
            return Ok((self.narrowed(bytes)?, self.nth));
        }
        let mut document = parse(bytes)?;
        let source = nth_event(&document, self.nth).ok_or_else(Fault::not_found)?;
        self.add_override(&mut document, source, &self.instance, false)?;
        let out = document.to_bytes();
        let events = read(&out).ok().and_then(|all| all.into_iter().next());
        let last = events.map_or(0, |c| c.components.iter().filter(|c| c.name == "VEVENT").count());
        Ok((out, last.saturating_sub(1)))
    }

    /// The object in which its own override is of this instance alone; the next one has the range.
    fn narrowed(&self, bytes: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut document = parse(bytes)?;
        let own = nth_event(&document, self.nth).ok_or_else(Fault::not_found)?;
        if !self.has_range {
            return Ok(bytes.to_vec());
        }
        if let Some(next) = &self.next {
            self.add_override(&mut document, own, next, true)?;
        }
        let own = nth_event(&document, self.nth).ok_or_else(Fault::not_found)?;
        let line = document.properties(own, "RECURRENCE-ID").next().ok_or_else(Fault::not_found)?;
        document.remove_parameter(line, "RANGE").map_err(bad)?;
        Ok(document.to_bytes())
    }

    /// Adds an override of an instance that says what another VEVENT says.
    fn add_override(
        &self,
        document: &mut Document,
        source: ComponentId,
        one: &Instance,
        range: bool,
    ) -> Result<(), Fault> {
        let mut copy = parse(&document.component_bytes(source))?;
        let event = nth_event(&copy, 0).ok_or_else(Fault::not_found)?;
        for name in ["RECURRENCE-ID", "RRULE", "RDATE", "EXDATE", "EXRULE", "DURATION", "DTSTART", "DTEND"] {
            copy.remove_properties(event, name).map_err(bad)?;
        }
        let key = self.like.property("RECURRENCE-ID", self.like.value(one.recurrence.unwrap_or(one.local)));
        let key = if range { key.parameter("RANGE", ["THISANDFUTURE"]) } else { key };
        copy.add_property(event, &key).map_err(bad)?;
        let end = Civil(one.local.0 + one.end.0 - one.start.0);
        for (name, at) in [("DTSTART", one.local), ("DTEND", end)] {
            copy.add_property(event, &self.like.property(name, self.like.value(at))).map_err(bad)?;
        }
        let root = document.find_component("VCALENDAR").ok_or_else(Fault::not_found)?;
        document.add_component(root, &copy.to_bytes()).map_err(bad)
    }

    /// The object without this instance.
    pub fn excluded(&self, bytes: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut document = parse(bytes)?;
        if self.is_override {
            document = parse(&self.narrowed(bytes)?)?;
            let own = nth_event(&document, self.nth).ok_or_else(Fault::not_found)?;
            document.remove_component(own).map_err(bad)?;
        }
        let event = nth_event(&document, master_of(&document.to_bytes())).ok_or_else(Fault::not_found)?;
        let property = self.like.property("EXDATE", self.like.value(self.key));
        document.add_property(event, &property).map_err(bad)?;
        Ok(document.to_bytes())
    }
}

fn parse(bytes: &[u8]) -> Result<Document, Fault> {
    Document::parse(bytes, &Limits::default()).map_err(|error| Fault::bad_request(error.to_string()))
}

fn bad(error: content_lines::PropertyError) -> Fault {
    Fault::bad_request(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use chassis::http::Form;

    const SERIES: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20240101T000000Z\r\nDTSTART;TZID=Europe/Berlin:20240318T100000\r\nDTEND;TZID=Europe/Berlin:20240318T113000\r\nRRULE:FREQ=WEEKLY;COUNT=5\r\nSUMMARY:Choir\r\nX-OWN:kept\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";

    fn starts(bytes: &[u8]) -> Vec<String> {
        next(bytes, value::date_or_time("20240101T000000").unwrap().civil(), 50, &Zone::UTC)
            .iter()
            .map(|one| one.start.basic())
            .collect()
    }

    #[test]
    fn one_instance_moves_and_another_goes() {
        let found = find(SERIES.as_bytes(), "20240401T100000", &Zone::UTC).unwrap();
        assert_eq!(found.shown().unwrap().start, "2024-04-01T10:00");
        let (bytes, nth) = found.with_override(SERIES.as_bytes()).unwrap();
        assert_eq!(starts(&bytes), starts(SERIES.as_bytes()), "the override says what the master says");
        let form =
            Form::parse(b"title=Concert&zone=Europe/Berlin&start=2024-04-02T20%3A00&end=2024-04-02T22%3A00");
        let bytes = crate::form::edited(&bytes, nth, &form, false).unwrap();
        let expected =
            ["20240318T090000", "20240325T090000", "20240402T180000", "20240408T080000", "20240415T080000"];
        assert_eq!(starts(&bytes), expected);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(
            text.contains("RECURRENCE-ID;TZID=Europe/Berlin:20240401T100000\r\n")
                && text.matches("X-OWN:kept").count() == 2,
            "{text}"
        );
        // The moved one is found again by its key, and can go.
        let moved = find(&bytes, "20240401T100000", &Zone::UTC).unwrap();
        assert!(moved.is_override && moved.shown().unwrap().title == "Concert");
        let without = moved.excluded(&bytes).unwrap();
        assert_eq!(starts(&without), [expected[0], expected[1], expected[3], expected[4]]);
        let without = find(&without, "20240318T100000", &Zone::UTC).unwrap().excluded(&without).unwrap();
        assert_eq!(starts(&without), [expected[1], expected[3], expected[4]]);
        assert!(find(&without, "20240318T100000", &Zone::UTC).is_none());
    }

    #[test]
    fn one_of_those_that_a_program_changed_for_all_that_follow() {
        let range = "RECURRENCE-ID;TZID=Europe/Berlin;RANGE=THISANDFUTURE:20240401T100000";
        let late = format!(
            "BEGIN:VEVENT\r\nUID:1\r\n{range}\r\nDTSTART;TZID=Europe/Berlin:20240401T110000\r\nDTEND;TZID=Europe/Berlin:20240401T130000\r\nSUMMARY:Late\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        );
        let series = SERIES.replace("END:VCALENDAR\r\n", &late);
        let all =
            ["20240318T090000", "20240325T090000", "20240401T090000", "20240408T090000", "20240415T090000"];
        assert_eq!(starts(series.as_bytes()), all);
        let change = |key: &str, start: &str| {
            let found = find(series.as_bytes(), key, &Zone::UTC).unwrap();
            let (bytes, nth) = found.with_override(series.as_bytes()).unwrap();
            assert_eq!(starts(&bytes), all, "{key}");
            let form = format!("title=Early&zone=Europe/Berlin&start={start}T08%3A00&end={start}T09%3A00");
            let bytes = crate::form::edited(&bytes, nth, &Form::parse(form.as_bytes()), false).unwrap();
            let text = String::from_utf8(found.excluded(series.as_bytes()).unwrap()).unwrap();
            (starts(&bytes), starts(text.as_bytes()), all.to_vec(), text)
        };
        let shown = |key: &str| find(series.as_bytes(), key, &Zone::UTC).unwrap().shown().unwrap();
        assert_eq!(
            (shown("20240408T100000").title, shown("20240408T100000").start),
            ("Late".into(), "2024-04-08T11:00".into())
        );
        for (at, key, start, utc) in [
            (2, "20240401T100000", "2024-04-01", "20240401T060000"),
            (3, "20240408T100000", "2024-04-08", "20240408T060000"),
            (4, "20240415T100000", "2024-04-15", "20240415T060000"),
        ] {
            let (changed, excluded, mut expected, text) = change(key, start);
            expected[at] = utc;
            assert_eq!(changed, expected, "{key}");
            expected.remove(at);
            assert_eq!(excluded, expected, "{text}");
            assert_eq!(text.matches("RANGE=THISANDFUTURE").count(), 1, "{text}");
        }
    }

    #[test]
    fn whole_days() {
        let series = SERIES
            .replace(";TZID=Europe/Berlin:20240318T100000", ";VALUE=DATE:20240318")
            .replace(";TZID=Europe/Berlin:20240318T113000", ";VALUE=DATE:20240320");
        let found = find(series.as_bytes(), "20240325T000000", &Zone::UTC).unwrap();
        assert_eq!(
            (found.shown().unwrap().start.as_str(), found.shown().unwrap().end.get(..10).unwrap()),
            ("2024-03-25T00:00", "2024-03-26")
        );
        let text = String::from_utf8(found.excluded(series.as_bytes()).unwrap()).unwrap();
        assert!(text.contains("EXDATE;VALUE=DATE:20240325\r\n"), "{text}");
    }
}
