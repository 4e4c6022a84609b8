//! An event as a form, and the form as edits of its lines: what the form does not show stays as it was.

use chassis::http::{Fault, Form};
use content_lines::{ComponentId, Document, Limits, Property};
use dav::calendar::civil::{Civil, DAY_S, Day, days_in_month};
use dav::calendar::rule::{Freq, Rule};
use dav::calendar::value::{self, Written};
use dav::calendar::words::in_words;
use dav::calendar::zone::Zone;
use dav::commands::moment;
use dav::pages::html::Html;
use dav::path::encode;
use dav::reading::{Component, escape};

/// What the form shows.
#[derive(Clone, Default)]
pub struct Shown {
    pub title: String,
    pub location: String,
    pub notes: String,
    pub start: String,
    pub end: String,
    pub all_day: bool,
    pub rule: String,
    pub rule_words: String,
    pub zone: String,
}

/// A moment as `datetime-local` writes it.
pub fn field_of(civil: Civil) -> String {
    let (hour, minute, _) = civil.hms();
    format!("{}T{hour:02}:{minute:02}", civil.day().iso())
}

/// A form of these fields.
pub fn form_of<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Form {
    let text =
        fields.into_iter().map(|(name, value)| format!("{name}={}", encode(value).replace('+', "%2B")));
    Form::parse(text.collect::<Vec<_>>().join("&").as_bytes())
}

impl Shown {
    /// Of a VEVENT.
    pub fn of(event: &Component) -> Option<Shown> {
        let text = |name: &str| event.text(name).unwrap_or_default();
        let start = value::date_or_time(event.value("DTSTART")?)?;
        let all_day = matches!(start, Written::Date(_));
        let end = event.value("DTEND").and_then(value::date_or_time).map(Written::civil);
        let long = event
            .value("DURATION")
            .and_then(value::duration)
            .map(|d| Civil(start.civil().0 + d.total_seconds()));
        let end = end.or(long).unwrap_or(start.civil());
        let rule = event.value("RRULE").unwrap_or_default().to_string();
        let zone = event.property("DTSTART").and_then(|p| p.parameter("TZID"));
        let zone = zone.unwrap_or(if matches!(start, Written::Utc(_)) { "UTC" } else { "" });
        let mut shown = Shown {
            title: text("SUMMARY"),
            location: text("LOCATION"),
            notes: text("DESCRIPTION"),
            all_day,
            rule_words: Rule::parse(&rule).map(|rule| in_words(&rule, start.civil())).unwrap_or_default(),
            rule,
            zone: zone.to_string(),
            ..Shown::default()
        };
        shown.set_times(start.civil(), end);
        Some(shown)
    }

    /// Takes another beginning and end, on the event's own clock.
    pub fn set_times(&mut self, start: Civil, end: Civil) {
        // The last day of a whole-day event is the one before DTEND.
        let end = if self.all_day && end > start { Civil(end.0 - 60) } else { end };
        (self.start, self.end) = (field_of(start), field_of(end));
    }

    /// Moves beginning and end by seconds of another clock: at ten stays at ten across a change of that clock.
    pub fn move_by(&mut self, seconds: i64, clock: &Zone) {
        let (Some(start), Some(end)) = (moment(&self.start), moment(&self.end)) else { return };
        let own = if self.all_day { None } else { Zone::by_tzid(&self.zone) };
        let by = if self.all_day { seconds - seconds.rem_euclid(DAY_S) } else { seconds };
        let moved = match own {
            None => Civil(start.0 + by),
            Some(own) => own.to_local(clock.to_utc(Civil(clock.to_local(own.to_utc(start)).0 + by))),
        };
        (self.start, self.end) = (field_of(moved), field_of(Civil(moved.0 + end.0 - start.0)));
    }

    /// The form as it would come back if nobody changed it, without the fields of the rule.
    pub fn as_form(&self) -> Form {
        form_of([
            ("title", self.title.as_str()),
            ("location", &self.location),
            ("notes", &self.notes),
            ("zone", &self.zone),
            ("all_day", if self.all_day { "1" } else { "" }),
            ("start", &self.start),
            ("end", &self.end),
        ])
    }

    /// Writes the fields; `repeats` says whether those of the rule are among them.
    pub fn fields(&self, repeats: bool, html: &mut Html) {
        html.input("What", "title", "text", &self.title, "required maxlength=\"300\"");
        html.raw("<div class=\"pair\">").input("From", "start", "datetime-local", &self.start, "required");
        html.input("To", "end", "datetime-local", &self.end, "").raw("</div>");
        let mark = if self.all_day { "checked" } else { "" };
        html.raw("<div class=\"weekdays\"><label><input type=\"checkbox\" name=\"all_day\" value=\"1\" ");
        html.raw(mark).raw("> All day</label></div>");
        html.input("Where", "location", "text", &self.location, "maxlength=\"300\"");
        html.input("Time zone", "zone", "text", &self.zone, "placeholder=\"Europe/Berlin\" maxlength=\"64\"");
        if repeats {
            self.rule_fields(html);
        }
        html.raw("<label>Notes<textarea name=\"notes\" rows=\"5\">")
            .text(&self.notes)
            .raw("</textarea></label>");
    }

