//! Secrets: random ones, their hashes, and comparing without telling how much was right.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};

use crate::limits;
use crate::memory;

/// `N` random bytes from the system.
///
/// # Panics
/// When the system has no randomness: nothing that an appliance does is safe then.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system gives random numbers");
    bytes
}

/// A password that a person can type on a phone: five groups of four from an alphabet without look-alikes, about 97 bits.
pub fn new_password() -> String {
    let mut letters = String::new();
    for group in 0..5 {
        if group > 0 {
            letters.push('-');
        }
        for byte in random::<4>() {
            letters.push(letter(byte));
        }
    }
    letters
}

fn letter(mut byte: u8) -> char {
    let fair = 256 / ALPHABET.len() * ALPHABET.len();
    while usize::from(byte) >= fair {
        byte = random::<1>()[0];
    }
    ALPHABET[usize::from(byte) % ALPHABET.len()] as char
}

/// A token for cookies and identifiers: `N` random bytes, URL-safe.
pub fn new_token<const N: usize>() -> String {
    URL_SAFE_NO_PAD.encode(random::<N>())
}

/// SHA-256 of a token of our own making, which needs no slow hash: nobody can guess 256 bits.
pub fn fingerprint(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, token.as_bytes()))
}

/// Equal, in a time that depends on the lengths alone.
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// Hashes a password with argon2id (RFC 9106); the text is a PHC string. Takes some ten milliseconds. A machine that has not so much
/// memory takes half of it and twice the passes, or a quarter and so on: the string says which.
///
/// # Panics
/// When there is not even `HASH_MEMORY_KIB >> HASH_HALVINGS_MAX`.
pub fn hash(password: &str) -> String {
    let salt = random::<16>();
    let with = |halvings: u32| {
        let (memory, passes) = (limits::HASH_MEMORY_KIB >> halvings, limits::HASH_PASSES << halvings);
        argon2id(password, &salt, memory, passes, 1).ok().map(|key| phc(&salt, &key, memory, passes))
    };
    (0..=HASH_HALVINGS_MAX)
        .find_map(with)
        .expect("our own parameters are within argon2's bounds, and some memory is there")
}

fn phc(salt: &[u8], key: &[u8], memory: u32, passes: u32) -> String {
    let (salt, key) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(key));
    format!("$argon2id$v=19$m={memory},t={passes},p=1${salt}${key}")
}

/// Why there is no answer of argon2id.
#[derive(Debug, PartialEq, Eq)]
enum NoKey {
    /// Parameters out of its bounds.
    Parameters,
    /// The memory that the parameters ask for is not there.
    Memory,
}

/// Checks a password against a PHC string. False too when the string is none of ours; `None` when this machine has not the memory
/// that the string asks for.
pub fn verify(password: &str, phc: &str) -> Option<bool> {
    let Some(parsed) = Phc::parse(phc) else { return Some(false) };
    match argon2id(password, &parsed.salt, parsed.memory_kib, parsed.passes, parsed.lanes) {
        Ok(made) => Some(equal(&made, &parsed.key)),
        Err(NoKey::Parameters) => Some(false),
        Err(NoKey::Memory) => None,
    }
}

/// What `verify` costs, for a user who does not exist: an attacker must not see the difference.
pub fn verify_nobody(password: &str) {
    let _ = argon2id(password, &[0; 16], limits::HASH_MEMORY_KIB, limits::HASH_PASSES, 1);
}

fn argon2id(
    password: &str,
    salt: &[u8],
    memory_kib: u32,
    passes: u32,
    lanes: u32,
) -> Result<[u8; 32], NoKey> {
    let params = Params::new(memory_kib, passes, lanes, Some(32)).map_err(|_| NoKey::Parameters)?;
    let mut blocks = blocks(params.block_count()).ok_or(NoKey::Memory)?;
    let mut key = [0; 32];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let made = argon2.hash_password_into_with_memory(password.as_bytes(), salt, &mut key, &mut blocks);
    made.map_err(|_| NoKey::Parameters)?;
    Ok(key)
}

/// argon2id's memory, where what others may need meanwhile is left.
fn blocks(count: usize) -> Option<Vec<Block>> {
    let mut blocks = Vec::new();
    blocks.try_reserve_exact(count).ok()?;
    if !memory::has(limits::HASH_LEAVES_BYTES) {
        return None;
    }
    blocks.resize(count, Block::default());
    Some(blocks)
}

struct Phc {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: Vec<u8>,
    key: Vec<u8>,
}

impl Phc {
    fn parse(text: &str) -> Option<Phc> {
        let mut parts = text.strip_prefix("$argon2id$v=19$")?.split('$');
        let mut numbers = parts.next()?.split(',').map(|pair| pair.split_once('='));
        let mut number = |name| match numbers.next()?? {
            (one, value) if one == name => value.parse::<u32>().ok(),
            _ => None,
        };
        let (memory_kib, passes, lanes) = (number("m")?, number("t")?, number("p")?);
        // A hash brought from elsewhere must not take the machine's memory.
        if memory_kib > HASH_MEMORY_KIB_MAX || passes > HASH_PASSES_MAX || lanes > 4 {
            return None;
        }
        let salt = STANDARD_NO_PAD.decode(parts.next()?).ok()?;
        let key = STANDARD_NO_PAD.decode(parts.next()?).ok()?;
        Some(Phc { memory_kib, passes, lanes, salt, key })
    }
}

/// No 0, o, 1, l, i, u (read as v), and no vowel pairs that spell words.
const ALPHABET: &[u8; 29] = b"abcdefghjkmnpqrstvwxyz2345678";
const _: () = assert!(ALPHABET.len() == 29);
const HASH_MEMORY_KIB_MAX: u32 = 64 * 1024;
const HASH_PASSES_MAX: u32 = limits::HASH_PASSES << HASH_HALVINGS_MAX;
/// How often memory is halved: 256 kB at least.
const HASH_HALVINGS_MAX: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_fits_its_password_only() {
        let phc = hash("correct horse");
        assert!(phc.starts_with("$argon2id$v=19$m="));
        assert_eq!(verify("correct horse", &phc), Some(true));
        assert_eq!(verify("correct horsf", &phc), Some(false));
        assert_eq!(verify("", &phc), Some(false));
        assert_eq!(verify("x", "$argon2id$v=19$m=4294967295,t=1,p=1$AAAA$AAAA"), Some(false));
    }

    #[test]
    fn reference_vector_of_the_argon2_program() {
        // echo -n password | argon2 somesalt -id -t 2 -m 8 -p 1 -l 32  (test.c of the reference implementation)
        let phc = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert_eq!(verify("password", phc), Some(true));
    }

    #[test]
    fn passwords_are_typeable_and_differ() {
        let (a, b) = (new_password(), new_password());
        assert_ne!(a, b);
        assert_eq!(a.len(), 24);
        assert!(a.bytes().all(|byte| byte == b'-' || ALPHABET.contains(&byte)));
    }
}
