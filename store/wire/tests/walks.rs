//! What is selected is complete, whatever the history and its clocks look like.

use std::collections::HashSet;

use git_wire::memory::MemoryRepository;
use git_wire::object::{EntryKind, commit_links, tree_entries};
use git_wire::walk::{Filter, History, select};
use git_wire::{Kind, Limits, ObjectId, Objects, Repository};
use proptest::prelude::*;

/// One commit: which earlier ones are its parents, its clock, and a content or none for six files in two folders.
#[derive(Debug, Clone)]
struct Made {
    parents: Vec<usize>,
    clock: u32,
    files: Vec<Option<u8>>,
}

fn history() -> impl Strategy<Value = Vec<Made>> {
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

fn build(repository: &MemoryRepository, history: &[Made]) -> Vec<ObjectId> {
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
fn closure(objects: &dyn Objects, starts: &[ObjectId]) -> HashSet<ObjectId> {
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sent_and_what_was_had_make_a_whole(
        history in history(),
        wants in proptest::collection::vec(any::<usize>(), 1..3),
        haves in proptest::collection::vec(any::<usize>(), 0..3),
    ) {
        let repository = MemoryRepository::new();
        let commits = build(&repository, &history);
        let pick = |places: &[usize]| places.iter().map(|at| commits[at % commits.len()]).collect::<Vec<_>>();
        let (wants, haves) = (pick(&wants), pick(&haves));
        let view = repository.view().unwrap();
        let objects: &dyn Objects = &*view;
        let walk = History::new(objects, HashSet::new());
        let selection = select(objects, &walk, &wants, &haves, Filter::default(), &Limits::default()).unwrap();
        let sent: HashSet<ObjectId> = selection.iter().collect();
        let (had, wanted) = (closure(objects, &haves), closure(objects, &wants));
        for id in &wanted {
            prop_assert!(sent.contains(id) || had.contains(id), "{} is missing", id);
        }
        prop_assert!(sent.is_subset(&wanted));
        if haves.is_empty() {
            prop_assert_eq!(sent, wanted);
        }
    }
}
