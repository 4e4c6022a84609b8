//! The queue between writers and the one who commits, under schedules that a model checker chooses: N writers, N
//! commits, none lost, none twice, and nobody waits for ever.

#[path = "../src/committer/queue.rs"]
#[allow(dead_code)]
mod queue;

mod sync {
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard, TryLockError};
}

/// What the queue carries by default in the store.
pub(crate) trait Job: Send {}

use queue::Queue;
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread;

const WRITERS: usize = 3;
const ROUNDS: usize = 2;

/// A writer's place for its answer, as `committer/job.rs` has it.
struct Slot {
    answer: Mutex<Option<usize>>,
    filled: Condvar,
}

struct Work {
    writer: usize,
    round: usize,
    slot: Arc<Slot>,
}

fn wait(slot: &Slot) -> usize {
    let mut answer = slot.answer.lock().unwrap();
    loop {
        if let Some(answer) = answer.take() {
            return answer;
        }
        answer = slot.filled.wait(answer).unwrap();
    }
}

/// What was committed, in order, and how many run at this moment.
#[derive(Default)]
struct Log {
    committed: Mutex<Vec<(usize, usize)>>,
    running: Mutex<()>,
}

impl Log {
    /// One flush for all of them, then the answers.
    #[expect(
        clippy::vec_box,
        reason = "the queue carries jobs of unknown size in the store, and gives them as it has them"
    )]
    fn run(&self, group: Vec<Box<Work>>) {
        assert!(!group.is_empty() && group.len() <= 2);
        let _alone = self.running.try_lock().expect("one runs at a time");
        let mut committed = self.committed.lock().unwrap();
        let first = committed.len();
        committed.extend(group.iter().map(|work| (work.writer, work.round)));
        drop(committed);
        for (at, work) in group.into_iter().enumerate() {
            *work.slot.answer.lock().unwrap() = Some(first + at);
            work.slot.filled.notify_all();
        }
    }
}

/// Every writer puts some for the thread, and runs some by itself.
fn write(queue: &Queue<Work>, log: &Log, writer: usize) -> Vec<usize> {
    (0..ROUNDS)
        .map(|round| {
            let slot = Arc::new(Slot { answer: Mutex::new(None), filled: Condvar::new() });
            let work = Box::new(Work { writer, round, slot: slot.clone() });
            if (writer + round).is_multiple_of(2) {
                assert!(queue.put(work).is_ok());
            } else {
                assert!(queue.put_and_run(work, 2, |group| log.run(group)).is_ok());
            }
            wait(&slot)
        })
        .collect()
}

fn parallel_writers() {
    let (queue, log): (Arc<Queue<Work>>, Arc<Log>) = (Arc::default(), Arc::default());
    let committer = {
        let (queue, log) = (queue.clone(), log.clone());
        thread::spawn(move || while queue.run_next(2, |group| log.run(group)) {})
    };
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (queue, log) = (queue.clone(), log.clone());
            thread::spawn(move || write(&queue, &log, writer))
        })
        .collect();
    let answers: Vec<Vec<usize>> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    queue.close();
    let late = Arc::new(Slot { answer: Mutex::new(None), filled: Condvar::new() });
    let late = Box::new(Work { writer: 9, round: 9, slot: late });
    assert!(queue.put_and_run(late, 2, |group| log.run(group)).is_err(), "closed is closed");
    committer.join().unwrap();
    let committed = log.committed.lock().unwrap();
    assert_eq!(committed.len(), WRITERS * ROUNDS);
    for (writer, answers) in answers.iter().enumerate() {
        assert!(answers.is_sorted(), "a writer's commits keep their order");
        for (round, place) in answers.iter().enumerate() {
            assert_eq!(committed[*place], (writer, round));
        }
    }
}

/// Some close while others still write: each is either committed or refused.
fn closing() {
    let queue: Arc<Queue<Work>> = Arc::new(Queue::default());
    let committer = {
        let queue = queue.clone();
        thread::spawn(move || {
            let mut taken = 0;
            while queue.run_next(8, |group| taken += group.len()) {}
            taken
        })
    };
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let queue = queue.clone();
            let slot = Arc::new(Slot { answer: Mutex::new(None), filled: Condvar::new() });
            thread::spawn(move || queue.put(Box::new(Work { writer, round: 0, slot })).is_ok())
        })
        .collect();
    queue.close();
    let accepted = writers.into_iter().map(|writer| writer.join().unwrap()).filter(|ok| *ok).count();
    assert_eq!(committer.join().unwrap(), accepted);
}

#[test]
fn n_parallel_writers_make_n_commits() {
    let times = if std::env::var("NYMOTE_LONG").is_ok_and(|long| long == "1") { 200_000 } else { 3_000 };
    shuttle::check_random(parallel_writers, times);
    shuttle::check_pct(parallel_writers, times, 3);
}

#[test]
fn a_closed_queue_loses_nothing_that_it_took() {
    shuttle::check_random(closing, 3_000);
    shuttle::check_dfs(closing, Some(20_000));
}
