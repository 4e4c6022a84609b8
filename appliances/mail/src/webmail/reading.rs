//! What of a message is for reading: its text, its first words, its attachments.

use crate::message::{Entity, decode_body};

/// Parts that are looked at.
const PARTS_MAX: usize = 200;
/// Text that is looked at for the first words, in bytes.
const SNIPPET_OF: usize = 16 << 10;
/// First words of a message, in characters.
const SNIPPET: usize = 140;

/// The part to show: HTML before plain text, never an attachment.
pub(super) fn best_text<'a>(tree: &'a Entity, raw: &[u8]) -> Option<(&'a Entity, bool)> {
    let mut plain = None;
    let mut open = vec![tree];
    let mut looked = 0;
    while let Some(part) = open.pop() {
        looked += 1;
        if looked > PARTS_MAX {
            break;
        }
        if part.is_multipart() {
            open.extend(part.children.iter().rev());
            continue;
        }
        if part.disposition(raw).as_deref() == Some("attachment") {
            continue;
        }
        if part.mime.is("text", "html") {
            return Some((part, true));
        }
        if part.mime.kind.eq_ignore_ascii_case("text") && plain.is_none() {
            plain = Some((part, false));
        }
    }
    plain
}

/// An attachment.
pub(super) struct Attached<'a> {
    /// Its section number, as `/message/part` takes it.
    pub number: String,
    /// Its name, or its type.
    pub name: String,
    /// Its size, for people.
    pub size: String,
    /// The part.
    pub part: &'a Entity,
}

/// What hangs at a message beside the text that is shown.
pub(super) fn attached<'a>(tree: &'a Entity, raw: &[u8]) -> Vec<Attached<'a>> {
    let shown = best_text(tree, raw).map(|(e, _)| e.body.clone());
    let mut found = Vec::new();
    let mut open: Vec<(String, &Entity)> = vec![(String::new(), tree)];
    while let Some((number, part)) = open.pop() {
        if found.len() >= PARTS_MAX {
            break;
        }
        if part.is_multipart() {
            for (i, child) in part.children.iter().enumerate().rev() {
                let inner =
                    if number.is_empty() { (i + 1).to_string() } else { format!("{number}.{}", i + 1) };
                open.push((inner, child));
            }
            continue;
        }
        let name = part.file_name(raw);
        let text = part.mime.kind.eq_ignore_ascii_case("text");
        let is_file = part.disposition(raw).as_deref() == Some("attachment");
        if Some(&part.body) == shown.as_ref() || (name.is_none() && text && !is_file) {
            continue;
        }
        let number = if number.is_empty() { "1".to_owned() } else { number };
        let fallback = || format!("{}/{}", part.mime.kind, part.mime.subtype);
        let name = name.filter(|n| !n.trim().is_empty()).unwrap_or_else(fallback);
        // The decoded size, without decoding it: four characters of base64 are three bytes.
        let size = if part.encoding == "base64" { part.body.len() * 3 / 4 } else { part.body.len() };
        found.push(Attached { number, name, size: size_in_words(size), part });
    }
    found
}

/// The bytes of an attachment.
pub(super) fn bytes_of(raw: &[u8], part: &Entity) -> Vec<u8> {
    decode_body(raw, part).into_owned()
}

/// The first words of a message's own text: what it quotes is left out.
pub(super) fn snippet(tree: &Entity, raw: &[u8]) -> String {
    let Some((part, is_html)) = best_text(tree, raw) else { return String::new() };
    let text = part.text(raw);
    let mut end = text.len().min(SNIPPET_OF);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = if is_html { text_of_html(&text[..end]) } else { text[..end].to_owned() };
    let own = text.lines().filter(|l| !l.trim_start().starts_with('>'));
    let words: Vec<&str> = own.flat_map(str::split_whitespace).take(40).collect();
    words.join(" ").chars().take(SNIPPET).collect()
}

