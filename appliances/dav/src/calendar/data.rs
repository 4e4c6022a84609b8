//! `CALDAV:calendar-data`: a whole object, a part of it, or its instances (RFC 4791 section 9.6).

use std::borrow::Cow;

use super::civil::{Civil, Day};
use super::filter::time_range;
use super::occurs::{Range, period};
use super::series::{Bound, Instance, Series, series_of};
use super::times::{Stamp, Zones};
use super::timezones::ZonesWanted;
use super::value::Written;
use super::zone::Zone;
use crate::limits::REPORT_INSTANCES_MAX;
use crate::reading::{Component, Property};
use crate::text_match::BadFilter;
use crate::xml::CALDAV;
use crate::xml::read::Element;

/// What of an object is wanted.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct DataWanted {
    /// Which components and properties; all when absent.
    pub component: Option<CompWanted>,
    /// `expand`
    pub expand: Option<Range>,
    /// `limit-recurrence-set`
    pub limit_recurrence: Option<Range>,
    /// `limit-freebusy-set`
    pub limit_freebusy: Option<Range>,
    /// The field CalDAV-Timezones of RFC 7809.
    pub zones: ZonesWanted,
}

/// Which parts of a component are wanted.
#[derive(Clone, PartialEq, Debug)]
pub struct CompWanted {
    name: String,
    /// `None` is all; else name and whether the value is left out.
    properties: Option<Vec<(String, bool)>>,
    /// `None` is all.
    components: Option<Vec<CompWanted>>,
}

impl DataWanted {
    /// Reads a `CALDAV:calendar-data` element of a request.
    pub fn of(element: &Element) -> Result<DataWanted, BadFilter> {
        let content_type = element.attribute("content-type").unwrap_or("text/calendar");
        let version = element.attribute("version").unwrap_or("2.0");
        if !content_type.eq_ignore_ascii_case("text/calendar") || version != "2.0" {
            return Err(BadFilter::Unsupported(format!("calendar-data as {content_type} {version}")));
        }
        let range = |name| element.child(CALDAV, name).map(time_range).transpose();
        let component = element.child(CALDAV, "comp").map(comp_wanted).transpose()?;
        Ok(DataWanted {
            component,
            expand: range("expand")?,
            limit_recurrence: range("limit-recurrence-set")?,
            limit_freebusy: range("limit-freebusy-set")?,
            zones: ZonesWanted::AsPut,
        })
    }

    /// Whether the object is wanted as it is.
    pub fn is_whole(&self) -> bool {
        *self == DataWanted::default()
    }

