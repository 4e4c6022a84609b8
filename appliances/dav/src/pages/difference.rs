//! Two versions of an object, field by field and in words: what each says where they differ.

use std::collections::BTreeMap;

use super::html::Html;
use crate::calendar::civil::Civil;
use crate::calendar::rule::Rule;
use crate::calendar::value::{self, Written};
use crate::calendar::words::{MONTHS, in_words};
use crate::reading::{Component, Property, read, split, unescape};

/// Values of one field that are shown; the file itself has the rest.
const VALUES_MAX: usize = 12;
/// Letters of one value that are shown.
const LETTERS_MAX: usize = 400;

/// What the bookkeeping of programs says is no difference for people.
const SILENT: &[&str] =
    &["DTSTAMP", "LAST-MODIFIED", "SEQUENCE", "PRODID", "REV", "VERSION", "CREATED", "CALSCALE", "UID"];

const WORDS: &[(&str, &str)] = &[
    ("SUMMARY", "What"),
    ("DTSTART", "From"),
    ("DTEND", "To"),
    ("DUE", "Due"),
    ("DURATION", "How long"),
    ("LOCATION", "Where"),
    ("DESCRIPTION", "Notes"),
    ("RRULE", "Repeats"),
    ("RDATE", "Also on"),
    ("EXDATE", "Not on"),
    ("STATUS", "Status"),
    ("CATEGORIES", "Categories"),
    ("ATTENDEE", "Guests"),
    ("ORGANIZER", "Organised by"),
    ("URL", "Link"),
    ("PRIORITY", "Priority"),
    ("PERCENT-COMPLETE", "Done, in per cent"),
    ("COMPLETED", "Done on"),
    ("CLASS", "Who may see it"),
    ("TRANSP", "Takes up time"),
    ("TRIGGER", "When it reminds"),
    ("ACTION", "How it reminds"),
    ("ATTACH", "Attachment"),
    ("COMMENT", "Comment"),
    ("COLOR", "Colour"),
    ("FN", "Name"),
    ("N", "Name in parts"),
    ("NICKNAME", "Nickname"),
    ("TEL", "Telephone"),
    ("EMAIL", "Mail"),
    ("ADR", "Address"),
    ("ORG", "Organisation"),
    ("TITLE", "Job"),
    ("ROLE", "Role"),
    ("NOTE", "Notes"),
    ("BDAY", "Birthday"),
    ("ANNIVERSARY", "Anniversary"),
    ("PHOTO", "Picture"),
    ("LOGO", "Logo"),
    ("IMPP", "Messages"),
    ("MEMBER", "Members"),
    ("X-ADDRESSBOOKSERVER-MEMBER", "Members"),
];

/// The fields of an object: where in it, which, and what they say.
type Fields = BTreeMap<(String, String), Vec<String>>;

/// Writes both versions as a table of the fields that differ, and the files behind a fold. None: it was deleted.
pub fn sides(first: Option<&[u8]>, second: Option<&[u8]>, html: &mut Html) {
    let fields = |bytes: Option<&[u8]>| bytes.map(fields_of);
    match (fields(first), fields(second)) {
        (Some(one), Some(other)) => table(&one, &other, html),
        (one, other) => {
            let (which, there) = if one.is_none() { ("first", other) } else { ("second", one) };
            html.raw("<p>The ").raw(which).raw(" deleted it; the other has:</p>");
            html.raw("<div class=\"scroll\"><table class=\"fields\">");
            there.iter().flatten().for_each(|(key, values)| row(key, &[values], html));
            html.raw("</table></div>");
        }
    }
    html.raw("<details><summary>The files themselves</summary><div class=\"sides\">");
    for (title, bytes) in [("First", first), ("Second", second)] {
        let text = bytes.map_or("deleted".into(), String::from_utf8_lossy);
        html.raw("<div class=\"scroll\"><h3>").raw(title).raw("</h3><pre>");
        for line in text.lines().take(400) {
            html.text(line).raw("\n");
        }
        html.raw("</pre></div>");
    }
    html.raw("</div></details>");
}

