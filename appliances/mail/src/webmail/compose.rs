//! Writing: a new message, a reply, a forward, a draft.

use super::act::with_word;
use super::build::{Author, File, Letter, build, multipart};
use super::folder::decoded;
use super::reading::{attached, bytes_of, readable};
use super::{enter, fault, gone, named, page_at, query};
use crate::mailbox::{Account, Draft, FlagChange, Incoming, MailboxError, NewMessage};
use crate::message::{Entry, addresses, first_value, header_end, message_ids, parse};
use crate::service::{Post, PostError, send_own};
use crate::smtp::Mailbox;
use askama::Template;
use chassis::clock;
use chassis::http::{Answer, Fault, Form, Request, Router, header, see_other};
use chassis::web::Visitor;
use std::sync::Arc;

pub(super) fn routes(post: &Arc<Post>) -> Router {
    let (a, b) = (post.clone(), post.clone());
    Router::new()
        .get("/compose", move |request| page(a.clone(), request))
        .post("/compose", move |request| submit(b.clone(), request))
}

/// A file that hangs at the message that the letter continues or forwards.
struct Kept {
    number: String,
    name: String,
    size: String,
}

#[derive(Template)]
#[template(path = "compose.html")]
struct ComposeBody<'a> {
    title: &'a str,
    letter: &'a Letter,
    kept: Vec<Kept>,
    problem: &'a str,
    csrf: String,
}

async fn page(post: Arc<Post>, request: Request) -> Answer {
    let (visitor, account) = enter(&post, &request).await?;
    let form = request.query_form();
    let letter = begin(&account, &form, &visitor.account().address).await?;
    show(&post, &visitor, &account, &letter, "").await
}

async fn show(post: &Post, visitor: &Visitor, account: &Account, letter: &Letter, problem: &str) -> Answer {
    let title = match letter.kind.as_str() {
        "reply" | "all" => "Reply",
        "forward" => "Forward",
        "draft" => "Draft",
        _ => "Write",
    };
    let kept = kept(account, letter).await?;
    let body = ComposeBody { title, letter, kept, problem, csrf: visitor.csrf() };
    post.chassis.page(Some(visitor), &page_at(title, "/compose", false), &body)
}

/// The message that the letter came from, where its files go along.
async fn source(account: &Account, letter: &Letter) -> Result<Option<bytes::Bytes>, Fault> {
    if !matches!(letter.kind.as_str(), "draft" | "forward") {
        return Ok(None);
    }
    let rows = account.rows(&letter.folder).await.map_err(fault)?;
    let found = letter.uid.parse().ok().and_then(|uid| rows.find(uid)).map(|(_, row)| *row);
    match found {
        Some(row) => account.read(&row).map_err(fault),
        None => Ok(None),
    }
}

async fn kept(account: &Account, letter: &Letter) -> Result<Vec<Kept>, Fault> {
    let Some(raw) = source(account, letter).await? else { return Ok(Vec::new()) };
    let tree = parse(&raw);
    let kept = |a: super::reading::Attached<'_>| Kept { number: a.number, name: a.name, size: a.size };
    Ok(attached(&tree, &raw).into_iter().map(kept).collect())
}

/// The letter that a link begins: empty, a reply, a forward, a draft.
async fn begin(account: &Account, form: &Form, own: &str) -> Result<Letter, Fault> {
    let mut letter = Letter {
        to: form.text("to").to_owned(),
        subject: form.text("subject").to_owned(),
        ..Letter::default()
    };
    let Some(kind) = form.get("as") else { return Ok(letter) };
    let (folder, row) = named(account, form).await?;
    let raw = account.read(&row).map_err(fault)?.ok_or_else(gone)?;
    letter.kind = kind.to_owned();
    letter.folder = folder;
    letter.uid = row.uid.to_string();
    match kind {
        "draft" => continue_draft(&mut letter, &raw),
        "forward" => forward(&mut letter, &raw),
        _ => reply(&mut letter, &raw, own, kind == "all"),
    }
    Ok(letter)
}

