//! Signals that come while the main thread waits.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::getpid;
use tokio::signal::unix::{SignalKind, signal};

use crate::tasks;

const SOON: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(30);

/// Sends the program a signal soon, and then does something else.
fn soon(then: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::spawn(move || {
        thread::sleep(SOON);
        kill(getpid(), Signal::SIGUSR1).unwrap();
        thread::sleep(SOON);
        then();
    })
}

/// tokio's handler has SA_RESTART: what can go on does, poll and a receive with a timeout end (signal(7)).
pub fn interrupted() -> String {
    let runtime = tasks::runtime();
    let inside = runtime.enter();
    let mut handled = signal(SignalKind::user_defined1()).unwrap();
    let mut senders = vec![soon(|| ())];
    let polled = poll::<PollTimeout>(&mut [], LONG.try_into().unwrap());
    let polled = polled.map_or_else(|error| format!("{error:?}"), |_| String::from("in time"));

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    senders.push(soon(|| ()));
    let ended = socket.recv(&mut [0; 8]).err().map(|error| error.kind());

    let start = Instant::now();
    senders.push(soon(|| ()));
    thread::sleep(3 * SOON);
    let whole = start.elapsed() >= 3 * SOON;

    socket.set_read_timeout(None).unwrap();
    senders.push(soon(move || {
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"hello", address).unwrap();
    }));
    let received = socket.recv(&mut [0; 8]).unwrap();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    drop(inside);
    let handled = runtime.block_on(handled.recv()).is_some();
    let ended = ended == Some(ErrorKind::Interrupted);
    format!(
        "poll {polled}, a timed receive too: {ended}, a sleep whole: {whole}, a receive {received}, handled: {handled}"
    )
}
