//! tokio: tasks, timers, channels, sockets, blocking work.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

pub fn tasks() -> String {
    runtime().block_on(async {
        let (send, mut receive) = mpsc::channel(4);
        for number in 0..10_u32 {
            let send = send.clone();
            tokio::spawn(async move {
                sleep(Duration::from_millis(u64::from(10 - number) * 40)).await;
                send.send(number).await.unwrap();
            });
        }
        drop(send);
        let mut order = Vec::new();
        while let Some(number) = receive.recv().await {
            order.push(number);
        }
        let (_kept, never) = oneshot::channel::<()>();
        let late = timeout(Duration::from_millis(5), never).await.is_err();
        format!("{order:?}, a timeout: {late}")
    })
}

pub fn panic() -> String {
    runtime().block_on(async {
        let failed = tokio::spawn(async { panic!("wanted") }).await;
        let other = tokio::spawn(async { 5 }).await.unwrap();
        format!("panicked: {}, another gives {other}", failed.unwrap_err().is_panic())
    })
}

pub fn blocking() -> String {
    runtime().block_on(async {
        let start = Instant::now();
        let work = (0..4).map(|number| {
            tokio::task::spawn_blocking(move || {
                std::thread::sleep(Duration::from_millis(500));
                number
            })
        });
        let work: Vec<_> = work.collect();
        let mut sum = 0;
        for one in work {
            sum += one.await.unwrap();
        }
        format!("{sum}, beside each other: {}", start.elapsed() < Duration::from_millis(1900))
    })
}

pub fn sockets() -> String {
    runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let mut served = 0;
            while served < 20 {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut buffer = vec![0; 70_000];
                    stream.read_exact(&mut buffer).await.unwrap();
                    stream.write_all(&buffer).await.unwrap();
                });
                served += 1;
            }
        });
        let clients: Vec<_> = (0..20_u8)
            .map(|number| {
                tokio::spawn(async move {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    let (words, mut heard) = (vec![number; 70_000], vec![0; 70_000]);
                    stream.write_all(&words).await.unwrap();
                    stream.read_exact(&mut heard).await.unwrap();
                    heard == words
                })
            })
            .collect();
        let mut right = 0;
        for client in clients {
            right += usize::from(client.await.unwrap());
        }
        server.await.unwrap();
        let (one, other) =
            (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let mut arrived = 0;
        for number in 0..50_u8 {
            one.send_to(&[number], other.local_addr().unwrap()).await.unwrap();
            let mut buffer = [0; 4];
            let (length, _) = other.recv_from(&mut buffer).await.unwrap();
            arrived += usize::from(length == 1 && buffer[0] == number);
        }
        let refused = TcpStream::connect(address).await.is_err();
        format!("{right} of twenty, {arrived} of fifty, refused after: {refused}")
    })
}
