use super::*;
use crate::reading::read as read_object;
use crate::xml::read::read;

const OBJECT: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nSUMMARY:old\r\n\
DTSTART;TZID=Europe/Berlin:20240501T100000\r\nDTEND;TZID=Europe/Berlin:20240501T110000\r\nRRULE:FREQ=DAILY;COUNT=4\r\n\
EXDATE;TZID=Europe/Berlin:20240503T100000\r\nBEGIN:VALARM\r\nTRIGGER:-PT5M\r\nEND:VALARM\r\nEND:VEVENT\r\n\
BEGIN:VEVENT\r\nUID:1\r\nSUMMARY:new\r\nRECURRENCE-ID;TZID=Europe/Berlin:20240502T100000\r\n\
DTSTART;TZID=Europe/Berlin:20240502T120000\r\nDTEND;TZID=Europe/Berlin:20240502T130000\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";

fn rendered(inside: &str, object: &str) -> String {
    let xml = format!("<calendar-data xmlns='urn:ietf:params:xml:ns:caldav'>{inside}</calendar-data>");
    let wanted = DataWanted::of(&read(xml.as_bytes()).unwrap()).unwrap();
    let calendar = read_object(object.as_bytes()).unwrap().remove(0);
    let out = wanted.render(object.as_bytes(), &calendar, &Zone::UTC, &mut 100).unwrap().into_owned();
    read_object(out.as_bytes()).unwrap();
    out
}

#[test]
fn rfc4791_9_6_5_expand() {
    let out = rendered("<expand start='20240501T000000Z' end='20240510T000000Z'/>", OBJECT);
    let starts: Vec<&str> =
        out.lines().filter(|l| l.starts_with("DTSTART") || l.starts_with("RECUR")).collect();
    assert_eq!(
        starts,
        [
            "DTSTART:20240501T080000Z",
            "RECURRENCE-ID:20240501T080000Z",
            "DTSTART:20240502T100000Z",
            "RECURRENCE-ID:20240502T080000Z",
            "DTSTART:20240504T080000Z",
            "RECURRENCE-ID:20240504T080000Z"
        ]
    );
    assert!(!out.contains("RRULE") && !out.contains("EXDATE") && !out.contains("TZID"));
    assert_eq!(out.matches("BEGIN:VALARM").count(), 2);
}

#[test]
fn days_stay_days_and_floating_stays_floating() {
    let day = "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART;VALUE=DATE:20240501\r\nDTEND;VALUE=DATE:20240503\r\nRRULE:FREQ=WEEKLY\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
    let out = rendered("<expand start='20240508T000000Z' end='20240509T000000Z'/>", day);
    assert!(
        out.contains("DTSTART;VALUE=DATE:20240508\r\n") && out.contains("DTEND;VALUE=DATE:20240510\r\n"),
        "{out}"
    );
    let floating = day
        .replace(";VALUE=DATE:20240501", ":20240501T090000")
        .replace(";VALUE=DATE:20240503", ":20240501T100000");
    let out = rendered("<expand start='20240508T000000Z' end='20240509T000000Z'/>", &floating);
    assert!(
        out.contains("DTSTART:20240508T090000\r\n") && out.contains("DTEND:20240508T100000\r\n"),
        "{out}"
    );
}

#[test]
fn rfc4791_9_6_6_limit_recurrence_set() {
    let out = rendered("<limit-recurrence-set start='20240504T000000Z' end='20240510T000000Z'/>", OBJECT);
    assert!(out.contains("SUMMARY:old") && !out.contains("SUMMARY:new"));
    let out = rendered("<limit-recurrence-set start='20240502T000000Z' end='20240503T000000Z'/>", OBJECT);
    assert_eq!(out, OBJECT);
}

#[test]
fn rfc4791_9_6_7_limit_freebusy_set() {
    let object = "BEGIN:VCALENDAR\r\nBEGIN:VFREEBUSY\r\nFREEBUSY;FBTYPE=BUSY:20240501T100000Z/PT1H,20240601T100000Z/PT1H\r\nEND:VFREEBUSY\r\nEND:VCALENDAR\r\n";
    let out = rendered("<limit-freebusy-set start='20240601T000000Z' end='20240701T000000Z'/>", object);
    assert!(out.contains("FREEBUSY;FBTYPE=BUSY:20240601T100000Z/PT1H\r\n"), "{out}");
}

#[test]
fn parts_of_an_object() {
    let out = rendered(
        "<comp name='VCALENDAR'><prop name='VERSION'/><comp name='VEVENT'><prop name='UID'/><prop name='SUMMARY' novalue='yes'/></comp></comp>",
        OBJECT,
    );
    assert_eq!(
        out,
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:1\r\nSUMMARY:\r\nEND:VEVENT\r\nBEGIN:VEVENT\r\nUID:1\r\nSUMMARY:\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    );
    assert_eq!(rendered("<comp name='VCALENDAR'><allprop/><allcomp/></comp>", OBJECT), OBJECT);
    assert_eq!(rendered("", OBJECT), OBJECT);
}

#[test]
fn a_fold_inside_a_character_is_folded_anew() {
    let mut bytes = b"BEGIN:VCARD\r\nFN:a\xc3\r\n \xa9b\r\nNOTE:x\r\nEND:VCARD\r\n".to_vec();
    assert_eq!(text_of(&bytes), "BEGIN:VCARD\r\nFN:a\u{e9}b\r\nNOTE:x\r\nEND:VCARD\r\n");
    bytes.truncate(bytes.len() - 2);
    assert!(text_of(&bytes).ends_with("END:VCARD\r\n"));
    let mut out = String::new();
    fold_into(&format!("SUMMARY:{}", "é".repeat(100)), &mut out);
    assert!(out.split("\r\n").all(|line| line.len() <= 75));
}
