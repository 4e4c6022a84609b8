//! Many edits, one commit.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use git_wire::{Kind, ObjectId};

use crate::committer::Group;
use crate::core::{Hold, Pin};
use crate::edits::{EditTree, Edited};
use crate::engine::{NewObject, Stream, keys};
use crate::index::{IndexEdits, check_name};
use crate::large::write_blob;
use crate::merge;
use crate::object::{Commit, CommitId, Mode};
use crate::snapshot::Snapshot;
use crate::staging::Staging;
use crate::{Author, Blob, Branch, Durable, Entry, Error, Result, TreePath, delta, zlib};

/// A snapshot and a list of edits, to become one commit. Nothing is seen by others before [`Transaction::commit`];
/// dropping it changes nothing.
pub struct Transaction {
    branch: Branch,
    base: Snapshot,
    edits: EditTree,
    expectations: Vec<(TreePath, Option<ObjectId>)>,
    objects: Vec<NewObject>,
    staged: HashMap<ObjectId, usize>,
    indexes: BTreeMap<String, IndexEdits>,
    /// Set once something is on the device that nothing names yet.
    hold: Option<Hold>,
    /// What was in the store already, and must stay until it is named.
    pins: Vec<Arc<Pin>>,
}

impl Transaction {
    pub(crate) fn new(branch: Branch, base: Snapshot) -> Transaction {
        Transaction {
            branch,
            base,
            edits: EditTree::default(),
            expectations: Vec::new(),
            objects: Vec::new(),
            staged: HashMap::new(),
            indexes: BTreeMap::new(),
            hold: None,
            pins: Vec::new(),
        }
    }

    /// What the branch held when the transaction began.
    pub fn base(&self) -> &Snapshot {
        &self.base
    }

    /// Writes a file, making the directories that it needs. Gives the blob's id (for an etag, say).
    pub fn put(&mut self, path: impl AsRef<[u8]>, content: impl Into<Bytes>) -> Result<ObjectId> {
        self.put_as(path, Mode::File, content)
    }

    /// Writes a file, an executable or a symbolic link.
    pub fn put_as(
        &mut self,
        path: impl AsRef<[u8]>,
        mode: Mode,
        content: impl Into<Bytes>,
    ) -> Result<ObjectId> {
        let path = self.writable(path)?;
        if !mode.is_blob() {
            return Err(Error::WrongKind { path, is: mode.word(), wanted: "a file" });
        }
        let content = content.into();
        let id = ObjectId::of(Kind::Blob, &content)?;
        if !self.staged.contains_key(&id) && !self.is_there(id)? {
            let stream = Stream::Bytes(zlib::deflate(&content));
            self.stage(NewObject {
                id,
                kind: Kind::Blob,
                size_bytes: content.len() as u64,
                delta: None,
                stream,
            });
        }
        self.edits.set(&path, Some((mode, id)));
        Ok(id)
    }

    /// Writes a file whose content is hashed and deflated already.
    pub fn put_blob(&mut self, path: impl AsRef<[u8]>, blob: Blob) -> Result<ObjectId> {
        let path = self.writable(path)?;
        let id = blob.id();
        if !self.staged.contains_key(&id) && !self.is_there(id)? {
            self.stage(blob.into_object());
        }
        self.edits.set(&path, Some((Mode::File, id)));
        Ok(id)
    }

    /// Writes a file of known size from a reader, in bounded memory. Its bytes go to the device at once; they are
    /// collected again if the transaction does not commit.
    pub fn put_reader(
        &mut self,
        path: impl AsRef<[u8]>,
        size_bytes: u64,
        from: impl std::io::Read,
    ) -> Result<ObjectId> {
        let path = self.writable(path)?;
        let core = self.base.core().clone();
        self.hold.get_or_insert_with(|| Hold::new(core.clone()));
        let object = write_blob(&core, size_bytes, from)?;
        let id = object.id;
        if !self.staged.contains_key(&id) && !self.is_there(id)? {
            self.stage(object);
        }
        self.edits.set(&path, Some((Mode::File, id)));
        Ok(id)
    }

