//! Merges components, from the outside in, and writes the result in the order of our side.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::identity::{canonical, component_identity, describe, settles_itself, upper};
use super::lists::{Fate, Lists};
use super::parameters::merge_line;
use super::units::{Unit, is_list, pair, settle_names, units, without_group};
use super::{Conflict, Format, Merged, Side};
use crate::{ComponentId, Document, Line};

pub(super) struct Merger<'a> {
    format: Format,
    base: &'a Document,
    ours: &'a Document,
    theirs: &'a Document,
    out: Vec<Vec<u8>>,
    conflicts: Vec<Conflict>,
    /// Where we are, for conflicts.
    place: Vec<String>,
}

/// A component in each of the three versions.
#[derive(Debug, Clone, Copy, Default)]
struct Versions {
    base: Option<ComponentId>,
    ours: Option<ComponentId>,
    theirs: Option<ComponentId>,
}

/// A unit's lines in the result.
enum Outcome {
    /// Ours, each line in its place.
    InPlace,
    /// These logical or physical lines.
    Lines(Vec<Out>),
    Gone,
}

enum Out {
    Raw { side: Side, line: usize },
    Written { unfolded: Vec<u8> },
}

impl<'a> Merger<'a> {
    pub fn new(format: Format, base: &'a Document, ours: &'a Document, theirs: &'a Document) -> Merger<'a> {
        Merger { format, base, ours, theirs, out: Vec::new(), conflicts: Vec::new(), place: Vec::new() }
    }

    pub fn merge(mut self) -> Merged {
        if self.ours.byte_order_mark {
            self.out.push(b"\xef\xbb\xbf".to_vec());
        }
        let winner = if all_lines(self.ours) >= all_lines(self.theirs) { Side::Ours } else { Side::Theirs };
        let mut outside =
            (0..self.ours.lines().len()).filter(|line| self.ours.owner(*line).is_none()).peekable();
        let roots = [self.base, self.ours, self.theirs].map(|document| document.roots().to_vec());
        let pairs = pair_components([self.base, self.ours, self.theirs], &roots);
        for versions in in_our_order(pairs) {
            if let Some(ours) = versions.ours {
                while let Some(line) = outside.next_if(|line| *line < self.ours.component(ours).begin) {
                    self.emit_raw(Side::Ours, line);
                }
            }
            self.merge_component(versions, winner);
        }
        outside.for_each(|line| self.emit_raw(Side::Ours, line));
        self.restore_time_zones();
        Merged { bytes: self.out.concat(), conflicts: self.conflicts }
    }

    fn merge_component(&mut self, versions: Versions, winner: Side) {
        let Versions { base, ours, theirs } = versions;
        let base_text = base.map(|id| canonical(self.base, id));
        let ours_text = ours.map(|id| canonical(self.ours, id));
        let theirs_text = theirs.map(|id| canonical(self.theirs, id));
        match (ours, theirs) {
            (None, None) => {}
            (Some(ours), None) if base.is_none() => self.emit_component(Side::Ours, ours),
            (None, Some(theirs)) if base.is_none() => self.emit_component(Side::Theirs, theirs),
            (Some(_), None) if ours_text == base_text => {}
            (None, Some(_)) if theirs_text == base_text => {}
            (Some(ours), None) => {
                self.component_conflict(versions, Side::Ours);
                self.emit_component(Side::Ours, ours);
            }
            (None, Some(theirs)) => {
                self.component_conflict(versions, Side::Theirs);
                self.emit_component(Side::Theirs, theirs);
            }
            (Some(ours), Some(_)) if ours_text == theirs_text || theirs_text == base_text => {
                self.emit_component(Side::Ours, ours);
            }
            (Some(_), Some(theirs)) if ours_text == base_text => self.emit_component(Side::Theirs, theirs),
            (Some(our_id), Some(their_id)) => {
                let winner = self.rank(our_id, their_id).unwrap_or(winner);
                if self.is_one_piece(base, our_id, their_id) {
                    self.component_conflict(versions, winner);
                    let kept = if winner == Side::Ours { our_id } else { their_id };
                    self.emit_component(winner, kept);
                } else {
                    self.place.push(describe(self.ours, our_id).min(describe(self.theirs, their_id)));
                    self.merge_body(versions, our_id, their_id, winner);
                    self.place.pop();
                }
            }
        }
    }

    /// Cards of different versions of the format are not mixed, nor are time zones whose rules both sides changed: an
    /// hour would be counted twice.
    fn is_one_piece(&self, base: Option<ComponentId>, ours: ComponentId, theirs: ComponentId) -> bool {
        let version = |document: &Document, id| {
            document.property(id, "VERSION").map(|line| line.value().trim_ascii().to_vec())
        };
        let rules = |document: &Document, id: ComponentId| {
            let inner = document.component(id).children.iter();
            let mut rules: Vec<Vec<u8>> = inner.map(|child| canonical(document, *child)).collect();
            rules.sort_unstable();
            rules
        };
        let zone = || {
            let (ours, theirs) = (rules(self.ours, ours), rules(self.theirs, theirs));
            let base = base.map(|base| rules(self.base, base));
            ours != theirs && base.is_none_or(|base| base != ours && base != theirs)
        };
        (self.ours.component(ours).is("VTIMEZONE") && zone())
            || (self.format == Format::VCard && version(self.ours, ours) != version(self.theirs, theirs))
    }

    fn merge_body(&mut self, versions: Versions, ours: ComponentId, theirs: ComponentId, winner: Side) {
        let name = upper(&self.ours.component(ours).name);
        let (mut in_base, mut in_ours, mut in_theirs) = (
            units(self.format, self.base, versions.base),
            units(self.format, self.ours, Some(ours)),
            units(self.format, self.theirs, Some(theirs)),
        );
        settle_names([&mut in_base, &mut in_ours, &mut in_theirs]);
        let triples = pair((self.base, &in_base), (self.ours, &in_ours), (self.theirs, &in_theirs));
        let lists = Lists::new(
            self.format,
            [(self.base, versions.base), (self.ours, Some(ours)), (self.theirs, Some(theirs))],
        );
        let mut groups = Groups::new([self.base, self.ours, self.theirs], self.ours, ours);
        let mut at_line: HashMap<usize, Outcome> = HashMap::new();
        let mut added: Vec<(usize, Vec<Out>, Option<Vec<u8>>)> = Vec::new();
        for triple in triples {
            let units = [
                triple.base.map(|at| &in_base[at]),
                triple.ours.map(|at| &in_ours[at]),
                triple.theirs.map(|at| &in_theirs[at]),
            ];
            let outcome = self.resolve(units, winner);
            match (triple.ours, outcome) {
                (Some(at), outcome) => {
                    at_line.insert(in_ours[at].lines[0], outcome);
                }
                (None, Outcome::Lines(lines)) => {
                    let unit = &in_theirs[triple.theirs.unwrap_or(0)];
                    added.push((unit.lines[0], lines, groups.for_addition(unit, self.theirs)));
                }
                (None, _) => {}
            }
        }
        added.sort_by_key(|(line, ..)| *line);
        self.write_body(ours, theirs, &name, &in_ours, at_line, added, &lists);
        self.write_children(versions, ours, theirs, winner);
        if let Some(end) = self.ours.component(ours).end {
            self.emit_raw(Side::Ours, end);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn write_body(
        &mut self,
        ours: ComponentId,
        theirs: ComponentId,
        name: &str,
        in_ours: &[Unit],
        mut at_line: HashMap<usize, Outcome>,
        added: Vec<(usize, Vec<Out>, Option<Vec<u8>>)>,
        lists: &Lists,
    ) {
        let first_of: HashMap<usize, (usize, &Unit)> = in_ours
            .iter()
            .flat_map(|unit| unit.lines.iter().map(move |line| (*line, (unit.lines[0], unit))))
            .collect();
        self.emit_raw(Side::Ours, self.ours.component(ours).begin);
        for index in self.ours.lines_of(ours).collect::<Vec<_>>() {
            let line = &self.ours.lines()[index];
            if is_list(self.format, name, line) {
                self.emit_fate(lists.of_ours(line), Side::Ours, index);
                continue;
            }
            let Some((first, unit)) = first_of.get(&index) else {
                self.emit_raw(Side::Ours, index);
                continue;
            };
            match at_line.get(first) {
                Some(Outcome::InPlace) => self.emit_raw(Side::Ours, index),
                Some(Outcome::Lines(_)) if index == *first => {
                    if let Some(Outcome::Lines(lines)) = at_line.remove(first) {
                        self.emit_lines(lines, unit.group(self.ours).as_deref());
                    }
                }
                _ => {}
            }
        }
        for (_, lines, group) in added {
            self.emit_lines(lines, group.as_deref());
        }
        for index in self.theirs.lines_of(theirs).collect::<Vec<_>>() {
            let line = &self.theirs.lines()[index];
            if is_list(self.format, name, line) {
                self.emit_fate(lists.of_theirs(line), Side::Theirs, index);
            }
        }
    }

    fn write_children(&mut self, versions: Versions, ours: ComponentId, theirs: ComponentId, winner: Side) {
        let children = [
            versions.base.map(|id| self.base.component(id).children.clone()).unwrap_or_default(),
            self.ours.component(ours).children.clone(),
            self.theirs.component(theirs).children.clone(),
        ];
        let pairs = pair_components([self.base, self.ours, self.theirs], &children);
        for versions in in_our_order(pairs) {
            self.merge_component(versions, winner);
        }
    }

    /// Decides one unit.
    fn resolve(&mut self, [base, ours, theirs]: [Option<&Unit>; 3], winner: Side) -> Outcome {
        let base_text = base.map(|unit| unit.content(self.base));
        let ours_text = ours.map(|unit| unit.content(self.ours));
        let theirs_text = theirs.map(|unit| unit.content(self.theirs));
        match (ours, theirs) {
            (None, None) => Outcome::Gone,
            (Some(ours), Some(theirs)) if ours_text == theirs_text => {
                let raws = [
                    base.map(|unit| unit.raw(self.base)),
                    Some(ours.raw(self.ours)),
                    Some(theirs.raw(self.theirs)),
                ];
                if raws[2] == raws[0] || (raws[1] != raws[0] && raws[1] >= raws[2]) {
                    Outcome::InPlace
                } else {
                    whole(theirs)
                }
            }
            (Some(_), Some(_)) if theirs_text == base_text => Outcome::InPlace,
            (Some(_), Some(theirs)) if ours_text == base_text => whole(theirs),
            (Some(_), None) if base.is_none() => Outcome::InPlace,
            (None, Some(theirs)) if base.is_none() => whole(theirs),
            (Some(_), None) if ours_text == base_text => Outcome::Gone,
            (None, Some(_)) if theirs_text == base_text => Outcome::Gone,
            (Some(ours), None) => {
                self.unit_conflict([base, Some(ours), None], Side::Ours);
                Outcome::InPlace
            }
            (None, Some(theirs)) => {
                self.unit_conflict([base, None, Some(theirs)], Side::Theirs);
                whole(theirs)
            }
            (Some(ours), Some(theirs)) => self.both_changed(base, ours, theirs, winner),
        }
    }

    fn both_changed(&mut self, base: Option<&Unit>, ours: &Unit, theirs: &Unit, winner: Side) -> Outcome {
        if let Some(greater) = settles_itself(&ours.name) {
            let value = |unit: &Unit, document: &Document| {
                let value = document.lines()[unit.lines[0]].value().to_vec();
                (value.len() * usize::from(unit.name == "SEQUENCE"), value)
            };
            let (mine, other) = (value(ours, self.ours), value(theirs, self.theirs));
            let side = match mine.cmp(&other) {
                std::cmp::Ordering::Less if greater => Side::Theirs,
                std::cmp::Ordering::Greater if greater => Side::Ours,
                _ => winner,
            };
            return if side == Side::Ours { Outcome::InPlace } else { whole(theirs) };
        }
        if let Some(lines) = self.finer(base, ours, theirs) {
            return Outcome::Lines(lines);
        }
        self.unit_conflict([base, Some(ours), Some(theirs)], winner);
        if winner == Side::Ours { Outcome::InPlace } else { whole(theirs) }
    }

    /// Line by line inside a unit, and value apart from parameters inside a line. A time span is never taken apart.
    fn finer(&self, base: Option<&Unit>, ours: &Unit, theirs: &Unit) -> Option<Vec<Out>> {
        if matches!(ours.class, super::identity::Class::Together(_)) {
            return None;
        }
        let by_name = |unit: Option<&Unit>, document: &Document| -> Option<BTreeMap<String, usize>> {
            let mut found = BTreeMap::new();
            for line in unit.map_or(&[][..], |unit| &unit.lines) {
                // Two lines of a name in one group: which is which is a guess.
                if found.insert(upper(document.lines()[*line].name()), *line).is_some() {
                    return None;
                }
            }
            Some(found)
        };
        let (base, ours, theirs) =
            (by_name(base, self.base)?, by_name(Some(ours), self.ours)?, by_name(Some(theirs), self.theirs)?);
        let mut names: Vec<(&String, &usize)> = ours.iter().collect();
        names.sort_by_key(|(_, line)| **line);
        let mut names: Vec<&String> = names.into_iter().map(|(name, _)| name).collect();
        names.extend(theirs.keys().filter(|name| !ours.contains_key(*name)));
        let mut lines = Vec::new();
        for name in names {
            let (b, o, t) = (base.get(name), ours.get(name), theirs.get(name));
            let text = |document: &'a Document, line: Option<&usize>| {
                line.map(|line| without_group(&document.lines()[*line]))
            };
            let (b_text, o_text, t_text) = (text(self.base, b), text(self.ours, o), text(self.theirs, t));
            match (o, t) {
                (Some(o), _) if o_text == t_text || t_text == b_text => {
                    lines.push(Out::Raw { side: Side::Ours, line: *o })
                }
                (_, Some(t)) if o_text == b_text => lines.push(Out::Raw { side: Side::Theirs, line: *t }),
                (Some(o), Some(t)) => {
                    let base = b.map(|line| &self.base.lines()[*line]);
                    let unfolded = merge_line(base, &self.ours.lines()[*o], &self.theirs.lines()[*t])?;
                    lines.push(Out::Written { unfolded });
                }
                (None, Some(_)) if t_text == b_text => {}
                (Some(_), None) if o_text == b_text => {}
                _ => return None,
            }
        }
        Some(lines)
    }

    /// The side whose SEQUENCE, LAST-MODIFIED or REV, DTSTAMP or bytes are greater, when the component has any of them.
    fn rank(&self, ours: ComponentId, theirs: ComponentId) -> Option<Side> {
        let rank = |document: &Document, id| {
            let value = |name: &str| document.property(id, name).map(|line| line.value().to_vec());
            let sequence =
                value("SEQUENCE").and_then(|value| String::from_utf8(value).ok()?.trim().parse::<u64>().ok());
            (sequence, value("LAST-MODIFIED").or(value("REV")), value("DTSTAMP"))
        };
        let (mine, other) = (rank(self.ours, ours), rank(self.theirs, theirs));
        match mine.cmp(&other) {
            std::cmp::Ordering::Less => Some(Side::Theirs),
            std::cmp::Ordering::Greater => Some(Side::Ours),
            std::cmp::Ordering::Equal => {
                match canonical(self.ours, ours).cmp(&canonical(self.theirs, theirs)) {
                    std::cmp::Ordering::Less if mine.2.is_some() || mine.1.is_some() => Some(Side::Theirs),
                    std::cmp::Ordering::Greater if mine.2.is_some() || mine.1.is_some() => Some(Side::Ours),
                    _ => None,
                }
            }
        }
    }

    fn unit_conflict(&mut self, [base, ours, theirs]: [Option<&Unit>; 3], kept: Side) {
        let property = ours.or(theirs).map(|unit| unit.name.clone());
        self.conflicts.push(Conflict {
            component: self.place.join("/"),
            property,
            base: base.map(|unit| unit.raw(self.base)),
            ours: ours.map(|unit| unit.raw(self.ours)),
            theirs: theirs.map(|unit| unit.raw(self.theirs)),
            kept,
        });
    }

    fn component_conflict(&mut self, versions: Versions, kept: Side) {
        let name = match (versions.ours, versions.theirs) {
            (Some(ours), Some(theirs)) => describe(self.ours, ours).min(describe(self.theirs, theirs)),
            (Some(ours), None) => describe(self.ours, ours),
            (None, Some(theirs)) => describe(self.theirs, theirs),
            (None, None) => return,
        };
        let component = self.place.iter().cloned().chain([name]).collect::<Vec<_>>().join("/");
        self.conflicts.push(Conflict {
            component,
            property: None,
            base: versions.base.map(|id| self.base.component_bytes(id)),
            ours: versions.ours.map(|id| self.ours.component_bytes(id)),
            theirs: versions.theirs.map(|id| self.theirs.component_bytes(id)),
            kept,
        });
    }

    /// One side removed a time zone that the other side still names: it stays.
    fn restore_time_zones(&mut self) {
        if self.format != Format::ICalendar {
            return;
        }
        let result = Document::parse(&self.out.concat(), &self.ours.limits);
        let Ok(result) = result else { return };
        let named: HashSet<String> = result
            .lines()
            .iter()
            .flat_map(|line| {
                line.parameter_values("TZID").into_iter().map(|zone| zone.into_owned()).collect::<Vec<_>>()
            })
            .collect();
        let present: HashSet<Vec<u8>> = zones(&result).into_iter().map(|(zone, _)| zone).collect();
        let mut missing: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for document in [self.base, self.ours, self.theirs] {
            for (zone, id) in zones(document) {
                let plain = crate::text::unescape(&String::from_utf8_lossy(&zone));
                if named.contains(&plain) && !present.contains(&zone) {
                    let bytes = document.component_bytes(id);
                    let slot = missing.entry(zone).or_default();
                    *slot = bytes.max(std::mem::take(slot));
                }
            }
        }
        let Some(root) = result.roots().first().copied().filter(|_| !missing.is_empty()) else { return };
        let mut result = result;
        for bytes in missing.values() {
            // Both were parsed before, so this cannot fail but for a limit; then the zone stays away, as one side wanted.
            let _ = result.add_component(root, bytes);
        }
        self.out = vec![result.to_bytes()];
    }

    fn emit_component(&mut self, side: Side, id: ComponentId) {
        for line in self.document(side).span(id) {
            self.emit_raw(side, line);
        }
    }

    fn emit_fate(&mut self, fate: Fate, side: Side, index: usize) {
        match fate {
            Fate::Stays => self.emit_raw(side, index),
            Fate::Goes => {}
            Fate::Becomes(unfolded) => self.emit_written(unfolded),
        }
    }

    fn emit_lines(&mut self, lines: Vec<Out>, group: Option<&[u8]>) {
        for line in lines {
            match line {
                Out::Raw { side, line } => {
                    let source = &self.document(side).lines()[line];
                    let same = source.group().map(<[u8]>::to_ascii_lowercase)
                        == group.map(<[u8]>::to_ascii_lowercase);
                    if same || source.group().is_none() || group.is_none() {
                        self.emit_raw(side, line);
                    } else {
                        let unfolded = without_group(source).to_vec();
                        self.emit_grouped(unfolded, group);
                    }
                }
                Out::Written { unfolded } => self.emit_grouped(unfolded, group),
            }
        }
    }

    fn emit_grouped(&mut self, unfolded: Vec<u8>, group: Option<&[u8]>) {
        match group {
            Some(group) => self.emit_written([group, b".", &unfolded].concat()),
            None => self.emit_written(unfolded),
        }
    }

    /// Bytes as they are, but for a line end that would not fit those around it.
    fn emit_raw(&mut self, side: Side, index: usize) {
        let document = self.document(side);
        let line = &document.lines()[index];
        let wanted = self.ours.line_end().bytes();
        let last_of_ours = side == Side::Ours && index + 1 == document.lines().len();
        if side == Side::Ours && (!line.line_end().is_empty() || last_of_ours) || line.line_end() == wanted {
            self.out.push(line.raw().to_vec());
        } else if line.line_end().is_empty() && !line.raw().contains(&b'\n') {
            self.out.push([line.raw(), wanted].concat());
        } else {
            self.emit_written(line.unfolded().to_vec());
        }
    }

    fn emit_written(&mut self, unfolded: Vec<u8>) {
        let line_end = self.ours.line_end().bytes();
        let written = self.ours.write_line(unfolded.clone(), line_end).map(|line| line.raw().to_vec());
        self.out.push(written.unwrap_or_else(|_| [&unfolded, line_end].concat()));
    }

    fn document(&self, side: Side) -> &'a Document {
        match side {
            Side::Ours => self.ours,
            Side::Theirs => self.theirs,
        }
    }
}

/// Names of groups that are taken, so that what comes from their side gets one of its own.
struct Groups {
    anywhere: HashSet<Vec<u8>>,
    taken: HashSet<Vec<u8>>,
}

impl Groups {
    fn new(documents: [&Document; 3], ours: &Document, id: ComponentId) -> Groups {
        let lower = |line: &Line| line.group().map(<[u8]>::to_ascii_lowercase);
        Groups {
            anywhere: documents.iter().flat_map(|document| document.lines()).filter_map(lower).collect(),
            taken: ours.lines_of(id).filter_map(|index| lower(&ours.lines()[index])).collect(),
        }
    }

