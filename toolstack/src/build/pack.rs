//! A program as Xen boots it: as small as what reads it allows. The same program gives the same bytes: nothing notes a name or
//! a time.
//!
//! Xen's domain builder unpacks a gzipped ELF file, and the payload of a Linux bzImage (its tools/libs/guest/
//! xg_dom_bzimageloader.c): an ELF file compressed by xz, with the length of what comes out behind it. xz with its filter for
//! x86 code is a fifth smaller than gzip, and takes several times as long to unpack, which a small machine's boot would
//! feel (docs/decisions/0304).

use std::io::{self, Write};

use lzma_rust2::{CheckType, FilterType, XzOptions, XzWriter};

use super::{segments, xz};

/// The endings of packed programs' names.
pub const EXTENSIONS: [&str; 2] = [GZIP, BZIMAGE];
const GZIP: &str = "gz";
const BZIMAGE: &str = "bzimage";
/// Programs up to this length are gzipped, by zopfli: 4 % smaller than zlib's best, some seconds a megabyte.
const SMALL_BYTES_MAX: usize = 1440 << 10;
/// zopfli's own bound of 15 is too low for a program's parts: 0.2 %. Without a bound it splits where that costs 1 %.
const BLOCK_SPLITS_MAX: u16 = 60;

/// A program, packed.
pub struct Packed {
    /// What Xen is given.
    pub bytes: Vec<u8>,
    /// What its file's name ends with.
    pub extension: &'static str,
    /// Whether it is long and its code is not in streams.
    pub is_whole: bool,
}

/// Packs a program.
pub fn pack(program: &[u8]) -> io::Result<Packed> {
    if program.len() <= SMALL_BYTES_MAX {
        let mut bytes = Vec::new();
        let options =
            zopfli::Options { maximum_block_splits: BLOCK_SPLITS_MAX, ..zopfli::Options::default() };
        zopfli::compress(options, zopfli::Format::Gzip, program, &mut bytes)?;
        return Ok(Packed { bytes, extension: GZIP, is_whole: false });
    }
    let cut = segments::cut(program);
    let (stream, bytes) = match &cut {
        Some(cut) => (xz::pack(&cut.file, &cut.parts)?, cut.file.len()),
        None => (compressed(program)?, program.len()),
    };
    Ok(Packed { bytes: contained(&stream, bytes)?, extension: BZIMAGE, is_whole: cut.is_none() })
}

fn compressed(program: &[u8]) -> io::Result<Vec<u8>> {
    let mut options = XzOptions::with_preset(9);
    // Every match of a program of some megabytes is worth looking for.
    (options.lzma_options.nice_len, options.lzma_options.depth_limit) = (273, 512);
    // The byte before says more about x86 code than the place of a byte within four.
    (options.lzma_options.lc, options.lzma_options.pb) = (4, 0);
    // A dictionary larger than the program would only be memory that Xen's builder takes.
    let dictionary = program.len().next_power_of_two().max(1 << 16);
    options.lzma_options.dict_size = u32::try_from(dictionary).map_err(io::Error::other)?;
    options.set_check_sum_type(CheckType::Crc32);
    options.prepend_pre_filter(FilterType::BcjX86, 0);
    let mut writer = XzWriter::new(Vec::new(), options)?;
    writer.write_all(program)?;
    writer.finish()
}

/// Puts an xz stream behind the head of a bzImage (Linux' Documentation/arch/x86/boot.rst, protocol 2.08). There is no code in
/// the head: a machine that is not Xen does not boot it.
fn contained(stream: &[u8], program_bytes: usize) -> io::Result<Vec<u8>> {
    let mut all = vec![0; HEAD_BYTES];
    let mut put = |at: usize, bytes: &[u8]| all[at..at + bytes.len()].copy_from_slice(bytes);
    put(SETUP_SECTORS, &[(HEAD_BYTES / SECTOR_BYTES - 1) as u8]);
    put(BOOT_FLAG, &0xaa55_u16.to_le_bytes());
    put(MAGIC, b"HdrS");
    put(VERSION, &0x0208_u16.to_le_bytes());
    // The payload begins where the head ends: its offset stays 0.
    let length = u32::try_from(stream.len() + LENGTH_BYTES).map_err(io::Error::other)?;
    put(PAYLOAD_LENGTH, &length.to_le_bytes());
    all.extend_from_slice(stream);
    all.extend_from_slice(&u32::try_from(program_bytes).map_err(io::Error::other)?.to_le_bytes());
    Ok(all)
}

const SECTOR_BYTES: usize = 512;
/// The boot sector and one sector of setup: the head's fields end in the second one.
const HEAD_BYTES: usize = 2 * SECTOR_BYTES;
const SETUP_SECTORS: usize = 0x1f1;
const BOOT_FLAG: usize = 0x1fe;
const MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const PAYLOAD_LENGTH: usize = 0x24c;
const LENGTH_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// Something like a program: calls to a few places, and text.
    fn program(bytes: usize) -> Vec<u8> {
        let mut all = Vec::new();
        for n in 0_u32.. {
            if all.len() >= bytes {
                break;
            }
            all.push(0xe8);
            all.extend_from_slice(
                &(n.wrapping_mul(2_654_435_761) % 64 * 4096).wrapping_sub(n * 9).to_le_bytes(),
            );
            all.extend_from_slice(b"\x48\x89\xe5\x90");
        }
        all
    }

    #[test]
    fn xen_finds_the_program_in_the_container() {
        let program = program(SMALL_BYTES_MAX + 1);
        let packed = pack(&program).unwrap();
        assert_eq!(packed.extension, "bzimage");
        let word = |at: usize| u32::from_le_bytes(packed.bytes[at..at + 4].try_into().unwrap()) as usize;
        assert_eq!(&packed.bytes[0x202..0x206], b"HdrS");
        assert!(u16::from_le_bytes(packed.bytes[0x206..0x208].try_into().unwrap()) >= 0x208);
        let begin = (usize::from(packed.bytes[0x1f1]) + 1) * 512 + word(0x248);
        let payload = &packed.bytes[begin..begin + word(0x24c)];
        assert_eq!(&payload[..6], b"\xfd7zXZ\0");
        let (stream, length) = payload.split_at(payload.len() - 4);
        assert_eq!(length, (program.len() as u32).to_le_bytes());
        let mut out = Vec::new();
        lzma_rust2::XzReader::new(stream, false).read_to_end(&mut out).unwrap();
        assert!(out == program);
    }

    #[test]
    fn the_same_program_gives_the_same_bytes() {
        let program = program(SMALL_BYTES_MAX + 1);
        assert!(pack(&program).unwrap().bytes == pack(&program).unwrap().bytes);
    }

    #[test]
    fn a_small_program_is_gzipped() {
        let packed = pack(&program(10_000)).unwrap();
        assert_eq!((packed.extension, &packed.bytes[..2]), ("gz", &b"\x1f\x8b"[..]));
    }
}
