//! The laws of the merges, on made-up and on real objects.

use std::path::Path;

use content_lines::merge::{Conflict, Merged, NotMerged, Side, icalendar, vcard};
use content_lines::{Document, Limits, text};
use proptest::prelude::*;

type Merge = fn(Option<&[u8]>, &[u8], &[u8], &Limits) -> Result<Merged, NotMerged>;

fn run(merge: Merge, base: &[u8], ours: &[u8], theirs: &[u8]) -> Merged {
    merge(Some(base), ours, theirs, &Limits::default()).unwrap()
}

/// What a document says, whatever its order: each line with its component's path, without group; lists taken apart,
/// parameters sorted.
fn sayings(bytes: &[u8]) -> Vec<String> {
    let document = Document::parse(bytes, &Limits::default()).unwrap();
    let mut found = Vec::new();
    for (index, line) in document.lines().iter().enumerate() {
        let mut path = String::new();
        let mut owner = document.owner(index);
        while let Some(id) = owner {
            let uid = document.property(id, "UID").map(|line| line.value().to_vec()).unwrap_or_default();
            let component = document.component(id);
            path = format!(
                "{}[{}]/{path}",
                String::from_utf8_lossy(&component.name),
                String::from_utf8_lossy(&uid)
            );
            owner = component.parent;
        }
        let mut parameters: Vec<&[u8]> = line.parameters().map(|parameter| parameter.raw()).collect();
        parameters.sort_unstable();
        let list =
            ["CATEGORIES", "EXDATE", "RDATE", "RESOURCES", "NICKNAME"].iter().any(|name| line.is(name));
        let values = if list { text::split(line.value(), b',') } else { vec![line.value()] };
        for value in values {
            let saying = format!(
                "{path}{};{}:{}",
                String::from_utf8_lossy(line.name()).to_uppercase(),
                String::from_utf8_lossy(&parameters.join(&b';')),
                String::from_utf8_lossy(value)
            );
            // A list is a set: twice is once.
            if !(list && found.contains(&saying)) {
                found.push(saying);
            }
        }
    }
    found.sort();
    found
}

fn conflict_sayings(conflicts: &[Conflict], swapped: bool) -> Vec<String> {
    let sorted = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| sayings(bytes));
    let mut all: Vec<String> = conflicts
        .iter()
        .map(|one| {
            let (ours, theirs) = if swapped { (&one.theirs, &one.ours) } else { (&one.ours, &one.theirs) };
            format!("{} {:?} {:?} {:?}", one.component, sorted(&one.base), sorted(ours), sorted(theirs))
        })
        .collect();
    all.sort();
    all
}

fn check_laws(merge: Merge, base: &[u8], ours: &[u8], theirs: &[u8]) {
    assert_eq!(run(merge, base, base, theirs).bytes, theirs, "merge(x, x, y) = y");
    assert_eq!(run(merge, base, ours, base).bytes, ours, "merge(x, y, x) = y");
    assert_eq!(run(merge, base, ours, ours).bytes, ours, "merge(x, y, y) = y");
    let merged = run(merge, base, ours, theirs);
    let swapped = run(merge, base, theirs, ours);
    let show = || {
        [base, ours, theirs, &merged.bytes, &swapped.bytes].map(String::from_utf8_lossy).join("\n--------\n")
    };
    let (one, other) = (sayings(&merged.bytes), sayings(&swapped.bytes));
    let differ = |a: &[String], b: &[String]| {
        a.iter().filter(|saying| !b.contains(saying)).cloned().collect::<Vec<_>>()
    };
    assert_eq!((differ(&one, &other), differ(&other, &one)), (vec![], vec![]), "symmetric\n{}", show());
    assert_eq!(one.len(), other.len(), "symmetric\n{}", show());
    assert_eq!(
        conflict_sayings(&merged.conflicts, false),
        conflict_sayings(&swapped.conflicts, true),
        "conflicts are symmetric\n{}",
        show()
    );
    let document = Document::parse(&merged.bytes, &Limits::default()).unwrap();
    assert!(document.faults().iter().all(|fault| !fault.is_structural()));
    nothing_is_lost(base, [ours, theirs], &merged, &show());
}

