//! Blobs made before there is a transaction.

use git_wire::{Kind, ObjectId};

use crate::engine::{NewObject, Stream};
use crate::{Result, zlib};

/// A file's content, hashed and deflated. Making one needs no store, so whoever brings the content does it on a thread of its
/// own, several at a time, and the transaction has nothing left to compute. The content itself is not kept.
pub struct Blob(NewObject);

impl Blob {
    /// Hashes and deflates.
    ///
    /// # Errors
    /// `Malformed`: the content is one half of an attack on SHA-1.
    pub fn new(content: &[u8]) -> Result<Blob> {
        let id = ObjectId::of(Kind::Blob, content)?;
        let stream = Stream::Bytes(zlib::deflate(content));
        Ok(Blob(NewObject { id, kind: Kind::Blob, size_bytes: content.len() as u64, delta: None, stream }))
    }

    /// Its id.
    pub fn id(&self) -> ObjectId {
        self.0.id
    }

    /// The content's size.
    pub fn size_bytes(&self) -> u64 {
        self.0.size_bytes
    }

    pub(crate) fn into_object(self) -> NewObject {
        self.0
    }
}
