//! Whether a component is in a range of time: the tables of RFC 4791 section 9.9, asked of every instance.

use super::civil::{Civil, DAY_S};
use super::series::{Instance, Series, overlaps};
use super::times::{Stamp, Zones, stamp};
use super::value::{self, Written};
use super::zone::Zone;
use crate::limits::INSTANCES_MAX;
use crate::reading::{Component, Property};

/// A range of time in UTC; the end is not part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// Begin.
    pub from: Civil,
    /// End.
    pub to: Civil,
}

impl Range {
    /// All time that is served.
    pub const ALL: Range = Range { from: Civil(-62_135_596_800), to: Civil(253_402_300_800) };
}

/// Whether an instance of the component is in the range and the component that describes that instance satisfies `rest`.
pub fn component_occurs(
    calendar: &Component,
    series: &[Series],
    component: &Component,
    range: Range,
    default: &Zone,
    zones: &Zones,
    rest: &dyn Fn(&Component) -> bool,
) -> bool {
    match component.name.as_str() {
        "VFREEBUSY" => rest(component) && freebusy_occurs(component, range, default, zones),
        "VEVENT" | "VTODO" | "VJOURNAL" => {
            let place = calendar.components.iter().position(|c| std::ptr::eq(c, component));
            let Some((series, place)) = place.and_then(|place| Some((series_with(series, place)?, place)))
            else {
                return false;
            };
            if !has_start(series) {
                return rest(component) && component_without_start(component, range, default, zones);
            }
            any_instance(series, range, 1, default, |instance| {
                let described = &calendar.components[instance.component];
                instance.component == place && rest(described) && instance_in(described, instance, range)
            })
        }
        _ => false,
    }
}

/// Whether an alarm of the parent goes off in the range, for any of the parent's instances that the parent describes.
pub fn alarm_occurs(
    calendar: &Component,
    series: &[Series],
    parent: &Component,
    alarm: &Component,
    range: Range,
    default: &Zone,
    zones: &Zones,
) -> bool {
    let Some(trigger) = alarm.property("TRIGGER") else { return false };
    let repeat = alarm.value("REPEAT").and_then(|n| n.parse::<i64>().ok()).unwrap_or(0).clamp(0, 10_000);
    let step = alarm.value("DURATION").and_then(value::duration).map_or(0, |d| d.total_seconds().max(0));
    let goes_off = |first: Civil| {
        (0..=repeat).any(|n| (range.from..range.to).contains(&Civil(first.0.saturating_add(n * step))))
    };
    let Some(before) = value::duration(&trigger.value) else {
        return stamp(trigger, zones).is_ok_and(|at| goes_off(at.utc(default)));
    };
    let before = before.total_seconds();
    let from_end = trigger.parameter("RELATED").is_some_and(|related| related.eq_ignore_ascii_case("END"));
    let place = calendar.components.iter().position(|c| std::ptr::eq(c, parent));
    let Some((series, place)) = place.and_then(|place| Some((series_with(series, place)?, place))) else {
        return false;
    };
    if !has_start(series) {
        let due = parent.property("DUE").and_then(|due| stamp(due, zones).ok());
        return due.is_some_and(|due| goes_off(Civil(due.utc(default).0.saturating_add(before))));
    }
    let reach = before.abs().saturating_add(repeat * step).saturating_add(DAY_S);
    any_instance(series, range, reach, default, |instance| {
        let base = if from_end { instance.end } else { instance.start };
        instance.component == place && goes_off(Civil(base.0.saturating_add(before)))
    })
}

/// Whether an event has an instance in the range.
pub fn series_occurs(series: &Series, range: Range, default: &Zone) -> bool {
    any_instance(series, range, 0, default, |instance| overlaps(instance, range.from, range.to))
}

