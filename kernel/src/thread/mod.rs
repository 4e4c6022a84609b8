//! Threads: one virtual CPU, changed at blocking points (docs/decisions/0101).
//!
//! A thread runs until it calls into the kernel and has to wait, yields, or ends. [`block`] is the one place where a
//! thread waits: it looks through devices and timers, runs whoever can run, and when nobody can, waits in the carrier
//! for an event or the next deadline.

pub mod futex;
pub mod local;
mod stack;
mod switch;

use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::global::Global;
use crate::platform::{Current, Platform};
pub use stack::{Stack, overflow_of, largest as largest_stack, set_largest as set_largest_stack};

/// Number of a thread's place. Places are used again; tickets and serial numbers are not.
pub type Place = usize;

/// Most threads at once.
pub const THREADS_MAX: usize = 1024;

/// A program's entry into a thread, as `pthread_create` takes it.
pub type Entry = extern "C" fn(*mut c_void) -> *mut c_void;

/// One thread.
struct Thread {
    serial: i32,
    name: String,
    stack: Stack,
    local: local::Block,
    stack_pointer: usize,
    entry: Entry,
    argument: *mut c_void,
    state: State,
    /// Counts the thread's waits: a wake-up is for one wait, not for a later one.
    ticket: u64,
    deadline_ns: Option<u64>,
    /// How the latest wait ended.
    woken: Woken,
    /// The present wait ends when a signal's handler has run.
    heeds_signals: bool,
    detached: bool,
    joiner: Option<Waiting>,
    result: *mut c_void,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Running,
    Waiting,
    Ended,
}

/// One wait of one thread: whoever holds it can end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    place: Place,
    ticket: u64,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// Somebody called [`wake`].
    Event,
    /// Its deadline passed.
    Timeout,
    /// A signal's handler has run; `restarts` is its SA_RESTART.
    Signal {
        /// Calls that can go on as if nothing had happened do.
        restarts: bool,
    },
}

/// The thread that the program's `main` runs on: as on Linux it is the one that a signal to the program interrupts.
const MAIN: Place = 0;

struct Scheduler {
    threads: Vec<Option<Box<Thread>>>,
    ready: VecDeque<Place>,
    timers: BTreeSet<(u64, Place)>,
    current: Place,
    serial: i32,
    /// Ended, still to be freed by whoever runs next.
    ended: Vec<Place>,
}

static SCHEDULER: Global<Scheduler> = Global::new(Scheduler {
    threads: Vec::new(),
    ready: VecDeque::new(),
    timers: BTreeSet::new(),
    current: 0,
    serial: 0,
    ended: Vec::new(),
});

impl Scheduler {
    fn thread(&mut self, place: Place) -> &mut Thread {
        match self.threads.get_mut(place) {
            Some(Some(thread)) => thread,
            _ => crate::crash::machine(format_args!("there is no thread at place {place}")),
        }
    }

    fn wake(&mut self, waiting: Waiting, how: Woken) -> bool {
        let Some(Some(thread)) = self.threads.get_mut(waiting.place) else { return false };
        if thread.ticket != waiting.ticket || thread.state != State::Waiting {
            return false;
        }
        if matches!(how, Woken::Signal { .. }) && !thread.heeds_signals {
            return false;
        }
        thread.state = State::Ready;
        thread.woken = how;
        if let Some(deadline) = thread.deadline_ns.take() {
            self.timers.remove(&(deadline, waiting.place));
        }
        self.ready.push_back(waiting.place);
        true
    }
}

