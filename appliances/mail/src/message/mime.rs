//! The tree of MIME parts of a message (RFC 2045, 2046), as offsets.

use super::encoded::{Piece, join_rfc2231, read_rfc2231};
use super::header::{Field, fields, header_end, unfold};
use crate::limits;
use std::borrow::Cow;
use std::ops::Range;

/// A media type with its parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MimeType {
    /// `text` of `text/plain`, as written.
    pub kind: String,
    /// `plain` of `text/plain`, as written.
    pub subtype: String,
    /// Parameters in order. RFC 2231 continuations are joined; what is encoded stays so, and its name ends with `*`.
    pub params: Vec<(String, String)>,
}

impl MimeType {
    /// The value of a parameter, by name in any case, decoded to UTF-8.
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        lookup(&self.params, name)
    }

    /// Whether this is `kind/subtype`, in any case.
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind) && self.subtype.eq_ignore_ascii_case(subtype)
    }
}

/// A message or a part of one: header and body as offsets into the raw message.
#[derive(Debug, Clone, Default)]
pub struct Entity {
    /// Header with its blank line.
    pub header: Range<usize>,
    /// Body, without the line end that belongs to the next boundary.
    pub body: Range<usize>,
    /// Content-Type, or the default (`text/plain`, in a digest `message/rfc822`).
    pub mime: MimeType,
    /// Content-Transfer-Encoding in lower case, `7bit` when absent.
    pub encoding: String,
    /// Parts of a multipart; the one message of a `message/rfc822` or `message/global`.
    pub children: Vec<Entity>,
}

impl Entity {
    /// Whether this is a multipart that has parts.
    pub fn is_multipart(&self) -> bool {
        self.mime.kind.eq_ignore_ascii_case("multipart") && !self.children.is_empty()
    }

    /// Whether this part carries a message, parsed as its only child.
    pub fn is_message(&self) -> bool {
        self.mime.kind.eq_ignore_ascii_case("message") && self.children.len() == 1
    }

    /// Whether this part is to be shown as an attachment: a name or a disposition says so.
    pub fn file_name(&self, raw: &[u8]) -> Option<String> {
        let header = &raw[self.header.clone()];
        let disposition = fields(header).find(|f| f.is("Content-Disposition")).map(|f| parameters(f.value).1);
        let named = disposition.and_then(|p| lookup(&p, "filename").map(Cow::into_owned));
        let name = named.or_else(|| self.mime.param("name").map(Cow::into_owned))?;
        Some(super::decode_words(name.as_bytes()))
    }

    /// `attachment` or `inline` in lower case, when said.
    pub fn disposition(&self, raw: &[u8]) -> Option<String> {
        let field = fields(&raw[self.header.clone()]).find(|f| f.is("Content-Disposition"))?;
        Some(parameters(field.value).0.to_ascii_lowercase())
    }
}

/// Parses the tree of `raw`. Never fails: what is no MIME is one text part. Bounded in depth and number of parts;
/// beyond the bounds a part is a leaf.
pub fn parse(raw: &[u8]) -> Entity {
    let mut parts_left = limits::MIME_PARTS_MAX;
    entity(raw, 0..raw.len(), limits::MIME_DEPTH_MAX, false, &mut parts_left)
}

/// The part with this IMAP section number (`[1, 2]` for `1.2`), RFC 3501 6.4.5. An empty path is the message itself.
pub fn part_at<'a>(root: &'a Entity, path: &[u32]) -> Option<&'a Entity> {
    let mut at = root;
    for (depth, number) in path.iter().enumerate() {
        // The parts of an embedded message are numbered as if it were the message itself.
        let inside = if depth > 0 && at.is_message() { &at.children[0] } else { at };
        at = if inside.is_multipart() {
            inside.children.get((*number as usize).checked_sub(1)?)?
        } else if *number == 1 && (depth == 0 || at.is_message()) {
            inside
        } else {
            return None;
        };
    }
    Some(at)
}

