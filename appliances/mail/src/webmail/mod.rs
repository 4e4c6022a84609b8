//! Webmail: folders, conversations, search, messages shown safely, writing, the history of every change and its undo.
//! Works without JavaScript.

mod act;
mod build;
mod compose;
mod folder;
mod folders;
mod history;
mod reading;
mod safe;
mod show;

use crate::mailbox::{Account, MailboxError, Row};
use crate::service::Post;
use chassis::http::{Fault, Form, Request, Router};
use chassis::web::{Asset, NavItem, Page, Visitor};
use std::sync::Arc;

/// The navigation of the mail appliance.
pub const NAV: &[NavItem] = &[
    NavItem { path: "/", title: "Mail" },
    NavItem { path: "/compose", title: "Write" },
    NavItem { path: "/history", title: "History" },
    NavItem { path: "/setup", title: "Set up" },
    NavItem { path: "/dns", title: "DNS" },
    NavItem { path: "/devices", title: "Devices" },
];

/// The pages of the webmail.
pub fn routes(post: &Arc<Post>) -> Router {
    folder::routes(post)
        .and(act::routes(post))
        .and(folders::routes(post))
        .and(show::routes(post))
        .and(compose::routes(post))
        .and(history::routes(post))
        .and(Asset::routes(ASSETS))
}

static ASSETS: &[Asset] = &[
    Asset {
        name: "mail.css",
        kind: "text/css; charset=utf-8",
        bytes: include_bytes!("../../assets/mail.css"),
    },
    Asset {
        name: "mail.js",
        kind: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../assets/mail.js"),
    },
];

/// A page of ours: `active` is the entry of the navigation where it is.
pub(crate) fn page_at<'a>(title: &'a str, active: &'a str, wide: bool) -> Page<'a> {
    Page { nav: NAV, active, wide, styles: &["mail.css"], scripts: &["mail.js"], ..Page::titled(title) }
}

/// Where a form may lead back to: a list of ours.
fn back(form: &Form) -> Option<String> {
    let wanted = form.get("back")?;
    let ours = (wanted == "/" || wanted.starts_with("/folder?")) && !wanted.contains(['\\', '\r', '\n', '#']);
    ours.then(|| wanted.to_owned())
}

/// Who asks, and their mailboxes.
async fn enter(post: &Post, request: &Request) -> Result<(Visitor, Arc<Account>), Fault> {
    let visitor = post.chassis.require(request).await?;
    let account = post.mailboxes.account(&visitor.account().user).await.map_err(fault)?;
    Ok((visitor, account))
}

/// The message that `folder` and `uid` of a form or query name.
async fn named(account: &Account, form: &Form) -> Result<(String, Row), Fault> {
    let folder = form.text("folder").to_owned();
    let uid: u32 = form.text("uid").parse().map_err(|_| Fault::not_found())?;
    let rows = account.rows(&folder).await.map_err(fault)?;
    let row = rows.find(uid).map(|(_, row)| *row).ok_or_else(gone)?;
    Ok((folder, row))
}

fn gone() -> Fault {
    Fault::not_found().advise("The message was moved or deleted. The history says when, and can undo it.")
}

fn fault(error: MailboxError) -> Fault {
    match error {
        MailboxError::NoSuchMailbox(_) => Fault::not_found(),
        MailboxError::Store(_) | MailboxError::Stopping => Fault::internal(error),
        other => Fault::bad_request(other.to_string()),
    }
}

/// A query string of names and values.
fn query(pairs: &[(&str, &str)]) -> String {
    let all: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={}", chassis::http::encode(v))).collect();
    all.join("&")
}
