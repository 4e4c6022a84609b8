//! The list of people, search, groups, photos and birthdays.

use std::collections::BTreeMap;

use chassis::http::{Answer, Fault, Request};
use dav::calendar::civil::Civil;
use dav::calendar::words::MONTHS;
use dav::card::person::Person;
use dav::household::properties::Kind;
use dav::household::view::View;
use dav::http::Site;
use dav::pages::broken;
use dav::pages::html::Html;
use dav::pages::object::page_of;
use dav::path::encode;
use dav::reading::{Component, read};

use crate::ABOUT;
use crate::picture::face;

/// Somebody in a book.
pub struct Entry {
    /// The book's stored path.
    pub book: String,
    /// The card's name.
    pub name: String,
    /// What the card says.
    pub person: Person,
    /// The card.
    pub card: Component,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// People on one page.
const PAGE: usize = 200;

/// Everybody in an account's books, by name.
pub fn everybody(view: &View) -> Result<Vec<Entry>, Fault> {
    let mut out = Vec::new();
    for book in view.collections.values().filter(|c| c.properties.kind == Kind::AddressBook) {
        for (name, member) in book.members() {
            let bytes = view.read(book, name, member).map_err(broken)?.to_vec();
            let Some(card) = read(&bytes).ok().and_then(|all| all.into_iter().next()) else { continue };
            let person = Person::of(&card);
            out.push(Entry { book: book.path.clone(), name: name.to_string(), person, card, bytes });
        }
    }
    out.sort_by(|a, b| a.person.sort.cmp(&b.person.sort));
    Ok(out)
}

pub async fn list(site: Site, request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    site.household().prepare(&visitor.account().user).await.map_err(broken)?;
    let view = site.household().view(&visitor.account().user).map_err(broken)?;
    let form = request.query_form();
    let (query, from) = (form.text("q").to_string(), form.text("from").parse::<usize>().unwrap_or(0));
    let (sought, group) = (query.to_lowercase(), form.text("group").to_string());
    let everybody = everybody(&view)?;
    let fits = |one: &&Entry| (sought.is_empty() || says(one, &sought)) && is_in(one, &group, &everybody);
    let found: Vec<&Entry> = everybody.iter().filter(fits).collect();
    let mut html = Html::default();
    html.raw("<div class=\"bar\"><h1>People</h1><a class=\"button\" href=\"/card/new\" accesskey=\"n\">New contact</a></div>");
    html.raw("<form method=\"get\" action=\"/\" class=\"search\" role=\"search\"><input name=\"q\" type=\"search\" aria-label=\"Search\" placeholder=\"Name, mail, number, note\" accesskey=\"s\" value=\"");
    html.text(&query).raw("\"><button class=\"quiet\">Search</button></form>");
    groups(&everybody, &group, &mut html);
    if found.is_empty() {
        let words = if sought.is_empty() {
            "Nobody yet. Add somebody, or import a .vcf file on the page Books."
        } else {
            "Nobody like that."
        };
        html.raw("<p class=\"empty\">").text(words).raw("</p>");
    }
    html.raw("<ul class=\"people\">");
    let mut letter = String::new();
    for one in found.iter().skip(from).take(PAGE) {
        let own: String = one.person.sort.chars().take(1).flat_map(char::to_uppercase).collect();
        if own != letter {
            letter = own;
            html.raw("<li class=\"letter\">").text(&letter).raw("</li>");
        }
        row(one, &mut html);
    }
    html.raw("</ul>");
    if found.len() > from + PAGE {
        let more = format!("/?q={}&group={}&from={}", encode(&query), encode(&group), from + PAGE);
        html.raw("<p><a href=\"").text(&more).raw(&format!("\">{} more</a></p>", found.len() - from - PAGE));
    }
    site.chassis.page_of_html(Some(&visitor), &ABOUT.page("People", "/"), &html.0)
}

/// Whether somebody belongs to a group: a group card by its UID, a category by its name.
fn is_in(one: &Entry, group: &str, everybody: &[Entry]) -> bool {
    if group.is_empty() {
        return true;
    }
    let uid = |entry: &Entry| {
        entry.card.value("UID").unwrap_or_default().trim_start_matches("urn:uuid:").to_string()
    };
    match everybody.iter().find(|entry| entry.person.is_group && uid(entry) == group) {
        Some(card) => card.person.members.contains(&uid(one)) || uid(one) == group,
        None => one.person.categories.iter().any(|category| category == group),
    }
}

/// Groups and categories to choose from.
fn groups(everybody: &[Entry], chosen: &str, html: &mut Html) {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for one in everybody {
        if one.person.is_group {
            let uid = one.card.value("UID").unwrap_or_default().trim_start_matches("urn:uuid:");
            known.insert(one.person.name.clone(), uid.to_string());
        }
        one.person.categories.iter().for_each(|category| {
            known.entry(category.clone()).or_insert_with(|| category.clone());
        });
    }
    if known.is_empty() {
        return;
    }
    html.raw("<nav class=\"chips\" aria-label=\"Groups\">");
    for (name, group) in
        std::iter::once(("Everybody", "")).chain(known.iter().map(|(n, g)| (n.as_str(), g.as_str()))).take(40)
    {
        let mark = if group == chosen { "\" aria-current=\"page\">" } else { "\">" };
        html.raw("<a href=\"/?group=").raw(&encode(group)).raw(mark).text(name).raw("</a>");
    }
    html.raw("</nav>");
}

fn says(one: &Entry, sought: &str) -> bool {
    let person = &one.person;
    let in_values =
        |list: &[dav::card::person::Labelled]| list.iter().any(|v| v.value.to_lowercase().contains(sought));
    person.name.to_lowercase().contains(sought)
        || person.organisation.to_lowercase().contains(sought)
        || person.categories.iter().any(|c| c.to_lowercase().contains(sought))
        || in_values(&person.emails)
        || in_values(&person.phones)
        || one.card.text("NOTE").is_some_and(|note| note.to_lowercase().contains(sought))
}

fn row(one: &Entry, html: &mut Html) {
    html.raw("<li><a href=\"").raw(&page_of("card", &one.book, &one.name)).raw("\">");
    face(one, "", html);
    html.raw("<div><strong>").text(&one.person.name).raw("</strong>");
    if one.person.is_group {
        html.raw(" <em class=\"tag\">group</em>");
    }
    let first =
        one.person.emails.first().or(one.person.phones.first()).map(|v| v.value.clone()).unwrap_or_default();
    let with = if one.person.organisation.is_empty() || first.is_empty() { "" } else { " · " };
    html.raw("<br><span>")
        .text(&format!("{first}{with}{}", one.person.organisation))
        .raw("</span></div></a></li>");
}

pub async fn birthdays(site: Site, request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    let view = site.household().view(&visitor.account().user).map_err(broken)?;
    let today = Civil((chassis::clock::now_ms() / 1000) as i64).day();
    let mut coming: Vec<_> = everybody(&view)?
        .into_iter()
        .filter_map(|one| Some((one.person.birthday?.next(today)?, one)))
        .collect();
    coming.sort_by(|a, b| (a.0, &a.1.person.sort).cmp(&(b.0, &b.1.person.sort)));
    let mut html = Html::default();
    html.raw("<h1>Birthdays</h1>");
    if coming.is_empty() {
        html.raw("<p class=\"empty\">No card says a birthday.</p>");
    }
    html.raw("<ul class=\"list birthdays\">");
    for (day, one) in coming {
        let (year, month, of_month) = day.ymd();
        let turns = one
            .person
            .birthday
            .and_then(|b| b.year)
            .map(|born| format!(" turns {}", year - born))
            .unwrap_or_default();
        let days = day.0 - today.0;
        let when = match days {
            0 => "today".to_string(),
            1 => "tomorrow".to_string(),
            n => format!("in {n} days"),
        };
        html.raw("<li><div>")
            .text(&format!("{of_month} {}, {when}", MONTHS[month as usize - 1]))
            .raw("</div><div><a href=\"");
        html.raw(&page_of("card", &one.book, &one.name))
            .raw("\">")
            .text(&one.person.name)
            .raw("</a>")
            .text(&turns)
            .raw("</div></li>");
    }
    html.raw("</ul>");
    site.chassis.page_of_html(Some(&visitor), &ABOUT.page("Birthdays", "/birthdays"), &html.0)
}
