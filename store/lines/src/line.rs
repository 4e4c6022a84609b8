//! One logical line: its physical bytes, and where its parts are.

use std::borrow::Cow;
use std::ops::Range;

use crate::text;

/// A logical content line (RFC 5545 3.1, RFC 6350 3.2), or a line that is none: blank, or without a colon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    raw: Vec<u8>,
    unfolded: Vec<u8>,
    parts: Option<Parts>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    group: Option<Range<usize>>,
    name: Range<usize>,
    parameters: Vec<ParameterRange>,
    value_from: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ParameterRange {
    /// From after the `;` to before the next `;` or `:`.
    whole: Range<usize>,
    name: Range<usize>,
    /// Without `=`, as vCard 2.1 writes types.
    bare: bool,
    values: Vec<Range<usize>>,
}

/// A parameter of a line.
#[derive(Debug, Clone, Copy)]
pub struct Parameter<'a> {
    line: &'a Line,
    range: &'a ParameterRange,
}

/// One value of a parameter, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterValue<'a> {
    /// The bytes, with their quotes if there are any.
    pub raw: &'a [u8],
}

impl Line {
    /// Takes one logical line apart. `raw` are its physical bytes; `unfolded` the same without folds and line end.
    /// `None` when there are more than `parameters_max` parameters or values of one.
    pub(crate) fn new(raw: Vec<u8>, unfolded: Vec<u8>, parameters_max: usize) -> Option<Line> {
        let parts = match parse(&unfolded, parameters_max) {
            Parsed::Property(parts) => Some(parts),
            Parsed::NotAProperty => None,
            Parsed::TooMany => return None,
        };
        Some(Line { raw, unfolded, parts })
    }

    /// The physical bytes, with folds and the line end (which the last line may lack).
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The logical line: folds and line end taken away at octet level.
    pub fn unfolded(&self) -> &[u8] {
        &self.unfolded
    }

    /// Whether it has a name and a value.
    pub fn is_property(&self) -> bool {
        self.parts.is_some()
    }

    /// Whether there is nothing on it but white space.
    pub fn is_blank(&self) -> bool {
        self.unfolded.iter().all(u8::is_ascii_whitespace)
    }

    /// The group before the dot (`item1` of `item1.EMAIL`), in its own case.
    pub fn group(&self) -> Option<&[u8]> {
        let range = self.parts.as_ref()?.group.clone()?;
        Some(&self.unfolded[range])
    }

    /// The property's name in its own case, without the group; empty when this is no property.
    pub fn name(&self) -> &[u8] {
        self.parts.as_ref().map_or(b"", |parts| &self.unfolded[parts.name.clone()])
    }

    /// Whether the property is called so, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.parts.is_some() && self.name().eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value's bytes after the colon, still escaped; empty when this is no property.
    pub fn value(&self) -> &[u8] {
        self.parts.as_ref().map_or(b"", |parts| &self.unfolded[parts.value_from..])
    }

    /// The value as text, when it is UTF-8. Still escaped.
    pub fn value_str(&self) -> Option<&str> {
        std::str::from_utf8(self.value()).ok()
    }

    /// The value with quoted-printable (vCard 2.1) undone; any other value as it is.
    pub fn value_decoded(&self) -> Cow<'_, [u8]> {
        if self.is_quoted_printable() {
            Cow::Owned(text::quoted_printable_decode(self.value()))
        } else {
            Cow::Borrowed(self.value())
        }
    }

    /// Whether a parameter says `ENCODING=QUOTED-PRINTABLE`, or the bare word of vCard 2.1.
    pub fn is_quoted_printable(&self) -> bool {
        self.parameters().any(|parameter| {
            let wanted = parameter.is_bare() || parameter.is("ENCODING");
            wanted && parameter.values().any(|value| value.raw.eq_ignore_ascii_case(b"QUOTED-PRINTABLE"))
        })
    }

    /// The parameters in their order.
    pub fn parameters(&self) -> impl Iterator<Item = Parameter<'_>> {
        let ranges = self.parts.as_ref().map_or(&[][..], |parts| &parts.parameters);
        ranges.iter().map(|range| Parameter { line: self, range })
    }

    /// The first parameter of that name, in any case.
    pub fn parameter(&self, name: &str) -> Option<Parameter<'_>> {
        self.parameters().find(|parameter| parameter.is(name))
    }

    /// All values of all parameters of that name, decoded, bare ones counted as `TYPE`.
    pub fn parameter_values(&self, name: &str) -> Vec<Cow<'_, str>> {
        let is_type = name.eq_ignore_ascii_case("TYPE");
        self.parameters()
            .filter(|parameter| parameter.is(name) || (is_type && parameter.is_bare()))
            .flat_map(|parameter| parameter.values().map(|value| value.decoded()).collect::<Vec<_>>())
            .collect()
    }

    /// How the physical line ends: `\r\n`, `\n` or nothing.
    pub fn line_end(&self) -> &[u8] {
        if self.raw.ends_with(b"\r\n") {
            b"\r\n"
        } else if self.raw.ends_with(b"\n") {
            b"\n"
        } else {
            b""
        }
    }

    /// Where the value begins in the unfolded line.
    pub(crate) fn value_from(&self) -> Option<usize> {
        self.parts.as_ref().map(|parts| parts.value_from)
    }
}

