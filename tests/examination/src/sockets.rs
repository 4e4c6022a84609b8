//! std's sockets on the loopback.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

/// Serves one connection of a fresh listener on another thread; gives the listener's address.
fn serve<T: Send + 'static>(
    address: &str,
    work: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, thread::JoinHandle<T>) {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    (address, thread::spawn(move || work(listener.accept().unwrap().0)))
}

fn echo(mut stream: TcpStream) -> usize {
    let (mut buffer, mut all) = ([0; 4096], 0);
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => return all,
            count => {
                stream.write_all(&buffer[..count]).unwrap();
                all += count;
            }
        }
    }
}

/// Says something, hears it back, ends.
fn say(mut stream: TcpStream, words: &[u8]) -> usize {
    stream.write_all(words).unwrap();
    let mut heard = vec![0; words.len()];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(heard, words);
    stream.shutdown(Shutdown::Write).unwrap();
    stream.read(&mut heard).unwrap()
}

pub fn tcp_echo() -> String {
    let (address, server) = serve("127.0.0.1:0", echo);
    let stream = TcpStream::connect(address).unwrap();
    let same = stream.peer_addr().unwrap() == address && stream.local_addr().unwrap().ip() == address.ip();
    let end = say(stream, b"hello there");
    format!("addresses right: {same}, echoed {}, then {end}", server.join().unwrap())
}

pub fn tcp_v6() -> String {
    let (address, server) = serve("[::1]:0", echo);
    let end = say(TcpStream::connect(address).unwrap(), b"hello six");
    format!("echoed {}, then {end}", server.join().unwrap())
}

pub fn dual_stack() -> String {
    let (address, server) = serve("[::]:0", |stream| {
        let SocketAddr::V6(peer) = stream.peer_addr().unwrap() else { return "an IPv4 peer".to_string() };
        echo(stream);
        format!("a mapped peer: {}", peer.ip().to_ipv4_mapped().is_some())
    });
    say(TcpStream::connect(("127.0.0.1", address.port())).unwrap(), b"four to six");
    server.join().unwrap()
}

pub fn half_close() -> String {
    let (address, server) = serve("127.0.0.1:0", |mut stream| {
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        stream.write_all(all.to_uppercase().as_bytes()).unwrap();
    });
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"after the end, an answer").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let broken = stream.write(b"more").unwrap_err().kind();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    server.join().unwrap();
    format!("{answer:?}, and writing is {broken:?}")
}

pub fn peek_and_options() -> String {
    let (address, server) = serve("127.0.0.1:0", |mut stream| {
        stream.write_all(b"look twice").unwrap();
        let _ = stream.read(&mut [0; 1]);
    });
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(30))).unwrap();
    let (mut once, mut again) = ([0; 10], [0; 10]);
    thread::sleep(Duration::from_millis(10));
    let peeked = stream.peek(&mut once).unwrap();
    stream.read_exact(&mut again).unwrap();
    let late = stream.read(&mut again).unwrap_err().kind();
    let line = format!(
        "{peeked} {}, {late:?}, nodelay {}, timeout {}, error {:?}",
        once == *b"look twice",
        stream.nodelay().unwrap(),
        stream.read_timeout().unwrap().is_some(),
        stream.take_error().unwrap().map(|error| error.kind())
    );
    drop(stream);
    server.join().unwrap();
    line
}

pub fn reset() -> String {
    let (address, server) = serve("127.0.0.1:0", |stream| {
        // Data arrives and is never read: the end is a reset, not an orderly one.
        stream.peek(&mut [0; 1]).unwrap();
        drop(stream);
    });
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"nobody reads this").unwrap();
    server.join().unwrap();
    let end = stream.read(&mut [0; 8]);
    format!("{:?}", end.map_err(|error| error.kind()))
}

/// SO_LINGER of no time makes a close a reset; of some time, the close waits until what was sent has arrived.
pub fn linger() -> String {
    const BYTES: usize = 300_000;
    let end = |linger: Option<Duration>, bytes: usize| {
        let (address, server) = serve("127.0.0.1:0", move |mut stream| {
            let socket = SockRef::from(&stream);
            socket.set_linger(linger).unwrap();
            assert_eq!(socket.linger().unwrap(), linger);
            stream.write_all(&vec![7; bytes]).unwrap();
        });
        let mut stream = TcpStream::connect(address).unwrap();
        let mut heard = Vec::new();
        let end = stream.read_to_end(&mut heard);
        server.join().unwrap();
        format!("{:?}", end.map_err(|error| error.kind()))
    };
    format!(
        "{}, {}, {}",
        end(Some(Duration::ZERO), 0),
        end(Some(Duration::from_secs(20)), BYTES),
        end(None, BYTES)
    )
}