/// What a side added or changed is in the result, or in a conflict, or (a list, a parameter, a stamp) merged with the
/// other side's; what the base had and both sides kept is there.
fn nothing_is_lost(base: &[u8], sides: [&[u8]; 2], merged: &Merged, show: &str) {
    let before = sayings(base);
    let after = sayings(&merged.bytes);
    let held: Vec<u8> = merged
        .conflicts
        .iter()
        .flat_map(|one| [one.ours.clone(), one.theirs.clone()])
        .flatten()
        .flatten()
        .collect();
    let held = sayings(&held);
    let body = |saying: &str| saying.rsplit_once("]/").map_or(saying, |(_, body)| body).to_owned();
    let value = |saying: &str| body(saying).split(':').skip(1).collect::<Vec<_>>().join(":");
    let stamps = ["SEQUENCE", "DTSTAMP", "REV", "LAST-MODIFIED", "PRODID", "CREATED", "X-MOZ-LASTACK"];
    for side in sides {
        for saying in sayings(side).iter().filter(|saying| !before.contains(saying)) {
            let name = body(saying).split(';').next().unwrap().to_owned();
            let there = after.contains(saying)
                || held.iter().any(|held| body(held) == body(saying))
                || stamps.contains(&name.as_str())
                || after.iter().any(|other| body(other).starts_with(&format!("{name};")) && value(other) == value(saying))
                // Another part of the name or the address was changed there.
                || (["N", "ADR"].contains(&name.as_str()) && parts_are_in(&before, &after, &name, &value(saying)))
                // Changed in its parameters here, in its value there.
                || after.iter().any(|other| !before.contains(other) && body(other).split(':').next() == body(saying).split(':').next());
            assert!(there, "lost: {saying}\n{show}");
        }
    }
    // What the base says twice (two groups with one label) may be gone from one place on each side.
    let once = |one: &&String| before.iter().filter(|other| other == one).count() == 1;
    let common =
        before.iter().filter(once).filter(|one| sides.iter().all(|side| sayings(side).contains(one)));
    for saying in common {
        assert!(after.contains(saying), "lost what nobody changed: {saying}\n{show}");
    }
}

/// Whether a structured value stands there with each part that it changed, from some value that was there before.
fn parts_are_in(before: &[String], after: &[String], name: &str, changed: &str) -> bool {
    let values = |sayings: &[String]| -> Vec<Vec<String>> {
        let bodies =
            sayings.iter().map(|saying| saying.rsplit_once("]/").map_or(&saying[..], |(_, body)| body));
        let named = bodies.filter(|body| body.starts_with(&format!("{name};")));
        named
            .filter_map(|body| Some(body.split_once(':')?.1.split(';').map(str::to_owned).collect()))
            .collect()
    };
    let changed: Vec<&str> = changed.split(';').collect();
    values(before).iter().any(|before| {
        values(after).iter().any(|after| {
            let part = |parts: &[String], at: usize| parts.get(at).cloned().unwrap_or_default();
            (0..changed.len()).all(|at| changed[at] == part(before, at) || changed[at] == part(after, at))
        })
    })
}

/// One change of a list of lines.
#[derive(Debug, Clone)]
enum Change {
    Value(usize, u8),
    Parameter(usize, u8),
    /// One part of a name or an address.
    Part(usize, u8),
    Remove(usize),
    Add(usize, u8),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let one = prop_oneof![
        3 => (any::<usize>(), 0u8..3).prop_map(|(at, what)| Change::Value(at, what)),
        1 => (any::<usize>(), 0u8..3).prop_map(|(at, what)| Change::Parameter(at, what)),
        1 => (any::<usize>(), 0u8..3).prop_map(|(at, what)| Change::Part(at, what)),
        1 => any::<usize>().prop_map(Change::Remove),
        2 => (any::<usize>(), 0u8..12).prop_map(|(at, what)| Change::Add(at, what)),
    ];
    proptest::collection::vec(one, 1..5)
}

