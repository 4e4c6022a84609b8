//! A document: physical bytes in, logical lines out, and back.

use crate::component::{Structure, scan};
use crate::{Component, ComponentId, Fault, Limits, Line, TooLarge};

/// A file of content lines: one iCalendar or vCard object, several, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// A byte order mark stood before the first line.
    pub(crate) byte_order_mark: bool,
    pub(crate) lines: Vec<Line>,
    pub(crate) structure: Structure,
    pub(crate) limits: Limits,
}

/// How lines end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEnd {
    /// What the standards ask for.
    CrLf,
    /// What editors leave behind.
    Lf,
}

impl Document {
    /// Takes bytes apart. Only a limit refuses; what is odd in the content is in [`Document::faults`].
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Document, TooLarge> {
        if bytes.len() > limits.document_bytes_max {
            return Err(TooLarge::Document(bytes.len(), limits.document_bytes_max));
        }
        let (byte_order_mark, mut rest) = match bytes.strip_prefix(BYTE_ORDER_MARK) {
            Some(rest) => (true, rest),
            None => (false, bytes),
        };
        let mut lines: Vec<Line> = Vec::new();
        let mut version_21 = false;
        while !rest.is_empty() {
            if lines.len() == limits.lines_max {
                return Err(TooLarge::Lines(limits.lines_max));
            }
            let line = take_line(&mut rest, version_21, lines.len(), limits)?;
            version_21 = match (line.is("BEGIN"), line.is("VERSION")) {
                (true, _) => false,
                (_, true) => line.value().trim_ascii() == b"2.1",
                _ => version_21,
            };
            lines.push(line);
        }
        let structure = scan(&lines, limits)?;
        Ok(Document { byte_order_mark, lines, structure, limits: *limits })
    }

    /// The bytes: those that were parsed, but for what was edited since.
    pub fn to_bytes(&self) -> Vec<u8> {
        let size = self.lines.iter().map(|line| line.raw().len()).sum::<usize>() + BYTE_ORDER_MARK.len();
        let mut out = Vec::with_capacity(size);
        if self.byte_order_mark {
            out.extend_from_slice(BYTE_ORDER_MARK);
        }
        self.lines.iter().for_each(|line| out.extend_from_slice(line.raw()));
        out
    }

    /// All logical lines in their order.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// What is wrong with the document, in the order of its lines.
    pub fn faults(&self) -> &[Fault] {
        &self.structure.faults
    }

    /// All components, each after the one that it stands in. A [`ComponentId`] is the place in this list.
    pub fn components(&self) -> &[Component] {
        &self.structure.components
    }

    /// One component. Ids are those of this document, in its present shape.
    pub fn component(&self, id: ComponentId) -> &Component {
        &self.structure.components[id.0]
    }

    /// The components that stand in no other.
    pub fn roots(&self) -> &[ComponentId] {
        &self.structure.roots
    }

    /// The first component of that name, in any case, wherever it stands.
    pub fn find_component(&self, name: &str) -> Option<ComponentId> {
        self.components().iter().position(|one| one.is(name)).map(ComponentId)
    }

    /// The component that a line stands in; BEGIN and END stand in their own.
    pub fn owner(&self, line: usize) -> Option<ComponentId> {
        self.structure.owners.get(line).copied().flatten()
    }

    /// The indices of the lines of a component itself, without BEGIN, END and what stands in inner components.
    pub fn lines_of(&self, id: ComponentId) -> impl Iterator<Item = usize> {
        let component = self.component(id);
        let (begin, end) = (component.begin, component.end);
        (begin + 1..=component.last)
            .filter(move |index| Some(*index) != end && self.structure.owners[*index] == Some(id))
    }

    /// The indices of a component's properties of that name, in any case.
    pub fn properties<'a>(&'a self, id: ComponentId, name: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.lines_of(id).filter(move |index| self.lines[*index].is(name))
    }

    /// A component's first property of that name.
    pub fn property(&self, id: ComponentId, name: &str) -> Option<&Line> {
        self.properties(id, name).next().map(|index| &self.lines[index])
    }

    /// How this document ends its lines: as its first line does.
    pub fn line_end(&self) -> LineEnd {
        match self.lines.first().map(Line::line_end) {
            Some(b"\n") => LineEnd::Lf,
            _ => LineEnd::CrLf,
        }
    }
}

impl LineEnd {
    /// The bytes.
    pub fn bytes(self) -> &'static [u8] {
        match self {
            LineEnd::CrLf => b"\r\n",
            LineEnd::Lf => b"\n",
        }
    }
}

/// Cuts the next logical line off `rest`, which is not empty. In vCard 2.1 a fold keeps its white space, and a
/// quoted-printable line goes on after a `=` at its end.
fn take_line(rest: &mut &[u8], version_21: bool, index: usize, limits: &Limits) -> Result<Line, TooLarge> {
    let from = *rest;
    let mut unfolded = Vec::new();
    let mut raw_size = take_physical(rest, &mut unfolded);
    loop {
        let goes_on = unfolded.last() == Some(&b'=') && !rest.is_empty() && says_quoted_printable(&unfolded);
        let folded = matches!(rest.first(), Some(b' ' | b'\t'));
        // Later versions fold anywhere, between the `=` and the digits of an escape too.
        if goes_on && (version_21 || !folded) {
            unfolded.pop();
            raw_size += take_physical(rest, &mut unfolded);
        } else if folded {
            let fold = usize::from(!version_21 || ends_a_base64_line(&unfolded));
            *rest = &rest[fold..];
            raw_size += fold + take_physical(rest, &mut unfolded);
        } else {
            break;
        }
        if raw_size > limits.line_bytes_max {
            return Err(TooLarge::Line(index, limits.line_bytes_max));
        }
    }
    if raw_size > limits.line_bytes_max {
        return Err(TooLarge::Line(index, limits.line_bytes_max));
    }
    Line::new(from[..raw_size].to_vec(), unfolded, limits.parameters_max)
        .ok_or(TooLarge::Parameters(index, limits.parameters_max))
}

/// Moves one physical line from `rest` to `out` without its end; returns its size with it.
fn take_physical(rest: &mut &[u8], out: &mut Vec<u8>) -> usize {
    let size = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
    let (line, after) = rest.split_at(size);
    *rest = after;
    let line = line.strip_suffix(b"\n").map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line));
    out.extend_from_slice(line);
    size
}

fn head_contains(unfolded: &[u8], word: &[u8]) -> bool {
    let head = &unfolded[..unfolded.iter().position(|byte| *byte == b':').unwrap_or(0)];
    head.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}

fn says_quoted_printable(unfolded: &[u8]) -> bool {
    head_contains(unfolded, b"QUOTED-PRINTABLE")
}

fn ends_a_base64_line(unfolded: &[u8]) -> bool {
    head_contains(unfolded, b"BASE64")
}

/// UTF-8's byte order mark, which some editors put before everything.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
