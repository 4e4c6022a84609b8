//! Answers of many parts, made piece by piece while they are sent, so that a large one takes little memory and leaves
//! room for others.

use std::sync::Arc;

use crate::household::view::{Collection, Member};
use crate::limits::{CHUNK_BYTES, YIELD_EVERY};
use crate::server::Body;
use crate::xml::write::Writer;

/// A body out of a head, parts that are rendered one after the other, and a tail. What fits into one piece is whole.
pub fn body<T: Send + 'static>(
    head: Writer,
    parts: impl Iterator<Item = T> + Send + 'static,
    render: impl FnMut(T, &mut Writer) + Send + 'static,
    tail: &'static str,
) -> Body {
    let mut pieces = Pieces { writer: head, parts, render, tail, ended: false };
    match pieces.next() {
        Some(first) if pieces.ended => Body::Whole(first.into()),
        Some(first) => Body::Stream(Box::new(std::iter::once(first).chain(pieces))),
        None => Body::Whole(bytes::Bytes::new()),
    }
}

struct Pieces<I, F> {
    writer: Writer,
    parts: I,
    render: F,
    tail: &'static str,
    ended: bool,
}

impl<T, I: Iterator<Item = T>, F: FnMut(T, &mut Writer)> Iterator for Pieces<I, F> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.ended {
            return None;
        }
        for _ in 0..YIELD_EVERY {
            let Some(part) = self.parts.next() else {
                self.ended = true;
                self.writer.raw(self.tail);
                break;
            };
            (self.render)(part, &mut self.writer);
            if self.writer.out.len() >= CHUNK_BYTES {
                break;
            }
        }
        Some(std::mem::take(&mut self.writer.out))
    }
}

/// All members of a collection, a shard at a time.
pub struct Members {
    collection: Arc<Collection>,
    shard: usize,
    ready: std::vec::IntoIter<(String, Member)>,
}

impl Members {
    /// Of this collection.
    pub fn of(collection: Arc<Collection>) -> Members {
        Members { collection, shard: 0, ready: Vec::new().into_iter() }
    }
}

impl Iterator for Members {
    type Item = (String, Member);

    fn next(&mut self) -> Option<(String, Member)> {
        loop {
            if let Some(member) = self.ready.next() {
                return Some(member);
            }
            if self.shard > 255 {
                return None;
            }
            let members: Vec<(String, Member)> =
                self.collection.shard_members(self.shard).map(|(n, m)| (n.to_string(), m.clone())).collect();
            self.shard += 1;
            self.ready = members.into_iter();
        }
    }
}
