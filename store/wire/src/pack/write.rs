//! Writes a pack. Stored zlib streams are copied, not made anew.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use sha1::{Digest, Sha1};

use super::{OFS_DELTA, REF_DELTA, number};
use crate::{Kind, ObjectId, Zlib};

/// A pack on its way out.
pub struct PackWriter<W: Write> {
    out: W,
    hash: Sha1,
    written: u64,
    left: u32,
    buffer: Vec<u8>,
}

impl<W: Write> PackWriter<W> {
    /// Begins a pack of exactly `objects` entries.
    pub fn new(out: W, objects: u32) -> io::Result<PackWriter<W>> {
        let mut pack = PackWriter { out, hash: Sha1::new(), written: 0, left: objects, buffer: Vec::new() };
        pack.emit(b"PACK\0\0\0\x02")?;
        pack.emit(&objects.to_be_bytes())?;
        Ok(pack)
    }

    /// Where the next entry begins, for those that will be its deltas.
    pub fn offset(&self) -> u64 {
        self.written
    }

    /// A whole object: its kind, its inflated size and its zlib stream.
    pub fn whole(&mut self, kind: Kind, size_bytes: u64, zlib: Zlib<'_>) -> io::Result<()> {
        self.head(number(kind), size_bytes)?;
        self.copy(zlib)
    }

    /// A delta against an object that this pack has, or that the receiver is known to have (thin packs).
    pub fn ref_delta(&mut self, base: ObjectId, size_bytes: u64, zlib: Zlib<'_>) -> io::Result<()> {
        self.head(REF_DELTA, size_bytes)?;
        self.emit(&base.0)?;
        self.copy(zlib)
    }

    /// A delta against the entry that began at `base_offset` of this pack.
    pub fn ofs_delta(&mut self, base_offset: u64, size_bytes: u64, zlib: Zlib<'_>) -> io::Result<()> {
        let mut distance = self.written - base_offset;
        self.head(OFS_DELTA, size_bytes)?;
        let mut digits = [0; 10];
        let mut first = digits.len() - 1;
        digits[first] = (distance & 0x7f) as u8;
        while distance > 0x7f {
            distance = (distance >> 7) - 1;
            first -= 1;
            digits[first] = 0x80 | (distance & 0x7f) as u8;
        }
        self.emit(&digits[first..])?;
        self.copy(zlib)
    }

    /// Ends the pack with its checksum and gives the stream back.
    pub fn finish(mut self) -> io::Result<W> {
        if self.left != 0 {
            return Err(io::Error::other(format!("the pack lacks {} of its objects", self.left)));
        }
        // The checksum is against accidents; objects have ids of their own that notice attacks.
        let sum = self.hash.finalize();
        self.out.write_all(&sum)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn head(&mut self, number: u8, mut size: u64) -> io::Result<()> {
        self.left =
            self.left.checked_sub(1).ok_or(io::Error::other("more objects than the pack announced"))?;
        let mut digits = [0; 10];
        digits[0] = (number << 4) | (size & 0x0f) as u8;
        size >>= 4;
        let mut length = 1;
        while size > 0 {
            digits[length - 1] |= 0x80;
            digits[length] = (size & 0x7f) as u8;
            size >>= 7;
            length += 1;
        }
        self.emit(&digits[..length])
    }

    fn copy(&mut self, from: Zlib<'_>) -> io::Result<()> {
        let mut from = match from {
            Zlib::Bytes(bytes) => return self.emit(&bytes),
            Zlib::Slice(bytes) => return self.emit(bytes),
            Zlib::Pieces(pieces) => pieces,
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(64 << 10, 0);
        loop {
            let count = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.emit(&buffer[..count])?;
        }
        self.buffer = buffer;
        Ok(())
    }

    fn emit(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}

/// Makes a zlib stream of a content that is not stored as one.
pub fn deflate(content: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(content.len() / 2 + 64), Compression::default());
    // Writing into memory cannot fail.
    let _ = encoder.write_all(content);
    encoder.finish().unwrap_or_default()
}
