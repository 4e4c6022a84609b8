//! What two sides changed differently, to be settled: both versions side by side.

use chassis::http::{Answer, Fault, Request, Router, see_other};
use store::merge::Resolution;

use super::difference::sides;
use super::html::Html;
use super::{About, broken, caller, fault};
use crate::household::names::unstored;
use crate::http::Site;
use crate::server::{Refused, Request as DavRequest, refused_branch};

pub fn routes(site: &Site, about: &'static About) -> Router {
    let (a, b) = (site.clone(), site.clone());
    Router::new()
        .get("/conflicts", move |request| {
            let site = a.clone();
            async move { page(&site, about, &request).await }
        })
        .post("/conflicts", move |request| {
            let site = b.clone();
            async move { settle(&site, request).await }
        })
}

async fn page(site: &Site, about: &'static About, request: &Request) -> Answer {
    let visitor = site.chassis.require(request).await?;
    let (account, csrf) = (visitor.account().user.clone(), visitor.csrf());
    let branch = site.household().branch(&account).map_err(broken)?;
    let snapshot = branch.snapshot().map_err(broken)?;
    let mut html = Html::default();
    html.raw("<h1>Conflicts</h1><p class=\"lead\">Two sides changed the same. Your devices show one version, which is valid; both are kept here until you choose.</p>");
    let mut any = false;
    for conflict in branch.conflicts().map_err(broken)? {
        any = true;
        let version = |side: &str| {
            let path = format!(".conflicts/{}/{side}", conflict.key);
            snapshot.read(path).ok().flatten()
        };
        html.raw("<section><h2>")
            .text(&unstored(&conflict.path.name()))
            .raw("</h2><p>")
            .text(&conflict.why)
            .raw("</p>");
        sides(version("ours").as_deref(), version("theirs").as_deref(), &mut html);
        for (by, words) in [
            ("ours", "Keep the first"),
            ("theirs", "Keep the second"),
            ("kept", "Keep what devices show now"),
        ] {
            html.button("/conflicts", &csrf, "quiet", words, &[("key", &conflict.key), ("by", by)]);
        }
        html.raw("</section>");
    }
    let kept = site
        .household()
        .store()
        .branch(refused_branch(&account))
        .and_then(|b| b.snapshot())
        .map_err(broken)?;
    for entry in kept.list("").map_err(broken)? {
        let key = entry.name().into_owned();
        let Some(about) = kept.read(format!("{key}/about.json")).map_err(broken)? else { continue };
        let Ok(refused) = serde_json::from_slice::<Refused>(&about) else { continue };
        any = true;
        let theirs = kept.read(format!("{key}/theirs")).map_err(broken)?.unwrap_or_default();
        let view = site.household().view(&account).map_err(broken)?;
        let collection = view.collections.get(&refused.collection);
        let ours = collection.and_then(|c| view.read(c, &refused.name, c.member(&refused.name)?).ok());
        html.raw("<section><h2>").text(&refused.title).raw("</h2><p>");
        html.text(&format!(
            "{} ({}) changed an older version, and both sides changed the same.",
            refused.device, refused.program
        ))
        .raw("</p>");
        sides(ours.as_deref(), Some(&theirs[..]), &mut html);
        html.button("/conflicts", &csrf, "quiet", "Keep the first", &[("refused", &key), ("by", "ours")]);
        html.button("/conflicts", &csrf, "quiet", "Take the second", &[("refused", &key), ("by", "theirs")])
            .raw("</section>");
    }
    if !any {
        html.raw("<p class=\"empty\">There are none.</p>");
    }
    site.chassis.page_of_html(Some(&visitor), &about.page("Conflicts", "/conflicts"), &html.0)
}

async fn settle(site: &Site, mut request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    let form = site.chassis.form(&mut request, &visitor).await?;
    let caller = caller(&visitor, &request);
    let refused = form.text("refused").to_string();
    if refused.is_empty() {
        let by = match form.text("by") {
            "ours" => Resolution::Ours,
            "theirs" => Resolution::Theirs,
            "kept" => Resolution::Kept,
            _ => return Err(Fault::bad_request("Choose one of the versions.")),
        };
        let branch = site.household().branch(&caller.account).map_err(broken)?;
        branch.settle(form.text("key"), by, caller.author()).map_err(broken)?;
        return Ok(see_other("/conflicts"));
    }
    let branch = site.household().store().branch(refused_branch(&caller.account)).map_err(broken)?;
    let kept = branch.snapshot().map_err(broken)?;
    let about = kept.read(format!("{refused}/about.json")).map_err(broken)?.ok_or_else(Fault::not_found)?;
    let about: Refused = serde_json::from_slice(&about).map_err(Fault::internal)?;
    if form.text("by") == "theirs" {
        let theirs = kept.read(format!("{refused}/theirs")).map_err(broken)?.unwrap_or_default();
        let mut names: Vec<String> = about.collection.split('/').map(unstored).collect();
        names.push(about.name.clone());
        let target = crate::path::href(&caller.account, &names, false);
        let mut put = DavRequest::new("PUT", &target, &[], theirs);
        put.now_ms = chassis::clock::now_ms();
        let answer = site.service.answer(&caller, &put).await;
        if answer.status >= 300 {
            let why = String::from_utf8_lossy(&answer.into_bytes()).into_owned();
            return Err(fault(crate::server::Fault::new(409, format!("it cannot be taken: {why}"))));
        }
    }
    let mut change = branch.begin().map_err(broken)?;
    change.remove(&refused).map_err(broken)?;
    change.commit_async(caller.author(), caller.message("A conflict is settled")).await.map_err(broken)?;
    Ok(see_other("/conflicts"))
}
