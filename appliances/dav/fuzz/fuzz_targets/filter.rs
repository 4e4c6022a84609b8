//! A filter and an object, divided by NUL: asking ends, whatever either is.
#![no_main]

use dav::calendar::data::DataWanted;
use dav::calendar::filter::CompFilter;
use dav::calendar::zone::Zone;
use dav::card::data::AddressWanted;
use dav::card::filter::CardFilter;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(middle) = bytes.iter().position(|byte| *byte == 0) else { return };
    let (filter, object) = (&bytes[..middle], &bytes[middle + 1..]);
    let (Ok(filter), Ok(objects)) = (dav::xml::read::read(filter), dav::reading::read(object)) else { return };
    let Some(one) = objects.first() else { return };
    if let Ok(filter) = CompFilter::of(&filter) {
        filter.matches(one, &Zone::UTC);
    }
    if let Ok(filter) = CardFilter::of(&filter) {
        filter.matches(one);
    }
    if let Ok(wanted) = DataWanted::of(&filter) {
        let _ = wanted.render(object, one, &Zone::UTC, &mut 1_000);
    }
    if let Ok(wanted) = AddressWanted::of(&filter) {
        wanted.render(object, one);
    }
});
