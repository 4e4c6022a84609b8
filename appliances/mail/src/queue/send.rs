//! One attempt at one host: connects, speaks `smtp::Client` over the socket, gives an outcome a recipient.

use super::route::Route;
use crate::smtp::{Client, ClientStep, Credentials, Outcome, Outgoing, Reply};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Time to connect, to wait for a reply, to wait for the reply to the text (RFC 5321 4.5.3.2, which allows longer).
const CONNECT_TIME: Duration = Duration::from_secs(30);
const REPLY_TIME: Duration = Duration::from_secs(300);
const FINAL_TIME: Duration = Duration::from_secs(600);

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// What an attempt gave, and the host that it was made at.
pub struct Attempt {
    /// One a recipient, in order.
    pub outcomes: Vec<Outcome>,
    /// The host.
    pub host: String,
    /// Whether the text went over TLS.
    pub tls: bool,
}

/// Tries the hosts one after another until one answers; recipients who got a final answer are not tried again.
pub async fn send(routes: &[Route], outgoing: &Outgoing, hostname: &str) -> Attempt {
    let mut last = Attempt { outcomes: Vec::new(), host: String::new(), tls: false };
    for route in routes {
        for address in &route.addresses {
            last = at_address(route, *address, outgoing, hostname).await;
            let unheard = |o: &Outcome| matches!(o, Outcome::Broken { after_data: false, .. });
            if !last.outcomes.iter().all(unheard) {
                return last;
            }
            tracing::debug!(host = route.host, %address, "no answer, the next host is tried");
        }
    }
    if last.outcomes.is_empty() {
        let nowhere = Outcome::Refused(Reply::new(451, "4.4.4", "no host to try"));
        last.outcomes = vec![nowhere; outgoing.recipients.len()];
    }
    last
}

async fn at_address(route: &Route, address: SocketAddr, outgoing: &Outgoing, hostname: &str) -> Attempt {
    let attempt = session(route, address, outgoing, hostname, true).await;
    match attempt {
        Ok(attempt) => attempt,
        // A host that offers TLS and cannot do it gets the mail in the clear, as before RFC 3207; never a password.
        Err(Broken::Tls(why)) if route.smart.as_ref().is_none_or(|s| s.user.is_empty()) => {
            tracing::warn!(host = route.host, why, "TLS does not work there; sent without");
            match session(route, address, outgoing, hostname, false).await {
                Ok(attempt) => attempt,
                Err(Broken::Tls(why) | Broken::Connection(why)) => broken(route, outgoing, &why),
            }
        }
        Err(Broken::Tls(why) | Broken::Connection(why)) => broken(route, outgoing, &why),
    }
}

fn broken(route: &Route, outgoing: &Outgoing, why: &str) -> Attempt {
    let outcome = Outcome::Broken { why: why.to_owned(), after_data: false };
    Attempt { outcomes: vec![outcome; outgoing.recipients.len()], host: route.host.clone(), tls: false }
}

enum Broken {
    Tls(String),
    Connection(String),
}

async fn session(
    route: &Route,
    address: SocketAddr,
    outgoing: &Outgoing,
    hostname: &str,
    want_tls: bool,
) -> Result<Attempt, Broken> {
    let connected = timeout(CONNECT_TIME, TcpStream::connect(address)).await;
    let stream = connected
        .map_err(|_| Broken::Connection(format!("{address} does not answer")))?
        .map_err(|error| Broken::Connection(format!("{address}: {error}")))?;
    let _ = stream.set_nodelay(true);
    let smart = route.smart.as_ref();
    let credentials = smart.filter(|s| !s.user.is_empty());
    let credentials = credentials.map(|s| Credentials { user: s.user.clone(), password: s.password.clone() });
    let implicit = smart.is_some() && address.port() == 465;
    let mut stream: Box<dyn Stream> = Box::new(stream);
    if implicit {
        stream = handshake(stream, route).await.map_err(Broken::Tls)?;
    }
    let mut client = Client::new(hostname, outgoing.clone(), credentials, want_tls, implicit);
    let why = loop {
        match client.step() {
            ClientStep::NeedInput => {
                let time = if client.awaits_final() { FINAL_TIME } else { REPLY_TIME };
                let out = client.take_output();
                let mut buffer = [0u8; 4096];
                let exchange = async {
                    stream.write_all(&out).await?;
                    stream.flush().await?;
                    stream.read(&mut buffer).await
                };
                match timeout(time, exchange).await {
                    Ok(Ok(0)) => break "the host closed the connection".to_owned(),
                    Ok(Ok(n)) => client.receive(&buffer[..n]),
                    Ok(Err(error)) => break format!("the connection broke: {error}"),
                    Err(_) => break "the host does not answer any more".to_owned(),
                }
            }
            ClientStep::StartTls => {
                let out = client.take_output();
                stream.write_all(&out).await.map_err(|e| Broken::Connection(e.to_string()))?;
                stream = handshake(stream, route).await.map_err(Broken::Tls)?;
                client.tls_started();
            }
            ClientStep::Done => {
                let out = client.take_output();
                let _ = timeout(Duration::from_secs(5), stream.write_all(&out)).await;
                let _ = timeout(Duration::from_secs(5), stream.shutdown()).await;
                break String::new();
            }
        }
    };
    let tls = client.is_tls();
    Ok(Attempt { outcomes: client.outcomes(&why), host: route.host.clone(), tls })
}

async fn handshake(stream: Box<dyn Stream>, route: &Route) -> Result<Box<dyn Stream>, String> {
    let config = client_config(route)?;
    let name =
        ServerName::try_from(route.host.trim_matches(['[', ']']).to_owned()).map_err(|e| e.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    match timeout(CONNECT_TIME, connector.connect(name, stream)).await {
        Ok(Ok(tls)) => Ok(Box::new(tls)),
        Ok(Err(error)) => Err(format!("TLS: {error}")),
        Err(_) => Err("TLS: no answer".into()),
    }
}

/// Between mail servers any certificate is better than none (RFC 7435); a smart host that is given a password must
/// show one that we trust.
fn client_config(route: &Route) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    match route.smart.as_ref().filter(|s| !s.user.is_empty()) {
        Some(smart) => {
            let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
            for certificate in CertificateDer::pem_slice_iter(smart.trust_pem.as_bytes()) {
                let certificate = certificate.map_err(|error| format!("trust_pem in mail.toml: {error}"))?;
                roots.add(certificate).map_err(|error| format!("trust_pem in mail.toml: {error}"))?;
            }
            Ok(builder.with_root_certificates(roots).with_no_client_auth())
        }
        None => {
            let any = Arc::new(AnyCertificate(provider));
            Ok(builder.dangerous().with_custom_certificate_verifier(any).with_no_client_auth())
        }
    }
}

/// Takes any certificate, but checks that the peer has its key.
#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
