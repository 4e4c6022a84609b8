//! What the protocol cores leave open, over sockets and the store: who may send, where mail goes, what is written first.

mod connection;
mod post;
mod rate;
mod receive;
mod spool;
mod srs;
mod submit;

pub use connection::{Door, serve};
pub use post::{Parcel, Post, PostError};
pub use submit::send_own;

/// Whether our users can write to this address: anybody elsewhere, somebody who exists here.
pub fn may_write_to(post: &Post, to: &crate::smtp::Mailbox) -> Result<(), crate::smtp::Reply> {
    receive::recipient(post, to, true)
}
