//! Response rate limiting as NSD does it: answers of one kind to one network are counted, above the limit most are held
//! back and some go out cut short, so that spoofed questions do not become a flood at somebody else's door.

use std::net::IpAddr;

use crate::limits::RRL_SLIP;
use crate::zone::hash_octets;

/// What to do with a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Send it.
    Send,
    /// Send the question back with TC.
    Slip,
    /// Send nothing.
    Drop,
}

#[derive(Clone, Copy, Default)]
struct Row {
    key: u64,
    second: u32,
    count: u32,
    rate: u32,
}

/// Counters of one thread.
pub struct Limiter {
    rows: Vec<Row>,
    limits: Limits,
}

/// How much is let through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Answers a second to one network; 0: no limit.
    pub answers_a_second: u32,
    /// Whether askers on this machine are limited too.
    pub loopback: bool,
}

impl Limiter {
    /// A limiter with a power of two of rows, that does not limit yet.
    pub fn new(rows: usize) -> Limiter {
        Limiter { rows: vec![Row::default(); rows.next_power_of_two()], ..Limiter::off() }
    }

    /// Limits from now on as is said; what was counted stays.
    pub fn set(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// No limit.
    pub fn off() -> Limiter {
        Limiter { rows: Vec::new(), limits: Limits::default() }
    }

    /// Counts a reply of a kind to an address and judges it. Networks are /24 and /64; two of them that fall on one row
    /// evict each other, which errs towards sending.
    #[inline]
    pub fn judge(&mut self, asker: IpAddr, kind: u64, now_s: u32) -> Verdict {
        let Limits { answers_a_second, loopback } = self.limits;
        if self.rows.is_empty() || answers_a_second == 0 || (asker.is_loopback() && !loopback) {
            return Verdict::Send;
        }
        let network = match asker.to_canonical() {
            IpAddr::V4(four) => u64::from(u32::from(four) >> 8),
            IpAddr::V6(six) => (u128::from(six) >> 64) as u64,
        };
        let key = hash_octets(&(u128::from(network) << 64 | u128::from(kind)).to_le_bytes());
        let at = key as usize & (self.rows.len() - 1);
        let row = &mut self.rows[at];
        if row.key != key {
            *row = Row { key, second: now_s, count: 0, rate: 0 };
        }
        let elapsed = now_s.wrapping_sub(row.second);
        if elapsed > 0 {
            // The memory of seconds past halves with each.
            row.rate = (row.rate / 2 + row.count / 2).checked_shr(elapsed - 1).unwrap_or(0);
            (row.second, row.count) = (now_s, 0);
        }
        row.count += 1;
        if row.count.max(row.rate) <= answers_a_second {
            return Verdict::Send;
        }
        if row.count.is_multiple_of(RRL_SLIP) { Verdict::Slip } else { Verdict::Drop }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_held_back_and_ends() {
        let mut limiter = Limiter::new(1024);
        limiter.set(Limits { answers_a_second: 200, loopback: false });
        let asker: IpAddr = [198, 51, 100, 1].into();
        let neighbour: IpAddr = [198, 51, 101, 1].into();
        let sent = |limiter: &mut Limiter, at: IpAddr, second: u32| {
            (0..2000).filter(|_| limiter.judge(at, 1, second) == Verdict::Send).count()
        };
        assert_eq!(sent(&mut limiter, asker, 10), 200);
        assert_eq!(sent(&mut limiter, neighbour, 10), 200);
        assert_eq!(sent(&mut limiter, asker, 11), 0, "a flood that goes on gets nothing");
        assert_eq!(limiter.judge(asker, 1, 60), Verdict::Send);
        assert_eq!(sent(&mut limiter, [127, 0, 0, 1].into(), 10), 2000, "this machine is exempt");
    }
}
