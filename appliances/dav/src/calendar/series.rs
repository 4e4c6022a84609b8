//! Instances: a component with everything that repeats, moves or cancels it. Times are UTC seconds; days and floating times
//! are read in the zone that the caller gives.
//!
//! Overrides are matched by RECURRENCE-ID alone, whatever their SEQUENCE. An override that no rule generates is an instance
//! all the same. DTSTART is always an instance; where it does not match its own RRULE (RFC 5545 calls that undefined) it is
//! one more, and COUNT counts what the rule generates, as most programs do.

use std::collections::{BTreeMap, HashSet};

use super::civil::{Civil, DAY_S, Day};
use super::repeat::{Repeat, TooManySteps};
use super::rule::Rule;
use super::times::{BadTime, Length, Stamp, Times, Zones};
use super::value::Written;
use super::zone::Zone;
use crate::reading::Component;

/// The components of one UID and type: the master, and its overrides.
#[derive(Clone, Debug)]
pub struct Series {
    /// UID.
    pub uid: String,
    /// VEVENT, VTODO or VJOURNAL.
    pub kind: String,
    /// Place of the master among the VCALENDAR's components, and its times.
    pub master: Option<(usize, Times)>,
    /// Place and times of the overrides.
    pub overrides: Vec<(usize, Times)>,
}

/// One instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Start, UTC.
    pub start: Civil,
    /// End, UTC; not before the start.
    pub end: Civil,
    /// Start on its own clock.
    pub local: Civil,
    /// What RECURRENCE-ID would say, on the master's clock; `None` when the object does not repeat.
    pub recurrence: Option<Civil>,
    /// Place of the component that says what the instance is.
    pub component: usize,
}

/// Why instances are not told.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Bound {
    /// The rule was walked to its bound.
    #[error(transparent)]
    Steps(#[from] TooManySteps),
    /// More instances than were asked for at most.
    #[error("more than {0} instances")]
    Instances(usize),
}

/// Puts the components of a VCALENDAR together by UID and type.
pub fn series_of(calendar: &Component) -> Result<Vec<Series>, BadTime> {
    let zones = Zones::of(calendar);
    let mut out: Vec<Series> = Vec::new();
    for (at, component) in calendar.components.iter().enumerate() {
        if !matches!(component.name.as_str(), "VEVENT" | "VTODO" | "VJOURNAL") {
            continue;
        }
        let times = Times::of(component, &zones)?;
        let uid = component.value("UID").unwrap_or_default();
        let found = out.iter().position(|s| s.uid == uid && s.kind == component.name);
        let series = match found {
            Some(found) => &mut out[found],
            None => {
                let kind = component.name.clone();
                out.push(Series { uid: uid.to_string(), kind, master: None, overrides: Vec::new() });
                out.last_mut().unwrap_or_else(|| unreachable!("one was pushed"))
            }
        };
        if times.recurrence_id.is_some() {
            series.overrides.push((at, times));
        } else if series.master.is_none() {
            series.master = Some((at, times));
        }
    }
    Ok(out)
}

impl Series {
    /// Whether it has more than one instance, by rule, date or override.
    pub fn recurs(&self) -> bool {
        self.master.as_ref().is_some_and(|(_, times)| times.recurs()) || !self.overrides.is_empty()
    }

