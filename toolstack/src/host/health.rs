//! Whether a machine does its work: `GET /healthz` over TLS, checked against the host's own authority.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use chassis::tls::Authority;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Asks once. The error says how far it got.
pub fn check(at: SocketAddr, authority: &Authority) -> Result<(), String> {
    let socket =
        TcpStream::connect_timeout(&at, TIME).map_err(|error| format!("{at} does not answer: {error}"))?;
    let timed = socket.set_read_timeout(Some(TIME)).and_then(|()| socket.set_write_timeout(Some(TIME)));
    timed.map_err(|error| error.to_string())?;
    let config = config(authority)?;
    let connection = ClientConnection::new(config, ServerName::IpAddress(at.ip().into()))
        .map_err(|error| error.to_string())?;
    let mut stream = StreamOwned::new(connection, socket);
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| format!("{at}: no TLS: {error}"))?;
    let mut answer = [0; 64];
    let got = stream.read(&mut answer).map_err(|error| format!("{at}: no answer: {error}"))?;
    let line = String::from_utf8_lossy(&answer[..got]);
    let status = line.split(' ').nth(1).unwrap_or_default();
    if status == "200" {
        Ok(())
    } else {
        Err(format!("{at} says it is not healthy: {}", line.lines().next().unwrap_or_default()))
    }
}

fn config(authority: &Authority) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.certificate_pem.as_bytes())
        .map_err(|error| error.to_string())?;
    roots.add(root).map_err(|error| error.to_string())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config =
        builder.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

const TIME: Duration = Duration::from_secs(5);
