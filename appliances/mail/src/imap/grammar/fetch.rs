//! FETCH: what is asked of a message (RFC 3501 6.4.5, RFC 9051 6.4.5, 3516 BINARY, 7162, 8474, 8970 PREVIEW).

use super::cursor::{Cursor, Parsed};
use super::set::SetOrSaved;

/// A FETCH or UID FETCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Numbers are UIDs.
    pub uid: bool,
    /// Which messages.
    pub set: SetOrSaved,
    /// What is asked; macros are written out.
    pub items: Vec<FetchItem>,
    /// Only messages changed after this mod-sequence (RFC 7162 3.1.4.1).
    pub changed_since: Option<u64>,
    /// Also tell which UIDs are gone (RFC 7162 3.2.6).
    pub vanished: bool,
}

/// One thing asked of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchItem {
    /// ENVELOPE.
    Envelope,
    /// FLAGS.
    Flags,
    /// INTERNALDATE.
    InternalDate,
    /// RFC822.SIZE.
    Size,
    /// UID.
    Uid,
    /// MODSEQ.
    ModSeq,
    /// EMAILID.
    EmailId,
    /// THREADID.
    ThreadId,
    /// PREVIEW, with or without LAZY.
    Preview,
    /// BODY without a section.
    Body,
    /// BODYSTRUCTURE.
    BodyStructure,
    /// RFC822, RFC822.HEADER or RFC822.TEXT: a section under its old name.
    Rfc822(Section),
    /// `BODY[section]<partial>`.
    Section {
        /// Which bytes.
        section: Section,
        /// First byte and at most how many.
        partial: Option<(u32, u32)>,
        /// Does not set \Seen.
        peek: bool,
    },
    /// `BINARY[part]<partial>`: the part with its transfer encoding undone.
    Binary {
        /// Part numbers; empty is the whole message.
        path: Vec<u32>,
        /// First byte and at most how many.
        partial: Option<(u32, u32)>,
        /// Does not set \Seen.
        peek: bool,
    },
    /// `BINARY.SIZE[part]`.
    BinarySize(Vec<u32>),
}

/// A section of a message: a part by number, then what of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Section {
    /// Part numbers, `1.2`; empty is the message itself.
    pub path: Vec<u32>,
    /// What of the part.
    pub part: Part,
}

/// What of a part.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Part {
    /// All of it: `BODY[]`, `BODY[1]`.
    #[default]
    Whole,
    /// The header of a message.
    Header,
    /// These fields of it, names as written.
    Fields(Vec<String>),
    /// All but these fields.
    FieldsNot(Vec<String>),
    /// The body of a message.
    Text,
    /// The MIME header of a part.
    Mime,
}

impl FetchItem {
    /// Whether fetching it sets \Seen.
    pub fn sets_seen(&self) -> bool {
        match self {
            FetchItem::Section { peek, .. } | FetchItem::Binary { peek, .. } => !peek,
            FetchItem::Rfc822(section) => section.part != Part::Header,
            _ => false,
        }
    }

    /// Whether the message's bytes are needed to answer, not only what is known of it.
    pub fn needs_message(&self) -> bool {
        use FetchItem::*;
        !matches!(self, Flags | InternalDate | Size | Uid | ModSeq | EmailId | ThreadId)
    }
}

impl Section {
    /// Writes the section as a response names it: `1.2.HEADER.FIELDS (SUBJECT)`.
    pub fn write(&self, out: &mut Vec<u8>) {
        for (i, number) in self.path.iter().enumerate() {
            if i > 0 {
                out.push(b'.');
            }
            out.extend_from_slice(number.to_string().as_bytes());
        }
        let word = match &self.part {
            Part::Whole => return,
            Part::Header => "HEADER",
            Part::Fields(_) => "HEADER.FIELDS",
            Part::FieldsNot(_) => "HEADER.FIELDS.NOT",
            Part::Text => "TEXT",
            Part::Mime => "MIME",
        };
        if !self.path.is_empty() {
            out.push(b'.');
        }
        out.extend_from_slice(word.as_bytes());
        if let Part::Fields(names) | Part::FieldsNot(names) = &self.part {
            out.extend_from_slice(b" (");
            for (i, name) in names.iter().enumerate() {
                if i > 0 {
                    out.push(b' ');
                }
                write_field_name(out, name);
            }
            out.push(b')');
        }
    }
}

fn write_field_name(out: &mut Vec<u8>, name: &str) {
    let atom = !name.is_empty() && name.bytes().all(|b| super::cursor::is_atom_char(b) && b.is_ascii());
    if atom {
        out.extend_from_slice(name.as_bytes());
    } else {
        crate::message::write_string(out, name.as_bytes());
    }
}

