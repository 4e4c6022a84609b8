//! A repository in memory: the reference implementation of the traits, for tests and for throw-away servers.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::object::tag_link;
use crate::pack::{deflate, inflate};
use crate::{
    Head, Header, Kind, LargeObject, Object, ObjectId, Objects, Quarantine, Received, Ref, RefUpdate,
    Repository, RepositoryError, Spool, Stored, View, Zlib,
};

/// Objects and refs that live as long as the value does.
#[derive(Default)]
pub struct MemoryRepository {
    state: Mutex<State>,
}

#[derive(Default, Clone)]
struct State {
    objects: Arc<HashMap<ObjectId, Arc<Kept>>>,
    refs: BTreeMap<Vec<u8>, ObjectId>,
    head: Option<Vec<u8>>,
}

struct Kept {
    kind: Kind,
    size_bytes: u64,
    zlib: Vec<u8>,
}

impl MemoryRepository {
    /// An empty one whose HEAD is `refs/heads/main`.
    pub fn new() -> MemoryRepository {
        let repository = MemoryRepository::default();
        repository.lock().head = Some(b"refs/heads/main".to_vec());
        repository
    }

    /// Adds an object without asking what it names.
    pub fn add(&self, kind: Kind, content: &[u8]) -> Result<ObjectId, crate::CollisionAttack> {
        let id = ObjectId::of(kind, content)?;
        let kept = Kept { kind, size_bytes: content.len() as u64, zlib: deflate(content) };
        Arc::make_mut(&mut self.lock().objects).insert(id, Arc::new(kept));
        Ok(id)
    }

    /// Lets a ref name an object.
    pub fn set_ref(&self, name: &str, id: ObjectId) {
        self.lock().refs.insert(name.as_bytes().to_vec(), id);
    }

    /// What a ref names.
    pub fn get_ref(&self, name: &str) -> Option<ObjectId> {
        self.lock().refs.get(name.as_bytes()).copied()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.lock().objects.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Repository for MemoryRepository {
    fn view(&self) -> Result<Box<dyn View + '_>, RepositoryError> {
        Ok(Box::new(self.lock().clone()))
    }

    fn quarantine(&self) -> Result<Box<dyn Quarantine + '_>, RepositoryError> {
        Ok(Box::new(Incoming { repository: self, below: self.lock().clone(), objects: HashMap::new() }))
    }
}

impl Kept {
    fn object(&self, id: &ObjectId, max_bytes: u64) -> Result<Object, RepositoryError> {
        if self.size_bytes > max_bytes {
            return Err(RepositoryError::TooLarge { id: *id, size_bytes: self.size_bytes, max_bytes });
        }
        let content = inflate(&self.zlib, self.size_bytes as usize)
            .map_err(|error| RepositoryError::Damaged { id: *id, what: error.to_string() })?;
        Ok(Object { kind: self.kind, content })
    }

    fn stored(&self) -> Stored {
        Stored {
            kind: self.kind,
            size_bytes: self.size_bytes,
            base: None,
            zlib: Zlib::Bytes(self.zlib.clone()),
        }
    }
}

impl Objects for State {
    fn header(&self, id: &ObjectId) -> Result<Option<Header>, RepositoryError> {
        Ok(self.objects.get(id).map(|kept| Header { kind: kept.kind, size_bytes: kept.size_bytes }))
    }

    fn read(&self, id: &ObjectId, max_bytes: u64) -> Result<Option<Object>, RepositoryError> {
        self.objects.get(id).map(|kept| kept.object(id, max_bytes)).transpose()
    }

    fn stored(&self, id: &ObjectId) -> Result<Option<Stored>, RepositoryError> {
        Ok(self.objects.get(id).map(|kept| kept.stored()))
    }
}

impl View for State {
    fn refs(&self, prefixes: &[Vec<u8>]) -> Result<Vec<Ref>, RepositoryError> {
        let wanted =
            |name: &[u8]| prefixes.is_empty() || prefixes.iter().any(|prefix| name.starts_with(prefix));
        let mut found = Vec::new();
        for (name, id) in self.refs.iter().filter(|(name, _)| wanted(name)) {
            let mut peeled = None;
            let mut at = *id;
            while let Some(object) = self.read(&at, 1 << 20)?.filter(|object| object.kind == Kind::Tag) {
                let Ok(link) = tag_link(&object.content) else { break };
                at = link.target;
                peeled = Some(at);
            }
            found.push(Ref { name: name.clone(), id: *id, peeled });
        }
        Ok(found)
    }

