//! What a program sets of a TCP connection.

/// What is set before a connection exists, and inherited from a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// TCP_NODELAY.
    pub nodelay: bool,
    /// SO_KEEPALIVE.
    pub keepalive: bool,
    /// TCP_KEEPIDLE: seconds between probes. smoltcp goes by them alone, and gives up by its own time-out.
    pub keep_idle_s: u32,
    /// TCP_KEEPINTVL, seconds.
    pub keep_interval_s: u32,
    /// TCP_KEEPCNT.
    pub keep_probes: u32,
    /// IP_TTL or IPV6_UNICAST_HOPS, not 0.
    pub hop_limit: Option<u8>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            nodelay: false,
            keepalive: false,
            keep_idle_s: 7200,
            keep_interval_s: 75,
            keep_probes: 9,
            hop_limit: None,
        }
    }
}
