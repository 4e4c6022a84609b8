//! The pages of an event: make, change, move, delete; the whole series or one instance of it.

use chassis::http::{Answer, Fault, Form, Request, see_other};
use dav::agenda::zone_of;
use dav::calendar::civil::{Civil, DAY_S, Day};
use dav::calendar::timezones::{ZonesWanted, applied_to};
use dav::calendar::words::MONTHS;
use dav::household::properties::Kind;
use dav::http::Site;
use dav::pages::html::Html;
use dav::pages::object::{self, Object};
use dav::pages::{broken, caller, fault};
use dav::path::encode;
use dav::reading::read;

use crate::ABOUT;
use crate::form::{Shown, edited, form_of};
use crate::instance::{self, Found, master_of};
use crate::split;
use crate::views::WEEKDAYS;

/// The next times of a series that its page lists.
const NEXT_SHOWN: usize = 6;

pub async fn new(site: Site, request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    let view = site.household().view(&visitor.account().user).map_err(broken)?;
    let zone = zone_of(&view);
    let now = zone.to_local(Civil((chassis::clock::now_ms() / 1000) as i64));
    let day = Day::parse_iso(request.query_form().text("day")).unwrap_or(now.day());
    let mut shown = Shown { zone: zone.name().unwrap_or("UTC").into(), ..Shown::default() };
    shown.set_times(Civil::new(day, 9 * 3600), Civil::new(day, 10 * 3600));
    let mut html = Html::default();
    html.raw("<h1>New event</h1>").form("/event/new", &visitor.csrf(), "");
    let calendars: Vec<(String, String)> = view
        .collections
        .values()
        .filter(|c| c.properties.kind == Kind::Calendar)
        .map(|c| (c.path.clone(), c.display_name()))
        .collect();
    html.select("Calendar", "calendar", &calendars, "");
    shown.fields(true, &mut html);
    html.raw("<button>Save</button></form>");
    site.chassis.page_of_html(Some(&visitor), &ABOUT.page("New event", "/"), &html.0)
}

pub async fn create(site: Site, mut request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    let form = site.chassis.form(&mut request, &visitor).await?;
    let uid = chassis::accounts::new_token::<15>();
    let stamp = Civil((chassis::clock::now_ms() / 1000) as i64).basic();
    let fresh = format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//nymote//calendar//EN\r\nBEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:{stamp}Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    );
    let bytes = edited(fresh.as_bytes(), 0, &form, true)?;
    let names = [form.text("calendar").to_string(), format!("{uid}.ics")];
    object::put(&site, &visitor, &request, &names, None, with_zones(&bytes)).await?;
    Ok(to_day(&form))
}

/// Programs that know no tzdata want every zone defined in the object.
fn with_zones(bytes: &[u8]) -> Vec<u8> {
    applied_to(bytes, ZonesWanted::Defined).into_bytes()
}

fn to_day(form: &Form) -> chassis::http::Response {
    let day = form.text("start").get(..10).unwrap_or_default();
    see_other(&format!("/?view=month&day={}", encode(day)))
}

fn names_of(request: &Request) -> [String; 2] {
    object::names_of(request, "calendar")
}

/// The instance that the query or form names, if it names one.
fn instance_of(object: &Object, key: &str) -> Option<Found> {
    (!key.is_empty()).then(|| instance::find(&object.bytes, key, &zone_of(&object.at.view)))?
}

