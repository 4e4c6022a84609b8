//! Corners of std that ordinary programs turn: what Linux does there, whoever carries us.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Seek, SeekFrom, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};

fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{:?}", error.kind()),
    }
}

/// Two ends of a connection on the loopback.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (here, listener.accept().unwrap().0)
}

/// What has arrived is there to be read after the program said that it reads no more; then comes the end.
pub fn read_half() -> String {
    let (mut here, mut there) = pair();
    there.write_all(b"before").unwrap();
    here.peek(&mut [0; 6]).unwrap();
    here.shutdown(Shutdown::Read).unwrap();
    let (mut first, mut all) = ([0; 6], Vec::new());
    let length = here.read(&mut first).unwrap();
    let rest = here.read_to_end(&mut all).unwrap();
    let twice = kind(here.shutdown(Shutdown::Read));
    here.write_all(b"still").unwrap();
    let heard = there.read(&mut first).unwrap();
    let both = (kind(here.shutdown(Shutdown::Both)), kind(here.write(b"x")));
    let end = kind(there.read(&mut first));
    format!("{length} then {rest}, again {twice}, writes {heard}, both {both:?}, end {end}")
}

/// What std and socket2 set of a socket is what they get.
pub fn options() -> String {
    let (here, there) = pair();
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let first = (here.ttl().unwrap(), datagrams.ttl().unwrap(), listener.ttl().unwrap());
    here.set_ttl(33).unwrap();
    datagrams.set_ttl(44).unwrap();
    listener.set_ttl(55).unwrap();
    let ttl = (here.ttl().unwrap(), datagrams.ttl().unwrap(), listener.ttl().unwrap());
    let wrong = (kind(here.set_ttl(0)), kind(datagrams.set_ttl(256)));
    let multicast = (
        datagrams.multicast_loop_v4().unwrap(),
        datagrams.multicast_ttl_v4().unwrap(),
        kind(datagrams.set_multicast_ttl_v4(7)),
        kind(datagrams.set_multicast_loop_v4(false)),
        datagrams.multicast_loop_v4().unwrap(),
        datagrams.multicast_ttl_v4().unwrap(),
    );
    let alive = TcpKeepalive::new()
        .with_time(Duration::from_secs(40))
        .with_interval(Duration::from_secs(7))
        .with_retries(3);
    let socket = SockRef::from(&there);
    socket.set_tcp_keepalive(&alive).unwrap();
    let keepalive = (
        socket.keepalive().unwrap(),
        kind(socket.tcp_keepalive_time()),
        kind(socket.tcp_keepalive_interval()),
        kind(socket.tcp_keepalive_retries()),
    );
    datagrams.set_broadcast(true).unwrap();
    let long = (
        here.set_read_timeout(Some(Duration::MAX)).is_ok(),
        kind(here.set_read_timeout(Some(Duration::ZERO))),
    );
    format!(
        "{first:?} {ttl:?} {wrong:?} {multicast:?} {keepalive:?} {} {long:?}",
        datagrams.broadcast().unwrap()
    )
}

/// All of 127.0.0.0/8 is this machine, and so is the unspecified address.
pub fn loopbacks() -> String {
    let listener = TcpListener::bind("127.0.0.2:0").unwrap();
    let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (_there, from) = listener.accept().unwrap();
    let ports = (from.ip(), here.peer_addr().unwrap().ip(), from.port() == here.local_addr().unwrap().port());
    let any = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = any.local_addr().unwrap().port();
    let to_any = TcpStream::connect(("0.0.0.0", port)).unwrap().peer_addr().unwrap().ip();
    let to_other = TcpStream::connect(("127.99.0.1", port)).unwrap().peer_addr().unwrap().ip();
    let wide = UdpSocket::bind("0.0.0.0:0").unwrap();
    wide.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let sender = UdpSocket::bind("127.0.0.3:0").unwrap();
    sender.send_to(b"x", ("127.0.0.4", wide.local_addr().unwrap().port())).unwrap();
    let heard = kind(wide.recv_from(&mut [0; 4]).map(|(length, from)| (length, from.ip())));
    wide.send_to(b"me", ("0.0.0.0", wide.local_addr().unwrap().port())).unwrap();
    let itself = kind(wide.recv_from(&mut [0; 4]).map(|(length, from)| (length, from.ip())));
    format!("{ports:?}, {to_any}, {to_other}, {heard}, {itself}")
}

