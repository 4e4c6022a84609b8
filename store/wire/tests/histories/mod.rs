//! Random histories in memory.

use std::collections::HashSet;

use git_wire::memory::MemoryRepository;
use git_wire::object::{EntryKind, commit_links, tree_entries};
use git_wire::{Kind, ObjectId, Objects};
use proptest::prelude::*;

/// One commit: which earlier ones are its parents, its clock, and a content or none for six files in two folders.
#[derive(Debug, Clone)]
pub struct Made {
    pub parents: Vec<usize>,
    pub clock: u32,
    pub files: Vec<Option<u8>>,
}

pub fn history() -> impl Strategy<Value = Vec<Made>> {
    let one = (
        proptest::collection::vec(any::<usize>(), 0..3),
        0u32..20,
        proptest::collection::vec(proptest::option::of(0u8..3), 6),
    );
    proptest::collection::vec(one.prop_map(|(parents, clock, files)| Made { parents, clock, files }), 1..14)
}

fn tree(repository: &MemoryRepository, entries: &[(&str, &str, ObjectId)]) -> ObjectId {
    let mut content = Vec::new();
    for (mode, name, id) in entries {
        content.extend_from_slice(format!("{mode} {name}\0").as_bytes());
        content.extend_from_slice(&id.0);
    }
    repository.add(Kind::Tree, &content).unwrap()
}

fn folder(repository: &MemoryRepository, files: &[Option<u8>]) -> ObjectId {
    let blob = |content: u8| repository.add(Kind::Blob, &[content]).unwrap();
    let files = ["a", "b", "c"].iter().zip(files);
    let entries: Vec<_> = files.filter_map(|(name, file)| Some(("100644", *name, blob((*file)?)))).collect();
    tree(repository, &entries)
}

pub fn build(repository: &MemoryRepository, history: &[Made]) -> Vec<ObjectId> {
    let mut commits: Vec<ObjectId> = Vec::new();
    for made in history {
        let folders = [folder(repository, &made.files[..3]), folder(repository, &made.files[3..])];
        let root = tree(repository, &[("40000", "x", folders[0]), ("40000", "y", folders[1])]);
        let mut text = format!("tree {root}\n");
        let known = made.parents.iter().filter(|_| !commits.is_empty());
        for parent in known.map(|one| one % commits.len()).collect::<HashSet<usize>>() {
            text += &format!("parent {}\n", commits[parent]);
        }
        let who = format!("A <a@x> {} +0000", made.clock);
        text += &format!("author {who}\ncommitter {who}\n\nm{}\n", commits.len());
        commits.push(repository.add(Kind::Commit, text.as_bytes()).unwrap());
    }
    commits
}

/// Everything that is reachable, the slow and sure way.
pub fn closure(objects: &dyn Objects, starts: &[ObjectId]) -> HashSet<ObjectId> {
    let mut seen = HashSet::new();
    let mut open = starts.to_vec();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let object = objects.read(&id, 1 << 20).unwrap().unwrap();
        match object.kind {
            Kind::Commit => {
                let links = commit_links(&object.content).unwrap();
                open.push(links.tree);
                open.extend(links.parents);
            }
            Kind::Tree => {
                let entries = tree_entries(&object.content).map(Result::unwrap);
                open.extend(
                    entries.filter(|entry| entry.kind() != EntryKind::Submodule).map(|entry| entry.id),
                );
            }
            _ => {}
        }
    }
    seen
}
