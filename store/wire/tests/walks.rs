//! What is selected is complete, whatever the history and its clocks look like.

use std::collections::HashSet;

mod histories;

use git_wire::memory::MemoryRepository;
use git_wire::walk::{Filter, History, reached_commits, select, unreachable};
use git_wire::{Limits, ObjectId, Objects, Repository};
use histories::{build, closure, history};
use proptest::prelude::*;

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
