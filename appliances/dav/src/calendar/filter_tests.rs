use super::*;
use crate::reading::read as read_object;
use crate::xml::read::read;

fn filter(inside: &str) -> Result<CompFilter, BadFilter> {
    let xml = format!(
        "<filter xmlns='urn:ietf:params:xml:ns:caldav'><comp-filter name='VCALENDAR'>{inside}</comp-filter></filter>"
    );
    CompFilter::of(&read(xml.as_bytes()).unwrap())
}

fn asks(inside: &str, object: &str) -> bool {
    let text = format!("BEGIN:VCALENDAR\nVERSION:2.0\n{object}\nEND:VCALENDAR\n");
    let calendar = read_object(text.as_bytes()).unwrap().remove(0);
    filter(inside).unwrap().matches(&calendar, &Zone::UTC)
}

fn range(component: &str, start: &str, end: &str) -> String {
    let side =
        |name: &str, value: &str| if value.is_empty() { String::new() } else { format!("{name}='{value}'") };
    format!(
        "<comp-filter name='{component}'><time-range {} {}/></comp-filter>",
        side("start", start),
        side("end", end)
    )
}

fn todo(body: &str, start: &str, end: &str) -> bool {
    asks(&range("VTODO", start, end), &format!("BEGIN:VTODO\nUID:1\n{body}\nEND:VTODO"))
}

fn event(body: &str, start: &str, end: &str) -> bool {
    asks(&range("VEVENT", start, end), &format!("BEGIN:VEVENT\nUID:1\n{body}\nEND:VEVENT"))
}

const NINE: &str = "20240501T090000Z";
const TEN: &str = "20240501T100000Z";
const ELEVEN: &str = "20240501T110000Z";
const NOON: &str = "20240501T120000Z";

#[test]
fn rfc4791_9_9_vevent() {
    let timed = "DTSTART:20240501T100000Z\nDTEND:20240501T110000Z";
    assert!(event(timed, NINE, NOON) && event(timed, "20240501T103000Z", "20240501T103100Z"));
    assert!(!event(timed, ELEVEN, NOON) && !event(timed, NINE, TEN));
    assert!(event("DTSTART:20240501T100000Z", TEN, ELEVEN) && !event("DTSTART:20240501T100000Z", NINE, TEN));
    assert!(event("DTSTART;VALUE=DATE:20240501", "20240501T230000Z", "20240502T010000Z"));
    assert!(!event("DTSTART;VALUE=DATE:20240501", "20240502T000000Z", "20240503T000000Z"));
    assert!(event("DTSTART:20240501T100000Z\nDURATION:PT0S", TEN, ELEVEN));
    assert!(
        event(timed, "", NOON)
            && event(timed, NINE, "")
            && !event(timed, ELEVEN, "")
            && !event(timed, "", TEN)
    );
}

#[test]
fn recurring_events_by_instance_and_by_the_instances_own_component() {
    let daily = "DTSTART:20200101T100000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY";
    assert!(
        event(daily, "20350501T103000Z", "20350501T104000Z")
            && !event(daily, "20350501T113000Z", "20350501T114000Z")
    );
    assert!(event(daily, "20350501T103000Z", "") && !event(daily, "", "20200101T100000Z"));
    let moved = "BEGIN:VEVENT\nUID:1\nSUMMARY:old\nDTSTART:20240501T100000Z\nRRULE:FREQ=DAILY;COUNT=2\nEND:VEVENT\n\
                 BEGIN:VEVENT\nUID:1\nSUMMARY:new\nRECURRENCE-ID:20240502T100000Z\nDTSTART:20240502T120000Z\nEND:VEVENT";
    let with_text = |start: &str, end: &str, text: &str| {
        asks(
            &format!(
                "<comp-filter name='VEVENT'><time-range start='{start}' end='{end}'/><prop-filter name='SUMMARY'><text-match>{text}</text-match></prop-filter></comp-filter>"
            ),
            moved,
        )
    };
    assert!(with_text("20240502T110000Z", "20240502T130000Z", "new"));
    assert!(!with_text("20240502T110000Z", "20240502T130000Z", "old"));
    assert!(!with_text("20240502T090000Z", "20240502T110000Z", "old"));
}

#[test]
fn rfc4791_9_9_vtodo() {
    let (start, due) = ("DTSTART:20240501T100000Z", "DUE:20240501T110000Z");
    let both = format!("{start}\n{due}");
    assert!(todo(&both, TEN, "20240501T100001Z") && todo(&both, NINE, ELEVEN) && !todo(&both, ELEVEN, NOON));
    assert!(todo(&format!("{start}\nDURATION:PT1H"), "20240501T103000Z", ELEVEN));
    assert!(todo(start, TEN, ELEVEN) && !todo(start, NINE, TEN));
    assert!(todo(due, TEN, ELEVEN) && !todo(due, ELEVEN, NOON));
    assert!(todo("COMPLETED:20240501T100000Z\nCREATED:20240401T100000Z", "20240415T000000Z", NOON));
    assert!(
        todo("COMPLETED:20240501T100000Z", TEN, TEN.replace("00Z", "01Z").as_str())
            && !todo("COMPLETED:20240501T100000Z", ELEVEN, NOON)
    );
    assert!(todo("CREATED:20240501T090000Z", TEN, ELEVEN) && !todo("CREATED:20240501T113000Z", TEN, ELEVEN));
    assert!(todo("SUMMARY:any time", TEN, ELEVEN));
}

