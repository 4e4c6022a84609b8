//! One attempt at the hosts of a domain: connects, speaks `smtp::Client` over the socket, gives an outcome a recipient.

use super::progress::Tried;
use super::route::Route;
use crate::settings::SmartHost;
use crate::smtp::{Client, ClientStep, Credentials, Outcome, Outgoing};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// Time to connect, to wait for a reply, to wait for the reply to the text (RFC 5321 4.5.3.2, which allows longer).
const CONNECT_TIME: Duration = Duration::from_secs(30);
const REPLY_TIME: Duration = Duration::from_secs(300);
const FINAL_TIME: Duration = Duration::from_secs(600);
/// Time for a whole session; a millisecond more for each byte of the text (1 kB/s).
const SESSION_TIME: Duration = Duration::from_secs(1800);
/// Time for what is said at the end.
const LAST_WORDS_TIME: Duration = Duration::from_secs(5);
/// Addresses of one domain that are tried in one attempt.
const ADDRESSES_MAX: usize = 12;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// What an attempt gave.
pub struct Attempt {
    /// One a recipient, in order.
    pub tried: Vec<Tried>,
    /// Whether the last text went over TLS.
    pub tls: bool,
    /// What is still to be said to hosts that took the message, once that is written.
    pub farewells: Vec<Farewell>,
}

impl Attempt {
    /// One in which no host was spoken to.
    pub fn without_hosts(tried: Vec<Tried>) -> Attempt {
        Attempt { tried, tls: false, farewells: Vec::new() }
    }
}

/// A connection on which only QUIT is left. It tells the host that its answer was heard, so it waits until the answer is on
/// our disk: a host that heard QUIT is never sent the message again.
pub struct Farewell {
    stream: Box<dyn Stream>,
    words: Vec<u8>,
}

impl Farewell {
    /// Says it, and closes.
    pub async fn say(mut self) {
        let _ = timeout(LAST_WORDS_TIME, self.stream.write_all(&self.words)).await;
        let _ = timeout(LAST_WORDS_TIME, self.stream.shutdown()).await;
    }
}

/// Tries the hosts one after another. A recipient that got an answer of its own is not tried at the next.
pub async fn send(routes: &[Route], outgoing: &Outgoing, hostname: &str) -> Attempt {
    let nowhere = Outcome::Broken { why: "there is no host to try".into(), after_data: false };
    let nothing = Tried { outcome: nowhere, host: String::new(), dsn_passed_on: false };
    let mut tried = vec![nothing; outgoing.recipients.len()];
    let (mut tls, mut farewells) = (false, Vec::new());
    let mut places: Vec<(&Route, SocketAddr)> = Vec::new();
    for route in routes {
        places.extend(route.addresses.iter().map(|address| (route, *address)));
    }
    places.truncate(ADDRESSES_MAX);
    for (route, address) in places {
        let open: Vec<usize> = (0..tried.len()).filter(|i| next_host_may(&tried[*i].outcome)).collect();
        if open.is_empty() {
            break;
        }
        let recipients = open.iter().map(|i| outgoing.recipients[*i].clone()).collect();
        let part = Outgoing { recipients, ..outgoing.clone() };
        let session = at_address(route, address, &part, hostname).await;
        tracing::debug!(host = route.host, %address, outcomes = ?session.outcomes, "a host was tried");
        tls = session.tls;
        let took = session.outcomes.iter().any(|outcome| matches!(outcome, Outcome::Delivered(_)));
        match session.farewell {
            Some(farewell) if took => farewells.push(farewell),
            Some(farewell) => farewell.say().await,
            None => {}
        }
        for (i, outcome) in open.into_iter().zip(session.outcomes) {
            let dsn_passed_on = session.dsn && outgoing.recipients[i].notify.is_some();
            tried[i] = Tried { outcome, host: route.host.clone(), dsn_passed_on };
        }
    }
    Attempt { tried, tls, farewells }
}

fn next_host_may(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Broken { after_data: false, .. } | Outcome::Unavailable(_))
}

/// What a session gave: an outcome a recipient.
struct Done {
    outcomes: Vec<Outcome>,
    tls: bool,
    dsn: bool,
    farewell: Option<Farewell>,
}

async fn at_address(route: &Route, address: SocketAddr, outgoing: &Outgoing, hostname: &str) -> Done {
    match session(route, address, outgoing, hostname, true).await {
        Ok(done) => done,
        // A host that offers TLS and cannot do it gets the mail in the clear, as before RFC 3207; never a password.
        Err(Broken::Tls(why)) if route.smart.as_ref().is_none_or(|s| s.user.is_empty()) => {
            tracing::warn!(host = route.host, why, "TLS does not work there; sent without");
            match session(route, address, outgoing, hostname, false).await {
                Ok(done) => done,
                Err(Broken::Tls(why) | Broken::Connection(why)) => broken(outgoing, &why),
            }
        }
        Err(Broken::Tls(why) | Broken::Connection(why)) => broken(outgoing, &why),
    }
}

