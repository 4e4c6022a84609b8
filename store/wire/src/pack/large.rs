//! Deltas whose base or result does not fit into memory: the base is spooled, so that any piece of it can be read, and the
//! result is hashed and deflated as it is made.

use std::io::{Cursor, Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use super::PackError;
use crate::delta::{DeltaError, DeltaHeader, Instruction, header, instruction};
use crate::{
    Header, IdHasher, Kind, LargeObject, Limits, ObjectId, Quarantine, RepositoryError, Spool, Zlib,
};

/// What is read and handed on at a time.
const PIECE_BYTES: usize = 64 << 10;
/// Two sizes of up to ten bytes.
const HEADER_BYTES_MAX: usize = 20;

/// The base of a delta.
pub(super) enum Base {
    Memory(Vec<u8>),
    Spooled(Box<dyn Spool>, u64),
}

impl Base {
    /// Inflates a blob into a spool.
    pub fn spooled(
        mut spool: Box<dyn Spool>,
        id: ObjectId,
        size_bytes: u64,
        zlib: Zlib<'_>,
    ) -> Result<Base, PackError> {
        let reader: Box<dyn Read + Send + '_> = match zlib {
            Zlib::Bytes(bytes) => Box::new(Cursor::new(bytes)),
            Zlib::Slice(bytes) => Box::new(bytes),
            Zlib::Pieces(pieces) => pieces,
        };
        let mut inflated = ZlibDecoder::new(reader);
        let mut buffer = vec![0; PIECE_BYTES];
        let mut left = size_bytes;
        let damaged = |what: String| RepositoryError::Damaged { id, what };
        loop {
            let count = inflated.read(&mut buffer).map_err(|error| damaged(error.to_string()))?;
            if count == 0 {
                break;
            }
            left = left.checked_sub(count as u64).ok_or_else(|| damaged("it is too long".into()))?;
            spool.append(&buffer[..count])?;
        }
        if left > 0 {
            return Err(damaged("it is too short".into()).into());
        }
        Ok(Base::Spooled(spool, size_bytes))
    }

    fn size_bytes(&self) -> u64 {
        match self {
            Base::Memory(bytes) => bytes.len() as u64,
            Base::Spooled(_, size_bytes) => *size_bytes,
        }
    }

    /// Hands on a stretch of it.
    fn copy(&mut self, offset: u64, len: u64, sink: &mut Sink<'_>) -> Result<(), PackError> {
        let end = offset.checked_add(len).filter(|end| *end <= self.size_bytes());
        let end = end.ok_or(DeltaError::BadInstruction)?;
        match self {
            Base::Memory(bytes) => {
                sink.take(bytes.get(offset as usize..end as usize).ok_or(DeltaError::BadInstruction)?)
            }
            Base::Spooled(spool, _) => {
                let mut buffer = vec![0; (len as usize).min(PIECE_BYTES)];
                let mut at = offset;
                while at < end {
                    let piece = &mut buffer[..((end - at) as usize).min(PIECE_BYTES)];
                    spool.read_at(at, piece)?;
                    sink.take(piece)?;
                    at += piece.len() as u64;
                }
                Ok(())
            }
        }
    }
}

/// Follows a delta whose bytes come in pieces.
pub(super) struct Maker<'q> {
    base: Base,
    limits: &'q Limits,
    /// Bytes of a header or an instruction that is not there as a whole.
    begun: Vec<u8>,
    sizes: Option<DeltaHeader>,
    /// Bytes that are to be inserted from what comes.
    insert: usize,
    made_bytes: u64,
    sink: Sink<'q>,
}

/// What came out.
pub(super) enum Made {
    /// It fits into memory.
    Content(Vec<u8>),
    /// It was kept piece by piece.
    Kept(ObjectId),
}

