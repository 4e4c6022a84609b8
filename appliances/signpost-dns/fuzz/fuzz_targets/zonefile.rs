//! Master files: text is read or refused, and what was read prints and reads back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signpost_dns::name::Name;
use signpost_dns::zonefile;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let origin = Name::from_text("t.", None).unwrap();
    if let Ok(records) = zonefile::parse(text, &origin, Some(5)) {
        assert_eq!(zonefile::parse(&zonefile::print(&records), &origin, None), Ok(records));
    }
});
