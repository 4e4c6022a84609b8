//! Writing: a new message, a reply, a forward, a draft.

use super::folder::decoded;
use super::show::best_text;
use super::{NAV, enter, fault, gone, named, query};
use crate::mailbox::{Account, NewMessage};
use crate::message::{
    Entity, Entry, addresses, decode_body, encode_word, fields, first_value, format_rfc5322, header_end,
    message_ids, parse,
};
use crate::service::{Post, PostError, send_own};
use crate::smtp::Mailbox;
use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chassis::clock;
use chassis::http::{Answer, Fault, Form, Request, Router, header, see_other};
use chassis::web::Page;
use std::sync::Arc;

pub(super) fn routes(post: &Arc<Post>) -> Router {
    let (a, b) = (post.clone(), post.clone());
    Router::new()
        .get("/compose", move |request| page(a.clone(), request))
        .post("/compose", move |request| submit(b.clone(), request))
}

/// What the form shows and sends.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Letter {
    to: String,
    cc: String,
    bcc: String,
    subject: String,
    text: String,
    in_reply_to: String,
    references: String,
    draft: String,
    files: Vec<File>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct File {
    name: String,
    kind: String,
    bytes: Vec<u8>,
}

#[derive(Template)]
#[template(path = "compose.html")]
struct ComposeBody<'a> {
    letter: &'a Letter,
    problem: &'a str,
    csrf: String,
}

async fn page(post: Arc<Post>, request: Request) -> Answer {
    let (visitor, account) = enter(&post, &request).await?;
    let form = request.query_form();
    let letter = begin(&account, &form, &visitor.account().address).await?;
    show(&post, &visitor, &letter, "")
}

fn show(post: &Post, visitor: &chassis::web::Visitor, letter: &Letter, problem: &str) -> Answer {
    let body = ComposeBody { letter, problem, csrf: visitor.csrf() };
    let page = Page { nav: NAV, active: "/compose", ..Page::titled("Write") };
    post.chassis.page(Some(visitor), &page, &body)
}

/// The letter that a link begins: empty, a reply, a forward, a draft.
async fn begin(account: &Account, form: &Form, own: &str) -> Result<Letter, Fault> {
    let mut letter = Letter {
        to: form.text("to").to_owned(),
        subject: form.text("subject").to_owned(),
        ..Letter::default()
    };
    let Some(kind) = form.get("as") else { return Ok(letter) };
    let (_, row) = named(account, form).await?;
    let raw = account.read(&row).map_err(fault)?.ok_or_else(gone)?;
    let head = &raw[..header_end(&raw)];
    let tree = parse(&raw);
    let text = readable(&tree, &raw);
    let subject = decoded(head, "Subject");
    let from = decoded(head, "From");
    match kind {
        "draft" => {
            letter = Letter {
                to: decoded(head, "To"),
                cc: decoded(head, "Cc"),
                bcc: decoded(head, "Bcc"),
                subject,
                text,
                in_reply_to: first_value(head, "In-Reply-To").unwrap_or_default(),
                references: first_value(head, "References").unwrap_or_default(),
                draft: row.uid.to_string(),
                files: Vec::new(),
            };
        }
        "forward" => {
            letter.subject = prefixed("Fwd: ", &subject);
            letter.text = format!(
                "\n\n---- Forwarded ----\nFrom: {from}\nDate: {}\nSubject: {subject}\n\n{text}",
                decoded(head, "Date")
            );
        }
        _ => {
            let reply_to = decoded(head, "Reply-To");
            letter.to = if reply_to.trim().is_empty() { from.clone() } else { reply_to };
            if kind == "all" {
                let others = [first_value(head, "To"), first_value(head, "Cc")].into_iter().flatten();
                let others: Vec<String> =
                    others.flat_map(|v| specs(&v)).filter(|a| !a.eq_ignore_ascii_case(own)).collect();
                letter.cc = others.join(", ");
            }
            letter.subject = prefixed("Re: ", &subject);
            let quoted: String = text.lines().map(|l| format!("> {l}\n")).collect();
            letter.text = format!("\n\n{from} wrote:\n{quoted}");
            letter.in_reply_to = first_value(head, "Message-ID").unwrap_or_default();
            let mut ids = message_ids(first_value(head, "References").unwrap_or_default().as_bytes(), 50);
            ids.extend(message_ids(letter.in_reply_to.as_bytes(), 1));
            letter.references = ids.join(" ");
        }
    }
    Ok(letter)
}

fn prefixed(prefix: &str, subject: &str) -> String {
    let has = subject.get(..prefix.len()).is_some_and(|s| s.eq_ignore_ascii_case(prefix));
    if has { subject.to_owned() } else { format!("{prefix}{subject}") }
}

/// The text of a message for quoting.
fn readable(tree: &Entity, raw: &[u8]) -> String {
    match best_text(tree, raw) {
        Some((part, false)) => part.text(raw).replace("\r\n", "\n"),
        Some((part, true)) => ammonia::Builder::empty()
            .clean(&part.text(raw))
            .to_string()
            .replace("&nbsp;", " ")
            .replace("&amp;", "&"),
        None => String::new(),
    }
}

