//! What waits to be written: many put, one at a time takes all that is there and runs it: the writer's thread, or one that
//! put something and would only wait. Waking another thread and being woken takes longer than a flush of a fast disk.

use std::collections::VecDeque;

use super::sync::{Condvar, Mutex, MutexGuard, TryLockError};

/// A queue that ends.
pub(crate) struct Queue<T: ?Sized = dyn super::Job> {
    state: Mutex<State<T>>,
    filled: Condvar,
    /// Held by the one who runs what he took.
    turn: Mutex<()>,
}

struct State<T: ?Sized> {
    waiting: VecDeque<Box<T>>,
    closed: bool,
}

impl<T: ?Sized> Default for Queue<T> {
    fn default() -> Self {
        let state = State { waiting: VecDeque::new(), closed: false };
        Queue { state: Mutex::new(state), filled: Condvar::new(), turn: Mutex::new(()) }
    }
}

impl<T: ?Sized> State<T> {
    fn take(&mut self, most: usize) -> Vec<Box<T>> {
        let count = self.waiting.len().min(most);
        self.waiting.drain(..count).collect()
    }
}

impl<T: ?Sized> Queue<T> {
    /// Adds one at the end, for the writer's thread; gives it back when the queue is closed.
    pub(crate) fn put(&self, one: Box<T>) -> Result<(), Box<T>> {
        self.add(one)?;
        self.filled.notify_one();
        Ok(())
    }

    /// Adds one at the end, and has what waits run here if nobody runs anything. Says whether that was so; gives it back when
    /// the queue is closed.
    pub(crate) fn put_and_run(
        &self,
        one: Box<T>,
        most: usize,
        run: impl FnOnce(Vec<Box<T>>),
    ) -> Result<bool, Box<T>> {
        self.add(one)?;
        let Some(turn) = self.try_turn() else {
            // Whoever has the turn looks for more when he has given it back.
            return Ok(false);
        };
        let taken = self.lock().take(most);
        let ran = !taken.is_empty();
        if ran {
            run(taken);
        }
        drop(turn);
        if !self.lock().waiting.is_empty() {
            self.filled.notify_one();
        }
        Ok(ran)
    }

    /// Waits until there is something and runs at most `most` of it; `false` once the queue is closed and empty.
    pub(crate) fn run_next(&self, most: usize, run: impl FnOnce(Vec<Box<T>>)) -> bool {
        let mut state = self.lock();
        while state.waiting.is_empty() {
            if state.closed {
                return false;
            }
            state = self.filled.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        drop(state);
        let _turn = self.turn.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let taken = self.lock().take(most);
        if !taken.is_empty() {
            run(taken);
        }
        true
    }

    fn add(&self, one: Box<T>) -> Result<(), Box<T>> {
        let mut state = self.lock();
        if state.closed {
            return Err(one);
        }
        state.waiting.push_back(one);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn try_turn(&self) -> Option<MutexGuard<'_, ()>> {
        match self.turn.try_lock() {
            Ok(turn) => Some(turn),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Takes no more. What waits is still taken.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }
}
