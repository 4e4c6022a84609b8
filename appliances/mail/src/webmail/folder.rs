//! The list: a folder's conversations, the newest first, or what a search finds.

use super::act::said;
use super::reading::{attached, snippet};
use super::{enter, fault, page_at, query};
use crate::mailbox::texts::{Filter, Needle};
use crate::mailbox::{Account, Flags, MailboxError, Row};
use crate::message::{Entry, addresses, decode_words, each_search_text, first_value, message_ids, parse};
use crate::service::Post;
use askama::Template;
use chassis::aside::aside;
use chassis::clock;
use chassis::http::{Answer, Fault, Request, Router};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Messages of a folder that are looked at for the list, the newest; older ones are found by search.
const LOOKED_AT: usize = 2_000;
/// Conversations on a page.
const ON_PAGE: usize = 50;
/// Messages that a search reads, of those that the index lets through.
const SEARCHED: usize = 20_000;
/// A message up to this size is read for the line below its subject.
const SNIPPET_OF_MAX: u32 = 512 << 10;

pub(super) fn routes(post: &Arc<Post>) -> Router {
    let (a, b) = (post.clone(), post.clone());
    Router::new()
        .get("/", move |request| list(a.clone(), request))
        .get("/folder", move |request| list(b.clone(), request))
}

struct FolderLink {
    name: String,
    /// The last part of the name.
    shown: String,
    /// How deep it lies, up to 3.
    level: usize,
    link: String,
    unseen: u32,
    here: bool,
}

struct Conversation {
    who: String,
    subject: String,
    snippet: String,
    files: bool,
    when: String,
    link: String,
    uids: String,
    count: usize,
    unseen: bool,
    flagged: bool,
    newest: Row,
    names: HashSet<String>,
}

#[derive(Template)]
#[template(path = "folder.html")]
struct FolderBody<'a> {
    folder: &'a str,
    folders: Vec<FolderLink>,
    conversations: Vec<Conversation>,
    search: &'a str,
    /// Whether this is the folder of drafts, of junk.
    drafts: bool,
    junk: bool,
    newer: String,
    older: String,
    /// This list's own address, and the one of the whole folder.
    here: String,
    plain_link: String,
    /// What was done just now, and the commit that undoes it.
    done: String,
    undo: String,
    csrf: String,
}

async fn list(post: Arc<Post>, request: Request) -> Answer {
    let (visitor, account) = enter(&post, &request).await?;
    let form = request.query_form();
    let folder = form.get("name").unwrap_or("INBOX").to_owned();
    let search = form.text("q").to_owned();
    let page: usize = form.text("page").parse().unwrap_or(0);
    let rows = account.rows(&folder).await.map_err(fault)?;
    let (reading, searched, wanted) = (account.clone(), folder.clone(), search.clone());
    let found = aside(move || {
        let newest_first = rows.iter().copied().collect::<Vec<Row>>().into_iter().rev();
        match wanted.trim() {
            "" => Ok(newest_first.take(LOOKED_AT).collect()),
            words => matching(&reading, &searched, newest_first, words),
        }
    });
    let found =
        found.await.ok_or_else(|| Fault::internal("looking through a folder panicked"))?.map_err(fault)?;
    let is = |use_: &str| account.state().special(use_).is_some_and(|(name, _)| *name == folder);
    let (drafts, junk, sent) = (is("\\Drafts"), is("\\Junk"), is("\\Sent"));
    let all = conversations(&account, &folder, &found, drafts || sent);
    let total = all.len();
    let mut shown: Vec<Conversation> = all.into_iter().skip(page * ON_PAGE).take(ON_PAGE).collect();
    shown.iter_mut().for_each(|one| look_inside(&account, one));
    if drafts {
        shown.iter_mut().for_each(|one| one.link = draft_link(&folder, one.newest.uid));
    }
    let turn = |to: usize| {
        let to = to.to_string();
        let mut pairs = vec![("name", folder.as_str())];
        pairs.extend(Some(("q", search.as_str())).filter(|(_, q)| !q.is_empty()));
        pairs.extend(Some(("page", to.as_str())).filter(|(_, to)| *to != "0"));
        format!("/folder?{}", query(&pairs))
    };
    let commit = form.text("undo");
    let body = FolderBody {
        folder: &folder,
        folders: folder_links(&account, &folder),
        conversations: shown,
        search: &search,
        drafts,
        junk,
        newer: if page > 0 { turn(page - 1) } else { String::new() },
        older: if (page + 1) * ON_PAGE < total { turn(page + 1) } else { String::new() },
        here: turn(page),
        plain_link: format!("/folder?{}", query(&[("name", &folder)])),
        done: said(form.text("did"), form.text("n")),
        undo: if commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()) {
            commit.into()
        } else {
            String::new()
        },
        csrf: visitor.csrf(),
    };
    post.chassis.page(Some(&visitor), &page_at(&folder, "/", true), &body)
}

