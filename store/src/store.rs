//! The store itself: opening it, its branches, tags and tables.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use git_wire::{Kind, ObjectId};

use crate::committer;
use crate::core::Core;
use crate::engine::{Engine, keys};
use crate::object::{CommitId, Tag};
use crate::refs::{HEADS, TAGS, full};
use crate::{Author, Branch, Device, Durable, Error, FileDevice, Index, Options, Result, Snapshot};

/// An open store. A cheap handle: clone it freely, use it from any thread. The last clone, branch or snapshot that is
/// dropped closes the store.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    core: Arc<Core>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Makes an empty store in a new file, or on a block device, whatever was there.
    pub fn create_path(path: impl AsRef<Path>, options: Options) -> Result<Store> {
        Store::create(FileDevice::create(path)?, options)
    }

    /// Opens the store in a file or on a block device.
    pub fn open_path(path: impl AsRef<Path>, options: Options) -> Result<Store> {
        Store::open(FileDevice::open(path)?, options)
    }

    /// Makes an empty store on a device, whatever was there.
    pub fn create(device: impl Device + 'static, options: Options) -> Result<Store> {
        let engine = Engine::create(Box::new(device), options.segment_bytes, options.cache_bytes / 2)?;
        Store::on(engine, options)
    }

    /// Opens the store on a device. Reads the end of its log, which is bounded; nothing else.
    pub fn open(device: impl Device + 'static, options: Options) -> Result<Store> {
        Store::on(Engine::open(Box::new(device), options.cache_bytes / 2)?, options)
    }

    pub(crate) fn on(engine: Engine, options: Options) -> Result<Store> {
        let core = Arc::new(Core::new(engine, options)?);
        let writer = Mutex::new(Some(committer::start(core.clone())?));
        Ok(Store { shared: Arc::new(Shared { core, writer }) })
    }

    /// A branch, whether or not it has a commit yet.
    pub fn branch(&self, name: impl AsRef<str>) -> Result<Branch> {
        Ok(Branch::new(self.clone(), full(HEADS, name.as_ref())?))
    }

    /// Names and heads of the branches that have commits, in order.
    pub fn branches(&self) -> Vec<(String, CommitId)> {
        let refs = self.named(HEADS);
        refs.into_iter().map(|(name, id)| (name, CommitId(id))).collect()
    }

    /// Names and targets of the tags, in order. An annotated tag's target is a tag object.
    pub fn tags(&self) -> Vec<(String, ObjectId)> {
        self.named(TAGS)
    }

    /// Makes a branch that starts at a commit. Fails when there is one of that name.
    pub fn create_branch(&self, name: impl AsRef<str>, at: CommitId) -> Result<Branch> {
        let branch = self.branch(name)?;
        self.core().commit(at)?;
        let name = branch.full_name().to_owned();
        self.core().write(move |group| {
            group.refuse_unless_free(&name)?;
            group.require(at.0)?;
            group.move_ref(&name, Some(at.0));
            Ok(())
        })?;
        Ok(branch)
    }

    /// Forgets a branch's name. Its commits stay until the next collection.
    pub fn delete_branch(&self, name: impl AsRef<str>) -> Result<()> {
        self.delete_ref(full(HEADS, name.as_ref())?)
    }

    /// Tags a commit: by name only, or with a message by an annotated tag. Fails when there is one of that name.
    pub fn tag(
        &self,
        name: impl AsRef<str>,
        at: CommitId,
        says: Option<(Author, &str)>,
    ) -> Result<Durable<ObjectId>> {
        let short = name.as_ref().to_owned();
        let name = full(TAGS, &short)?;
        self.core().commit(at)?;
        let tag = says.map(|(author, message)| Tag {
            target: at.0,
            kind: Kind::Commit,
            name: short,
            tagger: Some(author.signature((self.core().options.clock)())),
            message: message.replace('\0', ""),
        });
        let written = self.core().write(move |group| {
            group.refuse_unless_free(&name)?;
            group.require(at.0)?;
            let id = match tag {
                Some(tag) => group.staging.put(Kind::Tag, tag.encode())?,
                None => at.0,
            };
            group.move_ref(&name, Some(id));
            Ok(id)
        });
        written.map(Durable::flushed)
    }

    /// Forgets a tag's name.
    pub fn delete_tag(&self, name: impl AsRef<str>) -> Result<()> {
        self.delete_ref(full(TAGS, name.as_ref())?)
    }

    /// The annotated tag object behind an id.
    pub fn tag_object(&self, id: ObjectId) -> Result<Tag> {
        Tag::parse(&self.core().typed(&id, Kind::Tag)?)
    }

    /// The commit behind an id.
    pub fn commit(&self, id: CommitId) -> Result<crate::Commit> {
        self.core().commit(id)
    }

    /// Finds a commit by branch, tag, or the hexadecimal digits of its id, of which the first four suffice if no other
    /// commit's begin so.
    pub fn resolve(&self, name: &str) -> Result<CommitId> {
        let named = [format!("{HEADS}{name}"), format!("{TAGS}{name}"), name.to_owned()];
        let found = named.iter().find_map(|name| self.core().reference(name)).map(|state| state.id);
        let mut id = match found.or_else(|| name.parse().ok()) {
            Some(id) => id,
            None if (4..40).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                self.commit_by_digits(name)?
            }
            None => return Err(Error::not_found(format!("branch, tag or commit {name:?}"))),
        };
        for _ in 0..8 {
            match self.core().object(&id).map_err(|_| Error::not_found(format!("commit {name:?}")))? {
                (Kind::Commit, _) => return Ok(CommitId(id)),
                (Kind::Tag, content) => id = Tag::parse(&content)?.target,
                _ => break,
            }
        }
        Err(Error::not_found(format!("commit {name:?}")))
    }

    fn commit_by_digits(&self, digits: &str) -> Result<ObjectId> {
        let bound = |fill: &str| format!("{digits}{}", fill.repeat(40 - digits.len())).parse::<ObjectId>();
        let (Ok(first), Ok(last)) = (bound("0"), bound("f")) else { return Err(Error::not_found(digits)) };
        let (mut from, mut end) = (keys::object(&first), keys::object(&last));
        end.push(0);
        let mut found = None;
        loop {
            let page = self.core().engine.scan(&from, &end, 256)?;
            let Some((last, _)) = page.last() else { break };
            from.clone_from(last);
            from.push(0);
            for (key, _) in &page {
                let Some(id) = ObjectId::from_bytes(&key[1..]) else { continue };
                let entry = self.core().object_entry(&id)?;
                if entry.is_none_or(|entry| entry.kind != Kind::Commit) {
                    continue;
                }
                if found.replace(id).is_some() {
                    return Err(Error::not_found(format!(
                        "single commit {digits:?}; give more of its digits"
                    )));
                }
            }
        }
        found.ok_or_else(|| Error::not_found(format!("branch, tag or commit {digits:?}")))
    }

    /// The files as of a commit.
    pub fn snapshot_at(&self, commit: CommitId) -> Result<Snapshot> {
        let _unswept = self.core().sweeping.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let tree = self.core().commit(commit)?.tree;
        Ok(Snapshot::new(self.clone(), Some(commit), Some(tree)))
    }

    /// The content of a blob by its id, as [`Entry`](crate::Entry) tells it; `None` when it is no longer kept. Shorter than
    /// by path for who has the id.
    pub fn blob(&self, id: &ObjectId) -> Result<Option<bytes::Bytes>> {
        match self.core().typed(id, Kind::Blob) {
            Ok(content) => Ok(Some(content)),
            Err(Error::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The same of a blob that is read as one of many and not again soon: it does not push others out of the cache.
    pub fn blob_once(&self, id: &ObjectId) -> Result<Option<bytes::Bytes>> {
        match self.core().object_once(id) {
            Ok((Kind::Blob, content)) => Ok(Some(content)),
            Ok((kind, _)) => Err(Error::Malformed(format!("object {id} is a {kind}, not a blob"))),
            Err(Error::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The beginning of a blob, as far as is `enough` and perhaps farther; `None` when it is no longer kept. It costs what it
    /// gives, not what the whole would. Like [`Store::blob_once`] it leaves the cache alone.
    pub fn blob_start(&self, id: &ObjectId, enough: &dyn Fn(&[u8]) -> bool) -> Result<Option<bytes::Bytes>> {
        match self.core().start(id, enough) {
            Ok((Kind::Blob, content)) => Ok(Some(content)),
            Ok((kind, _)) => Err(Error::Malformed(format!("object {id} is a {kind}, not a blob"))),
            Err(Error::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A derived table. It exists as soon as something is in it.
    pub fn index(&self, name: impl AsRef<str>) -> Result<Index> {
        Index::new(self.clone(), name.as_ref())
    }

    /// Takes a device that was made larger into use, up to so many bytes; lets a file grow now rather than later. A
    /// file, and a device of which nothing is taken in advance, grow by themselves as they fill.
    pub fn grow(&self, bytes: u64) -> Result<()> {
        self.core().engine.grow_to(bytes)
    }

    /// Why the store takes no more changes, if a write or flush has failed.
    pub fn failure(&self) -> Option<String> {
        self.core().engine.failure()
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.shared.core
    }

    fn named(&self, prefix: &str) -> Vec<(String, ObjectId)> {
        let refs = self.core().refs.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let from = refs.range(prefix.to_owned()..);
        let named = from.take_while(|(name, _)| name.starts_with(prefix));
        named.map(|(name, state)| (name[prefix.len()..].to_owned(), state.id)).collect()
    }

    fn delete_ref(&self, name: String) -> Result<()> {
        self.core().write(move |group| {
            if group.reference(&name).is_none() {
                return Err(Error::not_found(name));
            }
            group.move_ref(&name, None);
            Ok(())
        })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.core.queue.close();
        let writer = self.writer.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(writer) = writer {
            // The last handle may be dropped by the writer itself, at the end of a job.
            if writer.thread().id() != std::thread::current().id() {
                let _ = writer.join();
            }
        }
        self.core.engine.hurry();
        let merger = self.core.merger.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(merger) = merger.filter(|merger| merger.thread().id() != std::thread::current().id()) {
            let _ = merger.join();
        }
        // Everything acknowledged is durable already; this only marks the end of the log.
        let _ = self.core.engine.close();
    }
}