fn apply(base: &[u8], changes: &[Change], additions: &[&str], fixed: &[&str]) -> Vec<u8> {
    let mut document = Document::parse(base, &Limits::default()).unwrap();
    for change in changes {
        let free: Vec<usize> = (0..document.lines().len())
            .filter(|at| {
                let line = &document.lines()[*at];
                line.is_property() && !["BEGIN", "END"].iter().chain(fixed).any(|name| line.is(name))
            })
            .collect();
        if free.is_empty() {
            return document.to_bytes();
        }
        match change {
            Change::Value(at, what) => {
                let line = free[at % free.len()];
                document.set_value(line, format!("changed {what}").as_bytes()).unwrap();
            }
            Change::Parameter(at, what) => {
                document.set_parameter(free[at % free.len()], "X-P", &[what.to_string()]).unwrap();
            }
            Change::Part(at, what) => {
                let structured =
                    |at: &&usize| ["N", "ADR"].iter().any(|name| document.lines()[**at].is(name));
                if let Some(line) = free.iter().find(structured).copied() {
                    let value = document.lines()[line].value().to_vec();
                    let mut parts: Vec<Vec<u8>> =
                        text::split(&value, b';').into_iter().map(<[u8]>::to_vec).collect();
                    let place = at % parts.len();
                    parts[place] = format!("part {what}").into_bytes();
                    document.set_value(line, &parts.join(&b';')).unwrap();
                }
            }
            Change::Remove(at) => document.remove(free[at % free.len()]).unwrap(),
            Change::Add(at, what) => {
                let line = free[at % free.len()];
                let owner = document.owner(line).unwrap();
                let wanted = additions[*what as usize % additions.len()];
                let (name, value) = wanted.split_once(':').unwrap();
                let (group, name) = name.split_once('.').unwrap_or(("", name));
                let mut property = content_lines::Property::raw(name, value);
                if !group.is_empty() {
                    property = property.group(group);
                }
                document.add_property(owner, &property).unwrap();
            }
        }
    }
    document.to_bytes()
}

const CARD: &str = "BEGIN:VCARD\r\nVERSION:4.0\r\nUID:u1\r\nFN:Jane Doe\r\nN:Doe;Jane;;;\r\nTEL;TYPE=cell:+1\r\n\
TEL;TYPE=home:+2\r\nEMAIL:a@x\r\nEMAIL;PID=1.1:b@x\r\nitem1.URL:http://x\r\nitem1.X-ABLabel:Home\r\nCATEGORIES:a,b,c\r\n\
NICKNAME:Jo\r\nNOTE:n\r\nBDAY:19900101\r\nREV:20240101T000000Z\r\nX-FOO:1\r\nEND:VCARD\r\n";

const CARD_ADDITIONS: &[&str] = &[
    "TEL:+3",
    "TEL:+4",
    "EMAIL:c@x",
    "item1.ADR:;;Street",
    "item2.URL:http://y",
    "item2.URL:http://z",
    "CATEGORIES:d,e",
    "CATEGORIES:d",
    "NOTE:other",
    "ANNIVERSARY:20000101",
    "ANNIVERSARY:20010101",
    "X-BAR:2",
];

const EVENT: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:p\r\nBEGIN:VEVENT\r\nUID:e1\r\nDTSTAMP:20240101T000000Z\r\n\
DTSTART:20240520T090000Z\r\nDTEND:20240520T100000Z\r\nSUMMARY:s\r\nDESCRIPTION:d\r\nLOCATION:l\r\nSEQUENCE:1\r\n\
ATTENDEE;PARTSTAT=NEEDS-ACTION:mailto:a@x\r\nATTENDEE:mailto:b@x\r\nCATEGORIES:one,two\r\n\
EXDATE:20240527T090000Z,20240603T090000Z\r\nCOMMENT:c\r\nBEGIN:VALARM\r\nACTION:DISPLAY\r\nTRIGGER:-PT15M\r\n\
DESCRIPTION:alarm\r\nEND:VALARM\r\nEND:VEVENT\r\nBEGIN:VEVENT\r\nUID:e1\r\nRECURRENCE-ID:20240610T090000Z\r\n\
DTSTART:20240610T110000Z\r\nSUMMARY:moved\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";

