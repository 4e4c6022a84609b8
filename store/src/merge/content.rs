//! Calendars and address cards, merged by what they say: component by component, property by property (`content-lines`).
//! Pushes, replicas and devices that were away all come through here.

use content_lines::merge::{Conflict, Merged, NotMerged, icalendar, vcard};
use content_lines::{Limits, TooLarge};

use super::{Context, Merge, Outcome, Rule, Text};
use crate::Options;

/// Merges iCalendar objects.
pub struct Calendar;

/// Merges vCards.
pub struct Card;

/// Options that know calendars (`.ics`) and cards (`.vcf`), wherever they lie.
pub fn calendars_and_cards(options: Options) -> Options {
    options.merge(Rule::suffix(".ics"), Calendar).merge(Rule::suffix(".vcf"), Card)
}

impl Merge for Calendar {
    fn merge(&self, base: Option<&[u8]>, ours: &[u8], theirs: &[u8], context: &Context<'_>) -> Outcome {
        outcome(icalendar(base, ours, theirs, &Limits::default()), base, ours, theirs, context)
    }

    fn name(&self) -> &str {
        "icalendar"
    }
}

impl Merge for Card {
    fn merge(&self, base: Option<&[u8]>, ours: &[u8], theirs: &[u8], context: &Context<'_>) -> Outcome {
        outcome(vcard(base, ours, theirs, &Limits::default()), base, ours, theirs, context)
    }

    fn name(&self) -> &str {
        "vcard"
    }
}

fn outcome(
    merged: Result<Merged, NotMerged>,
    base: Option<&[u8]>,
    ours: &[u8],
    theirs: &[u8],
    context: &Context<'_>,
) -> Outcome {
    match merged {
        Ok(Merged { bytes, conflicts }) if conflicts.is_empty() => Outcome::Merged(bytes),
        Ok(Merged { bytes, conflicts }) => {
            Outcome::Conflict { kept: bytes, why: format!("both sides changed {}", in_words(&conflicts)) }
        }
        // What does not even have the form is still lines of text.
        Err(NotMerged::Broken(_) | NotMerged::TooLarge(TooLarge::Document(..) | TooLarge::Lines(_))) => {
            Text.merge(base, ours, theirs, context)
        }
        Err(error) => Outcome::Conflict { kept: ours.to_vec(), why: error.to_string() },
    }
}

fn in_words(conflicts: &[Conflict]) -> String {
    let one = |one: &Conflict| format!("{} of {}", one.property.as_deref().unwrap_or("all"), one.component);
    let mut what: Vec<String> = conflicts.iter().map(one).collect();
    what.dedup();
    let more = what.len().saturating_sub(SHOWN_MAX);
    what.truncate(SHOWN_MAX);
    let what = what.join(", ");
    if more > 0 { format!("{what} and {more} more") } else { what }
}

const SHOWN_MAX: usize = 5;
