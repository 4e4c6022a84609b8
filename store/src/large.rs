//! Objects that do not fit into memory: written and read in pieces.

use std::io::{self, Read};
use std::sync::Arc;

use flate2::read::ZlibDecoder;
use flate2::{Compress, Compression, FlushCompress, Status};
use git_wire::{IdHasher, Kind, ObjectId, RepositoryError, Spool};

use crate::core::{Core, Pin};
use crate::engine::{NewObject, ObjectEntry, Part, Stream};
use crate::{Error, Result};

/// What is read and written at a time.
const PIECE_BYTES: usize = 128 << 10;

/// The zlib stream of an object as it lies on the device, piece by piece, each piece checked.
pub(crate) struct StreamReader {
    core: Arc<Core>,
    id: ObjectId,
    /// Keeps the object from being collected; it may still be moved.
    _pin: Option<Arc<Pin>>,
    parts: std::vec::IntoIter<Part>,
    /// Bytes of the stream that were read from the device.
    passed: u64,
    piece: Vec<u8>,
    at: usize,
}

impl StreamReader {
    pub fn new(core: Arc<Core>, id: ObjectId, entry: ObjectEntry) -> StreamReader {
        let pin = core.pin(Some(id));
        StreamReader {
            core,
            id,
            _pin: pin,
            parts: entry.parts.into_iter(),
            passed: 0,
            piece: Vec::new(),
            at: 0,
        }
    }

    fn next_piece(&mut self) -> Result<bool> {
        let Some(part) = self.parts.next() else { return Ok(false) };
        self.piece = match self.core.engine.read_part(&part) {
            Ok(piece) => piece,
            Err(error) => self.moved()?.ok_or(error)?,
        };
        self.passed += self.piece.len() as u64;
        self.at = 0;
        Ok(true)
    }

    /// A collection may have moved the object; the stream is the same, perhaps cut elsewhere. Gives the rest of the
    /// piece that is due.
    fn moved(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(entry) = self.core.any_entry(&self.id)? else { return Ok(None) };
        let mut parts = entry.parts.into_iter();
        let mut before = 0;
        while let Some(part) = parts.next() {
            let end = before + u64::from(part.len);
            if end > self.passed {
                let Ok(piece) = self.core.engine.read_part(&part) else { return Ok(None) };
                self.parts = parts;
                return Ok(Some(piece[(self.passed - before) as usize..].to_vec()));
            }
            before = end;
        }
        Ok(None)
    }
}

impl Read for StreamReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() && !self.next_piece().map_err(io::Error::other)? {
            return Ok(0);
        }
        let len = buffer.len().min(self.piece.len() - self.at);
        buffer[..len].copy_from_slice(&self.piece[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}

/// Reads a file's content in bounded memory. A read fails where the device holds something else than was written.
pub struct BlobReader {
    inner: Inner,
    size_bytes: u64,
    left: u64,
}

enum Inner {
    Stream(Box<ZlibDecoder<StreamReader>>),
    Memory(io::Cursor<bytes::Bytes>),
}

impl BlobReader {
    pub(crate) fn new(core: &Arc<Core>, id: &ObjectId) -> Result<BlobReader> {
        let entry = core.object_entry(id)?.ok_or(Error::Missing(*id))?;
        let size_bytes = entry.size_bytes;
        let inner = if entry.delta.is_some() {
            Inner::Memory(io::Cursor::new(core.typed(id, Kind::Blob)?))
        } else {
            Inner::Stream(Box::new(ZlibDecoder::new(StreamReader::new(core.clone(), *id, entry))))
        };
        Ok(BlobReader { inner, size_bytes, left: size_bytes })
    }

    /// Bytes of the whole file.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = match &mut self.inner {
            Inner::Stream(stream) => stream.read(buffer)?,
            Inner::Memory(bytes) => bytes.read(buffer)?,
        };
        if len == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the stored file is shorter than it should be",
            ));
        }
        self.left = self
            .left
            .checked_sub(len as u64)
            .ok_or_else(|| io::Error::other("the stored file is too long"))?;
        Ok(len)
    }
}

/// Bytes that lie in the log, and belong to nobody: the next collection has their room. Whoever has one holds collections
/// off what is written meanwhile.
pub(crate) struct DeviceSpool {
    core: Arc<Core>,
    /// What is not written yet.
    piece: Vec<u8>,
    /// Where each part begins.
    parts: Vec<(u64, Part)>,
    written: u64,
    /// Parts that were read lately, by their places; the last one last.
    read: Vec<(usize, Vec<u8>)>,
}

