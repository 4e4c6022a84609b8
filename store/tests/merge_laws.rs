//! The laws of the merges, for every policy that the store brings:
//! merge(x, x, y) = y; merge(b, x, y) = merge(b, y, x) where it is no conflict; nothing is lost without a conflict.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use store::TreePath;
use store::merge::{Context, Counter, KeyValue, LastWriter, LineSet, Merge, Outcome, Text};

fn merge(policy: &dyn Merge, base: &[u8], ours: &[u8], theirs: &[u8]) -> Outcome {
    let path = TreePath::new("file").unwrap();
    policy.merge(Some(base), ours, theirs, &Context { path: &path, ours: None, theirs: None })
}

fn merged(outcome: &Outcome) -> Option<&[u8]> {
    match outcome {
        Outcome::Merged(bytes) => Some(bytes),
        Outcome::Conflict { .. } => None,
    }
}

fn lines(words: &[u8]) -> Vec<u8> {
    words.iter().flat_map(|word| [b'a' + word % 26, b'\n']).collect()
}

fn set(words: &BTreeSet<u8>) -> Vec<u8> {
    words.iter().flat_map(|word| [b'a' + word % 26, b'\n']).collect()
}

fn pairs(pairs: &BTreeMap<u8, u8>) -> Vec<u8> {
    pairs.iter().flat_map(|(key, value)| [b'a' + key, b'=', b'0' + value % 10, b'\n']).collect()
}

/// A text, and a version of it with some lines taken out, changed and put in.
fn versions() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, Vec<u8>)> {
    let edit = proptest::collection::vec((any::<u8>(), 0..3u8, any::<u8>()), 0..4);
    let edited = |base: &[u8], edits: &[(u8, u8, u8)]| {
        let mut words = base.to_vec();
        for (at, what, word) in edits {
            let at = if words.is_empty() { 0 } else { *at as usize % words.len() };
            match what {
                0 => words.insert(at, word % 26),
                1 if !words.is_empty() => words[at] = word % 26,
                _ if !words.is_empty() => drop(words.remove(at)),
                _ => {}
            }
        }
        words
    };
    (proptest::collection::vec(0..26u8, 0..20), edit.clone(), edit)
        .prop_map(move |(base, a, b)| (lines(&base), lines(&edited(&base, &a)), lines(&edited(&base, &b))))
}

fn identity_and_symmetry(
    policy: &dyn Merge,
    base: &[u8],
    ours: &[u8],
    theirs: &[u8],
) -> Result<(), TestCaseError> {
    for (x, y) in [(base, ours), (base, theirs)] {
        let (first, second) = (merge(policy, x, x, y), merge(policy, x, y, x));
        prop_assert_eq!(merged(&first), Some(y), "who changed nothing has no say");
        prop_assert_eq!(merged(&second), Some(y));
    }
    let (one, other) = (merge(policy, base, ours, theirs), merge(policy, base, theirs, ours));
    prop_assert_eq!(merged(&one), merged(&other), "sides may change places");
    Ok(())
}

fn words(bytes: &[u8]) -> BTreeSet<&[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect()
}