impl<'a> Parameter<'a> {
    /// The name in its own case; empty for a bare value of vCard 2.1.
    pub fn name(&self) -> &'a [u8] {
        &self.line.unfolded[self.range.name.clone()]
    }

    /// Whether it is called so, in any case.
    pub fn is(&self, name: &str) -> bool {
        !self.range.bare && self.name().eq_ignore_ascii_case(name.as_bytes())
    }

    /// Written without `=`: a type or an encoding of vCard 2.1.
    pub fn is_bare(&self) -> bool {
        self.range.bare
    }

    /// Its values in their order.
    pub fn values(&self) -> impl Iterator<Item = ParameterValue<'a>> + use<'a> {
        let line = self.line;
        self.range.values.iter().map(move |range| ParameterValue { raw: &line.unfolded[range.clone()] })
    }

    /// The whole parameter as it is written, `NAME=values`.
    pub fn raw(&self) -> &'a [u8] {
        &self.line.unfolded[self.range.whole.clone()]
    }

    pub(crate) fn range(&self) -> Range<usize> {
        self.range.whole.clone()
    }
}

impl<'a> ParameterValue<'a> {
    /// The bytes without the quotes around them.
    pub fn unquoted(&self) -> &'a [u8] {
        match self.raw {
            [b'"', inner @ .., b'"'] => inner,
            other => other,
        }
    }

    /// Without quotes and with RFC 6868 undone; what is no UTF-8 is replaced.
    pub fn decoded(&self) -> Cow<'a, str> {
        text::caret_decode(String::from_utf8_lossy(self.unquoted()))
    }
}

enum Parsed {
    Property(Parts),
    NotAProperty,
    TooMany,
}

fn parse(line: &[u8], parameters_max: usize) -> Parsed {
    let Some(name_to) = line.iter().position(|byte| matches!(byte, b':' | b';')) else {
        return Parsed::NotAProperty;
    };
    let (group, name) = match line[..name_to].iter().position(|byte| *byte == b'.') {
        Some(dot) => (Some(0..dot), dot + 1..name_to),
        None => (None, 0..name_to),
    };
    if name.is_empty() {
        return Parsed::NotAProperty;
    }
    let mut parameters = Vec::new();
    let mut at = name_to;
    while line.get(at) == Some(&b';') {
        if parameters.len() == parameters_max {
            return Parsed::TooMany;
        }
        let Some(parameter) = parse_parameter(line, at + 1, parameters_max) else {
            return Parsed::TooMany;
        };
        at = parameter.whole.end;
        parameters.push(parameter);
    }
    if line.get(at) != Some(&b':') {
        return Parsed::NotAProperty;
    }
    Parsed::Property(Parts { group, name, parameters, value_from: at + 1 })
}

/// Reads one parameter from `from` on. `None` when it has too many values.
fn parse_parameter(line: &[u8], from: usize, values_max: usize) -> Option<ParameterRange> {
    let rest = &line[from..];
    let stop = rest.iter().position(|byte| matches!(byte, b'=' | b';' | b':')).unwrap_or(rest.len());
    let bare = rest.get(stop) != Some(&b'=');
    let (name, mut at) = if bare { (from..from, from) } else { (from..from + stop, from + stop + 1) };
    let mut values = Vec::new();
    loop {
        let to = parameter_value_end(line, at);
        if values.len() == values_max {
            return None;
        }
        values.push(at..to);
        if line.get(to) != Some(&b',') {
            return Some(ParameterRange { whole: from..to, name, bare, values });
        }
        at = to + 1;
    }
}

/// A quoted value goes to its closing quote, whatever is between; a quote that never closes is an ordinary character.
fn parameter_value_end(line: &[u8], from: usize) -> usize {
    let mut at = from;
    if line.get(at) == Some(&b'"')
        && let Some(length) = line[at + 1..].iter().position(|byte| *byte == b'"')
    {
        at += length + 2;
    }
    let rest = &line[at..];
    at + rest.iter().position(|byte| matches!(byte, b',' | b';' | b':')).unwrap_or(rest.len())
}
