//! Bodies: what a client sends, piece by piece and under a clock, and what we answer, whole or streamed.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

use crate::limits;

/// What a client sends. It is read by pieces; each must come in time.
#[derive(Debug)]
pub struct RequestBody {
    source: Source,
    started: Instant,
    received: u64,
}

#[derive(Debug)]
enum Source {
    Network(Lent),
    Memory(Option<Bytes>),
}

/// A body that goes back to the connection when its handler has done with it.
#[derive(Debug)]
struct Lent {
    incoming: Option<hyper::body::Incoming>,
    back: Leftover,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(incoming), Some(back)) = (self.incoming.take(), &self.back.0)
            && !http_body::Body::is_end_stream(&incoming)
        {
            *back.lock().unwrap_or_else(PoisonError::into_inner) = Some(incoming);
        }
    }
}

/// What a handler did not read of a body.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leftover(Option<Arc<Mutex<Option<hyper::body::Incoming>>>>);

impl Leftover {
    /// Takes what a handler will leave of this body.
    #[cfg(feature = "http2")]
    pub(crate) fn of(incoming: &hyper::body::Incoming) -> Leftover {
        Leftover((!http_body::Body::is_end_stream(incoming)).then(Arc::default))
    }

    /// Reads what is left and drops it: some, and not for long. Over HTTP/2 a stream that is answered before its end is
    /// reset, and clients (curl among them) lose the answer then, although RFC 9113 section 8.1 tells them not to.
    #[cfg(feature = "http2")]
    pub(crate) async fn drain(self) {
        let Some(slot) = self.0 else { return };
        let left = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut incoming) = left else { return };
        let reading = async {
            let mut room = limits::LEFTOVER_BYTES_MAX;
            while room > 0 {
                let next =
                    std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut incoming), cx));
                let Some(Ok(frame)) = next.await else { return };
                room = room.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            }
        };
        let _ = tokio::time::timeout(limits::LEFTOVER_TIME, reading).await;
    }
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// More than the handler takes.
    #[error("the request's body is larger than {0} bytes")]
    TooLarge(usize),
    /// The client is too slow.
    #[error("the request's body came too slowly")]
    Slow,
    /// The connection broke.
    #[error("the request's body broke off: {0}")]
    Broken(#[from] hyper::Error),
}

impl RequestBody {
    pub(crate) fn network(incoming: hyper::body::Incoming, back: Leftover) -> RequestBody {
        let source = Source::Network(Lent { incoming: Some(incoming), back });
        RequestBody { source, started: Instant::now(), received: 0 }
    }

    /// The length that the client announced, if it did.
    pub fn announced(&self) -> Option<u64> {
        match &self.source {
            Source::Network(lent) => {
                lent.incoming.as_ref().and_then(|incoming| http_body::Body::size_hint(incoming).exact())
            }
            Source::Memory(bytes) => Some(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }

    /// The next piece; `None` at the end.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, BodyError> {
        let incoming = match &mut self.source {
            Source::Memory(bytes) => return Ok(bytes.take()),
            Source::Network(lent) => match &mut lent.incoming {
                Some(incoming) => incoming,
                None => return Ok(None),
            },
        };
        loop {
            let next = std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut *incoming), cx));
            let frame =
                tokio::time::timeout(limits::BODY_PIECE_TIME, next).await.map_err(|_| BodyError::Slow)?;
            let Some(frame) = frame.transpose()? else { return Ok(None) };
            let Ok(bytes) = frame.into_data() else { continue }; // trailers
            self.received += bytes.len() as u64;
            let elapsed = self.started.elapsed();
            if elapsed > limits::BODY_PIECE_TIME && self.received < elapsed.as_secs() * limits::BODY_RATE_MIN
            {
                return Err(BodyError::Slow);
            }
            return Ok(Some(bytes));
        }
    }

    /// The whole body, if it is not larger than `limit` bytes. A larger announced length is refused before reading.
    pub async fn all(&mut self, limit: usize) -> Result<Bytes, BodyError> {
        if self.announced().is_some_and(|length| length > limit as u64) {
            return Err(BodyError::TooLarge(limit));
        }
        let Some(first) = self.piece().await? else { return Ok(Bytes::new()) };
        let mut whole = BytesMut::new();
        let mut piece = Some(first);
        while let Some(bytes) = piece {
            if whole.len() + bytes.len() > limit {
                return Err(BodyError::TooLarge(limit));
            }
            whole.extend_from_slice(&bytes);
            piece = self.piece().await?;
        }
        Ok(whole.freeze())
    }
}

impl From<Bytes> for RequestBody {
    fn from(bytes: Bytes) -> RequestBody {
        RequestBody { source: Source::Memory(Some(bytes)), started: Instant::now(), received: 0 }
    }
}

/// What we answer.
#[derive(Debug)]
pub struct Body(Kind);

#[derive(Debug)]
enum Kind {
    Whole(Option<Bytes>),
    Stream(mpsc::Receiver<io::Result<Bytes>>, Option<u64>),
}

/// The writing end of a streamed answer.
#[derive(Debug, Clone)]
pub struct BodySender(mpsc::Sender<io::Result<Bytes>>);

impl Body {
    /// Nothing.
    pub fn empty() -> Body {
        Body(Kind::Whole(None))
    }

    /// A body that is written while it is sent. `length`: its length in bytes, where it is known. At most two pieces wait.
    pub fn stream(length: Option<u64>) -> (BodySender, Body) {
        let (sender, receiver) = mpsc::channel(2);
        (BodySender(sender), Body(Kind::Stream(receiver, length)))
    }

    /// The bytes of a body that is not streamed (tests, and the shell's own pages).
    pub fn whole(&self) -> Option<&Bytes> {
        match &self.0 {
            Kind::Whole(bytes) => bytes.as_ref(),
            Kind::Stream(..) => None,
        }
    }
}

impl BodySender {
    /// Sends a piece; waits while the client is slow. An error means that the client is gone: stop writing.
    pub async fn send(&self, piece: impl Into<Bytes>) -> io::Result<()> {
        let sending = self.0.send(Ok(piece.into()));
        match tokio::time::timeout(limits::BODY_PIECE_TIME, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client closed the connection")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")),
        }
    }

    /// The same from a thread that may block.
    pub fn send_blocking(&self, piece: impl Into<Bytes>) -> io::Result<()> {
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the client closed the connection");
        self.0.blocking_send(Ok(piece.into())).map_err(gone)
    }

    /// Breaks the answer off, so that the client knows that it is not whole.
    pub async fn fail(self, error: io::Error) {
        let _ = self.0.send(Err(error)).await;
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Body {
        Body(Kind::Whole(Some(bytes.into()).filter(|bytes| !bytes.is_empty())))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.0 {
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Stream(pieces, _) => {
                pieces.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Kind::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Stream(_, Some(length)) => SizeHint::with_exact(*length),
            Kind::Stream(_, None) => SizeHint::default(),
        }
    }
}
