//! Listening: addresses and ports by name, and a bound on connections in all and from one address.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::{limits, memory};

/// Why a service cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("{service} cannot listen on {address}: {reason}; {advice}")]
pub struct ListenError {
    /// The service's name.
    pub service: String,
    /// The address that was tried.
    pub address: SocketAddr,
    /// What the system said.
    pub reason: io::Error,
    advice: &'static str,
}

/// A service's connections, from every address that it is bound to.
#[derive(Debug)]
pub struct Listener {
    connections: mpsc::Receiver<Connection>,
    addresses: Vec<SocketAddr>,
}

/// A connection and its place among those that are allowed; the place is given back when this is dropped.
#[derive(Debug)]
pub struct Connection {
    /// The stream.
    pub stream: TcpStream,
    /// Who connected.
    pub peer: SocketAddr,
    /// Keep it as long as the connection lives.
    pub place: Place,
}

/// A place among the connections that a listener allows.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
    crowd: Arc<Crowd>,
    network: IpAddr,
}

/// How many connections there are from each network.
#[derive(Debug, Default)]
struct Crowd(Mutex<HashMap<IpAddr, usize>>);

impl Listener {
    /// Binds `port` on every address; port 0 lets the system choose, the same for all addresses. At most `places`
    /// connections live at once.
    pub async fn bind(
        service: &str,
        addresses: &[IpAddr],
        port: u16,
        places: usize,
    ) -> Result<Listener, ListenError> {
        let (sender, connections) = mpsc::channel(1);
        let permits = Arc::new(Semaphore::new(places));
        let crowd = Arc::new(Crowd::default());
        let mut bound: Vec<SocketAddr> = Vec::new();
        for address in addresses {
            let address = SocketAddr::new(*address, bound.first().map_or(port, SocketAddr::port));
            let listener =
                TcpListener::bind(address).await.map_err(|error| refused(service, address, error))?;
            bound.push(listener.local_addr().map_err(|error| refused(service, address, error))?);
            tokio::spawn(accept(listener, sender.clone(), permits.clone(), crowd.clone()));
        }
        Ok(Listener { connections, addresses: bound })
    }

    /// The next connection. Beyond the bounds, connections wait in the system's backlog or are closed at once.
    pub async fn accept(&mut self) -> Option<Connection> {
        self.connections.recv().await
    }

    /// What it is bound to.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

/// Binds a UDP socket for a service.
pub async fn bind_udp(service: &str, address: IpAddr, port: u16) -> Result<UdpSocket, ListenError> {
    let address = SocketAddr::new(address, port);
    UdpSocket::bind(address).await.map_err(|error| refused(service, address, error))
}

async fn accept(
    listener: TcpListener,
    sender: mpsc::Sender<Connection>,
    permits: Arc<Semaphore>,
    crowd: Arc<Crowd>,
) {
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = next(&listener) => accepted,
            () = sender.closed() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let network = network(peer.ip());
                if !crowd.enter(network) {
                    tracing::debug!(%peer, "connection closed: too many from this network");
                    continue;
                }
                let _ = stream.set_nodelay(true);
                let place = Place { _permit: permit, crowd: crowd.clone(), network };
                if sender.send(Connection { stream, peer, place }).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // Out of descriptors, most likely: do not spin until some are free again.
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// The next connection that there is memory for. While there is none, one waits a moment (those that are served go on, and end);
/// after that each is closed, which gives back the system's part and is heard by its client.
async fn next(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let mut patience = limits::MEMORY_PATIENCE;
    loop {
        while !memory::has(limits::CONNECTION_LEAVES_BYTES) && patience > 0 {
            tokio::time::sleep(MEMORY_PAUSE).await;
            patience -= 1;
        }
        let (stream, peer) = listener.accept().await?;
        if memory::has(limits::CONNECTION_LEAVES_BYTES) {
            return Ok((stream, peer));
        }
        tracing::warn!(%peer, "memory is short: a connection was closed");
    }
}

impl Crowd {
    fn enter(&self, network: IpAddr) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let count = counts.entry(network).or_default();
        if *count >= limits::CONNECTIONS_PER_ADDRESS_MAX && !network.is_loopback() {
            return false;
        }
        *count += 1;
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.crowd.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
    }
}

/// Who counts as one: an IPv4 address, or the /64 that one IPv6 household has.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        other => other,
    }
}

fn refused(service: &str, address: SocketAddr, reason: io::Error) -> ListenError {
    let advice = match reason.kind() {
        io::ErrorKind::AddrInUse => {
            "another program has this port: stop it, or choose other ports with --base-port"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need root or CAP_NET_BIND_SERVICE: use unprivileged ports (leave --public out)"
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address: see --bind",
        _ => "check --bind and the ports",
    };
    ListenError { service: service.to_owned(), address, reason, advice }
}

/// How long who waits for memory waits before looking again.
const MEMORY_PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_household_is_one_network() {
        let network_of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network_of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network_of("192.0.2.7"), "192.0.2.7");
        assert_eq!(network_of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(network_of("::1"), "::1");
    }

    #[tokio::test]
    async fn a_taken_port_is_named_with_advice() {
        let address = [IpAddr::from([127, 0, 0, 1])];
        let first = Listener::bind("imap", &address, 0, 9).await.unwrap();
        let port = first.addresses()[0].port();
        let error = Listener::bind("imap", &address, port, 9).await.unwrap_err().to_string();
        assert!(error.contains(&port.to_string()) && error.contains("--base-port"), "{error}");
    }

    #[tokio::test]
    async fn places_are_given_back() {
        let mut listener = Listener::bind("test", &[IpAddr::from([127, 0, 0, 1])], 0, 9).await.unwrap();
        let client = TcpStream::connect(listener.addresses()[0]).await.unwrap();
        let connection = listener.accept().await.unwrap();
        let crowd = connection.place.crowd.clone();
        assert_eq!(crowd.0.lock().unwrap().len(), 1);
        drop((connection, client));
        assert!(crowd.0.lock().unwrap().is_empty());
    }
}
