//! A delta and its base, the base's length first: what comes out is bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((length, rest)) = bytes.split_first() else { return };
    let (base, delta) = rest.split_at((*length as usize).min(rest.len()));
    if let Ok(result) = git_wire::delta::apply(base, delta, 1 << 16) {
        assert!(result.len() <= 1 << 16);
    }
});
