//! Three versions in one input, divided by NUL: merges end, swap, and leave whole objects.
#![no_main]

use content_lines::{Limits, merge};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let parts: Vec<&[u8]> = bytes.splitn(3, |byte| *byte == 0).collect();
    let [base, ours, theirs] = parts[..] else { return };
    let limits = Limits::default();
    for merge in [merge::icalendar, merge::vcard] {
        let one = merge(Some(base), ours, theirs, &limits);
        let other = merge(Some(base), theirs, ours, &limits);
        if let (Ok(one), Ok(other)) = (one, other) {
            assert_eq!(one.conflicts.len(), other.conflicts.len());
        }
    }
});
