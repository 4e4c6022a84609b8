//! Ends that are wanted, to see how they are named; and other things to do instead of an examination.

use std::hint::black_box;
use std::net::ToSocketAddrs;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::tasks;

/// Does what the environment wants instead of an examination, if it wants something.
pub fn instead() -> Option<ExitCode> {
    if let Ok(kind) = std::env::var("EXAM_CRASH") {
        crash(&kind);
        return Some(ExitCode::FAILURE);
    }
    if std::env::var_os("EXAM_WAIT").is_some() {
        wait();
        return Some(ExitCode::SUCCESS);
    }
    if let Ok(seconds) = std::env::var("EXAM_CLOCK") {
        tell_time(seconds.parse().unwrap());
        return Some(ExitCode::SUCCESS);
    }
    if let Ok(name) = std::env::var("EXAM_LOOKUP") {
        return Some(look_up(&name));
    }
    None
}

fn crash(kind: &str) {
    match kind {
        "stack" => println!("{}", deeper(1)),
        "heap" => {
            let mut all = Vec::new();
            loop {
                all.push(black_box(vec![1_u8; 100_000]));
            }
        }
        _ => std::process::abort(),
    }
}

#[expect(unconditional_recursion, reason = "the overflow is what is wanted")]
fn deeper(depth: u64) -> u64 {
    let here = black_box([depth; 64]);
    deeper(black_box(depth + 1)) + here[black_box(3)]
}

fn wait() {
    tasks::runtime().block_on(async {
        let mut asked = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        println!("waiting");
        asked.recv().await;
        println!("flushed");
    });
}

/// Says what time it is, now and so many seconds later, and whether both clocks went as far between.
fn tell_time(seconds: u64) {
    // Both at one moment: again if something came between.
    let read = || loop {
        let before = Instant::now();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        if before.elapsed() < Duration::from_millis(5) {
            return (wall, before);
        }
    };
    let (wall, monotonic) = read();
    println!("clock first: {}", wall.as_secs());
    std::thread::sleep(Duration::from_secs(seconds));
    let (later, last) = read();
    println!("clock last: {}", later.as_secs());
    let (one, other) = (later - wall, last - monotonic);
    let even = one.abs_diff(other) < Duration::from_millis(20) && other >= Duration::from_secs(seconds);
    println!("clock: {}", if even { "even" } else { "uneven" });
}

/// Waits a little for addresses to come, then asks.
fn look_up(name: &str) -> ExitCode {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Ok(found) = (name, 80).to_socket_addrs() {
            let mut found: Vec<String> = found.map(|address| address.ip().to_string()).collect();
            found.dedup();
            // Router advertisements come in their own time.
            std::thread::sleep(Duration::from_secs(2));
            println!("lookup {name}: {}", found.join(" "));
            return ExitCode::SUCCESS;
        }
        if Instant::now() > deadline {
            println!("lookup {name}: nothing");
            return ExitCode::FAILURE;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
