//! A calendar object or card, read into components and properties for questions (filters, times, summaries). It is never
//! written back: what is stored are the bytes that came, and edits are line edits by `content-lines`.
//!
//! Lenient where devices are odd (BOM, lower case, bare LF, blank lines, vCard 2.1's bare types and soft line breaks, folds
//! inside characters), strict where an object would not be one (a component that does not end, or ends as another).

use std::borrow::Cow;
use std::ops::Range;

use crate::limits::{COMPONENTS_MAX, OBJECT_BYTES_MAX, XML_DEPTH_MAX};

/// A component: VCALENDAR, VEVENT, VALARM, VCARD…
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Component {
    /// Its name in upper case.
    pub name: String,
    /// Its properties in their order.
    pub properties: Vec<Property>,
    /// The components inside it, in their order.
    pub components: Vec<Component>,
    /// Where it stands in the object, BEGIN and END lines included.
    pub range: Range<usize>,
}

/// A property.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Property {
    /// The group before the dot, in its own case.
    pub group: Option<String>,
    /// Its name in upper case.
    pub name: String,
    /// Its parameters in their order.
    pub parameters: Vec<Parameter>,
    /// Its value, unfolded, still escaped. What is not UTF-8 is replaced.
    pub value: String,
    /// Where its line stands in the object, folds and line end included.
    pub range: Range<usize>,
}

/// A parameter; vCard 2.1's bare words are values of `TYPE` or `ENCODING`.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name in upper case.
    pub name: String,
    /// Its values without quotes, RFC 6868 undone.
    pub values: Vec<String>,
}

/// Why bytes are no calendar object or card.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is not UTF-8 once the folds are taken out.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// There is no BEGIN line, or a property stands outside of any component.
    #[error("line {0} stands outside of a component")]
    Outside(usize),
    /// `END:` of something that is not open.
    #[error("line {0} ends a component that is not open")]
    WrongEnd(usize),
    /// The object ends inside a component.
    #[error("it ends inside {0}")]
    Truncated(String),
    /// Too many or too deep components, or too many octets.
    #[error("it is larger than is served")]
    TooLarge,
    /// A line without a colon.
    #[error("line {0} is no property")]
    NoProperty(usize),
}

/// Reads all components at the top of the bytes.
pub fn read(bytes: &[u8]) -> Result<Vec<Component>, Unreadable> {
    if bytes.len() > OBJECT_BYTES_MAX {
        return Err(Unreadable::TooLarge);
    }
    let mut open: Vec<Component> = Vec::new();
    let mut done = Vec::new();
    let mut count = 0;
    let mut lines = Lines { bytes, at: if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 } };
    let mut number = 0;
    while let Some(range) = lines.next() {
        number += 1;
        let line = unfold(&bytes[range.clone()]);
        let line = std::str::from_utf8(&line).map_err(|_| Unreadable::NotUtf8)?;
        if line.trim().is_empty() {
            continue;
        }
        let mut property = property(line, range.clone()).ok_or(Unreadable::NoProperty(number))?;
        match property.name.as_str() {
            "BEGIN" => {
                count += 1;
                if count > COMPONENTS_MAX || open.len() >= XML_DEPTH_MAX {
                    return Err(Unreadable::TooLarge);
                }
                let name = property.value.trim().to_ascii_uppercase();
                open.push(Component { name, range: range.start..range.end, ..Component::default() });
            }
            "END" => {
                let mut ended = open.pop().ok_or(Unreadable::WrongEnd(number))?;
                if !ended.name.eq_ignore_ascii_case(property.value.trim()) {
                    return Err(Unreadable::WrongEnd(number));
                }
                ended.range.end = range.end;
                match open.last_mut() {
                    Some(parent) => parent.components.push(ended),
                    None => done.push(ended),
                }
            }
            _ => {
                let parent = open.last_mut().ok_or(Unreadable::Outside(number))?;
                if property.is_quoted_printable() {
                    continue_soft(&mut lines, &mut property);
                }
                parent.properties.push(property);
            }
        }
    }
    match open.first() {
        Some(component) => Err(Unreadable::Truncated(component.name.clone())),
        None => Ok(done),
    }
}

impl Component {
    /// The first property of that name (upper case).
    pub fn property(&self, name: &str) -> Option<&Property> {
        self.properties.iter().find(|property| property.name == name)
    }

    /// All properties of that name (upper case).
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Property> {
        self.properties.iter().filter(move |property| property.name == name)
    }

    /// The first property's value, trimmed.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.property(name).map(|property| property.value.trim())
    }

    /// The first property's value as text, its backslashes undone.
    pub fn text(&self, name: &str) -> Option<String> {
        self.property(name).map(Property::text)
    }
}

impl Property {
    /// The first value of a parameter (upper-case name).
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let parameter = self.parameters.iter().find(|parameter| parameter.name == name)?;
        parameter.values.first().map(String::as_str)
    }

    /// Every value of every parameter of that name, in lower case, comma lists in quotes taken apart: for TYPE.
    pub fn types(&self) -> Vec<String> {
        self.parameters
            .iter()
            .filter(|parameter| parameter.name == "TYPE")
            .flat_map(|parameter| parameter.values.iter().flat_map(|value| value.split(',')))
            .map(|value| value.trim().to_ascii_lowercase())
            .filter(|value| !value.is_empty())
            .collect()
    }

    /// The value as text: backslash escapes undone (RFC 5545 section 3.3.11, RFC 6350 section 3.4).
    pub fn text(&self) -> String {
        unescape(&self.value)
    }

    fn is_quoted_printable(&self) -> bool {
        self.parameter("ENCODING").is_some_and(|encoding| encoding.eq_ignore_ascii_case("QUOTED-PRINTABLE"))
    }
}