/// The text of a message for quoting.
pub(super) fn readable(tree: &Entity, raw: &[u8]) -> String {
    match best_text(tree, raw) {
        Some((part, false)) => part.text(raw).replace("\r\n", "\n"),
        Some((part, true)) => text_of_html(&part.text(raw)),
        None => String::new(),
    }
}

/// HTML as text: paragraphs and lines stay, tags, styles and scripts go.
pub(super) fn text_of_html(html: &str) -> String {
    const BREAKS: [&str; 12] =
        ["br", "p", "div", "tr", "li", "h1", "h2", "h3", "h4", "blockquote", "table", "hr"];
    const SILENT: [&str; 4] = ["style", "script", "head", "title"];
    let mut out = String::with_capacity(html.len() / 2);
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        push_words(&rest[..at], &mut out);
        let tag = &rest[at + 1..];
        let end = match tag.starts_with("!--") {
            true => tag.find("-->").map(|e| e + 3),
            false => tag.find('>').map(|e| e + 1),
        };
        let Some(end) = end else {
            rest = "";
            break;
        };
        let closes = tag.starts_with('/');
        let name =
            tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect::<String>();
        let name = name.to_ascii_lowercase();
        rest = &tag[end..];
        if BREAKS.contains(&name.as_str()) && !out.is_empty() && !out.ends_with("\n\n") {
            out.push('\n');
        }
        if SILENT.contains(&name.as_str()) && !closes {
            let close = format!("</{name}");
            // Same length in small letters: ASCII alone is changed.
            rest = rest.to_ascii_lowercase().find(&close).map_or("", |at| &rest[at..]);
        }
    }
    push_words(rest, &mut out);
    let lines: Vec<&str> = out.lines().map(str::trim).collect();
    let mut text = lines.join("\n");
    while text.contains("\n\n\n") {
        text = text.replace("\n\n\n", "\n\n");
    }
    text.trim().to_owned()
}

/// Text between tags: any white space is one space, entities are what they stand for.
fn push_words(text: &str, out: &mut String) {
    let mut decoded = text.to_owned();
    for (entity, is) in [
        ("&nbsp;", " "),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ] {
        if decoded.contains(entity) {
            decoded = decoded.replace(entity, is);
        }
    }
    for c in decoded.chars() {
        match c.is_whitespace() {
            true if out.is_empty() || out.ends_with([' ', '\n']) => {}
            true => out.push(' '),
            false => out.push(c),
        }
    }
}

fn size_in_words(bytes: usize) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{} kB", bytes / 1000),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::parse;

    #[test]
    fn html_becomes_text_with_its_lines() {
        let html = "<html><head><title>no</title><style>p{}</style></head><body><p>Hello&nbsp;Ben,</p>\n<p>one<br>two &lt;3 <!-- x > y --> &amp;amp;</p><script>no()</script></body>";
        assert_eq!(text_of_html(html), "Hello Ben,\n\none\ntwo <3 &amp;");
        assert_eq!(text_of_html("a < b"), "a");
        assert_eq!(text_of_html("<style>é"), "");
    }

    #[test]
    fn the_first_words_are_the_message_s_own() {
        let raw = b"Subject: x\r\n\r\n> quoted\r\nYes,  that\r\nworks.\r\n";
        assert_eq!(snippet(&parse(raw), raw), "Yes, that works.");
    }

    #[test]
    fn attachments_are_what_is_not_shown() {
        let raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\n\r\nplain\r\n--c\r\nContent-Type: text/html\r\n\r\n<b>x</b>\r\n--c--\r\n--b\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nQUJD\r\n--b\r\nContent-Disposition: attachment\r\n\r\nnotes\r\n--b--\r\n";
        let tree = parse(raw);
        let all = attached(&tree, raw);
        let shown: Vec<(&str, &str)> = all.iter().map(|a| (a.number.as_str(), a.name.as_str())).collect();
        assert_eq!(shown, [("2", "a.pdf"), ("3", "text/plain")]);
        assert_eq!(bytes_of(raw, all[0].part), b"ABC");
    }
}
