//! One instance of a series: found by its RECURRENCE-ID, changed by an override, taken out by EXDATE.

use chassis::http::Fault;
use content_lines::{Document, Limits};
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
    /// Which of the object's VEVENTs says what it is: the master, or its own override.
    pub nth: usize,
    /// Whether that is an override of its own.
    pub is_override: bool,
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
    let is_override = calendar.components[instance.component].property("RECURRENCE-ID").is_some();
    let (master, _) = series.master.as_ref()?;
    let shown = Shown::of(&calendar.components[*master])?;
    let like = Like::of(shown.all_day, &shown.zone);
    Some(Found { instance, nth, is_override, like, key, calendar })
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

    /// The object with an override for this instance, and which VEVENT that is; it says what the master says.
    pub fn with_override(&self, bytes: &[u8]) -> Result<(Vec<u8>, usize), Fault> {
        if self.is_override {
            return Ok((bytes.to_vec(), self.nth));
        }
        let bad = |error: content_lines::PropertyError| Fault::bad_request(error.to_string());
        let parse = |bytes: &[u8]| {
            Document::parse(bytes, &Limits::default()).map_err(|e| Fault::bad_request(e.to_string()))
        };
        let mut document = parse(bytes)?;
        let master = nth_event(&document, master_of(bytes)).ok_or_else(Fault::not_found)?;
        let mut copy = parse(&document.component_bytes(master))?;
        let event = nth_event(&copy, 0).ok_or_else(Fault::not_found)?;
        for name in ["RRULE", "RDATE", "EXDATE", "EXRULE", "DURATION", "DTSTART", "DTEND"] {
            copy.remove_properties(event, name).map_err(bad)?;
        }
        let length = self.instance.end.0 - self.instance.start.0;
        let times = [
            ("RECURRENCE-ID", self.key),
            ("DTSTART", self.instance.local),
            ("DTEND", Civil(self.instance.local.0 + length)),
        ];
        for (name, at) in times {
            copy.add_property(event, &self.like.property(name, self.like.value(at))).map_err(bad)?;
        }
        let root = document.find_component("VCALENDAR").ok_or_else(Fault::not_found)?;
        document.add_component(root, &copy.to_bytes()).map_err(bad)?;
        let out = document.to_bytes();
        let events = read(&out).ok().and_then(|all| all.into_iter().next());
        let last = events.map_or(0, |c| c.components.iter().filter(|c| c.name == "VEVENT").count());
        Ok((out, last.saturating_sub(1)))
    }

    /// The object without this instance.
    pub fn excluded(&self, bytes: &[u8]) -> Result<Vec<u8>, Fault> {
        let bad = |error: content_lines::PropertyError| Fault::bad_request(error.to_string());
        let mut document =
            Document::parse(bytes, &Limits::default()).map_err(|e| Fault::bad_request(e.to_string()))?;
        if self.is_override {
            let own = nth_event(&document, self.nth).ok_or_else(Fault::not_found)?;
            document.remove_component(own).map_err(bad)?;
        }
        let event = nth_event(&document, master_of(&document.to_bytes())).ok_or_else(Fault::not_found)?;
        let property = self.like.property("EXDATE", self.like.value(self.key));
        document.add_property(event, &property).map_err(bad)?;
        Ok(document.to_bytes())
    }
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
