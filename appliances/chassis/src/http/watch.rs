//! A connection before hyper sees its bytes: what hyper cuts off in silence, and the clocks that it does not have.
//!
//! - **Fragments.** A request's target holds none (RFC 9112 section 3.2), and hyper cuts one off: `DELETE /a/#b` would
//!   delete `/a/`. In the request lines of HTTP/1.1 `#` becomes `"` here, which no target may hold either and which
//!   hyper lets through; [`is_path`] tells the two apart from everything that may stand there, and the shell answers 400.
//!   For HTTP/2 see `hpack`.
//! - **Slow heads.** hyper has one clock for an idle connection and for a head under way. A head that began must end
//!   within `HEAD_TIME`.
//! - **Quick askers.** See `look`.
//! - **Stuck readers.** A client that takes nothing of its answer for `BODY_PIECE_TIME` is let go.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::limits;

/// A connection that is watched.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    requests: Requests,
    head_clock: Clock,
    write_clock: Clock,
    look: super::look::Look,
}

/// Where the requests of a connection are.
#[derive(Debug)]
enum Requests {
    Http1(Heads),
    #[cfg(feature = "http2")]
    Http2(Box<super::hpack::Frames>),
}

impl Requests {
    fn pass(&mut self, bytes: &mut [u8]) {
        match self {
            Requests::Http1(heads) => heads.pass(bytes),
            #[cfg(feature = "http2")]
            Requests::Http2(frames) => frames.pass(bytes),
        }
    }

    /// A head began and has not ended. HTTP/2 has pings for that.
    fn is_under_way(&self) -> bool {
        matches!(self, Requests::Http1(heads) if heads.is_under_way())
    }
}

impl<S> Watched<S> {
    /// Watches HTTP/1.1.
    pub(super) fn http1(stream: S) -> Watched<S> {
        Watched::new(stream, Requests::Http1(Heads::default()))
    }

    /// Watches HTTP/2.
    #[cfg(feature = "http2")]
    pub(super) fn http2(stream: S) -> Watched<S> {
        Watched::new(stream, Requests::Http2(Box::default()))
    }

    fn new(stream: S, requests: Requests) -> Watched<S> {
        Watched {
            stream,
            requests,
            head_clock: Clock::default(),
            write_clock: Clock::default(),
            look: super::look::Look::default(),
        }
    }

