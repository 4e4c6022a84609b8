//! zlib streams with a known size, so that no stream makes more than it says.

use flate2::{Decompress, FlushDecompress, Status};

/// A zlib stream that does not hold what was announced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// It is none, its checksum is wrong, or it ends early.
    #[error("a zlib stream is damaged")]
    Damaged,
    /// It makes more or less than announced.
    #[error("a zlib stream makes another size than announced")]
    WrongSize,
}

/// Inflates a whole stream that makes exactly `size_bytes`, which the caller has found acceptable.
pub fn inflate(zlib: &[u8], size_bytes: usize) -> Result<Vec<u8>, InflateError> {
    let mut stream = Decompress::new(true);
    let mut out = Vec::with_capacity(size_bytes);
    let status =
        stream.decompress_vec(zlib, &mut out, FlushDecompress::Finish).map_err(|_| InflateError::Damaged)?;
    if status != Status::StreamEnd {
        // A full buffer may hide the end: one byte more says whether there is more to come.
        let mut beyond = [0; 1];
        let consumed = stream.total_in() as usize;
        let status = stream
            .decompress(&zlib[consumed..], &mut beyond, FlushDecompress::Finish)
            .map_err(|_| InflateError::Damaged)?;
        if stream.total_out() > size_bytes as u64 {
            return Err(InflateError::WrongSize);
        }
        if status != Status::StreamEnd {
            return Err(InflateError::Damaged);
        }
    }
    if out.len() == size_bytes { Ok(out) } else { Err(InflateError::WrongSize) }
}