fn table(one: &Fields, other: &Fields, html: &mut Html) {
    let nothing = Vec::new();
    let of = |fields: &'_ Fields, key: &(String, String)| fields.get(key).cloned().unwrap_or_default();
    let keys: std::collections::BTreeSet<&(String, String)> = one.keys().chain(other.keys()).collect();
    let differ: Vec<_> = keys.into_iter().filter(|key| of(one, key) != of(other, key)).collect();
    if differ.is_empty() {
        html.raw("<p>Both say the same; only the bookkeeping of programs differs.</p>");
        return;
    }
    html.raw("<div class=\"scroll\"><table class=\"fields\"><thead><tr><th></th><th>First</th><th>Second</th></tr></thead><tbody>");
    for key in differ {
        let values = [one.get(key).unwrap_or(&nothing), other.get(key).unwrap_or(&nothing)];
        row(key, &values, html);
    }
    html.raw("</tbody></table></div><p class=\"quiet\">Everything else is the same in both.</p>");
}

fn row((place, field): &(String, String), sides: &[&Vec<String>], html: &mut Html) {
    html.raw("<tr><th>").text(place).text(if place.is_empty() { "" } else { ": " }).text(field).raw("</th>");
    for (at, values) in sides.iter().enumerate() {
        html.raw("<td>");
        if values.is_empty() {
            html.raw("<em>nothing</em>");
        }
        for value in values.iter().take(VALUES_MAX) {
            // What only this side says is marked.
            let own = sides.iter().enumerate().any(|(n, side)| n != at && !side.contains(value));
            html.raw(if own { "<p><mark>" } else { "<p>" }).text(value);
            html.raw(if own { "</mark></p>" } else { "</p>" });
        }
        if values.len() > VALUES_MAX {
            html.text(&format!("and {} more", values.len() - VALUES_MAX));
        }
        html.raw("</td>");
    }
    html.raw("</tr>");
}

fn fields_of(bytes: &[u8]) -> Fields {
    let mut fields = Fields::new();
    for root in read(bytes).unwrap_or_default() {
        collect(&root, "", &mut fields);
    }
    if fields.is_empty() {
        let text = String::from_utf8_lossy(bytes);
        fields.insert((String::new(), "Text".into()), text.lines().map(shortened).collect());
    }
    fields
}

fn collect(component: &Component, place: &str, fields: &mut Fields) {
    if component.name == "VTIMEZONE" {
        return;
    }
    let start = component.value("DTSTART").and_then(value::date_or_time).map_or(Civil(0), Written::civil);
    for property in component.properties.iter().filter(|one| !SILENT.contains(&one.name.as_str())) {
        let field = match WORDS.iter().find(|(name, _)| *name == property.name) {
            Some((_, words)) => (*words).to_string(),
            None if property.name == "RECURRENCE-ID" => continue,
            None => property.name.clone(),
        };
        fields.entry((place.to_string(), field)).or_default().push(shortened(&words_of(property, start)));
    }
    let mut reminders = 0;
    for inner in &component.components {
        let own = match (inner.name.as_str(), inner.property("RECURRENCE-ID")) {
            ("VALARM", _) => {
                reminders += 1;
                format!("Reminder {reminders}")
            }
            (_, Some(id)) => format!("The one of {}", words_of(id, start)),
            _ => String::new(),
        };
        let inside = [place, &own].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
        collect(inner, &inside, fields);
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LETTERS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_string(),
    }
}

/// A value as a person says it, with what its parameters say of it.
fn words_of(property: &Property, start: Civil) -> String {
    let value = property.value.trim();
    let zone = property.parameter("TZID").map(|zone| format!(" ({zone})")).unwrap_or_default();
    let joined = |separator: char| {
        let parts = split(value, separator).into_iter().map(unescape).filter(|part| !part.trim().is_empty());
        parts.collect::<Vec<_>>().join(", ")
    };
    match property.name.as_str() {
        "RRULE" => Rule::parse(value).map_or_else(|_| value.to_string(), |rule| in_words(&rule, start)),
        "DTSTART" | "DTEND" | "DUE" | "COMPLETED" | "RDATE" | "EXDATE" | "RECURRENCE-ID" => {
            value.split(',').map(moment).collect::<Vec<_>>().join(", ") + &zone
        }
        "BDAY" | "ANNIVERSARY" => moment(value),
        "DURATION" | "TRIGGER" => match value::duration(value) {
            Some(length) => length_in_words(length.total_seconds(), property.name == "TRIGGER"),
            None => moment(value),
        },
        "N" | "ADR" | "ORG" => labelled(property, joined(';')),
        "ATTENDEE" | "ORGANIZER" => {
            let address = value.strip_prefix("mailto:").unwrap_or(value);
            let said = property.parameter("PARTSTAT").map(|said| format!(", {}", said.to_lowercase()));
            let name = property.parameter("CN").map(|name| format!("{name} ")).unwrap_or_default();
            format!("{name}{address}{}", said.unwrap_or_default())
        }
        "PHOTO" | "LOGO" | "ATTACH" if value.len() > 200 => {
            format!("{} kB in the file", value.len().div_ceil(1400))
        }
        _ => labelled(property, property.text()),
    }
}

