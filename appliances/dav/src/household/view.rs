//! An account's tree as of one commit, held in memory: collections with their properties, members with their summaries.
//! Views never change; the next one shares everything that a commit did not touch.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use store::{Change, CommitId, ObjectId, Snapshot, Store};

use super::names::{self, COLLECTION_FILE, PROPERTIES_DIR};
use super::properties::{Kind, Properties};
use super::summary::{ObjectKind, Summary};

/// An account's tree.
#[derive(Clone)]
pub struct View {
    store: Store,
    /// The files.
    pub snapshot: Snapshot,
    /// Collections by their stored path; the account's root is the empty path.
    pub collections: BTreeMap<String, Arc<Collection>>,
}

/// A collection.
#[derive(Clone)]
pub struct Collection {
    /// Its stored path.
    pub path: String,
    /// Its names from the account's root on.
    pub names: Vec<String>,
    /// What is kept about it.
    pub properties: Arc<Properties>,
    /// Its tree: two collections with one tree are equal. `None` while it is empty.
    pub tree: Option<ObjectId>,
    /// The commit since which it is as it is, as far as is known.
    pub since: Option<CommitId>,
    /// By name, and by UID: the same members, each held once.
    shards: Vec<Arc<Shard>>,
    uids: Vec<Arc<Shard>>,
    count: usize,
    bytes: u64,
}

/// Members in the order of their names, or of their UIDs.
type Shard = Vec<Member>;

/// A file of a collection; cheap to clone.
#[derive(Clone, Debug)]
pub struct Member(Arc<Entry>);

/// What a member is.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: Box<str>,
    /// The blob: its strong ETag.
    pub id: ObjectId,
    /// What is in it.
    pub summary: Summary,
    /// Where it stands, when that is not where we would have put it (a push may put it elsewhere).
    elsewhere: Option<Box<str>>,
}

impl Deref for Member {
    type Target = Entry;
    fn deref(&self) -> &Entry {
        &self.0
    }
}

/// Where a stored path belongs.
pub enum Belongs {
    /// A member: the collection's path and the member's stored name.
    Member(String, String),
    /// A collection's own file, or a directory that is new: its collection must be read again.
    Collection,
    /// Nothing that is served.
    Nothing,
}

/// Gives the summary of a blob at a path of a snapshot.
pub type Summarise<'a> = &'a dyn Fn(&Snapshot, &str, ObjectId, Kind) -> store::Result<Summary>;

impl View {
    /// Reads a whole tree; collections that `before` has with the same tree are taken from there.
    pub fn load(
        store: Store,
        snapshot: Snapshot,
        before: Option<&View>,
        summarise: Summarise<'_>,
    ) -> store::Result<View> {
        let mut view = View { store, snapshot, collections: BTreeMap::new() };
        view.read_collection(String::new(), Vec::new(), view.snapshot.tree(), before, summarise)?;
        Ok(view)
    }

    /// The tree after some changes. Where they only touch members of known collections, only those are read.
    pub fn advanced(
        &self,
        snapshot: Snapshot,
        changes: &[Change],
        summarise: Summarise<'_>,
    ) -> store::Result<View> {
        let mut view = View { store: self.store.clone(), snapshot, collections: self.collections.clone() };
        let mut touched: Vec<String> = Vec::new();
        for change in changes {
            let path = change.path.to_str().into_owned();
            match self.belongs(&path) {
                Belongs::Nothing => {}
                Belongs::Collection => {
                    return View::load(view.store, view.snapshot, Some(self), summarise);
                }
                Belongs::Member(collection, stored) => {
                    let Some(known) = view.collections.get_mut(&collection) else { continue };
                    let kind = known.properties.kind;
                    let id = change.after.as_ref().map(|entry| entry.id);
                    let summary = id.map(|id| summarise(&view.snapshot, &path, id, kind)).transpose()?;
                    Arc::make_mut(known).set(&stored, &path, id.zip(summary));
                    if !touched.contains(&collection) {
                        touched.push(collection);
                    }
                }
            }
        }
        for path in touched {
            let tree = view.snapshot.entry(&path)?.map(|entry| entry.id);
            let commit = view.snapshot.commit();
            if let Some(collection) = view.collections.get_mut(&path) {
                let collection = Arc::make_mut(collection);
                (collection.tree, collection.since) = (tree, commit);
            }
        }
        Ok(view)
    }

    /// The collection at these names.
    pub fn collection(&self, names: &[String]) -> Option<&Arc<Collection>> {
        self.collections.get(&stored_path(names)?)
    }

    /// The member at these names, with its collection.
    pub fn member(&self, names: &[String]) -> Option<(&Arc<Collection>, &Member)> {
        let (name, parents) = names.split_last()?;
        let collection = self.collection(parents)?;
        Some((collection, collection.member(name)?))
    }

    /// Collections directly inside another.
    pub fn children<'a>(&'a self, parent: &'a Collection) -> impl Iterator<Item = &'a Arc<Collection>> {
        let depth = parent.names.len() + 1;
        self.collections
            .values()
            .filter(move |c| c.names.len() == depth && c.names.starts_with(&parent.names))
    }

