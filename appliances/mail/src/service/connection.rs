//! One SMTP connection: the session of `smtp::Session` over a socket, its questions answered.

use super::post::Post;
use super::spool::Spool;
use super::{receive, submit};
use crate::sasl::{Exchange, MECHANISMS, Next};
use crate::smtp::{Mode, Reply, SaslAnswer, Session, Settings, Step};
use chassis::listen::Connection;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Time without a byte from the client (RFC 5321 4.5.3.2.7: five minutes), and for a handshake.
const IDLE_TIME: Duration = Duration::from_secs(300);
/// The same while half of all places are taken: whoever has nothing to say makes room (Postfix: `stress`).
const IDLE_TIME_CROWDED: Duration = Duration::from_secs(10);
/// Connections at which it is crowded.
const CROWDED: usize = 250;
/// Connections of one address; loopback may have all, unless configured.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 50;
const HANDSHAKE_TIME: Duration = Duration::from_secs(30);
/// Time that one write may take: a client that reads nothing is cut off.
const WRITE_TIME: Duration = Duration::from_secs(120);

/// Which door: the port that the client came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// 25.
    Mx,
    /// 587.
    Submission,
    /// 465.
    Submissions,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Serves a connection to its end.
pub async fn serve(post: Arc<Post>, door: Door, connection: Connection) {
    let Connection { mut stream, peer, place } = connection;
    let ip = peer.ip().to_canonical();
    let free = ip.is_loopback() && !post.settings().limit_loopback;
    let max = if free { usize::MAX } else { CONNECTIONS_PER_ADDRESS_MAX };
    let Some(_in_crowd) = post.crowd.enter(chassis::listen::network(ip), max) else {
        if door != Door::Submissions {
            let reply = format!("421 4.7.0 {} too many connections from your address\r\n", post.hostname());
            let _ = timeout(WRITE_TIME, stream.write_all(reply.as_bytes())).await;
        }
        return;
    };
    let mut stream: Box<dyn Stream> = Box::new(stream);
    if door == Door::Submissions {
        match timeout(HANDSHAKE_TIME, post.chassis.tls().plain().accept(stream)).await {
            Ok(Ok(tls)) => stream = Box::new(tls),
            _ => return,
        }
    }
    let settings = post.settings();
    let mode = if door == Door::Mx { Mode::Mx } else { Mode::Submission };
    let mechanisms = if mode == Mode::Submission { MECHANISMS.to_vec() } else { Vec::new() };
    let session = Session::new(
        Settings {
            hostname: post.hostname(),
            mode,
            message_bytes_max: settings.message_bytes_max,
            tls_available: true,
            mechanisms,
        },
        door == Door::Submissions,
    );
    let client = Client { post: &post, ip, session, mode, exchange: None };
    if let Err(error) = client.run(stream).await {
        tracing::debug!(%peer, %error, "an SMTP connection ended early");
    }
    drop(place);
}

struct Client<'a> {
    post: &'a Post,
    ip: IpAddr,
    session: Session,
    mode: Mode,
    exchange: Option<Exchange>,
}