#[test]
fn rfc4791_9_9_vjournal_and_vfreebusy() {
    let journal =
        |body: &str, s, e| asks(&range("VJOURNAL", s, e), &format!("BEGIN:VJOURNAL\n{body}\nEND:VJOURNAL"));
    assert!(
        journal("DTSTART:20240501T100000Z", TEN, ELEVEN) && !journal("DTSTART:20240501T100000Z", NINE, TEN)
    );
    assert!(journal("DTSTART;VALUE=DATE:20240501", ELEVEN, NOON) && !journal("SUMMARY:x", NINE, NOON));
    let busy = |body: &str, s, e| {
        asks(&range("VFREEBUSY", s, e), &format!("BEGIN:VFREEBUSY\n{body}\nEND:VFREEBUSY"))
    };
    assert!(busy("DTSTART:20240501T100000Z\nDTEND:20240501T110000Z", ELEVEN, NOON));
    assert!(
        busy("FREEBUSY:20240501T100000Z/PT30M", TEN, ELEVEN)
            && !busy("FREEBUSY:20240501T100000Z/PT30M", ELEVEN, NOON)
    );
    assert!(!busy("UID:1", NINE, NOON));
}

#[test]
fn rfc4791_9_9_valarm() {
    let inside = |s: &str, e: &str| {
        format!(
            "<comp-filter name='VEVENT'><comp-filter name='VALARM'><time-range start='{s}' end='{e}'/></comp-filter></comp-filter>"
        )
    };
    let alarm = |trigger: &str, s: &str, e: &str| {
        let body = format!(
            "BEGIN:VEVENT\nUID:1\nDTSTART:20240501T100000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY\nBEGIN:VALARM\n{trigger}\nEND:VALARM\nEND:VEVENT"
        );
        asks(&inside(s, e), &body)
    };
    assert!(alarm("TRIGGER:-PT15M", "20240503T094500Z", "20240503T094600Z"));
    assert!(!alarm("TRIGGER:-PT15M", "20240503T095000Z", "20240503T100000Z"));
    assert!(alarm("TRIGGER;RELATED=END:PT0S", "20240503T110000Z", "20240503T110100Z"));
    assert!(alarm("TRIGGER;VALUE=DATE-TIME:20240101T000000Z", "20240101T000000Z", "20240101T000100Z"));
    assert!(alarm("TRIGGER:-PT15M\nREPEAT:2\nDURATION:PT5M", "20240503T095500Z", "20240503T095600Z"));
    assert!(!alarm("ACTION:DISPLAY", "20240503T000000Z", "20240504T000000Z"));
}

#[test]
fn properties_parameters_and_absence() {
    let object = "BEGIN:VEVENT\nUID:1\nSUMMARY:A\\, b\nATTENDEE;PARTSTAT=NEEDS-ACTION:mailto:x@y\nDTSTART:20240501T100000Z\nEND:VEVENT";
    let inside = |filter: &str| asks(&format!("<comp-filter name='VEVENT'>{filter}</comp-filter>"), object);
    assert!(inside("<prop-filter name='SUMMARY'><text-match>a, B</text-match></prop-filter>"));
    assert!(inside("<prop-filter name='location'><is-not-defined/></prop-filter>"));
    assert!(!inside("<prop-filter name='uid'><is-not-defined/></prop-filter>"));
    assert!(inside(
        "<prop-filter name='ATTENDEE'><param-filter name='PARTSTAT'><text-match collation='i;octet'>NEEDS</text-match></param-filter></prop-filter>"
    ));
    assert!(inside(
        "<prop-filter name='ATTENDEE'><param-filter name='CN'><is-not-defined/></param-filter></prop-filter>"
    ));
    assert!(inside(
        "<prop-filter name='DTSTART'><time-range start='20240501T000000Z' end='20240502T000000Z'/></prop-filter>"
    ));
    assert!(inside("<comp-filter name='VALARM'><is-not-defined/></comp-filter>"));
    assert!(asks("<comp-filter name='VTODO'><is-not-defined/></comp-filter>", object));
    assert!(!asks("<comp-filter name='VTODO'/>", object));
}

#[test]
fn without_a_component_type() {
    let object = "BEGIN:VTODO\nUID:1\nSUMMARY:milk\nDUE:20240501T100000Z\nEND:VTODO";
    assert!(asks("", object));
    assert!(asks("<prop-filter name='SUMMARY'><text-match>MILK</text-match></prop-filter>", object));
    assert!(!asks("<prop-filter name='SUMMARY'><text-match>bread</text-match></prop-filter>", object));
    assert!(asks("<time-range start='20240501T000000Z' end='20240502T000000Z'/>", object));
    assert!(asks("<prop-filter name='VERSION'><text-match>2.0</text-match></prop-filter>", object));
}

#[test]
fn what_is_no_filter() {
    assert!(matches!(filter("<comp-filter/>"), Err(BadFilter::Invalid(_))));
    assert!(matches!(filter(&range("VEVENT", "20240501T000000", "")), Err(BadFilter::Invalid(_))));
    assert!(matches!(filter(&range("VEVENT", TEN, NINE)), Err(BadFilter::Invalid(_))));
    assert!(matches!(filter(&range("VTIMEZONE", NINE, TEN)), Err(BadFilter::Invalid(_))));
    let xml = "<filter xmlns='urn:ietf:params:xml:ns:caldav'><comp-filter name='VEVENT'/></filter>";
    assert!(matches!(CompFilter::of(&read(xml.as_bytes()).unwrap()), Err(BadFilter::Invalid(_))));
}
