//! Counters.

use super::{Context, Merge, Outcome};

/// A file is one decimal number; both sides' changes to it are added up. What is not a number conflicts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counter;

impl Merge for Counter {
    fn merge(&self, base: Option<&[u8]>, ours: &[u8], theirs: &[u8], _: &Context<'_>) -> Outcome {
        let merged = base.map_or(Some(0), number).zip(number(ours)).zip(number(theirs));
        let sum = merged.and_then(|((base, ours), theirs)| ours.checked_add(theirs)?.checked_sub(base));
        match sum {
            Some(sum) => Outcome::Merged(format!("{sum}\n").into_bytes()),
            None => Outcome::Conflict { kept: ours.to_vec(), why: "not a number, or beyond 128 bits".into() },
        }
    }

    fn adds_up(&self) -> bool {
        true
    }

    fn name(&self) -> &str {
        "counter"
    }
}

fn number(bytes: &[u8]) -> Option<i128> {
    std::str::from_utf8(bytes).ok()?.trim().parse().ok()
}