/// The addresses of a field.
fn specs(value: &str) -> Vec<String> {
    let spec = |e| if let Entry::Address(a) = e { Some(a.spec()) } else { None };
    addresses(value.as_bytes()).into_iter().filter_map(spec).collect()
}

async fn submit(post: Arc<Post>, mut request: Request) -> Answer {
    let (visitor, account) = enter(&post, &request).await?;
    let (form, files) = read_form(&post, &visitor, &mut request).await?;
    let text = |name: &str| form.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).unwrap_or_default();
    let letter = Letter {
        to: text("to"),
        cc: text("cc"),
        bcc: text("bcc"),
        subject: text("subject"),
        text: text("text"),
        in_reply_to: text("in_reply_to"),
        references: text("references"),
        draft: text("draft"),
        files,
    };
    let own = visitor.account();
    let tag = chassis::accounts::new_token::<12>();
    let id = format!("{}@{}", tag.replace(['_', '-'], "x"), post.hostname());
    if text("do") == "draft" {
        let raw = build(&letter, &own.address, &own.name, &id, true);
        keep_draft(&account, &letter, raw).await?;
        return Ok(see_other(&format!("/folder?{}", query(&[("name", "Drafts")]))));
    }
    let recipients = match recipients(&post, &letter) {
        Ok(recipients) => recipients,
        Err(problem) => return show(&post, &visitor, &letter, &problem),
    };
    let raw = build(&letter, &own.address, &own.name, &id, false);
    if let Err(error) = send_own(&post, &own.user, &own.address, &recipients, raw).await {
        let problem = match error {
            PostError::Mailbox(e) => e.to_string(),
            PostError::Queue(e) => e.to_string(),
        };
        return show(&post, &visitor, &letter, &format!("The message was not sent: {problem}."));
    }
    forget_draft(&account, &letter).await?;
    Ok(see_other("/"))
}

fn recipients(post: &Post, letter: &Letter) -> Result<Vec<Mailbox>, String> {
    let mut all = Vec::new();
    for spec in [&letter.to, &letter.cc, &letter.bcc].into_iter().flat_map(|f| specs(f)) {
        let one = Mailbox::parse(&spec).map_err(|error| format!("{spec}: {error}"))?;
        crate::service::may_write_to(post, &one)
            .map_err(|reply| format!("{spec}: {}", reply.lines.join(" ")))?;
        if !all.contains(&one) {
            all.push(one);
        }
    }
    if all.is_empty() { Err("Say who should get it.".into()) } else { Ok(all) }
}

