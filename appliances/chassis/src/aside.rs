//! Work that blocks, beside the runtime: on a thread, or here where there is no memory for one.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

/// Runs what blocks for milliseconds (a hash, a flush) beside the runtime. A machine of our own may have no memory for one more
/// thread: tokio's pool would then wait for a thread that nobody makes, or panic; here the work is done on the caller's,
/// and everything else waits for it.
///
/// `None` when the work panicked.
pub async fn aside<T, F>(work: F) -> Option<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    // More than one thread: a Linux process, whose pool grows.
    if Handle::current().runtime_flavor() != RuntimeFlavor::CurrentThread {
        return tokio::task::spawn_blocking(work).await.ok();
    }
    on_a_thread(std::thread::Builder::new().name("aside".into()), work).await
}

async fn on_a_thread<T, F>(thread: std::thread::Builder, work: F) -> Option<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (done, result) = oneshot::channel();
    let work = Arc::new(Mutex::new(Some(work)));
    let take = |work: &Mutex<Option<F>>| work.lock().unwrap_or_else(PoisonError::into_inner).take();
    let there = work.clone();
    let made = thread.spawn(move || {
        if let Some(work) = take(&there) {
            let _ = done.send(work()); // nobody waits any more: the connection is gone
        }
    });
    match made {
        Ok(_) => result.await.ok(),
        Err(_) => take(&work).map(|work| work()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_done_on_a_thread_or_here() {
        let here = std::thread::current().id();
        let who = || std::thread::current().id();
        assert!(aside(who).await.is_some_and(|there| there != here));
        // A thread that cannot be made: no address space has so large a stack.
        let impossible = std::thread::Builder::new().stack_size(1 << 60);
        assert_eq!(on_a_thread(impossible, who).await, Some(here));
        assert_eq!(aside(|| panic!("asked for")).await, None::<()>);
    }
}
