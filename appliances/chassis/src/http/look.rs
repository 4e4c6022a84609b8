//! Looking for a quick client's next request before this thread sleeps.
//!
//! A processor that has gone to sleep takes 20 to 60 microseconds to wake (on a virtual machine its host has to schedule
//! it), longer than most requests take to answer. A client that asks the next thing as soon as it has its answer pays that
//! at every request. So a connection whose client was quick the last time looks a little longer: it gives the thread to
//! every other task, to the system, and to a look at all sockets, again and again for `LOOK_TIME`. Where another connection
//! asks meanwhile no thread sleeps anyway, and none looks. A machine of our own, which
//! has one processor, leaves it to others.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Context;
use std::time::Instant;

use crate::limits::{LOOK_TIME, LOOKS_IN_A_ROW};

/// Pieces of requests that came, over all connections.
static ASKED: AtomicU64 = AtomicU64::new(0);

/// Whether and how long one connection looks.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// When it answered last and what `ASKED` was then, until the next request comes.
    answered: Option<(Instant, u64)>,
    /// Requests, one after the other, that came within `LOOK_TIME` of the answer before, and no others meanwhile.
    quick: u32,
}

impl Look {
    /// A piece of an answer was written.
    pub(super) fn answered(&mut self) {
        self.answered = Some((Instant::now(), ASKED.load(Ordering::Relaxed)));
    }

    /// A piece of a request came.
    pub(super) fn asked(&mut self) {
        let before = ASKED.fetch_add(1, Ordering::Relaxed);
        if let Some((answered, asked)) = self.answered.take() {
            let quick = before == asked && answered.elapsed() < LOOK_TIME;
            self.quick = if quick { self.quick.wrapping_add(1) } else { 0 };
        }
    }

    /// Nothing came yet: has the task polled again soon, if that is worth it. Now and then a look is left out: another
    /// thread may sleep on the sockets, and whoever wakes it hands the connection to it, which then looks by itself.
    pub(super) fn again(&mut self, cx: &mut Context<'_>) {
        let Some((answered, asked)) = self.answered else { return };
        let worth = cfg!(feature = "process") && !self.quick.is_multiple_of(LOOKS_IN_A_ROW);
        if worth && ASKED.load(Ordering::Relaxed) == asked && answered.elapsed() < LOOK_TIME {
            std::thread::yield_now();
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        }
    }
}
