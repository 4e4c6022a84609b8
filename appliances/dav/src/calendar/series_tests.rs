//! Each case is one that some known program gets wrong, or a sentence of RFC 5545.

use super::*;
use crate::calendar::value::date_or_time;
use crate::reading::read;

const OUTLOOK: &str = "BEGIN:VTIMEZONE\nTZID:(UTC+01:00) Amsterdam\\, Berlin\nBEGIN:STANDARD\nDTSTART:16010101T030000\n\
TZOFFSETFROM:+0200\nTZOFFSETTO:+0100\nRRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=10\nEND:STANDARD\nBEGIN:DAYLIGHT\n\
DTSTART:16010101T020000\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0200\nRRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=3\n\
END:DAYLIGHT\nEND:VTIMEZONE\n";
const CUSTOM: &str = "BEGIN:VTIMEZONE\nTZID:Home\nBEGIN:STANDARD\nDTSTART:19700101T000000\nTZOFFSETFROM:+053000\n\
TZOFFSETTO:+053000\nEND:STANDARD\nEND:VTIMEZONE\n";

fn calendar(body: &str) -> Component {
    let text = if body.contains("BEGIN:VEVENT") {
        format!("BEGIN:VCALENDAR\n{body}END:VCALENDAR\n")
    } else {
        format!("BEGIN:VCALENDAR\n{CUSTOM}{OUTLOOK}BEGIN:VEVENT\nUID:1\n{body}\nEND:VEVENT\nEND:VCALENDAR\n")
    };
    read(text.as_bytes()).unwrap().remove(0)
}

fn starts_between(body: &str, from: &str, to: &str) -> Vec<String> {
    let at = |text| date_or_time(text).unwrap().civil();
    let series = series_of(&calendar(body)).unwrap();
    let found = series[0].instances(at(from), at(to), &Zone::UTC, 10_000).unwrap();
    found.iter().map(|instance| instance.start.basic()).collect()
}

/// First instances of an event, as UTC, compared with a comma list.
fn case(body: &str, expected: &str) {
    let found = starts_between(body, "19000101T000000", "20300101T000000");
    let expected: Vec<&str> = expected.split(',').filter(|one| !one.is_empty()).collect();
    assert_eq!(
        found.iter().take(expected.len().max(1)).collect::<Vec<_>>(),
        expected.iter().collect::<Vec<_>>(),
        "{body}"
    );
    if body.contains("COUNT=") || body.contains("UNTIL=") || !body.contains("RRULE") {
        assert_eq!(found.len(), expected.len(), "{body}: {found:?}");
    }
}

#[test]
fn override_with_another_sequence_replaces() {
    case(
        "BEGIN:VEVENT\nUID:1\nDTSTART;TZID=Europe/Dublin:20240520T090000\nRRULE:FREQ=WEEKLY;COUNT=3;BYDAY=MO,WE\nSEQUENCE:1\nEND:VEVENT\n\
         BEGIN:VEVENT\nUID:1\nRECURRENCE-ID;TZID=Europe/Dublin:20240522T090000\nDTSTART;TZID=Europe/Dublin:20240522T110000\nSEQUENCE:2\nEND:VEVENT\n",
        "20240520T080000,20240522T100000,20240527T080000",
    );
}

#[test]
fn until_in_utc_with_a_zoned_start() {
    case(
        "DTSTART;TZID=America/New_York:20240308T230000\nRRULE:FREQ=DAILY;UNTIL=20240310T035959Z",
        "20240309T040000",
    );
    case(
        "DTSTART;TZID=Asia/Tokyo:20240501T080000\nRRULE:FREQ=DAILY;UNTIL=20240502T230000Z",
        "20240430T230000,20240501T230000,20240502T230000",
    );
}