/// Whether any instance within `reach` of the range satisfies the question. An open side is asked in growing steps, so
/// that a rule without end does not have to be told to the end of time.
fn any_instance(
    series: &Series,
    range: Range,
    reach: i64,
    default: &Zone,
    mut yes: impl FnMut(&Instance) -> bool,
) -> bool {
    let low = Civil(range.from.0.saturating_sub(reach));
    let high = Civil(range.to.0.saturating_add(reach));
    let mut from = low;
    if range.from == Range::ALL.from {
        from = series.first_hint(default).map_or(low, |first| Civil(first.0 - 2 * DAY_S).max(low));
    }
    for days in [40, 400, 4_000, 40_000, 4_000_000] {
        let to = Civil(from.0.saturating_add(days * DAY_S)).min(high);
        match series.instances(from, to, default, INSTANCES_MAX) {
            Ok(instances) if instances.iter().any(&mut yes) => return true,
            Ok(_) if to == high => return false,
            Ok(_) => {}
            // So many that the bound is met: certainly one in a range that begins here.
            Err(_) => return true,
        }
    }
    false
}

fn series_with(series: &[Series], place: usize) -> Option<&Series> {
    series.iter().find(|one| {
        one.master.as_ref().is_some_and(|(at, _)| *at == place)
            || one.overrides.iter().any(|(at, _)| *at == place)
    })
}

fn has_start(series: &Series) -> bool {
    series.master.as_ref().is_some_and(|(_, times)| times.start.is_some())
        || series.overrides.iter().any(|(_, times)| times.start.is_some() || times.recurrence_id.is_some())
}

impl Series {
    /// A time before which nothing starts, roughly; `None` when there is none at all.
    pub fn first_hint(&self, default: &Zone) -> Option<Civil> {
        let stamps = self.master.iter().chain(&self.overrides).flat_map(|(_, times)| {
            times
                .start
                .iter()
                .chain(times.extras.iter().map(|extra| &extra.start))
                .chain(&times.recurrence_id)
        });
        stamps.map(|stamp: &Stamp| stamp.utc(default)).min()
    }
}

/// An instance with a start against the tables.
fn instance_in(component: &Component, instance: &Instance, range: Range) -> bool {
    let (start, end) = (instance.start, instance.end);
    match component.name.as_str() {
        "VTODO" if start == end => range.from <= start && range.to > start,
        "VTODO" if component.property("DURATION").is_some() => {
            range.from <= end && (range.to > start || range.to >= end)
        }
        "VTODO" => (range.from < end || range.from <= start) && (range.to > start || range.to >= end),
        "VJOURNAL" => {
            let of_day = component
                .property("DTSTART")
                .is_some_and(|p| matches!(value::date_or_time(&p.value), Some(Written::Date(_))));
            if of_day {
                range.from < Civil(start.0 + DAY_S) && range.to > start
            } else {
                range.from <= start && range.to > start
            }
        }
        _ => overlaps(instance, range.from, range.to),
    }
}

/// Rows of the tables without DTSTART.
fn component_without_start(component: &Component, range: Range, default: &Zone, zones: &Zones) -> bool {
    if component.name != "VTODO" {
        return false;
    }
    let moment = |name: &str| {
        let property: Option<&Property> = component.property(name);
        property.and_then(|p| stamp(p, zones).ok()).map(|stamp| stamp.utc(default))
    };
    if let Some(due) = moment("DUE") {
        return range.from < due && range.to >= due;
    }
    match (moment("COMPLETED"), moment("CREATED")) {
        (Some(completed), Some(created)) => {
            (range.from <= created || range.from <= completed)
                && (range.to >= created || range.to >= completed)
        }
        (Some(completed), None) => range.from <= completed && range.to >= completed,
        (None, Some(created)) => range.to > created,
        (None, None) => true,
    }
}

fn freebusy_occurs(component: &Component, range: Range, default: &Zone, zones: &Zones) -> bool {
    let moment =
        |name: &str| component.property(name).and_then(|p| stamp(p, zones).ok()).map(|s| s.utc(default));
    if let (Some(start), Some(end)) = (moment("DTSTART"), moment("DTEND")) {
        return range.from <= end && range.to > start;
    }
    component
        .all("FREEBUSY")
        .flat_map(|p| p.value.split(','))
        .filter_map(period)
        .any(|(start, end)| range.from < end && range.to > start)
}

/// Reads a PERIOD in UTC.
pub fn period(text: &str) -> Option<(Civil, Civil)> {
    let (start, end) = text.trim().split_once('/')?;
    let start = value::utc(start)?;
    let end = match value::duration(end) {
        Some(duration) => Civil(start.0 + duration.total_seconds()),
        None => value::utc(end)?,
    };
    Some((start, end))
}
