//! Resource records: types, their data in wire form and as text.

pub mod data;
mod shaped;
pub mod svcb;
pub mod text;
pub mod types;

pub use types::RecordType;

use crate::name::Name;

/// The class Internet, the only one served.
pub const CLASS_IN: u16 = 1;
/// Class NONE of UPDATE (RFC 2136 section 2.4).
pub const CLASS_NONE: u16 = 254;
/// Class ANY of questions and UPDATE.
pub const CLASS_ANY: u16 = 255;

/// One record; the data holds no compressed names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The owner.
    pub name: Name,
    /// The type.
    pub rtype: RecordType,
    /// The class, or what UPDATE and EDNS make of it.
    pub class: u16,
    /// Time to live in seconds.
    pub ttl: u32,
    /// The data, uncompressed.
    pub data: Vec<u8>,
}

impl Record {
    /// One line of a master file.
    pub fn to_line(&self) -> String {
        format!("{} {} IN {} {}", self.name, self.ttl, self.rtype, text::to_text(self.rtype, &self.data))
    }
}
