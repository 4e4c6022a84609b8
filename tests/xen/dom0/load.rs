//! Load from the first domain: what a client next to the guest sees, without the emulated machine's card between.
//!
//!   load answer ADDRESS PORT SECONDS   asks a DNS question (SOA of example.test) every 2 ms until an answer comes;
//!                                      prints the wall clock in ns
//!   load stream out|in ADDRESS PORT BYTES   a TCP stream from or to the guest's `stream` program; prints seconds
#![forbid(unsafe_code)]
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

type Outcome = Result<String, Box<dyn std::error::Error>>;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["answer", address, port, seconds] => answer(address, port, seconds),
        ["stream", "out", address, port, bytes] => stream_out(address, port, bytes),
        ["stream", "in", address, port, bytes] => stream_in(address, port, bytes),
        _ => Err("see the head of load.rs".into()),
    };
    match done {
        Ok(line) => println!("{line}"),
        Err(error) => {
            eprintln!("load: {error}");
            std::process::exit(1);
        }
    }
}

const QUESTION: &[u8] =
    b"\x4e\x59\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x04test\x00\x00\x06\x00\x01";

fn answer(address: &str, port: &str, seconds: &str) -> Outcome {
    let end = Instant::now() + Duration::from_secs(seconds.parse()?);
    let socket = UdpSocket::bind(if address.contains(':') { "[::]:0" } else { "0.0.0.0:0" })?;
    socket.connect((address, port.parse()?))?;
    socket.set_read_timeout(Some(Duration::from_millis(2)))?;
    let mut reply = [0; 1500];
    while Instant::now() < end {
        // An unreachable port is reported here and on the next receive; the guest may just not be there yet.
        let _ = socket.send(QUESTION);
        if let Ok(length) = socket.recv(&mut reply)
            && length > QUESTION.len()
            && reply[..2] == QUESTION[..2]
        {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
            return Ok(now.as_nanos().to_string());
        }
    }
    Err("no answer".into())
}

fn connect(address: &str, port: &str) -> Result<TcpStream, Box<dyn std::error::Error>> {
    let address: SocketAddr = format!("{address}:{port}").parse()?;
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(stream)
}

/// The guest sends `bytes` bytes.
fn stream_out(address: &str, port: &str, bytes: &str) -> Outcome {
    let mut stream = connect(address, port)?;
    let wanted: u64 = bytes.parse()?;
    let start = Instant::now();
    stream.write_all(&[b"o".as_slice(), &wanted.to_le_bytes()].concat())?;
    let mut buffer = vec![0; 256 << 10];
    let mut got = 0;
    while got < wanted {
        match stream.read(&mut buffer)? {
            0 => return Err(format!("the stream ended after {got} bytes").into()),
            count => got += count as u64,
        }
    }
    Ok(start.elapsed().as_secs_f64().to_string())
}

/// The guest receives `bytes` bytes and says how many came.
fn stream_in(address: &str, port: &str, bytes: &str) -> Outcome {
    let mut stream = connect(address, port)?;
    let wanted: u64 = bytes.parse()?;
    let start = Instant::now();
    stream.write_all(&[b"i".as_slice(), &wanted.to_le_bytes()].concat())?;
    let buffer = vec![0x5a; 256 << 10];
    let mut left = wanted;
    while left > 0 {
        let now = left.min(buffer.len() as u64);
        stream.write_all(&buffer[..now as usize])?;
        left -= now;
    }
    let mut count = [0; 8];
    stream.read_exact(&mut count)?;
    if u64::from_le_bytes(count) != wanted {
        return Err("the guest counted other bytes".into());
    }
    Ok(start.elapsed().as_secs_f64().to_string())
}
