use super::*;
use crate::zonefile;

const TEXT: &str = "$TTL 300\n@ SOA ns1 h 1 2 3 4 60\n@ NS ns1\n@ NS ns2\n@ MX 10 m\nu A 192.0.2.1\nc CNAME u\na.ent TXT x\n";

fn zone() -> Zone {
    let origin = Name::from_text("example.test.", None).unwrap();
    Zone::build(&origin, zonefile::parse(TEXT, &origin, None).unwrap()).unwrap()
}

/// `class name type [data]`, one a line; classes IN, ANY, NONE.
fn records(text: &str) -> Vec<Record> {
    let origin = zone().origin;
    let one = |line: &str| {
        let mut words = line.splitn(4, ' ');
        let mut next = || words.next().unwrap_or("");
        let (class, name, rtype, rest) = (next(), next(), next(), next());
        let class = match class {
            "IN" => CLASS_IN,
            "ANY" => CLASS_ANY,
            "NONE" => CLASS_NONE,
            _ => 3,
        };
        let name = Name::from_text(name, Some(&origin)).unwrap();
        let rtype = RecordType::from_text(rtype).unwrap();
        let data = match rest {
            "" => Vec::new(),
            rest => zonefile::parse(&format!("x 5 {rtype} {rest}"), &origin, None).unwrap().remove(0).data,
        };
        Record { name, rtype, class, ttl: 0, data }
    };
    text.lines().map(one).collect()
}

fn update(prerequisites: &str, updates: &str) -> Result<String, u16> {
    let mut authorities = records(updates);
    authorities.iter_mut().filter(|record| record.class == CLASS_IN).for_each(|record| record.ttl = 60);
    let question = (zone().origin, RecordType::SOA, CLASS_IN);
    let message = Message { id: 1, flags: 5 << 11, question, answers: records(prerequisites), authorities };
    let changes = work_out(&zone(), &message, |name, _| name.to_string() != "no.example.test.")?;
    let line = |change: &SetChange| {
        let texts = change.datas.iter().map(|data| crate::record::text::to_text(change.rtype, data));
        format!(
            "{} {} [{}]",
            change.name.to_string().replace("example.test.", "@"),
            change.rtype,
            texts.collect::<Vec<_>>().join(", ")
        )
    };
    Ok(changes.iter().map(line).collect::<Vec<_>>().join("; "))
}

#[test]
fn rfc2136_3_2_prerequisites() {
    for (prerequisite, code) in [
        ("ANY u ANY", 0),
        ("ANY nx ANY", rcode::NXDOMAIN),
        ("ANY ent ANY", rcode::NXDOMAIN),
        ("ANY u A", 0),
        ("ANY u AAAA", rcode::NXRRSET),
        ("NONE nx ANY", 0),
        ("NONE u ANY", rcode::YXDOMAIN),
        ("NONE u AAAA", 0),
        ("NONE u A", rcode::YXRRSET),
        ("IN u A 192.0.2.1", 0),
        ("IN u A 192.0.2.2", rcode::NXRRSET),
        ("IN @ NS NS1\nIN @ NS ns2", 0),
        ("IN @ NS ns1", rcode::NXRRSET),
        ("IN nx A 192.0.2.2", rcode::NXRRSET),
        ("ANY u A 192.0.2.1", rcode::FORMERR),
        ("NONE u A 192.0.2.1", rcode::FORMERR),
        ("CH u A", rcode::FORMERR),
        ("IN u ANY", rcode::FORMERR),
        ("ANY u.other. A", rcode::NOTZONE),
    ] {
        assert_eq!(update(prerequisite, "").err().unwrap_or(0), code, "{prerequisite}");
    }
}

#[test]
fn rfc2136_3_4_1_prescan() {
    for (line, code) in [
        ("IN u.other. A 192.0.2.1", rcode::NOTZONE),
        ("IN u ANY", rcode::FORMERR),
        ("IN u A", rcode::FORMERR),
        ("IN u AXFR", rcode::FORMERR),
        ("ANY u A 192.0.2.1", rcode::FORMERR),
        ("ANY u AXFR", rcode::FORMERR),
        ("NONE u ANY", rcode::FORMERR),
        ("CH u A 192.0.2.1", rcode::FORMERR),
        ("IN no A 192.0.2.1", rcode::REFUSED),
        ("ANY no ANY", rcode::REFUSED),
        ("IN u NSEC3PARAM 1 0 0 -", rcode::REFUSED),
    ] {
        assert_eq!(update("", line), Err(code), "{line}");
    }
}

#[test]
fn rfc2136_3_4_2_changes() {
    for (lines, changes) in [
        ("IN u A 192.0.2.2", "u.@ A [192.0.2.1, 192.0.2.2]"),
        ("IN n A 192.0.2.2", "n.@ A [192.0.2.2]"),
        ("ANY u A\nIN u A 192.0.2.9", "u.@ A [192.0.2.9]"),
        ("NONE u A 192.0.2.1", "u.@ A []"),
        ("NONE u A 192.0.2.7", ""),
        ("ANY u ANY", "u.@ A []"),
        ("ANY nx ANY", ""),
        ("IN u CNAME x", ""),
        ("IN c A 192.0.2.1", ""),
        ("IN c CNAME x", "c.@ CNAME [x.example.test.]"),
        ("ANY c CNAME\nIN c A 192.0.2.1", "c.@ CNAME []; c.@ A [192.0.2.1]"),
    ] {
        assert_eq!(update("", lines).as_deref(), Ok(changes), "{lines}");
    }
}

#[test]
fn the_zone_never_loses_soa_or_ns() {
    for (lines, changes) in [
        ("ANY @ ANY", "@ MX []"),
        ("ANY @ SOA", ""),
        ("ANY @ NS", ""),
        ("NONE @ NS ns1\nNONE @ NS ns2", "@ NS [ns2.example.test.]"),
        ("NONE @ SOA ns1 h 1 2 3 4 60", ""),
        ("IN @ SOA ns1 h 1 2 3 4 60", ""),
        ("IN @ SOA ns1 h 9 2 3 4 60", "@ SOA [ns1.example.test. h.example.test. 9 2 3 4 60]"),
        ("IN u SOA ns1 h 9 2 3 4 60", ""),
        ("IN @ CNAME x", ""),
    ] {
        assert_eq!(update("", lines).as_deref(), Ok(changes), "{lines}");
    }
}

#[test]
fn difference_finds_what_changed() {
    let origin = zone().origin;
    let text =
        TEXT.replace("u A 192.0.2.1", "u A 192.0.2.2").replace("c CNAME u\n", "") + "new A 192.0.2.3\n";
    let new = Zone::build(&origin, zonefile::parse(&text, &origin, None).unwrap()).unwrap();
    let mut changed = zone();
    for change in difference(&zone(), &new) {
        changed.set(&change.name, change.rtype, change.rrset(&origin));
    }
    assert_eq!(changed.records().collect::<Vec<_>>(), new.records().collect::<Vec<_>>());
}