    /// A collection and all below it.
    pub fn below<'a>(&'a self, parent: &'a Collection) -> impl Iterator<Item = &'a Arc<Collection>> {
        self.collections.values().filter(move |c| c.names.starts_with(&parent.names))
    }

    /// A member's bytes; by its id, since the view's snapshot keeps all that it names.
    pub fn read(&self, collection: &Collection, name: &str, member: &Member) -> store::Result<bytes::Bytes> {
        let missing = || store::Error::NotFound { what: collection.member_path(name, member) };
        self.store.blob(&member.id)?.ok_or_else(missing)
    }

    /// Where a path of the tree belongs.
    pub fn belongs(&self, path: &str) -> Belongs {
        let (dir, file) = path.rsplit_once('/').unwrap_or(("", path));
        if file == COLLECTION_FILE {
            return Belongs::Collection;
        }
        if path.split('/').any(|part| part.starts_with('.')) {
            return Belongs::Nothing;
        }
        if let Some((parent, last)) = dir.rsplit_once('/').or((!dir.is_empty()).then_some(("", dir)))
            && names::is_shard(last)
            && self.collections.get(parent).is_some_and(|c| c.is_sharded())
        {
            return Belongs::Member(parent.to_string(), file.to_string());
        }
        match self.collections.contains_key(dir) {
            true => Belongs::Member(dir.to_string(), file.to_string()),
            false => Belongs::Collection,
        }
    }

    fn read_collection(
        &mut self,
        path: String,
        names: Vec<String>,
        tree: Option<ObjectId>,
        before: Option<&View>,
        summarise: Summarise<'_>,
    ) -> store::Result<()> {
        if names.len() > crate::limits::PATH_DEPTH_MAX
            || self.collections.len() > crate::limits::COLLECTIONS_MAX
        {
            return Ok(());
        }
        let known = before
            .and_then(|before| before.collections.get(&path))
            .filter(|c| c.tree == tree && tree.is_some());
        if let Some(known) = known
            && known.is_sharded()
        {
            self.collections.insert(path, known.clone());
            return Ok(());
        }
        let entries = self.snapshot.list(&path)?;
        let properties = match entries.iter().any(|entry| entry.name() == COLLECTION_FILE) {
            true => self.snapshot.read(join(&path, COLLECTION_FILE))?.map(|bytes| Properties::read(&bytes)),
            false => None,
        };
        let properties = Arc::new(properties.unwrap_or_default());
        let since = known.map_or(self.snapshot.commit(), |known| known.since);
        let mut collection = Collection::empty(path.clone(), names, properties, tree, since);
        let kind = collection.properties.kind;
        let mut inside = Vec::new();
        for entry in entries.iter().filter(|entry| !entry.name().starts_with('.')) {
            let name = entry.name().into_owned();
            match (entry.is_directory(), collection.is_sharded()) {
                (false, _) => {
                    self.read_member(&mut collection, &join(&path, &name), &name, entry.id, summarise)?
                }
                (true, true) if names::is_shard(&name) => {
                    for file in self.snapshot.list(join(&path, &name))?.iter().filter(|f| !f.is_directory()) {
                        let path = format!("{}/{}", join(&path, &name), file.name());
                        self.read_member(&mut collection, &path, &file.name(), file.id, summarise)?;
                    }
                }
                (true, true) => {}
                (true, false) => inside.push((name, entry.id)),
            }
        }
        debug_assert!(kind != Kind::Plain || collection.uids.iter().all(|uids| uids.is_empty()));
        let names = collection.names.clone();
        self.collections.insert(path.clone(), Arc::new(collection));
        for (name, tree) in inside {
            let mut names = names.clone();
            names.push(names::unstored(&name));
            self.read_collection(join(&path, &name), names, Some(tree), before, summarise)?;
        }
        Ok(())
    }

    fn read_member(
        &self,
        collection: &mut Collection,
        path: &str,
        stored: &str,
        id: ObjectId,
        summarise: Summarise<'_>,
    ) -> store::Result<()> {
        if collection.count < crate::limits::MEMBERS_MAX {
            let summary = summarise(&self.snapshot, path, id, collection.properties.kind)?;
            collection.set(stored, path, Some((id, summary)));
        }
        Ok(())
    }
}

impl Collection {
    fn empty(
        path: String,
        names: Vec<String>,
        properties: Arc<Properties>,
        tree: Option<ObjectId>,
        since: Option<CommitId>,
    ) -> Collection {
        let shard = Arc::new(Shard::new());
        Collection {
            path,
            names,
            properties,
            tree,
            since,
            shards: vec![shard.clone(); 256],
            uids: vec![shard; 256],
            count: 0,
            bytes: 0,
        }
    }

    /// Whether it is a calendar or book, whose members stand in directories by hash.
    pub fn is_sharded(&self) -> bool {
        self.properties.kind != Kind::Plain
    }

