//! What FETCH wants to know of a message without reading all of it: its header and its structure, kept beside the
//! store's objects under the id of the message's blob. Content never changes under an id, so nothing here grows stale.

use crate::message;
use store::{IndexEdits, ObjectId, Store};

/// Header and structure of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// BODYSTRUCTURE as IMAP writes it.
    pub structure: Vec<u8>,
    /// The header with its blank line.
    pub header: Vec<u8>,
}

/// The derived table of heads.
pub(super) const TABLE: &str = "mail/heads";

impl Head {
    /// Computes them from a message.
    pub fn of(raw: &[u8]) -> Head {
        let tree = message::parse(raw);
        let mut structure = Vec::new();
        message::write_structure(&mut structure, raw, &tree, true);
        Head { structure, header: raw[..message::header_end(raw)].to_vec() }
    }

    /// The head that was kept for a message.
    pub fn read(store: &Store, blob: &ObjectId) -> store::Result<Option<Head>> {
        let value = store.index(TABLE)?.get(blob.0)?;
        Ok(value.as_deref().and_then(Head::decode))
    }

    /// Keeps it, where it is small enough; the others are computed each time they are asked for.
    pub(super) fn keep(&self, blob: &ObjectId, edits: &mut IndexEdits) {
        if self.structure.len() + self.header.len() + 4 <= VALUE_MAX {
            edits.put(blob.0, self.encode());
        }
    }

    fn encode(&self) -> Vec<u8> {
        let len = (self.structure.len() as u32).to_be_bytes();
        [&len[..], &self.structure, &self.header].concat()
    }

    fn decode(value: &[u8]) -> Option<Head> {
        let (len, rest) = value.split_first_chunk::<4>()?;
        let (structure, header) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        Some(Head { structure: structure.to_vec(), header: header.to_vec() })
    }
}

/// The longest value that the store's tables take.
const VALUE_MAX: usize = 8 << 10;
