use super::*;
use crate::reading::read;

fn converted(body: &str, from: &str, to: Version) -> Vec<String> {
    let text = format!("BEGIN:VCARD\nVERSION:{from}\n{body}\nEND:VCARD\n");
    let card = read(text.as_bytes()).unwrap().remove(0);
    let out = convert(&card, to).unwrap();
    let again = read(out.as_bytes()).unwrap().remove(0);
    assert_eq!(convert(&again, to), None);
    again.properties.iter().map(line_of).collect()
}

fn has(lines: &[String], wanted: &str) {
    assert!(lines.iter().any(|line| line == wanted), "{wanted} is not in {lines:#?}");
}

#[test]
fn apple_3_as_4() {
    let lines = converted(
        "N:O’Hara;Siobhán;;;\nFN:S\nitem1.EMAIL;type=INTERNET;type=HOME;type=pref:s@example.org\nitem1.X-ABLabel:_$!<HomePage>!$_\n\
         BDAY;X-APPLE-OMIT-YEAR=1604:1604-03-12\nPHOTO;ENCODING=b;TYPE=JPEG:AAEC\nX-ADDRESSBOOKSERVER-KIND:group\nREV:2024-05-17T10:20:30Z\nUID:5D2A\nGEO:48.2;16.37\nCLASS:PRIVATE",
        "3.0",
        Version::V4,
    );
    has(&lines, "VERSION:4.0");
    has(&lines, "item1.EMAIL;TYPE=HOME;PREF=1:s@example.org");
    has(&lines, "item1.X-ABLABEL:_$!<HomePage>!$_");
    has(&lines, "BDAY:--0312");
    has(&lines, "PHOTO:data:image/jpeg;base64,AAEC");
    has(&lines, "KIND:group");
    has(&lines, "REV:20240517T102030Z");
    has(&lines, "UID;VALUE=text:5D2A");
    has(&lines, "GEO:geo:48.2,16.37");
    has(&lines, "X-CLASS:PRIVATE");
}

#[test]
fn davx5_4_as_3() {
    let lines = converted(
        "FN:Max; M\nTEL;VALUE=uri;TYPE=\"voice,home\":tel:+1-555;ext=5\nEMAIL;PREF=1:m@x\nBDAY:--0412\nANNIVERSARY:20090808\n\
         PHOTO:data:image/png;base64,AAEC\nKIND:group\nMEMBER:urn:uuid:1\nADR;LABEL=\"a, b\":;;S;;;;",
        "4.0",
        Version::V3,
    );
    has(&lines, "N:Max\\; M;;;;");
    has(&lines, "TEL;TYPE=voice,home:+1-555 ext. 5");
    has(&lines, "EMAIL;TYPE=pref:m@x");
    has(&lines, "BDAY;X-APPLE-OMIT-YEAR=1604:1604-04-12");
    has(&lines, "X-ANNIVERSARY:2009-08-08");
    has(&lines, "PHOTO;ENCODING=b;TYPE=PNG:AAEC");
    has(&lines, "X-ADDRESSBOOKSERVER-MEMBER:urn:uuid:1");
    has(&lines, "ADR;LABEL=\"a, b\":;;S;;;;");
}

#[test]
fn outlook_2_1_as_3() {
    let lines = converted(
        "N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:M=C3=BCller;J=C3=B6rg\nTEL;WORK;VOICE:1\n\
         ADR;WORK;PREF;ENCODING=QUOTED-PRINTABLE:;;Stra=C3=9Fe 1=0D=0A=\nHinterhaus;Berlin;;10115;Germany\nPHOTO;JPEG;BASE64:AA\n  EC",
        "2.1",
        Version::V3,
    );
    has(&lines, "FN:Jörg Müller");
    has(&lines, "N:Müller;Jörg");
    has(&lines, "TEL;TYPE=WORK;TYPE=VOICE:1");
    has(&lines, "ADR;TYPE=WORK;TYPE=PREF:;;Straße 1\\nHinterhaus;Berlin;;10115;Germany");
    has(&lines, "PHOTO;TYPE=JPEG;ENCODING=b:AAEC");
}
