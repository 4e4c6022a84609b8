//! FETCH responses: what was asked of a message, written from its bytes (RFC 3501 7.4.2, RFC 9051 7.5.2).

use super::grammar::{FetchItem, Part, Section};
use crate::mailbox::Head;
use crate::message::{self, Entity};
use std::borrow::Cow;

/// What is known of a message without reading it.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// UID.
    pub uid: u32,
    /// Flags and keywords with spaces between them: `\Seen $Forwarded`.
    pub flags: &'a str,
    /// Mod-sequence of its last change (RFC 7162).
    pub modseq: u64,
    /// INTERNALDATE in seconds since 1970.
    pub internal_date: i64,
    /// Size of the message in bytes, as it is served.
    pub size: u64,
    /// EMAILID: the same for the same bytes (RFC 8474).
    pub email_id: &'a str,
    /// THREADID, where known (RFC 8474).
    pub thread_id: Option<&'a str>,
}

/// The message's own bytes and what was written of them before; each may be absent when no item needs it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Content<'a> {
    /// The whole message.
    pub raw: Option<&'a [u8]>,
    /// Its header with the blank line, where the message itself is not at hand.
    pub header: Option<&'a [u8]>,
    /// BODYSTRUCTURE as written before.
    pub structure: Option<&'a [u8]>,
}

/// What an item needs of `Content` at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    /// Only facts.
    Facts,
    /// The written structure and the fields of the header that ENVELOPE is made of.
    Cached,
    /// The fields of the header that lists show.
    Header,
    /// All of the header.
    WholeHeader,
    /// The whole message.
    Message,
}

/// A part whose transfer encoding nobody knows: answer NO [UNKNOWN-CTE] (RFC 3516 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownEncoding;

/// What a FETCH of these items needs of each message.
pub fn needs(items: &[FetchItem]) -> Needs {
    let of = |item: &FetchItem| match item {
        FetchItem::Envelope | FetchItem::BodyStructure | FetchItem::ThreadId => Needs::Cached,
        FetchItem::Section { section: Section { path, part: Part::Fields(names) }, .. }
            if path.is_empty() && !names.iter().any(|name| Head::lacks(name)) =>
        {
            Needs::Header
        }
        FetchItem::Section { section, .. } | FetchItem::Rfc822(section) if is_top_header(section) => {
            Needs::WholeHeader
        }
        item if item.needs_message() => Needs::Message,
        _ => Needs::Facts,
    };
    let most = items.iter().map(of).max().unwrap_or(Needs::Facts);
    // A header alone says nothing of the parts.
    match most {
        Needs::WholeHeader if items.contains(&FetchItem::BodyStructure) => Needs::Message,
        most => most,
    }
}

/// Writes `* NUMBER FETCH (…)`. With `uid` the UID is told even when not asked for (RFC 3501 6.4.8).
pub fn write_fetch(
    out: &mut Vec<u8>,
    number: u32,
    uid: bool,
    items: &[FetchItem],
    facts: &Facts<'_>,
    content: &Content<'_>,
) -> Result<(), UnknownEncoding> {
    let start = out.len();
    let mut writer = Writer { out, facts, content, tree: None };
    writer.text("* ");
    writer.number(u64::from(number));
    writer.text(" FETCH (");
    let mut first = true;
    if uid && !items.contains(&FetchItem::Uid) {
        writer.text("UID ");
        writer.number(u64::from(facts.uid));
        first = false;
    }
    for item in items {
        if !std::mem::take(&mut first) {
            writer.text(" ");
        }
        if let Err(unknown) = writer.item(item) {
            out.truncate(start);
            return Err(unknown);
        }
    }
    out.extend_from_slice(b")\r\n");
    Ok(())
}

struct Writer<'a, 'o> {
    out: &'o mut Vec<u8>,
    facts: &'a Facts<'a>,
    content: &'a Content<'a>,
    tree: Option<Entity>,
}

