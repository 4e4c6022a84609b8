use super::*;
use crate::query::{self, Incoming};
use crate::record::Record;
use crate::zonefile;
use hickory_proto::op::Message;

const TEXT: &str = "$TTL 300\n@ SOA ns1 h 1 2 3 4 60\n@ NS ns1\n@ MX 10 mail\nns1 A 192.0.2.1\na.b.c A 192.0.2.2\n\
    mail A 192.0.2.25\nmail AAAA 2001:db8::1\n*.w A 192.0.2.3\nsub NS ns.sub\nsub NS ns1\nns.sub A 192.0.2.4\n\
    d DNAME t\nx.t A 192.0.2.9\nwww CNAME mail\nout CNAME example.org.\nl1 CNAME l2\nl2 CNAME l1\n*.cw CNAME mail\n\
    bad CNAME gone\nlong DNAME aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb.test.\n";

fn zone() -> Zone {
    let origin = Name::from_text("example.test.", None).unwrap();
    Zone::build(&origin, zonefile::parse(TEXT, &origin, None).unwrap()).unwrap()
}

fn ask_limited(zone: &Zone, name: &str, rtype: RecordType, limit: usize) -> Message {
    let name = Name::from_text(name, Some(&zone.origin)).unwrap();
    let message =
        [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], name.octets(), &rtype.0.to_be_bytes(), &[0, 1]].concat();
    let Incoming::Query(query) = query::read(&message) else { panic!("not a question") };
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, &query, &zone.origin, limit);
    let code = answer(zone, &query, &mut writer);
    writer.finish(&query, code, &[]);
    Message::from_vec(&out).unwrap()
}

/// Response code and flags, then each section's records as lines.
fn ask(name: &str, rtype: RecordType) -> String {
    let reply = ask_limited(&zone(), name, rtype, 1232);
    let mut text = format!("{:?} aa={}", reply.metadata.response_code, reply.metadata.authoritative);
    for section in [&reply.answers, &reply.authorities, &reply.additionals] {
        text += "; ";
        let lines: Vec<String> = section
            .iter()
            .map(|record| format!("{} {} {}", record.name, record.record_type(), record.data))
            .collect();
        text += &lines.join(", ");
    }
    text
}

const SOA: &str = "example.test. SOA ns1.example.test. h.example.test. 1 2 3 4 60";

#[test]
fn positive_answers_are_minimal_and_keep_the_asked_case() {
    assert_eq!(ask("MaIl", RecordType::A), "NoError aa=true; MaIl.example.test. A 192.0.2.25; ; ");
    assert_eq!(ask("@", RecordType::MX), "NoError aa=true; example.test. MX 10 mail.example.test.; ; ");
    assert_eq!(ask("mail", RecordType::ANY), "NoError aa=true; mail.example.test. A 192.0.2.25; ; ");
}

#[test]
fn rfc2308_negative_answers() {
    assert_eq!(ask("nx", RecordType::A), format!("NXDomain aa=true; ; {SOA}; "));
    assert_eq!(ask("mail", RecordType::MX), format!("NoError aa=true; ; {SOA}; "));
    assert_eq!(ask_limited(&zone(), "nx", RecordType::A, 512).authorities[0].ttl, 60);
}

#[test]
fn rfc8020_nothing_below_what_is_not() {
    assert_eq!(ask("a.nx", RecordType::A), format!("NXDomain aa=true; ; {SOA}; "));
    assert_eq!(
        ask("b.c", RecordType::A),
        format!("NoError aa=true; ; {SOA}; "),
        "an empty non-terminal exists"
    );
}

#[test]
fn rfc4592_wildcards() {
    assert_eq!(ask("Q.w", RecordType::A), "NoError aa=true; Q.w.example.test. A 192.0.2.3; ; ");
    assert_eq!(ask("q.w", RecordType::AAAA), format!("NoError aa=true; ; {SOA}; "));
    assert_eq!(ask("*.w", RecordType::A), "NoError aa=true; *.w.example.test. A 192.0.2.3; ; ");
    assert_eq!(
        ask("q.cw", RecordType::A),
        "NoError aa=true; q.cw.example.test. CNAME mail.example.test., mail.example.test. A 192.0.2.25; ; "
    );
}

#[test]
fn cname_chains() {
    assert_eq!(
        ask("www", RecordType::A),
        "NoError aa=true; www.example.test. CNAME mail.example.test., mail.example.test. A 192.0.2.25; ; "
    );
    assert_eq!(
        ask("www", RecordType::CNAME),
        "NoError aa=true; www.example.test. CNAME mail.example.test.; ; "
    );
    assert_eq!(ask("out", RecordType::A), "NoError aa=true; out.example.test. CNAME example.org.; ; ");
    assert_eq!(
        ask("bad", RecordType::A),
        format!("NXDomain aa=true; bad.example.test. CNAME gone.example.test.; {SOA}; ")
    );
    assert!(ask("l1", RecordType::A).starts_with("NoError aa=true; l1.example.test. CNAME"));
}

#[test]
fn delegations_with_glue() {
    let referral = "sub.example.test. NS ns.sub.example.test., sub.example.test. NS ns1.example.test.; \
        ns.sub.example.test. A 192.0.2.4, ns1.example.test. A 192.0.2.1";
    assert_eq!(ask("x.sub", RecordType::A), format!("NoError aa=false; ; {referral}"));
    assert_eq!(ask("ns.sub", RecordType::A), format!("NoError aa=false; ; {referral}"));
    assert_eq!(ask("sub", RecordType::NS), format!("NoError aa=false; ; {referral}"));
    assert_eq!(ask("sub", RecordType::DS), format!("NoError aa=true; ; {SOA}; "));
}

#[test]
fn rfc6672_dname() {
    assert!(
        ask("X.d", RecordType::A)
            .ends_with(", X.d.example.test. CNAME X.t.example.test., X.t.example.test. A 192.0.2.9; ; ")
    );
    assert!(
        ask("y.d", RecordType::CNAME).starts_with("NoError"),
        "what the CNAME leads to was not asked for"
    );
    let long = format!("{0}.{0}.{0}.long", "z".repeat(63));
    assert!(ask(&long, RecordType::A).starts_with("YXDomain"));
}

#[test]
fn what_does_not_fit_is_cut_at_whole_sets() {
    let origin = Name::from_text("example.test.", None).unwrap();
    let mut records = zonefile::parse(TEXT, &origin, None).unwrap();
    for last in 0..60 {
        let data = vec![10, 0, 0, last];
        records.push(Record {
            name: Name::from_text("many", Some(&origin)).unwrap(),
            data,
            ..records[3].clone()
        });
    }
    let zone = Zone::build(&origin, records).unwrap();
    let cut = ask_limited(&zone, "many", RecordType::A, 512);
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    let whole = ask_limited(&zone, "many", RecordType::A, 1232);
    assert!(!whole.metadata.truncation && whole.answers.len() == 60);
}
