//! A TSIG record behind a message: without the key nothing verifies, and a rejection can be said.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signpost_dns::name::Name;
use signpost_dns::query::{self, Incoming};
use signpost_dns::tsig::{Algorithm, Key, reject, verify};

fuzz_target!(|bytes: &[u8]| {
    let key = Key::new(Name::from_text("k.", None).unwrap(), Algorithm::Sha256, b"a secret that is not in the corpus");
    let Incoming::Query(query) = query::read(bytes) else { return };
    let Some(at) = query.signature_at else { return };
    match verify(bytes, at, |name| (*name == key.name).then_some(&key), 1_700_000_000) {
        Ok(_) => panic!("somebody guessed the key"),
        Err(rejected) => {
            let mut reply = signpost_dns::message::bare_reply(bytes, query.question_end, rejected.rcode);
            reject(&mut reply, &rejected, |_| Some(&key), 1_700_000_000);
            assert!(reply.len() <= bytes.len() + 512);
        }
    }
});
