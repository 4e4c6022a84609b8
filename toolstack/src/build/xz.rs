//! The container of xz (the format's specification, 1.2.1) around one stream of LZMA2, whose parts are packed each for itself: what
//! is of one kind is told from what is of another, and each has the properties it packs best with. LZMA2 may begin anew anywhere.

use std::io::{self, Write};
use std::ops::Range;

use lzma_rust2::{Lzma2Options, Lzma2Writer};

/// How many bits of the byte before, and of a byte's place, a byte is expected by (`lc`, `lp`); and of its place, a match (`pb`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Properties(pub u32, pub u32, pub u32);

/// Bytes that are packed for themselves.
#[derive(Debug, Clone)]
pub struct Part {
    /// Where they are.
    pub bytes: Range<usize>,
    /// What they pack best with.
    pub properties: Properties,
}

const MAGIC: &[u8] = b"\xfd7zXZ\0";
const END_MAGIC: &[u8] = b"YZ";
/// Stream flags: each block is followed by its CRC-32.
const FLAGS: [u8; 2] = [0, 1];
const LZMA2: u8 = 0x21;

/// Packs parts that follow each other.
pub fn pack(bytes: &[u8], parts: &[Part]) -> io::Result<Vec<u8>> {
    // The largest dictionary that is needed, and the byte that says so: 2 or 3 times a power of two.
    let longest = parts.iter().map(|part| part.bytes.len()).max().unwrap_or(0).max(1 << 12);
    let size_byte = (0..40).find(|byte| dictionary(*byte) >= longest).unwrap_or(40);
    let mut all = Vec::new();
    all.extend_from_slice(MAGIC);
    all.extend_from_slice(&FLAGS);
    all.extend_from_slice(&checksum(&FLAGS));
    let block = all.len();
    // Its length in fours less one; one filter and no lengths; the filter with its one byte.
    let header = [2, 0, LZMA2, 1, size_byte as u8, 0, 0, 0];
    all.extend_from_slice(&header);
    all.extend_from_slice(&checksum(&header));
    for part in parts {
        all.append(&mut packed(&bytes[part.bytes.clone()], part.properties, dictionary(size_byte))?);
    }
    all.push(0);
    let unpadded = all.len() - block + 4;
    pad(&mut all);
    all.extend_from_slice(&checksum(bytes));
    let mut index = vec![0, 1];
    write_number(unpadded, &mut index);
    write_number(bytes.len(), &mut index);
    pad(&mut index);
    index.extend_from_slice(&checksum(&index));
    all.extend_from_slice(&index);
    let mut footer = ((index.len() / 4 - 1) as u32).to_le_bytes().to_vec();
    footer.extend_from_slice(&FLAGS);
    all.extend_from_slice(&checksum(&footer));
    all.extend_from_slice(&footer);
    all.extend_from_slice(END_MAGIC);
    Ok(all)
}

/// Bytes of the dictionary that a byte of the header stands for.
fn dictionary(byte: u32) -> usize {
    (2 | (byte as usize & 1)) << (byte / 2 + 11)
}

/// A stream of LZMA2 without its end.
fn packed(bytes: &[u8], Properties(lc, lp, pb): Properties, dictionary: usize) -> io::Result<Vec<u8>> {
    let mut options = Lzma2Options::with_preset(9);
    let lzma = &mut options.lzma_options;
    // Every match of some megabytes is worth looking for.
    (lzma.nice_len, lzma.depth_limit) = (273, 512);
    (lzma.lc, lzma.lp, lzma.pb) = (lc, lp, pb);
    lzma.dict_size = u32::try_from(dictionary).map_err(io::Error::other)?;
    let mut writer = Lzma2Writer::new(Vec::new(), options);
    writer.write_all(bytes)?;
    let mut stream = writer.finish()?;
    stream.pop();
    Ok(stream)
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let mut sum = flate2::Crc::new();
    sum.update(bytes);
    sum.sum().to_le_bytes()
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn write_number(number: usize, to: &mut Vec<u8>) {
    super::cfa::write_unsigned(number as u64, to);
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn parts_are_one_stream() {
        let bytes: Vec<u8> = (0..70_000_u32).flat_map(|n| (n / 7 * n).to_be_bytes()).collect();
        let part = |bytes, properties| Part { bytes, properties };
        let parts = [
            part(0..1, Properties(4, 0, 0)),
            part(1..100_001, Properties(0, 2, 2)),
            part(100_001..bytes.len(), Properties(3, 1, 1)),
        ];
        let packed = pack(&bytes, &parts).unwrap();
        let mut out = Vec::new();
        lzma_rust2::XzReader::new(&packed[..], false).read_to_end(&mut out).unwrap();
        assert!(out == bytes);
    }
}
