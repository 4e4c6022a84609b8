//! A branchable, mergeable, Git-compatible store on a file or a bare disk.
//!
//! A [`Store`] holds Git's objects and refs, exactly: what is in it can be cloned, read and pushed to with stock git.
//! On top of them stand snapshots and transactions, typed merges, watches, and derived tables that change together
//! with the commits they are derived from. `docs/store-tour.md` is a tour.
//!
//! ```
//! use store::{Author, Options, Store};
//!
//! # fn main() -> store::Result<()> {
//! let store = Store::create(store::MemoryDevice::new(), Options::new())?;
//! let main = store.branch("main")?;
//! let mut change = main.begin()?;
//! change.put("notes/first.txt", "hello")?;
//! let commit = change.commit(Author::new("Ada", "ada@example.org"), "A first note")?;
//! assert_eq!(main.snapshot()?.read("notes/first.txt")?.as_deref(), Some(&b"hello"[..]));
//! assert_eq!(main.head(), Some(*commit));
//! # Ok(()) }
//! ```
//!
//! What is promised:
//! - `Ok` from a commit means flushed: a [`Durable`] exists only afterwards.
//! - A commit is all or nothing, also through a power cut at any moment.
//! - Readers never wait for the writer, and a [`Snapshot`] never changes.
//! - After a failed write or flush the store answers [`Error::ReadOnly`] and stays as it was.

mod blob;
mod branch;
mod cache;
mod closure;
mod committer;
mod core;
mod delta;
pub mod device;
mod diff;
mod durable;
mod edits;
mod engine;
mod error;
mod forget;
mod fsck;
mod history;
mod index;
mod large;
pub mod merge;
mod object;
mod options;
mod path;
mod refs;
mod repair;
mod repository;
mod snapshot;
mod staging;
mod store;
mod transaction;
mod watch;
mod zlib;

pub use blob::Blob;
pub use branch::Branch;
pub use device::{Device, FileDevice, MemoryDevice};
pub use diff::Change;
pub use durable::Durable;
pub use error::{Error, Result};
pub use forget::{Collected, Forgotten, PURGED, Retention, Statistics};
pub use fsck::{Checked, Problem};
pub use git_wire as wire;
pub use git_wire::{Kind, ObjectId};
pub use history::History;
pub use index::{Index, IndexEdits};
pub use large::BlobReader;
pub use merge::{Conflict, Merged};
pub use object::{Author, Commit, CommitId, Mode, Signature, Tag};
pub use options::{Clock, Options};
pub use path::{PATH_BYTES_MAX, TreePath, name_fault};
pub use repair::{Hit, Repaired};
pub use snapshot::{Entry, Snapshot};
pub use store::Store;
pub use transaction::Transaction;
pub use watch::{Event, Watch};
