//! The machine's random numbers: ChaCha20, seeded by the carrier, with its key replaced after every answer.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// How much may be given out before the carrier is asked for fresh entropy, in bytes.
const RESEED_BYTES: u64 = 1 << 20;
/// How old a seed may get, in nanoseconds: five minutes.
const RESEED_NS: u64 = 300_000_000_000;

/// A generator. What it has given out cannot be computed back from its present state ("fast key erasure"), and fresh
/// entropy is mixed in, so that a copied state is not a copied future.
pub struct Generator {
    inner: ChaCha20Rng,
    given_bytes: u64,
    seeded_ns: u64,
}

impl Generator {
    /// A generator from 32 bytes of entropy.
    pub fn new(seed: [u8; 32], now_ns: u64) -> Self {
        Generator { inner: ChaCha20Rng::from_seed(seed), given_bytes: 0, seeded_ns: now_ns }
    }

    /// Whether [`Self::mix`] is due.
    pub fn wants_entropy(&self, now_ns: u64) -> bool {
        self.given_bytes >= RESEED_BYTES || now_ns.saturating_sub(self.seeded_ns) >= RESEED_NS
    }

    /// Mixes fresh entropy into the state; even bad entropy makes it no worse.
    pub fn mix(&mut self, entropy: [u8; 32], now_ns: u64) {
        let mut key = [0; 32];
        self.inner.fill_bytes(&mut key);
        key.iter_mut().zip(entropy).for_each(|(key, fresh)| *key ^= fresh);
        *self = Generator::new(key, now_ns);
    }

    /// Fills `into` with random bytes.
    pub fn fill(&mut self, into: &mut [u8]) {
        self.inner.fill_bytes(into);
        self.given_bytes += into.len() as u64;
        let mut key = [0; 32];
        self.inner.fill_bytes(&mut key);
        self.inner = ChaCha20Rng::from_seed(key);
    }
}

#[cfg(any(feature = "hosted", feature = "xen"))]
mod machine {
    use super::Generator;
    use crate::global::Global;
    use crate::platform::{Current, Platform};

    static GENERATOR: Global<Option<Generator>> = Global::new(None);

    /// Seeds the machine's generator, or ends the machine: without entropy there are no keys.
    pub fn start() {
        let Some(seed) = Current::seed() else {
            crate::crash::machine(format_args!(
                "no source of entropy fit for keys; it needs RDSEED or RDRAND"
            ))
        };
        GENERATOR.with(|generator| *generator = Some(Generator::new(seed, Current::monotonic_ns())));
    }

    /// Fills `into` with random bytes fit for keys.
    pub fn fill(into: &mut [u8]) {
        GENERATOR.with(|generator| {
            let generator = generator.as_mut().expect("random numbers before start");
            let now = crate::machine::latest_clock();
            if generator.wants_entropy(now)
                && let Some(entropy) = Current::seed()
            {
                generator.mix(entropy, now);
            }
            generator.fill(into);
        });
    }

    /// A random number.
    pub fn number() -> u64 {
        let mut bytes = [0; 8];
        fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}
#[cfg(any(feature = "hosted", feature = "xen"))]
pub use machine::{fill, number, start};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_differ_and_depend_on_the_seed_and_on_what_is_mixed_in() {
        let (mut one, mut same, mut other) =
            (Generator::new([1; 32], 0), Generator::new([1; 32], 0), Generator::new([2; 32], 0));
        let next = |generator: &mut Generator| {
            let mut bytes = [0; 32];
            generator.fill(&mut bytes);
            bytes
        };
        let first = next(&mut one);
        assert_eq!(first, next(&mut same));
        assert_ne!(first, next(&mut one));
        assert_ne!(first, next(&mut other));
        next(&mut same);
        same.mix([9; 32], 1);
        assert_ne!(next(&mut one), next(&mut same));
    }

    #[test]
    fn fresh_entropy_is_wanted_after_a_megabyte_and_after_five_minutes() {
        let mut generator = Generator::new([0; 32], 0);
        assert!(!generator.wants_entropy(RESEED_NS - 1));
        assert!(generator.wants_entropy(RESEED_NS));
        for _ in 0..16 {
            generator.fill(&mut [0; 64 << 10]);
        }
        assert!(generator.wants_entropy(1));
        generator.mix([0; 32], 1);
        assert!(!generator.wants_entropy(2));
    }
}
