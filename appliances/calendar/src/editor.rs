//! An event as a form: make, change, move, delete. Edits are line edits: what the form does not show stays as it was.

use chassis::http::{Answer, Fault, Form, Request, see_other};
use content_lines::{Document, Limits, Property};
use dav::calendar::civil::{Civil, Day};
use dav::calendar::rule::Rule;
use dav::calendar::value::{self, Written};
use dav::calendar::words::in_words;
use dav::household::properties::Kind;
use dav::http::Site;
use dav::pages::html::Html;
use dav::pages::{broken, caller, fault};
use dav::path::{encode, href};
use dav::reading::{escape, read};
use dav::server::Request as DavRequest;

use crate::ABOUT;

/// What the form shows.
#[derive(Default)]
struct Shown {
    title: String,
    location: String,
    notes: String,
    start: String,
    end: String,
    all_day: bool,
    rule: String,
    rule_words: String,
    zone: String,
}

pub async fn new(site: &Site, request: &Request) -> Answer {
    let visitor = site.chassis.require(request).await?;
    let day = Day::parse_iso(request.query_form().text("day"));
    let day = day.unwrap_or(Civil((chassis::clock::now_ms() / 1000) as i64).day()).iso();
    let shown = Shown { start: format!("{day}T09:00"), end: format!("{day}T10:00"), ..Shown::default() };
    let mut html = Html::default();
    html.raw("<h1>New event</h1>").form("/event/new", &visitor.csrf(), "");
    let view = site.household().view(&visitor.account().user).map_err(broken)?;
    let calendars: Vec<(String, String)> = view
        .collections
        .values()
        .filter(|c| c.properties.kind == Kind::Calendar)
        .map(|c| (c.path.clone(), c.display_name()))
        .collect();
    html.select("Calendar", "calendar", &calendars, "");
    fields(&shown, &mut html);
    html.raw("<button>Save</button></form>");
    site.chassis.page_of_html(Some(&visitor), &ABOUT.page("New event", "/"), &html.0)
}

pub async fn create(site: &Site, mut request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    let form = site.chassis.form(&mut request, &visitor).await?;
    let uid = chassis::accounts::new_token::<15>();
    let stamp = Civil((chassis::clock::now_ms() / 1000) as i64).basic();
    let fresh = format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//nymote//calendar//EN\r\nBEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:{stamp}Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    );
    let bytes = edited(fresh.as_bytes(), &form)?;
    let names = [form.text("calendar").to_string(), format!("{uid}.ics")];
    put(site, &visitor, &request, &names, None, bytes).await?;
    let day = form.text("start").get(..10).unwrap_or_default().to_string();
    Ok(see_other(&format!("/?view=month&day={}", encode(&day))))
}

pub async fn show(site: &Site, request: &Request) -> Answer {
    let visitor = site.chassis.require(request).await?;
    let (calendar, name) = (request.matched("calendar").to_string(), request.matched("name").to_string());
    let view = site.household().view(&visitor.account().user).map_err(broken)?;
    let names = [calendar.clone(), name.clone()];
    let (collection, member) = view.member(&names).ok_or_else(Fault::not_found)?;
    let bytes = view.read(collection, &name, member).map_err(broken)?;
    let shown = shown_of(&bytes).ok_or_else(|| Fault::bad_request("This object has no event."))?;
    let at = format!("/event/{}/{}", encode(&calendar), encode(&name));
    let csrf = visitor.csrf();
    let mut html = Html::default();
    html.raw("<h1>").text(&shown.title).raw("</h1>");
    if !shown.rule_words.is_empty() {
        html.raw("<p class=\"note\">Repeats ").text(&shown.rule_words).raw(".</p>");
    }
    html.form(&at, &csrf, "").raw(&format!("<input type=\"hidden\" name=\"etag\" value=\"{}\">", member.id));
    fields(&shown, &mut html);
    html.raw("<button>Save</button></form>");
    html.button(&format!("{at}/delete"), &csrf, "danger", "Delete", &[]);
    let path = collection.member_path(&name, member);
    html.raw("<p><a href=\"/history?path=")
        .raw(&encode(&path))
        .raw("\">History of this event</a> · <a href=\"")
        .raw(&href(&visitor.account().user, &names, false))
        .raw("\">As iCalendar</a></p>");
    html.raw("<details><summary>Purge</summary><p>Deletes it, and takes it out of the whole history. This cannot be undone: <code>nymote store purge</code> does it on the machine itself.</p></details>");
    site.chassis.page_of_html(Some(&visitor), &ABOUT.page("Event", "/"), &html.0)
}

