//! Requests that cannot be answered at once, and how they are done: begun on the thread that received them, and carried on
//! by the runtime only when they have to wait for something (the device, a service that sleeps).

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::engine::Asker;

/// A request that cannot be answered at once: an update, a transfer, a signed question, a sleeping service.
pub struct Errand {
    /// The request.
    pub message: Vec<u8>,
    /// Who asks.
    pub asker: Asker,
    /// Where the replies go. Dropped without a reply: no answer.
    pub replies: Replies,
    /// Its place among the datagrams' errands.
    _place: Option<OwnedSemaphorePermit>,
}

/// Sends a datagram.
type SendOne = Box<dyn FnOnce(Vec<u8>) + Send>;

/// Where an errand's replies go.
pub enum Replies {
    /// To whoever listens: one, or the many of a transfer.
    Stream(mpsc::Sender<Vec<u8>>),
    /// Out as a datagram by whoever has it, at once; there is one.
    Datagram(Mutex<Option<SendOne>>),
}

impl Replies {
    /// Sends a reply; false when nobody listens any more.
    pub async fn send(&self, reply: Vec<u8>) -> bool {
        match self {
            Replies::Stream(stream) => stream.send(reply).await.is_ok(),
            Replies::Datagram(send) => {
                let send = send.lock().unwrap_or_else(PoisonError::into_inner).take();
                send.map(|send| send(reply)).is_some()
            }
        }
    }
}

type Doing = Pin<Box<dyn Future<Output = ()> + Send>>;
type Doer = Box<dyn Fn(Errand) -> Doing + Send + Sync>;

/// Who does errands. Until somebody does, they are dropped.
pub struct Errands {
    runtime: Handle,
    room: Arc<Semaphore>,
    doer: OnceLock<Doer>,
}

impl Errands {
    /// Errands on this runtime; at most so many of datagrams at once.
    pub fn new(runtime: Handle, datagrams_at_once: usize) -> Errands {
        Errands { runtime, room: Arc::new(Semaphore::new(datagrams_at_once)), doer: OnceLock::new() }
    }

    /// From now on `doer` does them; the first who says so.
    pub fn done_by(&self, doer: impl Fn(Errand) -> Doing + Send + Sync + 'static) {
        let _ = self.doer.set(Box::new(doer));
    }

    /// Begins a datagram's errand on this thread. When too many are under way it is dropped: the asker will ask again.
    pub fn begin(&self, message: &[u8], asker: Asker, send: impl FnOnce(Vec<u8>) + Send + 'static) {
        let (Some(doer), Ok(place)) = (self.doer.get(), self.room.clone().try_acquire_owned()) else {
            return;
        };
        let replies = Replies::Datagram(Mutex::new(Some(Box::new(send))));
        let _within = self.runtime.enter();
        begin(&self.runtime, doer(Errand { message: message.to_vec(), asker, replies, _place: Some(place) }));
    }

    /// Has the errand of a stream done, which bounds its own; the replies. None when nobody does any.
    pub fn replies_to(&self, message: Vec<u8>, asker: Asker) -> Option<mpsc::Receiver<Vec<u8>>> {
        let (replies, incoming) = mpsc::channel(4);
        let errand = Errand { message, asker, replies: Replies::Stream(replies), _place: None };
        self.runtime.spawn(self.doer.get()?(errand));
        Some(incoming)
    }
}

/// Polls once; what is not done then becomes a task when it is woken, and no thread is woken before.
fn begin(runtime: &Handle, mut doing: Doing) {
    let later = Arc::new(Later { state: Mutex::default(), runtime: runtime.clone() });
    let waker = Waker::from(later.clone());
    let poll = || doing.as_mut().poll(&mut Context::from_waker(&waker));
    // As in a task: a panic ends the errand and not its thread.
    if let Ok(Poll::Pending) = catch_unwind(AssertUnwindSafe(poll)) {
        later.wait(doing);
    }
}

/// An errand between its beginning and its being woken.
struct Later {
    state: Mutex<(Option<Doing>, bool)>,
    runtime: Handle,
}

impl Later {
    fn wait(&self, doing: Doing) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.1 {
            true => drop(self.runtime.spawn(doing)),
            false => state.0 = Some(doing),
        }
    }
}

impl Wake for Later {
    fn wake(self: Arc<Self>) {
        let doing = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.1 = true;
            state.0.take()
        };
        doing.map(|doing| self.runtime.spawn(doing));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc as threads;
    use std::time::Duration;

    const ASKER: Asker =
        Asker { address: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), stream: false };

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    /// Answers on which thread it was begun and ended; waits meanwhile if the message says so.
    fn doer(errand: Errand) -> Doing {
        Box::pin(async move {
            let begun = std::thread::current().id();
            match errand.message[0] {
                b'w' => tokio::time::sleep(Duration::from_millis(5)).await,
                b'y' => tokio::task::yield_now().await,
                b'p' => panic!("asked for"),
                _ => {}
            }
            let same = begun == std::thread::current().id();
            errand.replies.send(vec![u8::from(same)]).await;
        })
    }

    #[test]
    fn what_waits_for_nothing_is_answered_on_the_thread_that_began_it() {
        let runtime = runtime();
        let errands = Errands::new(runtime.handle().clone(), 2);
        let (told, hears) = threads::channel();
        errands.begin(b"-", ASKER, |_| panic!("nobody does them yet"));
        errands.done_by(doer);
        for (message, same) in [(b"-", 1), (b"w", 0), (b"y", 0), (b"-", 1)] {
            let told = told.clone();
            errands.begin(message, ASKER, move |reply| told.send(reply).unwrap());
            assert_eq!(hears.recv().unwrap(), [same]);
        }
        let mut replies = errands.replies_to(b"w".to_vec(), ASKER).unwrap();
        assert!(replies.blocking_recv().is_some() && replies.blocking_recv().is_none());
    }

    #[test]
    fn a_panic_gives_its_place_back_and_too_many_are_dropped() {
        let runtime = runtime();
        let errands = Errands::new(runtime.handle().clone(), 1);
        errands.done_by(doer);
        errands.begin(b"p", ASKER, |_| panic!("it has no reply"));
        assert_eq!(errands.room.available_permits(), 1);
        let (told, hears) = threads::channel();
        let second = told.clone();
        let held = errands.room.clone().try_acquire_owned().unwrap();
        errands.begin(b"-", ASKER, move |reply| second.send(reply).unwrap());
        drop(held);
        errands.begin(b"-", ASKER, move |reply| told.send(reply).unwrap());
        assert_eq!(hears.iter().count(), 1);
    }
}
