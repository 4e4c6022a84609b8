//! NOTIFY (RFC 1996): secondaries are told that there is a new serial, three times at most, until they answer.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;

use super::errands::now;
use super::{House, unlocked, zone_settings};
use crate::name::Name;
use crate::record::{CLASS_IN, RecordType};
use crate::tsig::{Key, Signer};

/// Waits between tries, in seconds.
const TRIES_S: [u64; 3] = [2, 5, 15];

impl House {
    /// Tells the secondaries of a zone, in the background.
    pub fn tell_secondaries(&self, origin: &Name) {
        let settings = zone_settings(&self.settings(), origin);
        let name = settings.notify_key.as_deref().and_then(crate::settings::named);
        let keys = unlocked(self.keys.read()).clone();
        let key = name.and_then(|name| keys.get(&name).map(|known| known.key.clone()));
        for secondary in settings.notify {
            tokio::spawn(tell(origin.clone(), secondary, key.clone()));
        }
    }
}

async fn tell(origin: Name, secondary: SocketAddr, key: Option<Key>) -> std::io::Result<()> {
    let any: SocketAddr = if secondary.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(secondary).await?;
    let id: [u8; 2] = chassis::accounts::random();
    for wait_s in TRIES_S {
        let mut message = [&id[..], &[0x24, 0, 0, 1, 0, 0, 0, 0, 0, 0], origin.octets()].concat();
        message.extend_from_slice(&RecordType::SOA.0.to_be_bytes());
        message.extend_from_slice(&CLASS_IN.to_be_bytes());
        if let Some(key) = &key {
            Signer::for_request(key).sign(&mut message, now());
        }
        socket.send(&message).await?;
        let mut reply = [0; 512];
        let answered = tokio::time::timeout(Duration::from_secs(wait_s), socket.recv(&mut reply)).await;
        if matches!(answered, Ok(Ok(octets)) if octets >= 12 && reply[..2] == id) {
            return Ok(());
        }
    }
    tracing::warn!(zone = %origin, %secondary, "the secondary does not answer NOTIFY");
    Ok(())
}
