//! Annotated tags.

use git_wire::{Kind, ObjectId};

use super::Signature;
use super::commit::{find, header, hex};
use crate::{Error, Result};

/// An annotated tag: a name for another object, with tagger and message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// What it names.
    pub target: ObjectId,
    /// What kind of object that is.
    pub kind: Kind,
    /// The tag's own name.
    pub name: String,
    /// Who made it; very old tags do not say.
    pub tagger: Option<Signature>,
    /// What it says.
    pub message: String,
}

impl Tag {
    /// Reads a tag object.
    pub fn parse(bytes: &[u8]) -> Result<Tag> {
        let mut rest = bytes;
        let target = header(&mut rest, b"object ").and_then(hex);
        let kind = header(&mut rest, b"type ").and_then(|word| Kind::from_word(word).ok());
        let name = header(&mut rest, b"tag ");
        let (Some(target), Some(kind), Some(name)) = (target, kind, name) else {
            return Err(Error::Malformed("a tag without object, type and name".into()));
        };
        let tagger = header(&mut rest, b"tagger ").map(Signature::parse).transpose()?;
        let message = find(rest, b"\n\n").map_or(&b""[..], |at| &rest[at + 2..]);
        let message = rest.strip_prefix(b"\n").unwrap_or(message);
        Ok(Tag {
            target,
            kind,
            name: String::from_utf8_lossy(name).into_owned(),
            tagger,
            message: String::from_utf8_lossy(message).into_owned(),
        })
    }

    /// Writes a tag object.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!("object {}\ntype {}\ntag {}\n", self.target, self.kind, self.name);
        if let Some(tagger) = &self.tagger {
            text.push_str(&format!("tagger {tagger}\n"));
        }
        text.push('\n');
        text.push_str(&self.message);
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Author;

    #[test]
    fn tags_come_back() {
        let tag = Tag {
            target: ObjectId([9; 20]),
            kind: Kind::Commit,
            name: "v1".into(),
            tagger: Some(Author::new("A", "a@b").at(5, 60).signature(std::time::UNIX_EPOCH)),
            message: "first\n".into(),
        };
        assert_eq!(Tag::parse(&tag.encode()).unwrap(), tag);
    }
}
