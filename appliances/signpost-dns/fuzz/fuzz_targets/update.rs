//! An UPDATE, whatever it asks: the zone stays a zone, with its SOA and NS.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signpost_dns::message::Message;
use signpost_dns::name::Name;
use signpost_dns::record::RecordType;
use signpost_dns::update::work_out;
use signpost_dns::zone::Zone;
use signpost_dns::zonefile;

const TEXT: &str = "$TTL 300\n@ SOA ns1 h 1 2 3 4 60\n@ NS ns1\n@ NS ns2\nns1 A 192.0.2.1\na.b.c A 192.0.2.2\nwww CNAME ns1\n";

fuzz_target!(|bytes: &[u8]| {
    let origin = Name::from_text("t.", None).unwrap();
    let mut zone = Zone::build(&origin, zonefile::parse(TEXT, &origin, None).unwrap()).unwrap();
    // The header and the zone section are given, so that the fuzzer gets to the records at once.
    let Some((counts, rest)) = bytes.split_first_chunk::<2>() else { return };
    let mut message = vec![0, 1, 0x28, 0, 0, 1, 0, counts[0] & 7, 0, counts[1] & 15, 0, 0, 1, b't', 0, 0, 6, 0, 1];
    message.extend_from_slice(rest);
    let Ok(update) = Message::parse(&message) else { return };
    let Ok(changes) = work_out(&zone, &update, |_, _| true) else { return };
    for change in &changes {
        assert!(change.name.is_within(&origin));
        zone.set(&change.name, change.rtype, change.rrset(&origin));
    }
    let apex = zone.apex();
    assert!(apex.get(RecordType::SOA).is_some() && apex.get(RecordType::NS).is_some());
});