    fn rule_fields(&self, html: &mut Html) {
        let rule = Rule::parse(&self.rule).ok();
        let freq = rule.as_ref().map_or("", |rule| rule.freq.name());
        let options = |all: &[(&str, &str)]| -> Vec<(String, String)> {
            all.iter().map(|(value, words)| (value.to_string(), words.to_string())).collect()
        };
        let freqs = [
            ("", "never"),
            ("DAILY", "every day"),
            ("WEEKLY", "every week"),
            ("MONTHLY", "every month"),
            ("YEARLY", "every year"),
        ];
        html.raw("<div class=\"pair\">").select("Repeats", "freq", &options(&freqs), freq);
        let interval = rule.as_ref().map_or(1, |rule| rule.interval).to_string();
        html.input("Only each n-th time", "interval", "number", &interval, "min=\"1\" max=\"999\"")
            .raw("</div>");
        html.raw("<fieldset class=\"weekdays\"><legend>Every week on</legend>");
        let names = [
            ("MO", "Mon"),
            ("TU", "Tue"),
            ("WE", "Wed"),
            ("TH", "Thu"),
            ("FR", "Fri"),
            ("SA", "Sat"),
            ("SU", "Sun"),
        ];
        for (at, (day, name)) in names.iter().enumerate() {
            let is_on = |rule: &Rule| rule.by_day.iter().any(|d| d.nth == 0 && d.weekday as usize == at);
            let mark = if rule.as_ref().is_some_and(is_on) { "checked" } else { "" };
            html.raw(&format!(
                "<label><input type=\"checkbox\" name=\"by\" value=\"{day}\" {mark}> {name}</label>"
            ));
        }
        let nth = rule.as_ref().and_then(|rule| rule.by_day.first()).map_or(0, |day| day.nth);
        let monthly = match nth {
            0 => "day",
            ..0 => "last",
            _ => "nth",
        };
        let which = [
            ("day", "on the same date"),
            ("nth", "on the same weekday, like the second Tuesday"),
            ("last", "on the last such weekday"),
        ];
        html.raw("</fieldset>").select("Every month or year", "monthly", &options(&which), monthly);
        let count = rule.as_ref().and_then(|rule| rule.count).map(|n| n.to_string()).unwrap_or_default();
        let until =
            rule.as_ref().and_then(|rule| rule.until).map(|u| u.civil().day().iso()).unwrap_or_default();
        html.raw("<div class=\"pair\">").input(
            "Ends after so many times",
            "count",
            "number",
            &count,
            "min=\"1\" max=\"9999\"",
        );
        html.input("or on", "until", "date", &until, "").raw("</div>");
        html.raw("<input type=\"hidden\" name=\"rule\" value=\"").text(&self.rule).raw("\">");
    }
}

/// Lines of one component being edited.
struct Lines<'a> {
    document: &'a mut Document,
    event: ComponentId,
}

impl Lines<'_> {
    /// Sets a value, or takes the property away.
    fn set(&mut self, name: &str, value: Option<String>) -> Result<(), Fault> {
        let line = self.document.properties(self.event, name).next();
        match (value, line) {
            (None, _) => self.document.remove_properties(self.event, name).map(drop).map_err(bad),
            (Some(value), Some(line)) => self.document.set_value(line, value.as_bytes()).map_err(bad),
            (Some(value), None) => self.add(Property::raw(name, value.into_bytes())),
        }
    }

    /// Sets a time: the whole line is new, since a day or a time in another zone has other parameters.
    fn set_time(&mut self, name: &str, value: String, like: &Like) -> Result<(), Fault> {
        self.document.remove_properties(self.event, name).map_err(bad)?;
        self.add(like.property(name, value))
    }

    fn add(&mut self, property: Property) -> Result<(), Fault> {
        self.document.add_property(self.event, &property).map(drop).map_err(bad)
    }
}

/// How a time is written.
#[derive(Clone, PartialEq, Eq)]
pub enum Like {
    Day,
    Utc,
    Floating,
    Zone(String),
}

impl Like {
    pub fn of(all_day: bool, zone: &str) -> Like {
        match zone {
            _ if all_day => Like::Day,
            "UTC" => Like::Utc,
            "" => Like::Floating,
            zone => Like::Zone(zone.to_string()),
        }
    }

