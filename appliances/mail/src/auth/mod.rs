//! Who really wrote it: SPF, DKIM, DMARC and ARC of mail that comes (RFC 7208, 6376, 7489, 8617), signatures of mail
//! that goes. mail-auth does the cryptography; its types stay in this room.

mod check;
mod keys;
mod records;
mod results;

pub use check::{Checker, Source, Verdict};
pub use keys::Keys;