pub async fn save(site: &Site, mut request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    let form = site.chassis.form(&mut request, &visitor).await?;
    let names = [request.matched("calendar").to_string(), request.matched("name").to_string()];
    let view = site.household().view(&visitor.account().user).map_err(broken)?;
    let (collection, member) = view.member(&names).ok_or_else(Fault::not_found)?;
    let bytes = view.read(collection, &names[1], member).map_err(broken)?;
    let bytes = edited(&bytes, &form)?;
    put(site, &visitor, &request, &names, Some(form.text("etag")), bytes).await?;
    let day = form.text("start").get(..10).unwrap_or_default().to_string();
    Ok(see_other(&format!("/?view=month&day={}", encode(&day))))
}

pub async fn delete(site: &Site, mut request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    site.chassis.form(&mut request, &visitor).await?;
    let names = [request.matched("calendar").to_string(), request.matched("name").to_string()];
    let target = href(&visitor.account().user, &names, false);
    let asked =
        DavRequest { now_ms: chassis::clock::now_ms(), ..DavRequest::new("DELETE", &target, &[], "") };
    let answer = site.service.answer(&caller(&visitor, &request), &asked).await;
    refuse(answer)?;
    Ok(see_other("/"))
}

async fn put(
    site: &Site,
    visitor: &chassis::web::Visitor,
    request: &Request,
    names: &[String; 2],
    etag: Option<&str>,
    bytes: Vec<u8>,
) -> Result<(), Fault> {
    let target = href(&visitor.account().user, names, false);
    let tag = etag.map(|etag| format!("\"{etag}\""));
    let fields: Vec<(&str, &str)> = match &tag {
        Some(tag) => vec![("if-match", tag.as_str())],
        None => vec![("if-none-match", "*")],
    };
    let asked =
        DavRequest { now_ms: chassis::clock::now_ms(), ..DavRequest::new("PUT", &target, &fields, bytes) };
    refuse(site.service.answer(&caller(visitor, request), &asked).await)
}

fn refuse(answer: dav::server::Response) -> Result<(), Fault> {
    if answer.status < 300 {
        return Ok(());
    }
    let status = answer.status;
    let text = String::from_utf8_lossy(&answer.into_bytes()).into_owned();
    let why = match status {
        412 => "somebody changed it meanwhile; go back, reload, and make your change again".to_string(),
        _ => text
            .split("<n:message xmlns:n=\"urn:nymote\">")
            .nth(1)
            .and_then(|t| t.split('<').next())
            .unwrap_or(&text)
            .to_string(),
    };
    Err(fault(dav::server::Fault::new(status, why)))
}

fn fields(shown: &Shown, html: &mut Html) {
    html.input("What", "title", "text", &shown.title, "required maxlength=\"300\" autofocus");
    html.raw("<div class=\"pair\">").input("From", "start", "datetime-local", &shown.start, "required");
    html.input("To", "end", "datetime-local", &shown.end, "").raw("</div>");
    let mark = if shown.all_day { "checked" } else { "" };
    html.raw("<fieldset class=\"weekdays\"><label><input type=\"checkbox\" name=\"all_day\" value=\"1\" ")
        .raw(mark)
        .raw("> All day</label></fieldset>");
    if !shown.zone.is_empty() {
        html.raw("<p class=\"quiet\">Times in ").text(&shown.zone).raw("</p>");
    }
    html.input("Where", "location", "text", &shown.location, "maxlength=\"300\"");
    let rule = Rule::parse(&shown.rule).ok();
    let freq = rule.as_ref().map_or("", |rule| rule.freq.name());
    let options: Vec<(String, String)> = [
        ("", "never"),
        ("DAILY", "every day"),
        ("WEEKLY", "every week"),
        ("MONTHLY", "every month"),
        ("YEARLY", "every year"),
    ]
    .iter()
    .map(|(a, b)| (a.to_string(), b.to_string()))
    .collect();
    html.raw("<div class=\"pair\">").select("Repeats", "freq", &options, freq);
    let interval = rule.as_ref().map_or(1, |rule| rule.interval).to_string();
    html.input("Only each n-th time", "interval", "number", &interval, "min=\"1\" max=\"999\"").raw("</div>");
    html.raw("<fieldset class=\"weekdays\"><legend>On these days (weekly)</legend>");
    for (at, day) in ["MO", "TU", "WE", "TH", "FR", "SA", "SU"].iter().enumerate() {
        let on = rule
            .as_ref()
            .is_some_and(|rule| rule.by_day.iter().any(|d| d.nth == 0 && d.weekday as usize == at));
        html.raw(&format!(
            "<label><input type=\"checkbox\" name=\"by\" value=\"{day}\" {}> {day}</label>",
            if on { "checked" } else { "" }
        ));
    }
    let count = rule.as_ref().and_then(|rule| rule.count).map(|n| n.to_string()).unwrap_or_default();
    let until = rule.as_ref().and_then(|rule| rule.until).map(|u| u.civil().day().iso()).unwrap_or_default();
    html.raw("</fieldset><div class=\"pair\">").input(
        "Ends after so many times",
        "count",
        "number",
        &count,
        "min=\"1\" max=\"9999\"",
    );
    html.input("or on", "until", "date", &until, "").raw("</div>");
    html.raw("<input type=\"hidden\" name=\"rule\" value=\"").text(&shown.rule).raw("\">");
    html.raw("<label>Notes<textarea name=\"notes\" rows=\"5\">")
        .text(&shown.notes)
        .raw("</textarea></label>");
}

