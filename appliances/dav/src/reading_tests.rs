use super::*;

fn one(text: &str) -> Component {
    read(text.as_bytes()).unwrap().remove(0)
}

#[test]
fn folds_inside_characters_and_spaces_at_folds() {
    let card = one("BEGIN:VCARD\r\nNOTE:a \r\n  b\r\n\tc\r\nEND:VCARD\r\n");
    assert_eq!(card.value("NOTE"), Some("a  bc"));
    let mut bytes = b"BEGIN:VCARD\r\nFN:a\xc3\r\n \xa9b\r\nEND:VCARD".to_vec();
    assert_eq!(read(&bytes).unwrap()[0].value("FN"), Some("aéb"));
    bytes[17] = b'!';
    assert_eq!(read(&bytes), Err(Unreadable::NotUtf8));
}

#[test]
fn parameters_quotes_carets_and_bare_words() {
    let card = one(
        "begin:vcard\nitem1.tel;WORK;type=\"a,b\",c;X-T=\"a;b:c\";Q=x^n^'^^y:v:w\nADR;ENCODING=QUOTED-PRINTABLE:=C3=9F=\n =41\nend:vcard\n",
    );
    let tel = card.property("TEL").unwrap();
    assert_eq!(tel.group.as_deref(), Some("item1"));
    assert_eq!(tel.types(), ["work", "a", "b", "c"]);
    assert_eq!(tel.parameter("X-T"), Some("a;b:c"));
    assert_eq!(tel.parameter("Q"), Some("x\n\"^y"));
    assert_eq!(tel.value, "v:w");
}

#[test]
fn what_is_no_object() {
    for (text, error) in [
        ("BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VTODO\nEND:VCALENDAR", Unreadable::WrongEnd(3)),
        ("BEGIN:VCALENDAR\nUID:1\n", Unreadable::Truncated("VCALENDAR".into())),
        ("UID:1\n", Unreadable::Outside(1)),
        ("BEGIN:VCARD\nnonsense\nEND:VCARD", Unreadable::NoProperty(2)),
    ] {
        assert_eq!(read(text.as_bytes()), Err(error), "{text}");
    }
    let deep = "BEGIN:X\n".repeat(1000);
    assert_eq!(read(deep.as_bytes()), Err(Unreadable::TooLarge));
}

#[test]
fn escapes() {
    assert_eq!(unescape("a\\nb\\Nc\\,d\\;e\\\\f\\\\ng\\:h\\t\\"), "a\nb\nc,d;e\\f\\ng:h\\t\\");
    assert_eq!(unescape(&escape("a\n,;\\x")), "a\n,;\\x");
    assert_eq!(split("a\\;b;c;", ';'), ["a\\;b", "c", ""]);
}

proptest::proptest! {
    #[test]
    fn nothing_makes_it_panic(bytes in proptest::collection::vec(proptest::sample::select(&b"BEGINDVCAR:;,=\"^\r\n \t.\xc3\xa9x\\"[..]), 0..200)) {
        if let Ok(components) = read(&bytes) {
            for component in &components {
                assert!(component.range.end <= bytes.len());
            }
        }
    }
}
