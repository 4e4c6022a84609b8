//! One message: its head, its text in a frame of its own, its attachments.

use super::folder::{decoded, root, sender};
use super::reading::{attached, best_text, snippet};
use super::{enter, fault, gone, named, page_at, query, safe};
use crate::mailbox::{Account, FlagChange, Flags, Row};
use crate::message::{Entity, Entry, addresses, decode_body, first_value, header_end, parse, part_at};
use crate::service::Post;
use askama::Template;
use chassis::clock;
use chassis::http::{Answer, Fault, HeaderValue, Request, Router, StatusCode, header, reply};
use std::sync::Arc;

/// Messages around one that are looked at for its conversation.
const LOOKED_AT: usize = 2_000;
/// Messages of a conversation whose first words are shown, and their size.
const CONVERSATION_MAX: usize = 50;
const SNIPPET_OF_MAX: u32 = 512 << 10;

pub(super) fn routes(post: &Arc<Post>) -> Router {
    let (a, b, c, d) = (post.clone(), post.clone(), post.clone(), post.clone());
    Router::new()
        .get("/message", move |request| page(a.clone(), request))
        .get("/message/text", move |request| text(b.clone(), request))
        .get("/message/part", move |request| part(c.clone(), request))
        .get("/message/source", move |request| source(d.clone(), request))
}

struct Attachment {
    name: String,
    size: String,
    link: String,
}

struct Other {
    who: String,
    snippet: String,
    when: String,
    link: String,
    uid: u32,
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessageBody<'a> {
    folder: &'a str,
    folder_link: String,
    uid: u32,
    subject: String,
    /// Who wrote it: name, address, first letter.
    who: String,
    address: String,
    initial: String,
    to_short: String,
    from: String,
    to: String,
    cc: String,
    date: String,
    when: String,
    verdict: String,
    forged: bool,
    text_link: String,
    /// The text as HTML where it is plain; empty where it is HTML, which stands in a frame.
    plain: String,
    pictures_link: String,
    source_link: String,
    history_link: String,
    reply_links: [(&'static str, String, &'static str); 3],
    attachments: Vec<Attachment>,
    before: Vec<Other>,
    after: Vec<Other>,
    folders: Vec<String>,
    flagged: bool,
    junk: bool,
    csrf: String,
}

async fn page(post: Arc<Post>, request: Request) -> Answer {
    let (visitor, account) = enter(&post, &request).await?;
    let form = request.query_form();
    let (folder, row) = named(&account, &form).await?;
    let raw = account.read(&row).map_err(fault)?.ok_or_else(gone)?;
    let head = &raw[..header_end(&raw)];
    let tree = parse(&raw);
    let uid = row.uid.to_string();
    let at = |path: &str, more: &[(&str, &str)]| {
        let pairs = [&[("folder", folder.as_str()), ("uid", uid.as_str())][..], more].concat();
        format!("{path}?{}", query(&pairs))
    };
    let pictures = form.get("pictures").is_some();
    let best = best_text(&tree, &raw);
    let blocked =
        best.is_some_and(|(e, is_html)| is_html && !pictures && safe::has_remote_pictures(&e.text(&raw)));
    let plain = match best {
        Some((part, false)) => safe::from_text(&part.text(&raw)),
        Some((_, true)) => String::new(),
        None => "<p class=\"quiet\">This message has no text.</p>".to_owned(),
    };
    let reply =
        |what: &str| format!("/compose?{}", query(&[("as", what), ("folder", &folder), ("uid", &uid)]));
    let subject = decoded(head, "Subject");
    let subject = if subject.trim().is_empty() { "(no subject)".to_owned() } else { subject };
    let verdict = first_value(head, "Authentication-Results").map(|v| verdict(&v)).unwrap_or_default();
    let who = sender(head);
    let (before, after) = conversation(&account, &folder, &row, head).await?;
    let body = MessageBody {
        folder: &folder,
        folder_link: format!("/folder?{}", query(&[("name", &folder)])),
        uid: row.uid,
        address: only_address(head).filter(|a| *a != who).unwrap_or_default(),
        initial: who.chars().find(|c| c.is_alphanumeric()).map_or("?".into(), |c| c.to_uppercase().collect()),
        who,
        to_short: in_short(head),
        from: decoded(head, "From"),
        to: decoded(head, "To"),
        cc: decoded(head, "Cc"),
        date: decoded(head, "Date"),
        when: clock::in_words(row.date.max(0) as u64 * 1000, clock::now_ms()),
        forged: verdict == FORGED,
        verdict,
        text_link: at("/message/text", if pictures { &[("pictures", "1")][..] } else { &[] }),
        plain,
        pictures_link: if blocked { at("/message", &[("pictures", "1")]) } else { String::new() },
        source_link: at("/message/source", &[]),
        history_link: at("/history", &[]),
        reply_links: [
            ("Reply", reply("reply"), "r"),
            ("Reply to all", reply("all"), "a"),
            ("Forward", reply("forward"), "f"),
        ],
        attachments: attached(&tree, &raw)
            .into_iter()
            .map(|a| Attachment {
                link: at("/message/part", &[("part", a.number.as_str())]),
                name: a.name,
                size: a.size,
            })
            .collect(),
        before,
        after,
        folders: account.state().folders.keys().cloned().collect(),
        flagged: row.flags.has(Flags::FLAGGED),
        junk: account.state().special("\\Junk").is_some_and(|(name, _)| *name == folder),
        csrf: visitor.csrf(),
        subject: subject.clone(),
    };
    if !row.flags.has(Flags::SEEN) {
        let (folder, uid) = (folder.clone(), row.uid);
        let seen = FlagChange::Add(vec!["\\Seen".into()]);
        account.change(move |d| d.store_flags(&folder, &[uid], &seen, None)).await.map_err(fault)?;
    }
    post.chassis.page(Some(&visitor), &page_at(&subject, "/", true), &body)
}

