//! Any bytes come out as they went in, and every line can be looked at and edited.
#![no_main]

use content_lines::{Document, Limits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut document) = Document::parse(bytes, &Limits::default()) else { return };
    assert_eq!(document.to_bytes(), bytes);
    for index in 0..document.lines().len().min(20) {
        let line = &document.lines()[index];
        let _ = (line.value_decoded(), line.parameter_values("TYPE"));
        if document.set_value(index, b"value").is_ok() {
            assert_eq!(document.lines()[index].value(), b"value");
        }
        let _ = document.set_parameter(index, "X-P", &["a,b"]);
    }
});