    fn for_addition(&mut self, unit: &Unit, theirs: &Document) -> Option<Vec<u8>> {
        let wanted = unit.group(theirs)?;
        if self.taken.insert(wanted.to_ascii_lowercase()) {
            return Some(wanted);
        }
        let free = (1..)
            .map(|number| format!("item{number}").into_bytes())
            .find(|name| !self.anywhere.contains(name))?;
        self.anywhere.insert(free.clone());
        self.taken.insert(free.clone());
        Some(free)
    }
}

fn whole(unit: &Unit) -> Outcome {
    Outcome::Lines(unit.lines.iter().map(|line| Out::Raw { side: Side::Theirs, line: *line }).collect())
}

fn zones(document: &Document) -> Vec<(Vec<u8>, ComponentId)> {
    let all = (0..document.components().len())
        .map(ComponentId)
        .filter(|id| document.component(*id).is("VTIMEZONE"));
    all.filter_map(|id| Some((document.property(id, "TZID")?.value().to_vec(), id))).collect()
}

fn all_lines(document: &Document) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = document.lines().iter().map(Line::unfolded).collect();
    lines.sort_unstable();
    lines
}

/// Pairs siblings by identity, equal ones in their order; then the only one of a kind that is left over on each side.
fn pair_components(documents: [&Document; 3], lists: &[Vec<ComponentId>; 3]) -> Vec<Versions> {
    let mut found: BTreeMap<(Vec<u8>, usize), Versions> = BTreeMap::new();
    for (which, ids) in lists.iter().enumerate() {
        let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
        for id in ids {
            let key = component_identity(documents[which], *id);
            let count = seen.entry(key.clone()).or_default();
            let versions = found.entry((key, *count)).or_default();
            *count += 1;
            *[&mut versions.base, &mut versions.ours, &mut versions.theirs][which] = Some(*id);
        }
    }
    let mut all: Vec<Versions> = found.into_values().collect();
    for name in ["VALARM", "VCARD", "VEVENT", "VTODO"] {
        adopt_leftover(&mut all, documents, name);
    }
    all
}

