//! Git's formats and smart HTTP protocol, as server and client, without I/O of their own.

pub mod client;
pub mod delta;
pub mod http;
mod id;
mod limits;
pub mod memory;
pub mod object;
pub mod pack;
pub mod pkt;
mod repository;
pub mod serve;
pub mod walk;

pub use id::{CollisionAttack, IdHasher, NotAnId, ObjectId};
pub use limits::Limits;
pub use object::{Kind, NotAKind};
pub use repository::{
    Closure, ClosureBase, ClosureObject, ClosureObjects, Head, Header, LargeObject, Object, Objects,
    Quarantine, Received, Ref, RefUpdate, Repository, RepositoryError, Spool, Stored, View, Zlib,
};
