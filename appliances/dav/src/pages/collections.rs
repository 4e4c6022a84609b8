//! The list of calendars or books: make, name, colour, share, publish, import, export, delete.

use std::sync::Arc;

use chassis::http::{Answer, Fault, Request, Router, see_other};

use super::html::Html;
use super::{About, broken, caller, fault};
use crate::household::names::COLLECTION_FILE;
use crate::household::properties::{Kind, Properties, Share};
use crate::household::view::{Collection, join};
use crate::http::{Site, to_http};
use crate::path::encode;
use crate::server::{Fault as DavFault, Request as DavRequest};

pub fn routes(site: &Site, about: &'static About) -> Router {
    let (a, b, c, d, e) = (site.clone(), site.clone(), site.clone(), site.clone(), site.clone());
    Router::new()
        .get("/collections", move |request| {
            let site = a.clone();
            async move { list(&site, about, &request).await }
        })
        .post("/collections", move |request| {
            let site = b.clone();
            async move { change(&site, about, request).await }
        })
        .get("/export/{name}", move |request| {
            let site = c.clone();
            async move { export(&site, &request).await }
        })
        .get("/imports/{id}", move |request| {
            let site = e.clone();
            async move { super::upload::progress(&site, about, &request).await }
        })
        .post("/import/{name}", move |request| {
            let site = d.clone();
            async move { super::upload::import(&site, request).await }
        })
}

async fn list(site: &Site, about: &'static About, request: &Request) -> Answer {
    let visitor = site.chassis.require(request).await?;
    let (account, csrf) = (visitor.account().user.clone(), visitor.csrf());
    site.household().prepare(&account).await.map_err(broken)?;
    let view = site.household().view(&account).map_err(broken)?;
    let mut html = Html::default();
    html.raw("<h1>Your ").text(about.word).raw("s</h1>");
    let imported = request.query_form().text("imported").to_string();
    if !imported.is_empty() {
        html.raw("<p class=\"note\" role=\"status\">").text(&imported).raw("</p>");
    }
    let own = view.collections.values().filter(|c| c.properties.kind == about.kind);
    for (place, collection) in own.enumerate() {
        one(site, about, &account, (place, collection), &csrf, request, &mut html);
    }
    let shared: Vec<_> = site
        .household()
        .shared_with(&account)
        .into_iter()
        .filter(|(_, c, _)| c.properties.kind == about.kind)
        .collect();
    if !shared.is_empty() {
        html.raw("<h2>Shared with you</h2><ul class=\"rows\">");
        for (owner, collection, share) in shared {
            let how = if share == Share::Read { "for reading" } else { "for reading and writing" };
            html.raw("<li><div><strong>")
                .text(&collection.display_name())
                .raw("</strong><span>by ")
                .text(&owner)
                .raw(", ")
                .raw(how)
                .raw("</span></div></li>");
        }
        html.raw("</ul>");
    }
    html.raw("<section><h2>Take everything along</h2><p><a href=\"/everything.tar\">Download all collections</a> as files, each object as a device put it; or with its whole history by git, as the page <a href=\"/setup\">Set up</a> says.</p></section>");
    html.raw("<section><h2>One more</h2>")
        .form("/collections", &csrf, "")
        .raw("<input type=\"hidden\" name=\"do\" value=\"make\">");
    html.input("Name", "name", "text", "", "required maxlength=\"80\"")
        .raw("<button>Make it</button></form></section>");
    site.chassis.page_of_html(Some(&visitor), &about.page("Collections", "/collections"), &html.0)
}

fn one(
    site: &Site,
    about: &About,
    account: &str,
    (place, collection): (usize, &Arc<Collection>),
    csrf: &str,
    request: &Request,
    html: &mut Html,
) {
    let (path, properties) = (&collection.path, &collection.properties);
    let color = properties.color.as_deref().and_then(|c| c.get(..7)).unwrap_or("#2E6FBA");
    html.raw("<section><h2>");
    if about.kind == Kind::Calendar {
        html.raw(&format!("<span class=\"dot of{place}\"></span>"));
    }
    html.text(&collection.display_name()).raw("</h2><p class=\"quiet\">");
    let count = collection.count();
    html.text(&format!("{count} {}", if count == 1 { "object" } else { "objects" })).raw("</p>");
    let calendar = about.kind == Kind::Calendar;
    html.form("/collections", csrf, if calendar { "inline colours" } else { "inline" })
        .raw(
            "<input type=\"hidden\" name=\"do\" value=\"name\"><input type=\"hidden\" name=\"path\" value=\"",
        )
        .text(path)
        .raw("\">");
    html.input("Name", "name", "text", &collection.display_name(), "required maxlength=\"80\"");
    if calendar {
        html.input("Colour", "color", "color", color, "");
    }
    html.raw("<button class=\"quiet\">Save</button></form>");
    html.raw("<details><summary>Share in the household</summary>");
    for other in site.household().accounts().iter().filter(|other| *other != account) {
        let chosen = match properties.shares.get(other) {
            None => "no",
            Some(Share::Read) => "read",
            Some(Share::ReadWrite) => "write",
        };
        let options = [("no", "not at all"), ("read", "reading"), ("write", "reading and writing")];
        let options: Vec<(String, String)> =
            options.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
        html.form("/collections", csrf, "inline").raw("<input type=\"hidden\" name=\"do\" value=\"share\"><input type=\"hidden\" name=\"path\" value=\"").text(path);
        html.raw("\"><input type=\"hidden\" name=\"with\" value=\"").text(other).raw("\">");
        html.select(other, "how", &options, chosen).raw("<button class=\"quiet\">Share</button></form>");
    }
    match &properties.public {
        Some(secret) => {
            let host = request.host().unwrap_or("localhost");
            html.raw("<p>Whoever knows this link can read it: <code>")
                .text(&format!("webcal://{host}/public/{secret}.{}", about.end))
                .raw("</code></p>");
            html.button(
                "/collections",
                csrf,
                "quiet",
                "End the public link",
                &[("do", "private"), ("path", path)],
            );
        }
        None => {
            html.button(
                "/collections",
                csrf,
                "quiet",
                "Make a public link (read-only)",
                &[("do", "public"), ("path", path)],
            );
        }
    }
    html.raw("</details><details><summary>Import and export</summary><p><a href=\"/export/")
        .text(&encode(path))
        .raw("\">Download everything as .")
        .raw(about.end)
        .raw("</a></p>");
    html.raw("<form method=\"post\" enctype=\"multipart/form-data\" action=\"/import/")
        .text(&encode(path))
        .raw("?csrf=")
        .raw(csrf)
        .raw("\">");
    html.raw("<label>A file to import<input type=\"file\" name=\"file\" required accept=\".")
        .raw(about.end)
        .raw("\"></label><button class=\"quiet\">Import</button></form></details>");
    html.raw("<details><summary>Delete</summary><p>Everything in it goes. The history keeps it until it is purged, so that it can be undone.</p>");
    html.button("/collections", csrf, "danger", "Delete it", &[("do", "delete"), ("path", path)])
        .raw("</details></section>");
}

