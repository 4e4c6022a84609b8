//! Code put together of streams that are written here by hand; what `nymote build` writes is put together by its own tests.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use crate::streams::*;

const BASE: u32 = 0x40_0000;
const LONG: [u8; 15] = *b"\x66\x66\x66\x66\x66\x66\x2e\x0f\x1f\x84\0\x01\x02\x03\x04";
/// A long instruction without operands, a call, a jump of two bytes, one of six, and one of a byte.
const SHAPES: [u32; 5] = [15, 5 | 1 << 4 | 1 << 8, 2 | 1 << 4 | 0x21 << 8, 6 | 1 << 4 | 0x12 << 8, 1];
const LONGS: usize = 120;

/// The streams of one chunk: long instructions, behind them `call BASE + 15`, a short jump to the second of them, a long jump to
/// the instruction behind it, one to an address, and an instruction that is not in the dictionary.
fn streams() -> [Vec<u8>; STREAMS] {
    let mut streams = [const { Vec::new() }; STREAMS];
    streams[NAMES] = [0, 0].repeat(LONGS);
    streams[NAMES].extend([0, 1, 3, 0, 0, 2, 0, 2, RARE, 0]);
    streams[RARE_SHAPES] = vec![4];
    streams[RARE_BYTES] = vec![0xc3];
    streams[FAR] = 0x41_0000_u32.to_be_bytes().to_vec();
    streams[OPERANDS + CALL] = vec![0, 1];
    streams[OPERANDS + SHORT] = vec![-2_i8 as u8];
    streams[OPERANDS + NEAR] = [1_i16.to_be_bytes(), BEYOND.to_be_bytes()].concat();
    streams
}

/// What is to be made of them.
fn made() -> Vec<u8> {
    let mut code = LONG.repeat(LONGS);
    let call = code.len() as u32;
    code.push(0xe8);
    code.extend(15_u32.wrapping_sub(call + 5).to_le_bytes());
    // Back over itself, the call and one long instruction.
    code.extend([0xeb, (-(2 + 5 + 15_i8)) as u8]);
    code.extend([0x0f, 0x84, 0, 0, 0, 0, 0x0f, 0x84]);
    let end = BASE + code.len() as u32 + 4;
    code.extend((0x41_0000 - end).to_le_bytes());
    code.push(0xc3);
    code
}

/// Everything as it lies in memory, and where the head is.
fn image() -> (Vec<u8>, usize) {
    let streams = streams();
    let mut behind: Vec<u8> = (LONGS as u32 + 5).to_le_bytes().to_vec();
    behind.extend(streams.iter().flat_map(|stream| (stream.len() as u32).to_le_bytes()));
    // A table for checksums at 0x2000.
    behind.extend([0x2000_u32, 3].iter().flat_map(|word| word.to_le_bytes()));
    behind.extend(SHAPES.iter().flat_map(|shape| shape.to_le_bytes()));
    // Page 3 begins at the last entry.
    let firsts = (0..PAGES).map(|page| if page < 3 { 0_u16 } else { 3 });
    behind.extend(firsts.flat_map(u16::to_le_bytes));
    behind.extend([0, 1, 3, 2]);
    behind.extend(LONG);
    behind.extend([0xe8, 0x0f, 0x84, 0xeb]);
    // Functions at BASE and 15 bytes further on.
    behind.extend([0, 15]);
    let words = [MAGIC, (4 * HEAD_WORDS + behind.len()) as u32, 1, 4, 15 + 4, 2, SHAPES.len() as u32, 1];
    let mut all: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    all.extend(behind);
    all.extend(streams.concat());
    let at = made().len() - all.len();
    ([vec![0xaa; at], all].concat(), at)
}

#[test]
fn streams_become_code() {
    let (mut code, at) = image();
    let mut table = [0; 1024];
    let mut constants = Some(&mut table[..]);
    let constant = |address, bytes| constants.take().filter(|_| (address, bytes) == (0x2000, 1024));
    assert_eq!(restore(&mut code, BASE, at, &mut [0; 4096], constant), Some(()));
    assert!(code == made());
    // The sum of the byte 1 and three bytes of zero behind it.
    assert_eq!(table[4..8], 0xb8bc_6765_u32.to_le_bytes());
}

/// As a machine with constants everywhere.
fn done(code: &mut [u8], at: usize, free: &mut [u8]) -> Option<()> {
    let mut table = [0; 1024];
    let mut constants = Some(&mut table[..]);
    restore(code, BASE, at, free, |_, bytes| constants.take()?.get_mut(..bytes))
}

#[test]
fn too_little_memory_is_said() {
    let (code, at) = image();
    // Head and streams, a word for each entry and function, a byte for each instruction.
    let needed = code.len() - at + 4 * (4 + 2) + LONGS + 5;
    for bytes in 0..=needed {
        let done = done(&mut code.clone(), at, &mut vec![0; bytes]);
        assert_eq!(done.is_some(), bytes == needed);
    }
}

#[test]
fn a_head_that_is_elsewhere_is_none() {
    let (code, at) = image();
    for at in [0, at - 1, at + 1, code.len(), usize::MAX] {
        assert_eq!(done(&mut code.clone(), at, &mut [0; 4096]), None);
    }
}

proptest! {
    /// Whatever the bytes are: an answer, and nothing out of bounds.
    #[test]
    fn damage_is_bounded(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let (mut code, at) = image();
        for (place, byte) in changes {
            let place = at + place.index(code.len() - at);
            code[place] = byte;
        }
        let _ = done(&mut code, at, &mut [0; 4096]);
    }
}
