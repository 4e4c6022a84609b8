//! Acknowledgements: those that come, shown to smoltcp in parts, and how long ours may wait.

use smoltcp::time::Duration;

/// An acknowledgement of many segments in this many parts at most.
const ACKNOWLEDGED_PARTS_MAX: u32 = 8;

/// The parts in which an acknowledgement that came after `before` is shown to smoltcp, without the last one. It widens its
/// congestion window by one segment for each acknowledgement, whatever that covers; a peer that acknowledges super-frames
/// would starve it. RFC 3465 counts bytes, up to a limit, and so do these parts.
pub fn parts(before: u32, acknowledged: u32, segment_bytes: usize) -> impl Iterator<Item = u32> {
    let bytes = acknowledged.wrapping_sub(before);
    let count = match u32::try_from(segment_bytes) {
        // What is older than the last one acknowledges nothing.
        Ok(segment) if segment > 0 && bytes < 1 << 30 => (bytes / segment).min(ACKNOWLEDGED_PARTS_MAX),
        _ => 0,
    };
    (1..count)
        .map(move |part| before.wrapping_add((u64::from(bytes) * u64::from(part) / u64::from(count)) as u32))
}

/// How long an acknowledgement may wait for an answer to ride on, or for a second segment (RFC 9293 SHLD-19).
const DELAY: Duration = Duration::from_millis(10);
/// The same for what came as a super-frame: its sender may wait for nothing else.
const SUPER_FRAME_DELAY: Duration = Duration::from_millis(1);
/// So many super-frames of a connection are acknowledged at once: its sender has just begun, and may send few before the
/// acknowledgement comes.
const QUICK_SUPER_FRAMES: u32 = 16;

/// How long a connection's acknowledgements may wait.
#[derive(Debug, Default)]
pub struct Patience {
    super_frames: u32,
}

impl Patience {
    /// How long the acknowledgement of a segment may wait that carries so much and stands for segments of so much.
    pub fn delay(&mut self, payload_bytes: usize, segment_bytes: usize) -> Duration {
        if payload_bytes < 2 * segment_bytes {
            DELAY
        } else if self.super_frames < QUICK_SUPER_FRAMES {
            self.super_frames += 1;
            Duration::ZERO
        } else {
            SUPER_FRAME_DELAY
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn rfc3465_an_acknowledgement_of_many_segments_counts_as_some() {
        let parts = |before, now| parts(before, now, 1000).collect::<Vec<u32>>();
        assert_eq!(parts(0, 4000), [1000, 2000, 3000]);
        assert_eq!(parts(u32::MAX - 999, 1000), [0]);
        assert_eq!(parts(0, 64_000).len(), 7, "no more than eight with the last one");
        assert_eq!([parts(0, 1999), parts(5, 5), parts(5000, 1000)], [[0; 0]; 3], "small, none, old");
    }
}
