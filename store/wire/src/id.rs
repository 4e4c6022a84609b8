//! Object ids: the SHA-1 of an object's header and content, with collision attacks noticed.

use std::fmt;
use std::str::FromStr;

use crate::Kind;

/// An object's id: SHA-1 over `"<kind> <size>\0"` and the content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ObjectId(pub [u8; 20]);

/// Forty hexadecimal digits were expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an object id: forty hexadecimal digits are wanted")]
pub struct NotAnId;

/// The content was made to collide with another under SHA-1 (a "shattered" attack). Never store it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the content shows a SHA-1 collision attack; it is refused")]
pub struct CollisionAttack;

/// Computes an id while the content streams by.
pub struct IdHasher(sha1dc::Hasher);

impl ObjectId {
    /// The id that stands for "no object" in ref updates.
    pub const ZERO: ObjectId = ObjectId([0; 20]);

    /// The id of an object with this content.
    pub fn of(kind: Kind, content: &[u8]) -> Result<ObjectId, CollisionAttack> {
        let mut hasher = IdHasher::new(kind, content.len() as u64);
        hasher.update(content);
        hasher.finish()
    }

    /// Reads forty hexadecimal digits of either case.
    pub fn from_hex(hex: &[u8]) -> Result<ObjectId, NotAnId> {
        if hex.len() != 40 {
            return Err(NotAnId);
        }
        let mut id = [0; 20];
        for (byte, pair) in id.iter_mut().zip(hex.chunks_exact(2)) {
            let high = (pair[0] as char).to_digit(16).ok_or(NotAnId)?;
            let low = (pair[1] as char).to_digit(16).ok_or(NotAnId)?;
            *byte = (high * 16 + low) as u8;
        }
        Ok(ObjectId(id))
    }

    /// Takes twenty raw bytes; `None` for any other length.
    pub fn from_bytes(raw: &[u8]) -> Option<ObjectId> {
        raw.try_into().ok().map(ObjectId)
    }

    /// Whether this is [`ObjectId::ZERO`].
    pub fn is_zero(&self) -> bool {
        *self == ObjectId::ZERO
    }

    /// The first ten digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..10].to_owned()
    }
}

impl IdHasher {
    /// Begins an object of `kind` whose content will be `size_bytes` long.
    pub fn new(kind: Kind, size_bytes: u64) -> IdHasher {
        let mut hasher = sha1dc::Hasher::new();
        hasher.update(format!("{kind} {size_bytes}\0").as_bytes());
        IdHasher(hasher)
    }

    /// Takes the next bytes of the content.
    pub fn update(&mut self, content: &[u8]) {
        self.0.update(content);
    }

    /// The id, unless the content is an attack.
    pub fn finish(self) -> Result<ObjectId, CollisionAttack> {
        let digest = self.0.finalize().map_err(|_| CollisionAttack)?;
        Ok(ObjectId(digest.into()))
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ObjectId {
    type Err = NotAnId;

    fn from_str(hex: &str) -> Result<ObjectId, NotAnId> {
        ObjectId::from_hex(hex.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_blob_and_tree_have_gits_ids() {
        let blob = ObjectId::of(Kind::Blob, b"").unwrap();
        assert_eq!(blob.to_string(), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        let tree = ObjectId::of(Kind::Tree, b"").unwrap();
        assert_eq!(tree.to_string(), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
        assert_eq!("4B825DC642CB6EB9A060E54BF8D69288FBEE4904".parse(), Ok(tree));
    }

    /// One half of the first chosen-prefix collision (Leurent and Peyrin, https://sha-mbles.github.io). No pair is known that
    /// collides behind an object's header, so this one is hashed without.
    #[test]
    fn an_attack_is_noticed() {
        let hex = include_str!("../tests/data/sha-mbles-1.hex").replace('\n', "");
        let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let message: Vec<u8> = (0..hex.len()).step_by(2).map(digits).collect();
        let mut hasher = IdHasher(sha1dc::Hasher::new());
        hasher.update(&message);
        assert_eq!(hasher.finish(), Err(CollisionAttack));
        assert!(ObjectId::of(Kind::Blob, &message).is_ok());
    }

    #[test]
    fn wrong_digits_are_no_id() {
        assert_eq!(ObjectId::from_hex(b"4b825d"), Err(NotAnId));
        assert_eq!(ObjectId::from_hex(&[b'g'; 40]), Err(NotAnId));
        assert_eq!(ObjectId::from_hex(&[0xff; 40]), Err(NotAnId));
    }
}
