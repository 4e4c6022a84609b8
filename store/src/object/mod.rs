//! Git's objects in typed form. Ids and kinds come from `git-wire`; nothing here does I/O.

mod commit;
mod tag;
mod tree;

pub use commit::{Author, Commit, CommitId, Signature};
pub use tag::Tag;
pub use tree::Mode;
pub(crate) use tree::{RawEntry, TreeEntries, borrow_tree, decode_tree, encode_tree, tree_order};