async fn change(site: &Site, about: &'static About, mut request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    let form = site.chassis.form(&mut request, &visitor).await?;
    let caller = caller(&visitor, &request);
    let (what, path) = (form.text("do").to_string(), form.text("path").to_string());
    let kind = about.kind;
    let known = form.text("with").to_string();
    if what == "share" && !site.household().accounts().contains(&known) {
        return Err(Fault::bad_request("There is no such account."));
    }
    let secret = chassis::accounts::new_token::<18>();
    let done = site.household().change(&caller.account, &caller, |view, change| {
        if what == "make" {
            let name = form.text("name").trim();
            let stored = (0..100)
                .map(|n| {
                    crate::household::names::stored(&slug(name, n)).unwrap_or_else(|_| format!("new-{n}"))
                })
                .find(|stored| !view.collections.contains_key(stored))
                .ok_or_else(|| DavFault::new(409, "there are too many of that name"))?;
            change.expect(&stored, None)?;
            change.put(join(&stored, COLLECTION_FILE), Properties::new(kind, name).write())?;
            return Ok(((), format!("“{name}” made")));
        }
        let collection = view
            .collections
            .get(&path)
            .filter(|c| c.properties.kind == kind)
            .ok_or_else(DavFault::not_found)?;
        let mut properties = collection.properties.as_ref().clone();
        let name = collection.display_name();
        let says = match what.as_str() {
            "name" => {
                properties.name = Some(form.text("name").trim().chars().take(80).collect());
                if !form.text("color").is_empty() {
                    properties.color =
                        Some(format!("{}FF", form.text("color").to_uppercase())).filter(|c| c.len() == 9);
                }
                format!("“{name}” is called “{}” now", form.text("name").trim())
            }
            "share" => {
                let with = form.text("with").to_string();
                let share = match form.text("how") {
                    "read" => Some(Share::Read),
                    "write" => Some(Share::ReadWrite),
                    _ => None,
                };
                match share {
                    Some(share) => properties.shares.insert(with.clone(), share),
                    None => properties.shares.remove(&with),
                };
                format!("“{name}”: sharing with {with} changed")
            }
            "public" => {
                properties.public = Some(secret.clone());
                format!("“{name}” has a public link")
            }
            "private" => {
                properties.public = None;
                format!("“{name}” has no public link any more")
            }
            "delete" => {
                change.remove(&path)?;
                return Ok(((), format!("“{name}” deleted, with {} objects", collection.count())));
            }
            _ => return Err(DavFault::new(400, "this cannot be done here")),
        };
        change.put(join(&path, COLLECTION_FILE), properties.write())?;
        Ok(((), says))
    });
    done.await.map_err(fault)?;
    Ok(see_other("/collections"))
}

fn slug(name: &str, n: usize) -> String {
    let plain: String =
        name.to_lowercase().chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).take(40).collect();
    let plain = plain.trim_matches('-');
    let plain = if plain.is_empty() { "new" } else { plain };
    if n == 0 { plain.to_string() } else { format!("{plain}-{n}") }
}

async fn export(site: &Site, request: &Request) -> Answer {
    let visitor = site.chassis.require(request).await?;
    let caller = caller(&visitor, request);
    let target =
        format!("{}{}/", crate::path::href(&caller.account, &[], true), encode(request.matched("name")));
    let mut response = site.service.answer(&caller, &DavRequest::new("GET", &target, &[], "")).await;
    let end = if response.fields.iter().any(|(_, v)| v.starts_with("text/vcard")) { "vcf" } else { "ics" };
    response.header(
        "content-disposition",
        format!("attachment; filename=\"{}.{end}\"", encode(request.matched("name"))),
    );
    to_http(response)
}
