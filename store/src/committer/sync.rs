//! The primitives that the queue is made of; a test puts others here (`tests/parallel.rs`).

pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, TryLockError};
