//! Properties that are lists (CATEGORIES, EXDATE, NICKNAME), merged as sets of values.

use std::collections::HashSet;

use super::Format;
use super::identity::upper;
use super::units::is_list;
use crate::{ComponentId, Document, Line, text};

/// A value with the name and the parameters that give it its meaning.
type Item = (String, Vec<Vec<u8>>, Vec<u8>);

/// Which values stay.
pub(super) struct Lists {
    ours: HashSet<Item>,
    kept: HashSet<Item>,
}

/// What becomes of a line.
pub(super) enum Fate {
    Stays,
    Goes,
    /// The logical line with the values that stay.
    Becomes(Vec<u8>),
}

impl Lists {
    pub fn new(format: Format, versions: [(&Document, Option<ComponentId>); 3]) -> Lists {
        let [base, ours, theirs] = versions.map(|(document, id)| all_items(format, document, id));
        let stays = |item: &&Item| !base.contains(*item) || (ours.contains(*item) && theirs.contains(*item));
        let kept = ours.union(&theirs).filter(stays).cloned().collect();
        Lists { ours, kept }
    }

    /// What becomes of one of our lines.
    pub fn of_ours(&self, line: &Line) -> Fate {
        self.fate(line, |item| self.kept.contains(item))
    }

    /// What of one of their lines is added behind ours.
    pub fn of_theirs(&self, line: &Line) -> Fate {
        self.fate(line, |item| self.kept.contains(item) && !self.ours.contains(item))
    }

    fn fate(&self, line: &Line, stays: impl Fn(&Item) -> bool) -> Fate {
        let items = items(line);
        let kept: Vec<&[u8]> = items.iter().filter(|item| stays(item)).map(|item| &item.2[..]).collect();
        if kept.len() == items.len() {
            Fate::Stays
        } else if kept.is_empty() {
            Fate::Goes
        } else {
            let head = &line.unfolded()[..line.unfolded().len() - line.value().len()];
            Fate::Becomes([head, &kept.join(&b',')].concat())
        }
    }
}

fn all_items(format: Format, document: &Document, id: Option<ComponentId>) -> HashSet<Item> {
    let Some(id) = id else { return HashSet::new() };
    let component = upper(&document.component(id).name);
    let lines = document.lines_of(id).map(|index| &document.lines()[index]);
    lines.filter(|line| is_list(format, &component, line)).flat_map(items).collect()
}

fn items(line: &Line) -> Vec<Item> {
    let mut parameters: Vec<Vec<u8>> = line.parameters().map(|one| one.raw().to_ascii_uppercase()).collect();
    parameters.sort_unstable();
    let name = upper(line.name());
    let values = text::split(line.value(), b',').into_iter();
    values.map(|value| (name.clone(), parameters.clone(), value.to_vec())).collect()
}
