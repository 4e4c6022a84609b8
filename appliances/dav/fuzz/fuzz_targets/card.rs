//! Cards: any is summed up or refused; what is converted is a card of that version, and converting it again changes nothing.
#![no_main]

use dav::card::convert::{Version, convert};
use dav::card::person::Person;
use dav::household::summary::Summary;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Summary::of_card(bytes, 0);
    let _ = Summary::of_calendar(bytes, 0);
    let Ok(cards) = dav::reading::read(bytes) else { return };
    for card in cards.iter().filter(|card| card.name == "VCARD") {
        Person::of(card);
        for version in [Version::V3, Version::V4] {
            let Some(text) = convert(card, version) else { continue };
            let again = dav::reading::read(text.as_bytes()).expect("what we write is a card");
            assert!(convert(&again[0], version).is_none(), "{text}");
        }
    }
});
