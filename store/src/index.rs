//! Derived tables: whatever is quicker to keep than to compute again. They change in the same flush as the commit that
//! they are derived from, and say which commit that is.

use crate::engine::{Edits, Take, keys};
use crate::object::CommitId;
use crate::{Error, ObjectId, Result, Store};

/// Longest key, and longest value, in bytes.
const KEY_BYTES_MAX: usize = 4 << 10;
const VALUE_BYTES_MAX: usize = 8 << 10;

/// A table of keys and values in order of keys. A cheap handle.
#[derive(Clone)]
pub struct Index {
    store: Store,
    name: String,
}

impl Index {
    pub(crate) fn new(store: Store, name: &str) -> Result<Index> {
        check_name(name)?;
        Ok(Index { store, name: name.to_owned() })
    }

    /// The value under a key.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>> {
        self.store.core().engine.get(&keys::index(&self.name, key.as_ref()))
    }

    /// Keys and values from `from` on, up to and not including `to` (to the end when that is `None`), at most `limit`.
    /// For the next page ask from the last key with a zero byte added.
    pub fn range(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let skip = keys::index(&self.name, &[]).len();
        let end = match to {
            Some(to) => keys::index(&self.name, to),
            None => keys::after_prefix(&keys::index(&self.name, &[])),
        };
        let found = self.store.core().engine.scan(&keys::index(&self.name, from), &end, limit)?;
        Ok(found.into_iter().map(|(key, value)| (key[skip..].to_vec(), value)).collect())
    }

    /// Keys and values whose key starts with `prefix`, at most `limit`.
    pub fn prefix(&self, prefix: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let end = keys::after_prefix(prefix);
        self.range(prefix, (!prefix.is_empty()).then_some(&end[..]), limit)
    }

    /// The commit that the table was derived from. When it is not the branch's head (a push, a merge or a pull moved
    /// it), apply the difference with [`Index::advance`]; when it is `None`, derive the table from nothing.
    pub fn at(&self) -> Result<Option<CommitId>> {
        let value = self.store.core().engine.get(&keys::index_state(&self.name))?;
        value.map(|value| Ok(CommitId(ObjectId(Take(&value).array()?)))).transpose()
    }

    /// Writes edits, and that the table now stands at `to`, in one flush. Fails with [`Error::RefMoved`] when the table
    /// does not stand at `from` any more: somebody else was quicker.
    pub fn advance(&self, from: Option<CommitId>, to: Option<CommitId>, edits: IndexEdits) -> Result<()> {
        let name = self.name.clone();
        self.store.core().write(move |group| {
            let key = keys::index_state(&name);
            if group.value(&key)? != from.map(|from| from.0.0.to_vec()) {
                return Err(Error::RefMoved { name: format!("index {name}") });
            }
            edits.checked(&name)?.into_iter().for_each(|(key, value)| group.edit(key, value));
            group.edit(key, to.map(|to| to.0.0.to_vec()));
            Ok(())
        })
    }

    /// Empties the table, a page at a time; it then stands at no commit.
    pub fn clear(&self) -> Result<()> {
        loop {
            let page = self.range(&[], None, 1000)?;
            let done = page.len() < 1000;
            let mut edits = IndexEdits::default();
            page.into_iter().for_each(|(key, _)| edits.delete(key));
            self.advance(self.at()?, None, edits)?;
            if done {
                return Ok(());
            }
        }
    }
}

/// Changes to a derived table.
#[derive(Debug, Default, Clone)]
pub struct IndexEdits {
    said: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    whole: bool,
}

impl IndexEdits {
    /// No changes.
    pub fn new() -> IndexEdits {
        IndexEdits::default()
    }

    /// Writes a value: keys up to 4 kB, values up to 8 kB.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.said.push((key.into(), Some(value.into())));
    }

    /// Removes a key; no error when it is not there.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.said.push((key.into(), None));
    }

    /// What was last said about a key: `Some(None)` for a removal.
    pub fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        self.said.iter().rev().find(|(said, _)| said == key).map(|(_, value)| value.as_deref())
    }

    /// Says that with these edits the table is right for what the transaction began from and makes, wherever it stood
    /// before: it then stands at the commit. When another commit came between, it stands at none.
    pub fn bring_up(&mut self) {
        self.whole = true;
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    pub(crate) fn checked(self, table: &str) -> Result<Edits> {
        let check = |(key, value): (Vec<u8>, Option<Vec<u8>>)| {
            let size = value.as_ref().map_or(0, Vec::len);
            if key.len() > KEY_BYTES_MAX || size > VALUE_BYTES_MAX {
                let (size, max) =
                    if size > VALUE_BYTES_MAX { (size, VALUE_BYTES_MAX) } else { (key.len(), KEY_BYTES_MAX) };
                let what = format!("a key or value of index {table}");
                return Err(Error::TooLarge { what, size_bytes: size as u64, max_bytes: max as u64 });
            }
            Ok((keys::index(table, &key), value))
        };
        self.said.into_iter().map(check).collect()
    }
}

pub(crate) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > 255 || name.contains('\0') {
        let why = "an index needs a name of 1 to 255 bytes without NUL";
        return Err(Error::BadName { name: name.to_owned(), why });
    }
    Ok(())
}
