//! The calendar as month, week, day and agenda.

use chassis::http::{Answer, Request};
use dav::agenda::{Occurrence, between};
use dav::calendar::civil::{Civil, Day};
use dav::calendar::words::MONTHS;
use dav::http::Site;
use dav::pages::broken;
use dav::pages::html::Html;
use dav::path::encode;

use crate::ABOUT;

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
/// Occurrences shown on one page.
const SHOWN_MAX: usize = 2_000;

pub async fn page(site: &Site, request: &Request) -> Answer {
    let visitor = site.chassis.require(request).await?;
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
        _ => week((first, last), &found, &mut html),
    }
    let mut page = ABOUT.page("Calendar", "/");
    page.wide = view != "agenda";
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
    let title = match view {
        "day" => {
            format!("{}, {of_month} {} {year}", WEEKDAYS[day.weekday() as usize], MONTHS[month as usize - 1])
        }
        _ => format!("{} {year}", MONTHS[month as usize - 1]),
    };
    html.raw("<div class=\"bar\"><h1>").text(&title).raw("</h1>");
    for (words, to) in [("← Earlier", before), ("Today", today), ("Later →", after)] {
        html.raw(&format!("<a href=\"/?view={view}&amp;day={}\">{words}</a>", to.iso()));
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
    html.raw(&format!("<a href=\"/event/new?day={}\" accesskey=\"n\">New event</a></div>", day.iso()));
}

fn month(day: Day, (first, last): (Day, Day), today: Day, found: &[Occurrence], html: &mut Html) {
    html.raw("<div class=\"month\">");
    WEEKDAYS.iter().for_each(|name| {
        html.raw("<b>").raw(name).raw("</b>");
    });
    let (_, this_month, _) = day.ymd();
    for number in first.0..last.0 {
        let one = Day(number);
        let (_, month, of_month) = one.ymd();
        let on: Vec<&Occurrence> = found.iter().filter(|o| o.is_on(one)).collect();
        let other = if month == this_month { "" } else { " other" };
        let now = if one == today { " today" } else { "" };
        let empty = if on.is_empty() { " empty" } else { "" };
        html.raw(&format!("<div class=\"day{other}{now}{empty}\"><a class=\"number\" href=\"/?view=day&amp;day={}\" aria-label=\"{} {of_month} {}\">{of_month}</a>", one.iso(), WEEKDAYS[one.weekday() as usize], MONTHS[month as usize - 1]));
        on.iter().take(6).for_each(|o| event(o, html));
        if on.len() > 6 {
            html.raw(&format!(
                "<a class=\"event\" href=\"/?view=day&amp;day={}\">{} more</a>",
                one.iso(),
                on.len() - 6
            ));
        }
        html.raw("</div>");
    }
    html.raw("</div>");
}

fn week((first, last): (Day, Day), found: &[Occurrence], html: &mut Html) {
    html.raw(if last.0 - first.0 > 1 { "<div class=\"week\">" } else { "<div>" });
    for number in first.0..last.0 {
        let one = Day(number);
        let (_, month, of_month) = one.ymd();
        html.raw(&format!(
            "<section><h2>{} {of_month} {}</h2>",
            &WEEKDAYS[one.weekday() as usize][..3],
            &MONTHS[month as usize - 1][..3]
        ));
        let on: Vec<&Occurrence> = found.iter().filter(|o| o.is_on(one)).collect();
        if on.is_empty() {
            html.raw("<p class=\"quiet\">Nothing</p>");
        }
        on.iter().for_each(|o| event(o, html));
        html.raw("</section>");
    }
    html.raw("</div>");
}

fn agenda(found: &[Occurrence], html: &mut Html) {
    if found.is_empty() {
        html.raw("<p class=\"empty\">Nothing in the next 90 days.</p>");
        return;
    }
    html.raw("<ul class=\"list\">");
    for o in found {
        let (_, month, of_month) = o.start.day().ymd();
        html.raw("<li><div>").text(&format!(
            "{} {of_month} {} {}",
            &WEEKDAYS[o.start.day().weekday() as usize][..3],
            &MONTHS[month as usize - 1][..3],
            o.clock()
        ));
        html.raw("</div><div><a href=\"")
            .raw(&path(o))
            .raw("\">")
            .text(&o.title)
            .raw("</a> <span class=\"quiet\">")
            .text(&o.location)
            .raw("</span></div></li>");
    }
    html.raw("</ul>");
}

fn event(o: &Occurrence, html: &mut Html) {
    html.raw("<a class=\"event\" href=\"")
        .raw(&path(o))
        .raw("\" title=\"")
        .text(&format!("{} {} {}", o.clock(), o.title, o.location))
        .raw("\">");
    if !o.all_day {
        html.raw("<time>").raw(&o.clock()).raw("</time>");
    }
    html.text(&o.title).raw(if o.recurs { " ↻</a>" } else { "</a>" });
}

fn path(o: &Occurrence) -> String {
    format!("/event/{}/{}", encode(&o.calendar), encode(&o.name))
}
