//! Git's formats and smart HTTP protocol, as server and client, without I/O of their own.

mod id;
mod object;
mod repository;

pub use id::{CollisionAttack, IdHasher, NotAnId, ObjectId};
pub use object::{Kind, NotAKind};
pub use repository::{
    Head, Header, LargeObject, Object, Objects, Quarantine, Received, Ref, RefUpdate, Repository,
    RepositoryError, Stored, View,
};