fn broken(outgoing: &Outgoing, why: &str) -> Done {
    let outcome = Outcome::Broken { why: why.to_owned(), after_data: false };
    Done { outcomes: vec![outcome; outgoing.recipients.len()], tls: false, dsn: false, farewell: None }
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
) -> Result<Done, Broken> {
    let connected = timeout(CONNECT_TIME, TcpStream::connect(address)).await;
    let stream = connected
        .map_err(|_| Broken::Connection(format!("{address} does not answer")))?
        .map_err(|error| Broken::Connection(format!("{address}: {error}")))?;
    let _ = stream.set_nodelay(true);
    let smart = route.smart.as_ref();
    let credentials = smart.filter(|s| !s.user.is_empty());
    let credentials = credentials.map(|s| Credentials { user: s.user.clone(), password: s.password.clone() });
    let implicit = smart.is_some_and(SmartHost::tls_from_start);
    let mut stream: Box<dyn Stream> = Box::new(stream);
    if implicit {
        stream = handshake(stream, route).await.map_err(Broken::Tls)?;
    }
    let mut client = Client::new(hostname, outgoing.clone(), credentials, want_tls, implicit);
    // What dribbles may not last for ever: half an hour, and more for what is large.
    let end = Instant::now() + SESSION_TIME + Duration::from_millis(outgoing.message.len() as u64);
    let mut out = Vec::new();
    let mut buffer = [0u8; 4096];
    let (why, words) = loop {
        match client.step() {
            ClientStep::NeedInput => {
                out.extend(client.take_output());
                let time = if client.awaits_final() { FINAL_TIME } else { REPLY_TIME };
                match timeout_at(end.min(Instant::now() + time), turn(&mut stream, &out, &mut buffer)).await {
                    Ok(Ok(Moved::Wrote(n))) => drop(out.drain(..n)),
                    Ok(Ok(Moved::Read(0))) => break ("the host closed the connection".to_owned(), None),
                    Ok(Ok(Moved::Read(n))) => client.receive(&buffer[..n]),
                    Ok(Err(error)) if out.is_empty() => {
                        break (format!("the connection broke: {error}"), None);
                    }
                    // It takes no more; what it said before may still be read.
                    Ok(Err(error)) => match timeout(LAST_WORDS_TIME, stream.read(&mut buffer)).await {
                        Ok(Ok(n)) if n > 0 => {
                            out.clear();
                            client.receive(&buffer[..n]);
                        }
                        _ => break (format!("the connection broke: {error}"), None),
                    },
                    Err(_) => break ("the host does not answer any more".to_owned(), None),
                }
            }
            ClientStep::StartTls => {
                let out = client.take_output();
                stream.write_all(&out).await.map_err(|e| Broken::Connection(e.to_string()))?;
                stream = handshake(stream, route).await.map_err(Broken::Tls)?;
                client.tls_started();
            }
            // Where the text was cut short no command can follow it.
            ClientStep::Done => break (String::new(), out.is_empty().then(|| client.take_output())),
        }
    };
    let (tls, dsn) = (client.is_tls(), client.passes_dsn_on());
    let farewell = words.map(|words| Farewell { stream, words });
    Ok(Done { outcomes: client.outcomes(&why), tls, dsn, farewell })
}

/// One step of a conversation.
enum Moved {
    Wrote(usize),
    Read(usize),
}

/// Writes some of `out` or reads what came, whichever can be done: a host that refuses in the midst of a text and reads
/// no more is heard, and none waits for the other.
async fn turn(stream: &mut Box<dyn Stream>, out: &[u8], buffer: &mut [u8]) -> std::io::Result<Moved> {
    std::future::poll_fn(|cx| {
        let mut stream = Pin::new(&mut **stream);
        if !out.is_empty() {
            if let Poll::Ready(wrote) = stream.as_mut().poll_write(cx, out) {
                return Poll::Ready(wrote.map(Moved::Wrote));
            }
        } else if let Poll::Ready(Err(error)) = stream.as_mut().poll_flush(cx) {
            return Poll::Ready(Err(error));
        }
        let mut read = ReadBuf::new(buffer);
        match stream.poll_read(cx, &mut read) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(Moved::Read(read.filled().len()))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
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
