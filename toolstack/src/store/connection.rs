//! HTTP/1.1 as far as Git needs it, on blocking sockets: one thread a connection, keep-alive, chunked bodies both ways,
//! `Expect: 100-continue`, bounded heads and patience.

use std::io::{self, BufRead, BufReader, BufWriter, IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use git_wire::http::Reply;

/// A request's head.
#[derive(Debug, Default)]
pub struct Head {
    pub method: String,
    pub path: String,
    pub query: String,
    headers: Vec<(String, String)>,
    http_10: bool,
}

impl Head {
    /// A header's value, or empty.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(one, _)| one.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    fn wants_close(&self) -> bool {
        let connection = self.header("Connection").to_ascii_lowercase();
        connection.contains("close") || (self.http_10 && !connection.contains("keep-alive"))
    }
}

/// One client.
pub struct Connection {
    input: BufReader<TcpStream>,
    output: TcpStream,
}

/// Why a head could not be read.
pub enum HeadError {
    /// The client went away, or said nothing for too long.
    Gone,
    /// It said something that is no HTTP request: answer with this status, then close.
    Bad(u16),
}

const HEAD_BYTES_MAX: usize = 32 << 10;
const HEADERS_MAX: usize = 100;
/// A client that neither sends nor takes anything for so long is cut off.
const PATIENCE: Duration = Duration::from_secs(60);
/// And so is one that, after that time, has sent its body more slowly than this.
const BYTES_A_SECOND_MIN: u64 = 200;

impl Connection {
    /// Takes over a connection.
    pub fn new(stream: TcpStream) -> io::Result<Connection> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let output = stream.try_clone()?;
        Ok(Connection { input: BufReader::with_capacity(64 << 10, stream), output })
    }

    /// Reads the next request's head.
    pub fn read_head(&mut self) -> Result<Head, HeadError> {
        let mut line = Vec::new();
        let mut head = Head::default();
        let mut left = HEAD_BYTES_MAX;
        // Between requests a client may rest; once it speaks, all of the head is due.
        self.input.fill_buf().map_err(|_| HeadError::Gone)?;
        let due = Instant::now() + PATIENCE;
        loop {
            line.clear();
            if !self.read_line(&mut line, &mut left, due)? {
                return Err(HeadError::Gone);
            }
            let text =
                std::str::from_utf8(&line).map_err(|_| HeadError::Bad(400))?.trim_end_matches(['\r', '\n']);
            match (text.is_empty(), head.method.is_empty()) {
                (true, true) => continue,
                (true, false) => return Ok(head),
                (false, true) => parse_request_line(text, &mut head)?,
                (false, false) => {
                    let (name, value) = text.split_once(':').ok_or(HeadError::Bad(400))?;
                    if head.headers.len() == HEADERS_MAX {
                        return Err(HeadError::Bad(431));
                    }
                    head.headers.push((name.to_owned(), value.trim().to_owned()));
                }
            }
        }
    }

    /// Reads up to a line feed; false at the end of the stream.
    fn read_line(&mut self, line: &mut Vec<u8>, left: &mut usize, due: Instant) -> Result<bool, HeadError> {
        loop {
            let time = due.saturating_duration_since(Instant::now());
            if time.is_zero() {
                return Err(HeadError::Bad(408));
            }
            self.output.set_read_timeout(Some(time)).map_err(|_| HeadError::Gone)?;
            let (taken, whole) = {
                let waiting = self.input.fill_buf().map_err(|error| match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => HeadError::Bad(408),
                    _ => HeadError::Gone,
                })?;
                let end = waiting.iter().position(|byte| *byte == b'\n');
                let taken = end.map_or(waiting.len(), |end| end + 1);
                if taken > *left {
                    return Err(HeadError::Bad(431));
                }
                line.extend_from_slice(&waiting[..taken]);
                (taken, end.is_some())
            };
            self.input.consume(taken);
            *left -= taken;
            if whole {
                self.output.set_read_timeout(Some(PATIENCE)).map_err(|_| HeadError::Gone)?;
                return Ok(true);
            }
            if taken == 0 {
                return Ok(false);
            }
        }
    }

    /// Splits the connection into the request's body and the place for the response.
    pub fn exchange(&mut self, head: &Head) -> Result<(Body<'_>, Response<'_>), HeadError> {
        let chunked = head.header("Transfer-Encoding").to_ascii_lowercase();
        let length = head.header("Content-Length");
        let kind = match (&chunked[..], length) {
            ("", "") => Length::Left(0),
            ("", digits) => Length::Left(digits.parse().map_err(|_| HeadError::Bad(400))?),
            // Both at once is how requests are smuggled (RFC 9112 6.1).
            ("chunked", "") => Length::Chunk(0),
            _ => return Err(HeadError::Bad(400)),
        };
        let expects = head.header("Expect").eq_ignore_ascii_case("100-continue");
        let continue_to = if expects { self.output.try_clone().ok() } else { None };
        let body =
            Body { input: &mut self.input, length: kind, continue_to, begun: Instant::now(), received: 0 };
        let output = BufWriter::with_capacity(256 << 10, &mut self.output);
        let close = head.wants_close();
        let response = Response {
            output,
            close,
            chunked: !head.http_10,
            http_10: head.http_10,
            state: State::Waiting,
            no_body: head.method == "HEAD",
        };
        Ok((body, response))
    }
}

