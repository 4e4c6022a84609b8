use super::*;
use crate::zonefile;

fn engine() -> Engine {
    let engine = Engine::new([7; 16], b"ns1", None);
    let mut served = Served::default();
    for (origin, text) in [
        ("example.test.", "$TTL 5\n@ SOA a b 1 2 3 4 5\n@ NS a\na A 192.0.2.1\nsub NS a\nsub DS 1 13 2 00\n"),
        ("sub.example.test.", "$TTL 5\n@ SOA a b 1 2 3 4 5\n@ NS a\na A 192.0.2.2\n"),
    ] {
        let origin = Name::from_text(origin, None).unwrap();
        let zone = Zone::build(&origin, zonefile::parse(text, &origin, None).unwrap()).unwrap();
        served.put(&origin, Arc::new(Views::plain(Arc::new(zone))));
    }
    engine.served.publish(served);
    engine
}

fn ask(message: &[u8]) -> (Verdict, Vec<u8>) {
    let engine = engine();
    let mut desk = engine.desk(Limiter::off());
    engine.look_up(&mut desk, 1_000_000);
    let mut out = Vec::new();
    let asker = Asker { address: [192, 0, 2, 9].into(), stream: false };
    (engine.handle(&mut desk, message, asker, &mut out), out)
}

fn question(name: &[u8], rtype: u16, class: u16) -> Vec<u8> {
    [&[9, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], name, &rtype.to_be_bytes(), &class.to_be_bytes()].concat()
}

fn with_opt(mut message: Vec<u8>, version: u8, options: &[u8]) -> Vec<u8> {
    message[11] += 1;
    message.extend_from_slice(&[0, 0, 41, 0x10, 0, 0, version, 0x80, 0, 0, options.len() as u8]);
    message.extend_from_slice(options);
    message
}

const NAME: &[u8] = b"\x01a\x07example\x04test\0";

fn code(reply: &[u8]) -> u8 {
    reply[3] & 15
}

#[test]
fn rfc8906_8_1_unknown_types_classes_opcodes() {
    assert_eq!(code(&ask(&question(NAME, 65_280, 1)).1), 0);
    assert_eq!(code(&ask(&question(NAME, 1, 3)).1), 5);
    assert_eq!(code(&ask(&question(b"\x03org\0", 1, 1)).1), 5);
    let mut unknown = question(NAME, 1, 1);
    unknown[2] = 15 << 3;
    assert_eq!(code(&ask(&unknown).1), 4);
    let mut flags = question(NAME, 1, 1);
    flags[2] |= 0x06;
    flags[3] = 0xE0;
    let reply = ask(&flags).1;
    assert_eq!((reply[2], reply[3]), (0x85, 0), "AA and RD, no unknown flag comes back");
}

#[test]
fn rfc8906_8_2_edns() {
    let reply = ask(&with_opt(question(NAME, 1, 1), 0, &[0x12, 0x34, 0, 1, 7])).1;
    assert_eq!((code(&reply), reply[11]), (0, 1));
    assert!(
        reply.ends_with(&[0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0]),
        "unknown options do not come back, DO does"
    );
    let reply = ask(&with_opt(question(NAME, 1, 1), 1, &[])).1;
    assert!(
        reply.ends_with(&[0, 0, 41, 4, 208, 1, 0, 0x80, 0, 0, 0]) && reply[7] == 0,
        "BADVERS, nothing else"
    );
    let reply = ask(&with_opt(question(NAME, 1, 1), 0, &[0, 3, 0, 0])).1;
    assert!(reply.ends_with(b"\0\x03\0\x03ns1"), "NSID");
    assert_eq!(code(&ask(&with_opt(question(NAME, 1, 1), 0, &[0, 10, 0, 3, 1, 2, 3])).1), 1, "short cookie");
}

#[test]
fn rfc7873_cookie_without_question() {
    let bare = with_opt(vec![9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0, b"\0\x0A\0\x08abcdefgh");
    let (verdict, reply) = ask(&bare);
    assert_eq!((verdict, code(&reply), reply.len()), (Verdict::Reply, 0, 12 + 11 + 28));
}

#[test]
fn rfc4035_3_1_4_1_ds_comes_from_above() {
    let sub = b"\x03sub\x07example\x04test\0";
    assert_eq!(ask(&question(sub, 43, 1)).1[7], 1);
    let soa = ask(&question(sub, 6, 1)).1;
    assert_eq!((soa[7], soa[2] & 4), (1, 4));
}

#[test]
fn a_response_gets_no_answer_and_updates_are_not_for_a_static_zone() {
    let mut response = question(NAME, 1, 1);
    response[2] |= 0x80;
    assert_eq!(ask(&response).0, Verdict::Silence);
    let mut update = question(NAME, 6, 1);
    update[2] = 5 << 3;
    assert_eq!(code(&ask(&update).1), 4);
    assert_eq!(code(&ask(&question(NAME, 252, 1)).1), 5);
}

#[test]
fn networks_choose_the_view() {
    let engine = engine();
    let now = engine.served.now();
    let views = now.find(NAME, RecordType::A).unwrap();
    let mut home = (*views.public).clone();
    let name = Name::from_octets(NAME).unwrap();
    home.set(
        &name,
        RecordType::A,
        Some(crate::zone::Rrset::new(&home.origin, RecordType::A, 5, vec![vec![10, 0, 0, 1]])),
    );
    let views = Views { inside: vec![("10.0.0.0/8".parse().unwrap(), Arc::new(home))], ..(**views).clone() };
    let address = |from: [u8; 4]| {
        views.zone_for(from.into()).node(&name).unwrap().get(RecordType::A).unwrap().datas(&name).next()
    };
    assert_eq!(address([10, 1, 1, 1]), Some(vec![10, 0, 0, 1]));
    assert_eq!(address([192, 0, 2, 1]), Some(vec![192, 0, 2, 1]));
}

proptest::proptest! {
    #[test]
    fn any_datagram_is_survived_and_never_amplified_without_limit(mut octets in proptest::collection::vec(proptest::num::u8::ANY, 12..200)) {
        octets[2] &= 0x01;
        octets[4..12].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        let (_, out) = ask(&octets);
        proptest::prop_assert!(out.len() <= UDP_OCTETS_EDNS);
    }
}

#[test]
fn rfc8467_streams_are_padded_when_the_asker_pads() {
    let engine = engine();
    let mut desk = engine.desk(Limiter::off());
    let padded = with_opt(question(NAME, 1, 1), 0, &[0, 12, 0, 3, 0, 0, 0]);
    for (stream, octets) in [(true, 468), (false, 59)] {
        let mut out = Vec::new();
        let asker = Asker { address: [192, 0, 2, 9].into(), stream };
        engine.handle(&mut desk, &padded, asker, &mut out);
        assert_eq!(out.len(), octets);
        assert_eq!(hickory_proto::op::Message::from_vec(&out).unwrap().answers.len(), 1);
    }
}