fn continue_draft(letter: &mut Letter, raw: &[u8]) {
    let head = &raw[..header_end(raw)];
    letter.to = decoded(head, "To");
    letter.cc = decoded(head, "Cc");
    letter.bcc = decoded(head, "Bcc");
    letter.subject = decoded(head, "Subject");
    letter.text = readable(&parse(raw), raw);
    letter.in_reply_to = first_value(head, "In-Reply-To").unwrap_or_default();
    letter.references = first_value(head, "References").unwrap_or_default();
    letter.draft = letter.uid.clone();
}

fn forward(letter: &mut Letter, raw: &[u8]) {
    let head = &raw[..header_end(raw)];
    let subject = decoded(head, "Subject");
    let lines: Vec<String> = ["From", "To", "Date", "Subject"]
        .iter()
        .map(|name| (name, decoded(head, name)))
        .filter(|(_, value)| !value.trim().is_empty())
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    letter.subject = prefixed("Fwd: ", &subject);
    letter.text =
        format!("\n\n---- Forwarded message ----\n{}\n\n{}", lines.join("\n"), readable(&parse(raw), raw));
}

fn reply(letter: &mut Letter, raw: &[u8], own: &str, all: bool) {
    let head = &raw[..header_end(raw)];
    let from = decoded(head, "From");
    let reply_to = decoded(head, "Reply-To");
    let wrote_it = specs(&from).iter().any(|a| a.eq_ignore_ascii_case(own));
    // An answer to what one wrote oneself goes to whom it was written.
    letter.to = match (wrote_it, reply_to.trim().is_empty()) {
        (true, _) => decoded(head, "To"),
        (false, true) => from.clone(),
        (false, false) => reply_to,
    };
    if all {
        let already = specs(&letter.to);
        let fields = if wrote_it { vec!["Cc"] } else { vec!["To", "Cc"] };
        let mut others: Vec<String> = Vec::new();
        for one in fields.iter().filter_map(|name| first_value(head, name)).flat_map(|v| listed(&v)) {
            let (shown, spec) = one;
            let known = |known: &String| known.eq_ignore_ascii_case(&spec);
            if !spec.eq_ignore_ascii_case(own) && !already.iter().any(known) && !others.contains(&shown) {
                others.push(shown);
            }
        }
        letter.cc = others.join(", ");
    }
    letter.subject = prefixed("Re: ", &decoded(head, "Subject"));
    let quoted: String = readable(&parse(raw), raw)
        .trim_end()
        .lines()
        .map(|l| if l.starts_with('>') { format!(">{l}\n") } else { format!("> {l}\n") })
        .collect();
    let when = decoded(head, "Date");
    letter.text = format!("\n\nOn {when}, {from} wrote:\n{quoted}");
    letter.in_reply_to = first_value(head, "Message-ID").unwrap_or_default();
    let mut ids = message_ids(first_value(head, "References").unwrap_or_default().as_bytes(), 50);
    ids.extend(message_ids(letter.in_reply_to.as_bytes(), 1));
    letter.references = ids.join(" ");
}

fn prefixed(prefix: &str, subject: &str) -> String {
    let has = subject.get(..prefix.len()).is_some_and(|s| s.eq_ignore_ascii_case(prefix));
    if has { subject.to_owned() } else { format!("{prefix}{subject}") }
}

/// The addresses of a field.
fn specs(value: &str) -> Vec<String> {
    listed(value).into_iter().map(|(_, spec)| spec).collect()
}

/// The addresses of a field: as they are shown in a form, and alone.
fn listed(value: &str) -> Vec<(String, String)> {
    let both = |e| match e {
        Entry::Address(a) => {
            let (name, spec) = (a.shown(), a.spec());
            let shown = match name == spec {
                true => spec.clone(),
                false => format!("\"{}\" <{spec}>", name.replace(['"', '\\'], "")),
            };
            Some((shown, spec))
        }
        _ => None,
    };
    addresses(value.as_bytes()).into_iter().filter_map(both).collect()
}

