//! Moving a connection's bytes: lines in, responses out, and the layers between (TLS, compression).

use super::grammar::{Frame, Framer, Limits};
use super::output::{Input, Output, Stream};
use super::session::{Next, Session};
use crate::limits;
use crate::mailbox::Mailboxes;
use async_compression::tokio::bufread::DeflateDecoder;
use async_compression::tokio::write::DeflateEncoder;
use chassis::accounts::Accounts;
use std::io;
use std::net::IpAddr;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::time::timeout;

/// What every IMAP connection needs.
#[derive(Clone)]
pub struct Context {
    /// Who may log in.
    pub accounts: Accounts,
    /// Their mail.
    pub mailboxes: Mailboxes,
    /// For STARTTLS and the port that begins with TLS.
    pub tls: tokio_rustls::TlsAcceptor,
    /// Bytes that an account may hold; zero is no bound.
    pub quota_bytes: u64,
    /// Passwords may be sent without TLS. Only for tests on one machine.
    pub plaintext_login: bool,
}

/// How a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// In plain text, with STARTTLS offered (port 143).
    StartTls,
    /// With TLS (port 993).
    Tls,
}

/// Serves one connection to its end. Errors of the connection end it quietly.
pub async fn serve(stream: impl Stream + 'static, peer: IpAddr, security: Security, context: Context) {
    let stream: Box<dyn Stream> = match security {
        Security::StartTls => Box::new(stream),
        Security::Tls => match timeout(limits::HANDSHAKE_TIME, context.tls.accept(stream)).await {
            Ok(Ok(stream)) => Box::new(stream),
            _ => return,
        },
    };
    let (input, output) = tokio::io::split(stream);
    let mut session = Session::new(context, peer, security == Security::Tls, Output::new(output));
    let mut connection = Connection { input, framer: Framer::new(), buffer: Vec::new(), is_busy: false };
    if let Err(error) = connection.run(&mut session).await {
        tracing::debug!(%peer, %error, "imap connection ended");
    }
    session.end().await;
}

struct Connection {
    input: Input,
    framer: Framer,
    buffer: Vec<u8>,
    /// The last read filled the buffer.
    is_busy: bool,
}

impl Connection {
    async fn run(&mut self, session: &mut Session) -> io::Result<()> {
        session.greet().await?;
        loop {
            let next =
                if session.wants_line() { self.line(session).await? } else { self.command(session).await? };
            match next {
                Next::Go => {}
                Next::Close => return Ok(()),
                Next::StartTls => self.start_tls(session).await?,
                Next::Compress => self.compress(session),
            }
        }
    }

    /// Reads one command and does it.
    async fn command(&mut self, session: &mut Session) -> io::Result<Next> {
        let bounds = match session.is_logged_in() {
            true => Limits {
                command_bytes_max: limits::IMAP_COMMAND_MAX,
                message_bytes_max: limits::MESSAGE_BYTES_MAX,
            },
            false => Limits {
                command_bytes_max: limits::IMAP_COMMAND_BEFORE_LOGIN_MAX,
                message_bytes_max: limits::IMAP_COMMAND_BEFORE_LOGIN_MAX,
            },
        };
        let frame = self.framer.next(bounds);
        if !matches!(frame, Frame::Command(_)) && session.settle().await? == Next::Close {
            return Ok(Next::Close);
        }
        match frame {
            Frame::Command(frame) => session.command(frame).await,
            Frame::Continue => {
                session.output().line("+ OK");
                session.output().send().await?;
                Ok(Next::Go)
            }
            Frame::TooBig { tag, message } => session.too_big(tag, message).await,
            Frame::Lost => session.lost().await,
            Frame::Incomplete => {
                session.output().send().await?;
                self.read(session).await
            }
        }
    }

    /// Reads one line of an exchange: AUTHENTICATE, or DONE.
    async fn line(&mut self, session: &mut Session) -> io::Result<Next> {
        match self.framer.next_line(limits::IMAP_LINE_MAX) {
            Ok(Some(line)) => session.line(line).await,
            Ok(None) => {
                session.output().send().await?;
                self.read(session).await
            }
            Err(_) => session.lost().await,
        }
    }

    /// Waits for bytes; while idling, tells what changes.
    async fn read(&mut self, session: &mut Session) -> io::Result<Next> {
        // An idle session waits with a small buffer; who sends much gets a large one.
        self.buffer.resize(if self.is_busy { READ_BYTES } else { READ_BYTES_IDLE }, 0);
        let patience = session.patience();
        let read = tokio::select! {
            read = timeout(patience, self.input.read(&mut self.buffer)) => read,
            () = session.changed() => return session.tell_idling().await,
        };
        match read {
            Ok(Ok(0)) => Ok(Next::Close),
            Ok(Ok(len)) => {
                self.framer.push(&self.buffer[..len]);
                self.is_busy = len == self.buffer.len();
                if !self.is_busy {
                    self.buffer = Vec::new();
                }
                Ok(Next::Go)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => session.out_of_patience().await,
        }
    }

    /// The client's bytes before the handshake are not listened to (RFC 3501 6.2.1; CVE-2011-0411's class).
    async fn start_tls(&mut self, session: &mut Session) -> io::Result<()> {
        self.framer.clear();
        let plain = self.take_stream(session);
        let acceptor = session.context().tls.clone();
        let secure = timeout(limits::HANDSHAKE_TIME, acceptor.accept(plain)).await;
        let secure = secure.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        self.put_stream(session, Box::new(secure));
        session.secured();
        Ok(())
    }

    /// RFC 4978.
    fn compress(&mut self, session: &mut Session) {
        let plain = self.take_stream(session);
        let (input, output) = tokio::io::split(plain);
        let compressed =
            tokio::io::join(DeflateDecoder::new(BufReader::new(input)), DeflateEncoder::new(output));
        self.put_stream(session, Box::new(compressed));
        // Bytes that came behind the command are compressed already.
        self.framer.clear();
    }

    fn take_stream(&mut self, session: &mut Session) -> Box<dyn Stream> {
        let nothing =
            || -> Box<dyn Stream> { Box::new(tokio::io::join(tokio::io::empty(), tokio::io::sink())) };
        let (input, output) = tokio::io::split(nothing());
        let output = session.replace_output(output);
        output.into_stream(std::mem::replace(&mut self.input, input))
    }

    fn put_stream(&mut self, session: &mut Session, stream: Box<dyn Stream>) {
        let (input, output) = tokio::io::split(stream);
        self.input = input;
        session.replace_output(output);
    }
}

const READ_BYTES: usize = 64 << 10;
const READ_BYTES_IDLE: usize = 512;