/// A piece is small, for what is wanted of it is often smaller still.
const SPOOL_PIECE_BYTES: usize = 32 << 10;
const SPOOL_PIECES_READ: usize = 64;

impl DeviceSpool {
    pub fn new(core: Arc<Core>) -> DeviceSpool {
        DeviceSpool { core, piece: Vec::new(), parts: Vec::new(), written: 0, read: Vec::new() }
    }

    fn write_piece(&mut self) -> Result<()> {
        for part in self.core.engine.write_piece(&self.piece)? {
            self.parts.push((self.written, part));
            self.written += u64::from(part.len);
        }
        self.piece.clear();
        Ok(())
    }

    /// The part in which a byte is, with where it begins.
    fn part_of(&mut self, offset: u64) -> Result<(u64, &[u8])> {
        let place = self.parts.partition_point(|(start, _)| *start <= offset);
        let place = place.checked_sub(1).ok_or_else(|| Error::corrupt("a spool is shorter"))?;
        let (start, part) = self.parts[place];
        let known = self.read.iter().position(|(known, _)| *known == place);
        let piece = match known {
            Some(at) => self.read.remove(at),
            None => (place, self.core.engine.read_part(&part)?),
        };
        if self.read.len() == SPOOL_PIECES_READ {
            self.read.remove(0);
        }
        self.read.push(piece);
        Ok((start, self.read.last().map_or(&[], |(_, piece)| piece)))
    }
}

impl Spool for DeviceSpool {
    fn append(&mut self, mut bytes: &[u8]) -> std::result::Result<(), RepositoryError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at((SPOOL_PIECE_BYTES - self.piece.len()).min(bytes.len()));
            self.piece.extend_from_slice(now);
            bytes = later;
            if self.piece.len() == SPOOL_PIECE_BYTES {
                self.write_piece()?;
            }
        }
        Ok(())
    }

    fn read_at(&mut self, mut offset: u64, mut into: &mut [u8]) -> std::result::Result<(), RepositoryError> {
        if !self.piece.is_empty() {
            self.write_piece()?;
        }
        while !into.is_empty() {
            let (start, piece) = self.part_of(offset)?;
            let rest = piece.get((offset - start) as usize..).unwrap_or_default();
            if rest.is_empty() {
                return Err(Error::corrupt("a spool is shorter").into());
            }
            let len = rest.len().min(into.len());
            let (now, later) = into.split_at_mut(len);
            now.copy_from_slice(&rest[..len]);
            (into, offset) = (later, offset + len as u64);
        }
        Ok(())
    }
}

/// Deflates a blob of known size from a reader into pieces on the device. It belongs to nobody until a transaction
/// names it.
pub(crate) fn write_blob(core: &Core, size_bytes: u64, mut from: impl Read) -> Result<NewObject> {
    let mut hasher = IdHasher::new(Kind::Blob, size_bytes);
    let mut compress = Compress::new(Compression::default(), true);
    let (mut input, mut output) = (vec![0; PIECE_BYTES], Vec::with_capacity(PIECE_BYTES));
    let mut parts = Vec::new();
    let mut left = size_bytes;
    loop {
        let wanted = (PIECE_BYTES as u64).min(left) as usize;
        from.read_exact(&mut input[..wanted])?;
        hasher.update(&input[..wanted]);
        left -= wanted as u64;
        let flush = if left == 0 { FlushCompress::Finish } else { FlushCompress::None };
        let mut done = 0;
        loop {
            let before = compress.total_in();
            let status = compress.compress_vec(&input[done..wanted], &mut output, flush);
            let status = status.map_err(|error| Error::Malformed(error.to_string()))?;
            done += (compress.total_in() - before) as usize;
            if output.len() == output.capacity() || status == Status::StreamEnd {
                parts.extend(core.engine.write_piece(&output)?);
                output.clear();
            }
            if status == Status::StreamEnd {
                let id = hasher.finish()?;
                return Ok(NewObject {
                    id,
                    kind: Kind::Blob,
                    size_bytes,
                    delta: None,
                    stream: Stream::Parts(parts),
                });
            }
            if done == wanted && left > 0 && output.len() < output.capacity() {
                break;
            }
        }
    }
}
