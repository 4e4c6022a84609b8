//! The readable text of a message: bodies decoded to UTF-8, for search and for people.

use super::encoded::{base64_lenient, quoted_printable, to_utf8};
use super::header::fields;
use super::mime::Entity;
use super::{field_text, mime};
use crate::limits;
use std::borrow::Cow;

/// The body of a part with its transfer encoding undone.
pub fn decode_body<'a>(raw: &'a [u8], part: &Entity) -> Cow<'a, [u8]> {
    let body = &raw[part.body.clone()];
    match part.encoding.as_str() {
        "base64" => Cow::Owned(base64_lenient(body)),
        "quoted-printable" => Cow::Owned(quoted_printable(body)),
        _ => Cow::Borrowed(body),
    }
}

impl Entity {
    /// The text of a text part, in UTF-8; not copied where it is that as it stands.
    pub fn text<'a>(&self, raw: &'a [u8]) -> Cow<'a, str> {
        let bytes = decode_body(raw, self);
        let charset = self.mime.param("charset").filter(|c| !c.eq_ignore_ascii_case("us-ascii"));
        match (charset, bytes) {
            // What is valid is the same in UTF-8 and in what is read for want of a charset.
            (Some(charset), bytes) if !is_utf8(&charset) => Cow::Owned(to_utf8(&charset, &bytes)),
            (_, Cow::Borrowed(bytes)) => String::from_utf8_lossy(bytes),
            (_, Cow::Owned(bytes)) => Cow::Owned(match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
            }),
        }
    }
}

fn is_utf8(charset: &str) -> bool {
    ["utf-8", "utf8"].iter().any(|name| charset.trim().eq_ignore_ascii_case(name))
}

/// The body's texts in lower case, as SEARCH compares them. What is looked for in several of them at once is in none.
pub fn lower_texts(raw: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    each_text(raw, |text| texts.push(text.to_lowercase()));
    texts
}

/// Gives everything that a search may look at, one text after another: names and decoded values of the header's fields, then
/// [`each_text`]. What is in none of them is not in the message.
pub fn each_search_text(raw: &[u8], mut then: impl FnMut(&str)) {
    for field in fields(&raw[..super::header_end(raw)]) {
        then(&String::from_utf8_lossy(field.name));
        then(&field_text(field.value));
    }
    each_text(raw, then);
}

/// Gives the body's texts one after another: decoded text parts, and the fields of messages in messages, bounded by
/// `limits::SEARCH_TEXT_MAX` bytes. HTML is given with its tags removed and as it is.
pub fn each_text(raw: &[u8], mut then: impl FnMut(&str)) {
    let mut len = 0;
    texts(raw, &mime::parse(raw), &mut |text| {
        len += text.len() + 1;
        then(text);
        len <= limits::SEARCH_TEXT_MAX
    });
}

/// Gives each field to `then`, until that wants no more.
fn header_texts(raw: &[u8], entity: &Entity, then: &mut dyn FnMut(&str) -> bool) -> bool {
    for field in fields(&raw[entity.header.clone()]).take(limits::HEADER_FIELDS_MAX) {
        let name = String::from_utf8_lossy(field.name);
        if !then(&format!("{name}: {}", field_text(field.value))) {
            return false;
        }
    }
    true
}

/// Gives the texts of a part and of those below it to `then`, until that wants no more.
fn texts(raw: &[u8], part: &Entity, then: &mut dyn FnMut(&str) -> bool) -> bool {
    for child in &part.children {
        if part.is_message() && !header_texts(raw, child, then) || !texts(raw, child, then) {
            return false;
        }
    }
    if !part.children.is_empty() || !part.mime.kind.eq_ignore_ascii_case("text") {
        return true;
    }
    let text = part.text(raw);
    let is_html = part.mime.subtype.eq_ignore_ascii_case("html");
    (!is_html || then(&without_tags(&text))) && then(&text)
}

/// HTML with its tags removed and the commonest entities read.
fn without_tags(html: &str) -> String {
    let mut out = String::with_capacity(html.len() / 2);
    let mut in_tag = false;
    for c in html.chars() {
        match c {
            '<' => in_tag = true,
            '>' => in_tag = false,
            _ if in_tag => {}
            _ => out.push(c),
        }
    }
    for (entity, text) in [("&nbsp;", " "), ("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&amp;", "&")] {
        if out.contains(entity) {
            out = out.replace(entity, text);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_bodies_and_subjects_are_searchable() {
        let raw = b"Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\nContent-Type: text/html; charset=iso-8859-1\r\n\
Content-Transfer-Encoding: quoted-printable\r\n\r\n<b>caf</b>=E9 &amp; bar\r\n";
        let mut texts = Vec::new();
        each_search_text(raw, |text| texts.push(text.to_owned()));
        assert!(
            texts.iter().any(|text| text == "Grüße") && texts.iter().any(|text| text == "café & bar\r\n")
        );
        assert!(!lower_texts(raw).iter().any(|text| text.contains("grüße")));
    }

    #[test]
    fn base64_with_noise_is_read() {
        let raw = b"Content-Transfer-Encoding: base64\r\n\r\naGVs\r\nbG8=\r\nIQ==";
        assert_eq!(parse_text(raw), "hello!");
    }

    fn parse_text(raw: &[u8]) -> String {
        mime::parse(raw).text(raw).into_owned()
    }
}