const EVENT_ADDITIONS: &[&str] = &[
    "ATTENDEE:mailto:c@x",
    "ATTENDEE:mailto:d@x",
    "CATEGORIES:three",
    "EXDATE:20240701T090000Z",
    "COMMENT:other",
    "URL:http://a",
    "URL:http://b",
    "X-ONE:1",
    "X-ONE:2",
    "PRIORITY:5",
    "PRIORITY:1",
    "CONTACT:k",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cards(ours in changes(), theirs in changes()) {
        let fixed = ["VERSION", "UID"];
        let ours = apply(CARD.as_bytes(), &ours, CARD_ADDITIONS, &fixed);
        let theirs = apply(CARD.as_bytes(), &theirs, CARD_ADDITIONS, &fixed);
        check_laws(vcard, CARD.as_bytes(), &ours, &theirs);
    }

    #[test]
    fn events(ours in changes(), theirs in changes()) {
        let fixed = ["VERSION", "UID", "RECURRENCE-ID", "TRIGGER", "ACTION", "EXDATE", "DTSTART"];
        let ours = apply(EVENT.as_bytes(), &ours, EVENT_ADDITIONS, &fixed);
        let theirs = apply(EVENT.as_bytes(), &theirs, EVENT_ADDITIONS, &fixed);
        check_laws(icalendar, EVENT.as_bytes(), &ours, &theirs);
    }

    #[test]
    fn real_objects(which in any::<usize>(), ours in changes(), theirs in changes()) {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        let mut files: Vec<_> = ["ics", "vcf"]
            .iter()
            .flat_map(|folder| std::fs::read_dir(data.join(folder)).unwrap().map(|entry| entry.unwrap().path()))
            .collect();
        files.retain(|path| !["14-truncated", "15-mismatched-end"].iter().any(|name| path.file_stem().unwrap() == *name));
        files.sort();
        let path = &files[which % files.len()];
        let base = std::fs::read(path).unwrap();
        let card = path.extension().unwrap() == "vcf";
        let merge: Merge = if card { vcard } else { icalendar };
        let additions = if card { CARD_ADDITIONS } else { EVENT_ADDITIONS };
        let fixed = ["VERSION", "UID", "TZID", "RECURRENCE-ID", "TRIGGER", "ACTION", "DTSTART", "FN"];
        let ours = apply(&base, &ours, additions, &fixed);
        let theirs = apply(&base, &theirs, additions, &fixed);
        check_laws(merge, &base, &ours, &theirs);
    }
}

#[test]
fn different_properties_merge_cleanly_and_the_rest_keeps_its_bytes() {
    let ours = EVENT.replace("LOCATION:l", "LOCATION:Room 5");
    let theirs = EVENT.replace("SUMMARY:s", "SUMMARY:Stand-up");
    let merged = run(icalendar, EVENT.as_bytes(), ours.as_bytes(), theirs.as_bytes());
    assert_eq!(merged.conflicts, []);
    let wanted = ours.replace("SUMMARY:s", "SUMMARY:Stand-up");
    assert_eq!(String::from_utf8(merged.bytes).unwrap(), wanted);
}