impl<'a> Writer<'a, '_> {
    fn text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn number(&mut self, number: u64) {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.out.extend_from_slice(&digits[at..]);
    }

    fn item(&mut self, item: &FetchItem) -> Result<(), UnknownEncoding> {
        match item {
            FetchItem::Uid => self.named_number("UID ", u64::from(self.facts.uid)),
            FetchItem::Size => self.named_number("RFC822.SIZE ", self.facts.size),
            FetchItem::ModSeq => self.parenthesised("MODSEQ (", &self.facts.modseq.to_string()),
            FetchItem::Flags => self.parenthesised("FLAGS (", self.facts.flags),
            FetchItem::EmailId => self.parenthesised("EMAILID (", self.facts.email_id),
            FetchItem::ThreadId => match self.facts.thread_id {
                Some(id) => self.parenthesised("THREADID (", id),
                None => self.text("THREADID NIL"),
            },
            FetchItem::InternalDate => {
                self.text("INTERNALDATE \"");
                let date = message::format_internal(self.facts.internal_date);
                self.text(&date);
                self.text("\"");
            }
            FetchItem::Envelope => self.envelope(),
            FetchItem::BodyStructure => self.structure("BODYSTRUCTURE ", true),
            FetchItem::Body => self.structure("BODY ", false),
            FetchItem::Preview => self.preview(),
            FetchItem::Rfc822(section) => self.old_section(section),
            FetchItem::Section { section, partial, .. } => self.section(section, *partial),
            FetchItem::Binary { path, partial, .. } => return self.binary(path, *partial),
            FetchItem::BinarySize(path) => return self.binary_size(path),
        }
        Ok(())
    }

    fn named_number(&mut self, name: &str, number: u64) {
        self.text(name);
        self.number(number);
    }

    fn parenthesised(&mut self, name: &str, value: &str) {
        self.text(name);
        self.text(value);
        self.text(")");
    }

    fn raw(&self) -> &'a [u8] {
        self.content.raw.unwrap_or_default()
    }

    fn header(&self) -> &'a [u8] {
        match (self.content.header, self.content.raw) {
            (Some(header), _) => header,
            (None, raw) => raw.map(|raw| &raw[..message::header_end(raw)]).unwrap_or_default(),
        }
    }

    fn tree(&mut self) -> &Entity {
        let raw = self.raw();
        self.tree.get_or_insert_with(|| message::parse(raw))
    }

    fn envelope(&mut self) {
        self.text("ENVELOPE ");
        message::write_envelope(self.out, self.header());
    }

    fn structure(&mut self, name: &str, extended: bool) {
        self.text(name);
        match self.content.structure {
            Some(written) if extended => self.out.extend_from_slice(written),
            _ => {
                let raw = self.raw();
                self.tree();
                if let Some(tree) = &self.tree {
                    message::write_structure(self.out, raw, tree, extended);
                }
            }
        }
    }

    fn preview(&mut self) {
        let mut text = String::new();
        message::each_text(self.raw(), |one| {
            // The first text that says anything; of HTML that is the one without its tags.
            if text.trim().is_empty() {
                one.clone_into(&mut text);
            }
        });
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let end = flat.char_indices().nth(PREVIEW_CHARS).map_or(flat.len(), |(at, _)| at);
        self.text("PREVIEW ");
        message::write_string(self.out, &flat.as_bytes()[..end]);
    }

    fn old_section(&mut self, section: &Section) {
        self.text(match section.part {
            Part::Header => "RFC822.HEADER ",
            Part::Text => "RFC822.TEXT ",
            _ => "RFC822 ",
        });
        let bytes = self.section_bytes(section);
        self.literal(&bytes);
    }

    fn section(&mut self, section: &Section, partial: Option<(u32, u32)>) {
        self.text("BODY[");
        section.write(self.out);
        self.text("]");
        self.origin(partial);
        self.text(" ");
        let bytes = self.section_bytes(section);
        self.literal(slice(&bytes, partial));
    }

    fn origin(&mut self, partial: Option<(u32, u32)>) {
        if let Some((first, _)) = partial {
            self.text("<");
            self.number(u64::from(first));
            self.text(">");
        }
    }

    /// The bytes of a section. A part that is not there is empty, as in Dovecot: clients trip over NIL more often.
    fn section_bytes(&mut self, section: &Section) -> Cow<'a, [u8]> {
        self.section_that_is_there(section).unwrap_or_default()
    }

    fn section_that_is_there(&mut self, section: &Section) -> Option<Cow<'a, [u8]>> {
        if is_top_header(section) {
            return Some(header_part(self.header(), &section.part));
        }
        let raw = self.raw();
        if section.path.is_empty() {
            return Some(Cow::Borrowed(match section.part {
                Part::Text => &raw[message::header_end(raw)..],
                _ => raw,
            }));
        }
        let part = message::part_at(self.tree(), &section.path)?;
        match &section.part {
            Part::Whole => Some(Cow::Borrowed(&raw[part.body.clone()])),
            Part::Mime => Some(Cow::Borrowed(&raw[part.header.clone()])),
            of_message => {
                let inner = part.is_message().then(|| &part.children[0])?;
                match of_message {
                    Part::Text => Some(Cow::Borrowed(&raw[inner.body.clone()])),
                    fields => Some(header_part(&raw[inner.header.clone()], fields)),
                }
            }
        }
    }

    fn literal(&mut self, bytes: &[u8]) {
        self.literal_start("{", bytes.len());
        // NUL may not stand in a literal (RFC 3501 4.3); the length must stay.
        match memchr::memchr(0, bytes) {
            None => self.out.extend_from_slice(bytes),
            Some(_) => self.out.extend(bytes.iter().map(|b| if *b == 0 { 0x80 } else { *b })),
        }
    }

    fn literal_start(&mut self, open: &str, len: usize) {
        self.text(open);
        self.number(len as u64);
        self.text("}\r\n");
    }

    fn binary(&mut self, path: &[u32], partial: Option<(u32, u32)>) -> Result<(), UnknownEncoding> {
        let bytes = self.decoded(path)?;
        self.text("BINARY[");
        Section { path: path.to_vec(), part: Part::Whole }.write(self.out);
        self.text("]");
        self.origin(partial);
        self.text(" ");
        let bytes = slice(&bytes, partial);
        let open = if memchr::memchr(0, bytes).is_some() { "~{" } else { "{" };
        self.literal_start(open, bytes.len());
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn binary_size(&mut self, path: &[u32]) -> Result<(), UnknownEncoding> {
        let size = self.decoded(path)?.len();
        self.text("BINARY.SIZE[");
        Section { path: path.to_vec(), part: Part::Whole }.write(self.out);
        self.text("] ");
        self.number(size as u64);
        Ok(())
    }

    /// A part with its transfer encoding undone; empty where there is no such part.
    fn decoded(&mut self, path: &[u32]) -> Result<Cow<'a, [u8]>, UnknownEncoding> {
        let raw = self.raw();
        if path.is_empty() {
            return Ok(Cow::Borrowed(raw));
        }
        let Some(part) = message::part_at(self.tree(), path) else { return Ok(Cow::default()) };
        match part.encoding.as_str() {
            "7bit" | "8bit" | "binary" | "base64" | "quoted-printable" => Ok(message::decode_body(raw, part)),
            _ => Err(UnknownEncoding),
        }
    }
}

