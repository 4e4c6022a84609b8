//! The list: a folder's conversations, the newest first, or what a search finds.

use super::{NAV, enter, fault, query};
use crate::mailbox::{Account, Flags, Row};
use crate::message::{Entry, addresses, decode_words, first_value, message_ids, searchable_text};
use crate::service::Post;
use askama::Template;
use chassis::clock;
use chassis::http::{Answer, Fault, Request, Router, see_other};
use chassis::web::Page;
use std::collections::HashMap;
use std::sync::Arc;

/// Messages of a folder that are looked at for the list, the newest; older ones are found by search.
const LOOKED_AT: usize = 2_000;
/// Conversations on a page.
const ON_PAGE: usize = 50;
/// Messages that a search reads.
const SEARCHED: usize = 20_000;

pub(super) fn routes(post: &Arc<Post>) -> Router {
    let (a, b, c) = (post.clone(), post.clone(), post.clone());
    Router::new()
        .get("/", move |request| list(a.clone(), request))
        .get("/folder", move |request| list(b.clone(), request))
        .post("/act", move |request| act(c.clone(), request))
}

struct FolderLink {
    name: String,
    link: String,
    unseen: u32,
    here: bool,
}

struct Conversation {
    who: String,
    subject: String,
    when: String,
    link: String,
    uids: String,
    count: usize,
    unseen: bool,
    flagged: bool,
}

#[derive(Template)]
#[template(path = "folder.html")]
struct FolderBody<'a> {
    folder: &'a str,
    folders: Vec<FolderLink>,
    conversations: Vec<Conversation>,
    search: &'a str,
    newer: String,
    older: String,
    csrf: String,
}

async fn list(post: Arc<Post>, request: Request) -> Answer {
    let (visitor, account) = enter(&post, &request).await?;
    let form = request.query_form();
    let folder = form.get("name").unwrap_or("INBOX").to_owned();
    let search = form.text("q").to_owned();
    let page: usize = form.text("page").parse().unwrap_or(0);
    let rows = account.rows(&folder).await.map_err(fault)?;
    let (looked, wanted) = (rows.clone(), search.clone());
    let reading = account.clone();
    let found = tokio::task::spawn_blocking(move || match wanted.trim() {
        "" => {
            looked.iter().copied().collect::<Vec<Row>>().into_iter().rev().take(LOOKED_AT).collect::<Vec<_>>()
        }
        words => matching(&reading, looked.iter().copied().collect(), words),
    });
    let found = found.await.map_err(Fault::internal)?;
    let all = conversations(&account, &folder, &found);
    let total = all.len();
    let shown: Vec<Conversation> = all.into_iter().skip(page * ON_PAGE).take(ON_PAGE).collect();
    let turn = |to: usize| {
        format!("/folder?{}", query(&[("name", &folder), ("q", &search), ("page", &to.to_string())]))
    };
    let body = FolderBody {
        folder: &folder,
        folders: folder_links(&account, &folder),
        conversations: shown,
        search: &search,
        newer: if page > 0 { turn(page - 1) } else { String::new() },
        older: if (page + 1) * ON_PAGE < total { turn(page + 1) } else { String::new() },
        csrf: visitor.csrf(),
    };
    let page = Page { nav: NAV, active: "/", wide: true, ..Page::titled(&folder) };
    post.chassis.page(Some(&visitor), &page, &body)
}

fn folder_links(account: &Account, here: &str) -> Vec<FolderLink> {
    let state = account.state();
    let mut links: Vec<FolderLink> = state
        .folders
        .iter()
        .map(|(name, f)| FolderLink {
            name: name.clone(),
            link: format!("/folder?{}", query(&[("name", name)])),
            unseen: f.about.unseen,
            here: name == here,
        })
        .collect();
    links.sort_by(|a, b| (a.name != "INBOX", &a.name).cmp(&(b.name != "INBOX", &b.name)));
    links
}

/// Messages whose header or text has all words, the newest first.
fn matching(account: &Account, rows: Vec<Row>, words: &str) -> Vec<Row> {
    let words: Vec<String> = words.split_whitespace().map(str::to_lowercase).collect();
    let has = |row: &&Row| {
        let Ok(Some(raw)) = account.read(row) else { return false };
        let text = searchable_text(&raw, true).to_lowercase();
        words.iter().all(|w| text.contains(w))
    };
    rows.iter().rev().take(SEARCHED).filter(has).take(LOOKED_AT).copied().collect()
}

