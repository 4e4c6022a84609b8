//! What nobody changed comes out byte for byte: the 37 files, and anything else.

use std::path::Path;

use content_lines::{Document, Fault, Limits, Property, PropertyError, TooLarge};
use proptest::prelude::*;

fn files() -> Vec<(String, Vec<u8>)> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut found = Vec::new();
    for folder in ["ics", "vcf"] {
        for entry in std::fs::read_dir(data.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            found.push((
                path.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read(&path).unwrap(),
            ));
        }
    }
    found.sort();
    found
}

fn file(name: &str) -> Document {
    let (_, bytes) = files().into_iter().find(|(file, _)| file == name).unwrap();
    Document::parse(&bytes, &Limits::default()).unwrap()
}

fn parse(bytes: &[u8]) -> Document {
    Document::parse(bytes, &Limits::default()).unwrap()
}

#[test]
fn every_file_comes_out_as_it_went_in() {
    let files = files();
    assert_eq!(files.len(), 37);
    for (name, bytes) in files {
        let document = parse(&bytes);
        assert_eq!(document.to_bytes(), bytes, "{name}");
        assert!(!document.roots().is_empty(), "{name}");
        let faulty = ["14-truncated.ics", "15-mismatched-end.ics", "18-latin1.ics"].contains(&name.as_str());
        assert_eq!(document.faults().is_empty(), !faulty, "{name}: {:?}", document.faults());
    }
}

#[test]
fn an_edit_changes_its_line_and_no_other() {
    for (name, bytes) in files() {
        let before = parse(&bytes);
        for index in 0..before.lines().len() {
            let line = &before.lines()[index];
            if !line.is_property() || line.is("BEGIN") || line.is("END") {
                continue;
            }
            let mut after = before.clone();
            after.set_value(index, "new value, with é".as_bytes()).unwrap();
            let again = parse(&after.to_bytes());
            assert_eq!(again.lines()[index].value(), "new value, with é".as_bytes(), "{name}:{index}");
            assert_eq!(again.lines()[index].name(), line.name(), "{name}:{index}");
            for other in (0..before.lines().len()).filter(|other| *other != index) {
                assert_eq!(again.lines()[other].raw(), before.lines()[other].raw(), "{name}:{index}/{other}");
            }
            let mut undone = after;
            undone.remove(index).unwrap();
            assert_eq!(undone.lines().len(), before.lines().len() - 1);
        }
    }
}

#[test]
fn truncated_and_mismatched_are_reported() {
    let truncated = file("14-truncated.ics");
    assert_eq!(truncated.faults().len(), 2);
    assert!(truncated.faults().iter().all(|fault| matches!(fault, Fault::Unclosed { .. })));
    let mismatched = file("15-mismatched-end.ics");
    assert!(mismatched.faults().contains(&Fault::EndWithoutBegin { line: 5, name: "VTODO".into() }));
    assert!(mismatched.faults().contains(&Fault::Unclosed { line: 3, name: "VEVENT".into() }));
    assert_eq!(file("18-latin1.ics").faults(), [Fault::NotUtf8 { line: 5 }]);
}

