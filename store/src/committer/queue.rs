//! What waits for the writer: many put, one takes all that is there.

use std::collections::VecDeque;

use super::sync::{Condvar, Mutex};

/// A queue that ends.
pub(crate) struct Queue<T: ?Sized = dyn super::Job> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

struct State<T: ?Sized> {
    waiting: VecDeque<Box<T>>,
    closed: bool,
}

impl<T: ?Sized> Default for Queue<T> {
    fn default() -> Self {
        let state = State { waiting: VecDeque::new(), closed: false };
        Queue { state: Mutex::new(state), filled: Condvar::new() }
    }
}

impl<T: ?Sized> Queue<T> {
    /// Adds one at the end; gives it back when the queue is closed.
    pub(crate) fn put(&self, one: Box<T>) -> Result<(), Box<T>> {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if state.closed {
            return Err(one);
        }
        state.waiting.push_back(one);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits until there is something, takes at most `most`; `None` once the queue is closed and empty.
    pub(crate) fn take(&self, most: usize) -> Option<Vec<Box<T>>> {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        while state.waiting.is_empty() {
            if state.closed {
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        let count = state.waiting.len().min(most);
        Some(state.waiting.drain(..count).collect())
    }

    /// Takes no more. What waits is still taken.
    pub(crate) fn close(&self) {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).closed = true;
        self.filled.notify_all();
    }
}
