//! Packet lines (gitprotocol-common): four hexadecimal digits of length, then the payload.

use std::io::{self, Read, Write};

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// A payload of up to 65,516 bytes.
    Line(Vec<u8>),
    /// `0000`: the end of a message.
    Flush,
    /// `0001`: the end of a section (version 2).
    Delimiter,
    /// `0002`: the end of a response (version 2).
    ResponseEnd,
}

/// Why no packet could be read.
#[derive(Debug, thiserror::Error)]
pub enum PktError {
    /// The four digits are no length.
    #[error("not a packet line: it begins with {0:?} instead of four hexadecimal digits")]
    Length(String),
    /// The stream ended inside a packet.
    #[error("the stream ended inside a packet line")]
    Truncated,
    /// The stream failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The longest payload (LARGE_PACKET_MAX less the length).
pub const PAYLOAD_BYTES_MAX: usize = 65_516;

/// Reads the next packet; `None` at the end of the stream.
pub fn read_packet(stream: &mut (impl Read + ?Sized)) -> Result<Option<Packet>, PktError> {
    let mut digits = [0; 4];
    match read_up_to(stream, &mut digits)? {
        0 => return Ok(None),
        4 => {}
        _ => return Err(PktError::Truncated),
    }
    let length = parse_length(&digits)?;
    match length {
        0 => Ok(Some(Packet::Flush)),
        1 => Ok(Some(Packet::Delimiter)),
        2 => Ok(Some(Packet::ResponseEnd)),
        length => {
            let mut payload = vec![0; length - 4];
            if read_up_to(stream, &mut payload)? != payload.len() {
                return Err(PktError::Truncated);
            }
            Ok(Some(Packet::Line(payload)))
        }
    }
}

fn parse_length(digits: &[u8; 4]) -> Result<usize, PktError> {
    let bad = || PktError::Length(String::from_utf8_lossy(digits).into_owned());
    let text = std::str::from_utf8(digits).map_err(|_| bad())?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(bad());
    }
    let length = usize::from_str_radix(text, 16).map_err(|_| bad())?;
    if length == 3 || length > PAYLOAD_BYTES_MAX + 4 { Err(bad()) } else { Ok(length) }
}

fn read_up_to(stream: &mut (impl Read + ?Sized), buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Writes a payload as one packet. It must not be longer than [`PAYLOAD_BYTES_MAX`].
pub fn write_line(out: &mut (impl Write + ?Sized), payload: &[u8]) -> io::Result<()> {
    debug_assert!(payload.len() <= PAYLOAD_BYTES_MAX);
    write!(out, "{:04x}", payload.len() + 4)?;
    out.write_all(payload)
}

/// Writes a text line with the line feed that Git puts there.
pub fn write_text(out: &mut (impl Write + ?Sized), text: &str) -> io::Result<()> {
    write_line(out, format!("{text}\n").as_bytes())
}

/// Writes `0000`.
pub fn write_flush(out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    out.write_all(b"0000")
}

/// Writes `0001`.
pub fn write_delimiter(out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    out.write_all(b"0001")
}

/// A packet's text without the line feed that may end it.
pub fn trim(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

/// Sends a stream inside packets on a band (side-band, side-band-64k): 1 data, 2 progress, 3 a fatal error.
pub struct SideBand<'a> {
    out: &'a mut dyn Write,
    /// Payload of one packet without the band's byte; 0 when the peer wants the bare stream.
    size: usize,
    /// Packets of data that wait, the last of them open: room for its head, then what it has so far.
    waiting: Vec<u8>,
    /// Where the open packet begins; `None` when none is.
    open: Option<usize>,
}

/// Length and band.
const BAND_HEAD_BYTES: usize = 5;
/// A packet is half of a pipe, by which the parts of a client hand it on: so one writes while another reads.
const LARGE_BYTES: usize = (32 << 10) - BAND_HEAD_BYTES;
/// So much goes out in one write. Each becomes a chunk of HTTP, at whose ends clients hand on crumbs.
const BURST_BYTES: usize = 64 << 10;

impl<'a> SideBand<'a> {
    /// Bands of up to 65,515 bytes (side-band-64k, version 2), of which half is used.
    pub fn large(out: &'a mut dyn Write) -> SideBand<'a> {
        SideBand::new(out, LARGE_BYTES)
    }

    /// Bands of 995 bytes (side-band).
    pub fn small(out: &'a mut dyn Write) -> SideBand<'a> {
        SideBand::new(out, 995)
    }

    /// No bands: data goes out bare, progress and errors go nowhere.
    pub fn none(out: &'a mut dyn Write) -> SideBand<'a> {
        SideBand::new(out, 0)
    }

    fn new(out: &'a mut dyn Write, size: usize) -> SideBand<'a> {
        SideBand { out, size, waiting: Vec::new(), open: None }
    }

    /// Says something to the person at the other end.
    pub fn progress(&mut self, text: &str) -> io::Result<()> {
        self.say(2, text.as_bytes())
    }

    /// Says why it ends here.
    pub fn fatal(&mut self, text: &str) -> io::Result<()> {
        self.flush()?;
        self.say(3, format!("{text}\n").as_bytes())
    }

    fn say(&mut self, band: u8, text: &[u8]) -> io::Result<()> {
        for part in text.chunks(self.size.max(1)).filter(|_| self.size > 0) {
            // One write a packet, since each may become a chunk of HTTP.
            let mut packet = band_head(band, part.len()).to_vec();
            packet.extend_from_slice(part);
            self.out.write_all(&packet)?;
        }
        Ok(())
    }

    /// Ends the open packet.
    fn close(&mut self) {
        if let Some(start) = self.open.take() {
            let head = band_head(1, self.waiting.len() - start - BAND_HEAD_BYTES);
            self.waiting[start..start + BAND_HEAD_BYTES].copy_from_slice(&head);
        }
    }

    fn send(&mut self) -> io::Result<()> {
        self.out.write_all(&self.waiting)?;
        self.waiting.clear();
        Ok(())
    }
}

impl Write for SideBand<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.size == 0 {
            return self.out.write(data);
        }
        let mut rest = data;
        while !rest.is_empty() {
            let start = match self.open {
                Some(start) => start,
                None => {
                    let start = self.waiting.len();
                    self.waiting.resize(start + BAND_HEAD_BYTES, 0);
                    *self.open.insert(start)
                }
            };
            let room = start + BAND_HEAD_BYTES + self.size - self.waiting.len();
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.waiting.extend_from_slice(now);
            rest = later;
            if now.len() == room {
                self.close();
                if self.waiting.len() + self.size > BURST_BYTES {
                    self.send()?;
                }
            }
        }
        Ok(data.len())
    }

    /// Sends what waits; the stream below is flushed by its owner.
    fn flush(&mut self) -> io::Result<()> {
        self.close();
        if self.waiting.is_empty() { Ok(()) } else { self.send() }
    }
}

fn band_head(band: u8, payload: usize) -> [u8; BAND_HEAD_BYTES] {
    let length = payload + BAND_HEAD_BYTES;
    let digit = |shift: usize| b"0123456789abcdef"[length >> shift & 0xf];
    [digit(12), digit(8), digit(4), digit(0), band]
}

/// Takes the data band out of packets, up to a flush. Progress goes to a callback, a fatal message becomes an error.
pub struct DeBand<'a, R: Read + ?Sized> {
    stream: &'a mut R,
    progress: &'a mut dyn FnMut(&[u8]),
    current: Vec<u8>,
    at: usize,
    ended: bool,
    first: Option<Vec<u8>>,
}

impl<'a, R: Read + ?Sized> DeBand<'a, R> {
    /// Reads packets from `stream`.
    pub fn new(stream: &'a mut R, progress: &'a mut dyn FnMut(&[u8])) -> DeBand<'a, R> {
        DeBand { stream, progress, current: Vec::new(), at: 0, ended: false, first: None }
    }

    /// The same, when the first packet has been read already.
    pub fn after(first: Vec<u8>, stream: &'a mut R, progress: &'a mut dyn FnMut(&[u8])) -> DeBand<'a, R> {
        DeBand { stream, progress, current: Vec::new(), at: 0, ended: false, first: Some(first) }
    }
}