impl Cursor<'_> {
    /// What follows `FETCH`.
    pub(super) fn fetch(&mut self, uid: bool) -> Parsed<Fetch> {
        self.space()?;
        let set = self.set_or_saved()?;
        self.space()?;
        let items = self.fetch_items()?;
        if items.len() > ITEMS_MAX {
            return Err("a FETCH asks for too many things");
        }
        let (mut changed_since, mut vanished) = (None, false);
        if self.eat(b' ') {
            self.list(false, |c| {
                match c.keyword()?.as_str() {
                    "CHANGEDSINCE" => {
                        c.space()?;
                        changed_since = Some(c.number64()?);
                    }
                    "VANISHED" => vanished = true,
                    _ => return Err("an unknown FETCH modifier"),
                }
                Ok(())
            })?;
        }
        if vanished && (!uid || changed_since.is_none()) {
            return Err("VANISHED goes with UID FETCH and CHANGEDSINCE only (RFC 7162 3.2.6)");
        }
        Ok(Fetch { uid, set, items, changed_since, vanished })
    }

    fn fetch_items(&mut self) -> Parsed<Vec<FetchItem>> {
        use FetchItem::*;
        if self.peek() == Some(b'(') {
            return self.list(false, Self::fetch_item);
        }
        let fast = vec![Flags, InternalDate, Size];
        if self.eat_word("ALL") {
            return Ok([fast, vec![Envelope]].concat());
        }
        if self.eat_word("FAST") {
            return Ok(fast);
        }
        if self.eat_word("FULL") {
            return Ok([fast, vec![Envelope, Body]].concat());
        }
        self.fetch_item().map(|item| vec![item])
    }

    fn fetch_item(&mut self) -> Parsed<FetchItem> {
        let word = self.take_while(|b| b.is_ascii_alphanumeric() || b == b'.');
        let word = super::cursor::text(word).to_ascii_uppercase();
        Ok(match word.as_str() {
            "ENVELOPE" => FetchItem::Envelope,
            "FLAGS" => FetchItem::Flags,
            "INTERNALDATE" => FetchItem::InternalDate,
            "RFC822.SIZE" => FetchItem::Size,
            "UID" => FetchItem::Uid,
            "MODSEQ" => FetchItem::ModSeq,
            "EMAILID" => FetchItem::EmailId,
            "THREADID" => FetchItem::ThreadId,
            "PREVIEW" => {
                if self.eat(b' ') {
                    self.list(false, Self::keyword)?;
                }
                FetchItem::Preview
            }
            "BODYSTRUCTURE" => FetchItem::BodyStructure,
            "RFC822" => FetchItem::Rfc822(Section::default()),
            "RFC822.HEADER" => FetchItem::Rfc822(Section { path: Vec::new(), part: Part::Header }),
            "RFC822.TEXT" => FetchItem::Rfc822(Section { path: Vec::new(), part: Part::Text }),
            "BODY" if self.peek() != Some(b'[') => FetchItem::Body,
            "BODY" | "BODY.PEEK" => {
                let section = self.section()?;
                FetchItem::Section { section, partial: self.partial()?, peek: word.ends_with("PEEK") }
            }
            "BINARY" | "BINARY.PEEK" => {
                let path = self.bracketed_path()?;
                FetchItem::Binary { path, partial: self.partial()?, peek: word.ends_with("PEEK") }
            }
            "BINARY.SIZE" => FetchItem::BinarySize(self.bracketed_path()?),
            _ => return Err("an unknown FETCH item"),
        })
    }

    fn section(&mut self) -> Parsed<Section> {
        self.expect(b'[', "a section is missing")?;
        let path = self.part_path()?;
        let part = if self.peek() == Some(b']') { Part::Whole } else { self.section_text(!path.is_empty())? };
        self.expect(b']', "a section does not end")?;
        Ok(Section { path, part })
    }

    fn section_text(&mut self, of_part: bool) -> Parsed<Part> {
        let word = self.take_while(|b| b.is_ascii_alphabetic() || b == b'.');
        match super::cursor::text(word).to_ascii_uppercase().as_str() {
            "HEADER" => Ok(Part::Header),
            "TEXT" => Ok(Part::Text),
            "MIME" if of_part => Ok(Part::Mime),
            "HEADER.FIELDS" => self.field_names().map(Part::Fields),
            "HEADER.FIELDS.NOT" => self.field_names().map(Part::FieldsNot),
            _ => Err("an unknown section"),
        }
    }

    fn field_names(&mut self) -> Parsed<Vec<String>> {
        self.space()?;
        self.list(false, Self::astring_text)
    }

    fn bracketed_path(&mut self) -> Parsed<Vec<u32>> {
        self.expect(b'[', "a section is missing")?;
        let path = self.part_path()?;
        self.expect(b']', "a section does not end")?;
        Ok(path)
    }

    /// `1.2.3`, and over the dot that leads to a word behind it.
    fn part_path(&mut self) -> Parsed<Vec<u32>> {
        let mut path = Vec::new();
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            path.push(self.nz_number()?);
            if path.len() > PATH_MAX {
                return Err("a part's number is too deep");
            }
            if !self.eat(b'.') {
                break;
            }
        }
        Ok(path)
    }

    /// `<first.count>`.
    fn partial(&mut self) -> Parsed<Option<(u32, u32)>> {
        if !self.eat(b'<') {
            return Ok(None);
        }
        let first = self.number()?;
        self.expect(b'.', "a partial has no count")?;
        let count = self.nz_number()?;
        self.expect(b'>', "a partial does not end")?;
        Ok(Some((first, count)))
    }
}

/// Things asked in one FETCH; the longest seen from a client has a dozen.
const ITEMS_MAX: usize = 500;
/// Depth of a part's number; deeper parts are not shown.
const PATH_MAX: usize = 100;
