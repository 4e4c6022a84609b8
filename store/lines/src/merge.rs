//! Three-way merges of iCalendar and vCard.
//!
//! Both are merged piece by piece: components by what identifies them (UID and RECURRENCE-ID, TZID), properties by name,
//! and those that may stand several times by address, PID, ALTID or value; names and addresses component by component; a
//! time zone's rules as one. A piece that one side changed takes that
//! side's bytes as they are; what neither side changed keeps the bytes of the base.
//!
//! Laws, tested as properties: `merge(x, x, y) = y` byte for byte; swapping the sides gives the same object up to the
//! order of lines, parameters' order included; every property that a side added or changed is in the result or in a
//! conflict; the result has no structural fault.
//!
//! **Ties.** When both sides changed one piece differently, the side with the higher SEQUENCE stays in the object, then
//! the later LAST-MODIFIED or REV, then the later DTSTAMP, then the greater bytes; a change beats a deletion. The
//! conflict holds both sides. SEQUENCE, DTSTAMP, LAST-MODIFIED, REV, ACKNOWLEDGED and X-MOZ-LASTACK take the greater value, and PRODID,
//! CREATED that of the side that stays, without a conflict: they describe the writing, not the thing.

mod component;
mod identity;
mod lists;
mod parameters;
mod units;

use crate::{Document, Limits, TooLarge};
use component::Merger;

/// The result of a merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// A valid object, ours where nothing else is called for.
    pub bytes: Vec<u8>,
    /// What both sides changed, each with both sides' bytes. Empty when the merge is clean.
    pub conflicts: Vec<Conflict>,
}

/// A piece that both sides changed, each in its own way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Where: `VCALENDAR/VEVENT uid=x recurrence-id=y`, for people.
    pub component: String,
    /// The property in upper case, `DTSTART` for the whole time span; `None` when whole components conflict.
    pub property: Option<String>,
    /// The lines in the common ancestor; `None` when it had none.
    pub base: Option<Vec<u8>>,
    /// The lines on our side; `None` when we removed them.
    pub ours: Option<Vec<u8>>,
    /// The lines on their side; `None` when they removed them.
    pub theirs: Option<Vec<u8>>,
    /// Whose lines are in the result.
    pub kept: Side,
}

/// One of the two sides of a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one merged into.
    Ours,
    /// The other one.
    Theirs,
}

/// Why two documents cannot be merged piece by piece; the caller keeps both.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotMerged {
    /// A document exceeds a limit.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// BEGIN and END of a document do not pair up, or it has no component.
    #[error("the {0} has no whole component, or its BEGIN and END do not pair up")]
    Broken(&'static str),
}

/// Which of the two formats, for what identifies a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    ICalendar,
    VCard,
}

/// Merges two iCalendar objects (RFC 5545) that go back to `base`; without one, both were made independently.
pub fn icalendar(
    base: Option<&[u8]>,
    ours: &[u8],
    theirs: &[u8],
    limits: &Limits,
) -> Result<Merged, NotMerged> {
    merge(Format::ICalendar, base, ours, theirs, limits)
}

/// Merges two vCards (RFC 6350, RFC 2426, vCard 2.1) that go back to `base`; without one, both were made independently.
pub fn vcard(base: Option<&[u8]>, ours: &[u8], theirs: &[u8], limits: &Limits) -> Result<Merged, NotMerged> {
    merge(Format::VCard, base, ours, theirs, limits)
}

fn merge(
    format: Format,
    base: Option<&[u8]>,
    ours: &[u8],
    theirs: &[u8],
    limits: &Limits,
) -> Result<Merged, NotMerged> {
    if ours == theirs || base == Some(theirs) {
        return Ok(Merged { bytes: ours.to_vec(), conflicts: Vec::new() });
    }
    if base == Some(ours) {
        return Ok(Merged { bytes: theirs.to_vec(), conflicts: Vec::new() });
    }
    let base = base.map(|bytes| Document::parse(bytes, limits)).transpose()?;
    let (ours, theirs) = (Document::parse(ours, limits)?, Document::parse(theirs, limits)?);
    // A broken ancestor helps nobody; the merge goes on as if there were none.
    let base = base.filter(is_whole);
    let base = base.unwrap_or(Document::parse(b"", limits)?);
    for (document, which) in [(&ours, "our side"), (&theirs, "their side")] {
        if !is_whole(document) {
            return Err(NotMerged::Broken(which));
        }
    }
    let merged = Merger::new(format, &base, &ours, &theirs).merge();
    let again = Document::parse(&merged.bytes, limits)?;
    if is_whole(&again) { Ok(merged) } else { Err(NotMerged::Broken("result")) }
}

fn is_whole(document: &Document) -> bool {
    !document.roots().is_empty() && !document.faults().iter().any(|fault| fault.is_structural())
}

impl Side {
    /// The other one.
    pub fn other(self) -> Side {
        match self {
            Side::Ours => Side::Theirs,
            Side::Theirs => Side::Ours,
        }
    }
}
