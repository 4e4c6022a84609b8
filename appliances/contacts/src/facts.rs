//! A card in words.

use dav::calendar::words::MONTHS;
use dav::card::person::Person;
use dav::pages::html::Html;
use dav::reading::{Component, split, unescape};

/// What a card says, one line a value.
pub fn facts(card: &Component, person: &Person) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut add = |label: &str, more: &str, value: String| {
        if !value.trim().is_empty() {
            let label = if more.is_empty() { label.to_string() } else { format!("{label} ({more})") };
            out.push((label, value.trim().to_string()));
        }
    };
    add("Name", "", person.name.clone());
    add("Nickname", "", card.text("NICKNAME").unwrap_or_default());
    add("Organisation", "", person.organisation.clone());
    add("Job", "", card.text("TITLE").unwrap_or_default());
    person.emails.iter().for_each(|one| add("Mail", &one.label, one.value.clone()));
    person.phones.iter().for_each(|one| add("Telephone", &one.label, one.value.clone()));
    for address in card.all("ADR") {
        let parts = split(&address.value, ';').into_iter().map(|part| unescape(part).trim().to_string());
        let parts: Vec<String> = parts.filter(|part| !part.is_empty()).collect();
        add(
            "Address",
            &address.types().into_iter().filter(|t| t != "pref").collect::<Vec<_>>().join(", "),
            parts.join(", "),
        );
    }
    card.all("URL").for_each(|url| add("Web page", "", url.text()));
    if let Some(day) = person.birthday {
        let year = day.year.map(|year| format!(" {year}")).unwrap_or_default();
        add("Birthday", "", format!("{} {}{year}", day.day, MONTHS[day.month as usize - 1]));
    }
    add("Groups", "", person.categories.join(", "));
    add("Notes", "", card.text("NOTE").unwrap_or_default());
    out
}

/// The same as a list; lines that `new` says are marked.
pub fn list(facts: &[(String, String)], new: impl Fn(&(String, String)) -> bool, html: &mut Html) {
    html.raw("<dl class=\"facts\">");
    for fact in facts {
        html.raw(if new(fact) { "<div class=\"new\"><dt>" } else { "<div><dt>" });
        html.text(&fact.0).raw("</dt><dd>").text(&fact.1).raw("</dd></div>");
    }
    html.raw("</dl>");
}
