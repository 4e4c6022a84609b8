//! Rules and whole series: what is read says itself again, and instances come in order, within bounds.
#![no_main]

use dav::calendar::civil::Civil;
use dav::calendar::rule::Rule;
use dav::calendar::series::series_of;
use dav::calendar::words::in_words;
use dav::calendar::zone::Zone;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(rule) = Rule::parse(&text) {
        let again = Rule::parse(&rule.to_string()).expect("a rule that we wrote");
        assert_eq!(again.to_string(), rule.to_string());
        in_words(&rule, Civil(0));
    }
    let Ok(objects) = dav::reading::read(bytes) else { return };
    for object in &objects {
        for series in series_of(object).unwrap_or_default() {
            let Ok(found) = series.instances(Civil(0), Civil(4_000_000_000), &Zone::UTC, 500) else { continue };
            assert!(found.len() <= 500 && found.windows(2).all(|pair| pair[0].start <= pair[1].start));
            assert!(found.iter().all(|one| one.end >= one.start));
        }
    }
});
