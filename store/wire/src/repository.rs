//! What this crate needs from whatever holds the objects, and what it promises in return.
//!
//! Two halves. A [`View`] is a consistent, read-only picture: refs and every object that they reach. A [`Quarantine`]
//! receives a push: what is put there is seen by nobody else until [`Quarantine::publish`] moves refs, in one
//! transaction; dropping it forgets everything.
//!
//! Invariant on both sides: **a repository is closed**. Every object that a view can read has all that it names in the
//! same view (submodule commits and the cut-off parents of shallow pushes excepted, the latter are refused). This crate
//! checks that a quarantine together with its view is closed before it calls `publish`; garbage collection must remove
//! whole closures, and must spare what an open quarantine has seen.

use std::io::Read;

use crate::walk::Selection;
use crate::{Kind, ObjectId};

/// Why a repository could not answer.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The bytes of an object are not what its id says; `fsck` will say more.
    #[error("object {id} is damaged: {what}")]
    Damaged {
        /// The object.
        id: ObjectId,
        /// What was found.
        what: String,
    },
    /// An object is larger than the caller can take into memory.
    #[error("object {id} has {size_bytes} bytes, more than the {max_bytes} that are read into memory")]
    TooLarge {
        /// The object.
        id: ObjectId,
        /// Its size.
        size_bytes: u64,
        /// What was allowed.
        max_bytes: u64,
    },
    /// The repository takes no more: full, read-only after a failed flush, or closing.
    #[error("the repository cannot take this now: {0}")]
    Refused(String),
    /// The device or the engine failed.
    #[error("the repository failed: {0}")]
    Failed(String),
}

/// A named object, as Git advertises it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ref {
    /// Full name in bytes: `refs/heads/main`, `refs/tags/v1`.
    pub name: Vec<u8>,
    /// What it names.
    pub id: ObjectId,
    /// What an annotated tag finally names, if this ref names a tag object.
    pub peeled: Option<ObjectId>,
}

/// What HEAD stands for: a branch name, which may not exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Full name: `refs/heads/main`.
    pub target: Vec<u8>,
}

/// Kind and size of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Its kind.
    pub kind: Kind,
    /// Its size, inflated.
    pub size_bytes: u64,
}

/// An object in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its kind.
    pub kind: Kind,
    /// Its content.
    pub content: Vec<u8>,
}

/// An object as it lies in the repository: a zlib stream that can be copied into a pack as it is.
pub struct Stored {
    /// The kind of the object (never of the delta).
    pub kind: Kind,
    /// Length of the inflated stream: of the object, or of the delta when there is a `base`.
    pub size_bytes: u64,
    /// Set when the stream is a Git delta against this object.
    pub base: Option<ObjectId>,
    /// The zlib stream, to its end.
    pub zlib: Zlib<'static>,
}

/// A zlib stream: in memory, or read as it is used.
pub enum Zlib<'a> {
    /// All of it.
    Bytes(Vec<u8>),
    /// All of it, where it lies.
    Slice(&'a [u8]),
    /// To the reader's end.
    Pieces(Box<dyn Read + Send + 'a>),
}

/// Reads objects by id. Implementations answer from one unchanging state.
pub trait Objects {
    /// Kind and size, or `None` when the object is not there.
    fn header(&self, id: &ObjectId) -> Result<Option<Header>, RepositoryError>;

    /// The whole object, refused with [`RepositoryError::TooLarge`] above `max_bytes` before anything is allocated.
    fn read(&self, id: &ObjectId, max_bytes: u64) -> Result<Option<Object>, RepositoryError>;

    /// The object as it is stored. The content must have been verified when it was stored.
    fn stored(&self, id: &ObjectId) -> Result<Option<Stored>, RepositoryError>;
}

/// A consistent picture of a repository.
pub trait View: Objects + Send {
    /// Every ref whose name starts with one of `prefixes` (all when empty), in byte order of their names, `HEAD` not
    /// among them.
    fn refs(&self, prefixes: &[Vec<u8>]) -> Result<Vec<Ref>, RepositoryError>;

    /// What HEAD stands for.
    fn head(&self) -> Result<Option<Head>, RepositoryError>;

    /// Everything that some commits reach, and those of `following` (annotated tags) that name something of it. `None`
    /// where the repository leaves the walk to its caller.
    fn closure(&self, wanted: &[ObjectId], following: &[Ref]) -> Result<Option<Closure>, RepositoryError> {
        let _ = (wanted, following);
        Ok(None)
    }
}

/// Everything that some objects reach, themselves among it, each once and in an order that suits the repository.
pub struct Closure {
    /// How many objects.
    pub count: u64,
    /// The objects, as they are stored.
    pub objects: Box<dyn ClosureObjects>,
}

/// Gives the objects of a closure one after the other.
pub trait ClosureObjects: Send {
    /// The next one; `None` when there is none left.
    fn next(&mut self) -> Result<Option<ClosureObject<'_>>, RepositoryError>;
}

/// An object of a closure, in the form in which it lies in the repository.
pub struct ClosureObject<'a> {
    /// Counts objects, so that later ones can name it as their base. At 0 again, those before are named no more.
    pub place: u32,
    /// The kind of the object (never of the delta).
    pub kind: Kind,
    /// Length of the inflated stream.
    pub size_bytes: u64,
    /// Set when the stream is a Git delta.
    pub base: Option<ClosureBase>,
    /// The zlib stream, to its end.
    pub zlib: Zlib<'a>,
}