fn is_top_header(section: &Section) -> bool {
    section.path.is_empty() && matches!(section.part, Part::Header | Part::Fields(_) | Part::FieldsNot(_))
}

/// A header, or some of its fields with the blank line (RFC 3501 6.4.5).
fn header_part<'h>(header: &'h [u8], part: &Part) -> Cow<'h, [u8]> {
    let (names, wanted) = match part {
        Part::Fields(names) => (names, true),
        Part::FieldsNot(names) => (names, false),
        _ => return Cow::Borrowed(header),
    };
    let mut out = Vec::new();
    for field in message::fields(header) {
        if names.iter().any(|name| field.is(name)) == wanted {
            out.extend_from_slice(field.raw);
        }
    }
    out.extend_from_slice(b"\r\n");
    Cow::Owned(out)
}

fn slice(bytes: &[u8], partial: Option<(u32, u32)>) -> &[u8] {
    let Some((first, count)) = partial else { return bytes };
    let start = (first as usize).min(bytes.len());
    let end = start.saturating_add(count as usize).min(bytes.len());
    &bytes[start..end]
}

/// Characters of a PREVIEW at the most (RFC 8970 3.1).
const PREVIEW_CHARS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::grammar::{Body, parse};

    const MESSAGE: &[u8] = b"From: a@b\r\nSubject: hi\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n\
--x\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n\
--x\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nbody\r\n--x--\r\n";

    fn fetch(items: &str) -> String {
        let line = format!("a FETCH 1 {items}");
        let Body::Fetch(fetch) = parse(line.as_bytes(), false).unwrap().body else { panic!() };
        let facts = Facts {
            uid: 7,
            flags: "\\Seen",
            modseq: 9,
            internal_date: 0,
            size: MESSAGE.len() as u64,
            email_id: "M1",
            thread_id: None,
        };
        let content = Content { raw: Some(MESSAGE), ..Content::default() };
        let mut out = Vec::new();
        match write_fetch(&mut out, 1, false, &fetch.items, &facts, &content) {
            Ok(()) => String::from_utf8(out).unwrap(),
            Err(UnknownEncoding) => "unknown".to_owned(),
        }
    }

    #[test]
    fn rfc3501_6_4_5_sections_of_parts_and_embedded_messages() {
        assert_eq!(fetch("BODY[1]"), "* 1 FETCH (BODY[1] {8}\r\naGVsbG8=)\r\n");
        assert_eq!(
            fetch("BODY.PEEK[2.HEADER]"),
            "* 1 FETCH (BODY[2.HEADER] {18}\r\nSubject: inner\r\n\r\n)\r\n"
        );
        assert_eq!(fetch("BODY[2.TEXT]<1.2>"), "* 1 FETCH (BODY[2.TEXT]<1> {2}\r\nod)\r\n");
        assert_eq!(fetch("BODY[3]"), "* 1 FETCH (BODY[3] {0}\r\n)\r\n");
        assert_eq!(fetch("BODY[1.TEXT]"), "* 1 FETCH (BODY[1.TEXT] {0}\r\n)\r\n");
        assert_eq!(
            fetch("(UID BODY[HEADER.FIELDS (SUBJECT nope)])"),
            "* 1 FETCH (UID 7 BODY[HEADER.FIELDS (SUBJECT nope)] {15}\r\nSubject: hi\r\n\r\n)\r\n"
        );
        assert!(fetch("BODY[HEADER.FIELDS.NOT (From Subject)]").contains("{45}\r\nContent-Type: multipart"));
        assert!(fetch("RFC822.SIZE").contains(&format!("SIZE {}", MESSAGE.len())));
    }

    #[test]
    fn rfc3516_binary_is_decoded() {
        assert_eq!(fetch("BINARY[1]"), "* 1 FETCH (BINARY[1] {5}\r\nhello)\r\n");
        assert_eq!(fetch("BINARY.SIZE[1]"), "* 1 FETCH (BINARY.SIZE[1] 5)\r\n");
        assert_eq!(fetch("BINARY.PEEK[1]<1.3>"), "* 1 FETCH (BINARY[1]<1> {3}\r\nell)\r\n");
    }

    #[test]
    fn rfc8970_a_preview_is_the_first_text() {
        assert_eq!(fetch("PREVIEW"), "* 1 FETCH (PREVIEW \"hello\")\r\n");
    }

    #[test]
    fn facts_need_no_message() {
        assert_eq!(
            fetch("(FLAGS MODSEQ INTERNALDATE EMAILID THREADID)"),
            "* 1 FETCH (FLAGS (\\Seen) MODSEQ (9) INTERNALDATE \" 1-Jan-1970 00:00:00 +0000\" EMAILID (M1) THREADID NIL)\r\n"
        );
    }
}