    /// A member by its name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        let stored = names::stored(name).ok()?;
        let shard = &self.shards[usize::from(names::shard(&stored))];
        by_name(shard, name).ok().map(|at| &shard[at])
    }

    /// The member that has a UID.
    pub fn with_uid(&self, uid: &str) -> Option<&str> {
        let shard = &self.uids[usize::from(names::shard(uid))];
        by_uid(shard, uid).ok().map(|at| &*shard[at].name)
    }

    /// All members with their names.
    pub fn members(&self) -> impl Iterator<Item = (&str, &Member)> {
        self.shards.iter().flat_map(|shard| shard.iter().map(|member| (&*member.name, member)))
    }

    /// The parts in which members are held: for answers that are made piece by piece.
    pub fn shard_members(&self, shard: usize) -> impl Iterator<Item = (&str, &Member)> {
        self.shards
            .get(shard)
            .into_iter()
            .flat_map(|shard| shard.iter().map(|member| (&*member.name, member)))
    }

    /// How many members it has.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Octets of all members.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where a member stands in the tree.
    pub fn member_path(&self, name: &str, member: &Member) -> String {
        match &member.elsewhere {
            Some(path) => path.to_string(),
            None => self.path_for(&names::stored(name).unwrap_or_default()),
        }
    }

    /// Where a new member of that stored name belongs.
    pub fn path_for(&self, stored: &str) -> String {
        match self.is_sharded() {
            true => join(&self.path, &format!("{:02x}/{stored}", names::shard(stored))),
            false => join(&self.path, stored),
        }
    }

    /// Where a member's dead properties are kept.
    pub fn properties_path(&self, stored: &str) -> String {
        join(&self.path, &format!("{PROPERTIES_DIR}/{stored}"))
    }

    /// What people call it.
    pub fn display_name(&self) -> String {
        let last = || self.names.last().cloned().unwrap_or_default();
        self.properties.name.clone().unwrap_or_else(last)
    }

    fn set(&mut self, stored: &str, path: &str, member: Option<(ObjectId, Summary)>) {
        let name = names::unstored(stored);
        let shard = usize::from(names::shard(stored));
        // What is no calendar object or card stands in the tree, but is no member.
        let fits = |kind: ObjectKind| match self.properties.kind {
            Kind::Plain => true,
            Kind::Calendar => !matches!(kind, ObjectKind::File | ObjectKind::Card | ObjectKind::Group),
            Kind::AddressBook => matches!(kind, ObjectKind::Card | ObjectKind::Group),
        };
        let member = member.filter(|(_, summary)| fits(summary.kind));
        let usual = self.path_for(stored) == path;
        let place = by_name(&self.shards[shard], &name);
        if let Ok(at) = place {
            let current = self.shards[shard][at].clone();
            // The same name at two places (a push): the usual place wins, and its removal leaves the other alone.
            let same_place = current.elsewhere.is_none() == usual;
            if !same_place && (member.is_none() || !usual) {
                return;
            }
            let uid = &current.summary.uid;
            let uids = &mut self.uids[usize::from(names::shard(uid))];
            if let Some(at) = by_uid(uids, uid).ok().filter(|at| uids[*at].name == current.name) {
                Arc::make_mut(uids).remove(at);
            }
            self.count -= 1;
            self.bytes = self.bytes.saturating_sub(u64::from(current.summary.size));
        }
        match member {
            None => {
                if let Ok(at) = place {
                    Arc::make_mut(&mut self.shards[shard]).remove(at);
                }
            }
            Some((id, summary)) => {
                self.bytes += u64::from(summary.size);
                self.count += 1;
                let elsewhere = (!usual).then(|| path.into());
                let member = Member(Arc::new(Entry { name: name.into(), id, summary, elsewhere }));
                if !member.summary.uid.is_empty() && self.is_sharded() {
                    let uids = &mut self.uids[usize::from(names::shard(&member.summary.uid))];
                    // Of two that say the same UID (a push) the first is its owner.
                    if let Err(at) = by_uid(uids, &member.summary.uid) {
                        insert(Arc::make_mut(uids), at, member.clone());
                    }
                }
                let shard = Arc::make_mut(&mut self.shards[shard]);
                match place {
                    Ok(at) => shard[at] = member,
                    Err(at) => insert(shard, at, member),
                }
            }
        }
    }
}

fn by_name(shard: &Shard, name: &str) -> Result<usize, usize> {
    shard.binary_search_by(|member| (*member.name).cmp(name))
}

fn by_uid(shard: &Shard, uid: &str) -> Result<usize, usize> {
    shard.binary_search_by(|member| (*member.summary.uid).cmp(uid))
}

/// Room is made for a few more at a time, not for twice as many: there are hundreds of shards.
fn insert(shard: &mut Shard, at: usize, member: Member) {
    if shard.len() == shard.capacity() {
        shard.reserve_exact(8);
    }
    shard.insert(at, member);
}

/// A path one component further.
pub fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}/{name}") }
}

/// The stored path of a collection's names; `None` when a name cannot be one.
pub fn stored_path(names: &[String]) -> Option<String> {
    let stored: Option<Vec<String>> = names.iter().map(|name| names::stored(name).ok()).collect();
    Some(stored?.join("/"))
}