/// Makes a thread; it runs when the present one waits.
pub fn spawn(name: &str, stack_bytes: usize, entry: Entry, argument: *mut c_void) -> Option<Place> {
    if SCHEDULER.with(|scheduler| scheduler.threads.iter().flatten().count()) >= THREADS_MAX {
        return None;
    }
    let mut stack = Stack::new(stack_bytes)?;
    let Some(local) = local::Block::new() else {
        stack.give_back();
        return None;
    };
    let stack_pointer = switch::prepare(stack.top(), first_steps);
    let thread = Thread {
        serial: 0,
        name: name.into(),
        stack,
        local,
        stack_pointer,
        entry,
        argument,
        state: State::Ready,
        ticket: 0,
        deadline_ns: None,
        woken: Woken::Event,
        heeds_signals: false,
        detached: false,
        joiner: None,
        result: core::ptr::null_mut(),
    };
    SCHEDULER.with(|scheduler| {
        scheduler.serial += 1;
        let place = match scheduler.threads.iter().position(Option::is_none) {
            Some(place) => place,
            None => {
                scheduler.threads.push(None);
                scheduler.threads.len() - 1
            }
        };
        scheduler.threads[place] = Some(Box::new(Thread { serial: scheduler.serial, ..thread }));
        scheduler.ready.push_back(place);
        Some(place)
    })
}

/// Runs the first thread; the carrier's own stack is left for good.
pub fn run_first() -> ! {
    let mut abandoned = 0;
    let (next, local) = SCHEDULER.with(|scheduler| {
        let place = scheduler.ready.pop_front().unwrap_or_default();
        scheduler.current = place;
        let thread = scheduler.thread(place);
        thread.state = State::Running;
        (thread.stack_pointer, thread.local.thread_pointer())
    });
    Current::set_thread_pointer(local);
    Current::watch_stack(current_stack().0);
    // SAFETY: `next` was made by `prepare` and has not run; the abandoned stack is never switched back to.
    unsafe { switch::switch(&mut abandoned, next) };
    unreachable!("the first stack was switched back to")
}

/// The present wait, to be given to whoever will end it, before [`block`] is called.
pub fn prepare_to_wait() -> Waiting {
    SCHEDULER.with(|scheduler| {
        let place = scheduler.current;
        let thread = scheduler.thread(place);
        thread.ticket += 1;
        thread.state = State::Waiting;
        thread.heeds_signals = false;
        Waiting { place, ticket: thread.ticket }
    })
}

/// [`prepare_to_wait`] for a wait that a signal may end.
pub fn prepare_to_wait_or_be_interrupted() -> Waiting {
    let waiting = prepare_to_wait();
    SCHEDULER.with(|scheduler| scheduler.thread(waiting.place).heeds_signals = true);
    waiting
}

/// A signal's handler has run: ends the wait of the main thread, if it is one that heeds signals.
pub fn interrupt(restarts: bool) {
    SCHEDULER.with(|scheduler| {
        if let Some(Some(thread)) = scheduler.threads.get(MAIN) {
            let waiting = Waiting { place: MAIN, ticket: thread.ticket };
            scheduler.wake(waiting, Woken::Signal { restarts });
        }
    });
}

/// Waits until the wait from [`prepare_to_wait`] is ended by [`wake`] or by its deadline.
pub fn block(deadline_ns: Option<u64>) -> Woken {
    note_deadline(deadline_ns);
    crate::machine::turn();
    run_others();
    how_it_ended()
}

/// The same for a thread that has made a turn and done nothing since but look: it need not make another.
pub fn block_after_turn(deadline_ns: Option<u64>) -> Woken {
    note_deadline(deadline_ns);
    run_others();
    how_it_ended()
}

fn note_deadline(deadline_ns: Option<u64>) {
    SCHEDULER.with(|scheduler| {
        let place = scheduler.current;
        let thread = scheduler.thread(place);
        if thread.state == State::Waiting
            && let Some(deadline) = deadline_ns
        {
            thread.deadline_ns = Some(deadline);
            scheduler.timers.insert((deadline, place));
        }
    });
}

fn how_it_ended() -> Woken {
    SCHEDULER.with(|scheduler| {
        let place = scheduler.current;
        scheduler.thread(place).woken
    })
}

/// Ends a wait: its thread can run again. Says whether the wait was still on.
pub fn wake(waiting: Waiting) -> bool {
    SCHEDULER.with(|scheduler| scheduler.wake(waiting, Woken::Event))
}

