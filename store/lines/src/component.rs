//! Which lines stand in which component. Mistakes are reported, never repaired.

use crate::{Limits, Line, TooLarge};

/// The place of a component in [`crate::Document::components`]. An edit that adds or removes lines makes it void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentId(pub usize);

/// What stands between a BEGIN and its END.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// The name that BEGIN gives, in its own case.
    pub name: Vec<u8>,
    /// The line of its BEGIN.
    pub begin: usize,
    /// The line of its END, when there is one.
    pub end: Option<usize>,
    /// Its last line: the END, or what stands before the line that closed it by force.
    pub last: usize,
    /// The component around it.
    pub parent: Option<ComponentId>,
    /// The components in it, in their order.
    pub children: Vec<ComponentId>,
}

/// Something wrong with a document. All of it is kept as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A line that is not blank has no name or no colon.
    #[error("line {line} is no property: it has no name or no colon")]
    NotAProperty {
        /// Its index.
        line: usize,
    },
    /// An END names no component that is open here; it is ignored.
    #[error("line {line} ends {name:?}, which is not open here")]
    EndWithoutBegin {
        /// Its index.
        line: usize,
        /// What it names.
        name: String,
    },
    /// A component has no END: the document is truncated, or an outer END came first.
    #[error("{name:?}, begun in line {line}, is never ended")]
    Unclosed {
        /// The index of its BEGIN.
        line: usize,
        /// Its name.
        name: String,
    },
    /// A line is not UTF-8; its octets are kept.
    #[error("line {line} is not UTF-8")]
    NotUtf8 {
        /// Its index.
        line: usize,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Structure {
    pub components: Vec<Component>,
    pub roots: Vec<ComponentId>,
    /// For each line the component that it stands in.
    pub owners: Vec<Option<ComponentId>>,
    pub faults: Vec<Fault>,
}

impl Component {
    /// Whether it is called so, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

pub(crate) fn scan(lines: &[Line], limits: &Limits) -> Result<Structure, TooLarge> {
    let mut found = Structure { owners: Vec::with_capacity(lines.len()), ..Structure::default() };
    let mut open: Vec<ComponentId> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        found.note_faults(index, line);
        if line.is("BEGIN") {
            if open.len() == limits.depth_max {
                return Err(TooLarge::Depth(index, limits.depth_max));
            }
            open.push(found.begin(index, line, open.last().copied()));
            found.owners.push(open.last().copied());
        } else if line.is("END") {
            let owner = found.end(index, line, &mut open);
            found.owners.push(owner);
        } else {
            found.owners.push(open.last().copied());
        }
    }
    while let Some(id) = open.pop() {
        found.close_by_force(id, lines.len());
    }
    found.faults.sort_by_key(Fault::line);
    Ok(found)
}

impl Structure {
    fn note_faults(&mut self, index: usize, line: &Line) {
        if std::str::from_utf8(line.unfolded()).is_err() {
            self.faults.push(Fault::NotUtf8 { line: index });
        }
        if !line.is_property() && !line.is_blank() {
            self.faults.push(Fault::NotAProperty { line: index });
        }
    }

    fn begin(&mut self, index: usize, line: &Line, parent: Option<ComponentId>) -> ComponentId {
        let id = ComponentId(self.components.len());
        let name = line.value().trim_ascii().to_vec();
        self.components.push(Component {
            name,
            begin: index,
            end: None,
            last: index,
            parent,
            children: Vec::new(),
        });
        match parent {
            Some(parent) => self.components[parent.0].children.push(id),
            None => self.roots.push(id),
        }
        id
    }

    /// Closes the innermost open component of that name, by force those inside it. Returns whose line the END is.
    fn end(&mut self, index: usize, line: &Line, open: &mut Vec<ComponentId>) -> Option<ComponentId> {
        let name = line.value().trim_ascii();
        let named = |id: &ComponentId| self.components[id.0].name.eq_ignore_ascii_case(name);
        let Some(place) = open.iter().rposition(named) else {
            self.faults
                .push(Fault::EndWithoutBegin { line: index, name: String::from_utf8_lossy(name).into() });
            return open.last().copied();
        };
        while open.len() > place + 1 {
            let inner = open.pop()?;
            self.close_by_force(inner, index);
        }
        let id = open.pop()?;
        self.components[id.0].end = Some(index);
        self.components[id.0].last = index;
        Some(id)
    }

    fn close_by_force(&mut self, id: ComponentId, before: usize) {
        let component = &mut self.components[id.0];
        component.last = before - 1;
        let name = String::from_utf8_lossy(&component.name).into();
        self.faults.push(Fault::Unclosed { line: component.begin, name });
    }
}

impl Fault {
    /// The line that it is about.
    pub fn line(&self) -> usize {
        match self {
            Fault::NotAProperty { line }
            | Fault::EndWithoutBegin { line, .. }
            | Fault::Unclosed { line, .. }
            | Fault::NotUtf8 { line } => *line,
        }
    }

    /// Whether BEGIN and END do not pair up, so that what stands where is a guess.
    pub fn is_structural(&self) -> bool {
        matches!(self, Fault::EndWithoutBegin { .. } | Fault::Unclosed { .. })
    }
}