async fn submit(post: Arc<Post>, mut request: Request) -> Answer {
    let (visitor, account) = enter(&post, &request).await?;
    let (form, files) = read_form(&post, &visitor, &mut request).await?;
    let text = |name: &str| form.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).unwrap_or_default();
    let mut letter = Letter {
        to: text("to"),
        cc: text("cc"),
        bcc: text("bcc"),
        subject: text("subject"),
        text: text("text"),
        in_reply_to: text("in_reply_to"),
        references: text("references"),
        draft: text("draft"),
        kind: text("as"),
        folder: text("folder"),
        uid: text("uid"),
        files: Vec::new(),
    };
    if text("do") == "discard" {
        forget_draft(&account, &letter).await?;
        return Ok(done("discard"));
    }
    let keep: Vec<&str> = form.iter().filter(|(n, _)| n == "keep").map(|(_, v)| v.as_str()).collect();
    letter.files = kept_files(&account, &letter, &keep).await?;
    letter.files.extend(files);
    let own = visitor.account();
    let tag = chassis::accounts::new_token::<12>();
    let id = format!("{}@{}", tag.replace(['_', '-'], "x"), post.hostname());
    let author = Author { address: &own.address, name: &own.name, id: &id };
    if text("do") == "draft" {
        keep_draft(&account, &letter, build(&letter, &author, true)).await?;
        let list = format!("/folder?{}", query(&[("name", &drafts(&account))]));
        return Ok(see_other(&with_word(&list, &[("did", "draft")])));
    }
    let sent = match recipients(&post, &letter) {
        Ok(recipients) => {
            let raw = build(&letter, &author, false);
            let sent = send_own(&post, &own.user, &own.address, &recipients, raw).await;
            sent.map_err(|error| match error {
                PostError::Mailbox(e) => format!("The message was not sent: {e}."),
                PostError::Queue(e) => format!("The message was not sent: {e}."),
            })
        }
        Err(problem) => Err(problem),
    };
    if let Err(problem) = sent {
        // Kept as a draft, files and all: a form cannot be given its files back.
        let uid = keep_draft(&account, &letter, build(&letter, &author, true)).await?;
        letter =
            Letter { kind: "draft".into(), folder: drafts(&account), uid: uid.clone(), draft: uid, ..letter };
        let problem = format!("{problem} What you wrote is kept as a draft.");
        return show(&post, &visitor, &account, &letter, &problem).await;
    }
    forget_draft(&account, &letter).await?;
    note_answer(&account, &letter).await?;
    Ok(done("sent"))
}

fn done(did: &str) -> chassis::http::Response {
    see_other(&with_word("/folder?name=INBOX", &[("did", did)]))
}

/// The files of the message that the letter continues or forwards, those that stay ticked.
async fn kept_files(account: &Account, letter: &Letter, keep: &[&str]) -> Result<Vec<File>, Fault> {
    let Some(raw) = source(account, letter).await? else { return Ok(Vec::new()) };
    let tree = parse(&raw);
    let chosen = attached(&tree, &raw).into_iter().filter(|a| keep.contains(&a.number.as_str()));
    let file = |a: super::reading::Attached<'_>| File {
        kind: format!("{}/{}", a.part.mime.kind, a.part.mime.subtype),
        bytes: bytes_of(&raw, a.part),
        name: a.name,
    };
    Ok(chosen.map(file).collect())
}

fn recipients(post: &Post, letter: &Letter) -> Result<Vec<Mailbox>, String> {
    let mut all = Vec::new();
    for spec in [&letter.to, &letter.cc, &letter.bcc].into_iter().flat_map(|f| specs(f)) {
        let one = Mailbox::parse(&spec).map_err(|error| format!("{spec}: {error}."))?;
        crate::service::may_write_to(post, &one)
            .map_err(|reply| format!("{spec}: {}.", reply.lines.join(" ")))?;
        if !all.contains(&one) {
            all.push(one);
        }
    }
    if all.is_empty() { Err("Say who should get it.".into()) } else { Ok(all) }
}

