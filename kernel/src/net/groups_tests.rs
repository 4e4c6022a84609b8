use super::*;
use proptest::prelude::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A question of a router's, of the second version with `more` bytes after the group.
pub fn question(code: u16, group: Ipv6Addr, more: usize) -> Vec<u8> {
    let [high, low] = code.to_be_bytes();
    let mut message = vec![QUERY, 0, 0, 0, high, low, 0, 0];
    message.extend(group.octets());
    message.resize(message.len() + more, 0);
    frame(MAC, ROUTER, ALL_NODES, &message)
}

#[test]
fn rfc3810_5_2_a_report_has_this_form() {
    let group = solicited_node("fd00::1:2:3:4".parse().unwrap());
    let mut report = Report::new();
    report.add(Says::Enters, group);
    let bytes = frame(MAC, ROUTER, ALL_LISTENERS, &report.finish());
    assert_eq!(bytes[..6], [0x33, 0x33, 0, 0, 0, 0x16]);
    let packet = &bytes[14..];
    assert_eq!((packet[6], packet[7]), (0, 1), "a hop-by-hop header, not to be routed");
    assert_eq!(packet[40..48], [58, 0, 5, 2, 0, 0, 1, 0], "the router alert");
    assert_eq!((packet[48], &packet[54..56]), (143, &[0, 1][..]));
    assert_eq!(packet[56..60], [4, 0, 0, 0], "to exclude nobody is to enter");
    assert_eq!(packet[60..], group.octets());
    assert!(Icmpv6Packet::new_checked(&packet[48..]).unwrap().verify_checksum(&ROUTER, &ALL_LISTENERS));
}

#[test]
fn rfc3810_5_1_questions_of_both_versions_are_read() {
    let any = Ipv6Addr::UNSPECIFIED;
    assert_eq!(query(&question(1000, any, 4)), Some(Query { group: any, delay_max_ms: 1000, first: false }));
    assert_eq!(query(&question(1000, any, 0)), Some(Query { group: any, delay_max_ms: 1000, first: true }));
    // 0x9004: exponent 1, mantissa 4.
    let long = Query { group: any, delay_max_ms: DELAY_MAX_MS, first: false };
    assert_eq!(query(&question(0x9004, any, 4)), Some(long));
    // A question from afar, and one whose checksum is wrong.
    for at in [14 + 7, 14 + 8, 14 + 48 + 5] {
        let mut other = question(1000, any, 4);
        other[at] ^= 0x40;
        assert_eq!(query(&other), None, "octet {at}");
    }
}

proptest! {
    #[test]
    fn no_frame_makes_it_fall(tail in proptest::collection::vec(any::<u8>(), 0..90), cut in 0..90_usize) {
        let mut bytes = question(10, ROUTER, 4);
        bytes.truncate(cut);
        bytes.extend(tail);
        let _ = query(&bytes);
    }
}