/// What a delta of a closure is made against: something that came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosureBase {
    /// The object of this place.
    Place(u32),
    /// An object whose place counts no more.
    Id(ObjectId),
}

/// One wanted change of a ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefUpdate {
    /// Full name.
    pub name: Vec<u8>,
    /// What it must name now; zero when it must not exist.
    pub old: ObjectId,
    /// What it shall name; zero to delete it.
    pub new: ObjectId,
}

/// How an object came: as itself, or as a delta against another one.
#[derive(Debug, Clone, Copy)]
pub enum Received<'a> {
    /// `zlib` inflates to the content.
    Whole {
        /// The zlib stream as it was sent.
        zlib: &'a [u8],
    },
    /// `zlib` inflates to a Git delta that makes the content out of `base`, which the quarantine or its view has.
    /// An implementation may keep the delta or deflate the content anew.
    Delta {
        /// The base.
        base: ObjectId,
        /// Length of the inflated delta.
        delta_size_bytes: u64,
        /// The zlib stream as it was sent.
        zlib: &'a [u8],
    },
}

/// A place for objects that nobody sees yet. Its `Objects` half answers for the quarantine and the view below it.
pub trait Quarantine: Objects + Send {
    /// Keeps a small object whose id, form and links were checked. Putting an object twice is no error.
    fn put(&mut self, id: ObjectId, object: &Object, received: Received<'_>) -> Result<(), RepositoryError>;

    /// Begins a large blob whose zlib stream comes in pieces.
    fn begin_large(&mut self) -> Result<Box<dyn LargeObject + '_>, RepositoryError>;

    /// A place for bytes of which any piece may be wanted again, and that nobody else wants: the base of a large delta.
    fn spool(&self) -> Result<Box<dyn Spool>, RepositoryError>;

    /// Says what a commit, that a ref will name, reaches: all of it, itself among it. A repository that keeps notes of
    /// such things has one for nothing.
    fn will_reach(&mut self, head: ObjectId, reached: Selection) {
        let _ = (head, reached);
    }

    /// Moves refs, in one transaction with everything that was put; flushed when it returns. Each update compares
    /// `old` with what the ref names at that moment. With `atomic` one refusal refuses all. One answer an update, in
    /// order: `Err` holds a few words for the pusher.
    fn publish(
        self: Box<Self>,
        updates: &[RefUpdate],
        atomic: bool,
    ) -> Result<Vec<Result<(), String>>, RepositoryError>;
}

/// A large object on its way in. Dropping it forgets it.
pub trait LargeObject {
    /// The next bytes of the zlib stream.
    fn append(&mut self, zlib: &[u8]) -> Result<(), RepositoryError>;

    /// The stream is complete and is this object.
    fn finish(self: Box<Self>, id: ObjectId, header: Header) -> Result<(), RepositoryError>;
}

/// Bytes that are written once and then read in any order. Dropping it forgets them.
pub trait Spool: Send {
    /// The next bytes.
    fn append(&mut self, bytes: &[u8]) -> Result<(), RepositoryError>;

    /// Fills `into` with what stands from `offset` on, all of which was appended.
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), RepositoryError>;
}

/// A repository that can be served and fetched into.
pub trait Repository: Send + Sync {
    /// The state as of now.
    fn view(&self) -> Result<Box<dyn View + '_>, RepositoryError>;

    /// An empty quarantine over the state as of now.
    fn quarantine(&self) -> Result<Box<dyn Quarantine + '_>, RepositoryError>;
}
