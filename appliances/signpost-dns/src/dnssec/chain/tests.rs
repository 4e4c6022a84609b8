use super::*;
use crate::dnssec::Algorithm;
use crate::update::SetChange;
use crate::zonefile;

const TEXT: &str = "$TTL 300\n@ SOA ns1 h 1 2 3 4 60\n@ NS ns1\nns1 A 192.0.2.1\na.b.c A 192.0.2.2\n*.w TXT x\n\
    sub NS ns.sub\nns.sub A 192.0.2.4\nsafe NS ns.sub\nsafe DS 1 13 2 00\nd DNAME t\n";

fn zone() -> Zone {
    let origin = Name::from_text("example.test.", None).unwrap();
    Zone::build(&origin, zonefile::parse(TEXT, &origin, None).unwrap()).unwrap()
}

fn signer(denial: Denial) -> Signer {
    let pkcs8 = ZoneKey::generate(Algorithm::Ed25519).unwrap();
    let key = vec![Arc::new(ZoneKey::from_pkcs8(Algorithm::Ed25519, 257, &pkcs8).unwrap())];
    Signer {
        published: key.clone(),
        key_signing: key.clone(),
        zone_signing: key.clone(),
        asked_of_parent: key,
        denial,
        key_ttl: 300,
        leaving: false,
        earlier: Arc::default(),
    }
}

/// The zone's records without signatures' values, which name the moment they were made.
fn shape(zone: &Zone) -> Vec<String> {
    let cut = |line: String| {
        if line.contains(" IN RRSIG ") { line.split(' ').take(9).collect::<Vec<_>>().join(" ") } else { line }
    };
    let mut lines: Vec<String> = zone.records().map(|record| cut(record.to_line())).collect();
    lines.sort();
    lines
}

fn lines(zone: &Zone, part: &str) -> Vec<String> {
    shape(zone).into_iter().filter(|line| line.contains(part)).collect()
}

#[test]
fn rfc4035_2_3_nsec_chain_is_a_ring_without_glue_or_empty_names() {
    let signed = signer(Denial::Nsec).sign_all(&zone(), 1_000_000);
    let ring: Vec<String> =
        lines(&signed, " IN NSEC ").iter().map(|line| line.replace("example.test.", "@")).collect();
    assert_eq!(
        ring,
        [
            "*.w.@ 60 IN NSEC @ TXT RRSIG NSEC",
            "a.b.c.@ 60 IN NSEC d.@ A RRSIG NSEC",
            "d.@ 60 IN NSEC ns1.@ DNAME RRSIG NSEC",
            "@ 60 IN NSEC a.b.c.@ NS SOA RRSIG NSEC DNSKEY CDS CDNSKEY",
            "ns1.@ 60 IN NSEC safe.@ A RRSIG NSEC",
            "safe.@ 60 IN NSEC sub.@ NS DS RRSIG NSEC",
            "sub.@ 60 IN NSEC *.w.@ NS RRSIG NSEC",
        ]
    );
    assert!(lines(&signed, "ns.sub.example.test. 300 IN RRSIG").is_empty(), "glue is not signed");
    assert!(lines(&signed, "sub.example.test. 300 IN RRSIG NS").is_empty(), "nor are the child's NS");
}

#[test]
fn rfc5155_7_1_nsec3_has_empty_names_too() {
    let signed = signer(Denial::Nsec3).sign_all(&zone(), 1_000_000);
    // apex, ns1, c, b.c, a.b.c, w, *.w, sub, safe, d
    assert_eq!(signed.nsec3_chain().len(), 10);
    assert_eq!(lines(&signed, "NSEC3PARAM 1 0 0 -").len(), 1);
}

/// A change signed in place must give what signing the changed zone whole gives.
#[test]
fn changes_signed_in_place_equal_the_whole_zone_signed() {
    let origin = zone().origin;
    let steps = [
        ("new", "A", "192.0.2.9"),
        ("x.y.z", "A", "192.0.2.9"),
        ("x.y.z", "A", ""),
        ("new", "A", ""),
        ("sub", "NS", ""),
        ("sub", "NS", "ns.sub"),
        ("c", "NS", "ns1"),
        ("c", "DS", "1 13 2 00"),
        ("c", "NS", ""),
        ("q.sub", "A", "192.0.2.7"),
        ("zz", "TXT", "last"),
        ("ns1", "AAAA", "2001:db8::1"),
        ("d", "DNAME", ""),
        ("e.f.d", "A", "192.0.2.8"),
        ("*.w", "TXT", ""),
        ("a.b.c", "A", ""),
    ];
    for denial in [Denial::Nsec, Denial::Nsec3] {
        let signer = signer(denial);
        let mut plain = zone();
        let mut signed = signer.sign_all(&plain, 1_000_000);
        for (name, rtype, text) in steps {
            let records = match text {
                "" => Vec::new(),
                text => zonefile::parse(&format!("{name} 300 {rtype} {text}\n"), &origin, None).unwrap(),
            };
            let change = SetChange {
                name: Name::from_text(name, Some(&origin)).unwrap(),
                rtype: RecordType::from_text(rtype).unwrap(),
                ttl: 300,
                datas: records.into_iter().map(|record| record.data).collect(),
            };
            plain.set(&change.name, change.rtype, change.rrset(&origin));
            signed.set(&change.name, change.rtype, change.rrset(&origin));
            signer.sign_touched(&mut signed, &[(change.name.clone(), change.rtype)], 1_000_000);
            assert_eq!(
                shape(&signed),
                shape(&signer.sign_all(&plain, 1_000_000)),
                "{denial:?} after {name} {rtype} {text:?}"
            );
        }
    }
}

#[test]
fn signatures_are_renewed_before_they_end() {
    let signer = signer(Denial::Nsec3);
    let mut signed = signer.sign_all(&zone(), 1_000_000);
    assert_eq!(signer.renew(&mut signed, 1_000_000, 1000), 0);
    let later = 1_000_000 + SIGNATURE_VALIDITY_S - SIGNATURE_RENEW_S + 1;
    assert!(signer.renew(&mut signed, later, 1000) >= 10);
    assert_eq!(signer.renew(&mut signed, later, 1000), 0);
}
