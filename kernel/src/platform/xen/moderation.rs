//! When a card's backend is to wake the machine: at the next frame, or when several have come.
//!
//! A machine that is woken by each question answers each by itself: an event, an interrupt and a hypercall or two in the
//! backend's domain, which has to do them instead of what asks. As a card's moderation of interrupts does, this lets
//! frames gather while several parties are being answered: until as many are there as lately came, or until no more come,
//! and never long. Whoever is alone waits once in a thousand times, in case there are others (decision 0106).

/// The most frames that are waited for.
const EXPECTED_MAX: u32 = 64;
/// For how long no frame may come before those that are there are looked at, and how long the first of them may wait, in
/// multiples of the least work for a party: what a wake-up costs grows with how slow the machine is, not with what its
/// program does.
const SILENCE_TIMES_THE_WORK: u64 = 64;
const GATHERING_TIMES_THE_WORK: u64 = 512;
/// The least and the most that is believed to be the least work.
const WORK_NS: core::ops::RangeInclusive<u64> = 1000..=16_000;
/// The longest pause before more are waited for again, in sleeps.
const PAUSE_MAX: u32 = 1024;

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
    /// Parties heard since the last sleep, and when the first was; `None` when no frame came.
    heard: Option<(u32, u64)>,
    /// So many are expected at once; one means no moderation.
    expected: u32,
    /// More are expected than came the last time, to see whether there are more.
    trying: bool,
    /// After so many sleeps more are tried; doubled by each try that fails.
    pause: u32,
    left: u32,
    /// The least work for one party so far, in ns.
    least_ns: u64,
    /// Frames that were there at the last look, and when the first was.
    gathered: Option<(u32, u64)>,
    /// Frames were still coming when the first had waited long enough.
    cut: bool,
}

impl Default for Moderation {
    fn default() -> Self {
        Moderation {
            heard: None,
            expected: 1,
            trying: false,
            pause: 1,
            left: 1,
            least_ns: *WORK_NS.end(),
            gathered: None,
            cut: false,
        }
    }
}

impl Moderation {
    /// Notes that frames of so many parties were taken at a moment: connections, or datagrams. A connection that is heard
    /// again and again is no new party.
    pub fn heard(&mut self, parties: usize, now_ns: u64) {
        let (before, since_ns) = self.heard.unwrap_or((0, now_ns));
        self.heard = Some((before.saturating_add(u32::try_from(parties).unwrap_or(u32::MAX)), since_ns));
    }

    /// Plans the sleep that begins now, with so many buffers at the backend. What was heard is forgotten.
    pub fn plan(&mut self, now_ns: u64, buffers: u32) -> Plan {
        self.gathered = None;
        let cut = core::mem::take(&mut self.cut);
        if let Some((parties, since_ns)) = self.heard.take() {
            self.expect(parties, cut);
            let work_ns = now_ns.saturating_sub(since_ns);
            // The clock stands within a turn: no time means that nobody ran.
            if parties > 0 && work_ns > 0 {
                self.least_ns = self.least_ns.min(work_ns / u64::from(parties)).max(*WORK_NS.start());
            }
        }
        // The others are for what comes while the machine is being woken; the backend keeps what finds none.
        self.expected = self.expected.min(EXPECTED_MAX).min(buffers / 4 * 3).max(1);
        self.wait_for(self.expected, now_ns)
    }

    /// Woken, or the time of the plan is over, with so many frames there: how to sleep on, or `None` when it is time to look
    /// at them.
    pub fn sleep_on(&mut self, frames: u32, now_ns: u64) -> Option<Plan> {
        if frames >= self.expected {
            return None;
        }
        if frames == 0 {
            return Some(Plan { frames: 1, until_ns: None });
        }
        let (before, since_ns) = self.gathered.unwrap_or((0, now_ns));
        if frames == before {
            return None;
        }
        self.gathered = Some((frames, since_ns));
        self.cut = now_ns.saturating_sub(since_ns) >= self.least_ns * GATHERING_TIMES_THE_WORK;
        (!self.cut).then(|| self.wait_for(self.expected, now_ns))
    }

    /// Learns from how many came how many may come at once.
    fn expect(&mut self, parties: u32, cut: bool) {
        let tried = core::mem::take(&mut self.trying);
        if parties < self.expected {
            // They may have been more, had there been time.
            if !cut {
                self.expected = parties.max(1);
                self.pause = if tried { (self.pause * 2).min(PAUSE_MAX) } else { 1 };
                self.left = self.pause;
            }
            return;
        }
        if tried {
            (self.pause, self.left) = (1, 0);
        }
        self.left = self.left.saturating_sub(1);
        if parties / 2 >= self.expected {
            self.expected = parties;
        } else if self.left == 0 {
            self.expected *= 2;
            self.trying = true;
        }
    }

