//! How much one network may bring without logging in: buckets that refill with time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

/// Networks that are remembered; beyond it the fullest buckets are forgotten first.
const NETWORKS_MAX: usize = 10_000;

/// Buckets of messages by network.
#[derive(Debug, Default)]
pub struct Rates(Mutex<HashMap<IpAddr, Bucket>>);

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at_ms: u64,
}

impl Rates {
    /// Takes one message out of the bucket of a network that refills at `per_hour`; `false` when it is empty.
    pub fn take(&self, network: IpAddr, per_hour: u32, now_ms: u64) -> bool {
        let full = f64::from(per_hour);
        let mut buckets = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if buckets.len() >= NETWORKS_MAX && !buckets.contains_key(&network) {
            buckets.retain(|_, b| refilled(b, full, now_ms) < full * 0.9);
            if buckets.len() >= NETWORKS_MAX {
                return false;
            }
        }
        let bucket = buckets.entry(network).or_insert(Bucket { left: full, at_ms: now_ms });
        bucket.left = refilled(bucket, full, now_ms);
        bucket.at_ms = now_ms;
        if bucket.left < 1.0 {
            return false;
        }
        bucket.left -= 1.0;
        true
    }
}

fn refilled(bucket: &Bucket, full: f64, now_ms: u64) -> f64 {
    let hours = now_ms.saturating_sub(bucket.at_ms) as f64 / 3_600_000.0;
    (bucket.left + hours * full).min(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_refills() {
        let rates = Rates::default();
        let one = IpAddr::from([192, 0, 2, 1]);
        assert!((0..10).all(|_| rates.take(one, 10, 0)));
        assert!(!rates.take(one, 10, 0));
        assert!(rates.take(IpAddr::from([192, 0, 2, 2]), 10, 0));
        assert!(rates.take(one, 10, 360_000));
        assert!(!rates.take(one, 10, 360_000));
    }
}
