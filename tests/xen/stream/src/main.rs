//! Sends and receives TCP streams on port 7001, one thread a connection.
//!
//! A request is a letter and a count of bytes (u64, little endian): `o`, the program sends so many bytes; `i`, it
//! receives so many and answers how many came (u64).

#[cfg(any(feature = "hosted", feature = "xen"))]
extern crate kernel as _;

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

/// Bytes of one read or write.
const BUFFER_BYTES: usize = 64 << 10;

fn main() -> io::Result<()> {
    let listener = TcpListener::bind("0.0.0.0:7001")?;
    println!("stream: ready on {}", listener.local_addr()?);
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || {
            if let Err(error) = serve(stream) {
                println!("stream: {error}");
            }
        });
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let count = u64::from_le_bytes([head[1], head[2], head[3], head[4], head[5], head[6], head[7], head[8]]);
    match head[0] {
        b'o' => send(&mut stream, count),
        b'i' => receive(&mut stream, count),
        other => Err(io::Error::other(format!("no such request: {other}"))),
    }
}

fn send(stream: &mut TcpStream, mut left: u64) -> io::Result<()> {
    let buffer = vec![0x5a; BUFFER_BYTES];
    while left > 0 {
        let now = left.min(BUFFER_BYTES as u64) as usize;
        stream.write_all(&buffer[..now])?;
        left -= now as u64;
    }
    Ok(())
}

fn receive(stream: &mut TcpStream, wanted: u64) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut got = 0;
    while got < wanted {
        match stream.read(&mut buffer)? {
            0 => break,
            count => got += count as u64,
        }
    }
    stream.write_all(&got.to_le_bytes())
}
