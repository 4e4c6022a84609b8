use super::*;
use crate::instance::{find, next};
use dav::calendar::zone::Zone;

const SERIES: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:old\r\nDTSTAMP:20240101T000000Z\r\nDTSTART;TZID=Europe/Berlin:20240318T100000\r\nDTEND;TZID=Europe/Berlin:20240318T113000\r\nRRULE:FREQ=WEEKLY;COUNT=8;BYDAY=MO;X-OWN=1\r\nEXDATE;TZID=Europe/Berlin:20240325T100000,20240415T100000\r\nSUMMARY:Choir\r\nX-OWN:kept\r\nEND:VEVENT\r\nBEGIN:VEVENT\r\nUID:old\r\nDTSTAMP:20240101T000000Z\r\nRECURRENCE-ID;TZID=Europe/Berlin:20240422T100000\r\nDTSTART;TZID=Europe/Berlin:20240422T100000\r\nDTEND;TZID=Europe/Berlin:20240422T120000\r\nSUMMARY:Long choir\r\nEND:VEVENT\r\nBEGIN:VEVENT\r\nUID:old\r\nDTSTAMP:20240101T000000Z\r\nRECURRENCE-ID:20240429T080000Z\r\nDTSTART;TZID=Europe/Berlin:20240430T200000\r\nDTEND;TZID=Europe/Berlin:20240430T220000\r\nSUMMARY:Moved choir\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";

fn starts(bytes: &[u8]) -> Vec<String> {
    let from = value::date_or_time("20240101T000000").unwrap().civil();
    next(bytes, from, 50, &Zone::UTC).iter().map(|one| one.start.basic()[2..13].to_string()).collect()
}

fn cut(object: &str, key: &str, form: &str) -> (Option<String>, String) {
    let found = find(object.as_bytes(), key, &Zone::UTC).unwrap();
    let split = split(&found, object.as_bytes(), &Form::parse(form.as_bytes()), &Zone::UTC, "new").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (split.before.map(text), text(split.after))
}

#[test]
fn this_and_all_that_follow() {
    let all = starts(SERIES.as_bytes());
    let form = "title=Choir&zone=Europe/Berlin&start=2024-04-08T10%3A00&end=2024-04-08T11%3A30";
    let (before, after) = cut(SERIES, "20240408T100000", form);
    let before = before.unwrap();
    assert_eq!([starts(before.as_bytes()), starts(after.as_bytes())].concat(), all, "{before}\n{after}");
    assert!(before.contains("RRULE:FREQ=WEEKLY;BYDAY=MO;X-OWN=1;UNTIL=20240408T075959Z\r\n"), "{before}");
    assert!(before.contains("EXDATE;TZID=Europe/Berlin:20240325T100000\r\n"), "{before}");
    assert!(
        after.contains("COUNT=5") && after.contains("EXDATE;TZID=Europe/Berlin:20240415T100000\r\n"),
        "{after}"
    );
    assert_eq!(before.matches("UID:old").count(), 1);
    assert_eq!((after.matches("UID:new").count(), after.matches("UID:old").count()), (3, 0), "{after}");
    assert!(after.contains("X-OWN:kept"));
}

#[test]
fn what_follows_moves_to_another_day_and_takes_its_own_with_it() {
    let form = "title=Band&zone=Europe/Berlin&start=2024-04-09T18%3A00&end=2024-04-09T19%3A00";
    let (before, after) = cut(SERIES, "20240408T100000", form);
    assert_eq!(starts(before.unwrap().as_bytes()), ["240318T0900", "240401T0800"]);
    // The 16th is taken out, the long one goes along, the one that was moved stays where it was put.
    assert_eq!(
        starts(after.as_bytes()),
        ["240409T1600", "240423T1600", "240430T1800", "240507T1600"],
        "{after}"
    );
    assert!(
        after.contains("BYDAY=TU") && after.contains("RECURRENCE-ID;TZID=Europe/Berlin:20240430T180000"),
        "{after}"
    );
    assert!(
        after.contains("DTEND;TZID=Europe/Berlin:20240423T200000"),
        "the long one is as long as it was: {after}"
    );
}

#[test]
fn from_the_first_on_is_the_whole_series() {
    let form = "title=Choir&zone=Europe/Berlin&start=2024-03-18T11%3A00&end=2024-03-18T12%3A30";
    let (before, after) = cut(SERIES, "20240318T100000", form);
    assert!(before.is_none() && after.contains("UID:old") && !after.contains("UID:new"), "{after}");
    assert_eq!(starts(after.as_bytes())[0], "240318T1000");
}

#[test]
fn an_override_says_what_follows() {
    let form = "title=Long choir&zone=Europe/Berlin&start=2024-04-22T10%3A00&end=2024-04-22T12%3A00";
    let (_, after) = cut(SERIES, "20240422T100000", form);
    assert!(after.contains("SUMMARY:Long choir") && !after.contains("SUMMARY:Choir\r"), "{after}");
    assert_eq!(starts(after.as_bytes()), ["240422T0800", "240430T1800", "240506T0800"]);
}

