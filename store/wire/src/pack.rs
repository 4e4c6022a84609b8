//! Packs (gitformat-pack): many objects in one stream.

mod inflate;
mod large;
mod read;
mod resolve;
mod shape;
mod write;

pub use inflate::{InflateError, inflate};
pub use read::{EntryHeader, PackError, PackReader};
pub use resolve::{Checked, Receiver, receive};
pub use write::{PackWriter, deflate};

use crate::Kind;

/// The numbers of kinds in a pack.
fn number(kind: Kind) -> u8 {
    match kind {
        Kind::Commit => 1,
        Kind::Tree => 2,
        Kind::Blob => 3,
        Kind::Tag => 4,
    }
}

fn kind(number: u8) -> Option<Kind> {
    match number {
        1 => Some(Kind::Commit),
        2 => Some(Kind::Tree),
        3 => Some(Kind::Blob),
        4 => Some(Kind::Tag),
        _ => None,
    }
}

const OFS_DELTA: u8 = 6;
const REF_DELTA: u8 = 7;
