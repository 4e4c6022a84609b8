//! Whether a machine does its work: `GET /healthz` over TLS, checked against the host's own authority.

use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use chassis::tls::Authority;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Why a machine does not do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unwell {
    /// It may yet: how far the question got.
    NotYet(String),
    /// Something else answers there: waiting changes nothing.
    Another(String),
}

impl fmt::Display for Unwell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Unwell::NotYet(why) | Unwell::Another(why)) = self;
        f.write_str(why)
    }
}

/// Asks once whether `name` does its work there.
pub fn check(at: SocketAddr, authority: &Authority, name: &str) -> Result<(), Unwell> {
    let body = ask(at, authority, "/healthz").map_err(Unwell::NotYet)?;
    let who: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    match who["appliance"].as_str() {
        Some(who) if who == name => Ok(()),
        who => Err(Unwell::Another(format!("{at} is {}, not {name}", who.unwrap_or("no appliance")))),
    }
}

/// What stands at a path there. The error says how far the question got.
pub fn ask(at: SocketAddr, authority: &Authority, path: &str) -> Result<String, String> {
    let mut stream =
        StreamOwned::new(connection(authority, ServerName::IpAddress(at.ip().into()))?, reach(at)?);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| format!("{at}: no TLS: {error}"))?;
    let mut answer = Vec::new();
    // The end of the connection without TLS's own goodbye is an error after the answer: the answer counts.
    if let Err(error) = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)
        && answer.is_empty()
    {
        return Err(format!("{at}: no answer: {error}"));
    }
    let text = String::from_utf8_lossy(&answer);
    let line = text.lines().next().unwrap_or_default();
    if line.split(' ').nth(1) != Some("200") {
        return Err(format!("{at} says it is not healthy: {line}"));
    }
    Ok(text.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned())
}

/// The digest of the key in the certificate of our authority that a client asking for `name` is shown there; none where it
/// is shown another authority's, whose key changes without us.
pub fn key_of(at: SocketAddr, authority: &Authority, name: &str) -> Result<Option<[u8; 32]>, String> {
    let name = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
    let (mut connection, mut socket) = (connection(authority, name)?, reach(at)?);
    while connection.is_handshaking() {
        if let Err(error) = connection.complete_io(&mut socket) {
            let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
            return match cause {
                Some(rustls::Error::InvalidCertificate(_)) => Ok(None),
                _ => Err(format!("{at}: no TLS: {error}")),
            };
        }
    }
    let shown = connection.peer_certificates().and_then(|chain| chain.first());
    let shown = shown.map(chassis::tls::Shown::of).transpose().map_err(|error| error.to_string())?;
    Ok(shown.map(|shown| shown.key_sha256))
}

fn reach(at: SocketAddr) -> Result<TcpStream, String> {
    let socket =
        TcpStream::connect_timeout(&at, TIME).map_err(|error| format!("{at} does not answer: {error}"))?;
    let timed = socket.set_read_timeout(Some(TIME)).and_then(|()| socket.set_write_timeout(Some(TIME)));
    timed.map_err(|error| error.to_string())?;
    Ok(socket)
}

fn connection(authority: &Authority, name: ServerName<'static>) -> Result<ClientConnection, String> {
    ClientConnection::new(config(authority)?, name).map_err(|error| error.to_string())
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

/// What is asked for is some hundred bytes, mail's records three thousand.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
const TIME: Duration = Duration::from_secs(5);
