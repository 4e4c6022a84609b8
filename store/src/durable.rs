//! The witness of a flush.

use std::ops::Deref;

/// Something that is on the device: only the store makes one, after a flush returned. Not to be confused with a value
/// that somebody merely computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Durable<T>(T);

impl<T> Durable<T> {
    pub(crate) fn flushed(value: T) -> Durable<T> {
        Durable(value)
    }

    /// The value, without its witness.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Durable<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: std::fmt::Display> std::fmt::Display for Durable<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