#[test]
fn until_as_a_day_local_or_utc() {
    case(
        "DTSTART;TZID=Europe/Berlin:20240520T090000\nRRULE:FREQ=DAILY;UNTIL=20240523",
        "20240520T070000,20240521T070000,20240522T070000,20240523T070000",
    );
    case(
        "DTSTART;TZID=Europe/Berlin:20240520T090000\nRRULE:FREQ=DAILY;UNTIL=20240521T090000",
        "20240520T070000,20240521T070000",
    );
    case(
        "DTSTART;VALUE=DATE:20240501\nRRULE:FREQ=DAILY;UNTIL=20240503T220000Z",
        "20240501T000000,20240502T000000,20240503T000000",
    );
    case("DTSTART;VALUE=DATE:20240501\nRRULE:FREQ=DAILY;UNTIL=20240502", "20240501T000000,20240502T000000");
}

#[test]
fn zones_of_the_object_itself() {
    case("DTSTART;TZID=\"(UTC+01:00) Amsterdam, Berlin\":20240520T090000", "20240520T070000");
    case("DTSTART;TZID=\"(UTC+01:00) Amsterdam, Berlin\":20241220T090000", "20241220T080000");
    case("DTSTART;TZID=Home:20240520T090000", "20240520T033000");
    case("DTSTART;TZID=W. Europe Standard Time:20240520T090000", "20240520T070000");
    case("DTSTART;TZID=/freeassociation.sourceforge.net/Europe/Berlin:20240520T090000", "20240520T070000");
}

#[test]
fn gap_is_shifted_and_fold_is_the_first() {
    case(
        "DTSTART;TZID=Europe/Berlin:20240330T023000\nRRULE:FREQ=DAILY;COUNT=3",
        "20240330T013000,20240331T013000,20240401T003000",
    );
    case(
        "DTSTART;TZID=Europe/Berlin:20241026T023000\nRRULE:FREQ=DAILY;COUNT=3",
        "20241026T003000,20241027T003000,20241028T013000",
    );
}

#[test]
fn hourly_over_the_gap_has_each_hour_once() {
    case(
        "DTSTART;TZID=Europe/Berlin:20240331T000000\nRRULE:FREQ=HOURLY;COUNT=5",
        "20240330T230000,20240331T000000,20240331T010000,20240331T020000,20240331T030000",
    );
}

#[test]
fn rdate_with_periods_and_days() {
    case(
        "DTSTART:20240517T102030Z\nRDATE;VALUE=PERIOD:20240518T100000Z/PT1H",
        "20240517T102030,20240518T100000",
    );
    let body = "DTSTART:20240517T102030Z\nRDATE;VALUE=PERIOD:20240518T100000Z/PT1H,20240519T100000Z/20240519T113000Z\n";
    let series = series_of(&calendar(body)).unwrap();
    let at = |text| date_or_time(text).unwrap().civil();
    let all = series[0].instances(at("20240101"), at("20250101"), &Zone::UTC, 10).unwrap();
    assert_eq!(all.iter().map(|i| i.end.0 - i.start.0).collect::<Vec<_>>(), [0, 3600, 5400]);
    case("DTSTART:20240517T102030Z\nRDATE;VALUE=DATE:20240601", "20240517T102030,20240601T102030");
}

#[test]
fn rfc7529_skip() {
    let body = |skip: &str| {
        format!("DTSTART:20240131T090000Z\nRRULE:RSCALE=GREGORIAN;FREQ=MONTHLY;SKIP={skip};COUNT=4")
    };
    case(&body("OMIT"), "20240131T090000,20240331T090000,20240531T090000,20240731T090000");
    case(&body("FORWARD"), "20240131T090000,20240301T090000,20240331T090000,20240501T090000");
    case(&body("BACKWARD"), "20240131T090000,20240229T090000,20240331T090000,20240430T090000");
    case(
        "DTSTART;VALUE=DATE:20160229\nRRULE:RSCALE=GREGORIAN;FREQ=YEARLY;SKIP=FORWARD;COUNT=4",
        "20160229T000000,20170301T000000,20180301T000000,20190301T000000",
    );
}

#[test]
fn unknown_parts_and_count_zero() {
    case("DTSTART:20240501T100000Z\nRRULE:FREQ=DAILY;COUNT=2;X-FOO=1", "20240501T100000,20240502T100000");
    case("DTSTART:20240501T100000Z\nRRULE:FREQ=DAILY;COUNT=0", "20240501T100000");
}