#[test]
fn whole_days_and_rules_with_an_end() {
    let series = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:old\r\nDTSTART;VALUE=DATE:20240112\r\nDTEND;VALUE=DATE:20240113\r\nRRULE:FREQ=MONTHLY;BYDAY=2FR;UNTIL=20240901\r\nRDATE;VALUE=DATE:20240201,20240701\r\nSUMMARY:Bins\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
    let form = "title=Bins&start=2024-05-09T00%3A00&end=2024-05-09T00%3A00&all_day=1";
    let (before, after) = cut(series, "20240510T000000", form);
    let before = before.unwrap();
    assert_eq!(starts(before.as_bytes()).len(), 5, "{before}");
    assert!(
        before.contains("UNTIL=20240509\r\n") && before.contains("RDATE;VALUE=DATE:20240201\r\n"),
        "{before}"
    );
    assert!(after.contains("BYDAY=2TH") && after.contains("RDATE;VALUE=DATE:20240701\r\n"), "{after}");
    assert_eq!(starts(after.as_bytes()).first().map(String::as_str), Some("240509T0000"));
    let found = find(series.as_bytes(), "20240112T000000", &Zone::UTC).unwrap();
    assert!(ended_before(&found, series.as_bytes(), &Zone::UTC).unwrap().is_none());
    // A date that is no hit of a rule that is over: what follows has no rule.
    let over = series.replace("UNTIL=20240901", "UNTIL=20240501");
    let (_, after) =
        cut(&over, "20240701T000000", "title=Bins&start=2024-07-01T00%3A00&end=2024-07-01T00%3A00&all_day=1");
    assert!(!after.contains("RRULE"), "{after}");
}

/// The series of [`SERIES`], which a program changed from 8 April on: an hour later, twice as long, elsewhere.
fn with_range() -> String {
    let late = "BEGIN:VEVENT\r\nUID:old\r\nRECURRENCE-ID;RANGE=THISANDFUTURE;TZID=Europe/Berlin:20240408T100000\r\nDTSTART;TZID=Europe/Berlin:20240408T110000\r\nDURATION:PT3H\r\nSUMMARY:Late choir\r\nX-LATE:kept\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
    SERIES.replace("END:VCALENDAR\r\n", late)
}

#[test]
fn what_a_program_changed_for_all_that_follow_is_cut() {
    let series = with_range();
    let all = starts(series.as_bytes());
    assert_eq!(all[1..4], ["240401T0800", "240408T0900", "240422T0800"], "{all:?}");
    for (key, start, hours, before_has) in [
        ("20240401T100000", "2024-04-01T10%3A00", "11%3A30", 1),
        ("20240408T100000", "2024-04-08T11%3A00", "14%3A00", 2),
        ("20240506T100000", "2024-05-06T11%3A00", "14%3A00", 5),
    ] {
        let day = &start[..10];
        let title = if before_has == 1 { "Choir" } else { "Late choir" };
        let form = format!("title={title}&zone=Europe/Berlin&start={start}&end={day}T{hours}");
        let (before, after) = cut(&series, key, &form);
        let before = before.unwrap();
        let two = (starts(before.as_bytes()), starts(after.as_bytes()));
        assert_eq!((two.0.len(), [two.0, two.1].concat()), (before_has, all.clone()), "{before}\n{after}");
        assert_eq!(before.contains("RANGE="), before_has == 5, "{before}");
        assert_eq!(after.contains("RANGE="), before_has == 1, "{after}");
        assert!(after.contains("X-LATE:kept") && !after.contains("UID:old"), "{after}");
    }
    let found = find(series.as_bytes(), "20240506T100000", &Zone::UTC).unwrap();
    assert_eq!(found.shown().unwrap().start, "2024-05-06T11:00");
    let ended = ended_before(&found, series.as_bytes(), &Zone::UTC).unwrap().unwrap();
    assert_eq!(starts(&ended), all[..5]);
}

#[test]
fn a_range_stays_one_when_the_whole_series_moves() {
    let series = with_range();
    let form = "title=Choir&zone=Europe/Berlin&start=2024-03-18T09%3A00&end=2024-03-18T10%3A30";
    let edited = edited(series.as_bytes(), 0, &Form::parse(form.as_bytes()), false).unwrap();
    let moved = String::from_utf8(rekeyed(series.as_bytes(), &edited, &Zone::UTC).unwrap()).unwrap();
    assert!(moved.contains("RANGE=THISANDFUTURE:20240408T090000"), "{moved}");
    assert_eq!(starts(moved.as_bytes())[..3], ["240318T0800", "240401T0700", "240408T0900"], "{moved}");
}