    /// The object as it is wanted. `budget` is how many instances may still be told in this answer.
    pub fn render<'a>(
        &self,
        bytes: &'a [u8],
        calendar: &Component,
        default: &Zone,
        budget: &mut usize,
    ) -> Result<Cow<'a, str>, Bound> {
        if self.is_whole() {
            return Ok(text_of(bytes));
        }
        let mut out = String::with_capacity(bytes.len());
        out.push_str("BEGIN:VCALENDAR\r\n");
        let wanted = self.component.as_ref();
        for property in &calendar.properties {
            self.line(bytes, property, wanted, &mut out);
        }
        let inner = |name: &str| match wanted.and_then(|w| w.components.as_ref()) {
            None => Some(None),
            Some(list) => list.iter().find(|w| w.name == name).map(Some),
        };
        match self.expand {
            Some(range) => self.expanded(bytes, calendar, range, default, budget, &inner, &mut out)?,
            None => {
                let kept = self
                    .limit_recurrence
                    .map(|range| kept_by(calendar, range, default, budget))
                    .transpose()?;
                for (at, component) in calendar.components.iter().enumerate() {
                    if kept.as_ref().is_none_or(|kept| kept.contains(&at))
                        && let Some(wanted) = inner(&component.name)
                    {
                        self.component(bytes, component, wanted, &mut out);
                    }
                }
            }
        }
        out.push_str("END:VCALENDAR\r\n");
        Ok(self.zones.applied(Cow::Owned(out)))
    }

    fn component(&self, bytes: &[u8], component: &Component, wanted: Option<&CompWanted>, out: &mut String) {
        out.push_str(&format!("BEGIN:{}\r\n", component.name));
        for property in &component.properties {
            self.line(bytes, property, wanted, out);
        }
        self.inside(bytes, component, wanted, out);
        out.push_str(&format!("END:{}\r\n", component.name));
    }

    fn inside(&self, bytes: &[u8], component: &Component, wanted: Option<&CompWanted>, out: &mut String) {
        for inner in &component.components {
            match wanted.and_then(|w| w.components.as_ref()) {
                None => self.component(bytes, inner, None, out),
                Some(list) => {
                    if let Some(wanted) = list.iter().find(|w| w.name == inner.name) {
                        self.component(bytes, inner, Some(wanted), out);
                    }
                }
            }
        }
    }

    fn line(&self, bytes: &[u8], property: &Property, wanted: Option<&CompWanted>, out: &mut String) {
        let choice = match wanted.and_then(|w| w.properties.as_ref()) {
            None => Some(false),
            Some(list) => list.iter().find(|(name, _)| *name == property.name).map(|(_, no_value)| *no_value),
        };
        match choice {
            None => {}
            Some(true) => out.push_str(&format!("{}:\r\n", property.name)),
            Some(false) => match (&self.limit_freebusy, property.name.as_str()) {
                (Some(range), "FREEBUSY") => limited_freebusy(property, *range, out),
                _ => push_line(&bytes[property.range.clone()], out),
            },
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn expanded<'w>(
        &self,
        bytes: &[u8],
        calendar: &Component,
        range: Range,
        default: &Zone,
        budget: &mut usize,
        inner: &dyn Fn(&str) -> Option<Option<&'w CompWanted>>,
        out: &mut String,
    ) -> Result<(), Bound> {
        let zones = Zones::of(calendar);
        let all = series_of(calendar).unwrap_or_default();
        for series in &all {
            let Some(wanted) = inner(&series.kind) else { continue };
            if series.master.iter().chain(&series.overrides).all(|(_, times)| times.start.is_none()) {
                for (at, _) in series.master.iter().chain(&series.overrides) {
                    self.component(bytes, &calendar.components[*at], wanted, out);
                }
                continue;
            }
            let instances = series.instances(range.from, range.to, default, *budget)?;
            *budget = budget.saturating_sub(instances.len());
            for instance in &instances {
                let component = &calendar.components[instance.component];
                self.instance(bytes, component, series, instance, wanted, &zones, default, out);
            }
        }
        let timeless = |name: &str| !matches!(name, "VEVENT" | "VTODO" | "VJOURNAL" | "VTIMEZONE");
        for component in calendar.components.iter().filter(|c| timeless(&c.name)) {
            if let Some(wanted) = inner(&component.name) {
                self.component(bytes, component, wanted, out);
            }
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn instance(
        &self,
        bytes: &[u8],
        component: &Component,
        series: &Series,
        instance: &Instance,
        wanted: Option<&CompWanted>,
        zones: &Zones,
        default: &Zone,
        out: &mut String,
    ) {
        let stamp = |name: &str| component.property(name).and_then(|p| super::times::stamp(p, zones).ok());
        let shape = Shape::of(stamp("DTSTART").or_else(|| stamp("RECURRENCE-ID")).as_ref());
        out.push_str(&format!("BEGIN:{}\r\n", component.name));
        let asked = |name: &str| match wanted.and_then(|w| w.properties.as_ref()) {
            None => true,
            Some(list) => list.iter().any(|(wanted, _)| wanted == name),
        };
        let mut has_end = None;
        for property in &component.properties {
            match property.name.as_str() {
                "DTSTART" | "RRULE" | "RDATE" | "EXDATE" | "EXRULE" | "RECURRENCE-ID" => {}
                "DTEND" | "DUE" => has_end = Some(property.name.clone()),
                _ => self.line(bytes, property, wanted, out),
            }
        }
        if asked("DTSTART") {
            out.push_str(&shape.line("DTSTART", instance.start, instance.local, default));
        }
        if let Some(name) = has_end.filter(|name| asked(name)) {
            let local = default.to_local(instance.end);
            out.push_str(&shape.line(&name, instance.end, local, default));
        }
        if let (Some(key), true) = (instance.recurrence, asked("RECURRENCE-ID")) {
            let clock = series.clock(default);
            let master = series.master.as_ref().and_then(|(_, times)| times.start.as_ref());
            let shape = Shape::of(master.or(stamp("RECURRENCE-ID").as_ref()));
            out.push_str(&shape.line("RECURRENCE-ID", clock.to_utc(key), key, default));
        }
        self.inside(bytes, component, wanted, out);
        out.push_str(&format!("END:{}\r\n", component.name));
    }
}

/// How an expanded time is written: days stay days, floating times stay floating, all else is UTC.
#[derive(Clone, Copy)]
enum Shape {
    Day,
    Floating,
    Utc,
}

impl Shape {
    fn of(stamp: Option<&Stamp>) -> Shape {
        match stamp.map(|stamp| (stamp.written, stamp.zone.is_some())) {
            Some((Written::Date(_), _)) => Shape::Day,
            Some((Written::Local(_), false)) => Shape::Floating,
            _ => Shape::Utc,
        }
    }

    fn line(self, name: &str, utc: Civil, local: Civil, default: &Zone) -> String {
        match self {
            Shape::Day => format!("{name};VALUE=DATE:{}\r\n", nearest_day(default.to_local(utc)).basic()),
            Shape::Floating => format!("{name}:{}\r\n", local.basic()),
            Shape::Utc => format!("{name}:{}Z\r\n", utc.basic()),
        }
    }
}

/// The day whose midnight this is; around a midnight that a zone skips, the next one.
fn nearest_day(local: Civil) -> Day {
    Civil(local.0 + super::civil::DAY_S / 2).day()
}

/// Components that limit-recurrence-set keeps: masters, and overrides that touch the range by their own time or by the
/// time that they replace (RFC 4791 section 9.6.6).
fn kept_by(
    calendar: &Component,
    range: Range,
    default: &Zone,
    budget: &mut usize,
) -> Result<Vec<usize>, Bound> {
    let all = series_of(calendar).unwrap_or_default();
    let mut kept: Vec<usize> = (0..calendar.components.len()).collect();
    for series in &all {
        if series.overrides.len() > *budget {
            return Err(Bound::Instances(REPORT_INSTANCES_MAX));
        }
        *budget -= series.overrides.len();
        for (at, times) in &series.overrides {
            let id = times.recurrence_id.as_ref().map(|id| id.utc(default));
            let start = times.start.as_ref().map(|start| start.utc(default)).or(id);
            let length = times.length(default).seconds_max();
            let touches = |begin: Civil| begin < range.to && Civil(begin.0 + length.max(1)) > range.from;
            if !times.and_future && !start.is_some_and(touches) && !id.is_some_and(touches) {
                kept.retain(|place| place != at);
            }
        }
    }
    Ok(kept)
}

fn limited_freebusy(property: &Property, range: Range, out: &mut String) {
    let inside = |text: &&str| period(text).is_some_and(|(start, end)| start < range.to && end > range.from);
    let periods: Vec<&str> = property.value.split(',').filter(inside).collect();
    if periods.is_empty() {
        return;
    }
    let kind = property.parameter("FBTYPE").map(|kind| format!(";FBTYPE={kind}")).unwrap_or_default();
    fold_into(&format!("FREEBUSY{kind}:{}", periods.join(",")), out);
}

fn comp_wanted(element: &Element) -> Result<CompWanted, BadFilter> {
    let name = |element: &Element| {
        element
            .attribute("name")
            .map(|name| name.trim().to_ascii_uppercase())
            .ok_or_else(|| BadFilter::Invalid(format!("a {} has no name", element.local)))
    };
    let properties = match element.child(CALDAV, "allprop") {
        Some(_) => None,
        None => {
            let list = element
                .all(CALDAV, "prop")
                .map(|prop| Ok((name(prop)?, prop.attribute("novalue") == Some("yes"))));
            Some(list.collect::<Result<Vec<_>, BadFilter>>()?)
        }
    };
    let components = match element.child(CALDAV, "allcomp") {
        Some(_) => None,
        None => Some(element.all(CALDAV, "comp").map(comp_wanted).collect::<Result<Vec<_>, _>>()?),
    };
    Ok(CompWanted { name: name(element)?, properties, components })
}

/// The bytes as text. Only where a fold splits a character are lines folded anew: XML must be UTF-8.
pub fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            let mut out = String::with_capacity(bytes.len());
            let mut begin = 0;
            for at in 0..bytes.len() {
                let fold = matches!(bytes.get(at + 1), Some(b' ' | b'\t'));
                if bytes[at] == b'\n' && !fold || at + 1 == bytes.len() {
                    push_line(&bytes[begin..=at], &mut out);
                    begin = at + 1;
                }
            }
            Cow::Owned(out)
        }
    }
}

/// A physical line as it is, or folded anew when its folds split a character.
fn push_line(raw: &[u8], out: &mut String) {
    match std::str::from_utf8(raw) {
        Ok(text) => {
            out.push_str(text);
            if !text.ends_with('\n') {
                out.push_str("\r\n");
            }
        }
        Err(_) => fold_into(&String::from_utf8_lossy(&crate::reading::unfold(raw)), out),
    }
}

/// Writes a logical line in lines of at most 75 octets (RFC 5545 section 3.1).
pub fn fold_into(line: &str, out: &mut String) {
    let mut used = 0;
    for c in line.chars() {
        if used + c.len_utf8() > 75 {
            out.push_str("\r\n ");
            used = 1;
        }
        out.push(c);
        used += c.len_utf8();
    }
    out.push_str("\r\n");
}

#[cfg(test)]
#[path = "data_tests.rs"]
mod tests;
