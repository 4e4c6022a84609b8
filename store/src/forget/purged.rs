//! What a purge leaves of a commit: its tree without the path and without the conflicts about it, and of the message of a
//! commit that changed the path the trailers alone (by what it was made), for messages name what they change.

use std::collections::HashMap;

use git_wire::ObjectId;

use crate::core::Core;
use crate::merge::conflicts_about;
use crate::object::{Commit, RawEntry};
use crate::staging::Staging;
use crate::{Mode, Result, TreePath};

/// Trees whose purged form is remembered.
const TREES_MAX: usize = 50_000;
/// What a commit says that changed what was purged.
pub const PURGED: &str = "Purged";

/// The purge of one path, commit by commit.
pub(super) struct Purge {
    path: TreePath,
    /// What trees became without what lies below them at the rest of a path.
    trees: HashMap<(ObjectId, Vec<u8>), Option<ObjectId>>,
    /// Bytes that were staged and are not counted yet.
    pub staged_bytes: usize,
}

impl Purge {
    pub fn of(path: TreePath) -> Purge {
        Purge { path, trees: HashMap::new(), staged_bytes: 0 }
    }

    /// The commit with the tree that it has from now on, and what it may still say; its parents are left as they are.
    pub fn commit(&mut self, core: &Core, staging: &mut Staging<'_>, commit: &Commit) -> Result<Commit> {
        let mut tree = self.without(core, staging, commit.tree, &self.path.clone())?;
        for conflict in conflicts_about(core, Some(commit.tree), &self.path)? {
            if let Some(there) = tree {
                tree = self.without(core, staging, there, &conflict)?;
            }
        }
        let tree = tree.map_or_else(|| self.put_tree(staging, &[]), Ok)?;
        let message =
            if self.changes(core, commit)? { without_words(&commit.message) } else { commit.message.clone() };
        Ok(Commit { tree, message, ..commit.clone() })
    }

    /// Whether the path is not in a commit what it is in the one before.
    fn changes(&self, core: &Core, commit: &Commit) -> Result<bool> {
        let now = core.lookup(Some(commit.tree), &self.path)?;
        let before = match commit.parents.first() {
            Some(parent) => core.lookup(Some(core.commit(*parent)?.tree), &self.path)?,
            None => None,
        };
        Ok(now != before)
    }

    /// A tree without a path, remembered for the next commit; nothing where nothing is left of it.
    fn without(
        &mut self,
        core: &Core,
        staging: &mut Staging<'_>,
        tree: ObjectId,
        path: &TreePath,
    ) -> Result<Option<ObjectId>> {
        let key = (tree, path.as_bytes().to_vec());
        if let Some(known) = self.trees.get(&key) {
            return Ok(*known);
        }
        let mut names = path.components();
        let name = names.next().unwrap_or_default();
        let rest = names.next().map(|_| TreePath::new(&path.as_bytes()[name.len() + 1..])).transpose()?;
        let mut entries = core.tree(&tree)?;
        let mut result = Some(tree);
        if let Some(at) = entries.iter().position(|entry| &entry.name[..] == name) {
            let new = match &rest {
                None => None,
                Some(rest) if entries[at].mode == Mode::Directory => {
                    self.without(core, staging, entries[at].id, rest)?
                }
                Some(_) => Some(entries[at].id),
            };
            match new {
                Some(id) if id == entries[at].id => {}
                Some(id) => {
                    entries[at].id = id;
                    result = Some(self.put_tree(staging, &entries)?);
                }
                None => {
                    entries.remove(at);
                    result = if entries.is_empty() { None } else { Some(self.put_tree(staging, &entries)?) };
                }
            }
        }
        if self.trees.len() >= TREES_MAX {
            self.trees.clear();
        }
        self.trees.insert(key, result);
        Ok(result)
    }

    fn put_tree(&mut self, staging: &mut Staging<'_>, entries: &[RawEntry]) -> Result<ObjectId> {
        self.staged_bytes += entries.iter().map(|entry| entry.name.len() + 60).sum::<usize>() + 200;
        staging.put_tree(entries, None)
    }
}

/// A message without its words: [`PURGED`], and the trailers, if the last of several paragraphs is nothing else.
fn without_words(message: &str) -> String {
    let trailer = |line: &str| line.split_once(": ").is_some_and(|(name, _)| !name.contains(' '));
    match message.trim_end().rsplit_once("\n\n") {
        Some((_, last)) if last.lines().all(trailer) => format!("{PURGED}\n\n{last}\n"),
        _ => format!("{PURGED}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_message_only_trailers_stay() {
        assert_eq!(
            without_words("Dentist moved\n\nDevice: phone\nProgram: x y\n"),
            "Purged\n\nDevice: phone\nProgram: x y\n"
        );
        assert_eq!(without_words("Dentist moved\n\nbecause: of that\nand so on\n"), "Purged\n");
        assert_eq!(without_words("Dentist: moved\n"), "Purged\n");
        assert_eq!(without_words(""), "Purged\n");
    }
}