    pub fn value(&self, civil: Civil) -> String {
        match self {
            Like::Day => civil.day().basic(),
            Like::Utc => format!("{}Z", civil.basic()),
            _ => civil.basic(),
        }
    }

    pub fn property(&self, name: &str, value: String) -> Property {
        let property = Property::raw(name, value.into_bytes());
        match self {
            Like::Day => property.parameter("VALUE", ["DATE"]),
            Like::Zone(zone) => property.parameter("TZID", [zone.as_str()]),
            _ => property,
        }
    }
}

fn bad(error: content_lines::PropertyError) -> Fault {
    Fault::bad_request(error.to_string())
}

/// The object with what the form says about its `nth` VEVENT, edited line by line. `new` events take the form's zone even
/// when no time changed.
pub fn edited(bytes: &[u8], nth: usize, form: &Form, with_rule: bool) -> Result<Vec<u8>, Fault> {
    let refuse = |why: &str| Fault::bad_request(why.to_string());
    let calendar = dav::reading::read(bytes).ok().and_then(|all| all.into_iter().next());
    let event = calendar.as_ref().and_then(|c| c.components.iter().filter(|c| c.name == "VEVENT").nth(nth));
    let before = event.and_then(Shown::of).unwrap_or_default();
    let mut document = Document::parse(bytes, &Limits::default()).map_err(|e| refuse(&e.to_string()))?;
    let event = nth_event(&document, nth).ok_or_else(|| refuse("This object has no event."))?;
    let mut lines = Lines { document: &mut document, event };
    let text = |value: &str| Some(escape(&value.replace("\r\n", "\n"))).filter(|v| !v.is_empty());
    for (name, field, old) in [
        ("SUMMARY", "title", &before.title),
        ("LOCATION", "location", &before.location),
        ("DESCRIPTION", "notes", &before.notes),
    ] {
        if form.text(field).replace("\r\n", "\n") != old.replace("\r\n", "\n") {
            lines.set(name, text(form.text(field)))?;
        }
    }
    let all_day = form.text("all_day") == "1";
    let zone = form.text("zone").trim();
    if !zone.is_empty() && zone != before.zone && Zone::iana(zone).is_none() {
        return Err(refuse("This time zone is not known; say Europe/Berlin, for example."));
    }
    let times = (form.text("start"), form.text("end"), all_day);
    if times != (before.start.as_str(), before.end.as_str(), before.all_day)
        || (zone != before.zone && !all_day)
    {
        let (start, end) = (moment(form.text("start")), moment(form.text("end")));
        let start = start.ok_or_else(|| refuse("The beginning is no date and time."))?;
        let end = end.filter(|end| *end >= start).unwrap_or(Civil(start.0 + 3600));
        let like = Like::of(all_day, zone);
        let last = if all_day { Day(end.day().0 + 1).midnight() } else { end };
        lines.set_time("DTSTART", like.value(start), &like)?;
        lines.set_time("DTEND", like.value(last), &like)?;
        lines.set("DURATION", None)?;
    }
    if with_rule {
        let start = moment(form.text("start")).unwrap_or(Civil(0));
        let rule = rule_of(form, start).map_err(refuse)?;
        if rule != Rule::parse(&before.rule).ok().map(|rule| rule.to_string()).unwrap_or_default() {
            lines.set("RRULE", Some(rule).filter(|rule| !rule.is_empty()))?;
        }
    }
    let line = lines.document.property(event, "SEQUENCE");
    let sequence = line.and_then(|l| l.value_str()?.trim().parse::<u32>().ok()).unwrap_or(0);
    let now = Civil((chassis::clock::now_ms() / 1000) as i64).basic();
    lines.set("SEQUENCE", Some((sequence + 1).to_string()))?;
    lines.set("LAST-MODIFIED", Some(format!("{now}Z")))?;
    lines.set("DTSTAMP", Some(format!("{now}Z")))?;
    Ok(document.to_bytes())
}

/// The n-th VEVENT of a document.
pub fn nth_event(document: &Document, nth: usize) -> Option<ComponentId> {
    let all = document.components().iter().enumerate();
    let events = all.filter(|(_, component)| component.name.eq_ignore_ascii_case(b"VEVENT"));
    events.map(|(at, _)| ComponentId(at)).nth(nth)
}

