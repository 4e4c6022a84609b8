//! What the protocol cores leave open, over sockets and the store: who may send, where mail goes, what is written first.

mod connection;
mod post;
mod rate;
mod receive;
mod submit;

pub use connection::{Door, serve};
pub use post::{Post, PostError};