    /// Instances that overlap `from`..`to` (an instance without length overlaps when it starts inside), in order of their
    /// start. More than `most` is an error.
    pub fn instances(
        &self,
        from: Civil,
        to: Civil,
        default: &Zone,
        most: usize,
    ) -> Result<Vec<Instance>, Bound> {
        let mut out = Vec::new();
        let clock = self.clock(default);
        let mut replaced = HashSet::new();
        let mut futures: BTreeMap<Civil, usize> = BTreeMap::new();
        for (at, (component, times)) in self.overrides.iter().enumerate() {
            let Some(id) = &times.recurrence_id else { continue };
            let key = self.key(id, &clock, default);
            replaced.insert(key);
            if times.and_future {
                futures.insert(key, at);
            }
            // An override without a start of its own keeps the instance's.
            let start = times.start.as_ref().unwrap_or(id);
            let own_clock = start.clock(default);
            let local = start.written.civil();
            let local = if own_clock_is_utc(start) { own_clock.to_local(local) } else { local };
            let end = self.length_of(times, default).end(local, own_clock);
            let instance = Instance {
                start: own_clock.to_utc(local),
                end,
                local,
                recurrence: Some(key),
                component: *component,
            };
            if overlaps(&instance, from, to) {
                out.push(instance);
            }
        }
        if let Some((component, times)) = &self.master {
            self.generated(
                *component,
                times,
                (from, to),
                &clock,
                default,
                (&replaced, &futures),
                most,
                &mut out,
            )?;
        }
        if out.len() > most {
            return Err(Bound::Instances(most));
        }
        out.sort_by_key(|instance| (instance.start, instance.end));
        Ok(out)
    }

    /// The instances with earliest start and latest end; `None` for the latest when there is no last one or it cannot be
    /// told within bounds, and for both when nothing has a time.
    pub fn bounds(&self, default: &Zone) -> (Option<Civil>, Option<Civil>) {
        let (mut first, mut last) = (None::<Civil>, None::<Civil>);
        let mut see = |start: Civil, end: Civil| {
            first = Some(first.map_or(start, |f| f.min(start)));
            last = Some(last.map_or(end, |l| l.max(end)));
        };
        let endless = self.master.as_ref().is_some_and(|(_, times)| times.rules.iter().any(endless));
        if !self.recurs() || endless {
            for (_, times) in self.master.iter().chain(&self.overrides) {
                if let Some(start) = &times.start {
                    let utc = start.utc(default);
                    see(utc, Civil(utc.0 + self.length_of(times, default).seconds_max()));
                }
                for extra in &times.extras {
                    let utc = extra.start.utc(default);
                    see(utc, utc);
                }
            }
            return (first, if endless { None } else { last });
        }
        match self.instances(Civil(i64::MIN / 4), far_future(), default, crate::limits::REPORT_INSTANCES_MAX)
        {
            Ok(all) => {
                all.iter().for_each(|instance| see(instance.start, instance.end));
                (first, last)
            }
            Err(_) => {
                (self.master.as_ref().and_then(|(_, t)| t.start.as_ref()).map(|s| s.utc(default)), None)
            }
        }
    }

    /// How many times of the first rule lie before `key` on the series' clock: what a COUNT has used up by then.
    ///
    /// # Errors
    /// `Bound` when there are too many to count.
    pub fn counted_before(&self, key: Civil, default: &Zone) -> Result<u64, Bound> {
        let Some((_, times)) = &self.master else { return Ok(0) };
        let (Some(start), Some(rule)) = (&times.start, times.rules.first()) else { return Ok(0) };
        let clock = self.clock(default);
        let mut before = 0;
        let range = (Civil(i64::MIN / 4), Civil(clock.to_utc(key).0 + 1));
        walk(rule, start, &clock, range, crate::limits::REPORT_INSTANCES_MAX, |local| {
            before += u64::from(local < key);
            local < key
        })?;
        Ok(before)
    }

    /// The clock on which the rule runs: DTSTART's.
    pub fn clock(&self, default: &Zone) -> Zone {
        let from_override = || self.overrides.first().and_then(|(_, times)| times.recurrence_id.as_ref());
        let start = self.master.as_ref().and_then(|(_, times)| times.start.as_ref()).or_else(from_override);
        start.map_or(Zone::UTC, |start| start.clock(default).clone())
    }

    /// Which instance an override at this place is of, on the series' clock, and whether it is of all that follow too.
    pub fn override_at(&self, component: usize, default: &Zone) -> Option<(Civil, bool)> {
        let (_, times) = self.overrides.iter().find(|(at, _)| *at == component)?;
        let id = times.recurrence_id.as_ref()?;
        Some((self.key(id, &self.clock(default), default), times.and_future))
    }