#[test]
fn attendees_answer_at_the_same_time() {
    let ours =
        EVENT.replace("ATTENDEE;PARTSTAT=NEEDS-ACTION:mailto:a@x", "ATTENDEE;PARTSTAT=ACCEPTED:mailto:a@x");
    let theirs =
        EVENT.replace("ATTENDEE:mailto:b@x", "ATTENDEE;PARTSTAT=DECLINED:mailto:b@x\r\nATTENDEE:mailto:z@x");
    let merged = run(icalendar, EVENT.as_bytes(), ours.as_bytes(), theirs.as_bytes());
    assert_eq!(merged.conflicts, []);
    let text = String::from_utf8(merged.bytes).unwrap();
    for line in [
        "ATTENDEE;PARTSTAT=ACCEPTED:mailto:a@x",
        "ATTENDEE;PARTSTAT=DECLINED:mailto:b@x",
        "ATTENDEE:mailto:z@x",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn the_same_property_changed_twice_is_a_conflict_that_holds_both() {
    let ours = EVENT.replace("LOCATION:l", "LOCATION:Room 5");
    let theirs = EVENT.replace("LOCATION:l", "LOCATION:Room 6").replace("SEQUENCE:1", "SEQUENCE:2");
    let merged = run(icalendar, EVENT.as_bytes(), ours.as_bytes(), theirs.as_bytes());
    let [conflict] = &merged.conflicts[..] else { panic!("{:?}", merged.conflicts) };
    assert_eq!(conflict.component, "VCALENDAR/VEVENT uid=e1");
    assert_eq!(conflict.property.as_deref(), Some("LOCATION"));
    assert_eq!(conflict.base.as_deref(), Some(&b"LOCATION:l\r\n"[..]));
    assert_eq!(conflict.ours.as_deref(), Some(&b"LOCATION:Room 5\r\n"[..]));
    assert_eq!(conflict.theirs.as_deref(), Some(&b"LOCATION:Room 6\r\n"[..]));
    assert_eq!(conflict.kept, Side::Theirs, "the higher SEQUENCE stays");
    assert!(String::from_utf8(merged.bytes).unwrap().contains("LOCATION:Room 6\r\n"));
}

#[test]
fn a_time_span_is_never_mixed() {
    let ours = EVENT.replace("DTEND:20240520T100000Z", "DURATION:PT2H");
    let theirs = EVENT.replace("DTEND:20240520T100000Z", "DTEND:20240520T120000Z");
    let merged = run(icalendar, EVENT.as_bytes(), ours.as_bytes(), theirs.as_bytes());
    assert_eq!(merged.conflicts.len(), 1);
    assert_eq!(merged.conflicts[0].property.as_deref(), Some("DTSTART"));
    let text = String::from_utf8(merged.bytes).unwrap();
    assert_ne!(text.contains("DTEND:2024"), text.contains("DURATION:"), "{text}");
}

#[test]
fn an_override_is_its_own_event() {
    let new = "BEGIN:VEVENT\r\nUID:e1\r\nRECURRENCE-ID:20240617T090000Z\r\nSUMMARY:x\r\nEND:VEVENT\r\n";
    let ours = EVENT.replace("END:VCALENDAR", &format!("{new}END:VCALENDAR"));
    let theirs = EVENT.replace("SUMMARY:moved", "SUMMARY:moved again");
    let merged = run(icalendar, EVENT.as_bytes(), ours.as_bytes(), theirs.as_bytes());
    assert_eq!(merged.conflicts, []);
    let text = String::from_utf8(merged.bytes).unwrap();
    assert!(text.contains(new) && text.contains("SUMMARY:moved again"));
}

#[test]
fn an_event_deleted_here_and_changed_there_stays() {
    let from = EVENT.find("BEGIN:VEVENT\r\nUID:e1\r\nRECURRENCE-ID").unwrap();
    let ours = format!("{}END:VCALENDAR\r\n", &EVENT[..from]);
    let theirs = EVENT.replace("SUMMARY:moved", "SUMMARY:moved again");
    let merged = run(icalendar, EVENT.as_bytes(), ours.as_bytes(), theirs.as_bytes());
    assert_eq!(merged.conflicts.len(), 1);
    assert_eq!((merged.conflicts[0].property.clone(), merged.conflicts[0].ours.clone()), (None, None));
    assert!(String::from_utf8(merged.bytes).unwrap().contains("SUMMARY:moved again"));
    let unchanged =
        run(icalendar, EVENT.as_bytes(), ours.as_bytes(), EVENT.replace("SUMMARY:s", "SUMMARY:t").as_bytes());
    assert!(!String::from_utf8(unchanged.bytes).unwrap().contains("RECURRENCE-ID"));
}

#[test]
fn a_time_zone_that_is_still_named_stays() {
    let zone = "BEGIN:VTIMEZONE\r\nTZID:Home\r\nEND:VTIMEZONE\r\n";
    let event = |uid: &str, start: &str| format!("BEGIN:VEVENT\r\nUID:{uid}\r\n{start}\r\nEND:VEVENT\r\n");
    let whole = |inner: &str| format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{inner}END:VCALENDAR\r\n");
    let named = "DTSTART;TZID=Home:20240101T000000";
    let base = whole(&format!("{zone}{}", event("a", named)));
    let ours = whole(&event("a", "DTSTART:20240101T000000Z"));
    let theirs = whole(&format!("{zone}{}{}", event("a", named), event("b", named)));
    let merged = run(icalendar, base.as_bytes(), ours.as_bytes(), theirs.as_bytes());
    let text = String::from_utf8(merged.bytes).unwrap();
    assert!(
        text.contains(zone) && text.contains("UID:b") && text.contains("DTSTART:20240101T000000Z"),
        "{text}"
    );
}

#[test]
fn a_number_changed_on_one_side_and_labelled_on_the_other() {
    let ours = CARD.replace("TEL;TYPE=cell:+1", "TEL;TYPE=cell:+15");
    let theirs = CARD.replace("TEL;TYPE=cell:+1", "TEL;TYPE=cell,work:+1");
    let merged = run(vcard, CARD.as_bytes(), ours.as_bytes(), theirs.as_bytes());
    assert_eq!(merged.conflicts, []);
    assert!(String::from_utf8(merged.bytes).unwrap().contains("TEL;TYPE=cell,work:+15\r\n"));
}

#[test]
fn parts_of_a_name_and_of_an_address_are_changed_apart() {
    let base = CARD.replace("NOTE:n", "ADR;TYPE=home:;;Main St 1;Town;;12345;Country");
    let ours = base.replace("Doe;Jane;;;", "Doe-Smith;Jane;;;").replace("Main St 1", "High St 2");
    let theirs = base.replace("Doe;Jane;;;", "Doe;Jane;Q.;;").replace("12345", "54321");
    let merged = run(vcard, base.as_bytes(), ours.as_bytes(), theirs.as_bytes());
    assert_eq!(merged.conflicts, []);
    let text = String::from_utf8(merged.bytes).unwrap();
    assert!(text.contains("N:Doe-Smith;Jane;Q.;;\r\n"), "{text}");
    assert!(text.contains("ADR;TYPE=home:;;High St 2;Town;;54321;Country\r\n"), "{text}");
    let clash = base.replace("Doe;Jane;;;", "Roe;Jane;;;");
    assert_eq!(run(vcard, base.as_bytes(), ours.as_bytes(), clash.as_bytes()).conflicts.len(), 1);
}

const ZONE: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VTIMEZONE\r\nTZID:Home\r\nBEGIN:STANDARD\r\n\
DTSTART:19701025T030000\r\nTZOFFSETFROM:+0200\r\nTZOFFSETTO:+0100\r\nRRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU\r\n\
END:STANDARD\r\nBEGIN:DAYLIGHT\r\nDTSTART:19700329T020000\r\nTZOFFSETFROM:+0100\r\nTZOFFSETTO:+0200\r\n\
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU\r\nEND:DAYLIGHT\r\nEND:VTIMEZONE\r\nBEGIN:VEVENT\r\nUID:a\r\n\
DTSTART;TZID=Home:20240101T000000\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";

#[test]
fn a_time_zone_named_here_and_ruled_anew_there() {
    let ours = ZONE.replace("TZID:Home\r\nBEGIN", "TZID:Home\r\nX-LIC-LOCATION:Europe/Berlin\r\nBEGIN");
    let theirs = ZONE.replace("BYMONTH=3;BYDAY=-1SU", "BYMONTH=4;BYDAY=1SU");
    check_laws(icalendar, ZONE.as_bytes(), ours.as_bytes(), theirs.as_bytes());
    let merged = run(icalendar, ZONE.as_bytes(), ours.as_bytes(), theirs.as_bytes());
    assert_eq!(merged.conflicts, []);
    let text = String::from_utf8(merged.bytes).unwrap();
    assert!(
        text.contains("X-LIC-LOCATION") && text.contains("BYMONTH=4") && !text.contains("BYMONTH=3;"),
        "{text}"
    );
    assert_eq!(text.matches("BEGIN:DAYLIGHT").count(), 1);
}

#[test]
fn a_time_zone_that_both_rule_anew_is_one_piece() {
    let ours = ZONE.replace("BYMONTH=10", "BYMONTH=11");
    let theirs = ZONE.replace("BYMONTH=3;BYDAY=-1SU", "BYMONTH=4;BYDAY=1SU");
    check_laws(icalendar, ZONE.as_bytes(), ours.as_bytes(), theirs.as_bytes());
    let merged = run(icalendar, ZONE.as_bytes(), ours.as_bytes(), theirs.as_bytes());
    assert_eq!((merged.conflicts.len(), &merged.conflicts[0].property), (1, &None));
    let text = String::from_utf8(merged.bytes).unwrap();
    assert_ne!(text.contains("BYMONTH=11"), text.contains("BYMONTH=4"), "{text}");
}

#[test]
fn groups_of_two_phones_get_names_of_their_own() {
    let with = |lines: &str| CARD.replace("END:VCARD", &format!("{lines}END:VCARD"));
    let ours = with("item2.TEL:+7\r\nitem2.X-ABLabel:Boat\r\n");
    let theirs = with("item2.TEL:+8\r\nitem2.X-ABLabel:Hut\r\n");
    let merged = run(vcard, CARD.as_bytes(), ours.as_bytes(), theirs.as_bytes());
    assert_eq!(merged.conflicts, []);
    let text = String::from_utf8(merged.bytes).unwrap();
    assert!(text.contains("item2.TEL:+7\r\nitem2.X-ABLabel:Boat\r\n"), "{text}");
    assert!(text.contains("item3.TEL:+8\r\nitem3.X-ABLabel:Hut\r\n"), "{text}");
}

#[test]
fn renumbered_groups_are_the_same_groups() {
    let ours = CARD.replace("item1.", "item9.");
    let theirs = CARD.replace("X-ABLabel:Home", "X-ABLabel:Work").replace("NOTE:n", "NOTE:m");
    let merged = run(vcard, CARD.as_bytes(), ours.as_bytes(), theirs.as_bytes());
    assert_eq!(merged.conflicts, []);
    let text = String::from_utf8(merged.bytes).unwrap();
    assert!(
        text.contains("item9.URL:http://x\r\nitem9.X-ABLabel:Work\r\n") && !text.contains("item1."),
        "{text}"
    );
}

#[test]
fn two_cards_made_apart_are_joined() {
    let ours = "BEGIN:VCARD\r\nVERSION:4.0\r\nUID:u\r\nFN:A\r\nTEL:1\r\nEND:VCARD\r\n";
    let theirs = "BEGIN:VCARD\r\nVERSION:4.0\r\nUID:u\r\nFN:A\r\nTEL:2\r\nEND:VCARD\r\n";
    let merged = vcard(None, ours.as_bytes(), theirs.as_bytes(), &Limits::default()).unwrap();
    assert_eq!(merged.conflicts, []);
    let text = String::from_utf8(merged.bytes).unwrap();
    assert!(text.contains("TEL:1\r\n") && text.contains("TEL:2\r\n"));
}

#[test]
fn cards_of_two_versions_are_not_mixed() {
    let ours = CARD.replace("NOTE:n", "NOTE:m");
    let theirs = CARD.replace("VERSION:4.0", "VERSION:3.0").replace("FN:Jane Doe", "FN:Jane");
    let merged = run(vcard, CARD.as_bytes(), ours.as_bytes(), theirs.as_bytes());
    assert_eq!(merged.conflicts.len(), 1);
    assert!([ours.as_bytes(), theirs.as_bytes()].contains(&&merged.bytes[..]));
}

#[test]
fn line_ends_of_our_side_are_kept() {
    let ours = CARD.replace("\r\n", "\n").replace("NOTE:n", "NOTE:m");
    let theirs = CARD.replace("END:VCARD", "TEL:+99\r\nEND:VCARD").replace("FN:Jane Doe", "FN:Jane");
    let merged = run(vcard, CARD.as_bytes(), ours.as_bytes(), theirs.as_bytes());
    let text = String::from_utf8(merged.bytes).unwrap();
    assert!(
        !text.contains('\r')
            && text.contains("NOTE:m\n")
            && text.contains("TEL:+99\n")
            && text.contains("FN:Jane\n")
    );
}

#[test]
fn broken_documents_are_left_to_the_caller() {
    let broken = CARD.replace("END:VCARD\r\n", "");
    let merged = vcard(
        Some(CARD.as_bytes()),
        broken.as_bytes(),
        CARD.replace("n", "m").as_bytes(),
        &Limits::default(),
    );
    assert_eq!(merged, Err(NotMerged::Broken("our side")));
}
