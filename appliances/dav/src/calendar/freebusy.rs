//! Free and busy: `CALDAV:free-busy-query` (RFC 4791 section 7.10), from events and VFREEBUSY components.

use super::civil::Civil;
use super::data::fold_into;
use super::occurs::{Range, period};
use super::series::{Bound, series_of};
use super::zone::Zone;
use crate::reading::Component;

/// How a time is taken (FBTYPE), strongest last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Busy {
    /// `BUSY-TENTATIVE`
    Tentative,
    /// `BUSY-UNAVAILABLE`
    Unavailable,
    /// `BUSY`
    Busy,
}

/// A time that is taken.
pub type Period = (Civil, Civil, Busy);

/// Adds the times that one calendar object takes within the range.
pub fn collect(
    calendar: &Component,
    range: Range,
    default: &Zone,
    most: usize,
    out: &mut Vec<Period>,
) -> Result<(), Bound> {
    for series in series_of(calendar).unwrap_or_default().iter().filter(|s| s.kind == "VEVENT") {
        for instance in series.instances(range.from, range.to, default, most)? {
            let component = &calendar.components[instance.component];
            let is = |name: &str, value: &str| {
                component.value(name).is_some_and(|v| v.eq_ignore_ascii_case(value))
            };
            if is("TRANSP", "TRANSPARENT") || is("STATUS", "CANCELLED") || instance.start == instance.end {
                continue;
            }
            let busy = if is("STATUS", "TENTATIVE") { Busy::Tentative } else { Busy::Busy };
            out.push((instance.start.max(range.from), instance.end.min(range.to), busy));
        }
    }
    for component in calendar.components.iter().filter(|c| c.name == "VFREEBUSY") {
        for property in component.all("FREEBUSY") {
            let busy = match property.parameter("FBTYPE").map(str::to_ascii_uppercase).as_deref() {
                Some("FREE") => continue,
                Some("BUSY-TENTATIVE") => Busy::Tentative,
                Some("BUSY-UNAVAILABLE") => Busy::Unavailable,
                _ => Busy::Busy,
            };
            for (start, end) in property.value.split(',').filter_map(period) {
                if start < range.to && end > range.from {
                    out.push((start.max(range.from), end.min(range.to), busy));
                }
            }
        }
    }
    if out.len() > most { Err(Bound::Instances(most)) } else { Ok(()) }
}

/// Puts overlapping and touching times of one kind together; a stronger kind hides a weaker one.
pub fn merged(periods: &[Period]) -> Vec<Period> {
    let mut edges: Vec<Civil> = periods.iter().flat_map(|(start, end, _)| [*start, *end]).collect();
    edges.sort_unstable();
    edges.dedup();
    let mut events: Vec<(Civil, i32, Busy)> = Vec::with_capacity(periods.len() * 2);
    for (start, end, busy) in periods {
        events.push((*start, 1, *busy));
        events.push((*end, -1, *busy));
    }
    events.sort_unstable_by_key(|(at, _, _)| *at);
    let (mut open, mut next, mut out) = ([0i32; 3], 0, Vec::<Period>::new());
    for pair in edges.windows(2) {
        while let Some((at, change, busy)) = events.get(next).filter(|(at, _, _)| *at <= pair[0]) {
            debug_assert!(*at <= pair[0]);
            open[*busy as usize] += change;
            next += 1;
        }
        let strongest =
            [Busy::Busy, Busy::Unavailable, Busy::Tentative].into_iter().find(|b| open[*b as usize] > 0);
        let Some(busy) = strongest else { continue };
        match out.last_mut() {
            Some(last) if last.1 == pair[0] && last.2 == busy => last.1 = pair[1],
            _ => out.push((pair[0], pair[1], busy)),
        }
    }
    out
}

/// The answer to a free-busy-query. `now` is DTSTAMP.
pub fn answer(periods: &[Period], range: Range, now: Civil) -> String {
    let mut out = String::from(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//nymote//calendar//EN\r\nBEGIN:VFREEBUSY\r\n",
    );
    out.push_str(&format!("DTSTAMP:{}Z\r\n", now.basic()));
    out.push_str(&format!("DTSTART:{}Z\r\nDTEND:{}Z\r\n", range.from.basic(), range.to.basic()));
    for (start, end, busy) in merged(periods) {
        let kind = match busy {
            Busy::Busy => "BUSY",
            Busy::Unavailable => "BUSY-UNAVAILABLE",
            Busy::Tentative => "BUSY-TENTATIVE",
        };
        fold_into(&format!("FREEBUSY;FBTYPE={kind}:{}Z/{}Z", start.basic(), end.basic()), &mut out);
    }
    out.push_str("END:VFREEBUSY\r\nEND:VCALENDAR\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::value::utc;

    #[test]
    fn rfc4791_7_10_busy_times_are_merged_by_kind() {
        let object = "BEGIN:VCALENDAR\n\
            BEGIN:VEVENT\nUID:1\nDTSTART:20240501T100000Z\nDTEND:20240501T120000Z\nRRULE:FREQ=DAILY\nEND:VEVENT\n\
            BEGIN:VEVENT\nUID:2\nSTATUS:TENTATIVE\nDTSTART:20240501T110000Z\nDTEND:20240501T130000Z\nEND:VEVENT\n\
            BEGIN:VEVENT\nUID:3\nTRANSP:TRANSPARENT\nDTSTART:20240501T140000Z\nDTEND:20240501T150000Z\nEND:VEVENT\n\
            BEGIN:VEVENT\nUID:4\nSTATUS:CANCELLED\nDTSTART:20240501T140000Z\nDTEND:20240501T150000Z\nEND:VEVENT\n\
            BEGIN:VFREEBUSY\nFREEBUSY;FBTYPE=BUSY-UNAVAILABLE:20240501T220000Z/PT4H\nFREEBUSY;FBTYPE=FREE:20240501T030000Z/PT1H\nEND:VFREEBUSY\n\
            END:VCALENDAR\n";
        let calendar = crate::reading::read(object.as_bytes()).unwrap().remove(0);
        let range = Range { from: utc("20240501T103000Z").unwrap(), to: utc("20240502T000000Z").unwrap() };
        let mut periods = Vec::new();
        collect(&calendar, range, &Zone::UTC, 100, &mut periods).unwrap();
        let text = answer(&periods, range, range.from);
        let lines: Vec<&str> = text.lines().filter(|l| l.starts_with("FREEBUSY")).collect();
        assert_eq!(
            lines,
            [
                "FREEBUSY;FBTYPE=BUSY:20240501T103000Z/20240501T120000Z",
                "FREEBUSY;FBTYPE=BUSY-TENTATIVE:20240501T120000Z/20240501T130000Z",
                "FREEBUSY;FBTYPE=BUSY-UNAVAILABLE:20240501T220000Z/20240502T000000Z"
            ]
        );
    }
}