/// Waits until a moment on the monotonic clock.
pub fn sleep_until(deadline_ns: u64) {
    let _ = prepare_to_wait();
    block(Some(deadline_ns));
}

/// The same, or until a signal's handler has run; without a moment for that alone.
pub fn sleep_or_be_interrupted(deadline_ns: Option<u64>) -> Woken {
    let _ = prepare_to_wait_or_be_interrupted();
    block(deadline_ns)
}

/// Lets the others run that can, and devices be looked after.
pub fn yield_now() {
    SCHEDULER.with(|scheduler| {
        let place = scheduler.current;
        scheduler.thread(place).state = State::Ready;
        scheduler.ready.push_back(place);
    });
    crate::machine::turn();
    run_others();
}

/// Lets the others run that can, if there are any; says so. A turn was made just before.
pub fn give_way() -> bool {
    let is_alone = SCHEDULER.with(|scheduler| {
        if scheduler.ready.is_empty() {
            return true;
        }
        let place = scheduler.current;
        scheduler.thread(place).state = State::Ready;
        scheduler.ready.push_back(place);
        false
    });
    if !is_alone {
        run_others();
    }
    !is_alone
}

/// A call came back without having waited: nothing there yet, or what time it is. A program that asks again and again would
/// keep away what it asks for, so after many such calls without a turn others get theirs.
pub fn asked_in_vain() {
    if ASKED_IN_VAIN.fetch_add(1, Ordering::Relaxed) >= ASKED_IN_VAIN_MAX {
        yield_now();
    }
}

/// Calls since the last turn that did not wait, and how many there may be.
static ASKED_IN_VAIN: AtomicU32 = AtomicU32::new(0);
const ASKED_IN_VAIN_MAX: u32 = 64;

/// Wakes whoever's deadline has passed.
pub fn expire_timers(now_ns: u64) {
    ASKED_IN_VAIN.store(0, Ordering::Relaxed);
    SCHEDULER.with(|scheduler| {
        while let Some(&(deadline, place)) = scheduler.timers.first() {
            if deadline > now_ns {
                break;
            }
            scheduler.timers.pop_first();
            let ticket = scheduler.thread(place).ticket;
            scheduler.thread(place).deadline_ns = None;
            scheduler.wake(Waiting { place, ticket }, Woken::Timeout);
        }
    });
}

/// Chooses who runs next and switches; returns when the calling thread runs again. A turn was made just before.
fn run_others() {
    loop {
        let (next, deadline) = SCHEDULER.with(|scheduler| {
            (scheduler.ready.pop_front(), scheduler.timers.first().map(|&(deadline, _)| deadline))
        });
        match next {
            Some(next) => return switch_to(next),
            None => crate::machine::wait(deadline),
        }
        crate::machine::turn();
    }
}

fn switch_to(next: Place) {
    let step = SCHEDULER.with(|scheduler| {
        let current = scheduler.current;
        scheduler.thread(next).state = State::Running;
        if next == current {
            return None;
        }
        scheduler.current = next;
        let (to, local) = (scheduler.thread(next).stack_pointer, scheduler.thread(next).local.thread_pointer());
        let from: *mut usize = &mut scheduler.thread(current).stack_pointer;
        Some((from, to, local))
    });
    if let Some((from, to, local)) = step {
        Current::set_thread_pointer(local);
        Current::watch_stack(current_stack().0);
        // SAFETY: `from` points into a boxed thread, which lives until `reap` runs on another stack; `to` was saved by
        // `switch` or made by `prepare`, and its thread is not running.
        unsafe { switch::switch(from, to) };
        reap();
    }
}

/// Frees what ended threads leave: not possible on their own stacks.
fn reap() {
    SCHEDULER.with(|scheduler| {
        while let Some(place) = scheduler.ended.pop() {
            let thread = scheduler.thread(place);
            thread.stack.give_back();
            thread.local.give_back();
            if thread.detached {
                scheduler.threads[place] = None;
            }
        }
    });
}

