//! Sockets: datagrams and streams in, the engine's replies out.

#[cfg(feature = "batch")]
mod batch;
#[cfg(feature = "batch")]
mod outbox;
pub mod stream;
#[cfg(not(feature = "batch"))]
mod udp;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::net::TcpListener;

use crate::engine::Engine;
use crate::rrl::Limiter;

/// Seconds since 1970, as 32 bits.
pub fn now_s() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
}

/// How a server's sockets are to behave.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Threads that answer datagrams; without the feature `batch` it is always one task.
    pub threads: usize,
    /// Rows of the rate limiter.
    pub limiter_rows: usize,
}

/// Listens on UDP and TCP of one address and serves in the background for as long as the program runs; gives the
/// address (port 0 takes a free one). Must be called within a tokio runtime.
///
/// # Errors
/// What the system says about the address.
pub async fn listen(engine: &Arc<Engine>, address: SocketAddr, manner: Manner) -> io::Result<SocketAddr> {
    let (tcp, bound) = bind_pair(engine, address, manner).await?;
    tokio::spawn(stream::accept(engine.clone(), tcp));
    Ok(bound)
}

/// A free TCP port need not be free for UDP: try a few.
async fn bind_pair(
    engine: &Arc<Engine>,
    address: SocketAddr,
    manner: Manner,
) -> io::Result<(TcpListener, SocketAddr)> {
    let mut tries = if address.port() == 0 { 20 } else { 1 };
    loop {
        let tcp = TcpListener::bind(address).await?;
        let bound = tcp.local_addr()?;
        tries -= 1;
        match datagrams(engine, bound, manner).await {
            Ok(()) => return Ok((tcp, bound)),
            Err(error) if tries == 0 => return Err(error),
            Err(_) => {}
        }
    }
}

#[cfg(feature = "batch")]
/// Serves datagrams of an address in the background.
///
/// # Errors
/// What the system says about the address.
pub async fn datagrams(engine: &Arc<Engine>, bound: SocketAddr, manner: Manner) -> io::Result<()> {
    let threads = manner.threads.max(1);
    let sockets: io::Result<Vec<_>> =
        (0..threads.div_ceil(batch::SHARERS)).map(|_| batch::bind(bound).map(Arc::new)).collect();
    for socket in sockets?.iter().cycle().take(threads) {
        let (engine, socket) = (engine.clone(), socket.clone());
        std::thread::Builder::new().name("datagrams".to_string()).spawn(move || {
            batch::serve(&engine, &socket, Limiter::new(manner.limiter_rows));
        })?;
    }
    Ok(())
}

#[cfg(not(feature = "batch"))]
/// Serves datagrams of an address in the background. Must be called within a tokio runtime.
///
/// # Errors
/// What the system says about the address.
pub async fn datagrams(engine: &Arc<Engine>, bound: SocketAddr, manner: Manner) -> io::Result<()> {
    let socket = Arc::new(tokio::net::UdpSocket::bind(bound).await?);
    tokio::spawn(udp::serve(engine.clone(), socket, Limiter::new(manner.limiter_rows)));
    Ok(())
}