/// Puts the draft in place of the one before; gives its UID.
async fn keep_draft(account: &Account, letter: &Letter, raw: Vec<u8>) -> Result<String, Fault> {
    let drafts = drafts(account);
    let old: Vec<u32> = letter.draft.parse().into_iter().collect();
    let message = NewMessage {
        raw,
        flags: vec!["\\Draft".into(), "\\Seen".into()],
        date: (clock::now_ms() / 1000) as i64,
    };
    let messages = Incoming::all(vec![message]).await.map_err(fault)?;
    let change = move |d: &mut Draft<'_>| -> Result<u32, MailboxError> {
        if !d.state().folders.contains_key(&drafts) {
            d.create(&drafts, "\\Drafts")?;
        }
        let added = d.append(&drafts, messages, 0)?;
        if !old.is_empty() {
            d.expunge(&drafts, &old)?;
        }
        Ok(added.to.first().copied().unwrap_or(0))
    };
    Ok(account.change(change).await.map_err(fault)?.to_string())
}

async fn forget_draft(account: &Account, letter: &Letter) -> Result<(), Fault> {
    let Ok(uid) = letter.draft.parse::<u32>() else { return Ok(()) };
    let drafts = drafts(account);
    account.change(move |d| d.expunge(&drafts, &[uid])).await.map_err(fault)?;
    Ok(())
}

/// The message that was answered or forwarded says so.
async fn note_answer(account: &Account, letter: &Letter) -> Result<(), Fault> {
    let flag = match letter.kind.as_str() {
        "reply" | "all" => "\\Answered",
        "forward" => "$Forwarded",
        _ => return Ok(()),
    };
    let (folder, Ok(uid)) = (letter.folder.clone(), letter.uid.parse::<u32>()) else { return Ok(()) };
    let change = FlagChange::Add(vec![flag.to_owned()]);
    // It may be gone meanwhile: then there is nothing to say.
    let _ = account.change(move |d| d.store_flags(&folder, &[uid], &change, None)).await;
    Ok(())
}

fn drafts(account: &Account) -> String {
    account.state().special("\\Drafts").map_or("Drafts".into(), |(name, _)| name.clone())
}

/// The form with its files. The token is checked before anything else is believed.
async fn read_form(
    post: &Post,
    visitor: &Visitor,
    request: &mut Request,
) -> Result<(Vec<(String, String)>, Vec<File>), Fault> {
    let kind = request.header(header::CONTENT_TYPE).unwrap_or_default().to_owned();
    if !kind.to_ascii_lowercase().starts_with("multipart/form-data") {
        let form = post.chassis.form(request, visitor).await?;
        return Ok((form.fields().to_vec(), Vec::new()));
    }
    let limit = post.settings().message_bytes_max;
    let body = request.bytes(limit).await.map_err(|error| Fault::bad_request(error.to_string()))?;
    let (form, files) = multipart(&kind, &body);
    let token = form.iter().find(|(n, _)| n == "csrf").map_or("", |(_, v)| v.as_str());
    if visitor.csrf().is_empty() || !visitor.gave(token) {
        return Err(Fault::forbidden("This form is too old, or did not come from here.")
            .advise("Go back, reload, and send it again."));
    }
    Ok((form, files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_put_once() {
        assert_eq!(prefixed("Re: ", "RE: x"), "RE: x");
        assert_eq!(prefixed("Re: ", "über"), "Re: über");
    }

    #[test]
    fn a_reply_to_all_names_everybody_once_and_not_oneself() {
        let raw = b"From: Ann <ann@x.test>\r\nTo: me@home.test, \"Bob, B\" <bob@x.test>\r\nCc: ann@x.test, cee@x.test\r\nSubject: Hi\r\nMessage-ID: <2@x>\r\nReferences: <1@x>\r\nDate: today\r\n\r\nHello\r\n> old\r\n";
        let mut letter = Letter::default();
        reply(&mut letter, raw, "ME@home.test", true);
        assert_eq!(specs(&letter.to), ["ann@x.test"]);
        assert_eq!(specs(&letter.cc), ["bob@x.test", "cee@x.test"]);
        assert_eq!((letter.subject.as_str(), letter.references.as_str()), ("Re: Hi", "<1@x> <2@x>"));
        assert_eq!(letter.text, "\n\nOn today, Ann <ann@x.test> wrote:\n> Hello\n>> old\n");
        let mut own = Letter::default();
        reply(&mut own, raw, "ann@x.test", false);
        assert_eq!(specs(&own.to), ["me@home.test", "bob@x.test"]);
    }
}
