//! Checking everything: that each object is what its id says, that nothing it names is missing, that every ref leads
//! somewhere.

use std::io::Read;
use std::sync::Arc;

use git_wire::{IdHasher, Kind, ObjectId};

use crate::core::{Core, IN_MEMORY_BYTES_MAX};
use crate::engine::{ObjectEntry, keys};
use crate::large::StreamReader;
use crate::object::{Commit, Mode, Tag, decode_tree};
use crate::{Error, Result, Store, zlib};

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Objects that were read and are right.
    pub objects: u64,
    /// Bytes of them, inflated.
    pub bytes: u64,
    /// Refs that were followed.
    pub refs: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// An object cannot be read, or is not what its id says.
    Object {
        /// The object.
        id: ObjectId,
        /// What is wrong with it.
        why: String,
    },
    /// An object names another one that is not there.
    Link {
        /// The object that names it.
        from: ObjectId,
        /// The object that is not there.
        to: ObjectId,
    },
    /// A ref names an object that is not there, or of a wrong kind.
    Ref {
        /// Full name.
        name: String,
        /// What it names.
        id: ObjectId,
    },
    /// A part of the index cannot be read.
    Index {
        /// What was found.
        why: String,
    },
}

/// Most problems that are listed; a device that is gone has more than anybody reads. Of objects that cannot be read
/// more are, for a repair puts each of them aside.
const PROBLEMS_MAX: usize = 1000;
const OBJECTS_MAX: usize = 100_000;

impl Store {
    /// Reads everything and checks it, while the store is used. Never changes anything.
    pub fn fsck(&self) -> Result<Checked> {
        let core = self.core();
        let mut checked = Checked::default();
        let mut from = b"o".to_vec();
        let end = keys::after_prefix(b"o");
        loop {
            let page = match core.engine.scan(&from, &end, 256) {
                Ok(page) => page,
                Err(Error::Corrupt { what }) => {
                    // Without this block it is not known which objects come next, and refs will miss theirs.
                    checked.note(Problem::Index { why: what });
                    break;
                }
                Err(error) => return Err(error),
            };
            let Some((last, _)) = page.last() else { break };
            from.clone_from(last);
            from.push(0);
            for (key, value) in &page {
                let id =
                    ObjectId::from_bytes(&key[1..]).ok_or_else(|| Error::corrupt("a key of the index"))?;
                check_object(core, &id, value, &mut checked)?;
            }
        }
        check_tables(core, &mut checked)?;
        let refs = core.refs.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        for (name, state) in refs {
            checked.refs += 1;
            let kind = core.object_entry(&state.id).ok().flatten().map(|entry| entry.kind);
            let right = if name.starts_with(crate::refs::HEADS) {
                kind == Some(Kind::Commit)
            } else {
                kind.is_some()
            };
            if !right {
                checked.note(Problem::Ref { name, id: state.id });
            }
        }
        Ok(checked)
    }
}

impl Checked {
    fn note(&mut self, problem: Problem) {
        let most = if matches!(problem, Problem::Object { .. }) { OBJECTS_MAX } else { PROBLEMS_MAX };
        if self.problems.len() < most {
            self.problems.push(problem);
        }
    }
}

/// Reads what is in the index besides objects.
fn check_tables(core: &Core, checked: &mut Checked) -> Result<()> {
    let read = core.each(b"", |_, _| Ok(()));
    match read {
        Err(Error::Corrupt { what }) => checked.note(Problem::Index { why: what }),
        other => other?,
    }
    Ok(())
}

fn check_object(core: &Arc<Core>, id: &ObjectId, value: &[u8], checked: &mut Checked) -> Result<()> {
    let entry = match ObjectEntry::decode(value) {
        Ok(entry) => entry,
        Err(error) => {
            checked.note(Problem::Object { id: *id, why: error.to_string() });
            return Ok(());
        }
    };
    if entry.quarantine.is_some_and(|number| core.is_unpublished(number)) {
        return Ok(());
    }
    match links(core, id, &entry) {
        Ok(links) => {
            checked.objects += 1;
            checked.bytes += entry.size_bytes;
            for to in links {
                if core.object_entry(&to)?.is_none() {
                    checked.note(Problem::Link { from: *id, to });
                }
            }
        }
        Err(error @ (Error::Corrupt { .. } | Error::Malformed(_) | Error::Missing(_) | Error::Device(_))) => {
            checked.note(Problem::Object { id: *id, why: error.to_string() });
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Reads an object from the device, checks that it is what its id says, and gives what it names.
fn links(core: &Arc<Core>, id: &ObjectId, entry: &ObjectEntry) -> Result<Vec<ObjectId>> {
    if entry.size_bytes > IN_MEMORY_BYTES_MAX && entry.delta.is_none() {
        return check_large(core, id, entry).map(|()| Vec::new());
    }
    let content = match entry.delta {
        // The base may come from the cache: it is checked on its own turn.
        Some(_) => core.content(id, entry, &core.cache)?,
        None => zlib::inflate(&core.stream(entry)?, entry.size_bytes)?.into(),
    };
    if ObjectId::of(entry.kind, &content)? != *id {
        return Err(Error::corrupt("the content is not what the id says"));
    }
    Ok(match entry.kind {
        Kind::Blob => Vec::new(),
        Kind::Tree => {
            let entries = decode_tree(&content)?.into_iter();
            entries.filter(|entry| entry.mode != Mode::Submodule).map(|entry| entry.id).collect()
        }
        Kind::Commit => {
            let commit = Commit::parse(&content)?;
            commit.parents.iter().map(|parent| parent.0).chain([commit.tree]).collect()
        }
        Kind::Tag => vec![Tag::parse(&content)?.target],
    })
}

fn check_large(core: &Arc<Core>, id: &ObjectId, entry: &ObjectEntry) -> Result<()> {
    let mut hasher = IdHasher::new(entry.kind, entry.size_bytes);
    let mut stream = flate2::read::ZlibDecoder::new(StreamReader::new(core.clone(), *id, entry.clone()));
    let mut buffer = vec![0; 128 << 10];
    loop {
        let len = stream.read(&mut buffer).map_err(|error| Error::corrupt(error.to_string()))?;
        if len == 0 {
            break;
        }
        hasher.update(&buffer[..len]);
    }
    if hasher.finish()? == *id { Ok(()) } else { Err(Error::corrupt("the content is not what the id says")) }
}
