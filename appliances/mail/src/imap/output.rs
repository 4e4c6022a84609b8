//! What goes to the client: collected, then sent in large pieces, so that a long answer takes little memory.

use super::grammar::encode_utf7;
use crate::limits;
use crate::message;
use std::fmt;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

/// A connection's stream, whatever layers it has.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The half that is read from.
pub type Input = ReadHalf<Box<dyn Stream>>;

/// Collects responses and sends them.
pub struct Output {
    buffer: Vec<u8>,
    stream: WriteHalf<Box<dyn Stream>>,
    /// Mailbox names go out in UTF-8.
    pub utf8: bool,
}

impl Output {
    /// An empty one.
    pub fn new(stream: WriteHalf<Box<dyn Stream>>) -> Output {
        Output { buffer: Vec::new(), stream, utf8: false }
    }

    /// What is collected, to write into.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// `* …`.
    pub fn untagged(&mut self, line: impl fmt::Display) {
        self.line(format_args!("* {line}"));
    }

    /// A whole line.
    pub fn line(&mut self, line: impl fmt::Display) {
        use std::io::Write as _;
        // Writing to memory cannot fail.
        let _ = write!(self.buffer, "{line}\r\n");
    }

    /// A mailbox name as this client reads names (RFC 3501 5.1.3, RFC 6855 3).
    pub fn mailbox(&mut self, name: &str) {
        if self.utf8 && !name.is_ascii() && !name.contains(['"', '\\']) {
            self.buffer.push(b'"');
            self.buffer.extend_from_slice(name.as_bytes());
            self.buffer.push(b'"');
        } else {
            let shown = if self.utf8 { name.to_owned() } else { encode_utf7(name) };
            message::write_string(&mut self.buffer, shown.as_bytes());
        }
    }

    /// Sends what is collected when it is much.
    pub async fn relieve(&mut self) -> io::Result<()> {
        if self.buffer.len() >= PIECE { self.send().await } else { Ok(()) }
    }

    /// Sends what is collected.
    pub async fn send(&mut self) -> io::Result<()> {
        let mut collected = std::mem::take(&mut self.buffer);
        self.write(&collected).await?;
        collected.clear();
        collected.shrink_to(KEPT);
        self.buffer = collected;
        patiently(self.stream.flush()).await
    }

    /// Sends what is collected, and behind it responses that were made elsewhere.
    pub async fn send_all(&mut self, responses: &[u8]) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.send().await?;
        }
        self.write(responses).await
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(PIECE) {
            // Each piece must be taken in time, so that a slow client is served and a stuck one given up.
            patiently(self.stream.write_all(piece)).await?;
        }
        Ok(())
    }

    /// Gives the stream back, whole.
    pub fn into_stream(self, input: Input) -> Box<dyn Stream> {
        input.unsplit(self.stream)
    }

    /// Ends the stream in good order.
    pub async fn close(&mut self) {
        let _ = self.send().await;
        let _ = self.stream.shutdown().await;
    }
}

async fn patiently(sent: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    tokio::time::timeout(limits::IMAP_SEND_TIME, sent)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

const PIECE: usize = 64 << 10;
/// What an idle session keeps of its buffer.
const KEPT: usize = 1 << 10;
