//! Names in messages: compression that loops, points forwards or is too long is refused; what is read is a name, and its
//! text reads back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signpost_dns::name::Name;

fuzz_target!(|bytes: &[u8]| {
    let Some((&start, message)) = bytes.split_first() else { return };
    let mut at = usize::from(start);
    if let Ok(name) = Name::from_message(message, &mut at) {
        assert!(at <= message.len() && name.octets().len() <= 255);
        assert_eq!(Name::from_text(&name.to_string(), None).as_ref(), Ok(&name));
        assert!(name.order_key().len() <= 2 * 255);
    }
});