#[test]
fn every_by_part() {
    let utc = |rule: &str, expected: &str| case(&format!("DTSTART:20240101T090000Z\nRRULE:{rule}"), expected);
    utc(
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=1;COUNT=3",
        "20240101T090000,20240201T090000,20240301T090000",
    );
    utc("FREQ=MONTHLY;BYDAY=-1SU;COUNT=2", "20240101T090000,20240128T090000,20240225T090000");
    utc("FREQ=YEARLY;BYWEEKNO=1;BYDAY=MO;COUNT=3", "20240101T090000,20241230T090000,20251229T090000");
    utc("FREQ=YEARLY;BYYEARDAY=1,-1;COUNT=3", "20240101T090000,20241231T090000,20250101T090000");
    utc("FREQ=MONTHLY;BYMONTHDAY=-1;COUNT=2", "20240101T090000,20240131T090000,20240229T090000");
    utc("FREQ=MONTHLY;BYDAY=MO,2TU;COUNT=3", "20240101T090000,20240108T090000,20240109T090000");
    utc("FREQ=DAILY;BYHOUR=9,10;BYMINUTE=0,30;COUNT=3", "20240101T090000,20240101T093000,20240101T100000");
    utc("FREQ=YEARLY;BYMONTH=1;BYDAY=1MO;COUNT=2", "20240101T090000,20250106T090000");
    utc("FREQ=SECONDLY;INTERVAL=86400;COUNT=2", "20240101T090000,20240102T090000");
    utc("FREQ=MINUTELY;INTERVAL=1440;BYDAY=WE;COUNT=2", "20240101T090000,20240103T090000,20240110T090000");
}

#[test]
fn week_start_changes_every_other_week() {
    let body = |wkst: &str| {
        format!("DTSTART:19970805T090000Z\nRRULE:FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST={wkst}")
    };
    case(&body("MO"), "19970805T090000,19970810T090000,19970819T090000,19970824T090000");
    case(&body("SU"), "19970805T090000,19970817T090000,19970819T090000,19970831T090000");
}

#[test]
fn leap_days() {
    case("DTSTART;VALUE=DATE:20200229\nRRULE:FREQ=YEARLY;COUNT=2", "20200229T000000,20240229T000000");
}

#[test]
fn exdates_as_list_utc_day_and_floating() {
    let rule = "DTSTART;TZID=Europe/Berlin:20240501T090000\nRRULE:FREQ=DAILY;COUNT=4\n";
    let left = "20240501T070000,20240504T070000";
    case(&format!("{rule}EXDATE;TZID=Europe/Berlin:20240502T090000,20240503T090000"), left);
    case(&format!("{rule}EXDATE:20240502T070000Z\nEXDATE:20240503T070000Z"), left);
    case(&format!("{rule}EXDATE;VALUE=DATE:20240502,20240503"), left);
    case(&format!("{rule}EXDATE:20240502T090000\nEXDATE;TZID=America/New_York:20240503T030000"), left);
    case(
        "DTSTART;VALUE=DATE:20240501\nRRULE:FREQ=DAILY;COUNT=3\nEXDATE:20240502T000000",
        "20240501T000000,20240503T000000",
    );
    case("DTSTART:20240501T090000Z\nRRULE:FREQ=DAILY;COUNT=2\nEXRULE:FREQ=DAILY;COUNT=1", "20240502T090000");
}

#[test]
fn this_and_future_moves_the_rest() {
    case(
        "BEGIN:VEVENT\nUID:1\nDTSTART:20240501T090000Z\nRRULE:FREQ=DAILY;COUNT=4\nEND:VEVENT\nBEGIN:VEVENT\nUID:1\n\
         RECURRENCE-ID;RANGE=THISANDFUTURE:20240503T090000Z\nDTSTART:20240503T100000Z\nDURATION:PT2H\nEND:VEVENT\n",
        "20240501T090000,20240502T090000,20240503T100000,20240504T100000",
    );
}

