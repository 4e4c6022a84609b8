//! A card as a form. Edits are line edits: what the form does not show stays as it was.

use chassis::http::{Answer, Fault, Form, Request, see_other};
use content_lines::{Document, Limits, Property};
use dav::card::person::Person;
use dav::household::properties::Kind;
use dav::http::Site;
use dav::pages::html::Html;
use dav::pages::object::{self, Object};
use dav::pages::{broken, uploaded};
use dav::reading::{escape, read, split, unescape};

use crate::ABOUT;
use crate::facts;
use crate::people::Entry;
use crate::picture::{PHOTO_BYTES_MAX, face, with_photo};

pub async fn new(site: Site, request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    let view = site.household().view(&visitor.account().user).map_err(broken)?;
    let books: Vec<(String, String)> = view
        .collections
        .values()
        .filter(|c| c.properties.kind == Kind::AddressBook)
        .map(|c| (c.path.clone(), c.display_name()))
        .collect();
    let mut html = Html::default();
    html.raw("<h1>New contact</h1>")
        .form("/card/new", &visitor.csrf(), "")
        .select("Book", "book", &books, "");
    let card = read(b"BEGIN:VCARD\r\nEND:VCARD\r\n").map_err(Fault::internal)?.remove(0);
    fields(&card, &mut html);
    html.raw("<button>Save</button></form>");
    site.chassis.page_of_html(Some(&visitor), &ABOUT.page("New contact", "/"), &html.0)
}

pub async fn create(site: Site, mut request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    let form = site.chassis.form(&mut request, &visitor).await?;
    let uid = chassis::accounts::new_token::<15>();
    let fresh = format!("BEGIN:VCARD\r\nVERSION:3.0\r\nUID:{uid}\r\nEND:VCARD\r\n");
    let bytes = edited(fresh.as_bytes(), &form)?;
    let names = [form.text("book").to_string(), format!("{uid}.vcf")];
    object::put(&site, &visitor, &request, &names, None, bytes).await?;
    Ok(see_other(&page_of(&names)))
}

fn page_of(names: &[String; 2]) -> String {
    object::page_of("card", &names[0], &names[1])
}

fn names_of(request: &Request) -> [String; 2] {
    object::names_of(request, "book")
}

pub async fn show(site: Site, request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    let object = Object::open(&site, &visitor, names_of(&request))?;
    let card =
        read(&object.bytes).ok().and_then(|all| all.into_iter().next()).ok_or_else(Fault::not_found)?;
    let one = Entry {
        book: object.names[0].clone(),
        name: object.names[1].clone(),
        person: Person::of(&card),
        card,
        bytes: object.bytes.to_vec(),
    };
    let (at, csrf) = (page_of(&object.names), visitor.csrf());
    let mut html = Html::default();
    html.raw("<div class=\"person\">");
    face(&one, "large", &mut html);
    html.raw("<h1>").text(&one.person.name).raw("</h1></div>");
    if one.person.is_group {
        members(&object, &one, &mut html);
    }
    facts::list(&facts::facts(&one.card, &one.person)[1..], |_| false, &mut html);
    if object.is_writable() {
        html.raw("<details><summary>Edit</summary>").form(&at, &csrf, "");
        html.raw("<input type=\"hidden\" name=\"etag\" value=\"").text(&object.etag()).raw("\">");
        fields(&one.card, &mut html);
        html.raw("<button>Save</button></form></details><details><summary>Photo</summary>");
        html.raw("<form method=\"post\" enctype=\"multipart/form-data\" action=\"")
            .text(&at)
            .raw("/photo?csrf=")
            .raw(&csrf);
        html.raw("\"><label>A picture of at most 1 MB; none takes the photo away<input type=\"file\" name=\"file\" accept=\"image/*\"></label><button class=\"quiet\">Set the photo</button></form></details>");
    }
    object::foot(&visitor, &object, &at, "card", &mut html);
    site.chassis.page_of_html(Some(&visitor), &ABOUT.page("Contact", "/"), &html.0)
}

