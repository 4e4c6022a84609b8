//! Two changes of one line that do not touch: its value on one side, its parameters on the other.

use std::collections::{BTreeMap, BTreeSet};

use super::units::without_group;
use crate::{Line, text};

/// The logical line (without group) that has both sides' changes, or `None` when they touch.
pub(super) fn merge_line(base: Option<&Line>, ours: &Line, theirs: &Line) -> Option<Vec<u8>> {
    let name_of = |line: &Line| line.name().to_ascii_uppercase();
    if name_of(ours) != name_of(theirs) || base.is_some_and(|base| name_of(base) != name_of(ours)) {
        return None;
    }
    if !(ours.is_property() && theirs.is_property()) {
        return None;
    }
    let value = match three_way(base.map(Line::value), Some(ours.value()), Some(theirs.value())) {
        Some(value) => value?.to_vec(),
        None => structured(base?, ours, theirs)?,
    };
    let sides = [base.map(parameters).unwrap_or_default(), parameters(ours), parameters(theirs)];
    let mut names: Vec<&Vec<u8>> = sides[0].names.iter().collect();
    let fresh: BTreeSet<&Vec<u8>> = sides[1].names.iter().chain(&sides[2].names).collect();
    names.extend(fresh.into_iter().filter(|name| !sides[0].names.contains(name)));
    let head = base.unwrap_or(ours.min_by_name(theirs));
    let mut line = head.name().to_vec();
    for name in names {
        let [base, ours, theirs] = [0, 1, 2].map(|side| sides[side].raw.get(name));
        let merged = match three_way(base, ours, theirs) {
            Some(merged) => merged.cloned(),
            None if name == b"TYPE" => types(base, ours?, theirs?),
            None => return None,
        };
        for raw in merged.iter().flatten() {
            line.push(b';');
            line.extend_from_slice(raw);
        }
    }
    line.push(b':');
    line.extend_from_slice(&value);
    debug_assert!(!without_group(head).is_empty());
    Some(line)
}

/// A name or an address (RFC 6350 6.2.2, 6.3.1): what one side changed in one component and the other in another.
fn structured(base: &Line, ours: &Line, theirs: &Line) -> Option<Vec<u8>> {
    let sides = [base, ours, theirs];
    if !STRUCTURED.iter().any(|name| ours.is(name)) || sides.iter().any(|line| line.is_quoted_printable()) {
        return None;
    }
    let parts = sides.map(|line| text::split(line.value(), b';'));
    let count = parts.iter().map(Vec::len).max()?;
    let mut merged: Vec<&[u8]> = Vec::with_capacity(count);
    for place in 0..count {
        // A component that is not written is an empty one.
        let [base, ours, theirs] = [0, 1, 2].map(|side| parts[side].get(place).copied().unwrap_or_default());
        merged.push(three_way(Some(base), Some(ours), Some(theirs))??);
    }
    Some(merged.join(&b';'))
}

const STRUCTURED: [&str; 2] = ["N", "ADR"];

/// The side that changed; `None` when both did, differently.
fn three_way<T: PartialEq>(base: Option<T>, ours: Option<T>, theirs: Option<T>) -> Option<Option<T>> {
    if ours == theirs || theirs == base {
        Some(ours)
    } else if ours == base {
        Some(theirs)
    } else {
        None
    }
}

#[derive(Default)]
struct Parameters {
    /// In upper case, in their order; bare ones are types (vCard 2.1).
    names: Vec<Vec<u8>>,
    raw: BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
}

fn parameters(line: &Line) -> Parameters {
    let mut found = Parameters::default();
    for parameter in line.parameters() {
        let name = if parameter.is_bare() { b"TYPE".to_vec() } else { parameter.name().to_ascii_uppercase() };
        if !found.names.contains(&name) {
            found.names.push(name.clone());
        }
        found.raw.entry(name).or_default().push(parameter.raw().to_vec());
    }
    found
}

/// Types are a set: what either side added is in, what either side took away is out.
fn types(base: Option<&Vec<Vec<u8>>>, ours: &[Vec<u8>], theirs: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    let values = |raw: &[Vec<u8>]| -> BTreeSet<Vec<u8>> {
        let joined: Vec<Vec<u8>> = raw.iter().map(|one| one.to_ascii_lowercase()).collect();
        let bodies = joined.iter().map(|one| one.strip_prefix(b"type=").unwrap_or(one));
        bodies
            .flat_map(|body| body.split(|byte| *byte == b',').map(<[u8]>::to_vec).collect::<Vec<_>>())
            .collect()
    };
    let base = base.map(|base| values(base)).unwrap_or_default();
    let (ours, theirs) = (values(ours), values(theirs));
    let kept: Vec<Vec<u8>> = ours
        .union(&theirs)
        .filter(|one| !base.contains(*one) || (ours.contains(*one) && theirs.contains(*one)))
        .cloned()
        .collect();
    if kept.is_empty() { None } else { Some(vec![[b"TYPE=", &kept.join(&b',')[..]].concat()]) }
}

impl Line {
    fn min_by_name<'a>(&'a self, other: &'a Line) -> &'a Line {
        if other.name() < self.name() { other } else { self }
    }
}