impl<R: Read + ?Sized> Read for DeBand<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.current.len() {
            if self.ended {
                return Ok(0);
            }
            let packet = match self.first.take() {
                Some(line) => Some(Packet::Line(line)),
                None => read_packet(self.stream).map_err(io::Error::other)?,
            };
            match packet {
                Some(Packet::Line(line)) => match line.split_first() {
                    Some((1, _)) => (self.current, self.at) = (line, 1),
                    Some((2, text)) => (self.progress)(text),
                    Some((3, text)) => {
                        let text = String::from_utf8_lossy(text).trim_end().to_owned();
                        return Err(io::Error::other(format!("the remote says: {text}")));
                    }
                    _ => return Err(io::Error::other("a packet on a band that does not exist")),
                },
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(_) => self.ended = true,
            }
        }
        let count = buffer.len().min(self.current.len() - self.at);
        buffer[..count].copy_from_slice(&self.current[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn gitprotocol_common_examples() {
        let read = |bytes: &[u8]| read_packet(&mut &bytes[..]).unwrap();
        assert_eq!(read(b"0006a\n"), Some(Packet::Line(b"a\n".to_vec())));
        assert_eq!(read(b"0005a"), Some(Packet::Line(b"a".to_vec())));
        assert_eq!(read(b"0004"), Some(Packet::Line(Vec::new())));
        assert_eq!(read(b"0000"), Some(Packet::Flush));
        assert_eq!(read(b"0001"), Some(Packet::Delimiter));
        assert_eq!(read(b"0002"), Some(Packet::ResponseEnd));
        assert_eq!(read(b""), None);
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        let refused = |bytes: &[u8]| read_packet(&mut &bytes[..]).unwrap_err();
        for bad in [&b"0003"[..], b"fff1", b"GET ", b"+123", b"-001"] {
            assert!(matches!(refused(bad), PktError::Length(_)), "{bad:?}");
        }
        assert!(matches!(refused(b"000"), PktError::Truncated));
        assert!(matches!(refused(b"0009abc"), PktError::Truncated));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut rest = &bytes[..];
            while let Ok(Some(_)) = read_packet(&mut rest) {}
        }

        #[test]
        fn bands_carry_a_stream(data in proptest::collection::vec(any::<u8>(), 0..5000), small in any::<bool>()) {
            let mut out = Vec::new();
            let mut band = if small { SideBand::small(&mut out) } else { SideBand::large(&mut out) };
            for part in data.chunks(700) {
                band.write_all(part).unwrap();
                band.progress("working").unwrap();
            }
            band.flush().unwrap();
            write_flush(&mut out).unwrap();
            let mut said = Vec::new();
            let mut note = |text: &[u8]| said.extend_from_slice(text);
            let mut back = Vec::new();
            DeBand::new(&mut &out[..], &mut note).read_to_end(&mut back).unwrap();
            prop_assert_eq!(back, data.clone());
            prop_assert_eq!(said.len(), data.len().div_ceil(700) * 7);
        }
    }
}