    fn answered(&mut self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(1..)) = result {
            self.look.answered();
        }
    }

    fn wrote<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.write_clock.stop();
            return result;
        }
        match self.write_clock.run(cx, limits::BODY_PIECE_TIME) {
            true => Poll::Ready(Err(slow("the client does not take its answer"))),
            false => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if result.is_pending() {
            this.look.again(cx);
            let late = this.requests.is_under_way() && this.head_clock.run(cx, limits::HEAD_TIME);
            return if late { Poll::Ready(Err(slow("the request's head came too slowly"))) } else { result };
        }
        this.look.asked();
        this.requests.pass(&mut buffer.filled_mut()[before..]);
        if !this.requests.is_under_way() {
            this.head_clock.stop();
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.answered(&result);
        self.wrote(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.answered(&result);
        self.wrote(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.wrote(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.wrote(cx, result)
    }
}

/// A clock that runs while something is waited for.
#[derive(Debug, Default)]
struct Clock(Option<Pin<Box<Sleep>>>);

impl Clock {
    /// Starts it if it does not run; true when its time is over.
    fn run(&mut self, cx: &mut Context<'_>, time: Duration) -> bool {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
        sleep.as_mut().poll(cx).is_ready()
    }

    fn stop(&mut self) {
        self.0 = None;
    }
}

fn slow(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

/// Whether a path had neither a fragment nor a quotation mark when it was sent. (In a query hyper refuses both.)
pub(super) fn is_path(path: &str) -> bool {
    !path.contains(STRANGER)
}

/// What stands for `#` in a target behind the watch: as long, taken by hyper, and not of RFC 3986.
const STRANGER: char = '"';

/// Where the bytes of an HTTP/1.1 connection are within its messages (RFC 9112 sections 2 to 7). It follows only what a
/// well-formed client sends; of a malformed message hyper says so and ends the connection.
#[derive(Debug, Default)]
struct Heads {
    place: Place,
    /// The beginning of the line under way.
    line: Vec<u8>,
    /// Spaces passed in the request line.
    spaces: usize,
    length: u64,
    chunked: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    RequestLine,
    Field,
    /// This many bytes of a body are left.
    Body(u64),
    ChunkSize,
    /// This many bytes of a chunk are left.
    Chunk(u64),
    ChunkEnd,
    Trailer,
}

impl Heads {
    /// A head began and has not ended.
    fn is_under_way(&self) -> bool {
        match self.place {
            Place::RequestLine => !self.line.is_empty(),
            Place::Field => true,
            _ => false,
        }
    }

    /// Passes bytes, in which targets' `#` are replaced.
    fn pass(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let taken = match self.place {
                Place::Body(left) => self.skip(left, bytes.len(), Place::RequestLine, Place::Body),
                Place::Chunk(left) => self.skip(left, bytes.len(), Place::ChunkEnd, Place::Chunk),
                _ => self.line(bytes),
            };
            bytes = &mut std::mem::take(&mut bytes)[taken..];
        }
    }

    fn skip(&mut self, left: u64, there: usize, then: Place, still: fn(u64) -> Place) -> usize {
        let taken = left.min(there as u64);
        self.place = if taken == left { then } else { still(left - taken) };
        taken as usize
    }

    fn line(&mut self, bytes: &mut [u8]) -> usize {
        let end = memchr::memchr(b'\n', bytes).map(|at| at + 1);
        let length = end.unwrap_or(bytes.len());
        let piece = &mut bytes[..length];
        if self.place == Place::RequestLine {
            self.request_line(piece);
        }
        let room = LINE_KEPT_BYTES.saturating_sub(self.line.len());
        self.line.extend_from_slice(&piece[..piece.len().min(room)]);
        if end.is_some() {
            self.place = self.after_line();
            self.line.clear();
        }
        length
    }

    fn request_line(&mut self, piece: &mut [u8]) {
        for byte in piece {
            match *byte {
                b' ' => self.spaces += 1,
                b'#' if self.spaces > 0 => *byte = STRANGER as u8,
                _ => {}
            }
        }
    }

    fn after_line(&mut self) -> Place {
        let line = self.line.trim_ascii();
        match self.place {
            Place::RequestLine => {
                (self.spaces, self.length, self.chunked) = (0, 0, false);
                if line.is_empty() { Place::RequestLine } else { Place::Field }
            }
            Place::Field if line.is_empty() => match (self.chunked, self.length) {
                (true, _) => Place::ChunkSize,
                (false, 0) => Place::RequestLine,
                (false, length) => Place::Body(length),
            },
            Place::Field => {
                self.field();
                Place::Field
            }
            Place::ChunkSize => match chunk_size(line) {
                0 => Place::Trailer,
                size => Place::Chunk(size),
            },
            Place::ChunkEnd => Place::ChunkSize,
            Place::Trailer if line.is_empty() => Place::RequestLine,
            other => other,
        }
    }

    fn field(&mut self) {
        let Some(colon) = memchr::memchr(b':', &self.line) else { return };
        let (name, value) = (&self.line[..colon], self.line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            self.length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.chunked = value.to_ascii_lowercase().ends_with(b"chunked");
        }
    }
}

/// The size before a chunk (RFC 9112 section 7.1); 0 for anything else, with which hyper ends the connection.
fn chunk_size(line: &[u8]) -> u64 {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    std::str::from_utf8(&line[..digits]).ok().and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0)
}

/// As much of a line is looked at: Content-Length and Transfer-Encoding are shorter.
const LINE_KEPT_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What comes out, when it goes in by pieces of this size.
    fn passed(text: &[u8], size: usize) -> (Vec<u8>, Heads) {
        let (mut heads, mut out) = (Heads::default(), text.to_vec());
        for piece in out.chunks_mut(size.max(1)) {
            heads.pass(piece);
        }
        (out, heads)
    }

    #[test]
    fn rfc9112_3_2_fragments_are_marked_in_request_lines_alone() {
        let sent = b"DELETE /a/#b HTTP/1.1\r\nX-Colour: #fff\r\nContent-Length: 24\r\n\r\n\
                     GET /body#not HTTP/1.1\r\n\
                     \r\nPUT /c HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5;x=#y\r\n#\r\n#\n\r\n0\r\nT: #\r\n\r\n\
                     GET /q?x=1#z HTTP/1.1\r\n\r\n";
        let wanted = String::from_utf8_lossy(sent).replace("/a/#b", "/a/\"b").replace("x=1#z", "x=1\"z");
        for size in 1..sent.len() {
            let (out, heads) = passed(sent, size);
            assert_eq!(String::from_utf8_lossy(&out), wanted, "{size}");
            assert_eq!(heads.place, Place::RequestLine);
            assert!(!heads.is_under_way());
        }
        assert!(!is_path("/a/\"b") && is_path("/a%22"));
    }

    #[test]
    fn a_head_is_under_way_until_its_empty_line() {
        for (text, under_way) in [
            (&b""[..], false),
            (b"\r\n", false),
            (b"G", true),
            (b"GET / HTTP/1.1\r\n", true),
            (b"GET / HTTP/1.1\r\nHost: x\r\n", true),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", false),
            (b"PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab", false),
        ] {
            assert_eq!(passed(text, 7).1.is_under_way(), under_way, "{}", String::from_utf8_lossy(text));
        }
    }

    proptest! {
        #[test]
        fn anything_passes_with_its_length_and_at_most_256_bytes_kept(bytes: Vec<u8>, size in 1usize..64) {
            let (out, heads) = passed(&bytes, size);
            prop_assert_eq!(out.len(), bytes.len());
            prop_assert!(heads.line.len() <= LINE_KEPT_BYTES);
            for (before, after) in bytes.iter().zip(&out) {
                prop_assert!(before == after || (*before == b'#' && *after == b'"'));
            }
        }
    }
}
