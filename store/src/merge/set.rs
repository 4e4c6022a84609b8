//! Sets of lines: flags, mailboxes, members.

use std::collections::BTreeSet;

use super::{Context, Merge, Outcome};

/// A file is a set of lines. What one side added is in, what one side removed is out; the result is sorted. Never a
/// conflict: adding and removing the same line at once cannot happen, for a line that was there cannot be added.
#[derive(Debug, Clone, Copy, Default)]
pub struct LineSet;

impl Merge for LineSet {
    fn merge(&self, base: Option<&[u8]>, ours: &[u8], theirs: &[u8], _: &Context<'_>) -> Outcome {
        let (base, ours, theirs) = (lines(base.unwrap_or_default()), lines(ours), lines(theirs));
        let stays =
            |line: &&&[u8]| !base.contains(**line) || (ours.contains(**line) && theirs.contains(**line));
        let merged: BTreeSet<&&[u8]> = ours.iter().chain(&theirs).filter(stays).collect();
        let mut out = Vec::new();
        for line in merged {
            out.extend_from_slice(line);
            out.push(b'\n');
        }
        Outcome::Merged(out)
    }

    fn name(&self) -> &str {
        "set of lines"
    }
}

fn lines(bytes: &[u8]) -> BTreeSet<&[u8]> {
    bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect()
}