fn shown_of(bytes: &[u8]) -> Option<Shown> {
    let calendar = read(bytes).ok()?.into_iter().next()?;
    let event = calendar.components.iter().find(|c| c.name == "VEVENT")?;
    let text = |name: &str| event.text(name).unwrap_or_default();
    let start = value::date_or_time(event.value("DTSTART")?)?;
    let all_day = matches!(start, Written::Date(_));
    let local = |civil: Civil| {
        let (hour, minute, _) = civil.hms();
        format!("{}T{hour:02}:{minute:02}", civil.day().iso())
    };
    let end = event.value("DTEND").and_then(value::date_or_time).map(Written::civil);
    let long =
        event.value("DURATION").and_then(value::duration).map(|d| Civil(start.civil().0 + d.total_seconds()));
    let end = end.or(long).unwrap_or(start.civil());
    let end = if all_day && end > start.civil() { Civil(end.0 - 60) } else { end };
    let rule = event.value("RRULE").unwrap_or_default().to_string();
    let zone = event
        .property("DTSTART")
        .and_then(|p| p.parameter("TZID"))
        .unwrap_or(if matches!(start, Written::Utc(_)) { "UTC" } else { "" });
    Some(Shown {
        title: text("SUMMARY"),
        location: text("LOCATION"),
        notes: text("DESCRIPTION"),
        start: local(start.civil()),
        end: local(end),
        all_day,
        rule_words: Rule::parse(&rule).map(|rule| in_words(&rule, start.civil())).unwrap_or_default(),
        rule,
        zone: zone.to_string(),
    })
}

/// The object with what the form says, edited line by line.
fn edited(bytes: &[u8], form: &Form) -> Result<Vec<u8>, Fault> {
    let refuse = |why: &str| Fault::bad_request(why.to_string());
    let before = shown_of(bytes).unwrap_or_default();
    let mut document = Document::parse(bytes, &Limits::default()).map_err(|e| refuse(&e.to_string()))?;
    let event = document.find_component("VEVENT").ok_or_else(|| refuse("This object has no event."))?;
    let mut set = |name: &str, value: Option<String>, like: Option<&str>| -> Result<(), Fault> {
        let bad = |e: content_lines::PropertyError| Fault::bad_request(e.to_string());
        let line = document.properties(event, name).next();
        match (value, line) {
            (None, _) => drop(document.remove_properties(event, name).map_err(bad)?),
            (Some(value), Some(line)) if like.is_none() => {
                document.set_value(line, value.as_bytes()).map_err(bad)?
            }
            (Some(value), line) => {
                // A day or a time in another zone than before: the whole line is new.
                if line.is_some() {
                    document.remove_properties(event, name).map_err(bad)?;
                }
                let mut property = Property::raw(name, value.into_bytes());
                match like.unwrap_or_default() {
                    "" => {}
                    "DATE" => property = property.parameter("VALUE", ["DATE"]),
                    zone => property = property.parameter("TZID", [zone]),
                }
                document.add_property(event, &property).map_err(bad)?;
            }
        }
        Ok(())
    };
    let text = |value: &str| Some(escape(&value.replace("\r\n", "\n"))).filter(|v| !v.is_empty());
    for (name, field, old) in [
        ("SUMMARY", "title", &before.title),
        ("LOCATION", "location", &before.location),
        ("DESCRIPTION", "notes", &before.notes),
    ] {
        if form.text(field).replace("\r\n", "\n") != *old {
            set(name, text(form.text(field)), None)?;
        }
    }
    let all_day = form.text("all_day") == "1";
    if form.text("start") != before.start || form.text("end") != before.end || all_day != before.all_day {
        let (start, end) = (moment(form.text("start")), moment(form.text("end")));
        let start = start.ok_or_else(|| refuse("The beginning is no date and time."))?;
        let end = end.filter(|end| *end >= start).unwrap_or(Civil(start.0 + 3600));
        let zone = before.zone.as_str();
        let utc = if zone == "UTC" || zone.is_empty() && before.start.is_empty() { "Z" } else { "" };
        let like = if all_day {
            "DATE"
        } else if utc.is_empty() {
            zone
        } else {
            ""
        };
        let written = |civil: Civil, last: bool| match all_day {
            true => Day(civil.day().0 + i32::from(last)).basic(),
            false => format!("{}{utc}", civil.basic()),
        };
        set("DTSTART", Some(written(start, false)), Some(like))?;
        set("DTEND", Some(written(end, true)), Some(like))?;
        set("DURATION", None, None)?;
    }
    let rule = rule_of(form).map_err(refuse)?;
    if rule != Rule::parse(&before.rule).ok().map(|rule| rule.to_string()).unwrap_or_default() {
        set("RRULE", Some(rule).filter(|rule| !rule.is_empty()), None)?;
    }
    let sequence = document
        .property(event, "SEQUENCE")
        .and_then(|l| l.value_str()?.trim().parse::<u32>().ok())
        .unwrap_or(0);
    let now = Civil((chassis::clock::now_ms() / 1000) as i64).basic();
    for (name, value) in [
        ("SEQUENCE", (sequence + 1).to_string()),
        ("LAST-MODIFIED", format!("{now}Z")),
        ("DTSTAMP", format!("{now}Z")),
    ] {
        document
            .set_property(event, name, &Property::raw(name, value.into_bytes()))
            .map_err(|e| refuse(&e.to_string()))?;
    }
    Ok(document.to_bytes())
}