pub fn crossing() -> String {
    const BYTES: usize = 1 << 20;
    fn both_ways(stream: TcpStream, seed: u8) -> bool {
        let mut writer = stream.try_clone().unwrap();
        let writing = thread::spawn(move || {
            let part: Vec<u8> = (0..=255_u8).map(|byte| byte ^ seed).collect();
            (0..BYTES / 256).for_each(|_| writer.write_all(&part).unwrap());
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let (mut reader, mut all) = (stream, Vec::new());
        reader.read_to_end(&mut all).unwrap();
        writing.join().unwrap();
        let other = 0xff ^ seed;
        all.len() == BYTES && all.iter().enumerate().all(|(at, &byte)| byte == (at as u8) ^ other)
    }
    let (address, server) = serve("127.0.0.1:0", |stream| both_ways(stream, 0xff));
    let here = both_ways(TcpStream::connect(address).unwrap(), 0);
    format!("whole here {here}, there {}", server.join().unwrap())
}

pub fn udp() -> String {
    let (one, other) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("[::]:0").unwrap());
    let port = other.local_addr().unwrap().port();
    one.send_to(&[7; 1200], ("127.0.0.1", port)).unwrap();
    let mut buffer = [0; 2000];
    let (length, from) = other.recv_from(&mut buffer).unwrap();
    other.send_to(b"back", from).unwrap();
    one.connect(("127.0.0.1", port)).unwrap();
    one.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let back = one.recv(&mut buffer[..2]).unwrap();
    one.set_nonblocking(true).unwrap();
    let empty = one.recv(&mut buffer).unwrap_err().kind();
    let six = UdpSocket::bind("[::1]:0").unwrap();
    six.send_to(b"six", six.local_addr().unwrap()).unwrap();
    let (to_itself, _) = six.recv_from(&mut buffer).unwrap();
    format!("{length} there, {back} back of four, then {empty:?}, {to_itself} to itself")
}

pub fn names() -> String {
    let mut localhost: Vec<String> =
        ("localhost", 80).to_socket_addrs().unwrap().map(|address| address.ip().to_string()).collect();
    localhost.sort();
    localhost.dedup();
    let literal = "[fe80::1]:443".to_socket_addrs().unwrap().next().unwrap().to_string();
    let loopback = localhost.iter().any(|address| address == "127.0.0.1");
    let never = ("name.invalid", 80).to_socket_addrs().is_err();
    format!("localhost is 127.0.0.1: {loopback}, {literal}, .invalid fails: {never}")
}

pub fn crowd() -> String {
    let wanted = std::env::var("EXAM_CROWD").ok().and_then(|number| number.parse().ok()).unwrap_or(1_000);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let mut streams = Vec::new();
        for _ in 0..wanted {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"w").unwrap();
            streams.push(stream);
        }
        // All are open at once now; each says a byte and hears one.
        streams.iter_mut().map(|stream| stream.read(&mut [0; 1]).unwrap()).sum::<usize>()
    });
    let mut streams = Vec::new();
    for _ in 0..wanted {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
        streams.push(stream);
    }
    for stream in &mut streams {
        match stream.write(b"c") {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{error}"),
        }
    }
    format!(
        "{} of all answered: {}",
        if streams.len() == wanted { "all" } else { "some" },
        server.join().unwrap() == wanted
    )
}

/// What `std::io::copy` takes shortcuts for on Linux: a file to a socket, a file to a pipe.
pub fn copied() -> String {
    let zeros = |count| std::fs::File::open("/dev/zero").unwrap().take(count);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut there = listener.accept().unwrap().0;
    let reader = thread::spawn(move || std::io::copy(&mut there, &mut std::io::sink()).unwrap());
    let sent = std::io::copy(&mut zeros(100_000), &mut here).unwrap();
    drop(here);
    let arrived = reader.join().unwrap();
    let (mut out, mut into) = std::io::pipe().unwrap();
    let reader = thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()).unwrap());
    let piped = std::io::copy(&mut zeros(200_000), &mut into).unwrap();
    drop(into);
    format!("{sent} sent, {arrived} came; {piped} into a pipe, {} out of it", reader.join().unwrap())
}
