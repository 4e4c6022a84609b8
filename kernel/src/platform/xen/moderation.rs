//! When a card's backend is to wake the machine: at the next frame, or when as many have come as lately came at once.
//!
//! A machine that is woken by each question answers each by itself: an event, an interrupt and a hypercall or two in the
//! backend's domain, which has to do them instead of what asks. As a card's moderation of interrupts does, this lets
//! frames gather while several parties are being answered. Whoever is alone is never made to wait, and nobody for longer
//! than a multiple of the least that an answer takes here (decision 0106).

/// The most frames that are waited for.
const EXPECTED_MAX: u32 = 64;
/// How long they are waited for, in multiples of the least work for a party: what a wake-up costs grows with how slow the
/// machine is, not with what its program does.
const TIMES_THE_WORK: u64 = 128;
/// The least work that is believed, and the longest wait.
const WORK_NS_MIN: u64 = 1000;
const WAIT_NS_MAX: u64 = 4_000_000;
/// After fewer came than were expected, so many times no more are expected than came.
const MODEST_TIMES: u32 = 32;

/// A sleep as it is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The machine is to be woken when so many frames are there.
    pub frames: u32,
    /// It looks by itself then.
    pub until_ns: Option<u64>,
}

/// What a card has seen lately.
#[derive(Debug, Clone, Copy)]
pub struct Moderation {
    /// Parties heard since the last sleep, and when the first was.
    heard: u32,
    since_ns: u64,
    /// So many are expected at once; one means no moderation.
    expected: u32,
    modest: u32,
    /// The least work for one party so far, in ns.
    least_ns: u64,
}

impl Default for Moderation {
    fn default() -> Self {
        Moderation { heard: 0, since_ns: 0, expected: 1, modest: 0, least_ns: WAIT_NS_MAX }
    }
}

impl Moderation {
    /// Notes that frames of so many parties were taken at a moment: connections, or datagrams.
    pub fn heard(&mut self, parties: usize, now_ns: u64) {
        if self.heard == 0 {
            self.since_ns = now_ns;
        }
        self.heard = self.heard.saturating_add(u32::try_from(parties).unwrap_or(u32::MAX));
    }

    /// Plans the sleep that begins now, with so many buffers at the backend. What was heard is forgotten.
    pub fn plan(&mut self, now_ns: u64, buffers: u32) -> Plan {
        let heard = core::mem::take(&mut self.heard);
        self.expected = match heard {
            0 | 1 => 1,
            fewer if fewer < self.expected => {
                self.modest = MODEST_TIMES;
                fewer
            }
            many if many / 2 >= self.expected => many,
            _ if self.modest > 0 => {
                self.modest -= 1;
                self.expected
            }
            _ => self.expected + self.expected / 4 + 1,
        };
        // Half of the buffers are for what comes while the machine is being woken.
        self.expected = self.expected.min(EXPECTED_MAX).min(buffers / 2).max(1);
        let work_ns = now_ns.saturating_sub(self.since_ns);
        // The clock stands within a turn: no time means that nobody ran.
        if heard > 0 && work_ns > 0 {
            self.least_ns = self.least_ns.min(work_ns / u64::from(heard)).max(WORK_NS_MIN);
        }
        let wait_ns = self.least_ns.saturating_mul(TIMES_THE_WORK).min(WAIT_NS_MAX);
        Plan { frames: self.expected, until_ns: (self.expected > 1).then(|| now_ns.saturating_add(wait_ns)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hears `parties` at once, works for two microseconds for each, and plans.
    fn slept(moderation: &mut Moderation, parties: usize) -> Plan {
        moderation.heard(parties, 1_000_000);
        moderation.plan(1_000_000 + 2000 * parties as u64, 256)
    }

    #[test]
    fn who_is_alone_never_waits() {
        let mut moderation = Moderation::default();
        for _ in 0..1000 {
            assert_eq!(slept(&mut moderation, 1), Plan { frames: 1, until_ns: None });
            assert_eq!(slept(&mut moderation, 0), Plan { frames: 1, until_ns: None });
        }
    }

    #[test]
    fn as_many_are_expected_as_came_and_then_a_few_more() {
        let mut moderation = Moderation::default();
        assert_eq!(slept(&mut moderation, 2), Plan { frames: 2, until_ns: Some(1_004_000 + 128 * 2000) });
        let mut frames = 2;
        while frames < EXPECTED_MAX {
            let next = slept(&mut moderation, frames as usize).frames;
            assert!(next > frames && next <= frames + frames / 4 + 1);
            frames = next;
        }
        assert_eq!(slept(&mut moderation, 1000).frames, EXPECTED_MAX);
    }

    #[test]
    fn fewer_than_expected_are_believed_for_a_while() {
        let mut moderation = Moderation::default();
        assert_eq!(slept(&mut moderation, 10).frames, 10);
        for _ in 0..=MODEST_TIMES {
            assert_eq!(slept(&mut moderation, 8).frames, 8);
        }
        assert_eq!(slept(&mut moderation, 8).frames, 11, "once in a while more are asked for");
        assert_eq!(slept(&mut moderation, 1).frames, 1, "and nothing is waited for when one alone is left");
    }

    #[test]
    fn nobody_waits_long_and_half_of_the_buffers_stay() {
        let mut moderation = Moderation::default();
        moderation.heard(50, 0);
        let plan = moderation.plan(1_000_000_000, 32);
        assert_eq!(plan, Plan { frames: 16, until_ns: Some(1_000_000_000 + WAIT_NS_MAX) });
        moderation.heard(50, 0);
        assert_eq!(moderation.plan(0, 0), Plan { frames: 1, until_ns: None });
        // A program that works long for an answer makes nobody wait longer than its quickest did.
        let mut moderation = Moderation::default();
        slept(&mut moderation, 1);
        moderation.heard(2, 0);
        assert_eq!(moderation.plan(1_000_000_000, 256).until_ns, Some(1_000_000_000 + 128 * 2000));
        moderation.heard(2, 0);
        assert_eq!(moderation.plan(1, 256).until_ns, Some(1 + 128 * WORK_NS_MIN));
    }
}
