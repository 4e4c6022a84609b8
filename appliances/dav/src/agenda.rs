//! What takes place when, over all calendars of an account: for pages and commands.

use std::sync::Arc;

use crate::calendar::civil::{Civil, DAY_S, Day};
use crate::calendar::occurs::Range;
use crate::calendar::series::series_of;
use crate::calendar::zone::Zone;
use crate::household::Household;
use crate::household::properties::{Kind, Share};
use crate::household::summary::ObjectKind;
use crate::household::view::{Collection, View};
use crate::limits::INSTANCES_MAX;
use crate::reading::read;

/// One time of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Occurrence {
    /// The calendar's path as the account sees it; what others share is `owner~calendar`.
    pub calendar: String,
    /// The place of its calendar in [`calendars`].
    pub of: usize,
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
    /// Which instance it is, as RECURRENCE-ID says it on the series' own clock; empty when it does not repeat.
    pub key: String,
    /// Whether the account may change it.
    pub writable: bool,
}

/// The colour of a calendar that has none.
pub const USUAL_COLOUR: &str = "#2E6FBA";

/// The calendars that an account sees, its own first: owner and calendar.
pub fn calendars(
    household: &Household,
    account: &str,
) -> store::Result<Vec<(String, Arc<View>, Arc<Collection>)>> {
    let view = household.view(account)?;
    let is_calendar = |c: &Arc<Collection>| c.properties.kind == Kind::Calendar;
    let own = view.collections.values().filter(|c| is_calendar(c));
    let mut out: Vec<_> = own.map(|c| (account.to_string(), view.clone(), c.clone())).collect();
    for (owner, collection, _) in
        household.shared_with(account).into_iter().filter(|(_, c, _)| is_calendar(c))
    {
        out.push((owner.clone(), household.view(&owner)?, collection));
    }
    Ok(out)
}

/// A collection's colour as CSS writes it.
pub fn colour(collection: &Collection) -> &str {
    let own = collection.properties.color.as_deref().and_then(|c| c.get(..7));
    let is_colour = |c: &&str| c.starts_with('#') && c[1..].bytes().all(|b| b.is_ascii_hexdigit());
    own.filter(is_colour).unwrap_or(USUAL_COLOUR)
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
    for (of, (owner, view, collection)) in calendars(household, account)?.iter().enumerate() {
        let path = match owner == account {
            true => collection.path.clone(),
            false => crate::server::mount_name(owner, collection),
        };
        let writable =
            owner == account || collection.properties.shares.get(account) == Some(&Share::ReadWrite);
        of_calendar(view, collection, (of, &path, writable), range, &zone, &mut out)?;
    }
    out.sort_by(|a, b| (a.start, !a.all_day, &a.title).cmp(&(b.start, !b.all_day, &b.title)));
    out.truncate(most);
    Ok(out)
}

fn of_calendar(
    view: &View,
    collection: &Collection,
    (of, path, writable): (usize, &str, bool),
    range: Range,
    zone: &Zone,
    out: &mut Vec<Occurrence>,
) -> store::Result<()> {
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
                    calendar: path.to_string(),
                    of,
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
                    key: instance.recurrence.map(Civil::basic).unwrap_or_default(),
                    writable,
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
