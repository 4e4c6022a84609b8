//! Folders: made, renamed, deleted.

use super::{enter, page_at, query};
use crate::mailbox::Account;
use crate::service::Post;
use askama::Template;
use chassis::http::{Answer, Fault, Request, Router, see_other};
use chassis::web::Visitor;
use std::sync::Arc;

pub(super) fn routes(post: &Arc<Post>) -> Router {
    let (a, b) = (post.clone(), post.clone());
    Router::new()
        .get("/folders", move |request| page(a.clone(), request))
        .post("/folders", move |request| change(b.clone(), request))
}

struct Line {
    name: String,
    link: String,
    messages: u32,
    /// Whether it is the user's own: not INBOX, nor one with a special use.
    own: bool,
}

#[derive(Template)]
#[template(path = "folders.html")]
struct FoldersBody<'a> {
    folders: Vec<Line>,
    problem: &'a str,
    csrf: String,
}

async fn page(post: Arc<Post>, request: Request) -> Answer {
    let (visitor, account) = enter(&post, &request).await?;
    show(&post, &visitor, &account, "")
}

fn show(post: &Post, visitor: &Visitor, account: &Account, problem: &str) -> Answer {
    let line = |(name, folder): (&String, &crate::mailbox::Folder)| Line {
        name: name.clone(),
        link: format!("/folder?{}", query(&[("name", name)])),
        messages: folder.about.messages,
        own: name != "INBOX" && folder.about.special_use.is_empty(),
    };
    let folders = account.state().folders.iter().map(line).collect();
    let body = FoldersBody { folders, problem, csrf: visitor.csrf() };
    post.chassis.page(Some(visitor), &page_at("Folders", "/", false), &body)
}

async fn change(post: Arc<Post>, mut request: Request) -> Answer {
    let (visitor, account) = enter(&post, &request).await?;
    let form = post.chassis.form(&mut request, &visitor).await?;
    let (name, old) = (form.text("name").trim().to_owned(), form.text("old").to_owned());
    let own = |folder: &str| {
        let state = account.state();
        let about = state.folders.get(folder).map(|f| f.about.special_use.is_empty());
        folder != "INBOX" && about == Some(true)
    };
    let done = match form.text("do") {
        "create" => {
            account.change(move |d| d.create(&name, "").and_then(|()| d.subscribe(&name, true))).await
        }
        "rename" if own(&old) => account.change(move |d| d.rename(&old, &name)).await,
        "delete" if own(&old) => account.change(move |d| d.delete(&old)).await,
        _ => return Err(Fault::bad_request("This folder stays as it is: mail programs count on it.")),
    };
    match done {
        Ok(()) => Ok(see_other("/folders")),
        Err(error) => show(&post, &visitor, &account, &format!("That did not work: {error}.")),
    }
}