fn parse_request_line(line: &str, head: &mut Head) -> Result<(), HeadError> {
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(HeadError::Bad(400));
    };
    head.http_10 = match version {
        "HTTP/1.1" => false,
        "HTTP/1.0" => true,
        _ => return Err(HeadError::Bad(505)),
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    (head.method, head.path, head.query) = (method.to_owned(), path.to_owned(), query.to_owned());
    Ok(())
}

enum Length {
    /// So many bytes are left.
    Left(u64),
    /// So many bytes of the present chunk are left.
    Chunk(u64),
    Ended,
}

/// A request's body.
pub struct Body<'a> {
    input: &'a mut BufReader<TcpStream>,
    length: Length,
    continue_to: Option<TcpStream>,
    begun: Instant,
    received: u64,
}

impl Body<'_> {
    /// Reads what the handler left, so that the next request can be found; false when that is too much.
    pub fn skip_rest(&mut self) -> bool {
        if self.continue_to.is_some() {
            return false;
        }
        let mut buffer = [0; 16 << 10];
        for _ in 0..64 {
            match self.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        false
    }

    fn next_chunk(&mut self) -> io::Result<u64> {
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "a chunk of the body is malformed");
        let mut line = Vec::new();
        self.input.by_ref().take(1024).read_until(b'\n', &mut line)?;
        let text = std::str::from_utf8(&line).map_err(|_| bad())?.trim();
        let size = u64::from_str_radix(text.split(';').next().unwrap_or("").trim(), 16).map_err(|_| bad())?;
        if size == 0 {
            // Trailers, up to the empty line.
            loop {
                line.clear();
                self.input.by_ref().take(1024).read_until(b'\n', &mut line)?;
                if matches!(&line[..], b"\r\n" | b"\n" | b"") {
                    break;
                }
            }
        }
        Ok(size)
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(mut stream) = self.continue_to.take() {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        if let Length::Chunk(0) = self.length {
            let size = self.next_chunk()?;
            self.length = if size == 0 { Length::Ended } else { Length::Chunk(size) };
        }
        let left = match self.length {
            Length::Left(left) | Length::Chunk(left) => left,
            Length::Ended => 0,
        };
        let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.input.read(&mut buffer[..wanted])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.received += count as u64;
        let time = self.begun.elapsed();
        if time > PATIENCE && self.received < time.as_secs() * BYTES_A_SECOND_MIN {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the request's body comes too slowly"));
        }
        match &mut self.length {
            Length::Left(left) => *left -= count as u64,
            Length::Chunk(left) => {
                *left -= count as u64;
                if *left == 0 {
                    let mut end = [0; 2];
                    self.input.read_exact(&mut end)?;
                }
            }
            Length::Ended => {}
        }
        Ok(count)
    }
}

#[derive(PartialEq, Eq)]
enum State {
    Waiting,
    Body,
}

/// The place for a response.
pub struct Response<'a> {
    output: BufWriter<&'a mut TcpStream>,
    close: bool,
    chunked: bool,
    http_10: bool,
    state: State,
    no_body: bool,
}

impl Response<'_> {
    /// Ends the response; true when the connection can be used again.
    pub fn finish(mut self, keep: bool) -> io::Result<bool> {
        if self.state == State::Waiting {
            self.head(500, &[("Content-Length", "0")])?;
        }
        if self.chunked && !self.no_body {
            self.output.write_all(b"0\r\n\r\n")?;
        }
        self.output.flush()?;
        Ok(keep && !self.close)
    }
}

impl Reply for Response<'_> {
    fn head(&mut self, status: u16, headers: &[(&str, &str)]) -> io::Result<()> {
        let sized = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Content-Length"));
        self.chunked = !sized && !self.http_10;
        self.close |= !sized && self.http_10;
        self.state = State::Body;
        write!(self.output, "HTTP/1.1 {status} {}\r\n", reason(status))?;
        for (name, value) in headers {
            write!(self.output, "{name}: {value}\r\n")?;
        }
        if self.chunked {
            self.output.write_all(b"Transfer-Encoding: chunked\r\n")?;
        }
        if self.close {
            self.output.write_all(b"Connection: close\r\n")?;
        }
        self.output.write_all(b"\r\n")
    }
}

impl Write for Response<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.no_body || data.is_empty() {
            return Ok(data.len());
        }
        if self.chunked {
            let head = format!("{:x}\r\n", data.len());
            if data.len() < UNCOPIED_BYTES_MIN {
                self.output.write_all(head.as_bytes())?;
                self.output.write_all(data)?;
                self.output.write_all(b"\r\n")?;
                return Ok(data.len());
            }
            self.output.flush()?;
            let mut parts = [head.as_bytes(), data, b"\r\n"].map(IoSlice::new);
            write_all(self.output.get_mut(), &mut parts)?;
            // A client on this machine hands it on before there is more, instead of after.
            std::thread::yield_now();
            Ok(data.len())
        } else {
            self.output.write(data)
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// A chunk of at least so many bytes goes out from where it lies.
const UNCOPIED_BYTES_MIN: usize = 16 << 10;

fn write_all(stream: &mut TcpStream, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !parts.is_empty() {
        match stream.write_vectored(parts) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut parts, count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The words behind a status; clients go by the number.
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        415 => "Unsupported Media Type",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}
