//! A letter as a message: header, text, files. And a form with files as what it holds.

use crate::message::{
    Entry, addresses, decode_body, encode_word, fields, format_rfc5322, message_ids, parse,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chassis::clock;

/// What the form shows and sends.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Letter {
    pub to: String,
    pub cc: String,
    pub bcc: String,
    pub subject: String,
    pub text: String,
    pub in_reply_to: String,
    pub references: String,
    /// The UID of the draft that this is.
    pub draft: String,
    /// The message that it answers, forwards or continues: how, and where it is.
    pub kind: String,
    pub folder: String,
    pub uid: String,
    pub files: Vec<File>,
}

/// An attachment.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub name: String,
    pub kind: String,
    pub bytes: Vec<u8>,
}

/// Who writes, and the new message's id.
pub(super) struct Author<'a> {
    pub address: &'a str,
    pub name: &'a str,
    pub id: &'a str,
}

/// The message as bytes (RFC 5322, MIME). Field values lose their line ends: nothing can be injected.
pub(super) fn build(letter: &Letter, author: &Author<'_>, draft: bool) -> Vec<u8> {
    let Author { address, name, id } = author;
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

pub(super) fn one_line(text: &str) -> String {
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

/// multipart/form-data (RFC 7578) is MIME: the reader of messages reads it.
pub(super) fn multipart(kind: &str, body: &[u8]) -> (Vec<(String, String)>, Vec<File>) {
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
    use super::super::folder::decoded;
    use super::super::reading::readable;
    use super::*;
    use crate::message::first_value;

    fn specs(value: &str) -> Vec<String> {
        let spec = |e| if let Entry::Address(a) = e { Some(a.spec()) } else { None };
        addresses(value.as_bytes()).into_iter().filter_map(spec).collect()
    }

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
        let author = Author { address: "me@home.test", name: "Änne", id: "1@h" };
        let raw = build(&letter, &author, false);
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
}
