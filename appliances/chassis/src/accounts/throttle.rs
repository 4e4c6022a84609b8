//! How many wrong passwords one network may try. Pure: the time is an argument.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::limits;
use crate::listen::network;

/// Failed logins by network, as buckets that refill. A network from which an account logged in before has a bucket of its
/// own for that account, so that a neighbour's guessing does not lock its owner out.
#[derive(Debug, Default)]
pub struct Throttle {
    buckets: HashMap<Key, Bucket>,
}

type Key = (IpAddr, Option<String>);

#[derive(Debug)]
struct Bucket {
    failures: u32,
    changed: Instant,
}

impl Throttle {
    /// May this network try now? Otherwise: how long it must wait.
    pub fn may_try(&mut self, address: IpAddr, user: &str, now: Instant) -> Result<(), Duration> {
        let key = self.key(address, user);
        let Some(bucket) = self.buckets.get_mut(&key) else { return Ok(()) };
        bucket.refill(now);
        if bucket.failures < limits::FAILURES_BURST {
            return Ok(());
        }
        Err(limits::FAILURE_INTERVAL.saturating_sub(now.saturating_duration_since(bucket.changed)))
    }

    /// A wrong password came from there.
    pub fn failed(&mut self, address: IpAddr, user: &str, now: Instant) {
        self.make_room(now);
        let key = self.key(address, user);
        let bucket = self.buckets.entry(key).or_insert(Bucket { failures: 0, changed: now });
        bucket.refill(now);
        bucket.failures = (bucket.failures + 1).min(limits::FAILURES_BURST);
        if bucket.failures == 1 {
            bucket.changed = now;
        }
    }

    /// The right password came from there.
    pub fn succeeded(&mut self, address: IpAddr, user: &str, now: Instant) {
        self.make_room(now);
        let own = (network(address), Some(user.to_owned()));
        self.buckets.insert(own, Bucket { failures: 0, changed: now });
    }

    fn key(&self, address: IpAddr, user: &str) -> Key {
        let own = (network(address), Some(user.to_owned()));
        if self.buckets.contains_key(&own) { own } else { (own.0, None) }
    }

    /// Forgets what has refilled, and if that is not enough, what is oldest.
    fn make_room(&mut self, now: Instant) {
        if self.buckets.len() < limits::FAILURE_NETWORKS_MAX {
            return;
        }
        self.buckets.retain(|_, bucket| {
            bucket.refill(now);
            bucket.failures > 0
        });
        while self.buckets.len() >= limits::FAILURE_NETWORKS_MAX {
            let oldest =
                self.buckets.iter().min_by_key(|(_, bucket)| bucket.changed).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { return };
            self.buckets.remove(&oldest);
        }
    }
}

impl Bucket {
    fn refill(&mut self, now: Instant) {
        while self.failures > 0 && now.saturating_duration_since(self.changed) >= limits::FAILURE_INTERVAL {
            self.failures -= 1;
            self.changed += limits::FAILURE_INTERVAL;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn guessing_slows_to_one_per_interval() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        for _ in 0..limits::FAILURES_BURST {
            assert!(throttle.may_try(HERE, "anna", start).is_ok());
            throttle.failed(HERE, "anna", start);
        }
        let wait = throttle.may_try(HERE, "ben", start).unwrap_err();
        assert_eq!(wait, limits::FAILURE_INTERVAL);
        assert!(throttle.may_try(HERE, "anna", start + wait).is_ok());
        throttle.failed(HERE, "anna", start + wait);
        assert!(throttle.may_try(HERE, "anna", start + wait).is_err());
        assert!(throttle.may_try("192.0.2.2".parse().unwrap(), "anna", start).is_ok());
    }

    #[test]
    fn a_known_user_is_not_locked_out_by_neighbours() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        throttle.succeeded(HERE, "anna", now);
        for n in 0..50 {
            throttle.failed(HERE, &format!("user{n}"), now);
        }
        assert!(throttle.may_try(HERE, "anna", now).is_ok());
        assert!(throttle.may_try(HERE, "ben", now).is_err());
    }

    #[test]
    fn memory_is_bounded() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        for n in 0..(limits::FAILURE_NETWORKS_MAX as u32 + 100) {
            throttle.failed(IpAddr::from(n.to_be_bytes()), "x", now);
        }
        assert!(throttle.buckets.len() <= limits::FAILURE_NETWORKS_MAX);
    }
}