/// The address of who wrote it.
fn only_address(head: &[u8]) -> Option<String> {
    let from = first_value(head, "From")?;
    addresses(from.as_bytes()).into_iter().find_map(|e| match e {
        Entry::Address(address) => Some(address.spec()),
        _ => None,
    })
}

/// Who gets it, in a few words.
fn in_short(head: &[u8]) -> String {
    let all: Vec<String> = ["To", "Cc"].iter().filter_map(|name| first_value(head, name)).collect();
    let names: Vec<String> = all
        .iter()
        .flat_map(|v| addresses(v.as_bytes()))
        .filter_map(|e| if let Entry::Address(a) = e { Some(a.shown()) } else { None })
        .collect();
    match names.as_slice() {
        [] => "nobody named".into(),
        [one] => one.clone(),
        [one, two] => format!("{one} and {two}"),
        [one, two, rest @ ..] => format!("{one}, {two} and {} more", rest.len()),
    }
}

const FORGED: &str = "Nobody vouches for the sender: it may be forged.";

/// Our own results in words.
fn verdict(results: &str) -> String {
    let passed = |what: &str| results.contains(&format!("{what}=pass"));
    match (passed("dmarc"), passed("dkim"), passed("spf")) {
        (true, ..) => "The sender's domain vouches for it (DMARC).".into(),
        (_, true, _) => "Signed by its domain (DKIM).".into(),
        (_, _, true) => "Sent by a server of its domain (SPF).".into(),
        _ if results.contains("fail") => FORGED.into(),
        _ => String::new(),
    }
}

/// The other messages of the conversation in this folder, in order: those before this one, those after.
async fn conversation(
    account: &Account,
    folder: &str,
    row: &Row,
    head: &[u8],
) -> Result<(Vec<Other>, Vec<Other>), Fault> {
    let Some(root_id) = root(head) else { return Ok((Vec::new(), Vec::new())) };
    let rows = account.rows(folder).await.map_err(fault)?;
    let near: Vec<Row> = rows.iter().copied().collect::<Vec<_>>().into_iter().rev().take(LOOKED_AT).collect();
    let mut others = Vec::new();
    for one in near.iter().rev().filter(|one| one.uid != row.uid) {
        let Some(its) = account.head(folder, one).map_err(fault)?.map(|h| h.header) else { continue };
        if root(&its).as_ref() != Some(&root_id) {
            continue;
        }
        let words = match one.size <= SNIPPET_OF_MAX && others.len() < CONVERSATION_MAX {
            true => account.read(one).map_err(fault)?.map(|raw| snippet(&parse(&raw), &raw)),
            false => None,
        };
        others.push(Other {
            who: sender(&its),
            snippet: words.unwrap_or_default(),
            when: clock::in_words(one.date.max(0) as u64 * 1000, clock::now_ms()),
            link: format!("/message?{}", query(&[("folder", folder), ("uid", &one.uid.to_string())])),
            uid: one.uid,
        });
    }
    Ok(others.into_iter().partition(|o| o.uid < row.uid))
}

