//! XML bodies: any bytes are read or refused, and what was read is written and read back the same.
#![no_main]

use dav::xml::read::read;
use dav::xml::write::standalone;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(root) = read(bytes) else { return };
    let text = standalone(&root);
    let again = read(text.as_bytes()).expect("what we write is XML");
    assert_eq!(standalone(&again), text);
});
