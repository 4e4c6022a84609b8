//! Who writes in these tests, and what.

use store::Author;

pub fn ada() -> Author {
    Author::new("Ada", "ada@example.org")
}

/// Bytes that deflate badly, so that records span sectors; the same seed gives the same ones.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| byte()).collect()
}

#[allow(dead_code, reason = "some tests have no long form")]
/// Whether many more cases are wanted than each check takes.
pub fn is_long() -> bool {
    std::env::var("NYMOTE_LONG").is_ok_and(|long| long == "1")
}
