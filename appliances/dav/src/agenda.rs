//! What takes place when, over all calendars of an account: for pages and commands.

use crate::calendar::civil::{Civil, DAY_S, Day};
use crate::calendar::occurs::Range;
use crate::calendar::series::series_of;
use crate::calendar::zone::Zone;
use crate::household::Household;
use crate::household::properties::Kind;
use crate::household::summary::ObjectKind;
use crate::household::view::{Collection, View};
use crate::limits::INSTANCES_MAX;
use crate::reading::read;

/// One time of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Occurrence {
    /// The calendar's stored path.
    pub calendar: String,
    /// Its colour, `#RRGGBB`.
    pub color: String,
    /// The object's name.
    pub name: String,
    /// SUMMARY.
    pub title: String,
    /// LOCATION.
    pub location: String,
    /// Start on the clock that was asked for.
    pub start: Civil,
    /// End on that clock.
    pub end: Civil,
    /// Whether it is of whole days.
    pub all_day: bool,
    /// Whether it repeats.
    pub recurs: bool,
}

/// The zone of an account: that of its first calendar that has one, else UTC.
pub fn zone_of(view: &View) -> Zone {
    let zones = view.collections.values().filter_map(|c| {
        let by_id = c.properties.timezone_id.as_deref().and_then(Zone::by_tzid);
        by_id.or_else(|| c.properties.timezone.as_deref().and_then(crate::server::zone_of_text))
    });
    zones.into_iter().next().unwrap_or(Zone::UTC)
}

/// Everything between two days (the second is not part of it), in order; at most `most`.
pub fn between(
    household: &Household,
    account: &str,
    from: Day,
    to: Day,
    most: usize,
) -> store::Result<Vec<Occurrence>> {
    let view = household.view(account)?;
    let zone = zone_of(&view);
    let range = Range { from: zone.to_utc(from.midnight()), to: zone.to_utc(to.midnight()) };
    let mut out = Vec::new();
    for collection in view.collections.values().filter(|c| c.properties.kind == Kind::Calendar) {
        of_calendar(&view, collection, range, &zone, &mut out)?;
    }
    for (owner, collection, _) in household.shared_with(account) {
        if collection.properties.kind == Kind::Calendar {
            of_calendar(&*household.view(&owner)?, &collection, range, &zone, &mut out)?;
        }
    }
    out.sort_by(|a, b| (a.start, !a.all_day, &a.title).cmp(&(b.start, !b.all_day, &b.title)));
    out.truncate(most);
    Ok(out)
}

fn of_calendar(
    view: &View,
    collection: &Collection,
    range: Range,
    zone: &Zone,
    out: &mut Vec<Occurrence>,
) -> store::Result<()> {
    let color = collection.properties.color.as_deref().and_then(|c| c.get(..7)).unwrap_or("#2E6FBA");
    for (name, member) in collection.members() {
        if member.summary.kind != ObjectKind::Event || !member.summary.may_occur(range) {
            continue;
        }
        let bytes = view.read(collection, name, member)?;
        let Some(calendar) = read(&bytes).ok().and_then(|all| all.into_iter().next()) else { continue };
        for series in series_of(&calendar).unwrap_or_default() {
            let Ok(instances) = series.instances(range.from, range.to, zone, INSTANCES_MAX) else { continue };
            for instance in instances {
                let component = &calendar.components[instance.component];
                let all_day = component.value("DTSTART").is_some_and(|start| start.len() == 8);
                out.push(Occurrence {
                    calendar: collection.path.clone(),
                    color: color.to_string(),
                    name: name.to_string(),
                    title: component
                        .text("SUMMARY")
                        .filter(|t| !t.is_empty())
                        .unwrap_or_else(|| "(no title)".into()),
                    location: component.text("LOCATION").unwrap_or_default(),
                    start: zone.to_local(instance.start),
                    end: zone.to_local(instance.end),
                    all_day,
                    recurs: series.recurs(),
                });
            }
        }
    }
    Ok(())
}

impl Occurrence {
    /// Whether it touches a day.
    pub fn is_on(&self, day: Day) -> bool {
        let (begin, end) = (day.midnight(), Civil(day.midnight().0 + DAY_S));
        if self.start == self.end {
            self.start >= begin && self.start < end
        } else {
            self.start < end && self.end > begin
        }
    }

    /// `09:00`, or nothing for a whole day.
    pub fn clock(&self) -> String {
        if self.all_day {
            return String::new();
        }
        let (hour, minute, _) = self.start.hms();
        format!("{hour:02}:{minute:02}")
    }
}
