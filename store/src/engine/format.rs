//! What stands where on the device.
//!
//! The device is cut into segments. Segment 0 holds two superblocks, written in turn, and a copy of the first one; the
//! others hold the log and the sorted runs. The log is a chain of records, each beginning on a sector of its own, so that appending never rewrites
//! a sector that was acknowledged:
//!
//! ```text
//! header (HEADER_BYTES)   magic, flags, session, chain, seq, durable, lengths, checksums
//! payload                 zlib streams of objects, blocks of runs; found by the offsets in entries
//! entries                 key, value | key, deletion | …
//! ```

use super::codec::Take;
use crate::device::SECTOR_BYTES;
use crate::{Error, Result};

/// Bytes of a record's header.
pub const HEADER_BYTES: u64 = 48;
/// Where the two superblocks lie.
pub const SUPERBLOCK_OFFSETS: [u64; 2] = [0, 4096];
/// Where the first superblock is kept for ever: it tells a repair how the device is cut when the others are gone.
pub const BIRTH_OFFSET: u64 = 8192;
/// Bytes of a superblock that mean something: one sector, which a device writes whole or not at all.
pub const SUPERBLOCK_BYTES: usize = 128;

const RECORD_MAGIC: [u8; 4] = *b"nyR1";
pub const SUPERBLOCK_MAGIC: [u8; 16] = *b"nymote store 1\n\0";

/// The record is followed by others of the same transaction: its entries count only together with theirs.
pub const FLAG_MORE: u32 = 1;
/// The log goes on in the segment that `payload_len` names.
pub const FLAG_JUMP: u32 = 2;
/// The first record of a session (since an open).
pub const FLAG_SESSION: u32 = 4;
/// The first record of a transaction: what an unfinished one before it said does not count.
pub const FLAG_BEGIN: u32 = 8;

/// The record holds copies that a collection made. Its entries list them for a repair only (`copies`): until a
/// checkpoint names the copies, what they were made from is right.
pub const FLAG_COPIES: u32 = 16;

/// Rounds up to a sector.
pub fn sector_up(len: u64) -> u64 {
    len.next_multiple_of(SECTOR_BYTES)
}

/// The head of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub flags: u32,
    /// Drawn at random at each open: what an earlier session left unflushed behind the end is not taken for ours.
    pub session: u32,
    /// Checksum of the header before, in the log.
    pub chain: u32,
    /// One more than the record before.
    pub seq: u64,
    /// Records up to this one were flushed when this one was written.
    pub durable: u64,
    pub payload_len: u32,
    pub entries_len: u32,
    /// Checksum of payload and entries.
    pub body_crc: u32,
    /// Checksum of the entries alone: a repair believes them when the payload is damaged.
    pub entries_crc: u32,
}

impl Header {
    /// The bytes, and their checksum, to which the next record is chained. The checksum covers the number of the store,
    /// so that what another store left on the device is no record of this one.
    pub fn encode(&self, store: u64) -> ([u8; HEADER_BYTES as usize], u32) {
        let mut bytes = [0; HEADER_BYTES as usize];
        bytes[0..4].copy_from_slice(&RECORD_MAGIC);
        bytes[4..8].copy_from_slice(&self.flags.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.session.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.chain.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.seq.to_le_bytes());
        // What is not flushed yet is bounded; a larger distance only says less.
        let unflushed = u32::try_from(self.seq - self.durable).unwrap_or(u32::MAX);
        bytes[24..28].copy_from_slice(&unflushed.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.entries_len.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.body_crc.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.entries_crc.to_le_bytes());
        let crc = checksum(&bytes, store);
        bytes[44..48].copy_from_slice(&crc.to_le_bytes());
        (bytes, crc)
    }

    /// Reads a header; `None` unless magic and checksum are right.
    pub fn decode(bytes: &[u8], store: u64) -> Option<(Header, u32)> {
        let bytes = bytes.get(..HEADER_BYTES as usize)?;
        let mut take = Take(bytes);
        if take.array::<4>().ok()? != RECORD_MAGIC {
            return None;
        }
        let (flags, session, chain) = (take.u32().ok()?, take.u32().ok()?, take.u32().ok()?);
        let seq = take.u64().ok()?;
        let header = Header {
            flags,
            session,
            chain,
            seq,
            durable: seq.saturating_sub(u64::from(take.u32().ok()?)),
            payload_len: take.u32().ok()?,
            entries_len: take.u32().ok()?,
            body_crc: take.u32().ok()?,
            entries_crc: take.u32().ok()?,
        };
        let crc = checksum(bytes, store);
        (take.u32().ok()? == crc).then_some((header, crc))
    }

