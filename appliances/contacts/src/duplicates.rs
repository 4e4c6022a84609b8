//! Cards that seem to be of one person, and their merge with a preview: nothing that only one of them says is lost.

use std::collections::BTreeMap;

use chassis::http::{Answer, Fault, Request, see_other};
use content_lines::{Limits, merge as lines};
use dav::card::person::Person;
use dav::http::Site;
use dav::pages::broken;
use dav::pages::html::Html;
use dav::pages::object;
use dav::reading::read;

use crate::ABOUT;
use crate::facts;
use crate::people::{Entry, everybody};

/// Pairs shown on one page.
const SHOWN: usize = 50;

pub async fn page(site: Site, request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    let view = site.household().view(&visitor.account().user).map_err(broken)?;
    let everybody = everybody(&view)?;
    let mut html = Html::default();
    html.raw("<h1>Duplicates</h1><p class=\"lead\">Cards with the same name, mail address or telephone number. Merging keeps everything that either says.</p>");
    let pairs = pairs(&everybody);
    if pairs.is_empty() {
        html.raw("<p class=\"empty\">There are none.</p>");
    }
    for (a, b, why) in pairs.iter().take(SHOWN) {
        html.raw("<section><h2>")
            .text(&everybody[*a].person.name)
            .raw(" and ")
            .text(&everybody[*b].person.name)
            .raw("</h2><p class=\"quiet\">")
            .text(why)
            .raw("</p>");
        preview(&everybody[*a], &everybody[*b], &mut html);
        let fields = [("keep", place(&everybody[*a])), ("drop", place(&everybody[*b]))];
        let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
        html.button("/duplicates", &visitor.csrf(), "quiet", "Merge them", &fields).raw("</section>");
    }
    site.chassis.page_of_html(Some(&visitor), &ABOUT.page("Duplicates", "/duplicates"), &html.0)
}

pub async fn merge(site: Site, mut request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    let form = site.chassis.form(&mut request, &visitor).await?;
    let account = visitor.account().user.clone();
    let view = site.household().view(&account).map_err(broken)?;
    let everybody = everybody(&view)?;
    let find = |field: &str| {
        everybody.iter().find(|one| place(one) == form.text(field)).ok_or_else(Fault::not_found)
    };
    let (keep, gone) = (find("keep")?, find("drop")?);
    let card = merged(keep, gone).ok_or_else(|| Fault::bad_request("They cannot be merged."))?;
    let names = [keep.book.clone(), keep.name.clone()];
    let (_, member) = view.member(&names).ok_or_else(Fault::not_found)?;
    object::put(&site, &visitor, &request, &names, Some(&member.id.to_string()), card).await?;
    object::delete(&site, &visitor, &request, &[gone.book.clone(), gone.name.clone()]).await?;
    Ok(see_other("/duplicates"))
}

/// Both cards in words, and what they become together.
fn preview(keep: &Entry, gone: &Entry, html: &mut Html) {
    let of = |one: &Entry| facts::facts(&one.card, &one.person);
    let (ours, theirs) = (of(keep), of(gone));
    html.raw("<div class=\"sides\"><div><h3>The first</h3>");
    facts::list(&ours, |fact| !theirs.contains(fact), html);
    html.raw("</div><div><h3>The second</h3>");
    facts::list(&theirs, |fact| !ours.contains(fact), html);
    html.raw("</div></div><details><summary>Merged they say</summary>");
    let card = merged(keep, gone).and_then(|bytes| read(&bytes).ok()?.into_iter().next());
    match card {
        Some(card) => {
            facts::list(&facts::facts(&card, &Person::of(&card)), |fact| !ours.contains(fact), html)
        }
        None => drop(html.raw("<p>They cannot be merged.</p>")),
    }
    html.raw("</details>");
}

fn place(one: &Entry) -> String {
    format!("{}/{}", one.book, one.name)
}

/// Pairs of places with the reason, each card in one pair at most.
fn pairs(everybody: &[Entry]) -> Vec<(usize, usize, String)> {
    let mut seen: BTreeMap<(u8, String), usize> = BTreeMap::new();
    let mut taken = vec![false; everybody.len()];
    let mut out = Vec::new();
    for (at, one) in everybody.iter().enumerate().filter(|(_, one)| !one.person.is_group) {
        let mut keys = vec![(0, one.person.name.to_lowercase(), "the same name".to_string())];
        keys.extend(
            one.person
                .emails
                .iter()
                .map(|e| (1, e.value.to_lowercase(), format!("the same mail address, {}", e.value))),
        );
        keys.extend(one.person.phones.iter().map(|p| {
            let digits: String = p.value.chars().filter(char::is_ascii_digit).collect();
            (2, digits, format!("the same number, {}", p.value))
        }));
        for (kind, key, why) in
            keys.into_iter().filter(|(kind, key, _)| !key.is_empty() && (*kind != 2 || key.len() > 5))
        {
            match seen.get(&(kind, key.clone())) {
                Some(other) if *other != at && !taken[*other] && !taken[at] => {
                    (taken[*other], taken[at]) = (true, true);
                    out.push((*other, at, why));
                }
                Some(_) => {}
                None => drop(seen.insert((kind, key), at)),
            }
        }
    }
    out
}

/// Both cards in one, under the first one's UID.
fn merged(keep: &Entry, gone: &Entry) -> Option<Vec<u8>> {
    let uid = |card: &dav::reading::Component| card.property("UID").map(|p| p.range.clone());
    let mut other = gone.bytes.clone();
    if let (Some(own), Some(its)) = (uid(&keep.card), uid(&gone.card)) {
        other.splice(its, keep.bytes[own].to_vec());
    }
    let merged = lines::vcard(None, &keep.bytes, &other, &Limits::default()).ok()?;
    Some(merged.bytes)
}