/// The kinds of a telephone or address stand behind it.
fn labelled(property: &Property, text: String) -> String {
    let types = property.types();
    let types: Vec<&str> = types.iter().map(String::as_str).filter(|one| *one != "internet").collect();
    if types.is_empty() { text } else { format!("{text} ({})", types.join(", ")) }
}

/// A day or time: `8 April 2024, 10:00`; what is neither stays.
fn moment(text: &str) -> String {
    let iso = text.replace('-', "");
    let text = if text.len() == 10 && iso.len() == 8 { iso.as_str() } else { text };
    let Some(written) = value::date_or_time(text.split('/').next().unwrap_or_default().trim()) else {
        return unescape(text);
    };
    let civil = written.civil();
    let ((year, month, day), (hour, minute, _)) = (civil.day().ymd(), civil.hms());
    let date = format!("{day} {} {year}", MONTHS[month as usize - 1]);
    match written {
        Written::Date(_) => date,
        Written::Utc(_) => format!("{date}, {hour:02}:{minute:02} UTC"),
        Written::Local(_) => format!("{date}, {hour:02}:{minute:02}"),
    }
}

fn length_in_words(seconds: i64, reminds: bool) -> String {
    let (mut left, mut parts) = (seconds.unsigned_abs(), Vec::new());
    for (unit, word) in [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")] {
        let count = left / unit;
        left %= unit;
        if count > 0 {
            parts.push(format!("{count} {word}{}", if count == 1 { "" } else { "s" }));
        }
    }
    match (parts.is_empty(), reminds, seconds < 0) {
        (true, true, _) => "when it begins".into(),
        (true, false, _) => "no time".into(),
        (_, true, true) => format!("{} before", parts.join(" ")),
        (_, true, false) => format!("{} after", parts.join(" ")),
        _ => parts.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(first: &str, second: &str) -> String {
        let mut html = Html::default();
        sides(Some(first.as_bytes()), Some(second.as_bytes()), &mut html);
        html.0.split("<details>").next().unwrap_or_default().to_string()
    }

    #[test]
    fn only_what_differs_is_said() {
        let event = |start: &str, rule: &str, trigger: &str| {
            format!(
                "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20240101T000000Z\r\nSUMMARY:Choir\r\nDTSTART;TZID=Europe/Berlin:{start}\r\nRRULE:{rule}\r\nBEGIN:VALARM\r\nTRIGGER:{trigger}\r\nEND:VALARM\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
            )
        };
        let html = shown(
            &event("20240408T100000", "FREQ=WEEKLY", "-PT15M"),
            &event("20240408T113000", "FREQ=DAILY", "-P1D"),
        );
        for wanted in [
            "<th>From</th><td><p><mark>8 April 2024, 10:00 (Europe/Berlin)</mark></p></td><td><p><mark>8 April 2024, 11:30",
            "<th>Repeats</th><td><p><mark>every week on Monday</mark></p></td><td><p><mark>every day</mark>",
            "<th>Reminder 1: When it reminds</th><td><p><mark>15 minutes before</mark></p></td><td><p><mark>1 day before</mark>",
        ] {
            assert!(html.contains(wanted), "{wanted}\n{html}");
        }
        assert!(!html.contains("Choir") && !html.contains("DTSTAMP"), "{html}");
    }

    #[test]
    fn cards_and_hostile_text() {
        let card = |more: &str| {
            format!("BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Ann\r\nTEL;TYPE=CELL:+1\r\n{more}END:VCARD\r\n")
        };
        let html = shown(
            &card("TEL;TYPE=HOME:+2\r\nBDAY:1970-04-01\r\n"),
            &card("NOTE:<b>x\\nb\r\nBDAY:19700402\r\n"),
        );
        for wanted in [
            "<td><p>+1 (cell)</p><p><mark>+2 (home)</mark></p></td><td><p>+1 (cell)</p></td>",
            "&lt;b&gt;x",
            "1 April 1970",
            "<em>nothing</em>",
        ] {
            assert!(html.contains(wanted), "{wanted}\n{html}");
        }
        assert!(shown(&card(""), &card("REV:1\r\n")).contains("Both say the same"));
    }
}
