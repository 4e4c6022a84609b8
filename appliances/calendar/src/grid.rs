//! Days side by side with their hours; events that overlap stand in lanes.

use dav::agenda::Occurrence;
use dav::calendar::civil::{Civil, DAY_S, Day};
use dav::pages::html::Html;

use crate::views::{WEEKDAYS, event, movable, path};

/// A quarter of an hour is a row.
const ROW_S: i64 = 900;
/// Where the grid begins when nothing is earlier (28 rows).
const NIGHT_ENDS_S: i64 = 28 * ROW_S;
/// Lanes of a column; more events at once share the last one.
const LANES: usize = 12;

/// Writes the grid of the days from `first` on.
pub fn grid(first: Day, days: i32, today: Day, found: &[Occurrence], html: &mut Html) {
    let class = if days == 1 { "one" } else { "seven" };
    // Nothing before seven: the night is not shown.
    let early = |o: &&Occurrence| !whole(o) && o.start.second_of_day() < NIGHT_ENDS_S;
    let late = if found.iter().any(|o| early(&o)) { "" } else { " late" };
    html.raw(&format!("<div class=\"grid {class}{late}\"><div class=\"corner\"></div>"));
    let each = || (0..days).map(|at| (at, Day(first.0 + at)));
    let mark = |day: Day| if day == today { " today" } else { "" };
    for (at, day) in each() {
        let name = &WEEKDAYS[day.weekday() as usize][..3];
        html.raw(&format!(
            "<div class=\"head d{at}{}\"><a href=\"/?view=day&amp;day={}\">{name} {}</a></div>",
            mark(day),
            day.iso(),
            day.ymd().2
        ));
    }
    html.raw("<div class=\"days\">all day</div>");
    for (at, day) in each() {
        html.raw(&format!("<div class=\"allday d{at}\" data-day=\"{}\">", day.iso()));
        found.iter().filter(|o| whole(o) && o.is_on(day)).for_each(|o| event(o, day, html));
        html.raw("</div>");
    }
    html.raw("<div class=\"hours\" aria-hidden=\"true\">");
    (0..24).for_each(|hour| {
        html.raw(&format!("<i>{hour:02}:00</i>"));
    });
    html.raw("</div>");
    for (at, day) in each() {
        html.raw(&format!("<div class=\"column d{at}{}\" data-day=\"{}\">", mark(day), day.iso()));
        column(day, found, html);
        html.raw("</div>");
    }
    html.raw("</div>");
}

/// Whether it stands above the hours: whole days, and what lasts a day or longer.
fn whole(o: &Occurrence) -> bool {
    o.all_day || o.end.0 - o.start.0 >= DAY_S
}

fn column(day: Day, found: &[Occurrence], html: &mut Html) {
    let on: Vec<&Occurrence> = found.iter().filter(|o| !whole(o) && o.is_on(day)).collect();
    let rows: Vec<(i64, i64)> = on.iter().map(|o| rows_of(o, day)).collect();
    for (at, (lane, lanes)) in lanes_of(&rows).into_iter().enumerate() {
        let (o, (begin, end)) = (on[at], rows[at]);
        let width = LANES / lanes;
        html.raw(&format!(
            "<a class=\"event of{} r{} e{} k{} w{width}\" href=\"",
            o.of,
            begin + 1,
            end + 1,
            lane * width + 1
        ));
        html.raw(&path(o)).raw("\" title=\"").text(&format!("{} {}", o.title, o.location));
        html.raw(&format!("\"{}><time>", movable(o, day)))
            .raw(&o.clock())
            .raw("</time>")
            .text(&o.title)
            .raw("</a>");
    }
}

/// First row and the row after the last one, of 96; half an hour is the least that can be read.
fn rows_of(o: &Occurrence, day: Day) -> (i64, i64) {
    let of_day = |at: Civil| (at.0 - day.midnight().0).clamp(0, DAY_S);
    let begin = (of_day(o.start) / ROW_S).min(94);
    let end = (of_day(o.end) + ROW_S - 1) / ROW_S;
    (begin, end.clamp(begin + 2, 96))
}

/// For each span (in order of begin) its lane and how many lanes its cluster has: spans that touch each other, directly or
/// by others, share the width.
fn lanes_of(rows: &[(i64, i64)]) -> Vec<(usize, usize)> {
    let mut out = vec![(0, 1); rows.len()];
    let mut ends: Vec<i64> = Vec::new();
    let mut cluster = 0;
    for (at, (begin, end)) in rows.iter().enumerate() {
        if ends.iter().all(|last| last <= begin) {
            ends.clear();
            cluster = at;
        }
        let free = ends.iter().position(|last| last <= begin);
        let lane = match free {
            Some(lane) => lane,
            None if ends.len() < LANES => {
                ends.push(0);
                ends.len() - 1
            }
            None => LANES - 1,
        };
        ends[lane] = *end;
        out[at].0 = lane;
        // A width that divides the column evenly: 1, 2, 3, 4, 6 or 12 lanes.
        let lanes = [1, 2, 3, 4, 6, 12].into_iter().find(|n| *n >= ends.len()).unwrap_or(LANES);
        out[cluster..=at].iter_mut().for_each(|(_, of)| *of = lanes.max(*of));
        let most = out[cluster..=at].iter().map(|(_, of)| *of).max().unwrap_or(1);
        out[cluster..=at].iter_mut().for_each(|(_, of)| *of = most);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_overlap_stand_beside_each_other() {
        assert_eq!(lanes_of(&[(0, 4), (4, 8)]), [(0, 1), (0, 1)]);
        assert_eq!(lanes_of(&[(0, 4), (2, 8), (4, 6)]), [(0, 2), (1, 2), (0, 2)]);
        assert_eq!(lanes_of(&[(0, 8), (1, 8), (2, 8), (3, 8), (4, 8)])[4], (4, 6));
        let many = vec![(0, 8); 20];
        assert!(lanes_of(&many).iter().all(|(lane, of)| *lane < 12 && *of == 12));
    }
}