enum Sink<'q> {
    /// How large it will be is not known yet.
    Closed(Option<&'q mut dyn Quarantine>),
    Memory(Vec<u8>),
    Large(Box<Deflating<'q>>),
}

impl<'q> Maker<'q> {
    pub fn new(base: Base, quarantine: &'q mut dyn Quarantine, limits: &'q Limits) -> Maker<'q> {
        let sink = Sink::Closed(Some(quarantine));
        Maker { base, limits, begun: Vec::new(), sizes: None, insert: 0, made_bytes: 0, sink }
    }

    /// The next bytes of the delta.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), PackError> {
        while let Some((first, rest)) = bytes.split_first() {
            if self.insert > 0 {
                let (now, later) = bytes.split_at(self.insert.min(bytes.len()));
                self.insert -= now.len();
                self.count(now.len() as u64)?;
                self.sink.take(now)?;
                bytes = later;
                continue;
            }
            self.begun.push(*first);
            bytes = rest;
            if self.sizes.is_none() {
                self.begin()?;
                continue;
            }
            match instruction(&self.begun)? {
                None => continue,
                Some(Instruction::Insert(len)) => self.insert = len,
                Some(Instruction::Copy(offset, len)) => {
                    self.count(len)?;
                    self.base.copy(offset, len, &mut self.sink)?;
                }
            }
            self.begun.clear();
        }
        Ok(())
    }

    /// Reads the header, when all of it is there.
    fn begin(&mut self) -> Result<(), PackError> {
        let (sizes, _) = match header(&self.begun) {
            Err(DeltaError::Truncated) if self.begun.len() < HEADER_BYTES_MAX => return Ok(()),
            read => read?,
        };
        let found_bytes = self.base.size_bytes();
        if sizes.base_bytes != found_bytes {
            return Err(DeltaError::WrongBase { wanted_bytes: sizes.base_bytes, found_bytes }.into());
        }
        let (size_bytes, max_bytes) = (sizes.result_bytes, self.limits.object_bytes_max);
        if size_bytes > max_bytes {
            return Err(DeltaError::TooLarge { size_bytes, max_bytes }.into());
        }
        self.begun.clear();
        self.sizes = Some(sizes);
        self.sink.open(size_bytes, self.limits)
    }

    fn count(&mut self, bytes: u64) -> Result<(), DeltaError> {
        self.made_bytes += bytes;
        let wanted = self.sizes.map_or(0, |sizes| sizes.result_bytes);
        if self.made_bytes > wanted { Err(DeltaError::WrongResult) } else { Ok(()) }
    }

    /// The delta is at its end. Gives the base back, which may be that of the next one, and how large the result is.
    pub fn finish(self) -> Result<(Made, u64, Base), PackError> {
        let Some(sizes) = self.sizes.filter(|_| self.begun.is_empty() && self.insert == 0) else {
            return Err(DeltaError::Truncated.into());
        };
        if self.made_bytes != sizes.result_bytes {
            return Err(DeltaError::WrongResult.into());
        }
        let made = match self.sink {
            Sink::Closed(_) => return Err(DeltaError::Truncated.into()),
            Sink::Memory(content) => Made::Content(content),
            Sink::Large(large) => Made::Kept(large.finish(sizes.result_bytes)?),
        };
        Ok((made, sizes.result_bytes, self.base))
    }
}

impl Sink<'_> {
    fn open(&mut self, size_bytes: u64, limits: &Limits) -> Result<(), PackError> {
        let Sink::Closed(quarantine) = self else { return Ok(()) };
        *self = match quarantine.take() {
            Some(quarantine) if size_bytes > limits.memory_bytes_max => {
                Sink::Large(Box::new(Deflating::new(quarantine.begin_large()?, size_bytes)))
            }
            _ => Sink::Memory(Vec::with_capacity(size_bytes as usize)),
        };
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        match self {
            Sink::Closed(_) => Ok(()),
            Sink::Memory(content) => {
                content.extend_from_slice(bytes);
                Ok(())
            }
            Sink::Large(large) => large.take(bytes),
        }
    }
}

/// A large blob that is hashed and deflated on its way into the quarantine.
struct Deflating<'q> {
    large: Box<dyn LargeObject + 'q>,
    hasher: IdHasher,
    encoder: ZlibEncoder<Vec<u8>>,
}

