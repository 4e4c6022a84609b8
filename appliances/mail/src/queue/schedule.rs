//! When a message is tried again.

/// Minutes after a failed attempt until the next; the last one repeats (RFC 5321 4.5.4.1: at first soon, then at least
/// half an hour apart, up to days).
const STEPS_MINUTES: [u64; 8] = [2, 5, 15, 30, 60, 120, 240, 360];

/// A delay notice is sent when mail waits longer than this.
pub const DELAY_NOTICE_MS: u64 = 4 * 3_600_000;

/// The time of the next attempt after `attempts` failed ones, in milliseconds since 1970. A little scatter by `seed`
/// keeps mail that failed together from coming together.
pub fn next_attempt_ms(attempts: u32, now_ms: u64, seed: u64) -> u64 {
    let step = STEPS_MINUTES[(attempts.saturating_sub(1) as usize).min(STEPS_MINUTES.len() - 1)] * 60_000;
    now_ms + step + seed % (step / 10)
}

/// Whether a message that came at `created_ms` is given up.
pub fn expired(created_ms: u64, now_ms: u64, days: u32) -> bool {
    now_ms.saturating_sub(created_ms) >= u64::from(days) * 86_400_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc5321_4_5_4_1_tries_grow_apart_and_end_after_five_days() {
        let (mut now, mut tries) = (0, 0);
        while !expired(0, now, 5) {
            tries += 1;
            let next = next_attempt_ms(tries, now, 7);
            assert!(next > now && next - now <= 6 * 3_600_000 * 11 / 10);
            now = next;
        }
        assert!((20..60).contains(&tries), "{tries}");
    }
}