/// A draft is opened to be written on.
fn draft_link(folder: &str, uid: u32) -> String {
    format!("/compose?{}", query(&[("as", "draft"), ("folder", folder), ("uid", &uid.to_string())]))
}

/// What only the message itself says: its first words, whether it has attachments.
fn look_inside(account: &Account, one: &mut Conversation) {
    if one.newest.size > SNIPPET_OF_MAX {
        one.files = true;
        return;
    }
    let Ok(Some(raw)) = account.read(&one.newest) else { return };
    let tree = parse(&raw);
    one.snippet = snippet(&tree, &raw);
    one.files = !attached(&tree, &raw).is_empty();
}

fn folder_links(account: &Account, here: &str) -> Vec<FolderLink> {
    let state = account.state();
    let mut links: Vec<FolderLink> = state
        .folders
        .iter()
        .map(|(name, f)| FolderLink {
            shown: name.rsplit('/').next().unwrap_or(name).to_owned(),
            level: name.matches('/').count().min(3),
            name: name.clone(),
            link: format!("/folder?{}", query(&[("name", name)])),
            unseen: f.about.unseen,
            here: name == here,
        })
        .collect();
    // What everybody has first, in the order in which it is used; then the rest by name.
    let state = account.state();
    let rank = |name: &str| {
        let uses = ["\\Drafts", "\\Sent", "\\Archive", "\\Junk", "\\Trash"];
        let top = name.split('/').next().unwrap_or(name);
        let of = |use_: &&str| state.special(use_).is_some_and(|(special, _)| special == top);
        if top == "INBOX" { 0 } else { 1 + uses.iter().position(of).unwrap_or(uses.len()) }
    };
    links.sort_by_cached_key(|link| (rank(&link.name), link.name.to_lowercase()));
    links
}

/// Messages whose header or text has all words, the newest first. The index of IMAP's SEARCH says which need not be read.
fn matching(
    account: &Account,
    folder: &str,
    newest_first: impl Iterator<Item = Row>,
    words: &str,
) -> Result<Vec<Row>, MailboxError> {
    let words: Vec<String> = words.split_whitespace().map(str::to_lowercase).collect();
    let needles: Vec<Filter> = words.iter().filter_map(|w| Needle::of(w)).map(Filter::Text).collect();
    let candidates = match needles.is_empty() {
        true => None,
        false => {
            while account.index_texts(&account.state(), folder)? {}
            let id = account.state().folder(folder)?.about.id.clone();
            Some(account.candidates(&id, &Filter::All(needles))?)
        }
    };
    let worth = newest_first.filter(|row| candidates.as_ref().is_none_or(|c| c.has(row.uid)));
    let mut found = Vec::new();
    for row in worth.take(SEARCHED) {
        let Some(raw) = account.read(&row)? else { continue };
        let mut missing: Vec<&String> = words.iter().collect();
        each_search_text(&raw, |text| {
            let text = text.to_lowercase();
            missing.retain(|word| !text.contains(*word));
        });
        if missing.is_empty() {
            found.push(row);
        }
        if found.len() == LOOKED_AT {
            break;
        }
    }
    Ok(found)
}

/// Groups messages by the first message that they refer to (RFC 5256's REFERENCES, by roots alone).
fn conversations(account: &Account, folder: &str, rows: &[Row], outgoing: bool) -> Vec<Conversation> {
    let mut order: Vec<Conversation> = Vec::new();
    let mut by_root: HashMap<String, usize> = HashMap::new();
    for row in rows {
        let header = account.head(folder, row).ok().flatten().map(|h| h.header).unwrap_or_default();
        let root = root(&header).unwrap_or_else(|| format!("uid {}", row.uid));
        let (unseen, flagged) = (!row.flags.has(Flags::SEEN), row.flags.has(Flags::FLAGGED));
        match by_root.get(&root) {
            Some(&i) => {
                let one = &mut order[i];
                one.count += 1;
                let who = people(&header, outgoing);
                if one.names.len() < 3 && one.names.insert(who.clone()) {
                    one.who = format!("{who}, {}", one.who);
                }
                one.unseen |= unseen;
                one.flagged |= flagged;
                one.uids += &format!(",{}", row.uid);
            }
            None => {
                by_root.insert(root, order.len());
                let subject = decoded(&header, "Subject");
                let who = people(&header, outgoing);
                order.push(Conversation {
                    names: [who.clone()].into(),
                    who,
                    snippet: String::new(),
                    files: false,
                    newest: *row,
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

/// Whom a line of the list is about: who wrote it, or in Sent and Drafts who gets it.
fn people(header: &[u8], outgoing: bool) -> String {
    if !outgoing {
        return sender(header);
    }
    let to = first_value(header, "To").unwrap_or_default();
    let names = addresses(to.as_bytes()).into_iter().filter_map(|e| match e {
        Entry::Address(address) => Some(address.shown()),
        _ => None,
    });
    let names: Vec<String> = names.take(3).collect();
    if names.is_empty() { "nobody yet".into() } else { format!("to {}", names.join(", ")) }
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