impl<'q> Deflating<'q> {
    fn new(large: Box<dyn LargeObject + 'q>, size_bytes: u64) -> Deflating<'q> {
        let encoder = ZlibEncoder::new(Vec::with_capacity(2 * PIECE_BYTES), Compression::default());
        Deflating { large, hasher: IdHasher::new(Kind::Blob, size_bytes), encoder }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.hasher.update(bytes);
        self.encoder.write_all(bytes)?;
        if self.encoder.get_ref().len() >= PIECE_BYTES {
            self.large.append(self.encoder.get_ref())?;
            self.encoder.get_mut().clear();
        }
        Ok(())
    }

    fn finish(mut self, size_bytes: u64) -> Result<ObjectId, PackError> {
        let rest = self.encoder.finish()?;
        self.large.append(&rest)?;
        let id = self.hasher.finish()?;
        self.large.finish(id, Header { kind: Kind::Blob, size_bytes })?;
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryRepository;
    use crate::{Repository, delta};
    use proptest::prelude::*;

    fn spooled(repository: &MemoryRepository, bytes: &[u8]) -> Base {
        let spool = repository.quarantine().unwrap().spool().unwrap();
        let zlib = Zlib::Bytes(crate::pack::deflate(bytes));
        Base::spooled(spool, ObjectId::ZERO, bytes.len() as u64, zlib).unwrap()
    }

    /// What a delta makes that is fed in pieces, with so much memory.
    fn made(base: Base, delta: &[u8], piece: usize, memory_bytes_max: u64) -> Result<ObjectId, PackError> {
        let limits = Limits { memory_bytes_max, object_bytes_max: 1000, ..Limits::default() };
        let repository = MemoryRepository::new();
        let mut quarantine = repository.quarantine().unwrap();
        let mut maker = Maker::new(base, &mut *quarantine, &limits);
        delta.chunks(piece).try_for_each(|piece| maker.feed(piece))?;
        match maker.finish()?.0 {
            Made::Content(content) => Ok(ObjectId::of(Kind::Blob, &content)?),
            Made::Kept(id) => {
                let header = quarantine.header(&id)?.unwrap();
                let object = quarantine.read(&id, 1000)?.unwrap();
                assert_eq!((header.kind, header.size_bytes), (Kind::Blob, object.content.len() as u64));
                assert_eq!(ObjectId::of(Kind::Blob, &object.content)?, id);
                Ok(id)
            }
        }
    }

    proptest! {
        #[test]
        fn in_pieces_a_delta_makes_what_it_makes_at_once(
            base in proptest::collection::vec(any::<u8>(), 0..100),
            instructions in proptest::collection::vec(any::<u8>(), 0..60),
            result in 0u8..120, piece in 1usize..9, memory in 0u64..100, spool: bool,
        ) {
            let delta = [&[base.len() as u8, result][..], &instructions].concat();
            let repository = MemoryRepository::new();
            let from = if spool { spooled(&repository, &base) } else { Base::Memory(base.clone()) };
            let at_once = delta::apply(&base, &delta, 1000).ok();
            let at_once = at_once.map(|content| ObjectId::of(Kind::Blob, &content).unwrap());
            prop_assert_eq!(made(from, &delta, piece, memory).ok(), at_once);
        }
    }

    #[test]
    fn copies_and_inserts_go_through_the_spool() {
        let base: Vec<u8> = (0..200u8).collect();
        let repository = MemoryRepository::new();
        // 100 bytes from 50 on, "ab", all of the base.
        let delta = [&[200, 1, 0xae, 2][..], &[0x91, 50, 100, 2, b'a', b'b', 0x90, 200]].concat();
        let wanted = [&base[50..150], b"ab", &base].concat();
        let wanted = ObjectId::of(Kind::Blob, &wanted).unwrap();
        for memory in [0, 1000] {
            assert_eq!(made(spooled(&repository, &base), &delta, 1, memory).unwrap(), wanted);
        }
        let short = made(spooled(&repository, &base[1..]), &delta, 3, 0);
        assert!(matches!(short, Err(PackError::Delta(DeltaError::WrongBase { .. }))));
    }
}