/// Where every thread begins.
extern "C" fn first_steps() -> ! {
    reap();
    let (entry, argument) = SCHEDULER.with(|scheduler| {
        let place = scheduler.current;
        let thread = scheduler.thread(place);
        (thread.entry, thread.argument)
    });
    end(entry(argument))
}

/// Ends the calling thread: destructors of its thread-locals, then its joiner.
pub fn end(result: *mut c_void) -> ! {
    local::run_destructors();
    SCHEDULER.with(|scheduler| {
        let place = scheduler.current;
        let thread = scheduler.thread(place);
        thread.state = State::Ended;
        thread.ticket += 1;
        thread.result = result;
        let joiner = thread.joiner.take();
        scheduler.ended.push(place);
        if let Some(joiner) = joiner {
            scheduler.wake(joiner, Woken::Event);
        }
    });
    crate::machine::turn();
    run_others();
    crate::crash::machine(format_args!("an ended thread ran again"))
}

/// Why a thread cannot be joined or detached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinError {
    /// There is none at that place, or it is detached.
    NoSuchThread,
    /// It is the caller, or somebody joins it already.
    Deadlock,
}

/// Waits for a thread to end and takes its result.
pub fn join(place: Place) -> Result<*mut c_void, JoinError> {
    loop {
        let ended = SCHEDULER.with(|scheduler| {
            let current = scheduler.current;
            let Some(Some(thread)) = scheduler.threads.get_mut(place) else { return Err(JoinError::NoSuchThread) };
            match thread.state {
                _ if thread.detached => Err(JoinError::NoSuchThread),
                State::Ended => {
                    let result = thread.result;
                    if scheduler.ended.contains(&place) {
                        scheduler.thread(place).detached = true;
                    } else {
                        scheduler.threads[place] = None;
                    }
                    Ok(Some(result))
                }
                _ if place == current || thread.joiner.is_some() => Err(JoinError::Deadlock),
                _ => Ok(None),
            }
        })?;
        if let Some(result) = ended {
            return Ok(result);
        }
        let waiting = prepare_to_wait();
        SCHEDULER.with(|scheduler| scheduler.thread(place).joiner = Some(waiting));
        block(None);
    }
}

/// Lets a thread go: nobody will join it.
pub fn detach(place: Place) -> Result<(), JoinError> {
    SCHEDULER.with(|scheduler| {
        let Some(Some(thread)) = scheduler.threads.get_mut(place) else { return Err(JoinError::NoSuchThread) };
        if thread.detached {
            return Err(JoinError::NoSuchThread);
        }
        thread.detached = true;
        if thread.state == State::Ended && !scheduler.ended.contains(&place) {
            scheduler.threads[place] = None;
        }
        Ok(())
    })
}

/// The running thread's place.
pub fn current() -> Place {
    SCHEDULER.with(|scheduler| scheduler.current)
}

/// The running thread's serial number: its `gettid`.
pub fn current_serial() -> i32 {
    SCHEDULER.with(|scheduler| {
        let place = scheduler.current;
        scheduler.thread(place).serial
    })
}

/// Names a thread, for the crash line.
pub fn set_name(place: Place, name: &str) {
    SCHEDULER.with(|scheduler| {
        if let Some(Some(thread)) = scheduler.threads.get_mut(place) {
            thread.name = name.into();
        }
    });
}

/// The running thread's stack: lowest usable address and length.
pub fn current_stack() -> (usize, usize) {
    SCHEDULER.with(|scheduler| {
        let place = scheduler.current;
        scheduler.thread(place).stack.range()
    })
}

/// Tells `say` the running thread's name and serial number, for a crash line; silent when the scheduler is busy.
pub fn describe_current(say: impl FnOnce(&str, i32)) {
    if SCHEDULER.is_lent() {
        return;
    }
    SCHEDULER.with(|scheduler| {
        let place = scheduler.current;
        if let Some(Some(thread)) = scheduler.threads.get(place) {
            say(&thread.name, thread.serial);
        }
    });
}