/// What a side added is there; what it took away is not, unless the other side put it there again.
fn nothing_is_lost(base: &[u8], ours: &[u8], theirs: &[u8], result: &[u8]) -> Result<(), TestCaseError> {
    let (base, result) = (words(base), words(result));
    for (side, other) in [(ours, theirs), (theirs, ours)] {
        let (side, other) = (words(side), words(other));
        for added in side.difference(&base) {
            prop_assert!(result.contains(added), "{:?} was added and is gone", added);
        }
        for gone in base.difference(&side) {
            prop_assert!(!result.contains(gone) || other.contains(gone));
        }
        for stayed in base.intersection(&side).filter(|line| other.contains(*line)) {
            prop_assert!(result.contains(stayed), "{:?} stayed on both sides and is gone", stayed);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        if std::env::var("NYMOTE_LONG").is_ok_and(|long| long == "1") { 100_000 } else { 1_500 }
    ))]

    #[test]
    fn sets(base: BTreeSet<u8>, ours: BTreeSet<u8>, theirs: BTreeSet<u8>) {
        let (base, ours, theirs) = (set(&base), set(&ours), set(&theirs));
        let (base, ours, theirs) = (canonical(&base), canonical(&ours), canonical(&theirs));
        identity_and_symmetry(&LineSet, &base, &ours, &theirs)?;
        let result = merge(&LineSet, &base, &ours, &theirs);
        let result = merged(&result).expect("sets never conflict").to_vec();
        nothing_is_lost(&base, &ours, &theirs, &result)?;
    }

    #[test]
    fn counters(base in -1_000_000i64..1_000_000, ours in -1_000_000i64..1_000_000, theirs in -1_000_000i64..1_000_000) {
        let text = |number: i64| format!("{number}\n").into_bytes();
        identity_and_symmetry(&Counter, &text(base), &text(ours), &text(theirs))?;
        let result = merge(&Counter, &text(base), &text(ours), &text(theirs));
        prop_assert_eq!(merged(&result), Some(&text(ours + theirs - base)[..]));
    }

    #[test]
    fn texts((base, ours, theirs) in versions()) {
        identity_and_symmetry(&Text, &base, &ours, &theirs)?;
        if let Outcome::Merged(result) = merge(&Text, &base, &ours, &theirs) {
            let (base_words, result_words) = (words(&base), words(&result));
            for added in words(&ours).difference(&base_words).chain(words(&theirs).difference(&base_words)) {
                prop_assert!(result_words.contains(added), "{:?} was added and is gone", added);
            }
        }
    }

    #[test]
    fn keys_and_values(base: BTreeMap<u8, u8>, ours: BTreeMap<u8, u8>, theirs: BTreeMap<u8, u8>) {
        let small = |map: BTreeMap<u8, u8>| map.into_iter().map(|(key, value)| (key % 20, value % 4)).collect();
        let (base, ours, theirs): (BTreeMap<u8, u8>, BTreeMap<u8, u8>, BTreeMap<u8, u8>) =
            (small(base), small(ours), small(theirs));
        let policy = KeyValue::separated_by(b'=');
        identity_and_symmetry(&policy, &pairs(&base), &pairs(&ours), &pairs(&theirs))?;
        let result = merge(&policy, &pairs(&base), &pairs(&ours), &pairs(&theirs));
        let mut contradict = false;
        for key in 0..20 {
            let (before, our, their) = (base.get(&key), ours.get(&key), theirs.get(&key));
            contradict |= our != their && our != before && their != before;
        }
        prop_assert_eq!(merged(&result).is_none(), contradict, "a conflict exactly where both changed one key");
        if let Some(result) = merged(&result) {
            let expected: BTreeMap<u8, u8> = (0..20u8)
                .filter_map(|key| {
                    let (before, our, their) = (base.get(&key), ours.get(&key), theirs.get(&key));
                    Some((key, *if before == our { their } else { our }?))
                })
                .collect();
            prop_assert_eq!(result, &pairs(&expected)[..]);
        }
    }

    #[test]
    fn the_last_writer(base: Vec<u8>, ours: Vec<u8>, theirs: Vec<u8>) {
        // Who changed nothing is not asked: the store answers that itself. Both sides know of each other's time.
        let (one, other) = (merge(&LastWriter, &base, &ours, &theirs), merge(&LastWriter, &base, &theirs, &ours));
        prop_assert_eq!(&one, &other);
        let result = merged(&one).expect("never a conflict");
        prop_assert!(result == ours || result == theirs);
    }

    #[test]
    fn no_bytes_make_a_policy_panic(base: Option<Vec<u8>>, ours: Vec<u8>, theirs: Vec<u8>) {
        let path = TreePath::new("file").unwrap();
        let context = Context { path: &path, ours: None, theirs: None };
        let key_value = KeyValue::separated_by(b':');
        for policy in [&LineSet as &dyn Merge, &Counter, &Text, &key_value, &LastWriter] {
            policy.merge(base.as_deref(), &ours, &theirs, &context);
        }
    }
}

/// A set as the policy writes it.
fn canonical(bytes: &[u8]) -> Vec<u8> {
    words(bytes).into_iter().flat_map(|line| [line, b"\n"].concat()).collect()
}
