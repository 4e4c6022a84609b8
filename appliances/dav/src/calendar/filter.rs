//! `CALDAV:filter`: read from XML, asked of a calendar object (RFC 4791 section 9.7).
//!
//! More lenient than the RFC in one point that clients rely on: a prop-filter or time-range directly under VCALENDAR, where
//! the property is none of VCALENDAR's own, is asked of every component inside.

use super::civil::Civil;
use super::occurs::{self, Range};
use super::series::{Series, series_of};
use super::times::Zones;
use super::value;
use super::zone::Zone;
use crate::reading::{Component, Property};
use crate::text_match::{BadFilter, Collation, TextMatch};
use crate::xml::CALDAV;
use crate::xml::read::Element;

/// A comp-filter with all that is in it.
#[derive(Clone, PartialEq, Debug)]
pub struct CompFilter {
    /// The component's name in upper case.
    pub name: String,
    /// `is-not-defined`
    pub not_defined: bool,
    /// `time-range`
    pub range: Option<Range>,
    /// prop-filters, all of which must hold.
    pub properties: Vec<PropFilter>,
    /// comp-filters, all of which must hold.
    pub components: Vec<CompFilter>,
}

/// A prop-filter.
#[derive(Clone, PartialEq, Debug)]
pub struct PropFilter {
    name: String,
    not_defined: bool,
    range: Option<Range>,
    text: Option<TextMatch>,
    parameters: Vec<ParamFilter>,
}

#[derive(Clone, PartialEq, Debug)]
struct ParamFilter {
    name: String,
    not_defined: bool,
    text: Option<TextMatch>,
}

impl CompFilter {
    /// Reads a `CALDAV:filter` element.
    pub fn of(filter: &Element) -> Result<CompFilter, BadFilter> {
        let mut inside = filter.all(CALDAV, "comp-filter");
        let root = inside.next().ok_or_else(|| BadFilter::Invalid("there is no comp-filter".into()))?;
        if inside.next().is_some() {
            return Err(BadFilter::Invalid("there is more than one comp-filter at the top".into()));
        }
        let root = comp_filter(root)?;
        if root.name != "VCALENDAR" {
            return Err(BadFilter::Invalid(format!(
                "the outermost comp-filter is {:?}, not VCALENDAR",
                root.name
            )));
        }
        Ok(root)
    }

    /// Whether a VCALENDAR matches; floating times and days are read in `default`.
    pub fn matches(&self, calendar: &Component, default: &Zone) -> bool {
        if self.not_defined {
            return false;
        }
        let question = Question { calendar, default, zones: Zones::of(calendar) };
        let children = || calendar.components.iter().filter(|c| c.name != "VTIMEZONE");
        let series = if self.asks_time() { series_of(calendar).unwrap_or_default() } else { Vec::new() };
        if let Some(range) = self.range
            && !children().any(|c| question.occurs(&series, c, range, &|_| true))
        {
            return false;
        }
        let property = |filter: &PropFilter| {
            if is_own_property(&filter.name) || calendar.property(&filter.name).is_some() {
                return question.property(filter, calendar);
            }
            if filter.not_defined {
                return children().all(|c| question.property(filter, c));
            }
            children().any(|c| question.property(filter, c))
        };
        self.properties.iter().all(property) && self.components.iter().all(|f| question.component(f, &series))
    }

    /// The one component type that a match must have, when the filter says so: lets an index answer.
    pub fn only_type(&self) -> Option<&str> {
        match self.components.as_slice() {
            [one] if !one.not_defined => Some(&one.name),
            _ => None,
        }
    }

    /// The range in which a match must have an instance, when the filter says so.
    pub fn only_range(&self) -> Option<Range> {
        match self.components.as_slice() {
            [one] if !one.not_defined => one.range.or(self.range),
            _ => self.range,
        }
    }

    /// Whether type and range say everything that the filter asks.
    pub fn is_plain(&self) -> bool {
        let bare = |f: &CompFilter| f.properties.is_empty() && f.components.is_empty();
        self.properties.is_empty()
            && match self.components.as_slice() {
                [] => true,
                [one] => !one.not_defined && bare(one),
                _ => false,
            }
    }

    fn asks_time(&self) -> bool {
        self.range.is_some() || self.components.iter().any(CompFilter::asks_time)
    }
}

/// One object being asked.
struct Question<'a> {
    calendar: &'a Component,
    default: &'a Zone,
    zones: Zones,
}

