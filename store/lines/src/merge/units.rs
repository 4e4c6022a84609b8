//! A component's own lines cut into units that are merged as one: a line, a vCard group, a time span.

use std::collections::HashMap;

use super::Format;
use super::identity::{Class, class, upper, value_identity};
use crate::{ComponentId, Document, Line};

/// Lines that belong together.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    /// The property's name in upper case, or the name that several go by together.
    pub name: String,
    pub class: Class,
    /// What it is recognised by in another version.
    pub key: Vec<u8>,
    /// Indices into the document.
    pub lines: Vec<usize>,
}

/// Cuts the lines of a component. Lists and blank lines are in no unit.
pub(super) fn units(format: Format, document: &Document, id: Option<ComponentId>) -> Vec<Unit> {
    let Some(id) = id else { return Vec::new() };
    let component = upper(&document.component(id).name);
    let mut found: Vec<Unit> = Vec::new();
    let mut gathered: HashMap<Vec<u8>, usize> = HashMap::new();
    for index in document.lines_of(id) {
        let line = &document.lines()[index];
        if line.is_blank() || is_list(format, &component, line) {
            continue;
        }
        let name = upper(line.name());
        let class = class(format, &component, &name);
        let gather = match (class, line.group()) {
            (Class::Together(name), _) => Some([b"together ", name.as_bytes()].concat()),
            (_, Some(group)) => Some([b"group ", group].concat().to_ascii_lowercase()),
            _ => None,
        };
        if let Some(place) = gather.as_ref().and_then(|gather| gathered.get(gather)) {
            found[*place].lines.push(index);
            continue;
        }
        if let Some(gather) = gather {
            gathered.insert(gather, found.len());
        }
        found.push(Unit { name, class, key: Vec::new(), lines: vec![index] });
    }
    found.iter_mut().for_each(|unit| unit.identify(format, &component, document));
    found
}

/// Whether a line is merged as a list of values.
pub(super) fn is_list(format: Format, component: &str, line: &Line) -> bool {
    line.is_property()
        && line.group().is_none()
        && !line.is_quoted_printable()
        && class(format, component, &upper(line.name())) == Class::List
}

impl Unit {
    /// A group goes by its main line: not the label that Apple hangs on it.
    fn identify(&mut self, format: Format, component: &str, document: &Document) {
        let main = |index: &&usize| {
            let name = upper(document.lines()[**index].name());
            name != "X-ABLABEL" && name != "X-ABADR"
        };
        let index = *self.lines.iter().find(main).unwrap_or(&self.lines[0]);
        let line = &document.lines()[index];
        self.name = upper(line.name());
        self.class = class(format, component, &self.name);
        if let Class::Together(name) = self.class {
            self.name = name.to_owned();
        }
        self.key = match (line.is_property(), self.class) {
            (false, _) => line.unfolded().to_vec(),
            (true, Class::Together(_)) => Vec::new(),
            _ => value_identity(format, &self.name, line),
        };
    }

    pub fn lines<'a>(&'a self, document: &'a Document) -> impl Iterator<Item = &'a Line> {
        self.lines.iter().map(|index| &document.lines()[*index])
    }

    /// Equal when only order, folds, line ends and the group's name differ.
    pub fn content(&self, document: &Document) -> Vec<u8> {
        let mut lines: Vec<&[u8]> = self.lines(document).map(without_group).collect();
        lines.sort_unstable();
        lines.join(&b'\n')
    }

    pub fn raw(&self, document: &Document) -> Vec<u8> {
        self.lines(document).flat_map(|line| line.raw().to_vec()).collect()
    }

    pub fn group(&self, document: &Document) -> Option<Vec<u8>> {
        document.lines()[self.lines[0]].group().map(<[u8]>::to_vec)
    }

    /// All parameters in sorted order, to recognise "the mobile number" whose number changed.
    fn parameters(&self, document: &Document) -> Vec<Vec<u8>> {
        let mut all: Vec<Vec<u8>> = self
            .lines(document)
            .filter(|line| upper(line.name()) == self.name)
            .flat_map(|line| line.parameters().map(|one| one.raw().to_ascii_uppercase()).collect::<Vec<_>>())
            .collect();
        all.sort_unstable();
        all
    }
}

impl Unit {
    fn key_by(&self, step: By, document: &Document) -> Option<Vec<u8>> {
        let (name, part) = match step {
            By::Content => (self.name.as_bytes(), self.content(document)),
            By::Key => (self.name.as_bytes(), self.key.clone()),
            By::Group => (&b""[..], self.group(document)?.to_ascii_lowercase()),
            By::Parameters if self.class == Class::ByValue => {
                (self.name.as_bytes(), self.parameters(document).join(&b';'))
            }
            By::Parameters => return None,
        };
        Some([name, b"\0", &part].concat())
    }

    fn shares_a_line(&self, document: &Document, other: &Unit, others: &Document) -> bool {
        self.lines(document)
            .any(|line| other.lines(others).any(|one| without_group(one) == without_group(line)))
    }
}

