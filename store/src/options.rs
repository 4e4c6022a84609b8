//! How a store is opened.

use std::sync::Arc;
use std::time::SystemTime;

use crate::merge::Policies;

/// The clock that commits are dated by.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Settings of an open store. None of them is written down: the next open may choose others.
#[derive(Clone)]
pub struct Options {
    pub(crate) cache_bytes: usize,
    pub(crate) segment_bytes: u64,
    pub(crate) clock: Clock,
    pub(crate) policies: Policies,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            cache_bytes: 8 << 20,
            segment_bytes: 1 << 20,
            clock: Arc::new(SystemTime::now),
            policies: Policies::default(),
        }
    }
}

impl Options {
    /// The defaults: 8 MB of cache, the system's clock, no merge policies.
    pub fn new() -> Options {
        Options::default()
    }

    /// How many bytes of objects, and of the index, are kept in memory, half each. 1 MB will do in a small machine.
    pub fn cache_bytes(mut self, bytes: usize) -> Options {
        self.cache_bytes = bytes;
        self
    }

    /// By how much a file grows at a time, at creation: between 32 kB and 64 MB, whole sectors. Small for tests.
    pub fn segment_bytes(mut self, bytes: u64) -> Options {
        self.segment_bytes = bytes.clamp(32 << 10, 64 << 20) / 512 * 512;
        self
    }

    /// Where the time comes from.
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Options {
        self.clock = Arc::new(clock);
        self
    }

    /// How files under a path are merged; the longest matching rule wins. See [`crate::merge`].
    pub fn merge(mut self, rule: crate::merge::Rule, policy: impl crate::merge::Merge + 'static) -> Options {
        self.policies.add(rule, Arc::new(policy));
        self
    }
}
