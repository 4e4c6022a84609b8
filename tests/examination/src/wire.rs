//! A peer on the other side of a wire that may lose and reorder.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

fn peers() -> Vec<SocketAddr> {
    let list = std::env::var("EXAM_PEER").unwrap_or_default();
    list.split(',').filter(|word| !word.is_empty()).map(|word| word.parse().unwrap()).collect()
}

fn each(work: impl Fn(SocketAddr) -> String) -> String {
    let answers: Vec<String> = peers().into_iter().map(work).collect();
    if answers.is_empty() { "no peer".to_string() } else { answers.join("; ") }
}

pub fn echo() -> String {
    each(|peer| {
        let mut stream = TcpStream::connect(peer).unwrap();
        stream.write_all(b"across").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).unwrap();
        heard
    })
}

pub fn big() -> String {
    const BYTES: usize = 4 << 20;
    each(|peer| {
        let stream = TcpStream::connect(peer).unwrap();
        let mut writer = stream.try_clone().unwrap();
        let writing = thread::spawn(move || {
            let part: Vec<u8> = (0..65_536_u32).map(|at| (at ^ (at >> 8)) as u8).collect();
            (0..BYTES / part.len()).for_each(|_| writer.write_all(&part).unwrap());
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let (mut reader, mut all, mut buffer, mut right) = (stream, 0_usize, vec![0; 20_000], true);
        loop {
            let count = reader.read(&mut buffer).unwrap();
            if count == 0 {
                break;
            }
            right &= buffer[..count].iter().enumerate().all(|(at, &byte)| {
                let at = (all + at) as u32 % 65_536;
                byte == (at ^ (at >> 8)) as u8
            });
            all += count;
        }
        writing.join().unwrap();
        format!("{all} bytes, right: {right}")
    })
}

pub fn udp() -> String {
    each(|peer| {
        let any = if peer.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).unwrap();
        socket.connect(peer).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut right = 0;
        for number in 0..20_u8 {
            // Datagrams may be lost on the way: asked again, a few times.
            for _ in 0..8 {
                socket.send(&[number; 1000]).unwrap();
                let mut heard = [0; 1500];
                if let Ok(1000) = socket.recv(&mut heard) {
                    right += usize::from(heard[0] == number);
                    break;
                }
            }
        }
        format!("all twenty: {}", right >= 19)
    })
}
