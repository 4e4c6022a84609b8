//! How much one network may bring without logging in: buckets of messages that refill with time, and a bound on
//! connections.

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

/// Connections by network.
#[derive(Debug, Default)]
pub struct Crowd(Mutex<HashMap<IpAddr, usize>>);

/// A place in the crowd; given back when dropped.
#[derive(Debug)]
pub struct Place<'a> {
    crowd: &'a Crowd,
    network: IpAddr,
}

impl Crowd {
    /// A place for one more connection of a network; nothing where it has `max`.
    pub fn enter(&self, network: IpAddr, max: usize) -> Option<Place<'_>> {
        let mut counts = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let count = counts.entry(network).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Place { crowd: self, network })
    }

    /// Connections in all.
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).values().sum()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut counts = self.crowd.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
    }
}

/// The network around an address: /24, or /48 of IPv6, as providers give them out.
pub fn wider(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            IpAddr::from([a, b, c, 0])
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            IpAddr::from([a, b, c, 0, 0, 0, 0, 0])
        }
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
    fn a_crowd_is_bounded_by_network_and_places_come_back() {
        let crowd = Crowd::default();
        let one = IpAddr::from([192, 0, 2, 1]);
        let places: Vec<_> = (0..3).filter_map(|_| crowd.enter(one, 2)).collect();
        assert_eq!((places.len(), crowd.len()), (2, 2));
        assert!(crowd.enter(IpAddr::from([192, 0, 2, 2]), 2).is_some());
        drop(places);
        assert_eq!(crowd.len(), 0);
        assert_eq!(wider("2001:db8:1:2::3".parse().unwrap()).to_string(), "2001:db8:1::");
    }

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