/// Datagrams: none, long ones, looked at, refused.
pub fn datagrams() -> String {
    let (one, other) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    other.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let to = other.local_addr().unwrap();
    let mut room = vec![0; 70_000];
    one.send_to(&[], to).unwrap();
    let empty = kind(other.recv_from(&mut room).map(|(length, _)| length));
    one.send_to(&[1; 1000], to).unwrap();
    let looked = kind(other.peek_from(&mut room).map(|(length, _)| length));
    let cut = kind(other.recv(&mut room[..10]));
    let long = [9_000, 30_000, 65_507].map(|length| {
        let sent = kind(one.send_to(&vec![7; length], to));
        let came = kind(other.recv(&mut room));
        format!("{sent} {came}")
    });
    let longer = one.send_to(&vec![7; 65_508], to).is_err();
    let alone =
        (kind(one.peer_addr()), kind(one.send(b"x").map_err(|error| Error::from(error.kind()))).len() > 2);
    one.connect(to).unwrap();
    let connected = (one.peer_addr().unwrap() == to, one.send_to(b"on", to).unwrap());
    let broadcast = kind(other.send_to(b"x", "255.255.255.255:9"));
    let family = other.send_to(b"x", "[::1]:9").is_err();
    format!("{empty}, {looked} {cut}, {long:?} {longer}, {alone:?}, {connected:?}, {broadcast}, {family}")
}

/// A listener whose backlog is full, one that nobody waits at, one that is gone.
pub fn listeners() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let streams: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    drop(streams);
    // Who has left already is accepted all the same, and its stream is at its end.
    let ends =
        listener.incoming().take(100).filter(|stream| matches!(stream.as_ref().unwrap().read_one(), Ok(0)));
    let ended = ends.count();
    let again = kind(TcpListener::bind(address).map(drop));
    let clone = listener.try_clone().unwrap();
    drop(listener);
    let held = TcpStream::connect(address).is_ok();
    drop(clone);
    let gone = kind(TcpStream::connect(address).map(drop));
    let free = TcpListener::bind(address).is_ok();
    let soon = kind(TcpStream::connect_timeout(&address, Duration::ZERO).map(drop));
    format!("{ended}, {again}, {held}, {gone}, {free}, {soon}")
}

trait ReadOne {
    fn read_one(&self) -> std::io::Result<usize>;
}

impl ReadOne for TcpStream {
    fn read_one(&self) -> std::io::Result<usize> {
        let mut stream = self;
        stream.read(&mut [0; 1])
    }
}

/// What is opened for one thing does not do the other; text files have positions.
pub fn files() -> String {
    let mut to = OpenOptions::new().write(true).open("/dev/null").unwrap();
    let mut from = File::open("/dev/zero").unwrap();
    let wrong = (
        to.read(&mut [0; 4]).map_err(|error| error.raw_os_error()),
        from.write(&[1]).map_err(|error| error.raw_os_error()),
    );
    let mut hosts = File::open("/etc/hosts").unwrap();
    let all = std::fs::read("/etc/hosts").unwrap();
    let length = hosts.metadata().unwrap().len() == all.len() as u64;
    let end = hosts.seek(SeekFrom::End(-4)).unwrap() == all.len() as u64 - 4;
    let mut tail = Vec::new();
    hosts.read_to_end(&mut tail).unwrap();
    let mut part = [0; 3];
    hosts.read_exact_at(&mut part, 1).unwrap();
    let same = tail == all[all.len() - 4..] && part == all[1..4];
    let before = kind(hosts.seek(SeekFrom::Current(-100_000)));
    let zeros = from.read_at(&mut part, 77).unwrap();
    let kinds = (
        hosts.metadata().unwrap().is_file(),
        std::fs::metadata("/dev").unwrap().is_dir(),
        kind(File::open("/etc/hosts/x").map(drop)),
    );
    format!("{wrong:?}, {length}, {end}, {same}, {before}, {zeros}, {kinds:?}")
}

