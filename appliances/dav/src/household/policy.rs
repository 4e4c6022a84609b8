//! How calendar objects and cards are merged when two sides changed one: component by component, property by property
//! (`content-lines`). Pushes, replicas and offline devices all come through here.

use content_lines::{Limits, merge};
use store::merge::{Context, Merge, Outcome, Rule};

/// Merges iCalendar objects.
struct Calendars;
/// Merges vCards.
struct Cards;

/// Store options that know calendars and cards.
pub fn with_policies(options: store::Options) -> store::Options {
    options.merge(Rule::suffix(".ics"), Calendars).merge(Rule::suffix(".vcf"), Cards)
}

impl Merge for Calendars {
    fn merge(&self, base: Option<&[u8]>, ours: &[u8], theirs: &[u8], _: &Context<'_>) -> Outcome {
        outcome(merge::icalendar(base, ours, theirs, &Limits::default()), ours)
    }

    fn name(&self) -> &str {
        "icalendar"
    }
}

impl Merge for Cards {
    fn merge(&self, base: Option<&[u8]>, ours: &[u8], theirs: &[u8], _: &Context<'_>) -> Outcome {
        outcome(merge::vcard(base, ours, theirs, &Limits::default()), ours)
    }

    fn name(&self) -> &str {
        "vcard"
    }
}

fn outcome(merged: Result<merge::Merged, merge::NotMerged>, ours: &[u8]) -> Outcome {
    match merged {
        Ok(merged) if merged.conflicts.is_empty() => Outcome::Merged(merged.bytes),
        Ok(merged) => {
            let what = |c: &merge::Conflict| c.property.clone().unwrap_or_else(|| c.component.clone());
            let mut names: Vec<String> = merged.conflicts.iter().map(what).collect();
            names.dedup();
            Outcome::Conflict { kept: merged.bytes, why: format!("both sides changed {}", names.join(", ")) }
        }
        Err(error) => Outcome::Conflict { kept: ours.to_vec(), why: error.to_string() },
    }
}