#[test]
fn override_of_nothing_and_without_master_are_instances() {
    let lone = "BEGIN:VEVENT\nUID:1\nRECURRENCE-ID:20240503T090000Z\nDTSTART:20240504T100000Z\nEND:VEVENT\n";
    case(lone, "20240504T100000");
    case(
        &format!("BEGIN:VEVENT\nUID:1\nDTSTART:20240501T090000Z\nEND:VEVENT\n{lone}"),
        "20240501T090000,20240504T100000",
    );
}

#[test]
fn start_outside_of_its_rule_is_an_instance_too() {
    case(
        "DTSTART:20240501T100000Z\nRRULE:FREQ=WEEKLY;BYDAY=TH;COUNT=2",
        "20240501T100000,20240502T100000,20240509T100000",
    );
}

#[test]
fn a_long_instance_that_began_before_the_range() {
    let body = "DTSTART:20240501T100000Z\nDTEND:20240505T100000Z\nRRULE:FREQ=MONTHLY";
    assert_eq!(starts_between(body, "20300104T000000", "20300105T000000"), ["20300101T100000"]);
    assert_eq!(starts_between(body, "20300105T100000", "20300106T000000"), [""; 0]);
}

#[test]
fn exact_length_with_dtend_and_nominal_with_duration() {
    let at = |text| date_or_time(text).unwrap().civil();
    for (end, hours) in [("DTEND;TZID=Europe/Berlin:20240331T000000", 24), ("DURATION:P1D", 23)] {
        let body = format!("DTSTART;TZID=Europe/Berlin:20240330T000000\n{end}\nRRULE:FREQ=DAILY;COUNT=2");
        let series = series_of(&calendar(&body)).unwrap();
        let all = series[0].instances(at("20240330T230000"), at("20240331T000000"), &Zone::UTC, 9).unwrap();
        assert_eq!((all[0].end.0 - all[0].start.0) / 3600, hours);
    }
}

#[test]
fn bombs_end_with_an_error() {
    let at = |text| date_or_time(text).unwrap().civil();
    let count = |body: &str, from, to| {
        let series = series_of(&calendar(body)).unwrap();
        series[0].instances(at(from), at(to), &Zone::UTC, 10_000).map(|all| all.len())
    };
    let all = ("20240101", "20400101");
    assert_eq!(
        count("DTSTART:20240101T000000Z\nRRULE:FREQ=SECONDLY", all.0, all.1),
        Err(Bound::Instances(10_000))
    );
    assert!(
        count("DTSTART:20240101T000000Z\nRRULE:FREQ=SECONDLY;COUNT=4000000000", "20390101", all.1).is_err()
    );
    assert_eq!(
        count("DTSTART:20240101T000000Z\nRRULE:FREQ=SECONDLY;INTERVAL=60;BYSECOND=30", all.0, all.1),
        Err(Bound::Steps(TooManySteps))
    );
    assert_eq!(
        count("DTSTART:20240101T000000Z\nRRULE:FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30", all.0, "99990101"),
        Ok(1)
    );
    assert_eq!(
        count("DTSTART:20240101T000000Z\nRRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", all.0, "99990101"),
        Ok(1)
    );
    let hours: Vec<String> = (0..60).map(|n| n.to_string()).collect();
    let full = format!(
        "DTSTART:20240101T000000Z\nRRULE:FREQ=YEARLY;BYHOUR={};BYMINUTE={m};BYSECOND={m};BYDAY=MO,TU,WE,TH,FR,SA,SU;BYSETPOS=-1",
        hours[..24].join(","),
        m = hours.join(",")
    );
    assert_eq!(count(&full, all.0, "20300101"), Ok(7));
}

#[test]
fn bounds_know_the_last_instance() {
    let bounds = |body: &str| {
        let (first, last) = series_of(&calendar(body)).unwrap()[0].bounds(&Zone::UTC);
        (first.map(Civil::basic), last.map(Civil::basic))
    };
    let some = |text: &str| Some(text.to_string());
    assert_eq!(
        bounds("DTSTART:20240101T090000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=3"),
        (some("20240101T090000"), some("20240103T100000"))
    );
    assert_eq!(bounds("DTSTART:20240101T090000Z\nRRULE:FREQ=DAILY").1, None);
    assert_eq!(bounds("SUMMARY:x"), (None, None));
}
