//! The calendar as month, week, day and agenda.

use chassis::http::{Answer, Request};
use dav::agenda::{Occurrence, between, calendars};
use dav::calendar::civil::{Civil, Day};
use dav::calendar::words::MONTHS;
use dav::http::Site;
use dav::pages::broken;
use dav::pages::html::Html;
use dav::pages::object::page_of;

use crate::ABOUT;
use crate::grid::grid;

pub const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
/// Occurrences shown on one page.
const SHOWN_MAX: usize = 2_000;
/// Events that a day of the month shows; the rest is behind a link.
const OF_DAY_MAX: usize = 5;

pub async fn page(site: Site, request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    let account = &visitor.account().user;
    site.household().prepare(account).await.map_err(broken)?;
    let form = request.query_form();
    let zone = dav::agenda::zone_of(&*site.household().view(account).map_err(broken)?);
    let today = zone.to_local(Civil((chassis::clock::now_ms() / 1000) as i64)).day();
    let day = Day::parse_iso(form.text("day")).unwrap_or(today);
    let view = match form.text("view") {
        one @ ("week" | "day" | "agenda") => one,
        _ => "month",
    };
    let (first, last, before, after) = span(view, day);
    let found = between(site.household(), account, first, last, SHOWN_MAX).map_err(broken)?;
    let mut html = Html::default();
    bar(view, day, today, (before, after), &mut html);
    match view {
        "month" => month(day, (first, last), today, &found, &mut html),
        "agenda" => agenda(&found, &mut html),
        _ => grid(first, last.0 - first.0, today, &found, &mut html),
    }
    let all = calendars(site.household(), account).map_err(broken)?;
    if all.len() > 1 {
        html.raw("<p class=\"quiet\">");
        for (at, (owner, _, collection)) in all.iter().enumerate() {
            let whose = if owner == account { String::new() } else { format!(" ({owner})") };
            html.raw(&format!("<span class=\"dot of{at}\"></span>"))
                .text(&format!("{}{whose}", collection.display_name()))
                .raw(" &nbsp; ");
        }
        html.raw("</p>");
    }
    let mut page = ABOUT.page("Calendar", "/");
    page.wide = view != "agenda";
    if page.wide {
        // Filled in and sent by move.js; without it events are moved on their own page.
        html.form("/", &visitor.csrf(), "mover");
        for (name, value) in [("view", view), ("day", &day.iso()), ("at", ""), ("days", ""), ("minutes", "")]
        {
            html.raw(&format!("<input type=\"hidden\" name=\"{name}\" value=\"{value}\">"));
        }
        html.raw("</form>");
        page.scripts = &["move.js"];
    }
    site.chassis.page_of_html(Some(&visitor), &page, &html.0)
}

/// First day, last day (not part of it), and the days to go back and on to.
fn span(view: &str, day: Day) -> (Day, Day, Day, Day) {
    match view {
        "week" => {
            let first = day.week_begin(0);
            (first, Day(first.0 + 7), Day(day.0 - 7), Day(day.0 + 7))
        }
        "day" => (day, Day(day.0 + 1), Day(day.0 - 1), Day(day.0 + 1)),
        "agenda" => (day, Day(day.0 + 90), Day(day.0 - 90), Day(day.0 + 90)),
        _ => {
            let (_, _, of_month) = day.ymd();
            let begin = Day(day.0 - of_month as i32 + 1);
            let first = begin.week_begin(0);
            let end = begin.add_months(1);
            let last = Day(Day(end.0 - 1).week_begin(0).0 + 7);
            (first, last, begin.add_months(-1), end)
        }
    }
}

fn bar(view: &str, day: Day, today: Day, (before, after): (Day, Day), html: &mut Html) {
    let (year, month, of_month) = day.ymd();
    let month = MONTHS[month as usize - 1];
    let title = match view {
        "day" => format!("{}, {of_month} {month} {year}", WEEKDAYS[day.weekday() as usize]),
        _ => format!("{month} {year}"),
    };
    html.raw("<div class=\"bar\"><h1>").text(&title).raw("</h1>");
    for (words, label, to) in [("‹", "Earlier", before), ("Today", "Today", today), ("›", "Later", after)]
    {
        html.raw(&format!(
            "<a href=\"/?view={view}&amp;day={}\" aria-label=\"{label}\">{words}</a>",
            to.iso()
        ));
    }
    for one in ["month", "week", "day", "agenda"] {
        let mark = if one == view { " aria-current=\"page\"" } else { "" };
        html.raw(&format!(
            "<a href=\"/?view={one}&amp;day={}\"{mark}>{}{}</a>",
            day.iso(),
            one[..1].to_uppercase(),
            &one[1..]
        ));
    }
    html.raw(&format!(
        "<a class=\"button\" href=\"/event/new?day={}\" accesskey=\"n\">New event</a></div>",
        day.iso()
    ));
}