fn members(object: &Object, one: &Entry, html: &mut Html) {
    let book = &object.at.collection;
    html.raw("<h2>Members</h2><ul class=\"rows\">");
    for uid in &one.person.members {
        let name = book.with_uid(uid).or_else(|| book.with_uid(&format!("urn:uuid:{uid}")));
        match name.and_then(|name| Some((name, book.member(name)?))) {
            Some((name, member)) => html
                .raw("<li><a href=\"")
                .text(&page_of(&[one.book.clone(), name.to_string()]))
                .raw("\">")
                .text(&member.summary.title)
                .raw("</a></li>"),
            None => html.raw("<li class=\"quiet\">").text(uid).raw("</li>"),
        };
    }
    html.raw("</ul>");
}

pub async fn save(site: Site, mut request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    let form = site.chassis.form(&mut request, &visitor).await?;
    let object = Object::open(&site, &visitor, names_of(&request))?;
    let bytes = edited(&object.bytes, &form)?;
    object::put(&site, &visitor, &request, &object.names, Some(form.text("etag")), bytes).await?;
    Ok(see_other(&page_of(&object.names)))
}

pub async fn set_photo(site: Site, mut request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    let file = uploaded(&mut request, &visitor, PHOTO_BYTES_MAX).await?;
    let object = Object::open(&site, &visitor, names_of(&request))?;
    let bytes = with_photo(&object.bytes, &file)?;
    object::put(&site, &visitor, &request, &object.names, Some(&object.etag()), bytes).await?;
    Ok(see_other(&page_of(&object.names)))
}

pub async fn delete(site: Site, mut request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    site.chassis.form(&mut request, &visitor).await?;
    object::delete(&site, &visitor, &request, &names_of(&request)).await?;
    Ok(see_other("/"))
}

/// Properties that the form shows one by one, and how many at least.
const LISTS: [(&str, &str, &str, usize); 3] =
    [("EMAIL", "email", "Mail", 2), ("TEL", "tel", "Telephone", 2), ("URL", "url", "Web page", 1)];
const TEXTS: [(&str, &str, &str); 4] = [
    ("NICKNAME", "nickname", "Nickname"),
    ("ORG", "org", "Organisation"),
    ("TITLE", "title", "Job"),
    ("BDAY", "bday", "Birthday (1990-12-31)"),
];

fn fields(card: &dav::reading::Component, html: &mut Html) {
    let name = card.property("N").map(|n| n.value.clone()).unwrap_or_default();
    let parts: Vec<String> = split(&name, ';').iter().map(|part| unescape(part)).collect();
    let part = |at: usize| parts.get(at).cloned().unwrap_or_default();
    html.raw("<div class=\"pair\">").input("Given name", "given", "text", &part(1), "maxlength=\"100\"");
    html.input("Family name", "family", "text", &part(0), "maxlength=\"100\"").raw("</div>");
    html.input("Shown as", "fn", "text", &card.text("FN").unwrap_or_default(), "maxlength=\"200\"");
    for (name, field, label, least) in LISTS {
        let values: Vec<String> = card.all(name).map(|p| p.text()).collect();
        for at in 0..(values.len() + 1).max(least) {
            html.input(
                label,
                &format!("{field}{at}"),
                "text",
                values.get(at).map_or("", String::as_str),
                "maxlength=\"300\"",
            );
        }
    }
    for (name, field, label) in TEXTS {
        html.input(label, field, "text", &card.text(name).unwrap_or_default(), "maxlength=\"300\"");
    }
    html.raw("<label>Notes<textarea name=\"note\" rows=\"4\">")
        .text(&card.text("NOTE").unwrap_or_default())
        .raw("</textarea></label>");
}