/// Groups messages by the first message that they refer to (RFC 5256's REFERENCES, by roots alone).
fn conversations(account: &Account, folder: &str, rows: &[Row]) -> Vec<Conversation> {
    let mut order: Vec<Conversation> = Vec::new();
    let mut by_root: HashMap<String, usize> = HashMap::new();
    for row in rows {
        let header = account.head(row).ok().flatten().map(|h| h.header).unwrap_or_default();
        let root = root(&header).unwrap_or_else(|| format!("uid {}", row.uid));
        let (unseen, flagged) = (!row.flags.has(Flags::SEEN), row.flags.has(Flags::FLAGGED));
        match by_root.get(&root) {
            Some(&i) => {
                let one = &mut order[i];
                one.count += 1;
                one.unseen |= unseen;
                one.flagged |= flagged;
                one.uids += &format!(",{}", row.uid);
            }
            None => {
                by_root.insert(root, order.len());
                let subject = decoded(&header, "Subject");
                order.push(Conversation {
                    who: sender(&header),
                    subject: if subject.trim().is_empty() { "(no subject)".into() } else { subject },
                    when: clock::in_words(row.date.max(0) as u64 * 1000, clock::now_ms()),
                    link: format!("/message?{}", query(&[("folder", folder), ("uid", &row.uid.to_string())])),
                    uids: row.uid.to_string(),
                    count: 1,
                    unseen,
                    flagged,
                });
            }
        }
    }
    order
}

/// The id of the first message of a conversation.
pub(super) fn root(header: &[u8]) -> Option<String> {
    ["References", "In-Reply-To", "Message-ID"].iter().find_map(|name| {
        let value = first_value(header, name)?;
        message_ids(value.as_bytes(), 1).into_iter().next()
    })
}

/// A field's value for people.
pub(super) fn decoded(header: &[u8], name: &str) -> String {
    decode_words(first_value(header, name).unwrap_or_default().as_bytes())
}

/// Who wrote it, for people.
pub(super) fn sender(header: &[u8]) -> String {
    let from = first_value(header, "From").unwrap_or_default();
    let name = addresses(from.as_bytes()).into_iter().find_map(|e| match e {
        Entry::Address(address) => Some(address.shown()),
        _ => None,
    });
    name.unwrap_or_else(|| "somebody".into())
}

/// Seen, flagged, moved, deleted: what the buttons do to one message or a conversation.
async fn act(post: Arc<Post>, mut request: Request) -> Answer {
    let (visitor, account) = enter(&post, &request).await?;
    let form = post.chassis.form(&mut request, &visitor).await?;
    let folder = form.text("folder").to_owned();
    let mut uids: Vec<u32> =
        form.all("uid").flat_map(|v| v.split(',')).filter_map(|u| u.parse().ok()).collect();
    uids.sort_unstable();
    uids.dedup();
    let what = form.text("do").to_owned();
    let back = format!("/folder?{}", query(&[("name", &folder)]));
    if uids.is_empty() {
        return Ok(see_other(&back));
    }
    let flag = |name: &str| vec![name.to_owned()];
    use crate::mailbox::FlagChange::{Add, Remove};
    let flags = match what.as_str() {
        "seen" => Some(Add(flag("\\Seen"))),
        "unseen" => Some(Remove(flag("\\Seen"))),
        "flag" => Some(Add(flag("\\Flagged"))),
        "unflag" => Some(Remove(flag("\\Flagged"))),
        _ => None,
    };
    if let Some(change) = flags {
        account.change(move |d| d.store_flags(&folder, &uids, &change, None)).await.map_err(fault)?;
        return Ok(see_other(&back));
    }
    let special = |use_: &str| account.state().special(use_).map(|(name, _)| name.clone());
    let to = match what.as_str() {
        "archive" => special("\\Archive"),
        "junk" => special("\\Junk"),
        "delete" => special("\\Trash"),
        "move" => Some(form.text("to").to_owned()),
        _ => return Err(Fault::bad_request("That is nothing that can be done to a message.")),
    };
    match to {
        // Deleting in Trash is for good: for good as far as IMAP sees, the history keeps it.
        Some(to) if to == folder && what == "delete" => {
            account.change(move |d| d.expunge(&folder, &uids)).await.map_err(fault)?;
        }
        Some(to) if to != folder => {
            account.change(move |d| d.move_to(&folder, &uids, &to)).await.map_err(fault)?;
        }
        _ => {}
    }
    Ok(see_other(&back))
}
