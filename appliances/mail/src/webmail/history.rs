//! What happened to the mailboxes or to one message, and the way back.

use super::act::with_word;
use super::{back, enter, fault, named, page_at, query};
use crate::mailbox::layout::{FileName, flags_file};
use crate::mailbox::{Account, name};
use crate::service::Post;
use chassis::http::{Answer, Fault, Request, Router, see_other};
use chassis::web::Activity;
use std::sync::Arc;

/// Changes on the page.
const SHOWN: usize = 100;

pub(super) fn routes(post: &Arc<Post>) -> Router {
    let (a, b) = (post.clone(), post.clone());
    Router::new()
        .get("/history", move |request| page(a.clone(), request))
        .post("/history/{commit}/undo", move |request| undo(b.clone(), request))
}

async fn page(post: Arc<Post>, request: Request) -> Answer {
    let (visitor, account) = enter(&post, &request).await?;
    let form = request.query_form();
    let branch =
        post.chassis.store().branch(Account::branch_name(account.name())).map_err(Fault::internal)?;
    let (title, paths) = match form.get("uid") {
        Some(_) => {
            let (folder, row) = named(&account, &form).await?;
            let mark = [row.blob.0[0], row.blob.0[1], row.blob.0[2], row.blob.0[3]];
            let file = FileName { uid: row.uid, date: row.date, size: row.size, modseq: row.came, mark };
            let directory = name::directory(&folder);
            let paths =
                vec![format!("{directory}/{}", file.path()), format!("{directory}/{}", flags_file(row.uid))];
            ("History of a message", paths)
        }
        None => ("History", vec![String::new()]),
    };
    let (mut found, mut order) = (std::collections::BTreeMap::new(), 0u32);
    for path in paths {
        for commit in branch.history(path).map_err(Fault::internal)?.take(SHOWN) {
            let (id, commit) = commit.map_err(Fault::internal)?;
            order += 1;
            // Within a second the branch's own order counts; a commit of both paths stands once.
            let key = std::cmp::Reverse(commit.committer.seconds);
            if !found.values().any(|(known, _)| *known == id) {
                found.insert((key, order), (id, commit));
            }
        }
    }
    let entries: Vec<Activity> = found
        .into_iter()
        .take(SHOWN)
        .map(|(_, (id, commit))| {
            let what = commit.message.lines().next().unwrap_or_default().to_owned();
            // The first commit makes the account: to undo it would be to lose it.
            let undo = if commit.parents.is_empty() { String::new() } else { format!("/history/{id}/undo") };
            Activity {
                at_ms: u64::try_from(commit.committer.seconds).unwrap_or(0) * 1000,
                who: commit.author.name.clone(),
                what,
                link: String::new(),
                undo,
            }
        })
        .collect();
    let note = form.get("undone").map_or("", |_| "<p class=\"note\" role=\"status\">Undone.</p>");
    let body = format!(
        "<h1>{title}</h1>{note}<p class=\"lead\">Every change to your mail. Undo takes one back and leaves the others.</p>{}",
        Activity::list(&entries, &visitor)
    );
    post.chassis.page_of_html(Some(&visitor), &page_at(title, "/history", false), &body)
}

async fn undo(post: Arc<Post>, mut request: Request) -> Answer {
    let (visitor, account) = enter(&post, &request).await?;
    let id = request.matched("commit").to_owned();
    let form = post.chassis.form(&mut request, &visitor).await?;
    let store = post.chassis.store().clone();
    let branch = store.branch(Account::branch_name(account.name())).map_err(Fault::internal)?;
    let commit = store.resolve(&id).map_err(|_| Fault::not_found())?;
    // Somebody else's history is not ours to undo, nor to learn of.
    let ours = branch.head().is_some_and(|head| store.is_ancestor(commit, head).unwrap_or(false));
    if !ours {
        return Err(Fault::not_found());
    }
    account.undo(commit).await.map_err(fault)?;
    match back(&form) {
        Some(list) => Ok(see_other(&with_word(&list, &[("did", "undone")]))),
        None => Ok(see_other(&format!("/history?{}", query(&[("undone", &id)])))),
    }
}
