//! LIST and LSUB (RFC 3501 6.3.8, 6.3.9; RFC 5258, 5819, 6154).

use super::{Answer, Done, Session};
use crate::imap::grammar::{List, ListReturn, ListSelection};
use crate::mailbox::State;
use std::collections::{BTreeMap, BTreeSet};

/// A name that LIST tells of.
#[derive(Debug, Default, Clone)]
struct Told {
    /// The name itself matches and is selected.
    itself: bool,
    /// A child matches the selection though not the pattern (`CHILDINFO`).
    below: bool,
}

impl Session {
    pub(super) fn list(&mut self, list: List) -> Answer {
        if !list.lsub && !list.extended && list.patterns.iter().all(String::is_empty) {
            // An empty pattern asks for the separator (RFC 3501 6.3.8).
            self.output.untagged(r#"LIST (\Noselect) "/" """#);
            return Ok(Done::Ok("done".into()));
        }
        let state = self.account()?.state();
        for (name, told) in find(&state, &list) {
            self.tell_name(&state, &list, &name, &told);
            for wanted in &list.returns {
                if let ListReturn::Status(items) = wanted {
                    self.tell_status(&name, items)?;
                }
            }
        }
        Ok(Done::Ok("done".into()))
    }

    fn tell_name(&mut self, state: &State, list: &List, name: &str, told: &Told) {
        let attributes = attributes(state, list, name, told).join(" ");
        let verb = if list.lsub { "LSUB" } else { "LIST" };
        let out = self.output.bytes();
        out.extend_from_slice(format!("* {verb} ({attributes}) \"/\" ").as_bytes());
        self.output.mailbox(name);
        let childinfo = if told.below && list.extended { " (\"CHILDINFO\" (\"SUBSCRIBED\"))" } else { "" };
        self.output.line(childinfo);
    }
}

/// The names that a LIST tells of, in order.
fn find(state: &State, list: &List) -> BTreeMap<String, Told> {
    let selects = |wanted: ListSelection| list.selection.contains(&wanted);
    let mut parents: BTreeSet<String> = BTreeSet::new();
    let mut names: Vec<&String> = state.folders.keys().collect();
    if selects(ListSelection::Subscribed) {
        names.retain(|name| state.subscriptions.contains(*name));
        names.extend(state.subscriptions.iter().filter(|name| !state.folders.contains_key(*name)));
    }
    if selects(ListSelection::SpecialUse) {
        names.retain(|name| state.folders.get(*name).is_some_and(|f| !f.about.special_use.is_empty()));
    }
    // Levels above a mailbox are names too, though there may be no mailbox of that name (RFC 3501 6.3.8). LSUB and
    // RECURSIVEMATCH have their own rules for them.
    if list.selection.is_empty() {
        let above = names.iter().flat_map(|name| name.match_indices('/').map(|(at, _)| &name[..at]));
        parents.extend(above.filter(|name| !state.folders.contains_key(*name)).map(str::to_owned));
        names.extend(parents.iter());
    }
    let patterns: Vec<String> = list.patterns.iter().map(|p| format!("{}{p}", list.reference)).collect();
    let matches = |name: &str| patterns.iter().any(|pattern| glob(pattern.as_bytes(), name.as_bytes()));
    let mut found: BTreeMap<String, Told> = BTreeMap::new();
    for name in names {
        if matches(name) {
            found.entry(name.clone()).or_default().itself = true;
        } else if selects(ListSelection::RecursiveMatch) {
            let mut parents = name.match_indices('/').map(|(at, _)| &name[..at]);
            if let Some(parent) = parents.rfind(|parent| matches(parent)) {
                found.entry(parent.to_owned()).or_default().below = true;
            }
        }
    }
    found
}

fn attributes(state: &State, list: &List, name: &str, told: &Told) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let folder = state.folders.get(name);
    if list.lsub {
        // A name that is only the parent of a subscribed one (RFC 3501 6.3.9).
        if !told.itself {
            all.push("\\Noselect".into());
        }
        return all;
    }
    if folder.is_none() {
        // \NonExistent says more, to those who know it (RFC 5258 3).
        all.push(if list.extended { "\\NonExistent" } else { "\\Noselect" }.into());
    }
    let below = format!("{name}/");
    let children =
        state.folders.range(below.clone()..).next().is_some_and(|(next, _)| next.starts_with(&below));
    all.push(if children { "\\HasChildren" } else { "\\HasNoChildren" }.into());
    let asks_subscribed =
        list.returns.contains(&ListReturn::Subscribed) || list.selection.contains(&ListSelection::Subscribed);
    if asks_subscribed && state.subscriptions.contains(name) {
        all.push("\\Subscribed".into());
    }
    all.extend(folder.map(|f| f.about.special_use.clone()).filter(|use_| !use_.is_empty()));
    all
}

/// `*` is anything, `%` anything without a separator (RFC 3501 6.3.8). Linear in the name for each wildcard: the last
/// `*` alone is ever tried again.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let (mut star, mut percent): (Option<(usize, usize)>, Option<(usize, usize)>) = (None, None);
    loop {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, n));
                percent = None;
                p += 1;
                continue;
            }
            Some(b'%') => {
                percent = Some((p + 1, n));
                p += 1;
                continue;
            }
            Some(byte) if name.get(n) == Some(byte) => {
                p += 1;
                n += 1;
                continue;
            }
            None if n == name.len() => return true,
            _ => {}
        }
        // Let the nearest wildcard take one byte more.
        if let Some((after, from)) = percent
            && name.get(from).is_some_and(|byte| *byte != b'/')
        {
            percent = Some((after, from + 1));
            (p, n) = (after, from + 1);
        } else if let Some((after, from)) = star
            && from < name.len()
        {
            star = Some((after, from + 1));
            percent = None;
            (p, n) = (after, from + 1);
        } else {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn rfc3501_6_3_8_wildcards() {
        let yes = [
            ("*", "a/b"),
            ("%", "a"),
            ("a/%", "a/b"),
            ("*b", "a/b"),
            ("%/%", "a/b"),
            ("a*c%", "abcx/c"),
            ("", ""),
            ("*%", "a/b"),
            ("%a*", "xay/b"),
        ];
        for (pattern, name) in yes {
            assert!(glob(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        for (pattern, name) in [("%", "a/b"), ("a/%", "a/b/c"), ("a", "ab"), ("*x", "ab"), ("%c", "ab/c")] {
            assert!(!glob(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        let long = "%a".repeat(50);
        assert!(!glob(long.as_bytes(), "a".repeat(49).as_bytes()));
    }
}