/// By what a unit is looked for in another version, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Content,
    Key,
    /// The same group, and a line in it that did not change.
    Group,
    Parameters,
}

/// The logical line behind its group.
pub(super) fn without_group(line: &Line) -> &[u8] {
    let skip = line.group().map_or(0, |group| group.len() + 1);
    &line.unfolded()[skip..]
}

/// A unit as it is in each of the three versions, by place.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Triple {
    pub base: Option<usize>,
    pub ours: Option<usize>,
    pub theirs: Option<usize>,
}

/// Names that some version has more than once fall back from name to value.
pub(super) fn settle_names(versions: [&mut Vec<Unit>; 3]) {
    let mut several: Vec<String> = Vec::new();
    for units in &versions {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        units.iter().for_each(|unit| *counts.entry(&unit.name).or_default() += 1);
        several.extend(counts.iter().filter(|(_, count)| **count > 1).map(|(name, _)| (*name).to_owned()));
    }
    for unit in versions.into_iter().flatten() {
        if unit.class == Class::ByName && !unit.name.is_empty() {
            if several.contains(&unit.name) {
                unit.class = Class::ByValue;
            } else {
                unit.key.clear();
            }
        }
    }
}

/// Pairs each version's units.
pub(super) fn pair(
    base: (&Document, &[Unit]),
    ours: (&Document, &[Unit]),
    theirs: (&Document, &[Unit]),
) -> Vec<Triple> {
    let from_ours = matching(base, ours, true);
    let from_theirs = matching(base, theirs, true);
    let mut triples: Vec<Triple> = (0..base.1.len())
        .map(|place| Triple { base: Some(place), ours: from_ours[place], theirs: from_theirs[place] })
        .collect();
    let fresh = |taken: &[Option<usize>], units: &[Unit]| -> Vec<usize> {
        (0..units.len()).filter(|place| !taken.contains(&Some(*place))).collect()
    };
    let (new_ours, new_theirs) = (fresh(&from_ours, ours.1), fresh(&from_theirs, theirs.1));
    let pick = |units: &[Unit], places: &[usize]| -> Vec<Unit> {
        places.iter().map(|place| units[*place].clone()).collect()
    };
    let (units_ours, units_theirs) = (pick(ours.1, &new_ours), pick(theirs.1, &new_theirs));
    let both = matching((ours.0, &units_ours), (theirs.0, &units_theirs), false);
    for (place, other) in both.iter().enumerate() {
        triples.push(Triple {
            base: None,
            ours: Some(new_ours[place]),
            theirs: other.map(|other| new_theirs[other]),
        });
    }
    for (place, index) in new_theirs.iter().enumerate() {
        if !both.contains(&Some(place)) {
            triples.push(Triple { theirs: Some(*index), ..Triple::default() });
        }
    }
    triples
}

/// For each unit of `from` its counterpart in `to`: the same content, else the same key, else (when `changed`) the group
/// with a line in common, else the only one left over of that name with the same parameters: a mobile number whose
/// digits changed.
fn matching(from: (&Document, &[Unit]), to: (&Document, &[Unit]), changed: bool) -> Vec<Option<usize>> {
    let mut found = vec![None; from.1.len()];
    let mut taken = vec![false; to.1.len()];
    let steps = if changed {
        &[By::Content, By::Key, By::Group, By::Parameters][..]
    } else {
        &[By::Content, By::Key]
    };
    for step in steps.iter().copied() {
        let keys = |(document, units): (&Document, &[Unit])| -> Vec<Option<Vec<u8>>> {
            units.iter().map(|unit| unit.key_by(step, document)).collect()
        };
        let (from_keys, to_keys) = (keys(from), keys(to));
        let mut waiting: HashMap<&[u8], Vec<usize>> = HashMap::new();
        for (place, key) in to_keys.iter().enumerate().rev().filter(|(place, _)| !taken[*place]) {
            if let Some(key) = key {
                waiting.entry(key).or_default().push(place);
            }
        }
        let mut asking: HashMap<&[u8], Vec<usize>> = HashMap::new();
        for (place, key) in from_keys.iter().enumerate().filter(|(place, _)| found[*place].is_none()) {
            if let Some(key) = key {
                asking.entry(key).or_default().push(place);
            }
        }
        for (key, places) in asking {
            let Some(offers) = waiting.get_mut(key) else { continue };
            // Leftovers are paired only where there is no choice.
            let leftover = matches!(step, By::Group | By::Parameters);
            if leftover && (places.len() != 1 || offers.len() != 1) {
                continue;
            }
            for place in places {
                let share = |offer: usize| from.1[place].shares_a_line(from.0, &to.1[offer], to.0);
                if step == By::Group && !offers.last().is_some_and(|offer| share(*offer)) {
                    continue;
                }
                if let Some(offer) = offers.pop() {
                    found[place] = Some(offer);
                    taken[offer] = true;
                }
            }
        }
    }
    found
}
