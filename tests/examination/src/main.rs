//! An examination of what std, tokio and rustls are given by whatever carries them: Linux, our kernel in a Linux process,
//! our kernel on Xen. Its transcript must be the same everywhere: it says what was found, never a time or an address.
//!
//! | environment | meaning |
//! |---|---|
//! | `EXAM_DISK` | file or disk of 16 MiB to write on; without it the disk is not examined |
//! | `EXAM_PEER` | addresses (with commas) of a peer that echoes TCP and UDP on one port; without it the wire is not examined |
//! | `EXAM_PORT` | port to serve at the end, until a client says `stop`; TLS on the next one; without it nothing is served |
//! | `EXAM_CRASH` | `stack`, `heap` or `abort`: end that way, instead of an examination |
//! | `EXAM_WAIT` | wait for SIGTERM and say so, instead |
//! | `EXAM_CLOCK` | print the wall clock, and so many seconds later again, instead |
//! | `EXAM_LOOKUP` | print the addresses of that name, instead |
//! | `EXAM_ONLY` | ask only the questions whose names hold this |
//! | `EXAM_CROWD` | connections at once on the loopback, 1,000 without it |

#[cfg(any(feature = "hosted", feature = "xen"))]
extern crate kernel as _;

mod corners;
mod crash;
mod disk;
mod epoll;
mod errors;
mod service;
mod signals;
mod sockets;
mod tasks;
mod threads;
mod tls;
mod wire;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// One question: its name, and what answers it with a line of the transcript, or panics.
type Question = (&'static str, fn() -> String);

const QUESTIONS: &[Question] = &[
    ("threads return values", threads::return_values),
    ("locks keep a count right", threads::locks),
    ("a condition variable hands over in turns", threads::condition_variable),
    ("channels keep order and end", threads::channels),
    ("a barrier lets all go at once", threads::barrier),
    ("parking and unparking", threads::parking),
    ("thread-locals are destroyed at a thread's end", threads::thread_locals),
    ("a scoped thread borrows", threads::scoped),
    ("a lock is poisoned by a panic", threads::poisoning),
    ("sleep is neither short nor long", threads::sleep),
    ("a wait with a timeout ends", threads::wait_timeout),
    ("the clock goes forward", threads::clock),
    ("a hundred threads at once", threads::many),
    ("random numbers differ", threads::random),
    ("floating point beyond the processor's", threads::floats),
    ("what is not there answers with its error", errors::paths),
    ("what a machine has none of", errors::beyond),
    ("errors of sockets", errors::sockets),
    ("errors have their words", errors::words),
    ("a datagram that nobody takes", errors::refused_datagrams),
    ("TCP on the loopback, both ways", sockets::tcp_echo),
    ("TCP over IPv6", sockets::tcp_v6),
    ("a listener for both families", sockets::dual_stack),
    ("half-close", sockets::half_close),
    ("peek, timeouts, options", sockets::peek_and_options),
    ("a reset for unread data", sockets::reset),
    ("a close that lingers", sockets::linger),
    ("a megabyte each way at once", sockets::crossing),
    ("a file to a socket, a file to a pipe", sockets::copied),
    ("UDP on the loopback", sockets::udp),
    ("names of this machine", sockets::names),
    ("a half that is not read any more", corners::read_half),
    ("options that are set are there", corners::options),
    ("all of the loopback", corners::loopbacks),
    ("datagrams of any length", corners::datagrams),
    ("a listener whom everybody left", corners::listeners),
    ("what was opened for one thing", corners::files),
    ("places in a big file", corners::places),
    ("waits without an end", corners::waits),
    ("asking instead of waiting", corners::asking),
    ("memory that is not there", corners::memory),
    ("a crowd of connections", sockets::crowd),
    ("an epoll entry outlives its number", epoll::duplicates),
    ("tasks, channels and timers of tokio", tasks::tasks),
    ("a panic ends its task alone", tasks::panic),
    ("blocking work beside tasks", tasks::blocking),
    ("a signal ends what waits, or lets it go on", signals::interrupted),
    ("tokio's sockets", tasks::sockets),
    ("a TLS handshake", tls::handshake),
    ("the disk keeps what was written", disk::keeps),
    ("odd offsets and lengths", disk::odd),
    ("the disk's end", disk::end),
    ("echo across the wire", wire::echo),
    ("a big transfer across the wire", wire::big),
    ("UDP across the wire", wire::udp),
];

fn main() -> ExitCode {
    let mut failed = 0;
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // A panic that a question wants is no news.
        if !info.to_string().contains("wanted") {
            quiet(info);
        }
    }));
    if let Some(code) = crash::instead() {
        return code;
    }
    println!("examination: {} questions", QUESTIONS.len());
    let only = std::env::var("EXAM_ONLY").unwrap_or_default();
    for (name, question) in QUESTIONS.iter().filter(|(name, _)| name.contains(&only)) {
        match catch_unwind(AssertUnwindSafe(question)) {
            Ok(answer) => println!("{name}: {answer}"),
            Err(_) => {
                failed += 1;
                println!("{name}: FAILED");
            }
        }
    }
    if let Ok(port) = std::env::var("EXAM_PORT") {
        match port.parse() {
            Ok(port) => println!("served: {}", service::serve(port)),
            Err(_) => println!("EXAM_PORT={port} is not a port"),
        }
    }
    println!("examination: {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