impl Question<'_> {
    fn component(&self, filter: &CompFilter, series: &[Series]) -> bool {
        let of_name = || self.calendar.components.iter().filter(|c| c.name == filter.name);
        if filter.not_defined {
            return of_name().next().is_none();
        }
        let rest = |component: &Component| {
            filter.properties.iter().all(|f| self.property(f, component))
                && filter.components.iter().all(|f| self.inner(f, component, series))
        };
        match filter.range {
            None => of_name().any(rest),
            Some(range) => of_name().any(|c| self.occurs(series, c, range, &rest)),
        }
    }

    /// Whether the component, by itself or by one of its instances, is in the range and the component of that instance
    /// satisfies `rest`.
    fn occurs(
        &self,
        series: &[Series],
        component: &Component,
        range: Range,
        rest: &dyn Fn(&Component) -> bool,
    ) -> bool {
        occurs::component_occurs(self.calendar, series, component, range, self.default, &self.zones, rest)
    }

    /// A comp-filter inside VEVENT, VTODO…: alarms, or anything by name.
    fn inner(&self, filter: &CompFilter, parent: &Component, series: &[Series]) -> bool {
        let mut of_name = parent.components.iter().filter(|c| c.name == filter.name);
        if filter.not_defined {
            return of_name.next().is_none();
        }
        of_name.any(|component| {
            filter.properties.iter().all(|f| self.property(f, component))
                && filter.components.iter().all(|f| self.inner(f, component, series))
                && filter.range.is_none_or(|range| {
                    component.name == "VALARM"
                        && occurs::alarm_occurs(
                            self.calendar,
                            series,
                            parent,
                            component,
                            range,
                            self.default,
                            &self.zones,
                        )
                })
        })
    }

    fn property(&self, filter: &PropFilter, component: &Component) -> bool {
        let mut of_name = component.all(&filter.name);
        if filter.not_defined {
            return of_name.next().is_none();
        }
        of_name.any(|property| {
            filter.text.as_ref().is_none_or(|text| text.matches(&property.text()))
                && filter.range.is_none_or(|range| self.in_range(property, range))
                && filter.parameters.iter().all(|f| f.matches(property))
        })
    }

    fn in_range(&self, property: &Property, range: Range) -> bool {
        match super::times::stamp(property, &self.zones) {
            Ok(stamp) if stamp.is_date() => {
                let start = stamp.utc(self.default);
                range.from < Civil(start.0 + super::civil::DAY_S) && range.to > start
            }
            Ok(stamp) => (range.from..range.to).contains(&stamp.utc(self.default)),
            Err(_) => false,
        }
    }
}

impl ParamFilter {
    fn matches(&self, property: &Property) -> bool {
        let mut of_name = property.parameters.iter().filter(|parameter| parameter.name == self.name);
        if self.not_defined {
            return of_name.next().is_none();
        }
        of_name.any(|parameter| {
            self.text.as_ref().is_none_or(|text| parameter.values.iter().any(|value| text.matches(value)))
        })
    }
}

/// Reads `time-range`; a side that is not said is open.
pub fn time_range(element: &Element) -> Result<Range, BadFilter> {
    let side = |name| match element.attribute(name) {
        None => Ok(None),
        Some(text) => value::utc(text)
            .map(Some)
            .ok_or_else(|| BadFilter::Invalid(format!("{name}={text:?} is no time in UTC"))),
    };
    let (from, to) = (side("start")?, side("end")?);
    if from.is_none() && to.is_none() {
        return Err(BadFilter::Invalid("a time-range has neither start nor end".into()));
    }
    let range = Range { from: from.unwrap_or(Range::ALL.from), to: to.unwrap_or(Range::ALL.to) };
    if range.from >= range.to {
        return Err(BadFilter::Invalid("a time-range ends before it starts".into()));
    }
    Ok(range)
}

fn comp_filter(element: &Element) -> Result<CompFilter, BadFilter> {
    let range = element.child(CALDAV, "time-range").map(time_range).transpose()?;
    let name = name_of(element)?;
    if range.is_some() && !TIMED.contains(&name.as_str()) {
        return Err(BadFilter::Invalid(format!("{name} has no time-range")));
    }
    Ok(CompFilter {
        name,
        not_defined: element.child(CALDAV, "is-not-defined").is_some(),
        range,
        properties: element.all(CALDAV, "prop-filter").map(prop_filter).collect::<Result<_, _>>()?,
        components: element.all(CALDAV, "comp-filter").map(comp_filter).collect::<Result<_, _>>()?,
    })
}

fn prop_filter(element: &Element) -> Result<PropFilter, BadFilter> {
    let text = element.child(CALDAV, "text-match");
    let parameters = element.all(CALDAV, "param-filter").map(|parameter| {
        let text = parameter.child(CALDAV, "text-match");
        Ok(ParamFilter {
            name: name_of(parameter)?,
            not_defined: parameter.child(CALDAV, "is-not-defined").is_some(),
            text: text.map(|text| TextMatch::of(text, Collation::AsciiCasemap)).transpose()?,
        })
    });
    Ok(PropFilter {
        name: name_of(element)?,
        not_defined: element.child(CALDAV, "is-not-defined").is_some(),
        range: element.child(CALDAV, "time-range").map(time_range).transpose()?,
        text: text.map(|text| TextMatch::of(text, Collation::AsciiCasemap)).transpose()?,
        parameters: parameters.collect::<Result<_, _>>()?,
    })
}

fn name_of(element: &Element) -> Result<String, BadFilter> {
    let name = element.attribute("name").map(|name| name.trim().to_ascii_uppercase());
    name.filter(|name| !name.is_empty())
        .ok_or_else(|| BadFilter::Invalid(format!("a {} has no name", element.local)))
}

/// Components with a row in RFC 4791 section 9.9's tables; VCALENDAR stands for all of them.
const TIMED: [&str; 6] = ["VCALENDAR", "VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY", "VALARM"];

fn is_own_property(name: &str) -> bool {
    matches!(name, "VERSION" | "PRODID" | "CALSCALE" | "METHOD")
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