fn entity(raw: &[u8], all: Range<usize>, depth: usize, in_digest: bool, parts_left: &mut usize) -> Entity {
    let body_at = all.start + header_end(&raw[all.clone()]);
    let (header, body) = (all.start..body_at, body_at..all.end);
    let (mime, encoding) = content_fields(&raw[header.clone()], in_digest);
    let mut one = Entity { header, body, mime, encoding, children: Vec::new() };
    if depth == 0 || *parts_left == 0 {
        return one;
    }
    if one.mime.kind.eq_ignore_ascii_case("multipart") {
        let digest = one.mime.subtype.eq_ignore_ascii_case("digest");
        if let Some(boundary) = one.mime.param("boundary").filter(|b| !b.is_empty()) {
            for part in split(raw, one.body.clone(), boundary.as_bytes(), *parts_left) {
                *parts_left = parts_left.saturating_sub(1);
                one.children.push(entity(raw, part, depth - 1, digest, parts_left));
            }
        }
    } else if is_embedded_message(&one) && *parts_left > 0 {
        *parts_left -= 1;
        one.children.push(entity(raw, one.body.clone(), depth - 1, false, parts_left));
    }
    one
}

fn is_embedded_message(one: &Entity) -> bool {
    let embedded = one.mime.is("message", "rfc822") || one.mime.is("message", "global");
    embedded && !matches!(one.encoding.as_str(), "base64" | "quoted-printable")
}

fn content_fields(header: &[u8], in_digest: bool) -> (MimeType, String) {
    let mut mime = None;
    let mut encoding = None;
    for field in fields(header).take(limits::HEADER_FIELDS_MAX) {
        if mime.is_none() && field.is("Content-Type") {
            mime = mime_type(&field);
        } else if encoding.is_none() && field.is("Content-Transfer-Encoding") {
            let value = unfold(field.value).to_ascii_lowercase();
            let token: Vec<u8> = value.into_iter().take_while(|b| !b" ;(\t".contains(b)).collect();
            encoding = Some(String::from_utf8_lossy(&token).into_owned()).filter(|e| !e.is_empty());
        }
    }
    let (kind, subtype) = if in_digest { ("message", "rfc822") } else { ("text", "plain") };
    let default = || {
        let params = if in_digest { Vec::new() } else { vec![("charset".into(), "us-ascii".into())] };
        MimeType { kind: kind.into(), subtype: subtype.into(), params }
    };
    (mime.unwrap_or_else(default), encoding.unwrap_or_else(|| "7bit".into()))
}

fn mime_type(field: &Field<'_>) -> Option<MimeType> {
    let (value, params) = parameters(field.value);
    let (kind, subtype) = value.split_once('/')?;
    let (kind, subtype) = (kind.trim(), subtype.trim());
    if kind.is_empty() || subtype.is_empty() {
        return None;
    }
    Some(MimeType { kind: kind.into(), subtype: subtype.into(), params })
}

/// The ranges of the parts between the boundary lines of `body`, at most `max`.
fn split(raw: &[u8], body: Range<usize>, boundary: &[u8], max: usize) -> Vec<Range<usize>> {
    let mut delimiter = b"--".to_vec();
    delimiter.extend_from_slice(boundary);
    let finder = memchr::memmem::Finder::new(&delimiter);
    let mut parts = Vec::new();
    let mut open: Option<usize> = None;
    let mut at = body.start;
    while let Some(hit) = finder.find(&raw[at..body.end]) {
        let start = at + hit;
        let after = start + delimiter.len();
        at = after;
        if start > body.start && raw[start - 1] != b'\n' {
            continue;
        }
        let line = &raw[after..body.end];
        let line_len = memchr::memchr(b'\n', line).map_or(line.len(), |i| i + 1);
        let rest = &line[..line_len];
        let (closing, tail) = match rest.strip_prefix(b"--") {
            Some(tail) => (true, tail),
            None => (false, rest),
        };
        // A line that merely begins like the boundary is text (RFC 2046 5.1.1: only white space may follow).
        if !tail.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')) {
            continue;
        }
        if let Some(from) = open.take() {
            parts.push(from..before_line_end(raw, from, start));
            if parts.len() >= max {
                return parts;
            }
        }
        if closing {
            return parts;
        }
        at = after + line_len;
        open = Some(at);
    }
    if let Some(from) = open {
        parts.push(from..body.end);
    }
    parts
}

