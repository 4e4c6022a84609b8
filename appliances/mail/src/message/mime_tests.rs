use super::*;

const NESTED: &[u8] = b"Content-Type: multipart/mixed; boundary=a\r\n\r\npre --a amble\r\n--a\r\n\r\none --a in text\r\nmore\r\n\
--a\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\nContent-Type: multipart/alternative; boundary=\"b c\"\r\n\r\n\
--b c\r\n\r\nplain\r\n--b c\r\nContent-Type: text/html\r\n\r\n<p>\r\n--b c--\r\n\r\n--a--\r\nafter\r\n";

#[test]
fn a_boundary_in_the_midst_of_a_line_is_text() {
    let root = parse(NESTED);
    assert_eq!(root.children.len(), 2);
    assert_eq!(&NESTED[root.children[0].body.clone()], b"one --a in text\r\nmore");
}

#[test]
fn rfc3501_6_4_5_section_numbers() {
    let root = parse(NESTED);
    let text = |path: &[u32]| part_at(&root, path).map(|p| &NESTED[p.body.clone()]);
    assert_eq!(text(&[1]), Some(&b"one --a in text\r\nmore"[..]));
    assert_eq!(text(&[2, 1]), Some(&b"plain"[..]));
    assert_eq!(text(&[2, 2]), Some(&b"<p>"[..]));
    assert_eq!(text(&[3]), None);
    assert_eq!(text(&[1, 1]), None);
}

/// The defect for which mail-parser is not our reader (docs/decisions/0400): when this fails, it is repaired.
#[test]
fn mail_parser_0_11_9_cuts_a_body_at_a_boundary_in_a_line() {
    let raw = b"Content-Type: multipart/mixed; boundary=abc\r\n\r\n--abc\r\n\r\nline one mentions --abc in text\r\nline two\r\n--abc--\r\n";
    let theirs = mail_parser::MessageParser::default().parse(&raw[..]).unwrap();
    assert!(!theirs.body_text(0).unwrap().contains("line two"));
    assert_eq!(&raw[parse(raw).children[0].body.clone()], b"line one mentions --abc in text\r\nline two");
}

#[test]
fn an_unterminated_multipart_keeps_its_last_part() {
    let raw = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nhello\r\n";
    assert_eq!(&raw[parse(raw).children[0].body.clone()], b"hello\r\n");
}

#[test]
fn rfc2231_continuations_and_charsets() {
    let (_, params) =
        parameters(b" text/plain; name*0*=utf-8''Gr%C3%BC; name*1=\"n.txt\" (comment; here); x=y");
    assert_eq!(params, [("x".into(), "y".into()), ("name*".into(), "utf-8''Gr%C3%BCn.txt".into())]);
    assert_eq!(lookup(&params, "NAME").as_deref(), Some("Grün.txt"));
    let read = |value: &str| {
        let (_, params) = parameters(value.as_bytes());
        (params[0].clone(), lookup(&params, "n").map(Cow::into_owned).unwrap())
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(read("x; n*1=b; n*0=\"a \""), (pair("n", "a b"), "a b".into()));
    assert_eq!(read("x; n*0=\"50% '\"; n*1*=%E9"), (pair("n*", "''50%25%20%27%E9"), "50% '\u{fffd}".into()));
    assert_eq!(read("x; n*=iso-8859-1''caf%e9; n=cafe"), (pair("n", "cafe"), "café".into()));
    assert_eq!(read("x; n*=plain.txt"), (pair("n*", "plain.txt"), "plain.txt".into()));
}

#[test]
fn depth_and_number_of_parts_are_bounded() {
    let mut deep = Vec::new();
    for i in 0..5000 {
        deep.extend_from_slice(
            format!("Content-Type: multipart/mixed; boundary=b{i}\r\n\r\n--b{i}\r\n").as_bytes(),
        );
    }
    parse(&deep);
    let wide =
        [b"Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_vec(), b"--b\r\n\r\n".repeat(100_000)]
            .concat();
    assert!(parse(&wide).children.len() <= limits::MIME_PARTS_MAX);
}

proptest::proptest! {
    #[test]
    fn any_bytes_give_ranges_inside_the_message(raw in proptest::collection::vec(
        proptest::sample::select(&b"-ab\r\n:;/ =\"Content-Type: multipart/mixed; boundary=a"[..]), 0..400)) {
        fn check(e: &Entity, len: usize) {
            assert!(e.header.start <= e.header.end && e.body.start <= e.body.end && e.body.end <= len);
            e.children.iter().for_each(|c| check(c, len));
        }
        let prefix = b"Content-Type: multipart/mixed; boundary=a\r\n\r\n".to_vec();
        let raw = [prefix, raw].concat();
        check(&parse(&raw), raw.len());
    }
}
