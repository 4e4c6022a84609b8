//! BODY and BODYSTRUCTURE (RFC 3501 7.4.2, RFC 9051 7.5.2).

use super::envelope::{write_envelope, write_nstring, write_string};
use super::header::{fields, unfold};
use super::mime::{Entity, parameters};
use crate::limits;
use std::borrow::Cow;

/// Writes the structure of `entity`; `extended` is BODYSTRUCTURE, else BODY.
pub fn write_structure(out: &mut Vec<u8>, raw: &[u8], entity: &Entity, extended: bool) {
    out.push(b'(');
    if entity.is_multipart() {
        for child in &entity.children {
            write_structure(out, raw, child, extended);
        }
        out.push(b' ');
        write_string(out, entity.mime.subtype.as_bytes());
        if extended {
            out.push(b' ');
            write_params(out, &entity.mime.params);
            write_tail(out, raw, entity);
        }
    } else {
        write_leaf(out, raw, entity, extended);
    }
    out.push(b')');
}

fn write_leaf(out: &mut Vec<u8>, raw: &[u8], entity: &Entity, extended: bool) {
    let fields = Content::of(raw, entity);
    // A multipart without a single part cannot be written as one: it is shown as text.
    let (kind, subtype) = match entity.mime.kind.eq_ignore_ascii_case("multipart") {
        true => ("text", "plain"),
        false => (entity.mime.kind.as_str(), entity.mime.subtype.as_str()),
    };
    let body = &raw[entity.body.clone()];
    write_string(out, kind.as_bytes());
    out.push(b' ');
    write_string(out, subtype.as_bytes());
    out.push(b' ');
    let mut params = Cow::Borrowed(&entity.mime.params);
    if kind.eq_ignore_ascii_case("text") && entity.mime.param("charset").is_none() {
        // What it is taken for (RFC 2045 5.2).
        params.to_mut().push(("charset".into(), "us-ascii".into()));
    }
    write_params(out, &params);
    out.push(b' ');
    write_nstring(out, fields.id.as_deref());
    out.push(b' ');
    write_nstring(out, fields.description.as_deref());
    out.push(b' ');
    write_string(out, entity.encoding.as_bytes());
    out.extend_from_slice(format!(" {}", body.len()).as_bytes());
    if entity.is_message() {
        let inner = &entity.children[0];
        out.push(b' ');
        write_envelope(out, &raw[inner.header.clone()]);
        out.push(b' ');
        write_structure(out, raw, inner, extended);
    }
    if entity.is_message() || kind.eq_ignore_ascii_case("text") {
        out.extend_from_slice(format!(" {}", lines(body)).as_bytes());
    }
    if extended {
        out.push(b' ');
        write_nstring(out, fields.md5.as_deref());
        write_tail(out, raw, entity);
    }
}

/// Disposition, language and location: the end of every extended structure.
fn write_tail(out: &mut Vec<u8>, raw: &[u8], entity: &Entity) {
    let content = Content::of(raw, entity);
    match &content.disposition {
        Some((kind, params)) => {
            out.extend_from_slice(b" (");
            write_string(out, kind.as_bytes());
            out.push(b' ');
            write_params(out, params);
            out.push(b')');
        }
        None => out.extend_from_slice(b" NIL"),
    }
    out.push(b' ');
    match content.languages.as_slice() {
        [] => out.extend_from_slice(b"NIL"),
        many => {
            out.push(b'(');
            for (i, one) in many.iter().enumerate() {
                if i > 0 {
                    out.push(b' ');
                }
                write_string(out, one.as_bytes());
            }
            out.push(b')');
        }
    }
    out.push(b' ');
    write_nstring(out, content.location.as_deref());
}

fn write_params(out: &mut Vec<u8>, params: &[(String, String)]) {
    if params.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    for (i, (name, value)) in params.iter().enumerate() {
        if i > 0 {
            out.push(b' ');
        }
        write_string(out, name.as_bytes());
        out.push(b' ');
        write_string(out, value.as_bytes());
    }
    out.push(b')');
}

/// The Content-* fields that structures show.
#[derive(Default)]
struct Content {
    id: Option<Vec<u8>>,
    description: Option<Vec<u8>>,
    md5: Option<Vec<u8>>,
    location: Option<Vec<u8>>,
    languages: Vec<String>,
    disposition: Option<(String, Vec<(String, String)>)>,
}

impl Content {
    fn of(raw: &[u8], entity: &Entity) -> Content {
        let mut content = Content::default();
        for field in fields(&raw[entity.header.clone()]).take(limits::HEADER_FIELDS_MAX) {
            if field.name.len() < 10 || !field.name[..8].eq_ignore_ascii_case(b"content-") {
                continue;
            }
            match field.name[8..].to_ascii_lowercase().as_slice() {
                b"id" => content.id = Some(unfold(field.value)),
                b"description" => content.description = Some(unfold(field.value)),
                b"md5" => content.md5 = Some(unfold(field.value)),
                b"location" => content.location = Some(unfold(field.value)),
                b"language" => {
                    let list = String::from_utf8_lossy(&unfold(field.value)).into_owned();
                    content.languages =
                        list.split(',').map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect();
                }
                b"disposition" => {
                    content.disposition = Some(parameters(field.value)).filter(|d| !d.0.is_empty())
                }
                _ => {}
            }
        }
        content
    }
}

fn lines(body: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', body).count()
}

#[cfg(test)]
mod tests {
    use super::super::mime::parse;
    use super::*;

    fn structure(raw: &[u8], extended: bool) -> String {
        let mut out = Vec::new();
        write_structure(&mut out, raw, &parse(raw), extended);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rfc3501_7_4_2_body_of_text_and_multipart() {
        let plain = b"Content-Type: text/plain; charset=utf-8\r\n\r\nHi\r\nyou\r\n";
        assert_eq!(structure(plain, false), r#"("text" "plain" ("charset" "utf-8") NIL NIL "7bit" 9 2)"#);
        let multi = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nHi\r\n--x\r\nContent-Type: image/png; name=a\r\n\
Content-Disposition: attachment; filename=a.png\r\nContent-Transfer-Encoding: BASE64\r\n\r\nAAAA\r\n--x--\r\n";
        assert_eq!(
            structure(multi, true),
            r#"(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 2 0 NIL NIL NIL NIL)("image" "png" ("name" "a") NIL NIL "base64" 4 NIL ("attachment" ("filename" "a.png")) NIL NIL) "mixed" ("boundary" "x") NIL NIL NIL)"#
        );
    }

    /// "IMAP4 servers SHOULD decode parameter value continuations when generating the BODY and BODYSTRUCTURE fetch
    /// attributes", and nothing else of them; Dovecot does the same.
    #[test]
    fn rfc2231_6_continuations_are_joined_and_stay_encoded() {
        let raw = b"Content-Type: image/png\r\nContent-Disposition: attachment; filename*0*=utf-8''a%20;\r\n filename*1=b.txt; filename=f.txt\r\n\r\n";
        let written = structure(raw, true);
        assert!(
            written.contains(r#"("attachment" ("filename" "f.txt" "filename*" "utf-8''a%20b.txt"))"#),
            "{written}"
        );
    }

    #[test]
    fn an_embedded_message_has_envelope_structure_and_lines() {
        let raw = b"Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nx\r\n";
        let nil = "NIL ".repeat(7);
        assert_eq!(
            structure(raw, false),
            format!(
                r#"("message" "rfc822" NIL NIL NIL "7bit" 18 (NIL "in" {nil}NIL) ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 1) 3)"#
            )
        );
    }
}