#[test]
fn apple_parameters_keep_quotes_and_read_plain() {
    let document = file("01-apple-ios.ics");
    let event = document.find_component("vevent").unwrap();
    let place = document.property(event, "X-Apple-Structured-Location").unwrap();
    assert_eq!(place.value(), b"geo:53.34,-6.26");
    assert_eq!(place.parameter_values("x-title"), ["Café: The 'Best'; place"]);
    let attendee = document.property(event, "ATTENDEE").unwrap();
    assert_eq!(attendee.parameter_values("MEMBER"), ["mailto:a@x", "mailto:b@x"]);
    assert_eq!(attendee.parameter("MEMBER").unwrap().raw(), br#"MEMBER="mailto:a@x","mailto:b@x""#);
}

#[test]
fn rfc6868_and_quoted_colons_are_read() {
    let document = file("09-rfc6868.ics");
    let event = document.find_component("VEVENT").unwrap();
    let attendee = document.property(event, "ATTENDEE").unwrap();
    assert_eq!(attendee.parameter_values("CN"), ["George Herman \"Babe\" Ruth\nline2"]);
    assert_eq!(document.property(event, "DESCRIPTION").unwrap().value(), b"quoted colon first");
    let comment = document.property(event, "COMMENT").unwrap();
    assert_eq!(comment.parameter_values("X-A"), ["a;b=c:d,e"]);
    assert_eq!(comment.value(), b"val:with:colons");
}

#[test]
fn folds_are_undone_octet_by_octet() {
    let document = file("10-fold-space.ics");
    let event = document.find_component("VEVENT").unwrap();
    assert_eq!(document.property(event, "SUMMARY").unwrap().value(), b"hello  world  twothree");
    assert_eq!(document.property(event, "LOCATION").unwrap().value(), b"trailing space   ");
    let split = file("08-foldsplit-utf8.ics");
    let event = split.find_component("VEVENT").unwrap();
    assert!(split.property(event, "SUMMARY").unwrap().value_str().unwrap().starts_with("aéé"));
    let many = file("17-many-param-values.ics");
    let event = many.find_component("VEVENT").unwrap();
    assert_eq!(many.property(event, "ATTENDEE").unwrap().parameter_values("DELEGATED-TO").len(), 14);
}

#[test]
fn vcard_2_1_bare_types_and_soft_breaks() {
    let document = file("05-outlook-v21.vcf");
    let card = document.roots()[0];
    assert_eq!(document.property(card, "TEL").unwrap().parameter_values("type"), ["WORK", "VOICE"]);
    let home = document.property(card, "ADR").unwrap();
    assert_eq!(home.value_decoded().as_ref(), ";;Straße 1\r\nHinterhaus;Berlin;;10115;Germany".as_bytes());
    assert_eq!(document.property(card, "N").unwrap().value_decoded().as_ref(), "Müller;Jörg".as_bytes());
}

#[test]
fn groups_case_bom_and_several_objects() {
    let apple = file("01-apple-ios-v3.vcf");
    let label = apple.property(apple.roots()[0], "x-ablabel").unwrap();
    assert_eq!((label.group(), label.name()), (Some(&b"item1"[..]), &b"X-ABLabel"[..]));
    let bom = file("13-bom.ics");
    assert!(bom.component(bom.roots()[0]).is("VCALENDAR"));
    assert_eq!(file("11-two-cals.ics").roots().len(), 2);
    assert_eq!(file("14-two-cards.vcf").roots().len(), 2);
    let lower = file("12-lowercase.ics");
    let event = lower.find_component("VEVENT").unwrap();
    assert_eq!(lower.property(event, "UID").unwrap().value(), b"low");
}

#[test]
fn properties_and_parameters_are_added_and_removed() {
    let mut card = file("10-v4-no-final-newline.vcf");
    let id = card.roots()[0];
    let property = Property::text("NOTE", "a, b\nc").group("item1").parameter("X-A", ["x:y", "\"q\""]);
    let line = card.add_property(id, &property).unwrap();
    assert_eq!(card.lines()[line].raw(), b"item1.NOTE;X-A=\"x:y\",^'q^':a\\, b\\nc\r\n");
    card.set_parameter(line, "x-a", &["z"]).unwrap();
    card.set_parameter(line, "PREF", &["1"]).unwrap();
    assert_eq!(card.lines()[line].raw(), b"item1.NOTE;x-a=z;PREF=1:a\\, b\\nc\r\n");
    assert_eq!(card.remove_parameter(line, "X-A"), Ok(1));
    assert_eq!(card.lines()[line].raw(), b"item1.NOTE;PREF=1:a\\, b\\nc\r\n");
    card.set_property(id, "FN", &Property::text("FN", "Jane")).unwrap();
    card.remove(line).unwrap();
    assert_eq!(card.to_bytes(), b"BEGIN:VCARD\r\nVERSION:4.0\r\nFN:Jane\r\nEND:VCARD");
    assert_eq!(
        card.add_property(id, &Property::raw("X", "a\r\nEND:VCARD")),
        Err(PropertyError::LineEnd("X".into()))
    );
    assert_eq!(card.add_property(id, &Property::raw("END", "VCARD")), Err(PropertyError::Structure));
    assert!(matches!(card.add_property(id, &Property::raw("A:B", "")), Err(PropertyError::Name(_))));
}

#[test]
fn components_go_in_and_out_whole() {
    let mut calendar = file("05-allday-lf.ics");
    let before = calendar.to_bytes();
    let root = calendar.roots()[0];
    calendar.add_component(root, b"BEGIN:VEVENT\nUID:n\nEND:VEVENT").unwrap();
    assert!(calendar.to_bytes().ends_with(b"END:VEVENT\nBEGIN:VEVENT\nUID:n\nEND:VEVENT\nEND:VCALENDAR\n"));
    let added = *calendar.component(root).children.last().unwrap();
    assert_eq!(calendar.component_bytes(added), b"BEGIN:VEVENT\nUID:n\nEND:VEVENT\n");
    calendar.remove_component(added).unwrap();
    assert_eq!(calendar.to_bytes(), before);
    assert_eq!(calendar.add_component(root, b"UID:x\n"), Err(PropertyError::NotComponents));
    assert_eq!(calendar.add_component(root, b"BEGIN:VEVENT\n"), Err(PropertyError::NotComponents));
}

#[test]
fn limits_refuse_before_work_is_done() {
    let limits =
        Limits { document_bytes_max: 40, lines_max: 3, line_bytes_max: 20, parameters_max: 2, depth_max: 2 };
    let refused = |bytes: &[u8]| Document::parse(bytes, &limits).unwrap_err();
    assert_eq!(refused(&[b'a'; 41]), TooLarge::Document(41, 40));
    assert_eq!(refused(b"A:1\nB:2\nC:3\nD:4\n"), TooLarge::Lines(3));
    assert_eq!(refused(b"A:12345678901234567890\n"), TooLarge::Line(0, 20));
    assert_eq!(refused(b"A:1234567890\n 1234567890\n"), TooLarge::Line(0, 20));
    assert_eq!(refused(b"A;a;b;c:1\n"), TooLarge::Parameters(0, 2));
    assert_eq!(refused(b"A;a=1,2,3:1\n"), TooLarge::Parameters(0, 2));
    assert_eq!(refused(b"BEGIN:A\nBEGIN:B\nBEGIN:C\n"), TooLarge::Depth(2, 2));
}

/// Bytes that look like content lines often enough to be interesting.
fn likely() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"BEGIN:".to_vec()),
        Just(b"END:".to_vec()),
        Just(b"VEVENT".to_vec()),
        Just(b"VCARD\r\nVERSION:2.1".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r\n ".to_vec()),
        Just(b"\n\t".to_vec()),
        Just(b"A.B;C=\"d".to_vec()),
        Just(b";ENCODING=QUOTED-PRINTABLE:=".to_vec()),
        Just(b";,\":=".to_vec()),
        Just(b"\xef\xbb\xbf".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..6),
        "[A-Za-z:;=,\"]{0,9}".prop_map(String::into_bytes),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn anything_comes_out_as_it_went_in(bytes in likely()) {
        let document = parse(&bytes);
        prop_assert_eq!(document.to_bytes(), bytes);
        for (id, component) in document.components().iter().enumerate() {
            prop_assert!(component.last < document.lines().len());
            for line in document.lines_of(content_lines::ComponentId(id)) {
                prop_assert_eq!(document.owner(line), Some(content_lines::ComponentId(id)));
            }
        }
        for line in document.lines() {
            for parameter in line.parameters() {
                prop_assert!(parameter.values().all(|value| value.decoded().len() <= 3 * value.raw.len()));
            }
            line.value_decoded();
        }
    }

    #[test]
    fn what_is_set_is_read_back(bytes in likely(), value in "[^\r\n\\x00]{0,200}", at in 0usize..40) {
        let mut document = parse(&bytes);
        prop_assume!(!document.lines().is_empty());
        let at = at % document.lines().len();
        let raws: Vec<Vec<u8>> = document.lines().iter().map(|line| line.raw().to_vec()).collect();
        if document.set_value(at, value.as_bytes()).is_ok() {
            prop_assert_eq!(document.lines()[at].value(), value.as_bytes());
            for (index, line) in document.lines().iter().enumerate().filter(|(index, _)| *index != at) {
                prop_assert_eq!(line.raw(), &raws[index][..]);
            }
        }
    }
}