pub async fn show(site: Site, request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    let object = Object::open(&site, &visitor, names_of(&request))?;
    let key = request.query_form().text("at").to_string();
    let found = instance_of(&object, &key);
    let master = shown_master(&object.bytes)
        .ok_or_else(|| Fault::bad_request("This object has no event that can be shown."))?;
    let shown = found.as_ref().and_then(Found::shown).unwrap_or_else(|| master.clone());
    let at = object::page_of("event", &object.names[0], &object.names[1]);
    let csrf = visitor.csrf();
    let mut html = Html::default();
    html.raw("<h1>").text(&shown.title).raw("</h1>");
    if !object.is_writable() {
        html.raw("<p class=\"note\">").text(&object.at.owner).raw(" shares this with you for reading.</p>");
    }
    repeats(&object, &master, &mut html);
    html.form(&at, &csrf, "");
    html.raw("<input type=\"hidden\" name=\"etag\" value=\"").text(&object.etag()).raw("\">");
    if found.is_some() {
        html.raw("<input type=\"hidden\" name=\"at\" value=\"").text(&key).raw("\">");
        html.raw("<fieldset class=\"scope\"><label><input type=\"radio\" name=\"scope\" value=\"one\" checked> Change this one only</label>");
        html.raw("<label><input type=\"radio\" name=\"scope\" value=\"following\"> Change this one and all that follow</label>");
        html.raw("<label><input type=\"radio\" name=\"scope\" value=\"all\"> Change the whole series</label></fieldset>");
    }
    shown.fields(found.is_none(), &mut html);
    if object.is_writable() {
        html.raw("<button>Save</button>");
    }
    html.raw("</form>");
    if found.is_some() {
        html.raw("<p><a href=\"").raw(&at).raw("\">Edit the series and how it repeats</a></p>");
        if object.is_writable() {
            let delete = format!("{at}/delete");
            html.button(&delete, &csrf, "danger", "Delete this one only", &[("at", &key)]);
            let following = [("at", key.as_str()), ("scope", "following")];
            html.button(&delete, &csrf, "danger", "Delete this one and all that follow", &following);
        }
    }
    object::foot(&visitor, &object, &at, if master.rule.is_empty() { "event" } else { "series" }, &mut html);
    site.chassis.page_of_html(Some(&visitor), &ABOUT.page("Event", "/"), &html.0)
}

/// The rule in words, and the next times.
fn repeats(object: &Object, master: &Shown, html: &mut Html) {
    if master.rule.is_empty() {
        return;
    }
    html.raw("<div class=\"note\">Repeats ").text(&master.rule_words).raw(".");
    let zone = zone_of(&object.at.view);
    let now = Civil((chassis::clock::now_ms() / 1000) as i64);
    let next = instance::next(&object.bytes, now, NEXT_SHOWN, &zone);
    html.raw(if next.is_empty() { " It is over.</div>" } else { " Next:</div><ul class=\"next\">" });
    for one in &next {
        let day = one.local.day();
        let (hour, minute, _) = one.local.hms();
        let clock = if master.all_day { String::new() } else { format!(", {hour:02}:{minute:02}") };
        let (year, month, of_month) = day.ymd();
        let name = &WEEKDAYS[day.weekday() as usize][..3];
        html.raw("<li>")
            .text(&format!("{name} {of_month} {} {year}{clock}", MONTHS[month as usize - 1]))
            .raw("</li>");
    }
    if !next.is_empty() {
        html.raw("</ul>");
    }
}

pub async fn save(site: Site, mut request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    let form = site.chassis.form(&mut request, &visitor).await?;
    let object = Object::open(&site, &visitor, names_of(&request))?;
    let master = master_of(&object.bytes);
    let zone = zone_of(&object.at.view);
    let bytes = match (instance_of(&object, form.text("at")), form.text("scope")) {
        (Some(found), "one") => {
            let (bytes, nth) = found.with_override(&object.bytes)?;
            edited(&bytes, nth, &form, false)?
        }
        (Some(found), "following") => {
            let uid = chassis::accounts::new_token::<15>();
            let parts = split::split(&found, &object.bytes, &form, &zone, &uid)?;
            match parts.before {
                None => parts.after,
                Some(before) => {
                    let (caller, name) = (caller(&visitor, &request), format!("{uid}.ics"));
                    let first = (object.names[1].as_str(), form.text("etag"), with_zones(&before).into());
                    let second = (name.as_str(), with_zones(&parts.after).into());
                    site.service.part(&caller, &object.at, first, second).await.map_err(fault)?;
                    return Ok(to_day(&form));
                }
            }
        }
        (Some(found), _) => {
            let bytes = edited(&object.bytes, master, &shifted(&object, &found, &form)?, false)?;
            split::rekeyed(&object.bytes, &split::with_moved_rule(&object.bytes, &bytes)?, &zone)?
        }
        (None, _) => split::rekeyed(&object.bytes, &edited(&object.bytes, master, &form, true)?, &zone)?,
    };
    object::put(&site, &visitor, &request, &object.names, Some(form.text("etag")), with_zones(&bytes))
        .await?;
    Ok(to_day(&form))
}