    /// Puts an entry of any snapshot of this store at a path: a file, or a directory with all that is in it. Costs the
    /// same for both.
    pub fn put_entry(&mut self, path: impl AsRef<[u8]>, entry: &Entry) -> Result<()> {
        let path = self.writable(path)?;
        let staged = self.staged.contains_key(&entry.id);
        if entry.kind != Mode::Submodule && !staged && !self.is_there(entry.id)? {
            return Err(Error::Missing(entry.id));
        }
        self.edits.set(&path, Some((entry.kind, entry.id)));
        Ok(())
    }

    /// Removes a file, or a directory with all that is in it. Says whether something was there.
    pub fn remove(&mut self, path: impl AsRef<[u8]>) -> Result<bool> {
        let path = TreePath::new(path)?;
        if path.is_root() {
            return Err(Error::WrongKind { path, is: "the root", wanted: "something in it" });
        }
        let there = self.entry(&path)?.is_some();
        if there {
            self.edits.set(&path, None);
        }
        Ok(there)
    }

    /// Moves a file, or a directory with all that is in it; what was at `to` is replaced.
    pub fn rename(&mut self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<()> {
        let (from, to) = (TreePath::new(from)?, self.writable(to)?);
        if to.is_under(&from) {
            return Err(Error::BadPath {
                path: to.to_str().into_owned(),
                why: "it lies in what is to be moved",
            });
        }
        let entry =
            self.entry(&from)?.ok_or_else(|| Error::not_found(format!("file or directory {from}")))?;
        self.edits.set(&from, None);
        self.edits.set(&to, Some((entry.kind, entry.id)));
        Ok(())
    }

    /// The content of a file, own edits included.
    pub fn read(&mut self, path: impl AsRef<[u8]>) -> Result<Option<Bytes>> {
        let Some(entry) = self.entry(path)? else { return Ok(None) };
        if !entry.kind.is_blob() {
            return Err(Error::WrongKind { path: entry.path, is: entry.kind.word(), wanted: "a file" });
        }
        self.content(&entry.id).map(Some)
    }

    /// What stands at a path, own edits included.
    pub fn entry(&mut self, path: impl AsRef<[u8]>) -> Result<Option<Entry>> {
        let path = TreePath::new(path)?;
        let found = match self.edits.get(&path) {
            (Edited::Entry(entry), _) => entry,
            (Edited::No, None) => self.lookup(self.base.tree(), &path)?,
            (Edited::No, Some((tree, rest))) => self.lookup(Some(tree), &rest)?,
            (Edited::Directory, _) => self.settle(&path)?,
        };
        Ok(found.map(|(kind, id)| Entry { path, kind, id }))
    }

    /// What is in a directory, own edits included.
    pub fn list(&mut self, directory: impl AsRef<[u8]>) -> Result<Vec<Entry>> {
        let Some(entry) = self.entry(directory)? else { return Ok(Vec::new()) };
        if !entry.is_directory() {
            return Err(Error::WrongKind { path: entry.path, is: entry.kind.word(), wanted: "a directory" });
        }
        let content = self.content(&entry.id)?;
        let entries = crate::object::TreeEntries(&content).map(|one| {
            let (kind, name, id) = one?;
            Ok(Entry { path: entry.path.child(name), kind, id })
        });
        entries.collect()
    }

    /// Lets the commit succeed only if, at that moment, this object stands at the path (`None`: nothing does).
    /// Otherwise it fails with [`Error::Stale`] and changes nothing.
    pub fn expect(&mut self, path: impl AsRef<[u8]>, id: Option<ObjectId>) -> Result<()> {
        self.expectations.push((TreePath::new(path)?, id));
        Ok(())
    }

    /// Changes to a derived table, to be written in the same flush.
    pub fn index(&mut self, name: impl AsRef<str>) -> &mut IndexEdits {
        self.indexes.entry(name.as_ref().to_owned()).or_default()
    }

    /// Makes the commit. `Ok` means that it is on the device. If the branch moved meanwhile, each path that both sides
    /// changed is merged by its policy; without one, this transaction's version wins and the other stays in history.
    /// A transaction that changes no file makes no commit and gives the head.
    pub fn commit(self, author: Author, message: impl AsRef<str>) -> Result<Durable<CommitId>> {
        let core = self.base.core().clone();
        core.write(self.job(author, message.as_ref())).map(Durable::flushed)
    }

    /// The same as a future, which needs no particular runtime. The commit happens even if the future is dropped.
    pub fn commit_async(
        self,
        author: Author,
        message: impl AsRef<str>,
    ) -> impl Future<Output = Result<Durable<CommitId>>> + Send {
        let core = self.base.core().clone();
        let waiting = core.submit(self.job(author, message.as_ref()));
        async move { waiting.await.map(Durable::flushed) }
    }

    fn job(
        self,
        author: Author,
        message: &str,
    ) -> impl FnOnce(&mut Group<'_>) -> Result<CommitId> + Send + use<> {
        let message = message.to_owned();
        // The snapshot's pin must outlive the job, the store's handle must not: the writer would wait for itself.
        let Transaction { branch, base, edits, expectations, objects, indexes, hold, pins, .. } = self;
        let wanted = Wanted {
            name: branch.full_name().to_owned(),
            base_commit: base.commit(),
            base_tree: base.tree(),
            edits,
            expectations,
            objects,
            indexes,
            _hold: hold,
            _pins: (pins, base.pinned()),
        };
        move |group| wanted.commit(group, &author, message)
    }

    fn writable(&self, path: impl AsRef<[u8]>) -> Result<TreePath> {
        let path = TreePath::new(path)?;
        let refuse = |path: TreePath, why| Err(Error::BadPath { path: path.to_str().into_owned(), why });
        if path.is_root() {
            return refuse(path, "the root is always there");
        }
        if path.components().next() == Some(merge::CONFLICTS.as_bytes()) {
            return refuse(path, "conflicts are kept there; use settle");
        }
        Ok(path)
    }

    /// Whether an object is in the store; from then on it stays there.
    fn is_there(&mut self, id: ObjectId) -> Result<bool> {
        let pin = self.base.core().pin_if_there(id)?;
        let is_there = pin.is_some();
        self.pins.extend(pin);
        Ok(is_there)
    }

    fn stage(&mut self, object: NewObject) {
        self.staged.insert(object.id, self.objects.len());
        self.objects.push(object);
    }

    /// Makes the trees of what was said so far, and looks a path up in them.
    fn settle(&mut self, path: &TreePath) -> Result<Option<(Mode, ObjectId)>> {
        let base = self.base.tree();
        let (objects, edits) = (std::mem::take(&mut self.objects), &self.edits);
        let mut staging = Staging::new(self.base.core());
        staging.adopt(objects)?;
        let found = edits.apply(&mut staging, base).and_then(|root| staging.lookup(root, path));
        self.objects = staging.finish().0;
        self.staged = self.objects.iter().enumerate().map(|(at, object)| (object.id, at)).collect();
        found
    }

    /// The entry at a path below a tree that may be our own.
    fn lookup(&self, tree: Option<ObjectId>, path: &TreePath) -> Result<Option<(Mode, ObjectId)>> {
        let Some(tree) = tree else { return Ok(None) };
        let mut at = (Mode::Directory, tree);
        for name in path.components() {
            if at.0 != Mode::Directory {
                return Ok(None);
            }
            match crate::core::find(&self.content(&at.1)?, name)? {
                Some(entry) => at = entry,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    fn content(&self, id: &ObjectId) -> Result<Bytes> {
        let Some(&at) = self.staged.get(id) else { return Ok(self.base.core().object(id)?.1) };
        let object = &self.objects[at];
        let Stream::Bytes(stream) = &object.stream else { return Err(Error::Missing(*id)) };
        let Some(made_of) = &object.delta else {
            return Ok(zlib::inflate(stream, object.size_bytes)?.into());
        };
        let instructions = zlib::inflate(stream, made_of.size_bytes)?;
        Ok(delta::apply(&self.content(&made_of.base)?, &instructions)?.into())
    }
}

/// What a transaction wants of the writer.
struct Wanted {
    name: String,
    base_commit: Option<CommitId>,
    base_tree: Option<ObjectId>,
    edits: EditTree,
    expectations: Vec<(TreePath, Option<ObjectId>)>,
    objects: Vec<NewObject>,
    indexes: BTreeMap<String, IndexEdits>,
    /// Lives until the objects are named.
    _hold: Option<Hold>,
    _pins: (Vec<Arc<Pin>>, Option<Arc<Pin>>),
}

impl Wanted {
    fn commit(mut self, group: &mut Group<'_>, author: &Author, message: String) -> Result<CommitId> {
        let head = group.reference(&self.name).map(|state| CommitId(state.id));
        let head_commit = head.map(|head| group.staging.commit(head)).transpose()?;
        let head_tree = head_commit.as_ref().map(|commit| commit.tree);
        for (path, expected) in &self.expectations {
            if group.staging.lookup(head_tree, path)?.map(|(_, id)| id) != *expected {
                return Err(Error::Stale { path: path.clone() });
            }
        }
        group.staging.adopt(std::mem::take(&mut self.objects))?;
        let now = (group.staging.core.options.clock)();
        let signature = author.signature(now);
        if head != self.base_commit && head_tree != self.base_tree {
            self.merge_with(group, head_tree, head_commit.as_ref(), &signature)?;
        }
        let tree = match self.edits.apply(&mut group.staging, head_tree)? {
            Some(tree) => tree,
            None => group.staging.put_empty_tree()?,
        };
        let commit = match head {
            Some(head) if head_tree == Some(tree) => head,
            _ => {
                let parents = head.into_iter().collect();
                let committer = author.clone().unset_time().signature(now);
                group.staging.put_commit(&Commit { tree, parents, author: signature, committer, message })?
            }
        };
        self.derive(group, head, commit)?;
        if head.is_none() {
            group.refuse_unless_free(&self.name)?;
        }
        group.move_ref(&self.name, Some(commit.0));
        Ok(commit)
    }

    /// Paths that the branch changed too since the transaction began: each is merged by its policy.
    fn merge_with(
        &mut self,
        group: &mut Group<'_>,
        head_tree: Option<ObjectId>,
        head: Option<&Commit>,
        theirs: &crate::Signature,
    ) -> Result<()> {
        for (path, wanted) in self.edits.leaves() {
            let before = group.staging.lookup(self.base_tree, &path)?;
            let now = group.staging.lookup(head_tree, &path)?;
            let adds_up =
                group.staging.core.options.policies.of(&path).is_some_and(|policy| policy.adds_up());
            if now != before && (now != wanted || adds_up) {
                let sides = merge::Sides {
                    ours: head.map(|head| head.committer.clone()),
                    theirs: Some(theirs.clone()),
                };
                let merged = merge::entry_or_theirs(&mut group.staging, &path, before, now, wanted, &sides)?;
                if merged != wanted {
                    self.edits.set(&path, merged);
                }
            }
        }
        Ok(())
    }

    /// Writes the derived tables. One that stood at the old head now stands at the new one.
    fn derive(&mut self, group: &mut Group<'_>, head: Option<CommitId>, commit: CommitId) -> Result<()> {
        for (name, edits) in std::mem::take(&mut self.indexes) {
            check_name(&name)?;
            let key = keys::index_state(&name);
            if edits.is_whole() {
                // What they were made from is not what they are committed on: then nobody knows what the table says.
                let at = (head == self.base_commit).then(|| commit.0.0.to_vec());
                group.edit(key, at);
            } else if group.value(&key)? == head.map(|head| head.0.0.to_vec()) {
                group.edit(key, Some(commit.0.0.to_vec()));
            }
            edits.checked(&name)?.into_iter().for_each(|(key, value)| group.edit(key, value));
        }
        Ok(())
    }
}