/// The card with what the form says, edited line by line.
fn edited(bytes: &[u8], form: &Form) -> Result<Vec<u8>, Fault> {
    let bad = |e: content_lines::PropertyError| Fault::bad_request(e.to_string());
    let before = read(bytes).map_err(|e| Fault::bad_request(e.to_string()))?.remove(0);
    let mut document =
        Document::parse(bytes, &Limits::default()).map_err(|e| Fault::bad_request(e.to_string()))?;
    let card = document.find_component("VCARD").ok_or_else(|| Fault::bad_request("This is no card."))?;
    let old = before.property("N").map(|n| n.value.clone()).unwrap_or_default();
    let mut parts: Vec<String> = split(&old, ';').iter().map(|p| p.to_string()).collect();
    parts.resize(parts.len().max(5), String::new());
    (parts[0], parts[1]) = (escape(form.text("family")), escape(form.text("given")));
    let shown = match form.text("fn").trim() {
        "" => format!("{} {}", form.text("given"), form.text("family")).trim().to_string(),
        name => name.to_string(),
    };
    let shown = if shown.is_empty() { form.text("org").to_string() } else { shown };
    let mut single = vec![
        ("N", parts.join(";"), old),
        ("FN", escape(&shown), before.value("FN").unwrap_or_default().to_string()),
    ];
    for (name, field, _) in TEXTS {
        let was = before.text(name).unwrap_or_default();
        if form.text(field) != was {
            single.push((name, escape(form.text(field)), before.value(name).unwrap_or_default().to_string()));
        }
    }
    let note = form.text("note").replace("\r\n", "\n");
    if note != before.text("NOTE").unwrap_or_default() {
        single.push(("NOTE", escape(&note), "\u{0}".into()));
    }
    for (name, value, was) in single {
        if value == was {
            continue;
        }
        let line = document.properties(card, name).next();
        match (value.is_empty(), line) {
            (true, Some(line)) => document.remove(line).map_err(bad)?,
            (true, None) => {}
            (false, Some(line)) => document.set_value(line, value.as_bytes()).map_err(bad)?,
            (false, None) => document
                .add_property(card, &Property::raw(name, value.into_bytes()))
                .map(drop)
                .map_err(bad)?,
        }
    }
    for (name, field, _, _) in LISTS {
        let known: Vec<String> = before.all(name).map(|p| p.text()).collect();
        // From the last one back, so that the places of those before stay.
        for at in (0..known.len() + 2).rev() {
            let Some(value) = form.get(&format!("{field}{at}")) else { continue };
            let line = document.properties(card, name).nth(at);
            match (line, known.get(at)) {
                (Some(_), Some(was)) if was == value => {}
                (Some(line), Some(_)) if value.trim().is_empty() => document.remove(line).map_err(bad)?,
                (Some(line), Some(_)) => document.set_value(line, escape(value).as_bytes()).map_err(bad)?,
                _ if value.trim().is_empty() => {}
                _ => document
                    .add_property(card, &Property::raw(name, escape(value).into_bytes()))
                    .map(drop)
                    .map_err(bad)?,
            }
        }
    }
    let now = dav::calendar::civil::Civil((chassis::clock::now_ms() / 1000) as i64).basic();
    document.set_property(card, "REV", &Property::raw("REV", format!("{now}Z").into_bytes())).map_err(bad)?;
    Ok(document.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_form_does_not_show_stays() {
        let card = "BEGIN:VCARD\r\nVERSION:3.0\r\nUID:1\r\nN:L;Ada;M;Dr.;\r\nFN:Ada\r\nitem1.EMAIL;type=pref:a@x\r\nitem1.X-ABLabel:Own\r\nEMAIL:b@x\r\nX-FOO:bar\r\nEND:VCARD\r\n";
        let form =
            Form::parse(b"given=Ada&family=Love&fn=Ada&email0=a%40y&email1=&email2=c%40x&note=Hi%0D%0Athere");
        let out = String::from_utf8(edited(card.as_bytes(), &form).unwrap()).unwrap();
        for kept in [
            "N:Love;Ada;M;Dr.;",
            "item1.EMAIL;type=pref:a@y",
            "item1.X-ABLabel:Own",
            "X-FOO:bar",
            "EMAIL:c@x",
            "NOTE:Hi\\nthere",
        ] {
            assert!(out.contains(&format!("{kept}\r\n")), "{kept}: {out}");
        }
        assert!(!out.contains("b@x"));
    }
}
