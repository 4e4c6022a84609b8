//! Work for the writer, and those who wait for it: threads and futures alike.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Waker};

use super::Group;
use crate::{Error, Result};

/// Called once the flush is done, with its result.
pub(crate) type Completion = Box<dyn FnOnce(Result<()>)>;

/// Work that the writer runs.
pub(crate) trait Job: Send {
    /// Runs it. The answer waits for the flush; a refusal does not.
    fn run(self: Box<Self>, group: &mut Group<'_>) -> std::result::Result<Completion, Box<dyn FnOnce()>>;

    /// Answers without running.
    fn refuse(self: Box<Self>, error: Error);
}

/// Waits for the answer: as a future, or by blocking.
pub(crate) struct Waiting<T>(Arc<Slot<T>>);

struct Slot<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

struct State<T> {
    answer: Option<Result<T>>,
    waker: Option<Waker>,
}

impl<T> Slot<T> {
    fn fill(&self, answer: Result<T>) {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if state.answer.is_some() {
            return;
        }
        state.answer = Some(answer);
        let waker = state.waker.take();
        drop(state);
        self.filled.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Waiting<T> {
    pub fn wait(self) -> Result<T> {
        let mut state = self.0.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        loop {
            if let Some(answer) = state.answer.take() {
                return answer;
            }
            state = self.0.filled.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }
}

impl<T> Future for Waiting<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let mut state = self.0.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match state.answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

struct Work<T, F> {
    work: Option<F>,
    slot: Arc<Slot<T>>,
}

/// A job that is dropped unanswered (the writer is gone) still answers.
impl<T, F> Drop for Work<T, F> {
    fn drop(&mut self) {
        if self.work.is_some() {
            self.slot.fill(Err(Error::Closed));
        }
    }
}

pub(super) fn new<T, F>(work: F) -> (Box<dyn Job>, Waiting<T>)
where
    T: Send + 'static,
    F: FnOnce(&mut Group<'_>) -> Result<T> + Send + 'static,
{
    let state = Mutex::new(State { answer: None, waker: None });
    let slot = Arc::new(Slot { state, filled: Condvar::new() });
    (Box::new(Work { work: Some(work), slot: slot.clone() }), Waiting(slot))
}

impl<T, F> Job for Work<T, F>
where
    T: Send + 'static,
    F: FnOnce(&mut Group<'_>) -> Result<T> + Send + 'static,
{
    fn run(mut self: Box<Self>, group: &mut Group<'_>) -> std::result::Result<Completion, Box<dyn FnOnce()>> {
        let slot = self.slot.clone();
        let work = self.work.take();
        let run = std::panic::AssertUnwindSafe(|| work.map_or(Err(Error::Closed), |work| work(group)));
        // A panic in a merge policy is that job's failure, not the writer's.
        match std::panic::catch_unwind(run) {
            Ok(Ok(answer)) => Ok(Box::new(move |flushed: Result<()>| slot.fill(flushed.map(|()| answer)))),
            Ok(Err(error)) => Err(Box::new(move || slot.fill(Err(error)))),
            Err(_) => {
                let error = Error::Malformed("a merge policy panicked; nothing was changed".into());
                Err(Box::new(move || slot.fill(Err(error))))
            }
        }
    }

    fn refuse(mut self: Box<Self>, error: Error) {
        self.work = None;
        self.slot.fill(Err(error));
    }
}