/// Undoes `\n`, `\N`, `\,`, `\;`, `\\`, `\:`; any other backslash stays.
pub fn unescape(value: &str) -> String {
    if !value.contains('\\') {
        return value.to_string();
    }
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n' | 'N') => out.push('\n'),
            Some(c @ (',' | ';' | '\\' | ':' | '"')) => out.push(c),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

/// Writes text as a value: `\`, `,`, `;` and line ends escaped.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            ',' => out.push_str("\\,"),
            ';' => out.push_str("\\;"),
            '\n' => out.push_str("\\n"),
            '\r' => {}
            other => out.push(other),
        }
    }
    out
}

/// Splits a structured or list value at unescaped separators; the parts are still escaped.
pub fn split(value: &str, separator: char) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut begin, mut escaped) = (0, false);
    for (at, c) in value.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == separator {
            out.push(&value[begin..at]);
            begin = at + c.len_utf8();
        }
    }
    out.push(&value[begin..]);
    out
}

/// Logical lines as ranges of the bytes, line ends included.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Iterator for Lines<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let begin = self.at;
        loop {
            let end = memchr(b'\n', &self.bytes[self.at..]).map_or(self.bytes.len(), |n| self.at + n + 1);
            self.at = end;
            if !matches!(self.bytes.get(end), Some(b' ' | b'\t')) {
                return Some(begin..end);
            }
        }
    }
}

fn memchr(byte: u8, haystack: &[u8]) -> Option<usize> {
    haystack.iter().position(|b| *b == byte)
}

/// Takes folds and the line end out, octet by octet.
pub(crate) fn unfold(raw: &[u8]) -> Cow<'_, [u8]> {
    let mut end = raw.len();
    if raw[..end].ends_with(b"\n") {
        end -= 1;
    }
    while raw[..end].ends_with(b"\r") {
        end -= 1;
    }
    let raw = &raw[..end];
    if memchr(b'\n', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(n) = memchr(b'\n', &raw[at..]) {
        let mut end = at + n;
        while end > at && raw[end - 1] == b'\r' {
            end -= 1;
        }
        out.extend_from_slice(&raw[at..end]);
        at += n + 2;
    }
    out.extend_from_slice(&raw[at.min(raw.len())..]);
    Cow::Owned(out)
}

/// A quoted-printable value of vCard 2.1 whose line ends in `=` goes on in the next line.
fn continue_soft(lines: &mut Lines<'_>, property: &mut Property) {
    while property.value.ends_with('=') {
        let Some(range) = lines.next() else { return };
        property.value.pop();
        let next = unfold(&lines.bytes[range.clone()]);
        property.value.push_str(&String::from_utf8_lossy(&next));
        property.range.end = range.end;
    }
}

fn property(line: &str, range: Range<usize>) -> Option<Property> {
    let bytes = line.as_bytes();
    let name_end = bytes.iter().position(|b| matches!(b, b':' | b';'))?;
    let full = &line[..name_end];
    let (group, name) = match full.rsplit_once('.') {
        Some((group, name)) => (Some(group.to_string()), name),
        None => (None, full),
    };
    if name.trim().is_empty() {
        return None;
    }
    let mut out = Property { group, name: name.trim().to_ascii_uppercase(), range, ..Property::default() };
    let mut at = name_end;
    while bytes[at] == b';' {
        at = parameter(line, at + 1, &mut out.parameters)?;
    }
    out.value = line[at + 1..].to_string();
    Some(out)
}

/// Reads one parameter that begins at `at`; gives the position of the `;` or `:` after it.
fn parameter(line: &str, at: usize, out: &mut Vec<Parameter>) -> Option<usize> {
    let bytes = line.as_bytes();
    let stop = at + bytes[at..].iter().position(|b| matches!(b, b'=' | b':' | b';'))?;
    if bytes[stop] != b'=' {
        let word = &line[at..stop];
        let encoding =
            ["QUOTED-PRINTABLE", "BASE64", "8BIT", "7BIT"].iter().any(|e| e.eq_ignore_ascii_case(word));
        let name = if encoding { "ENCODING" } else { "TYPE" };
        out.push(Parameter { name: name.into(), values: vec![word.to_string()] });
        return Some(stop);
    }
    let name = line[at..stop].trim().to_ascii_uppercase();
    let mut values = Vec::new();
    let mut at = stop + 1;
    loop {
        let (value, end) = if bytes.get(at) == Some(&b'"') {
            let close = at + 1 + memchr(b'"', &bytes[at + 1..])?;
            let end = close + bytes[close..].iter().position(|b| matches!(b, b',' | b';' | b':'))?;
            (&line[at + 1..close], end)
        } else {
            let end = at + bytes[at..].iter().position(|b| matches!(b, b',' | b';' | b':'))?;
            (&line[at..end], end)
        };
        values.push(caret(value));
        at = end + 1;
        if bytes[end] != b',' {
            out.push(Parameter { name, values });
            return Some(end);
        }
    }
}

/// RFC 6868.
fn caret(value: &str) -> String {
    if !value.contains('^') {
        return value.to_string();
    }
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('^') {
        out.push_str(&rest[..at]);
        let (plain, taken) = match rest.as_bytes().get(at + 1) {
            Some(b'n') => ('\n', 2),
            Some(b'\'') => ('"', 2),
            Some(b'^') => ('^', 2),
            _ => ('^', 1),
        };
        out.push(plain);
        rest = &rest[at + taken..];
    }
    out + rest
}

#[cfg(test)]
#[path = "reading_tests.rs"]
mod tests;
