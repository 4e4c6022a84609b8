//! A datagram from anybody: names, compression, EDNS. Whatever it is, the reply is a message of at most 1232 octets that
//! answers it, and never an answer to a response.
#![no_main]

use std::cell::RefCell;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use signpost_dns::engine::{Asker, Engine, Served, Verdict, Views};
use signpost_dns::name::Name;
use signpost_dns::rrl::Limiter;
use signpost_dns::zone::Zone;
use signpost_dns::zonefile;

const TEXT: &str = "$TTL 300\n@ SOA ns1 h 1 2 3 4 60\n@ NS ns1\nns1 A 192.0.2.1\na.b.c A 192.0.2.2\n*.w A 192.0.2.3\n\
    sub NS ns.sub\nns.sub A 192.0.2.4\nwww CNAME a.b.c\nd DNAME c\nl CNAME m\nm CNAME l\nt TXT x\n";

thread_local! {
    static ENGINE: RefCell<Engine> = RefCell::new(engine());
}

fn engine() -> Engine {
    let origin = Name::from_text("t.", None).unwrap();
    let zone = Zone::build(&origin, zonefile::parse(TEXT, &origin, None).unwrap()).unwrap();
    let engine = Engine::new([7; 16], b"fuzz", None);
    let mut served = Served::default();
    served.put(&origin, Arc::new(Views::plain(Arc::new(zone))));
    engine.served.publish(served);
    engine
}

fuzz_target!(|bytes: &[u8]| {
    ENGINE.with_borrow(|engine| {
        let mut desk = engine.desk(Limiter::off());
        engine.look_up(&mut desk, 1000);
        let mut out = Vec::new();
        let asker = Asker { address: [192, 0, 2, 9].into(), stream: false };
        if engine.handle(&mut desk, bytes, asker, &mut out) == Verdict::Reply {
            assert!(bytes[2] & 0x80 == 0 && out.len() <= 1232 && out[..2] == bytes[..2] && out[2] & 0x80 != 0);
            assert!(out.len() <= 512 || bytes[10..12] != [0, 0], "more than 512 octets take EDNS");
            let mut stream = Vec::new();
            engine.handle(&mut desk, bytes, Asker { stream: true, ..asker }, &mut stream);
        }
    });
});
