//! Threads, locks, channels, clocks.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, RwLock, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

pub fn return_values() -> String {
    let threads: Vec<_> = (0..8_u64).map(|number| thread::spawn(move || number * number)).collect();
    let sum: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    format!("the sum of eight squares is {sum}")
}

pub fn locks() -> String {
    let (count, table) = (Arc::new(Mutex::new(0)), Arc::new(RwLock::new(Vec::new())));
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let (count, table) = (count.clone(), table.clone());
            thread::spawn(move || {
                for step in 0..1_000 {
                    let mut count = count.lock().unwrap();
                    let seen = *count;
                    if step % 100 == 0 {
                        // Others get their chance while the lock is held.
                        thread::yield_now();
                    }
                    *count = seen + 1;
                }
                table.write().unwrap().push(number);
                assert!(!table.read().unwrap().is_empty());
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    format!("{} and {}", count.lock().unwrap(), table.read().unwrap().len())
}

pub fn condition_variable() -> String {
    let turn = Arc::new((Mutex::new((0_usize, String::new())), Condvar::new()));
    let threads: Vec<_> = (0..3_usize)
        .map(|me| {
            let turn = turn.clone();
            thread::spawn(move || {
                let (state, changed) = &*turn;
                for round in 0..3 {
                    let mut state = changed
                        .wait_while(state.lock().unwrap(), |(next, _)| *next != round * 3 + me)
                        .unwrap();
                    state.0 += 1;
                    state.1.push(char::from(b'a' + me as u8));
                    changed.notify_all();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    turn.0.lock().unwrap().1.clone()
}

pub fn channels() -> String {
    let (send, receive) = mpsc::sync_channel(2);
    let producer = thread::spawn(move || (0..100).for_each(|number| send.send(number).unwrap()));
    let received: Vec<i32> = receive.iter().collect();
    producer.join().unwrap();
    assert!(received.is_sorted());
    let (_kept, empty) = mpsc::channel::<()>();
    let late = empty.recv_timeout(Duration::from_millis(5));
    format!("{} in order, then {late:?}", received.len())
}

pub fn barrier() -> String {
    let (barrier, before) = (Arc::new(Barrier::new(5)), Arc::new(AtomicUsize::new(0)));
    let threads: Vec<_> = (0..5)
        .map(|_| {
            let (barrier, before) = (barrier.clone(), before.clone());
            thread::spawn(move || {
                before.fetch_add(1, Ordering::SeqCst);
                let leader = barrier.wait().is_leader();
                (leader, before.load(Ordering::SeqCst))
            })
        })
        .collect();
    let seen: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    format!(
        "{} leader, all saw five: {}",
        seen.iter().filter(|one| one.0).count(),
        seen.iter().all(|one| one.1 == 5)
    )
}

pub fn parking() -> String {
    let parked = thread::spawn(|| {
        thread::park();
        thread::park_timeout(Duration::from_millis(5));
        "woken, then timed out"
    });
    thread::sleep(Duration::from_millis(5));
    parked.thread().unpark();
    parked.join().unwrap().to_string()
}

pub fn thread_locals() -> String {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Noted;
    impl Drop for Noted {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Ordering::SeqCst);
        }
    }
    thread_local! { static LOCAL: RefCell<Vec<Noted>> = const { RefCell::new(Vec::new()) }; }
    let threads: Vec<_> = (0..3)
        .map(|_| thread::spawn(|| LOCAL.with(|local| local.borrow_mut().extend([Noted, Noted]))))
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    format!("{} dropped, {} here", DROPPED.load(Ordering::SeqCst), LOCAL.with(|local| local.borrow().len()))
}

pub fn scoped() -> String {
    let mut words = vec!["one", "two"];
    let length = thread::scope(|scope| {
        scope.spawn(|| words.iter().map(|word| word.len()).sum::<usize>()).join().unwrap()
    });
    words.push("three");
    format!("{length}, then {}", words.len())
}

pub fn poisoning() -> String {
    let lock = Arc::new(Mutex::new(1));
    let held = lock.clone();
    let ended = thread::spawn(move || {
        let _guard = held.lock().unwrap();
        panic!("wanted");
    })
    .join();
    format!("thread failed: {}, lock poisoned: {}", ended.is_err(), lock.lock().is_err())
}

pub fn sleep() -> String {
    let start = Instant::now();
    for _ in 0..5 {
        thread::sleep(Duration::from_millis(20));
    }
    let slept = start.elapsed();
    assert!(slept >= Duration::from_millis(100), "{slept:?}");
    assert!(slept < Duration::from_secs(5), "{slept:?}");
    "five times twenty milliseconds took at least a hundred".to_string()
}

pub fn wait_timeout() -> String {
    let (lock, changed) = (Mutex::new(()), Condvar::new());
    let (_guard, result) = changed.wait_timeout(lock.lock().unwrap(), Duration::from_millis(10)).unwrap();
    format!("timed out: {}", result.timed_out())
}

pub fn clock() -> String {
    let mut last = Instant::now();
    for _ in 0..10_000 {
        let now = Instant::now();
        assert!(now >= last);
        last = now;
    }
    let since_2024 =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + Duration::from_secs(1_704_067_200));
    format!("and the year is past 2023: {}", since_2024.is_ok())
}

pub fn many() -> String {
    let barrier = Arc::new(Barrier::new(101));
    let threads: Vec<_> = (0..100)
        .map(|number| {
            let barrier = barrier.clone();
            let small = thread::Builder::new().stack_size(64 << 10).name(format!("one of many {number}"));
            small
                .spawn(move || {
                    barrier.wait();
                    thread::current().name().unwrap().len()
                })
                .unwrap()
        })
        .collect();
    barrier.wait();
    format!(
        "their names have {} letters",
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    )
}

pub fn random() -> String {
    use std::hash::{BuildHasher, RandomState};
    let numbers: HashSet<u64> = (0..50).map(|_| RandomState::new().hash_one(1)).collect();
    format!("{} of fifty", numbers.len())
}

/// What std's floats ask the mathematical library for.
pub fn floats() -> String {
    let x = std::hint::black_box(0.3_f64);
    let y = std::hint::black_box(0.3_f32);
    let doubles = [
        x.powf(2.5),
        x.exp_m1(),
        x.ln_1p(),
        x.asin(),
        x.atan2(2.0),
        x.sinh(),
        x.cbrt(),
        x.hypot(4.0),
        x.tan(),
    ];
    let floats = [
        y.powf(2.5),
        y.exp(),
        y.ln(),
        y.sin(),
        y.acos(),
        y.tanh(),
        y.cbrt(),
        y.hypot(4.0),
        y.mul_add(2.0, 1.0),
    ];
    format!("{:.9}, {:.5}", doubles.iter().sum::<f64>(), floats.iter().sum::<f32>())
}
