//! Work that blocks, beside the runtime: on a thread, or here where there is no memory for one.
//!
//! A machine of our own may have no memory for one more thread. tokio's pool would then wait for a thread that nobody makes, or
//! panic; so a runtime of one thread, which every machine has, asks for each thread itself and hears when there is none.
//! This is the one place of the appliances that calls `spawn_blocking`: for Linux processes, whose pool grows.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::thread;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

use crate::http::Fault;

/// When somebody is told to come again: most requests have ended by then.
const RETRY_TIME_S: u64 = 5;

/// Work that is under way, or done: waits for its result; `None` when it panicked. Dropped, the work goes on and nobody hears of it.
#[derive(Debug)]
pub struct Begun<T>(oneshot::Receiver<T>);

/// There is no memory for a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no memory for a thread just now")]
pub struct NoThread;

impl From<NoThread> for Fault {
    fn from(_: NoThread) -> Fault {
        Fault::busy(RETRY_TIME_S)
    }
}

impl<T> Future for Begun<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(cx)).ok())
    }
}

/// Runs what blocks for milliseconds (a hash, a flush) beside the runtime. Where there is no memory for a thread the work is done
/// on the caller's, and everything else waits for it. `None` when it panicked.
pub async fn aside<T, F>(work: F) -> Option<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    begin(work).await
}

/// The same, begun at once and waited for later: where there is no memory for a thread it is done before this returns.
pub fn begin<T, F>(work: F) -> Begun<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    begin_on(new_thread(), work)
}

/// Begins work that itself waits for the runtime: for pieces of a body, for the network. On the runtime's own thread it would wait
/// for ever, so without memory for a thread it is not done.
pub fn on_thread<T, F>(work: F) -> Result<Begun<T>, NoThread>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (done, result) = oneshot::channel();
    carry(new_thread(), move || {
        let _ = done.send(work()); // nobody waits any more: the connection is gone
    })?;
    Ok(Begun(result))
}

fn begin_on<T, F>(thread: thread::Builder, work: F) -> Begun<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (done, result) = oneshot::channel();
    let work = Arc::new(Mutex::new(Some((work, done))));
    let there = work.clone();
    let do_it = |work: &Mutex<Option<(F, oneshot::Sender<T>)>>| {
        let taken = work.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((work, done)) = taken {
            let _ = done.send(work());
        }
    };
    if carry(thread, move || do_it(&there)).is_err() {
        do_it(&work);
    }
    Begun(result)
}

fn new_thread() -> thread::Builder {
    thread::Builder::new().name("aside".into())
}

/// Brings work to a thread: tokio's, where there are several, and otherwise a new one.
fn carry(thread: thread::Builder, work: impl FnOnce() + Send + 'static) -> Result<(), NoThread> {
    let runtime = Handle::current();
    if runtime.runtime_flavor() != RuntimeFlavor::CurrentThread {
        runtime.spawn_blocking(work);
        return Ok(());
    }
    let made = thread.spawn(move || {
        let _entered = runtime.enter();
        work();
    });
    made.map(drop).map_err(|_| NoThread)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread that cannot be made: no address space has so large a stack.
    fn impossible() -> thread::Builder {
        thread::Builder::new().stack_size(1 << 60)
    }

    #[tokio::test]
    async fn it_is_done_on_a_thread_or_here() {
        let here = thread::current().id();
        let who = || thread::current().id();
        assert!(aside(who).await.is_some_and(|there| there != here));
        assert_eq!(begin_on(impossible(), who).await, Some(here));
        assert_eq!(aside(|| panic!("asked for")).await, None::<()>);
    }

    #[tokio::test]
    async fn what_waits_for_the_runtime_is_done_on_a_thread_or_not_at_all() {
        let (sender, mut pieces) = tokio::sync::mpsc::channel(1);
        let sending = on_thread(move || (0..10).all(|n| sender.blocking_send(n).is_ok())).unwrap();
        let mut heard = Vec::new();
        while let Some(piece) = pieces.recv().await {
            heard.push(piece);
        }
        assert_eq!((heard.len(), sending.await), (10, Some(true)));
        assert_eq!(carry(impossible(), || unreachable!("there is no thread")), Err(NoThread));
    }

    #[tokio::test]
    async fn the_runtime_is_known_on_the_thread() {
        let slept = on_thread(|| Handle::current().block_on(async { tokio::spawn(async { 7 }).await.ok() }));
        assert_eq!(slept.unwrap().await, Some(Some(7)));
    }
}