    fn wait_for(&self, frames: u32, now_ns: u64) -> Plan {
        let until_ns = now_ns.saturating_add(self.least_ns * SILENCE_TIMES_THE_WORK);
        Plan { frames, until_ns: (frames > 1).then_some(until_ns) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: u64 = 2000;
    const SILENCE: u64 = WORK * SILENCE_TIMES_THE_WORK;

    /// A card at which frames come, and its clock.
    struct Card {
        moderation: Moderation,
        now_ns: u64,
        plan: Plan,
    }

    impl Card {
        fn new() -> Self {
            Card {
                moderation: Moderation::default(),
                now_ns: 1_000_000,
                plan: Plan { frames: 1, until_ns: None },
            }
        }

        /// Works for so many parties and plans the sleep.
        fn works(&mut self, parties: usize) -> Plan {
            self.moderation.heard(parties, self.now_ns);
            self.now_ns += WORK * parties.max(1) as u64;
            self.plan = self.moderation.plan(self.now_ns, 256);
            self.plan
        }

        /// Sleeps while `frames` come, one every `step_ns`; how many were there when it looked, and how long that took.
        fn sleeps(&mut self, frames: u32, step_ns: u64) -> (u32, u64) {
            let start_ns = self.now_ns;
            loop {
                let come = |now: u64| u32::try_from((now - start_ns) / step_ns).unwrap().min(frames);
                let signal_ns =
                    (self.plan.frames <= frames).then(|| start_ns + u64::from(self.plan.frames) * step_ns);
                self.now_ns = signal_ns
                    .into_iter()
                    .chain(self.plan.until_ns)
                    .min()
                    .expect("nothing wakes it")
                    .max(self.now_ns);
                match self.moderation.sleep_on(come(self.now_ns), self.now_ns) {
                    Some(plan) => self.plan = plan,
                    None => return (come(self.now_ns), self.now_ns - start_ns),
                }
            }
        }
    }

    #[test]
    fn who_is_alone_waits_once_in_a_thousand_times() {
        let mut card = Card::new();
        card.works(1);
        let waits = (0..if cfg!(miri) { 600 } else { 3000 })
            .filter(|_| {
                let (frames, took_ns) = card.sleeps(1, 10);
                card.works(frames as usize);
                assert!(took_ns <= 10 + SILENCE * 2);
                took_ns > 10
            })
            .count();
        assert!((8..16).contains(&waits), "{waits}");
    }

    #[test]
    fn one_connection_that_is_heard_again_and_again_never_waits() {
        let mut card = Card::new();
        card.works(40);
        assert_eq!(card.works(0), Plan { frames: 1, until_ns: None }, "the crowd is gone");
        for _ in 0..3000 {
            assert_eq!(card.sleeps(1, 10), (1, 10));
            card.works(0);
        }
    }

    #[test]
    fn a_crowd_is_found_though_each_was_answered_alone() {
        let mut card = Card::new();
        card.works(1);
        let mut most = 0;
        for _ in 0..12 {
            let (frames, _) = card.sleeps(1000, 5000);
            most = most.max(frames);
            card.works(frames as usize);
        }
        assert!(most >= EXPECTED_MAX / 2, "{most}");
    }

    #[test]
    fn as_many_are_waited_for_as_there_are() {
        let mut card = Card::new();
        card.works(8);
        let mut late = 0;
        for _ in 0..if cfg!(miri) { 300 } else { 2000 } {
            let (frames, took_ns) = card.sleeps(8, 100);
            assert_eq!(frames, 8);
            late += u32::from(took_ns > 800);
            card.works(8);
        }
        assert!(late < 16, "{late} times it waited for a ninth");
    }

    #[test]
    fn nobody_waits_long_though_more_keep_coming_and_fewer_are_not_believed_then() {
        let mut card = Card::new();
        card.works(60);
        for _ in 0..10 {
            let (frames, took_ns) = card.sleeps(1000, SILENCE / 2);
            assert!(took_ns <= WORK * GATHERING_TIMES_THE_WORK + SILENCE * 2 && frames > 2);
            assert_eq!(card.works(frames as usize).frames, 60);
        }
    }

    #[test]
    fn some_buffers_stay_and_slow_programs_make_nobody_wait_longer() {
        let mut moderation = Moderation::default();
        moderation.heard(50, 0);
        let plan = moderation.plan(1_000_000_000, 32);
        let longest = WORK_NS.end() * SILENCE_TIMES_THE_WORK;
        assert_eq!(plan, Plan { frames: 24, until_ns: Some(1_000_000_000 + longest) });
        moderation.heard(50, 0);
        assert_eq!(moderation.plan(0, 0), Plan { frames: 1, until_ns: None });
        moderation.heard(2, 0);
        assert_eq!(moderation.plan(1, 256).until_ns, Some(1 + WORK_NS.start() * SILENCE_TIMES_THE_WORK));
    }
}