/// One of a kind lost its counterpart on a side, and that side has one new of the kind: they are the same, changed.
fn adopt_leftover(all: &mut Vec<Versions>, documents: [&Document; 3], name: &str) {
    for which in 1..3 {
        let get = |versions: &Versions, side: usize| [versions.base, versions.ours, versions.theirs][side];
        let is = |id: Option<ComponentId>, side: usize| {
            id.is_some_and(|id| documents[side].component(id).is(name))
        };
        let has_uid =
            |id: Option<ComponentId>| id.is_some_and(|id| documents[which].property(id, "UID").is_some());
        let lost: Vec<usize> =
            (0..all.len()).filter(|at| is(all[*at].base, 0) && get(&all[*at], which).is_none()).collect();
        let alone = |versions: &Versions| (0..3).all(|side| (side == which) == get(versions, side).is_some());
        let new: Vec<usize> =
            (0..all.len()).filter(|at| alone(&all[*at]) && is(get(&all[*at], which), which)).collect();
        let ([lost], [new]) = (&lost[..], &new[..]) else { continue };
        if has_uid(get(&all[*new], which)) {
            continue;
        }
        let id = get(&all[*new], which);
        match which {
            1 => all[*lost].ours = id,
            _ => all[*lost].theirs = id,
        }
        all.remove(*new);
    }
}

/// Ours in their order, then what only their side (or the base) has, in its order there.
fn in_our_order(mut all: Vec<Versions>) -> Vec<Versions> {
    all.sort_by_key(|versions| (versions.ours.is_none(), versions.ours, versions.theirs, versions.base));
    all
}
