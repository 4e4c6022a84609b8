//! What is selected is complete, whatever the history and its clocks look like.

use std::collections::HashSet;

mod histories;

use git_wire::memory::MemoryRepository;
use git_wire::object::{EntryKind, tree_entries};
use git_wire::pack::{PackWriter, deflate, receive};
use git_wire::walk::{Filter, History, reached_commits, select, unreachable};
use git_wire::{Kind, Limits, Object, ObjectId, Objects, Repository, Zlib};
use histories::{build, closure, history};
use proptest::prelude::*;

/// Trees below a tree.
fn depth_below(objects: &dyn Objects, id: ObjectId) -> usize {
    let object = objects.read(&id, 1 << 20).unwrap().unwrap();
    let entries = if object.kind == Kind::Tree { &object.content[..] } else { b"" };
    let inner = tree_entries(entries).flatten().filter(|entry| entry.kind() == EntryKind::Tree);
    inner.map(|entry| 1 + depth_below(objects, entry.id)).max().unwrap_or(0)
}

/// What both begin with is copied, the rest inserted.
fn delta_between(base: &[u8], target: &[u8]) -> Vec<u8> {
    let same = base.iter().zip(target).take_while(|(a, b)| a == b).count().min(0xff);
    let mut delta = Vec::new();
    for mut size in [base.len(), target.len()] {
        while size >= 0x80 {
            delta.push(size as u8 | 0x80);
            size >>= 7;
        }
        delta.push(size as u8);
    }
    if same > 0 {
        delta.extend_from_slice(&[0x90, same as u8]);
    }
    for piece in target[same..].chunks(127) {
        delta.push(piece.len() as u8);
        delta.extend_from_slice(piece);
    }
    delta
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

    #[test]
    fn what_a_pack_says_of_its_shape_is_right(
        history in history(),
        order in any::<u64>(),
        with_deltas in any::<bool>(),
        tree_depth_max in 0usize..4,
    ) {
        let repository = MemoryRepository::new();
        let commits = build(&repository, &history);
        let view = repository.view().unwrap();
        let mixed = |id: &ObjectId| {
            let mixed = ObjectId::of(Kind::Blob, &[&order.to_be_bytes()[..], &id.0].concat()).unwrap();
            usize::from(mixed.0[0])
        };
        let mut objects: Vec<ObjectId> = closure(&*view, &commits).into_iter().collect();
        objects.sort_by_key(|id| (mixed(id), *id));
        let mut pack = PackWriter::new(Vec::new(), objects.len() as u32).unwrap();
        let mut trees: Vec<(ObjectId, Vec<u8>)> = Vec::new();
        for id in &objects {
            let Object { kind, content } = view.read(id, 1 << 20).unwrap().unwrap();
            let base = trees.get(mixed(id) % (trees.len() + 1)).filter(|_| with_deltas && kind == Kind::Tree);
            if let Some((base, from)) = base {
                let delta = delta_between(from, &content);
                pack.ref_delta(*base, delta.len() as u64, Zlib::Bytes(deflate(&delta))).unwrap();
            } else {
                pack.whole(kind, content.len() as u64, Zlib::Bytes(deflate(&content))).unwrap();
            }
            if kind == Kind::Tree {
                trees.push((*id, content));
            }
        }
        let copy = MemoryRepository::new();
        let limits = Limits { tree_depth_max, ..Limits::default() };
        let mut quarantine = copy.quarantine().unwrap();
        let packed = pack.finish().unwrap();
        let (checked, _) = receive(&packed[..], &mut *quarantine, &limits, &[], &mut |_, _| Ok(())).unwrap();
        prop_assert!(checked.external.is_empty());
        let deepest = objects.iter().map(|id| depth_below(&*view, *id)).max().unwrap();
        match checked.tips {
            Some(tips) => {
                let all: HashSet<ObjectId> = objects.iter().copied().collect();
                prop_assert_eq!(closure(&*view, &tips), all);
                let named: HashSet<ObjectId> = commits.iter().copied().collect();
                prop_assert!(tips.iter().all(|tip| named.contains(tip)));
                prop_assert!(deepest <= tree_depth_max, "{} levels", deepest);
            }
            // With deltas a tree may be taken for deeper than it is.
            None => prop_assert!(with_deltas || deepest > tree_depth_max),
        }
    }

    #[test]
    fn what_no_ref_reaches_is_not_given_away(
        history in history(),
        refs in proptest::collection::vec(any::<usize>(), 0..3),
    ) {
        let repository = MemoryRepository::new();
        let commits = build(&repository, &history);
        let named: Vec<ObjectId> = refs.iter().map(|at| commits[at % commits.len()]).collect();
        for (number, id) in named.iter().enumerate() {
            repository.set_ref(&format!("refs/heads/b{number}"), *id);
        }
        let view = repository.view().unwrap();
        let all: Vec<ObjectId> = closure(&*view, &commits).into_iter().collect();
        let reached = closure(&*view, &named);
        let hidden = unreachable(&*view, &all).unwrap();
        for id in &all {
            prop_assert_eq!(hidden.contains(id), !reached.contains(id), "{}", id);
            // One by one as well: a search for one ends elsewhere than a search for all.
            prop_assert_eq!(unreachable(&*view, &[*id]).unwrap().len(), usize::from(!reached.contains(id)));
        }
        for id in reached_commits(&*view, &commits).unwrap() {
            prop_assert!(reached.contains(&id));
        }
    }
}