    /// Bytes of payload and entries.
    pub fn body_len(&self) -> u64 {
        if self.flags & FLAG_JUMP != 0 {
            0
        } else {
            u64::from(self.payload_len) + u64::from(self.entries_len)
        }
    }
}

fn checksum(header: &[u8], store: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&store.to_le_bytes());
    hasher.update(&header[..44]);
    hasher.finalize()
}

/// A place in the log: where the next record is, and what it must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogPosition {
    pub segment: u32,
    /// Bytes from the start of the segment.
    pub offset: u32,
    pub seq: u64,
    pub chain: u32,
}

/// Where everything begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    pub segment_bytes: u32,
    /// Drawn at random when the store was made.
    pub store: u64,
    /// The higher of the two counts.
    pub generation: u64,
    /// The log is read from here on.
    pub start: LogPosition,
    /// Records before this one were flushed when the superblock was written: a log that ends earlier is damaged.
    pub reached: u64,
    /// The checkpoint's bytes on the device: offset, length, checksum. Length 0 when there is none.
    pub checkpoint: (u64, u32, u32),
}

impl Superblock {
    pub fn encode(&self) -> [u8; SUPERBLOCK_BYTES] {
        let mut out = Vec::with_capacity(SUPERBLOCK_BYTES);
        out.extend_from_slice(&SUPERBLOCK_MAGIC);
        out.extend_from_slice(&self.segment_bytes.to_le_bytes());
        out.extend_from_slice(&self.store.to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.start.segment.to_le_bytes());
        out.extend_from_slice(&self.start.offset.to_le_bytes());
        out.extend_from_slice(&self.start.seq.to_le_bytes());
        out.extend_from_slice(&self.start.chain.to_le_bytes());
        out.extend_from_slice(&self.reached.to_le_bytes());
        out.extend_from_slice(&self.checkpoint.0.to_le_bytes());
        out.extend_from_slice(&self.checkpoint.1.to_le_bytes());
        out.extend_from_slice(&self.checkpoint.2.to_le_bytes());
        out.resize(SUPERBLOCK_BYTES - 4, 0);
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        let mut bytes = [0; SUPERBLOCK_BYTES];
        bytes.copy_from_slice(&out);
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Superblock> {
        let bad = |what: &str| Error::corrupt(format!("a superblock {what}"));
        if bytes.len() < SUPERBLOCK_BYTES || bytes[..16] != SUPERBLOCK_MAGIC {
            return Err(bad("is not that of a store"));
        }
        let (body, crc) = bytes[..SUPERBLOCK_BYTES].split_at(SUPERBLOCK_BYTES - 4);
        if crc32fast::hash(body).to_le_bytes() != crc {
            return Err(bad("has a wrong checksum"));
        }
        let mut take = Take(&body[16..]);
        let superblock = Superblock {
            segment_bytes: take.u32()?,
            store: take.u64()?,
            generation: take.u64()?,
            start: LogPosition {
                segment: take.u32()?,
                offset: take.u32()?,
                seq: take.u64()?,
                chain: take.u32()?,
            },
            reached: take.u64()?,
            checkpoint: (take.u64()?, take.u32()?, take.u32()?),
        };
        let size = u64::from(superblock.segment_bytes);
        if size < super::SEGMENT_BYTES_MIN || size % SECTOR_BYTES != 0 {
            return Err(bad("has an impossible segment size"));
        }
        Ok(superblock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_superblocks_come_back_and_every_flip_is_noticed() {
        let header = Header {
            flags: FLAG_MORE,
            session: 1,
            chain: 2,
            seq: 4,
            durable: 3,
            payload_len: 5,
            entries_len: 6,
            body_crc: 7,
            entries_crc: 8,
        };
        let (bytes, crc) = header.encode(9);
        assert_eq!(Header::decode(&bytes, 9), Some((header, crc)));
        assert_eq!(Header::decode(&bytes, 8), None, "another store's");
        let superblock = Superblock {
            segment_bytes: 1 << 20,
            store: 9,
            generation: 2,
            reached: 8,
            checkpoint: (4096, 12, 13),
            start: LogPosition { segment: 1, offset: 512, seq: 7, chain: 3 },
        };
        let block = superblock.encode();
        assert_eq!(Superblock::decode(&block).unwrap(), superblock);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&flipped, 9), None);
        }
        for bit in 0..block.len() * 8 {
            let mut flipped = block;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Superblock::decode(&flipped).is_err());
        }
    }
}
