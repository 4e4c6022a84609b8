use super::*;
use crate::zonefile;

const TEXT: &str = "$TTL 300\n@ SOA ns1 h 1 2 3 4 60\n@ NS ns1\nns1 A 192.0.2.1\na.b.c A 192.0.2.2\n*.w A 192.0.2.3\n\
    sub NS ns.sub\nns.sub A 192.0.2.4\nd DNAME x.test.\n";

fn zone() -> Zone {
    let origin = Name::from_text("example.test.", None).unwrap();
    Zone::build(&origin, zonefile::parse(TEXT, &origin, None).unwrap()).unwrap()
}

fn found(zone: &Zone, name: &str, rtype: RecordType) -> String {
    let lower = Name::from_text(name, Some(&zone.origin)).unwrap().lower();
    match zone.lookup(lower.octets(), rtype) {
        Found::Exact(node) => format!("exact {} {}", node.name, node.rrsets.len()),
        Found::Cut(node) => format!("cut {}", node.name),
        Found::Dname(node) => format!("dname {}", node.name),
        Found::Wildcard(node, at) => format!("wildcard {} {at}", node.name),
        Found::Nothing(at) => format!("nothing {at}"),
    }
}

#[test]
fn rfc1034_4_3_2_lookup() {
    let zone = zone();
    for (name, rtype, expected) in [
        ("@", RecordType::A, "exact example.test. 2"),
        ("A.b.C", RecordType::A, "exact a.b.c.example.test. 1"),
        ("b.c", RecordType::A, "exact b.c.example.test. 0"),
        ("x.b.c", RecordType::A, "nothing 2"),
        ("x.w", RecordType::A, "wildcard *.w.example.test. 2"),
        ("y.x.w", RecordType::A, "wildcard *.w.example.test. 4"),
        ("x.y.sub", RecordType::A, "cut sub.example.test."),
        ("sub", RecordType::DS, "exact sub.example.test. 1"),
        ("x.sub", RecordType::DS, "cut sub.example.test."),
        ("d", RecordType::A, "exact d.example.test. 1"),
        ("e.d", RecordType::A, "dname d.example.test."),
    ] {
        assert_eq!(found(&zone, name, rtype), expected, "{name}");
    }
}

#[test]
fn empty_non_terminals_come_and_go() {
    let mut zone = zone();
    let name = Name::from_text("a.b.c.example.test.", None).unwrap();
    let before = zone.len();
    let set = zone.node(&name).unwrap().get(RecordType::A).cloned();
    let old = zone.clone();
    zone.set(&name, RecordType::A, None);
    assert_eq!(zone.len(), before - 3);
    assert_eq!(old.len(), before, "a copy stays what it was");
    zone.set(&name, RecordType::A, set);
    assert_eq!(zone.len(), before);
    assert_eq!(zone.records().count(), old.records().count());
}

#[test]
fn what_is_no_zone_is_refused() {
    let origin = Name::from_text("example.test.", None).unwrap();
    for (extra, fault) in [
        ("x CNAME y\nx A 192.0.2.1\n", "CNAME beside"),
        ("x.d A 192.0.2.1\n", "below the DNAME"),
        ("x SOA a b 1 2 3 4 5\n", "exactly one SOA"),
        ("x CNAME y\nx CNAME z\n", "more than one CNAME"),
        ("x.other. A 192.0.2.1\n", "not within"),
    ] {
        let records = zonefile::parse(&format!("{TEXT}{extra}"), &origin, None).unwrap();
        let error = Zone::build(&origin, records).unwrap_err().to_string();
        assert!(error.contains(fault), "{error}");
    }
    assert!(matches!(Zone::build(&origin, Vec::new()), Err(ZoneFault::Soa(_))));
}

proptest::proptest! {
    #[test]
    fn sorted_and_hashed_are_maps(steps in proptest::collection::vec((0u16..600, proptest::bool::ANY), 0..900)) {
        #[derive(Debug)]
        struct Two([u8; 2]);
        impl Keyed for Two { fn key(&self) -> &[u8] { &self.0 } }
        let (mut sorted, mut hashed, mut model) = (Sorted::default(), Hashed::for_about(1), std::collections::BTreeSet::new());
        for (number, keep) in steps {
            let key = number.to_be_bytes();
            let hash = hash_octets(&key) % 97;
            if keep {
                sorted.put(Arc::new(Two(key)));
                hashed.put(hash, Arc::new(Two(key)), |one: &Two| one.0 == key);
                model.insert(key);
            } else {
                sorted.remove(&key);
                hashed.remove(hash, |one| one.0 == key);
                model.remove(&key);
            }
        }
        proptest::prop_assert_eq!(sorted.iter().map(|one| one.0).collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
        proptest::prop_assert_eq!(sorted.len(), model.len());
        for number in (0u16..600).step_by(37) {
            let key = number.to_be_bytes();
            proptest::prop_assert_eq!(hashed.get(hash_octets(&key) % 97, |one| one.0 == key).is_some(), model.contains(&key));
            proptest::prop_assert_eq!(sorted.before(&key).next().map(|one| one.0), model.range(..key).next_back().copied());
            proptest::prop_assert_eq!(sorted.after(&key).next().map(|one| one.0), model.range((std::ops::Bound::Excluded(key), std::ops::Bound::Unbounded)).next().copied());
        }
    }
}
