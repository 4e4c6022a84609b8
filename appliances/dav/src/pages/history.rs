//! What happened, in words: which device changed and read what and when; each change with an undo.

use chassis::http::{Answer, Fault, Request, Router, see_other};
use chassis::web::Activity;

use super::html::Html;
use super::{About, broken, caller};
use crate::http::Site;

const CHANGES_SHOWN: usize = 100;

pub fn routes(site: &Site, about: &'static About) -> Router {
    let (a, b) = (site.clone(), site.clone());
    Router::new()
        .get("/history", move |request| {
            let site = a.clone();
            async move { page(&site, about, &request).await }
        })
        .post("/history/undo/{commit}", move |request| {
            let site = b.clone();
            async move { undo(&site, request).await }
        })
}

async fn page(site: &Site, about: &'static About, request: &Request) -> Answer {
    let visitor = site.chassis.require(request).await?;
    let account = visitor.account().user.clone();
    let branch = site.household().branch(&account).map_err(broken)?;
    let path = request.query_form().text("path").to_string();
    let mut entries = Vec::new();
    for found in branch.history(&path).map_err(broken)?.take(CHANGES_SHOWN) {
        let (id, commit) = found.map_err(broken)?;
        let line = |name: &str| {
            commit.message.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_string()
        };
        let what = match commit.message.lines().next().unwrap_or_default() {
            store::PURGED => "Something that was deleted for good".to_string(),
            said => said.to_string(),
        };
        let (device, program) = (line("Device:"), line("Program:"));
        let device = if device.is_empty() { "a push or the system".to_string() } else { device };
        let who = if program.is_empty() {
            format!("{} ({device})", commit.author.name)
        } else {
            format!("{} ({device}, {program})", commit.author.name)
        };
        let undo = if commit.parents.is_empty() { String::new() } else { format!("/history/undo/{}", id.0) };
        entries.push(Activity {
            at_ms: commit.committer.seconds.max(0) as u64 * 1000,
            who,
            what: format!("— {what}"),
            link: String::new(),
            undo,
        });
    }
    let mut html = Html::default();
    html.raw("<h1>What happened</h1><p class=\"lead\">Every change of your ").text(about.word);
    html.raw("s, and which device made it. Undo takes one back and keeps what came after.</p>");
    html.raw(&Activity::list(&entries, &visitor));
    html.raw("<h2>Who read what</h2>");
    let seen = site.activity.of(&account);
    if seen.is_empty() {
        html.raw("<p class=\"empty\">Nobody has read anything since the start.</p>");
    } else {
        html.raw("<ul class=\"rows\">");
        for one in seen {
            let collection =
                if one.collection.is_empty() { "the list of collections" } else { &one.collection };
            let when = chassis::clock::in_words(one.at_ms, chassis::clock::now_ms());
            html.raw("<li><div><strong>").text(&one.device).raw("</strong><span>");
            html.text(&format!("{} read {collection} {} times, last {when}", one.program, one.times))
                .raw("</span></div></li>");
        }
        html.raw("</ul>");
    }
    html.raw("<p>A device that should not do this any more: <a href=\"/devices\">revoke it</a>.</p>");
    site.chassis.page_of_html(Some(&visitor), &about.page("History", "/history"), &html.0)
}

async fn undo(site: &Site, mut request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    site.chassis.form(&mut request, &visitor).await?;
    let caller = caller(&visitor, &request);
    let branch = site.household().branch(&caller.account).map_err(broken)?;
    let id =
        store::ObjectId::from_hex(request.matched("commit").as_bytes()).map_err(|_| Fault::not_found())?;
    let commit = store::CommitId(id);
    let store = site.household().store();
    let ours = branch.head().is_some_and(|head| store.is_ancestor(commit, head).unwrap_or(false));
    if !ours {
        return Err(Fault::not_found());
    }
    let was = store.commit(commit).map_err(broken)?;
    let what = was.message.lines().next().unwrap_or_default().to_string();
    branch.revert(commit, caller.author(), caller.message(&format!("Undone: {what}"))).map_err(broken)?;
    Ok(see_other("/history"))
}