/// The rule that the form says; parts that it cannot show are kept while the frequency stays.
fn rule_of(form: &Form) -> Result<String, &'static str> {
    if form.text("freq").is_empty() {
        return Ok(String::new());
    }
    let mut rule =
        Rule::parse(&format!("FREQ={}", form.text("freq"))).map_err(|_| "This frequency is not known.")?;
    if let Some(kept) = Rule::parse(form.text("rule")).ok().filter(|kept| kept.freq == rule.freq) {
        rule = kept;
    }
    rule.interval = form.text("interval").parse().unwrap_or(1).max(1);
    let days: Vec<&str> = form.all("by").collect();
    let shown = rule.by_day.iter().all(|day| day.nth == 0);
    if shown && rule.freq.name() == "WEEKLY" {
        rule.by_day = match days.is_empty() {
            true => Vec::new(),
            false => {
                Rule::parse(&format!("FREQ=WEEKLY;BYDAY={}", days.join(",")))
                    .map_err(|_| "These days are not known.")?
                    .by_day
            }
        };
    }
    rule.count = form.text("count").parse().ok().filter(|n| *n > 0);
    let until = Day::parse_iso(form.text("until"));
    let same = rule.until.map(|until| until.civil().day()) == until;
    if !same {
        rule.until = until.map(Written::Date);
    }
    if rule.count.is_some() {
        rule.until = None;
    }
    Ok(rule.to_string())
}

fn moment(text: &str) -> Option<Civil> {
    let (day, time) = text.split_once('T')?;
    let mut parts = time.split(':');
    let (hour, minute): (i64, i64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    (hour < 24 && minute < 60).then_some(Civil::new(Day::parse_iso(day)?, hour * 3600 + minute * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_form_does_not_show_stays() {
        let object = "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nX-FOO;A=\"b:c\":d\r\nDTSTART;TZID=Europe/Berlin:20240501T100000\r\nDTEND;TZID=Europe/Berlin:20240501T110000\r\nSUMMARY:a\r\nRRULE:FREQ=WEEKLY;BYDAY=WE;WKST=SU\r\nBEGIN:VALARM\r\nTRIGGER:-PT5M\r\nEND:VALARM\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
        let form = Form::parse(b"title=b&start=2024-05-01T12%3A00&end=2024-05-01T13%3A00&freq=WEEKLY&interval=2&by=WE&by=FR&rule=FREQ%3DWEEKLY%3BBYDAY%3DWE%3BWKST%3DSU");
        let out = String::from_utf8(edited(object.as_bytes(), &form).unwrap()).unwrap();
        for kept in [
            "X-FOO;A=\"b:c\":d",
            "TRIGGER:-PT5M",
            "SUMMARY:b",
            "DTSTART;TZID=Europe/Berlin:20240501T120000",
            "RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=WE,FR;WKST=SU",
            "SEQUENCE:1",
        ] {
            assert!(out.contains(&format!("{kept}\r\n")), "{kept}: {out}");
        }
        let form = Form::parse(b"title=b&start=2024-05-01T00%3A00&end=2024-05-02T00%3A00&all_day=1");
        let out = String::from_utf8(edited(object.as_bytes(), &form).unwrap()).unwrap();
        assert!(
            out.contains("DTSTART;VALUE=DATE:20240501\r\n")
                && out.contains("DTEND;VALUE=DATE:20240503\r\n")
                && !out.contains("RRULE"),
            "{out}"
        );
    }
}