    /// A RECURRENCE-ID on the master's clock.
    fn key(&self, id: &Stamp, clock: &Zone, default: &Zone) -> Civil {
        let master_is_date =
            self.master.as_ref().and_then(|(_, t)| t.start.as_ref()).is_some_and(Stamp::is_date);
        match id.written {
            Written::Date(day) => day.midnight(),
            Written::Local(civil) if id.zone.is_none() => civil,
            _ if master_is_date => id.written.civil().day().midnight(),
            _ => clock.to_local(id.utc(default)),
        }
    }

    fn length_of(&self, times: &Times, default: &Zone) -> Length {
        match (times.length(default), &self.master) {
            // An override that says no end keeps the master's length.
            (Length::None, Some((_, master))) if times.recurrence_id.is_some() => master.length(default),
            (length, _) => length,
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn generated(
        &self,
        component: usize,
        times: &Times,
        (from, to): (Civil, Civil),
        clock: &Zone,
        default: &Zone,
        (replaced, futures): (&HashSet<Civil>, &BTreeMap<Civil, usize>),
        most: usize,
        out: &mut Vec<Instance>,
    ) -> Result<(), Bound> {
        let length = times.length(default);
        let mut reach = length.seconds_max();
        for at in futures.values() {
            let (_, future) = &self.overrides[*at];
            reach = reach.max(self.length_of(future, default).seconds_max() + shift(future, default).abs());
        }
        for extra in &times.extras {
            reach = reach.max(extra.length.map_or(0, Length::seconds_max));
        }
        let low = Civil(from.0.saturating_sub(reach));
        let high = Civil(to.0.saturating_add(if futures.is_empty() { 0 } else { reach }));
        let recurs = times.recurs() || !self.overrides.is_empty();
        for (local, own_length) in starts(times, clock, default, low, high, most)? {
            if replaced.contains(&local) {
                continue;
            }
            let recurrence = recurs.then_some(local);
            let future = futures.range(..=local).next_back().map(|(_, at)| &self.overrides[*at]);
            let instance = match future {
                None => {
                    let end = own_length.unwrap_or(length).end(local, clock);
                    Instance { start: clock.to_utc(local), end, local, recurrence, component }
                }
                Some((component, future)) => {
                    let moved = Civil(local.0 + shift(future, default));
                    let end = self.length_of(future, default).end(moved, clock);
                    let component = *component;
                    Instance { start: clock.to_utc(moved), end, local: moved, recurrence, component }
                }
            };
            if overlaps(&instance, from, to) {
                out.push(instance);
            }
        }
        Ok(())
    }
}

/// How much a THISANDFUTURE override moves the instances after it, on the clock.
fn shift(times: &Times, default: &Zone) -> i64 {
    match (&times.start, &times.recurrence_id) {
        (Some(start), Some(id)) => {
            let clock = start.clock(default);
            clock.to_local(start.utc(default)).0 - clock.to_local(id.utc(default)).0
        }
        _ => 0,
    }
}

fn own_clock_is_utc(start: &Stamp) -> bool {
    matches!(start.written, Written::Utc(_))
}

/// Whether an instance counts for a range (RFC 4791 section 9.9): the end is not part of it.
pub fn overlaps(instance: &Instance, from: Civil, to: Civil) -> bool {
    if instance.start == instance.end {
        return instance.start >= from && instance.start < to;
    }
    instance.start < to && instance.end > from
}

fn endless(rule: &Rule) -> bool {
    rule.count.is_none() && rule.until.is_none()
}

fn far_future() -> Civil {
    Day::new(9999, 12, 31).map_or(Civil(i64::MAX / 4), Day::midnight)
}

/// All starts on the clock whose moment is in `low`..`high`, exclusions taken out, in order.
fn starts(
    times: &Times,
    clock: &Zone,
    default: &Zone,
    low: Civil,
    high: Civil,
    most: usize,
) -> Result<Vec<(Civil, Option<Length>)>, Bound> {
    let Some(start) = &times.start else { return Ok(Vec::new()) };
    let first = start.written.civil();
    let within = |local: Civil| (low..high).contains(&clock.to_utc(local));
    let mut found: BTreeMap<Civil, Option<Length>> = BTreeMap::new();
    if within(first) {
        found.insert(first, None);
    }
    // A rule that generates most of its times outside of the range still may not produce without end.
    let budget = most.saturating_mul(4).max(crate::limits::REPORT_INSTANCES_MAX);
    for rule in &times.rules {
        walk(rule, start, clock, (low, high), budget, |local| {
            if within(local) {
                found.insert(local, None);
            }
            found.len() <= most
        })?;
    }
    for extra in &times.extras {
        let local = match extra.start.written {
            Written::Date(day) if start.is_date() => day.midnight(),
            // A day among times: at DTSTART's time of that day.
            Written::Date(day) => Civil::new(day, first.second_of_day()),
            _ => clock.to_local(extra.start.utc(default)),
        };
        if within(local) {
            found.insert(local, extra.length);
        }
    }
    if found.len() > most {
        return Err(Bound::Instances(most));
    }
    for not in &times.not {
        match not.written {
            Written::Date(day) if start.is_date() => {
                found.remove(&day.midnight());
            }
            // A day among times takes out every instance of that day (Outlook and Google write it).
            Written::Date(day) => {
                let (begin, end) = (day.midnight(), Day(day.0 + 1).midnight());
                found.retain(|local, _| *local < begin || *local >= end);
            }
            written if start.is_date() => {
                found.remove(&written.civil().day().midnight());
            }
            Written::Local(civil) if not.zone.is_none() => {
                found.remove(&civil);
            }
            _ => {
                found.remove(&clock.to_local(not.utc(default)));
            }
        }
    }
    for rule in &times.not_rules {
        walk(rule, start, clock, (low, high), budget, |local| {
            found.remove(&local);
            true
        })?;
    }
    Ok(found.into_iter().collect())
}

/// Walks a rule on a clock: gives every start up to `high`, COUNT and UNTIL applied. Times in a gap move on; two that
/// become the same moment are one.
fn walk(
    rule: &Rule,
    start: &Stamp,
    clock: &Zone,
    (low, high): (Civil, Civil),
    budget: usize,
    mut take: impl FnMut(Civil) -> bool,
) -> Result<(), Bound> {
    let (first, of_days) = (start.written.civil(), start.is_date());
    let near = |utc: Civil, days: i64| Civil(utc.0.saturating_add(days * DAY_S));
    let from = if rule.count.is_some() { first } else { near(low, -2) };
    let mut until = near(high, 2);
    if let Some(end) = rule.until {
        until = until.min(near(end.civil(), 2));
    }
    let mut repeat = Repeat::new(rule, first, from, until);
    let mut left = rule.count.unwrap_or(u64::MAX);
    let mut before = None;
    let mut walked = 0;
    while left > 0 {
        let Some(generated) = repeat.next_time()? else { return Ok(()) };
        let utc = clock.to_utc(generated);
        if ended(rule, of_days, generated, utc) || utc >= high {
            return Ok(());
        }
        if before.is_some_and(|before| utc <= before) {
            continue;
        }
        before = Some(utc);
        left -= 1;
        walked += 1;
        if walked > budget {
            return Err(Bound::Instances(budget));
        }
        // What a clock shows at that moment: a time in a gap has moved.
        if utc >= low && !take(clock.to_local(utc)) {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether UNTIL lies before this start. A day means all of that day, also for times; a time in UTC means that moment,
/// for days the day it names.
fn ended(rule: &Rule, of_days: bool, local: Civil, utc: Civil) -> bool {
    match rule.until {
        None => false,
        Some(Written::Utc(until)) if of_days => local > until,
        Some(Written::Date(day)) => local.day() > day,
        Some(Written::Local(until)) => local > until,
        Some(Written::Utc(until)) => utc > until,
    }
}

#[cfg(test)]
#[path = "series_tests.rs"]
mod tests;
