//! The last question is asked from outside: a client connects and asks for things until it says `stop`.
//!
//! A connection's first line is a command: `echo` returns what comes, `sink` counts it and answers with the count,
//! `source N` sends N bytes, `stop` ends. UDP on the same port echoes. The next port speaks TLS and echoes one line.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Notify;

use crate::{tasks, tls};

#[derive(Default)]
struct Count {
    echo: AtomicUsize,
    sink: AtomicUsize,
    source: AtomicUsize,
    datagrams: AtomicUsize,
    private: AtomicUsize,
    stop: Notify,
}

pub fn serve(port: u16) -> String {
    let count = Arc::new(Count::default());
    tasks::runtime().block_on(async {
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await.unwrap();
        let private = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port + 1)).await.unwrap();
        let datagrams = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).await.unwrap();
        println!("serving");
        tokio::spawn(echo_datagrams(datagrams, count.clone()));
        tokio::spawn(serve_private(private, count.clone()));
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, _) = accepted.unwrap();
                    tokio::spawn(serve_one(stream, count.clone()));
                }
                () = count.stop.notified() => break,
            }
        }
    });
    let number = |of: &AtomicUsize| of.load(Ordering::SeqCst);
    format!(
        "{} echoes, {} sinks, {} sources, datagrams: {}, {} in private",
        number(&count.echo),
        number(&count.sink),
        number(&count.source),
        number(&count.datagrams) > 0,
        number(&count.private)
    )
}

async fn serve_one(stream: TcpStream, count: Arc<Count>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let mut buffer = vec![0; 64 << 10];
    match line.trim_end().split_once(' ').unwrap_or((line.trim_end(), "")) {
        ("echo", _) => {
            count.echo.fetch_add(1, Ordering::SeqCst);
            loop {
                match stream.read(&mut buffer).await? {
                    0 => break,
                    length => stream.get_mut().write_all(&buffer[..length]).await?,
                }
            }
        }
        ("sink", _) => {
            count.sink.fetch_add(1, Ordering::SeqCst);
            let mut all = 0;
            loop {
                match stream.read(&mut buffer).await? {
                    0 => break,
                    length => all += length,
                }
            }
            stream.get_mut().write_all(format!("{all}\n").as_bytes()).await?;
        }
        ("source", bytes) => {
            count.source.fetch_add(1, Ordering::SeqCst);
            let mut left: usize = bytes.parse().unwrap_or(0);
            while left > 0 {
                let part = left.min(buffer.len());
                stream.get_mut().write_all(&buffer[..part]).await?;
                left -= part;
            }
        }
        ("stop", _) => count.stop.notify_one(),
        _ => stream.get_mut().write_all(b"what?\n").await?,
    }
    stream.get_mut().shutdown().await
}

async fn echo_datagrams(socket: UdpSocket, count: Arc<Count>) {
    let mut buffer = vec![0; 2048];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        count.datagrams.fetch_add(1, Ordering::SeqCst);
        let _ = socket.send_to(&buffer[..length], from).await;
    }
}

async fn serve_private(listener: TcpListener, count: Arc<Count>) {
    let (config, _) = tls::server();
    while let Ok((stream, _)) = listener.accept().await {
        let (config, count) = (config.clone(), count.clone());
        // A thread for each: blocking sockets beside tokio's.
        tokio::task::spawn_blocking(move || {
            let served = stream.into_std().and_then(|stream| {
                stream.set_nonblocking(false)?;
                tls::serve_one(config, stream)
            });
            count.private.fetch_add(usize::from(served.is_ok()), Ordering::SeqCst);
        });
    }
}
