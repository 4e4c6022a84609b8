//! The list of people, search, groups, photos and birthdays.

use base64::Engine as _;
use chassis::http::{Answer, Fault, HeaderValue, Request, StatusCode, header, reply};
use dav::calendar::civil::Civil;
use dav::calendar::words::MONTHS;
use dav::card::person::Person;
use dav::household::properties::Kind;
use dav::household::view::View;
use dav::http::Site;
use dav::pages::broken;
use dav::pages::html::Html;
use dav::path::encode;
use dav::reading::{Component, read};

use crate::ABOUT;

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

pub async fn list(site: &Site, request: &Request) -> Answer {
    let visitor = site.chassis.require(request).await?;
    site.household().prepare(&visitor.account().user).await.map_err(broken)?;
    let view = site.household().view(&visitor.account().user).map_err(broken)?;
    let form = request.query_form();
    let (query, from) = (form.text("q").to_string(), form.text("from").parse::<usize>().unwrap_or(0));
    let sought = query.to_lowercase();
    let everybody = everybody(&view)?;
    let found: Vec<&Entry> = everybody.iter().filter(|one| sought.is_empty() || says(one, &sought)).collect();
    let mut html = Html::default();
    html.raw("<div class=\"bar\"><h1>People</h1><a href=\"/card/new\" accesskey=\"n\">New contact</a></div>");
    html.raw("<form method=\"get\" action=\"/\" class=\"inline\" role=\"search\">")
        .input("Search", "q", "search", &query, "accesskey=\"s\"")
        .raw("<button class=\"quiet\">Search</button></form>");
    if found.is_empty() {
        html.raw("<p class=\"empty\">")
            .text(if sought.is_empty() { "Nobody yet." } else { "Nobody like that." })
            .raw("</p>");
    }
    html.raw("<ul class=\"people\">");
    found.iter().skip(from).take(PAGE).for_each(|one| row(one, &mut html));
    html.raw("</ul>");
    if found.len() > from + PAGE {
        html.raw(&format!("<p><a href=\"/?q={}&amp;from={}\">More</a></p>", encode(&query), from + PAGE));
    }
    site.chassis.page_of_html(Some(&visitor), &ABOUT.page("People", "/"), &html.0)
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
    html.raw("<li><a href=\"/card/").raw(&encode(&one.book)).raw("/").raw(&encode(&one.name)).raw("\">");
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

/// A photo, or the first letter.
pub fn face(one: &Entry, class: &str, html: &mut Html) {
    if picture(&one.card).is_some() {
        html.raw(&format!(
            "<img class=\"face {class}\" alt=\"\" loading=\"lazy\" src=\"/photo/{}/{}\">",
            encode(&one.book),
            encode(&one.name)
        ));
    } else {
        let letter: String = one.person.name.chars().take(1).flat_map(char::to_uppercase).collect();
        html.raw(&format!("<em class=\"face {class}\" aria-hidden=\"true\">")).text(&letter).raw("</em>");
    }
}

/// The picture inside of a card: its media type and bytes. Links to elsewhere are not followed.
fn picture(card: &Component) -> Option<(&'static str, Vec<u8>)> {
    let photo = card.property("PHOTO")?;
    let data = match photo.value.strip_prefix("data:") {
        Some(uri) => uri.split_once(";base64,")?.1,
        None if photo.parameter("ENCODING").is_some() => photo.value.as_str(),
        None => return None,
    };
    let data: String = data.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let bytes = base64::engine::general_purpose::STANDARD.decode(data).ok()?;
    let kind = match bytes.as_slice() {
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [b'G', b'I', b'F', ..] => "image/gif",
        [b'R', b'I', b'F', b'F', ..] => "image/webp",
        _ => return None,
    };
    Some((kind, bytes))
}

pub async fn photo(site: &Site, request: &Request) -> Answer {
    let visitor = site.chassis.require(request).await?;
    let view = site.household().view(&visitor.account().user).map_err(broken)?;
    let names = [request.matched("book").to_string(), request.matched("name").to_string()];
    let (book, member) = view.member(&names).ok_or_else(Fault::not_found)?;
    let bytes = view.read(book, &names[1], member).map_err(broken)?;
    let card = read(&bytes).ok().and_then(|all| all.into_iter().next()).ok_or_else(Fault::not_found)?;
    let (kind, bytes) = picture(&card).ok_or_else(Fault::not_found)?;
    let mut response = reply(StatusCode::OK, kind, bytes);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600"));
    Ok(response)
}

pub async fn birthdays(site: &Site, request: &Request) -> Answer {
    let visitor = site.chassis.require(request).await?;
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
    html.raw("<ul class=\"list\">");
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
            .raw("</div><div><a href=\"/card/");
        html.raw(&encode(&one.book))
            .raw("/")
            .raw(&encode(&one.name))
            .raw("\">")
            .text(&one.person.name)
            .raw("</a>")
            .text(&turns)
            .raw("</div></li>");
    }
    html.raw("</ul>");
    site.chassis.page_of_html(Some(&visitor), &ABOUT.page("Birthdays", "/birthdays"), &html.0)
}
