//! Takes a pack apart as it arrives: entry by entry, each with its zlib stream and what it inflates to.

use std::io::{self, BufRead};

use flate2::{Decompress, FlushDecompress, Status};
use sha1::{Digest, Sha1};

use super::{OFS_DELTA, REF_DELTA, kind};
use crate::{Kind, Limits, ObjectId};

/// What is wrong with a pack that a peer sent, or why it could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// It does not begin as a pack of version 2.
    #[error("this is no pack of version 2")]
    NotAPack,
    /// It ended early.
    #[error("the pack ended early, after {0} of its objects")]
    Truncated(u32),
    /// It says one thing and does another.
    #[error("the pack is damaged: {0}")]
    Damaged(&'static str),
    /// Its checksum is wrong.
    #[error("the pack's checksum is wrong")]
    Checksum,
    /// It exceeds a limit.
    #[error("{0}")]
    Limit(String),
    /// A delta cannot be applied.
    #[error("a delta in the pack cannot be applied: {0}")]
    Delta(#[from] crate::delta::DeltaError),
    /// Bases of deltas are neither in the pack nor in the repository.
    #[error("{count} deltas lack their base, the first is {first}")]
    MissingBase {
        /// How many.
        count: usize,
        /// The first base.
        first: ObjectId,
    },
    /// An object is not well-formed.
    #[error("object {id} is refused: {why}")]
    Object {
        /// The object.
        id: ObjectId,
        /// Why.
        why: String,
    },
    /// Objects name others that nobody has.
    #[error("{count} objects are missing, the first is {kind} {first}")]
    Missing {
        /// How many.
        count: usize,
        /// The first.
        first: ObjectId,
        /// What it should be.
        kind: Kind,
    },
    /// A SHA-1 collision attack.
    #[error(transparent)]
    Collision(#[from] crate::CollisionAttack),
    /// The repository cannot take it.
    #[error(transparent)]
    Repository(#[from] crate::RepositoryError),
    /// The stream failed.
    #[error("the stream failed: {0}")]
    Io(#[from] io::Error),
}

/// What an entry says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryHeader {
    /// An object of this kind.
    Whole(Kind),
    /// A delta against the entry that began at this offset.
    OfsDelta(u64),
    /// A delta against this object.
    RefDelta(ObjectId),
}

/// A pack on its way in.
pub struct PackReader<R: BufRead> {
    stream: R,
    hash: Sha1,
    offset: u64,
    objects: u32,
    seen: u32,
    inflater: Decompress,
    /// What was inflated last.
    made: Box<[u8]>,
}

/// Bytes that are inflated at a time.
const MADE_BYTES: usize = 32 << 10;

impl<R: BufRead> PackReader<R> {
    /// Reads the head. More objects than the limits allow are refused here.
    pub fn new(stream: R, limits: &Limits) -> Result<PackReader<R>, PackError> {
        let mut pack = PackReader {
            stream,
            hash: Sha1::new(),
            offset: 0,
            objects: 0,
            seen: 0,
            inflater: Decompress::new(true),
            made: vec![0; MADE_BYTES].into(),
        };
        let mut head = [0; 12];
        pack.take(&mut head)?;
        if &head[..8] != b"PACK\0\0\0\x02" {
            return Err(PackError::NotAPack);
        }
        pack.objects = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        if pack.objects > limits.objects_max {
            return Err(PackError::Limit(format!(
                "the pack has {} objects, more than the {} allowed in one",
                pack.objects, limits.objects_max
            )));
        }
        Ok(pack)
    }

    /// How many objects it announces.
    pub fn objects(&self) -> u32 {
        self.objects
    }

    /// The next entry: where it begins, what it is and its inflated size. Its stream must be read before the next one.
    pub fn next_entry(&mut self) -> Result<Option<(u64, EntryHeader, u64)>, PackError> {
        if self.seen == self.objects {
            return Ok(None);
        }
        let begin = self.offset;
        let first = self.byte()?;
        let mut size = (first & 0x0f) as u64;
        let (mut shift, mut byte) = (4, first);
        while byte & 0x80 != 0 {
            if shift > 57 {
                return Err(PackError::Damaged("an object's size has too many digits"));
            }
            byte = self.byte()?;
            size |= ((byte & 0x7f) as u64) << shift;
            shift += 7;
        }
        let header = match (first >> 4) & 7 {
            OFS_DELTA => EntryHeader::OfsDelta(self.base_offset(begin)?),
            REF_DELTA => {
                let mut id = [0; 20];
                self.take(&mut id)?;
                EntryHeader::RefDelta(ObjectId(id))
            }
            other => {
                EntryHeader::Whole(kind(other).ok_or(PackError::Damaged("an object is of no known kind"))?)
            }
        };
        self.seen += 1;
        Ok(Some((begin, header, size)))
    }

    fn base_offset(&mut self, begin: u64) -> Result<u64, PackError> {
        let bad = PackError::Damaged("a delta's base lies outside the pack");
        let mut byte = self.byte()?;
        let mut distance = (byte & 0x7f) as u64;
        while byte & 0x80 != 0 {
            if distance > u64::MAX >> 8 {
                return Err(bad);
            }
            byte = self.byte()?;
            distance = ((distance + 1) << 7) | (byte & 0x7f) as u64;
        }
        begin.checked_sub(distance).filter(|_| distance > 0).ok_or(bad)
    }

    /// Reads the entry's stream into memory: the zlib bytes and what they inflate to, which must be `size_bytes`.
    pub fn read_stream(&mut self, size_bytes: u64) -> Result<(Vec<u8>, Vec<u8>), PackError> {
        // No more is allotted than has come, or little.
        let room = usize::try_from(size_bytes).unwrap_or(usize::MAX).min(MADE_BYTES);
        let (mut zlib, mut content) = (Vec::with_capacity(room / 2 + 64), Vec::with_capacity(room));
        self.stream(size_bytes, &mut |compressed, inflated| {
            zlib.extend_from_slice(compressed);
            content.extend_from_slice(inflated);
            Ok(())
        })?;
        Ok((zlib, content))
    }

    /// Hands the entry's stream on piece by piece: zlib bytes, and what they inflate to.
    pub fn stream(
        &mut self,
        size_bytes: u64,
        take: &mut dyn FnMut(&[u8], &[u8]) -> Result<(), PackError>,
    ) -> Result<(), PackError> {
        self.inflater.reset(true);
        // A stream is at most a little longer than what it makes; empty blocks could pad it without end.
        let compressed_max = size_bytes + size_bytes / 8 + 1024;
        loop {
            let input = self.stream.fill_buf()?;
            if input.is_empty() {
                return Err(PackError::Truncated(self.seen.saturating_sub(1)));
            }
            let (in_before, out_before) = (self.inflater.total_in(), self.inflater.total_out());
            let status = self
                .inflater
                .decompress(input, &mut self.made, FlushDecompress::None)
                .map_err(|_| PackError::Damaged("a zlib stream is damaged"))?;
            let consumed = (self.inflater.total_in() - in_before) as usize;
            let made = (self.inflater.total_out() - out_before) as usize;
            if self.inflater.total_out() > size_bytes {
                return Err(PackError::Damaged("an object is larger than it says"));
            }
            if self.inflater.total_in() > compressed_max {
                return Err(PackError::Damaged("a zlib stream is padded"));
            }
            self.hash.update(&input[..consumed]);
            take(&input[..consumed], &self.made[..made])?;
            self.stream.consume(consumed);
            self.offset += consumed as u64;
            match status {
                Status::StreamEnd if self.inflater.total_out() == size_bytes => return Ok(()),
                Status::StreamEnd => return Err(PackError::Damaged("an object is smaller than it says")),
                _ if consumed == 0 && made == 0 => {
                    return Err(PackError::Damaged("a zlib stream is damaged"));
                }
                _ => {}
            }
        }
    }

    /// After the last entry: the checksum, and nothing behind it.
    pub fn finish(mut self) -> Result<R, PackError> {
        let sum: [u8; 20] = self.hash.finalize_reset().into();
        let mut told = [0; 20];
        self.take(&mut told)?;
        if told == sum { Ok(self.stream) } else { Err(PackError::Checksum) }
    }

    fn byte(&mut self) -> Result<u8, PackError> {
        let mut one = [0; 1];
        self.take(&mut one)?;
        Ok(one[0])
    }

    fn take(&mut self, out: &mut [u8]) -> Result<(), PackError> {
        self.stream.read_exact(out).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => PackError::Truncated(self.seen),
            _ => PackError::Io(error),
        })?;
        self.hash.update(&*out);
        self.offset += out.len() as u64;
        Ok(())
    }
}
