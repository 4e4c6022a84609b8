//! Edits of single lines and whole components. What an edit does not name stays byte for byte.

use std::ops::Range;

use crate::component::scan;
use crate::property::{check_value, parameter};
use crate::{ComponentId, Document, Line, LineEnd, Property, PropertyError, text};

impl Document {
    /// A new document: one empty component, lines ended by CRLF.
    pub fn new(component: &str, limits: &crate::Limits) -> Result<Document, PropertyError> {
        Property::raw(component, "").unfolded()?;
        let bytes = format!("BEGIN:{component}\r\nEND:{component}\r\n");
        Ok(Document::parse(bytes.as_bytes(), limits)?)
    }

    /// Gives a property another value, written as it is; its group, name and parameters stay as they are written.
    pub fn set_value(&mut self, line: usize, value: &[u8]) -> Result<(), PropertyError> {
        let old = self.editable(line)?;
        let name = String::from_utf8_lossy(old.name()).into_owned();
        let from = old.value_from().unwrap_or(0);
        let mut unfolded = old.unfolded()[..from].to_vec();
        unfolded.extend_from_slice(check_value(&name, value)?);
        let again = Line::new(Vec::new(), unfolded.clone(), usize::MAX);
        if again.is_none_or(|again| again.value() != value) {
            return Err(PropertyError::Unreadable(line));
        }
        self.rewrite(line, unfolded)
    }

    /// Replaces a component's first property of that name, or adds it before the END. Others of the name stay.
    pub fn set_property(
        &mut self,
        component: ComponentId,
        name: &str,
        property: &Property,
    ) -> Result<(), PropertyError> {
        self.check_component(component)?;
        let first = self.properties(component, name).next();
        match first {
            Some(line) => self.replace(line, property),
            None => self.add_property(component, property).map(|_| ()),
        }
    }

    /// Writes another property in the place of a line.
    pub fn replace(&mut self, line: usize, property: &Property) -> Result<(), PropertyError> {
        self.editable(line)?;
        self.rewrite(line, property.unfolded()?)
    }

    /// Adds a property after the last one of the component itself; returns its line. Lines behind it move by one.
    pub fn add_property(
        &mut self,
        component: ComponentId,
        property: &Property,
    ) -> Result<usize, PropertyError> {
        self.check_component(component)?;
        let after = self.lines_of(component).last().unwrap_or(self.component(component).begin);
        let line = self.write_line(property.unfolded()?, self.line_end().bytes())?;
        self.splice(after + 1..after + 1, vec![line])?;
        Ok(after + 1)
    }

    /// Removes one property. Lines behind it move by one.
    pub fn remove(&mut self, line: usize) -> Result<(), PropertyError> {
        let old = self.lines.get(line).ok_or(PropertyError::Absent("such line"))?;
        if old.is("BEGIN") || old.is("END") {
            return Err(PropertyError::Structure);
        }
        self.splice(line..line + 1, Vec::new())
    }

    /// Removes all properties of that name from the component itself; returns how many there were.
    pub fn remove_properties(&mut self, component: ComponentId, name: &str) -> Result<usize, PropertyError> {
        self.check_component(component)?;
        if name.eq_ignore_ascii_case("BEGIN") || name.eq_ignore_ascii_case("END") {
            return Err(PropertyError::Structure);
        }
        let doomed: Vec<usize> = self.properties(component, name).collect();
        for line in doomed.iter().rev() {
            self.lines.remove(*line);
        }
        self.restructure()?;
        Ok(doomed.len())
    }

    /// Gives a parameter these values (plain text), or adds it; other parameters stay as they are written.
    pub fn set_parameter<V: AsRef<str>>(
        &mut self,
        line: usize,
        name: &str,
        values: &[V],
    ) -> Result<(), PropertyError> {
        let written = parameter(name, values)?;
        let old = self.editable(line)?;
        let value_from = old.value_from().unwrap_or(0);
        let (range, written) = match old.parameter(name) {
            Some(parameter) => (parameter.range(), written),
            None => (value_from - 1..value_from - 1, [b";", &written[..]].concat()),
        };
        let unfolded = [&old.unfolded()[..range.start], &written, &old.unfolded()[range.end..]].concat();
        self.rewrite(line, unfolded)
    }

