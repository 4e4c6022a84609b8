//! Zlib streams, with compressors and decompressors that are kept: their set-up costs more than a small object. There are as many
//! as were ever at work at once, not one for each thread: a compressor has 380 kB, which a machine of 8 MB has not twice.

use std::sync::Mutex;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::{Error, Result};

static COMPRESS: Kept<Compress> = Kept(Mutex::new(Vec::new()));
static DECOMPRESS: Kept<Decompress> = Kept(Mutex::new(Vec::new()));

/// What nobody uses at the moment.
struct Kept<T>(Mutex<Vec<T>>);

impl<T> Kept<T> {
    fn with<R>(&self, make: impl FnOnce() -> T, work: impl FnOnce(&mut T) -> R) -> R {
        let free = || self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let kept = free().pop();
        let mut one = kept.unwrap_or_else(make);
        let result = work(&mut one);
        free().push(one);
        result
    }
}

fn with_compress<R>(work: impl FnOnce(&mut Compress) -> R) -> R {
    COMPRESS.with(|| Compress::new(Compression::default(), true), work)
}

fn with_decompress<R>(work: impl FnOnce(&mut Decompress) -> R) -> R {
    DECOMPRESS.with(|| Decompress::new(true), work)
}

/// What is inflated before it is asked for the first time whether that is enough; then twice as much each time.
const STEP_BYTES: usize = 1 << 10;
/// Room for a stream that is made at first.
const ROOM_BYTES: usize = 256 << 10;
/// Up to this many bytes are stored as they are: to make a compressor ready costs some ten microseconds, and saves less than
/// ten bytes of a few words, none of ids (a tree's delta).
const STORED_BYTES_MAX: usize = 96;

/// Deflates bytes into a zlib stream of its own.
pub(crate) fn deflate(bytes: &[u8]) -> Vec<u8> {
    if bytes.len() <= STORED_BYTES_MAX {
        return stored(bytes);
    }
    with_compress(|compress| {
        compress.reset();
        // Deflate adds at most five bytes for each 16 kB that it cannot shorten, and a header. What is large gets its room as
        // it is needed: most of it would be cleared for nothing.
        let most = bytes.len() + bytes.len() / 3000 + 64;
        let mut out = Vec::with_capacity(most.min(ROOM_BYTES));
        loop {
            let done = compress.total_in() as usize;
            match compress.compress_vec(&bytes[done..], &mut out, FlushCompress::Finish) {
                Ok(Status::StreamEnd) => break,
                _ => out.reserve(out.capacity()),
            }
        }
        out.shrink_to_fit();
        out
    })
}

/// A zlib stream (RFC 1950) of one stored block (RFC 1951 section 3.2.4).
fn stored(bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len() as u16;
    let mut out = Vec::with_capacity(bytes.len() + 11);
    out.extend_from_slice(&[0x78, 0x01, 0x01]);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&(!length).to_le_bytes());
    out.extend_from_slice(bytes);
    let (mut a, mut b) = (1u32, 0u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    out.extend_from_slice(&(b << 16 | a).to_be_bytes());
    out
}

/// Inflates a zlib stream as far as is enough, or a little farther, or to its end.
pub(crate) fn inflate_until(stream: &[u8], enough: &dyn Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
    with_decompress(|decompress| {
        decompress.reset(true);
        let mut out = Vec::with_capacity(STEP_BYTES);
        loop {
            let (done, had) = (decompress.total_in() as usize, out.len());
            let status = decompress.decompress_vec(&stream[done..], &mut out, FlushDecompress::None);
            match status.map_err(|_| Error::corrupt("a zlib stream is damaged"))? {
                Status::StreamEnd => return Ok(out),
                _ if out.len() == had => return Err(Error::corrupt("a zlib stream is cut short")),
                _ if out.len() < out.capacity() => {}
                _ if enough(&out) => return Ok(out),
                _ => out.reserve(out.len()),
            }
        }
    })
}

/// Inflates a zlib stream that must give exactly `size_bytes`.
pub(crate) fn inflate(stream: &[u8], size_bytes: u64) -> Result<Vec<u8>> {
    with_decompress(|decompress| {
        decompress.reset(true);
        let broken = || Error::corrupt("a zlib stream is damaged");
        let size = usize::try_from(size_bytes).map_err(|_| broken())?;
        // Memory grows with what comes out, not with what a damaged size claims.
        let mut out =
            Vec::with_capacity(size.saturating_add(1).min(stream.len().saturating_mul(1032).max(64)));
        loop {
            let done = decompress.total_in() as usize;
            let had = out.len();
            let status = decompress
                .decompress_vec(&stream[done..], &mut out, FlushDecompress::Finish)
                .map_err(|_| broken())?;
            if status == Status::StreamEnd {
                break;
            }
            if out.len() > size || (out.len() == had && out.len() < out.capacity()) {
                return Err(broken());
            }
            out.reserve(4096);
        }
        if out.len() == size && decompress.total_in() as usize == stream.len() {
            Ok(out)
        } else {
            Err(broken())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn comes_back(bytes: &[u8]) {
        let stream = deflate(bytes);
        assert_eq!(inflate(&stream, bytes.len() as u64).unwrap(), bytes);
        assert!(inflate(&stream, bytes.len() as u64 + 1).is_err());
        assert!(inflate(&stream[..stream.len() - 1], bytes.len() as u64).is_err());
        let mut damaged = stream.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert!(inflate(&damaged, bytes.len() as u64).is_err(), "its checksum is looked at");
    }

    proptest! {
        #[test]
        fn streams_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..20_000)) {
            comes_back(&bytes);
        }

        #[test]
        fn small_streams_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..2 * STORED_BYTES_MAX)) {
            comes_back(&bytes);
        }
    }

    #[test]
    fn a_stream_is_inflated_as_far_as_is_enough() {
        let bytes: Vec<u8> = (0..100_000u32).flat_map(|n| n.to_be_bytes()).collect();
        let stream = deflate(&bytes);
        for wanted in [0, 1, STEP_BYTES, STEP_BYTES + 1, 50_000, bytes.len(), usize::MAX] {
            let start = inflate_until(&stream, &|start| start.len() >= wanted).unwrap();
            assert!(bytes.starts_with(&start) && start.len() >= wanted.min(bytes.len()));
            assert!(
                start.len() <= (2 * wanted.min(bytes.len())).max(STEP_BYTES),
                "{wanted}: {}",
                start.len()
            );
        }
        assert!(inflate_until(&stream[..stream.len() / 2], &|_| false).is_err());
    }

    #[test]
    fn a_bomb_is_cut_off() {
        let stream = deflate(&vec![0; 10 << 20]);
        assert!(inflate(&stream, 100).is_err());
    }
}