/// The rule that the form says; parts that it cannot show are kept while the frequency stays.
fn rule_of(form: &Form, start: Civil) -> Result<String, &'static str> {
    if form.text("freq").is_empty() {
        return Ok(String::new());
    }
    let parse = |text: String| Rule::parse(&text).map_err(|_| "This frequency or these days are not known.");
    let mut rule = parse(format!("FREQ={}", form.text("freq")))?;
    if let Some(kept) = Rule::parse(form.text("rule")).ok().filter(|kept| kept.freq == rule.freq) {
        rule = kept;
    }
    rule.interval = form.text("interval").parse().unwrap_or(1).max(1);
    let days: Vec<&str> = form.all("by").collect();
    let plain = rule.by_day.iter().all(|day| day.nth == 0);
    match rule.freq {
        Freq::Weekly if plain => {
            rule.by_day = match days.is_empty() {
                true => Vec::new(),
                false => parse(format!("FREQ=WEEKLY;BYDAY={}", days.join(",")))?.by_day,
            };
        }
        Freq::Monthly | Freq::Yearly if rule.by_day.len() <= 1 && rule.by_set_pos.is_empty() => {
            by_weekday(&mut rule, form.text("monthly"), start.day());
        }
        _ => {}
    }
    rule.count = form.text("count").parse().ok().filter(|n| *n > 0);
    let until = Day::parse_iso(form.text("until"));
    if rule.until.map(|until| until.civil().day()) != until {
        rule.until = until.map(Written::Date);
    }
    if rule.count.is_some() {
        rule.until = None;
    }
    Ok(rule.to_string())
}

/// "The second Tuesday" and "the last Tuesday", from the day on which the event begins.
fn by_weekday(rule: &mut Rule, which: &str, day: Day) {
    let (year, month, of_month) = day.ymd();
    let nth = match which {
        "nth" => (of_month as i32 - 1) / 7 + 1,
        "last" if of_month + 7 > days_in_month(year, month) => -1,
        "last" => (of_month as i32 - 1) / 7 + 1,
        _ => {
            if rule.by_day.iter().any(|day| day.nth != 0) {
                rule.by_day.clear();
            }
            return;
        }
    };
    rule.by_month_day.clear();
    rule.by_day = vec![dav::calendar::rule::WeekdayNum { nth, weekday: day.weekday() }];
    if rule.freq == Freq::Yearly && rule.by_month.is_empty() {
        rule.by_month = vec![month];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &str = "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nX-FOO;A=\"b:c\":d\r\nDTSTART;TZID=Europe/Berlin:20240501T100000\r\nDTEND;TZID=Europe/Berlin:20240501T110000\r\nSUMMARY:a\r\nRRULE:FREQ=WEEKLY;BYDAY=WE;WKST=SU\r\nBEGIN:VALARM\r\nTRIGGER:-PT5M\r\nEND:VALARM\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";

    fn after(form: &[u8]) -> String {
        String::from_utf8(edited(OBJECT.as_bytes(), 0, &Form::parse(form), true).unwrap()).unwrap()
    }

    #[test]
    fn what_the_form_does_not_show_stays() {
        let out = after(b"title=b&zone=Europe/Berlin&start=2024-05-01T12%3A00&end=2024-05-01T13%3A00&freq=WEEKLY&interval=2&by=WE&by=FR&rule=FREQ%3DWEEKLY%3BBYDAY%3DWE%3BWKST%3DSU");
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
        let out = after(b"title=b&start=2024-05-01T00%3A00&end=2024-05-02T00%3A00&all_day=1");
        assert!(
            out.contains("DTSTART;VALUE=DATE:20240501\r\n")
                && out.contains("DTEND;VALUE=DATE:20240503\r\n")
                && !out.contains("RRULE"),
            "{out}"
        );
    }

    #[test]
    fn weekdays_of_the_month() {
        let rule = |form: &[u8]| {
            let out = after(form);
            out.lines().find_map(|l| l.strip_prefix("RRULE:")).unwrap_or_default().to_string()
        };
        let form = |more: &str| {
            format!("title=a&zone=UTC&start=2024-05-28T12%3A00&end=2024-05-28T13%3A00&interval=1&{more}")
        };
        assert_eq!(rule(form("freq=MONTHLY&monthly=nth").as_bytes()), "FREQ=MONTHLY;BYDAY=4TU");
        assert_eq!(rule(form("freq=MONTHLY&monthly=last").as_bytes()), "FREQ=MONTHLY;BYDAY=-1TU");
        assert_eq!(rule(form("freq=MONTHLY&monthly=day").as_bytes()), "FREQ=MONTHLY");
        assert_eq!(
            rule(form("freq=YEARLY&monthly=last&count=3").as_bytes()),
            "FREQ=YEARLY;COUNT=3;BYDAY=-1TU;BYMONTH=5"
        );
        assert!(
            edited(
                OBJECT.as_bytes(),
                0,
                &Form::parse(form("zone=Nowhere/Land").replace("zone=UTC&", "").as_bytes()),
                true
            )
            .is_err()
        );
    }
}