    fn head(&self) -> Result<Option<Head>, RepositoryError> {
        Ok(self.head.clone().map(|target| Head { target }))
    }
}

struct Incoming<'a> {
    repository: &'a MemoryRepository,
    below: State,
    objects: HashMap<ObjectId, Arc<Kept>>,
}

impl Objects for Incoming<'_> {
    fn header(&self, id: &ObjectId) -> Result<Option<Header>, RepositoryError> {
        match self.objects.get(id) {
            Some(kept) => Ok(Some(Header { kind: kept.kind, size_bytes: kept.size_bytes })),
            None => self.below.header(id),
        }
    }

    fn read(&self, id: &ObjectId, max_bytes: u64) -> Result<Option<Object>, RepositoryError> {
        match self.objects.get(id) {
            Some(kept) => kept.object(id, max_bytes).map(Some),
            None => self.below.read(id, max_bytes),
        }
    }

    fn stored(&self, id: &ObjectId) -> Result<Option<Stored>, RepositoryError> {
        match self.objects.get(id) {
            Some(kept) => Ok(Some(kept.stored())),
            None => self.below.stored(id),
        }
    }
}

impl Quarantine for Incoming<'_> {
    fn put(&mut self, id: ObjectId, object: &Object, received: Received<'_>) -> Result<(), RepositoryError> {
        let zlib = match received {
            Received::Whole { zlib } => zlib.to_vec(),
            Received::Delta { .. } => deflate(&object.content),
        };
        let kept = Kept { kind: object.kind, size_bytes: object.content.len() as u64, zlib };
        self.objects.insert(id, Arc::new(kept));
        Ok(())
    }

    fn begin_large(&mut self) -> Result<Box<dyn LargeObject + '_>, RepositoryError> {
        Ok(Box::new(Large { objects: &mut self.objects, zlib: Vec::new() }))
    }

    fn spool(&self) -> Result<Box<dyn Spool>, RepositoryError> {
        Ok(Box::new(Spooled(Vec::new())))
    }

    fn publish(
        self: Box<Self>,
        updates: &[RefUpdate],
        atomic: bool,
    ) -> Result<Vec<Result<(), String>>, RepositoryError> {
        let mut state = self.repository.lock();
        let named = |state: &State, name: &[u8]| state.refs.get(name).copied().unwrap_or(ObjectId::ZERO);
        let stale = |update: &RefUpdate| named(&state, &update.name) != update.old;
        let mut verdicts: Vec<Result<(), String>> = updates
            .iter()
            .map(|update| if stale(update) { Err("the ref has moved meanwhile".to_owned()) } else { Ok(()) })
            .collect();
        if atomic && verdicts.iter().any(Result::is_err) {
            verdicts
                .iter_mut()
                .filter(|one| one.is_ok())
                .for_each(|one| *one = Err("atomic push failed".into()));
        }
        Arc::make_mut(&mut state.objects).extend(self.objects);
        for (update, _) in updates.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_ok()) {
            if update.new.is_zero() {
                state.refs.remove(&update.name);
            } else {
                state.refs.insert(update.name.clone(), update.new);
            }
        }
        Ok(verdicts)
    }
}

struct Large<'a> {
    objects: &'a mut HashMap<ObjectId, Arc<Kept>>,
    zlib: Vec<u8>,
}

impl LargeObject for Large<'_> {
    fn append(&mut self, zlib: &[u8]) -> Result<(), RepositoryError> {
        self.zlib.extend_from_slice(zlib);
        Ok(())
    }

    fn finish(self: Box<Self>, id: ObjectId, header: Header) -> Result<(), RepositoryError> {
        let kept = Kept { kind: header.kind, size_bytes: header.size_bytes, zlib: self.zlib };
        self.objects.insert(id, Arc::new(kept));
        Ok(())
    }
}

struct Spooled(Vec<u8>);

impl Spool for Spooled {
    fn append(&mut self, bytes: &[u8]) -> Result<(), RepositoryError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), RepositoryError> {
        let stretch = self.0.get(offset as usize..).and_then(|rest| rest.get(..into.len()));
        into.copy_from_slice(stretch.ok_or_else(|| RepositoryError::Failed("the spool is shorter".into()))?);
        Ok(())
    }
}
