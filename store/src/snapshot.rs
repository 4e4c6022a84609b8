//! The files as of one moment.

use std::sync::Arc;

use bytes::Bytes;
use git_wire::{Kind, ObjectId};

use crate::core::{Core, Pin};
use crate::object::{CommitId, Mode, TreeEntries};
use crate::{BlobReader, Change, Error, Result, Store, TreePath, diff};

/// The files as of one moment; never changes. Cheap to clone. As long as it lives, nothing of it is collected.
#[derive(Clone)]
pub struct Snapshot {
    store: Store,
    commit: Option<CommitId>,
    tree: Option<ObjectId>,
    _pin: Option<Arc<Pin>>,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub path: TreePath,
    /// What it is.
    pub kind: Mode,
    /// The object behind it: a blob, or a tree for a directory. Equal ids mean equal content.
    pub id: ObjectId,
}

impl Entry {
    /// The last component of its path; what is not UTF-8 is replaced.
    pub fn name(&self) -> std::borrow::Cow<'_, str> {
        self.path.name()
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == Mode::Directory
    }
}

impl Snapshot {
    pub(crate) fn new(store: Store, commit: Option<CommitId>, tree: Option<ObjectId>) -> Snapshot {
        let pin = store.core().pin(tree);
        Snapshot { store, commit, tree, _pin: pin }
    }

    /// The commit, or `None` on a branch that has none yet.
    pub fn commit(&self) -> Option<CommitId> {
        self.commit
    }

    /// The root directory's tree, or `None` when there was never a file.
    pub fn tree(&self) -> Option<ObjectId> {
        self.tree
    }

    /// The content of the file at a path; `None` when nothing is there. Files above 64 MB are read by
    /// [`Snapshot::reader`].
    pub fn read(&self, path: impl AsRef<[u8]>) -> Result<Option<Bytes>> {
        let Some(entry) = self.entry(path)? else { return Ok(None) };
        if !entry.kind.is_blob() {
            return Err(Error::WrongKind { path: entry.path, is: entry.kind.word(), wanted: "a file" });
        }
        self.core().typed(&entry.id, Kind::Blob).map(Some)
    }

    /// Reads the file at a path in bounded memory, however large it is; `None` when nothing is there.
    pub fn reader(&self, path: impl AsRef<[u8]>) -> Result<Option<BlobReader>> {
        let Some(entry) = self.entry(path)? else { return Ok(None) };
        if !entry.kind.is_blob() {
            return Err(Error::WrongKind { path: entry.path, is: entry.kind.word(), wanted: "a file" });
        }
        BlobReader::new(self.core(), &entry.id).map(Some)
    }

    /// What stands at a path.
    pub fn entry(&self, path: impl AsRef<[u8]>) -> Result<Option<Entry>> {
        let path = TreePath::new(path)?;
        let found = self.core().lookup(self.tree, &path)?;
        Ok(found.map(|(kind, id)| Entry { path, kind, id }))
    }

    /// Size of the file at a path in bytes, without reading it.
    pub fn size_bytes(&self, path: impl AsRef<[u8]>) -> Result<Option<u64>> {
        let Some(entry) = self.entry(path)? else { return Ok(None) };
        let object = self.core().object_entry(&entry.id)?.ok_or(Error::Missing(entry.id))?;
        Ok(Some(object.size_bytes))
    }

    /// What is in a directory, in order of names; nothing when the directory is not there.
    pub fn list(&self, directory: impl AsRef<[u8]>) -> Result<Vec<Entry>> {
        let Some(entry) = self.entry(directory)? else { return Ok(Vec::new()) };
        if !entry.is_directory() {
            return Err(Error::WrongKind { path: entry.path, is: entry.kind.word(), wanted: "a directory" });
        }
        let bytes = self.core().typed(&entry.id, Kind::Tree)?;
        let entries = TreeEntries(&bytes).map(|one| {
            let (kind, name, id) = one?;
            Ok(Entry { path: entry.path.child(name), kind, id })
        });
        entries.collect()
    }

    /// Every file below a directory, in order of paths, each read when it is asked for.
    pub fn walk(&self, directory: impl AsRef<[u8]>) -> Result<Walk> {
        let mut open = Vec::new();
        if let Some(entry) = self.entry(directory)? {
            open.push(entry);
        }
        Ok(Walk { snapshot: self.clone(), open })
    }

    /// What changed since `older`, at or below `prefix`, in order of paths. Directories that are equal are not read.
    pub fn diff(&self, older: &Snapshot, prefix: impl AsRef<[u8]>) -> Result<Vec<Change>> {
        diff::between(self.core(), older.tree, self.tree, &TreePath::new(prefix)?)
    }

    /// What keeps the files from being collected, without the handle of the store.
    pub(crate) fn pinned(&self) -> Option<Arc<Pin>> {
        self._pin.clone()
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        self.store.core()
    }
}

/// Iterates over the files of a directory and all below it.
pub struct Walk {
    snapshot: Snapshot,
    /// What is still to be seen, the next one last.
    open: Vec<Entry>,
}

impl Iterator for Walk {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        loop {
            let entry = self.open.pop()?;
            if !entry.is_directory() {
                return Some(Ok(entry));
            }
            match self.snapshot.list(&entry.path) {
                Ok(entries) => self.open.extend(entries.into_iter().rev()),
                Err(error) => {
                    self.open.clear();
                    return Some(Err(error));
                }
            }
        }
    }
}
