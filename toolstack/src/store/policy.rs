//! How the commands merge what appliances keep: calendars and cards by what they say, everything else as text.

use content_lines::merge::{Merged, NotMerged, icalendar, vcard};
use content_lines::{Limits, TooLarge};
use store::Options;
use store::merge::{Context, Merge, Outcome, Rule, Text};

/// A store's options with the typed merges.
pub fn options() -> Options {
    // A clone looks each object up a few times; this much keeps the index of a household in memory.
    Options::new()
        .cache_bytes(24 << 20)
        .merge(Rule::suffix(".ics"), Typed(Format::Calendar))
        .merge(Rule::suffix(".vcf"), Typed(Format::Card))
}

struct Typed(Format);

#[derive(Clone, Copy)]
enum Format {
    Calendar,
    Card,
}

impl Merge for Typed {
    fn merge(&self, base: Option<&[u8]>, ours: &[u8], theirs: &[u8], context: &Context<'_>) -> Outcome {
        let limits = Limits::default();
        let merged = match self.0 {
            Format::Calendar => icalendar(base, ours, theirs, &limits),
            Format::Card => vcard(base, ours, theirs, &limits),
        };
        match merged {
            Ok(Merged { bytes, conflicts }) if conflicts.is_empty() => Outcome::Merged(bytes),
            Ok(Merged { bytes, conflicts }) => {
                let one = |one: &content_lines::merge::Conflict| {
                    format!("{} of {}", one.property.as_deref().unwrap_or("all"), one.component)
                };
                let what: Vec<String> = conflicts.iter().take(5).map(one).collect();
                Outcome::Conflict { kept: bytes, why: format!("both sides changed {}", what.join(", ")) }
            }
            Err(NotMerged::Broken(_) | NotMerged::TooLarge(TooLarge::Document(..) | TooLarge::Lines(_))) => {
                Text.merge(base, ours, theirs, context)
            }
            Err(error) => Outcome::Conflict { kept: ours.to_vec(), why: error.to_string() },
        }
    }

    fn name(&self) -> &str {
        match self.0 {
            Format::Calendar => "icalendar",
            Format::Card => "vcard",
        }
    }
}