impl Client<'_> {
    async fn run(mut self, mut stream: Box<dyn Stream>) -> std::io::Result<()> {
        let mut text = Spool::new(self.post.spool_directory());
        let mut buffer = vec![0u8; 16 << 10];
        loop {
            match self.session.step() {
                Step::NeedInput => {
                    send(&mut stream, self.session.take_output()).await?;
                    let time = if self.post.crowd.len() > CROWDED { IDLE_TIME_CROWDED } else { IDLE_TIME };
                    let read = tokio::select! {
                        read = timeout(time, stream.read(&mut buffer)) => read,
                        () = self.post.chassis.stopping() => {
                            self.session.end("the server stops");
                            continue;
                        }
                    };
                    match read {
                        Ok(Ok(0)) => return Ok(()),
                        Ok(Ok(n)) => self.session.receive(&buffer[..n]),
                        Ok(Err(error)) => return Err(error),
                        Err(_) => self.session.end("nothing came for too long"),
                    }
                }
                Step::Sender(from) => {
                    let verdict = match self.mode {
                        Mode::Mx => receive::sender(self.post, self.ip),
                        Mode::Submission => submit::sender(self.post, self.session.user(), from.as_ref()),
                    };
                    self.session.sender(verdict);
                }
                Step::Recipient(to) => {
                    let verdict = receive::recipient(self.post, &to, self.mode == Mode::Submission);
                    self.session.recipient(verdict);
                }
                Step::Body(piece) => text.push(&piece),
                Step::Abandon => text.clear(),
                Step::Message => {
                    let verdict = self.message(&mut text).await;
                    text.clear();
                    self.session.message(verdict);
                }
                Step::StartTls => {
                    send(&mut stream, self.session.take_output()).await?;
                    let accepted =
                        timeout(HANDSHAKE_TIME, self.post.chassis.tls().plain().accept(stream)).await;
                    stream = match accepted {
                        Ok(accepted) => Box::new(accepted?),
                        Err(_) => return Ok(()),
                    };
                    self.session.tls_started();
                }
                Step::SaslStart(mechanism, initial) => {
                    let accounts = self.post.chassis.accounts();
                    self.exchange = Exchange::new(accounts, &mechanism, self.ip, "smtp");
                    let next = match &mut self.exchange {
                        Some(exchange) => exchange.start(initial).await,
                        None => Next::Failed,
                    };
                    self.sasl(next);
                }
                Step::SaslResponse(response) => {
                    let next = match &mut self.exchange {
                        Some(exchange) => exchange.respond(response).await,
                        None => Next::Failed,
                    };
                    self.sasl(next);
                }
                Step::Close => {
                    send(&mut stream, self.session.take_output()).await?;
                    let _ = timeout(Duration::from_secs(5), stream.shutdown()).await;
                    return Ok(());
                }
            }
        }
    }

    fn sasl(&mut self, next: Next) {
        let answer = match next {
            Next::Challenge(challenge) => return self.session.sasl(SaslAnswer::Challenge(challenge)),
            Next::Done(login) => SaslAnswer::Success(login.account.user.clone()),
            Next::Failed => SaslAnswer::Failure,
            Next::Later => SaslAnswer::Unavailable,
        };
        self.exchange = None;
        self.session.sasl(answer);
    }

    async fn message(&mut self, text: &mut Spool) -> Result<String, Reply> {
        if let Some(problem) = text.problem() {
            return Err(match problem {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    Reply::new(452, "4.3.1", "the disk is full")
                }
                _ => Reply::new(451, "4.3.0", "the message could not be kept, try again"),
            });
        }
        let _memory = self.post.memory_for(text.len()).await;
        let unreadable = |error: std::io::Error| {
            tracing::error!(%error, "a spooled message cannot be read");
            Reply::new(451, "4.3.0", "the message could not be kept, try again")
        };
        let message = text.take().map_err(unreadable)?;
        let Some(envelope) = self.session.envelope().cloned() else {
            return Err(Reply::new(503, "5.5.1", "MAIL first"));
        };
        let (helo, protocol) = self.session.helo();
        let came = receive::Came { ip: self.ip, helo, protocol: &protocol, tls: self.session.is_tls() };
        match (self.mode, self.session.user()) {
            (Mode::Submission, Some(user)) => {
                submit::message(self.post, user, &came, &envelope, message).await
            }
            (Mode::Submission, None) => Err(Reply::new(530, "5.7.0", "AUTH first")),
            (Mode::Mx, _) => receive::message(self.post, &came, &envelope, message).await,
        }
    }
}

async fn send(stream: &mut Box<dyn Stream>, bytes: Vec<u8>) -> std::io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let late = |_| std::io::Error::new(std::io::ErrorKind::TimedOut, "the client reads nothing");
    timeout(WRITE_TIME, async {
        stream.write_all(&bytes).await?;
        stream.flush().await
    })
    .await
    .map_err(late)?
}