/// The text alone, for the frame.
async fn text(post: Arc<Post>, request: Request) -> Answer {
    let (_, account) = enter(&post, &request).await?;
    let form = request.query_form();
    let (folder, row) = named(&account, &form).await?;
    let raw = account.read(&row).map_err(fault)?.ok_or_else(gone)?;
    let tree = parse(&raw);
    let pictures = form.get("pictures").is_some();
    let inner = match best_text(&tree, &raw) {
        Some((part, true)) => {
            let ids = content_ids(&tree, &raw);
            let uid = row.uid.to_string();
            safe::clean(&part.text(&raw), pictures, move |id| {
                let number = ids.iter().find(|(cid, _)| cid.eq_ignore_ascii_case(id)).map(|(_, n)| n)?;
                Some(format!(
                    "/message/part?{}",
                    query(&[("folder", &folder), ("uid", &uid), ("part", number)])
                ))
            })
        }
        Some((part, false)) => safe::from_text(&part.text(&raw)),
        None => "<p>This message has no text.</p>".to_owned(),
    };
    let page = format!(
        "<!doctype html><meta charset=\"utf-8\"><meta name=\"color-scheme\" content=\"light\">\
         <meta name=\"viewport\" content=\"width=device-width\"><style>body{{margin:1rem;font:16px/1.5 system-ui,sans-serif;\
         color:#1a1a1a;background:#fff;overflow-wrap:anywhere}}img{{max-width:100%;height:auto}}table{{max-width:100%}}\
         pre{{white-space:pre-wrap}}blockquote{{margin:.5rem 0 .5rem .5rem;padding-left:.8rem;border-left:3px solid #ddd}}\
         </style>{inner}"
    );
    let mut answer = reply(StatusCode::OK, "text/html; charset=utf-8", page);
    let policy = HeaderValue::from_str(&safe::policy(pictures)).map_err(Fault::internal)?;
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    answer.headers_mut().insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
    answer.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(answer)
}

/// Content-IDs of parts, with their section numbers.
fn content_ids(tree: &Entity, raw: &[u8]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Vec<(String, &Entity)> = vec![(String::new(), tree)];
    while let Some((number, part)) = open.pop() {
        if found.len() > 200 {
            break;
        }
        if let Some(id) = first_value(&raw[part.header.clone()], "Content-ID") {
            found.push((id.trim_matches(['<', '>']).to_owned(), number.clone()));
        }
        if part.is_multipart() {
            for (i, child) in part.children.iter().enumerate() {
                let inner =
                    if number.is_empty() { (i + 1).to_string() } else { format!("{number}.{}", i + 1) };
                open.push((inner, child));
            }
        }
    }
    found
}

/// An attachment. Only pictures are shown in place; all else is saved, whatever it claims to be.
async fn part(post: Arc<Post>, request: Request) -> Answer {
    let (_, account) = enter(&post, &request).await?;
    let form = request.query_form();
    let (_, row) = named(&account, &form).await?;
    let raw = account.read(&row).map_err(fault)?.ok_or_else(gone)?;
    let path: Vec<u32> = form.text("part").split('.').filter_map(|n| n.parse().ok()).collect();
    let tree = parse(&raw);
    let part = part_at(&tree, &path).ok_or_else(gone)?;
    let picture = match part.mime.subtype.to_ascii_lowercase().as_str() {
        "png" => Some("image/png"),
        "jpeg" | "jpg" => Some("image/jpeg"),
        "gif" => Some("image/gif"),
        "webp" => Some("image/webp"),
        _ => None,
    };
    let picture = picture.filter(|_| part.mime.kind.eq_ignore_ascii_case("image"));
    let mut answer = reply(
        StatusCode::OK,
        picture.unwrap_or("application/octet-stream"),
        decode_body(&raw, part).into_owned(),
    );
    if picture.is_none() {
        let name: String = part.file_name(&raw).unwrap_or_else(|| "attachment".into());
        let name = chassis::http::encode(name.rsplit(['/', '\\']).next().unwrap_or("attachment"))
            .replace('+', "%20");
        let value = HeaderValue::from_str(&format!("attachment; filename*=UTF-8''{name}"))
            .map_err(Fault::internal)?;
        answer.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    let policy = HeaderValue::from_static("default-src 'none'; sandbox");
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(answer)
}

/// The message as it is.
async fn source(post: Arc<Post>, request: Request) -> Answer {
    let (_, account) = enter(&post, &request).await?;
    let (_, row) = named(&account, &request.query_form()).await?;
    let raw = account.read(&row).map_err(fault)?.ok_or_else(gone)?;
    Ok(reply(StatusCode::OK, "text/plain; charset=utf-8", raw.to_vec()))
}