/// A disk's places: of both descriptors the same, none before the start, and each descriptor for what it was opened.
pub fn places() -> String {
    let Ok(path) = std::env::var("EXAM_DISK") else { return "no disk".to_string() };
    let mut reader = File::open(&path).unwrap();
    let writer = OpenOptions::new().write(true).open(&path).unwrap();
    let wrong = (
        reader.write(&[1]).map_err(|error| error.raw_os_error()),
        writer.read_at(&mut [0; 4], 0).map_err(|error| error.raw_os_error()),
        reader.write_at(&[1], 0).map_err(|error| error.raw_os_error()),
    );
    writer.write_all_at(b"corner", 1021).unwrap();
    writer.sync_all().unwrap();
    let mut six = [0; 6];
    reader.seek(SeekFrom::Start(1000)).unwrap();
    let mut same_position = reader.try_clone().unwrap();
    same_position.seek(SeekFrom::Current(21)).unwrap();
    reader.read_exact(&mut six).unwrap();
    let position = reader.stream_position().unwrap();
    let before = kind(reader.seek(SeekFrom::Start(5)).and_then(|_| reader.seek(SeekFrom::Current(-6))));
    let still = reader.stream_position().unwrap();
    let nothing = (reader.read(&mut []).unwrap(), writer.write_at(&[], 7).unwrap());
    format!("{wrong:?}, {}, {position}, {before} {still}, {nothing:?}", String::from_utf8_lossy(&six))
}

/// Waits that are meant to be for ever, threads with and without a name, a stack as asked for.
pub fn waits() -> String {
    let sleeper = thread::spawn(|| thread::sleep(Duration::MAX));
    let parked = thread::Builder::new().name("parked".to_string()).stack_size(1 << 20).spawn(|| {
        thread::park_timeout(Duration::MAX);
        let room = std::hint::black_box([1_u8; 64 << 10]);
        (thread::current().name().map(String::from), room[7])
    });
    let parked = parked.unwrap();
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let waiter = thread::spawn(move || receiver.recv_timeout(Duration::MAX).is_err());
    let start = Instant::now();
    thread::sleep(Duration::from_millis(50));
    let waiting = !sleeper.is_finished() && !parked.is_finished() && !waiter.is_finished();
    parked.thread().unpark();
    drop(sender);
    let unnamed = thread::spawn(|| thread::current().name().map(String::from)).join().unwrap();
    let early = start.elapsed() >= Duration::from_millis(50);
    format!("{waiting}, {:?}, {}, {unnamed:?}, {early}", parked.join().unwrap(), waiter.join().unwrap())
}

/// Who asks again and again instead of waiting still gets what others do meanwhile.
pub fn asking() -> String {
    let (mut here, mut there) = pair();
    here.set_nonblocking(true).unwrap();
    let writer = thread::spawn(move || there.write_all(b"x").unwrap());
    let heard = loop {
        match here.read(&mut [0; 1]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            heard => break kind(heard),
        }
    };
    writer.join().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let caller = thread::spawn(move || TcpStream::connect(address).unwrap());
    while listener.accept().is_err() {}
    caller.join().unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let worker = thread::spawn({
        let done = done.clone();
        move || done.store(true, Ordering::Relaxed)
    });
    let start = Instant::now();
    while !done.load(Ordering::Relaxed) && start.elapsed() < Duration::from_secs(20) {}
    worker.join().unwrap();
    let task = crate::tasks::runtime().block_on(async {
        let blocking = tokio::task::spawn_blocking(|| 7);
        while !blocking.is_finished() {
            tokio::task::yield_now().await;
        }
        blocking.await.unwrap()
    });
    format!("{heard}, accepted, {}, {task}", done.load(Ordering::Relaxed))
}

/// What cannot be had is refused, not fatal.
pub fn memory() -> String {
    let mut huge = Vec::<u8>::new();
    let refused = (huge.try_reserve(1 << 46).is_err(), huge.try_reserve(usize::MAX / 2).is_err());
    let mut grown = vec![3_u8; 100_000];
    grown.reserve_exact(1 << 20);
    grown.shrink_to_fit();
    let zeroed = vec![0_u64; 100_000].iter().all(|&word| word == 0);
    format!("{refused:?}, {}, {zeroed}", grown.iter().all(|&byte| byte == 3))
}