/// Moves an event by days and minutes of the account's clock, as a page does when it is dragged; of a series, this one.
pub async fn moved(site: Site, mut request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    let form = site.chassis.form(&mut request, &visitor).await?;
    let object = Object::open(&site, &visitor, names_of(&request))?;
    let by = |field: &str| form.text(field).parse::<i64>().ok().filter(|n| n.abs() <= 1_000_000);
    let (Some(days), Some(minutes)) = (by("days"), by("minutes")) else {
        return Err(Fault::bad_request("It is not said by how many days and minutes the event moves."));
    };
    let found = instance_of(&object, form.text("at"));
    if found.is_none() && !form.text("at").is_empty() {
        return Err(Fault::bad_request("This one is not there any more; somebody changed the series."));
    }
    let (bytes, nth, shown) = match &found {
        Some(found) => {
            let (bytes, nth) = found.with_override(&object.bytes)?;
            (bytes, nth, found.shown())
        }
        None => (object.bytes.to_vec(), master_of(&object.bytes), shown_master(&object.bytes)),
    };
    let mut shown = shown.ok_or_else(|| Fault::bad_request("This object has no event that can be moved."))?;
    shown.move_by(days * DAY_S + minutes * 60, &zone_of(&object.at.view));
    let bytes = edited(&bytes, nth, &shown.as_form(), false)?;
    let etag = object.etag();
    object::put(&site, &visitor, &request, &object.names, Some(&etag), with_zones(&bytes)).await?;
    let view =
        Some(form.text("view")).filter(|view| ["month", "week", "day"].contains(view)).unwrap_or("month");
    let day = Day::parse_iso(form.text("day")).map(Day::iso).unwrap_or_default();
    Ok(see_other(&format!("/?view={view}&day={day}")))
}

/// What the form shows of an object's master.
fn shown_master(bytes: &[u8]) -> Option<Shown> {
    let calendar = read(bytes).ok()?.into_iter().next()?;
    calendar.components.iter().filter(|c| c.name == "VEVENT").nth(master_of(bytes)).and_then(Shown::of)
}

/// What the form says of an instance, for the whole series: its times move by as much as the instance's did.
fn shifted(object: &Object, found: &Found, form: &Form) -> Result<Form, Fault> {
    let (Some(master), Some(shown)) = (shown_master(&object.bytes), found.shown()) else {
        return Err(Fault::not_found());
    };
    let moved = |field: &str, was: &str, own: &str| {
        let time = dav::commands::moment;
        let (now, was, own) = (time(form.text(field))?, time(was)?, time(own)?);
        Some(crate::form::field_of(Civil(own.0 + now.0 - was.0)))
    };
    let start = moved("start", &shown.start, &master.start);
    let end = moved("end", &shown.end, &master.end);
    let (Some(start), Some(end)) = (start, end) else {
        return Err(Fault::bad_request("The beginning or the end is no date and time."));
    };
    let kept = ["title", "location", "notes", "zone", "all_day"].map(|name| (name, form.text(name)));
    Ok(form_of(kept.into_iter().chain([("start", start.as_str()), ("end", end.as_str())])))
}

pub async fn delete(site: Site, mut request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    let form = site.chassis.form(&mut request, &visitor).await?;
    let object = Object::open(&site, &visitor, names_of(&request))?;
    match instance_of(&object, form.text("at")) {
        Some(found) => {
            let bytes = match form.text("scope") {
                "following" => split::ended_before(&found, &object.bytes, &zone_of(&object.at.view))?,
                _ => Some(found.excluded(&object.bytes)?),
            };
            match bytes {
                Some(bytes) => {
                    let etag = object.etag();
                    object::put(&site, &visitor, &request, &object.names, Some(&etag), bytes).await?;
                }
                None => object::delete(&site, &visitor, &request, &object.names).await?,
            }
        }
        None => object::delete(&site, &visitor, &request, &object.names).await?,
    }
    Ok(see_other("/"))
}
