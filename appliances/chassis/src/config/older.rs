//! Data that went back: a note on the configuration's branch, so that an appliance which gave out numbers since then (mail's
//! UIDs) does not give them to something else.

use store::{Author, Store};

/// The file of the note.
pub(crate) const OLDER: &str = "older";

/// Notes in a store which stands still that it, or its data, was taken back to how it was earlier. The appliance that starts
/// on it next takes the note away when it is ready ([`crate::Chassis::is_older`]).
///
/// # Errors
/// When the store cannot be written.
pub fn note_older(store: &Store, why: &str) -> store::Result<()> {
    let mut change = store.branch(super::files::BRANCH)?.begin()?;
    change.put(OLDER, format!("{why}\n"))?;
    change.commit(Author::new("nymote", "nymote@localhost"), "The data is older than what was given out")?;
    Ok(())
}