fn month(day: Day, (first, last): (Day, Day), today: Day, found: &[Occurrence], html: &mut Html) {
    html.raw("<div class=\"month\">");
    WEEKDAYS.iter().for_each(|name| {
        html.raw("<b>").raw(&name[..3]).raw("</b>");
    });
    let (_, this_month, _) = day.ymd();
    for number in first.0..last.0 {
        let one = Day(number);
        let (_, month, of_month) = one.ymd();
        let on: Vec<&Occurrence> = found.iter().filter(|o| o.is_on(one)).collect();
        let classes: String = [
            (month != this_month, " other"),
            (one == today, " today"),
            (on.is_empty(), " free"),
            (one.weekday() > 4, " weekend"),
        ]
        .iter()
        .filter(|(yes, _)| *yes)
        .map(|(_, class)| *class)
        .collect();
        html.raw(&format!(
            "<div class=\"day{classes}\" data-day=\"{}\"><a class=\"number\" href=\"/?view=day&amp;day={}\" aria-label=\"{} {of_month} {}\">{of_month}</a>",
            one.iso(),
            one.iso(),
            WEEKDAYS[one.weekday() as usize],
            MONTHS[month as usize - 1]
        ));
        on.iter().take(OF_DAY_MAX).for_each(|o| event(o, one, html));
        if on.len() > OF_DAY_MAX {
            html.raw(&format!(
                "<a class=\"event more\" href=\"/?view=day&amp;day={}\">{} more</a>",
                one.iso(),
                on.len() - OF_DAY_MAX
            ));
        }
        html.raw("</div>");
    }
    html.raw("</div>");
}

fn agenda(found: &[Occurrence], html: &mut Html) {
    if found.is_empty() {
        html.raw("<p class=\"empty\">Nothing in the next 90 days.</p>");
        return;
    }
    html.raw("<div class=\"agenda\">");
    let mut day = None;
    for o in found {
        if day != Some(o.start.day()) {
            day = Some(o.start.day());
            let (_, month, of_month) = o.start.day().ymd();
            html.raw("<h2>").text(&format!(
                "{}, {of_month} {}",
                WEEKDAYS[o.start.day().weekday() as usize],
                MONTHS[month as usize - 1]
            ));
            html.raw("</h2>");
        }
        let clock = if o.all_day { "all day".to_string() } else { o.clock() };
        html.raw(&format!("<a class=\"event of{}{}\" href=\"", o.of, if o.all_day { " whole" } else { "" }));
        html.raw(&path(o)).raw("\"><time>").raw(&clock).raw("</time><div>").text(&o.title);
        html.raw(" <span>").text(&o.location).raw("</span></div></a>");
    }
    html.raw("</div>");
}

/// What a script must know to move an event that is drawn on a day.
pub fn movable(o: &Occurrence, day: Day) -> String {
    if o.writable { format!(" draggable=\"true\" data-day=\"{}\"", day.iso()) } else { String::new() }
}

/// An event as a link of one line, on a day.
pub fn event(o: &Occurrence, day: Day, html: &mut Html) {
    html.raw(&format!("<a class=\"event of{}{}\" href=\"", o.of, if o.all_day { " whole" } else { "" }));
    html.raw(&path(o))
        .raw("\" title=\"")
        .text(&format!("{} {} {}", o.clock(), o.title, o.location))
        .raw(&format!("\"{}>", movable(o, day)));
    if !o.all_day {
        html.raw("<time>").raw(&o.clock()).raw("</time>");
    }
    html.text(&o.title).raw(if o.recurs { " ↻</a>" } else { "</a>" });
}

/// Where an event is shown and edited; of a series, this instance. What others share is looked at as a file.
pub fn path(o: &Occurrence) -> String {
    let at = if o.key.is_empty() { String::new() } else { format!("?at={}", o.key) };
    page_of("event", &o.calendar, &o.name) + &at
}