    /// Takes all parameters of that name off a line; returns how many there were.
    pub fn remove_parameter(&mut self, line: usize, name: &str) -> Result<usize, PropertyError> {
        let old = self.editable(line)?;
        let ranges: Vec<Range<usize>> =
            old.parameters().filter(|one| one.is(name)).map(|one| one.range()).collect();
        let mut unfolded = old.unfolded().to_vec();
        for range in ranges.iter().rev() {
            unfolded.drain(range.start - 1..range.end);
        }
        if !ranges.is_empty() {
            self.rewrite(line, unfolded)?;
        }
        Ok(ranges.len())
    }

    /// Puts whole components, given as bytes, before the END of `parent`, byte for byte.
    pub fn add_component(&mut self, parent: ComponentId, components: &[u8]) -> Result<(), PropertyError> {
        self.check_component(parent)?;
        let mut added = Document::parse(components, &self.limits)?;
        let covered: usize = added.roots().iter().map(|id| added.span(*id).len()).sum();
        let broken = added.faults().iter().any(|fault| fault.is_structural());
        if broken || covered != added.lines.len() || covered == 0 {
            return Err(PropertyError::NotComponents);
        }
        added.end_last_line(self.line_end());
        let component = self.component(parent);
        let at = component.end.unwrap_or(component.last + 1);
        self.splice(at..at, added.lines)
    }

    /// Removes a component with all that stands in it.
    pub fn remove_component(&mut self, id: ComponentId) -> Result<(), PropertyError> {
        self.check_component(id)?;
        self.splice(self.span(id), Vec::new())
    }

    /// The bytes of a component with all that stands in it.
    pub fn component_bytes(&self, id: ComponentId) -> Vec<u8> {
        self.lines[self.span(id)].iter().flat_map(|line| line.raw().to_vec()).collect()
    }

    /// The lines from BEGIN to END.
    pub fn span(&self, id: ComponentId) -> Range<usize> {
        let component = self.component(id);
        component.begin..component.last + 1
    }

    pub(crate) fn end_last_line(&mut self, line_end: LineEnd) {
        if let Some(last) = self.lines.last_mut()
            && last.line_end().is_empty()
        {
            let raw = [last.raw(), line_end.bytes()].concat();
            let unfolded = last.unfolded().to_vec();
            *last = Line::new(raw, unfolded, usize::MAX).unwrap_or_else(|| last.clone());
        }
    }

    /// Folds a logical line anew, as the document's version has it.
    pub(crate) fn write_line(&self, unfolded: Vec<u8>, line_end: &[u8]) -> Result<Line, PropertyError> {
        let folds = if line_end.is_empty() { b"\r\n" } else { line_end };
        let fold = if self.has_version_21() { text::fold_21 } else { text::fold };
        let mut raw = fold(&unfolded, folds);
        if line_end.is_empty() {
            raw.truncate(raw.len() - folds.len());
        }
        let max = self.limits.parameters_max;
        Ok(Line::new(raw, unfolded, max).ok_or(crate::TooLarge::Parameters(0, max))?)
    }

    fn rewrite(&mut self, line: usize, unfolded: Vec<u8>) -> Result<(), PropertyError> {
        let line_end = self.lines[line].line_end().to_vec();
        let written = self.write_line(unfolded, &line_end)?;
        if written.is_quoted_printable() && written.value().ends_with(b"=") {
            return Err(PropertyError::Unreadable(line));
        }
        self.lines[line] = written;
        self.restructure()
    }

    fn has_version_21(&self) -> bool {
        self.lines.iter().any(|line| line.is("VERSION") && line.value().trim_ascii() == b"2.1")
    }

    fn splice(&mut self, range: Range<usize>, mut lines: Vec<Line>) -> Result<(), PropertyError> {
        if range.start == self.lines.len() && !lines.is_empty() {
            self.end_last_line(self.line_end());
        }
        self.lines.splice(range, lines.drain(..));
        self.restructure()
    }

    fn restructure(&mut self) -> Result<(), PropertyError> {
        self.structure = scan(&self.lines, &self.limits)?;
        Ok(())
    }

    fn editable(&self, line: usize) -> Result<&Line, PropertyError> {
        let found = self.lines.get(line).ok_or(PropertyError::Absent("such line"))?;
        if found.is("BEGIN") || found.is("END") {
            return Err(PropertyError::Structure);
        }
        if found.is_property() { Ok(found) } else { Err(PropertyError::NotAProperty(line)) }
    }

    fn check_component(&self, id: ComponentId) -> Result<(), PropertyError> {
        if id.0 < self.components().len() { Ok(()) } else { Err(PropertyError::Absent("such component")) }
    }
}