/// The message as bytes (RFC 5322, MIME). Field values lose their line ends: nothing can be injected.
fn build(letter: &Letter, address: &str, name: &str, id: &str, draft: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut field = |name: &str, value: &str| {
        if !value.trim().is_empty() {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
    };
    let from = if name.is_empty() { format!("<{address}>") } else { format!("{} <{address}>", phrase(name)) };
    field("From", &from);
    field("To", &address_list(&letter.to));
    field("Cc", &address_list(&letter.cc));
    if draft {
        field("Bcc", &address_list(&letter.bcc));
    }
    field("Subject", &encode_word(&one_line(&letter.subject)));
    field("Date", &format_rfc5322((clock::now_ms() / 1000) as i64));
    field("Message-ID", &format!("<{id}>"));
    field("In-Reply-To", &message_ids(letter.in_reply_to.as_bytes(), 1).join(" "));
    field("References", &message_ids(letter.references.as_bytes(), 50).join("\r\n "));
    field("MIME-Version", "1.0");
    let text = letter.text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n");
    let body = format!(
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n{}",
        base64_lines(text.as_bytes())
    );
    if letter.files.is_empty() {
        out.extend_from_slice(body.as_bytes());
        return out;
    }
    let boundary = format!("=_{}", id.split('@').next().unwrap_or("nymote"));
    out.extend_from_slice(
        format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n--{boundary}\r\n{body}")
            .as_bytes(),
    );
    for file in &letter.files {
        let kind = if file.kind.is_empty() { "application/octet-stream" } else { &file.kind };
        let name = chassis::http::encode(&file.name).replace('+', "%20");
        out.extend_from_slice(
            format!(
                "--{boundary}\r\nContent-Type: {}\r\nContent-Transfer-Encoding: base64\r\n\
                 Content-Disposition: attachment; filename*=UTF-8''{name}\r\n\r\n{}",
                one_line(kind),
                base64_lines(&file.bytes)
            )
            .as_bytes(),
        );
    }
    out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    out
}

fn base64_lines(bytes: &[u8]) -> String {
    bytes.chunks(57).map(|c| STANDARD.encode(c) + "\r\n").collect()
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A display name as a phrase: an encoded word outside of ASCII, else quoted.
fn phrase(name: &str) -> String {
    let name = one_line(name);
    if name.is_ascii() {
        format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        encode_word(&name)
    }
}

/// An address list written anew from what was read: names encoded, one address a line.
fn address_list(value: &str) -> String {
    let written = |e| match e {
        Entry::Address(a) => {
            let name = a.name.as_deref().map(|n| String::from_utf8_lossy(n).into_owned());
            Some(match name.filter(|n| !n.trim().is_empty()) {
                Some(name) => format!("{} <{}>", phrase(&name), one_line(&a.spec())),
                None => one_line(&a.spec()),
            })
        }
        _ => None,
    };
    addresses(value.as_bytes()).into_iter().filter_map(written).collect::<Vec<_>>().join(",\r\n ")
}

async fn keep_draft(account: &Account, letter: &Letter, raw: Vec<u8>) -> Result<(), Fault> {
    let drafts = drafts(account);
    let old: Vec<u32> = letter.draft.parse().into_iter().collect();
    let message = NewMessage {
        raw,
        flags: vec!["\\Draft".into(), "\\Seen".into()],
        date: (clock::now_ms() / 1000) as i64,
    };
    let change = move |d: &mut crate::mailbox::Draft<'_>| {
        d.append(&drafts, vec![message], 0)?;
        if old.is_empty() { Ok(Vec::new()) } else { d.expunge(&drafts, &old) }
    };
    account.change(change).await.map_err(fault)?;
    Ok(())
}

async fn forget_draft(account: &Account, letter: &Letter) -> Result<(), Fault> {
    let Ok(uid) = letter.draft.parse::<u32>() else { return Ok(()) };
    let drafts = drafts(account);
    account.change(move |d| d.expunge(&drafts, &[uid])).await.map_err(fault)?;
    Ok(())
}

fn drafts(account: &Account) -> String {
    account.state().special("\\Drafts").map_or("Drafts".into(), |(name, _)| name.clone())
}

/// The form with its files. The token is checked before anything else is believed.
async fn read_form(
    post: &Post,
    visitor: &chassis::web::Visitor,
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

/// multipart/form-data (RFC 7578) is MIME: the reader of messages reads it.
fn multipart(kind: &str, body: &[u8]) -> (Vec<(String, String)>, Vec<File>) {
    let raw = [format!("Content-Type: {}\r\n\r\n", one_line(kind)).as_bytes(), body].concat();
    let tree = parse(&raw);
    let (mut form, mut files) = (Vec::new(), Vec::new());
    for part in tree.children.iter().take(200) {
        let head = &raw[part.header.clone()];
        let Some(disposition) = fields(head).find(|f| f.is("Content-Disposition")) else { continue };
        let value = String::from_utf8_lossy(disposition.value).into_owned();
        let name =
            value.split("name=\"").nth(1).and_then(|v| v.split('"').next()).unwrap_or_default().to_owned();
        let bytes = decode_body(&raw, part);
        match part.file_name(&raw) {
            Some(file) if !file.is_empty() => files.push(File {
                name: file,
                kind: format!("{}/{}", part.mime.kind, part.mime.subtype),
                bytes: bytes.into_owned(),
            }),
            Some(_) => {}
            None => form.push((name, String::from_utf8_lossy(&bytes).into_owned())),
        }
    }
    (form, files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_read_back_and_nothing_is_injected() {
        let letter = Letter {
            to: "\"Ben, B\" <ben@home.test>, grün <g@x.test>".into(),
            bcc: "secret@x.test".into(),
            subject: "Grüße\r\nX-Evil: 1".into(),
            text: "Zeile\n.\nü".into(),
            files: vec![File { name: "ä b.txt".into(), kind: "text/plain".into(), bytes: b"file".to_vec() }],
            ..Letter::default()
        };
        let raw = build(&letter, "me@home.test", "Änne", "1@h", false);
        assert!(
            raw.is_ascii()
                && !raw.windows(8).any(|w| w == b"\r\nX-Evil")
                && !raw.windows(6).any(|w| w == b"secret")
        );
        let tree = parse(&raw);
        assert_eq!(decoded(&raw, "Subject"), "Grüße  X-Evil: 1");
        assert_eq!(specs(&first_value(&raw, "To").unwrap()), ["ben@home.test", "g@x.test"]);
        assert_eq!(readable(&tree, &raw), "Zeile\n.\nü");
        assert_eq!(tree.children[1].file_name(&raw).as_deref(), Some("ä b.txt"));
    }

    #[test]
    fn rfc7578_4_forms_with_files_are_read() {
        let body = b"--x\r\nContent-Disposition: form-data; name=\"to\"\r\n\r\na@b\r\n--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"n.png\"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n--x--\r\n";
        let (form, files) = multipart("multipart/form-data; boundary=x", body);
        assert_eq!(form, [("to".to_owned(), "a@b".to_owned())]);
        assert_eq!((files[0].name.as_str(), files[0].bytes.as_slice()), ("n.png", &b"\x89PNG"[..]));
    }

    #[test]
    fn a_prefix_is_put_once() {
        assert_eq!(prefixed("Re: ", "RE: x"), "RE: x");
        assert_eq!(prefixed("Re: ", "über"), "Re: über");
    }
}
