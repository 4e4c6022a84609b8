//! The later one wins.

use super::{Context, Merge, Outcome};

/// The version that was committed later stands; the other one is in the history. Of two made in the same second, the
/// one that is greater byte by byte: all stores must choose alike.
#[derive(Debug, Clone, Copy, Default)]
pub struct LastWriter;

impl Merge for LastWriter {
    fn merge(&self, _: Option<&[u8]>, ours: &[u8], theirs: &[u8], context: &Context<'_>) -> Outcome {
        let seconds = |by: Option<&crate::Signature>| by.map_or(i64::MIN, |by| by.seconds);
        let (our_rank, their_rank) = ((seconds(context.ours), ours), (seconds(context.theirs), theirs));
        Outcome::Merged(if our_rank >= their_rank { ours } else { theirs }.to_vec())
    }

    fn on_removal(&self) -> super::Removal {
        super::Removal::Keep
    }

    fn name(&self) -> &str {
        "last writer"
    }
}
