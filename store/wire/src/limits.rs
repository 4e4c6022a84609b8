//! Bounds on what peers may make us do. Git's own are named where it has one.

/// How much one request may ask for or bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Objects in one pack that we receive. 45 bytes of memory each.
    pub objects_max: u32,
    /// Size of one object; larger ones are refused (receive.maxInputSize is Git's nearest).
    pub object_bytes_max: u64,
    /// Objects up to this size pass through memory. Larger blobs are streamed; larger commits, trees and tags refused.
    pub memory_bytes_max: u64,
    /// Size of a delta's base, of its result and of the delta itself up to which all of them lie in memory at once. Where
    /// one is larger, the base is spooled and the result made piece by piece; only a delta that itself is larger and comes
    /// before its base, as Git sends none, is refused.
    pub delta_bytes_max: u64,
    /// Deltas on deltas inside a pack; Git makes 50 and allows 4,095.
    pub delta_depth_max: u16,
    /// Inflated bytes of all objects of one pack, deltas applied.
    pub total_bytes_max: u64,
    /// Bytes of deltas that wait for a base which comes later in the pack.
    pub waiting_bytes_max: u64,
    /// Lines of one request: wants, haves, prefixes, commands.
    pub lines_max: usize,
    /// Components of a path, trees inside trees.
    pub tree_depth_max: usize,
    /// Paths that a hook is shown for one ref; above, it is told that there are more.
    pub changed_paths_max: usize,
    /// Objects in one pack that we send. 40 bytes of memory each.
    pub sent_objects_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            objects_max: 4_000_000,
            object_bytes_max: 1 << 30,
            memory_bytes_max: 8 << 20,
            delta_bytes_max: 16 << 20,
            delta_depth_max: 4_095,
            total_bytes_max: 64 << 30,
            waiting_bytes_max: 16 << 20,
            lines_max: 200_000,
            tree_depth_max: 512,
            changed_paths_max: 10_000,
            sent_objects_max: 20_000_000,
        }
    }
}