fn before_line_end(raw: &[u8], from: usize, boundary: usize) -> usize {
    let mut end = boundary;
    if end > from && raw[end - 1] == b'\n' {
        end -= 1;
        if end > from && raw[end - 1] == b'\r' {
            end -= 1;
        }
    }
    end.max(from)
}

/// Splits `text/plain; charset="x"; name*0*=…` into its value and parameters (RFC 2045 5.1), with continuations joined
/// as BODYSTRUCTURE wants them (RFC 2231 3).
pub(super) fn parameters(value: &[u8]) -> (String, Vec<(String, String)>) {
    let flat = unfold(&value[..value.len().min(limits::MIME_PARAMETER_BYTES_MAX)]);
    let mut pieces = pieces(&flat).into_iter();
    let head = pieces.next().unwrap_or_default();
    let head = String::from_utf8_lossy(&head).trim().to_owned();
    let mut plain: Vec<(String, String)> = Vec::new();
    let mut extended: Vec<(String, Vec<Piece>)> = Vec::new();
    for piece in pieces.take(limits::MIME_PARAMETERS_MAX) {
        let Some(eq) = memchr::memchr(b'=', &piece) else { continue };
        let name = String::from_utf8_lossy(&piece[..eq]).trim().to_owned();
        let value = unquote(&piece[eq + 1..]);
        match name.split_once('*') {
            None => plain.push((name, String::from_utf8_lossy(&value).into_owned())),
            Some((base, rest)) => {
                let encoded = rest.is_empty() || rest.ends_with('*');
                let number = rest.trim_end_matches('*').parse().unwrap_or(0);
                let entry = extended.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(base));
                let part = Piece { number, encoded, value };
                match entry {
                    Some((_, parts)) => parts.push(part),
                    None => extended.push((base.to_owned(), vec![part])),
                }
            }
        }
    }
    for (mut name, parts) in extended {
        if parts.iter().any(|part| part.encoded) {
            name.push('*');
        }
        let joined = join_rfc2231(parts);
        match plain.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(&name)) {
            Some((_, v)) => *v = joined,
            None => plain.push((name, joined)),
        }
    }
    (head, plain)
}

/// A parameter's value, decoded; where it stands there plain and encoded, the encoded one (RFC 5987 4.2).
fn lookup<'p>(params: &'p [(String, String)], name: &str) -> Option<Cow<'p, str>> {
    let encoded = |n: &str| n.strip_suffix('*').is_some_and(|n| n.eq_ignore_ascii_case(name));
    match params.iter().find(|(n, _)| encoded(n)) {
        Some((_, value)) => Some(Cow::Owned(read_rfc2231(value))),
        None => {
            params.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| Cow::Borrowed(v.as_str()))
        }
    }
}

/// Splits at semicolons outside of quotes, drops comments.
fn pieces(flat: &[u8]) -> Vec<Vec<u8>> {
    let mut out = vec![Vec::new()];
    let (mut quoted, mut comment, mut escaped) = (false, 0u32, false);
    for &b in flat {
        let last = out.len() - 1;
        if escaped {
            escaped = false;
            if comment == 0 {
                out[last].push(b);
            }
            continue;
        }
        match b {
            b'\\' if quoted || comment > 0 => {
                escaped = true;
                if comment == 0 {
                    out[last].push(b);
                }
            }
            b'"' if comment == 0 => {
                quoted = !quoted;
                out[last].push(b);
            }
            b'(' if !quoted => comment += 1,
            b')' if !quoted && comment > 0 => comment -= 1,
            b';' if !quoted && comment == 0 => {
                if out.len() > limits::MIME_PARAMETERS_MAX {
                    return out;
                }
                out.push(Vec::new());
            }
            _ if comment > 0 => {}
            _ => out[last].push(b),
        }
    }
    out
}

fn unquote(value: &[u8]) -> Vec<u8> {
    let value = value.trim_ascii();
    let Some(inner) = value.strip_prefix(b"\"") else { return value.to_vec() };
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(&b) = bytes.next() {
        match b {
            b'\\' => out.extend(bytes.next()),
            b'"' => break,
            _ => out.push(b),
        }
    }
    out
}

#[cfg(test)]
#[path = "mime_tests.rs"]
mod tests;
