//! Commands as clients send them, named by the RFC that shows them.

use super::*;
use proptest::prelude::*;

const LIMITS: Limits = Limits { command_bytes_max: 8_192, message_bytes_max: 100_000 };

fn body(line: &str) -> Body<'_> {
    parse(line.as_bytes(), false).unwrap_or_else(|e| panic!("{line}: {}", e.why)).body
}

fn why(line: &str) -> &'static str {
    parse(line.as_bytes(), false).expect_err(line).why
}

fn frames(input: &[u8]) -> Vec<Frame> {
    let mut framer = Framer::new();
    framer.push(input);
    let mut all = Vec::new();
    loop {
        match framer.next(LIMITS) {
            Frame::Incomplete => return all,
            frame => all.push(frame),
        }
    }
}

#[test]
fn rfc3501_6_2_3_login_with_literals() {
    let mut framer = Framer::new();
    framer.push(b"A001 LOGIN {11}\r\n");
    assert_eq!(framer.next(LIMITS), Frame::Continue);
    assert_eq!(framer.next(LIMITS), Frame::Incomplete);
    framer.push(b"FRED FOOBAR {7}\r\n");
    assert_eq!(framer.next(LIMITS), Frame::Continue);
    framer.push(b"fat man\r\nA002 NOOP\r\n");
    let Frame::Command(frame) = framer.next(LIMITS) else { panic!() };
    let Body::Login { user, password } = parse(&frame, false).unwrap().body else { panic!() };
    assert_eq!((user.as_str(), &password[..]), ("FRED FOOBAR", &b"fat man"[..]));
    assert_eq!(framer.next(LIMITS), Frame::Command(b"A002 NOOP".to_vec()));
}

#[test]
fn rfc7888_non_synchronising_literals_need_no_continuation() {
    assert_eq!(
        frames(b"a LOGIN {3+}\r\nbob {2+}\r\npw\r\nb NOOP\r\n"),
        [Frame::Command(b"a LOGIN {3+}\r\nbob {2+}\r\npw".to_vec()), Frame::Command(b"b NOOP".to_vec())]
    );
}

#[test]
fn a_message_that_is_too_big_is_refused_and_the_next_command_is_read() {
    let tag = Some("a".to_owned());
    assert_eq!(
        frames(b"a APPEND x {100001}\r\nb NOOP\r\n"),
        [Frame::TooBig { tag: tag.clone(), message: true }, Frame::Command(b"b NOOP".to_vec())]
    );
    let mut input = b"a APPEND x {100001+}\r\n".to_vec();
    input.extend(vec![b'm'; 100_001]);
    input.extend(b"\r\nb NOOP\r\n");
    assert_eq!(frames(&input), [Frame::TooBig { tag, message: true }, Frame::Command(b"b NOOP".to_vec())]);
}

/// Found by fuzzing: what followed a line that was too long was taken for commands, though the line had announced it as a
/// literal; and whether it was depended on the pieces in which it came.
#[test]
fn a_literal_behind_a_line_that_is_too_long_is_passed_over() {
    for len in LIMITS.command_bytes_max - 30..LIMITS.command_bytes_max + 30 {
        let mut input = b"a ".to_vec();
        input.resize(len, b'u');
        input.extend(b"{12+}\r\nx DELETE y\r\n\r\nb NOOP\r\n");
        for size in [1, 7, 16, 1000, input.len()] {
            let mut framer = Framer::new();
            let mut commands = Vec::new();
            for piece in input.chunks(size) {
                framer.push(piece);
                loop {
                    match framer.next(LIMITS) {
                        Frame::Command(command) => commands.push(command),
                        Frame::Incomplete => break,
                        frame => assert_eq!(frame, Frame::TooBig { tag: Some("a".into()), message: false }),
                    }
                }
            }
            assert_eq!(commands.last().map(Vec::as_slice), Some(&b"b NOOP"[..]), "{len} in pieces of {size}");
            assert!(commands.iter().all(|command| !command.starts_with(b"x")), "{len} in pieces of {size}");
        }
    }
}

#[test]
fn a_line_without_end_is_dropped_in_bounded_memory() {
    let mut framer = Framer::new();
    for _ in 0..1000 {
        framer.push(&[b'x'; 4096]);
        assert_eq!(framer.next(LIMITS), Frame::Incomplete);
        assert!(framer.pending() <= LIMITS.command_bytes_max + 4096);
    }
    framer.push(b"\r\nb NOOP\r\n");
    assert!(matches!(framer.next(LIMITS), Frame::TooBig { message: false, .. }));
    assert_eq!(framer.next(LIMITS), Frame::Command(b"b NOOP".to_vec()));
}

#[test]
fn rfc3501_6_3_11_append_with_flags_and_date() {
    let frame = b"A003 APPEND saved-messages (\\Seen $Label) \"17-Jul-1996 02:44:25 -0700\" {5}\r\nhello";
    let Body::Append(mailbox, messages) = parse(frame, false).unwrap().body else { panic!() };
    assert_eq!(mailbox, "saved-messages");
    assert_eq!(messages[0].flags, ["\\Seen", "$Label"]);
    assert_eq!(messages[0].date, Some((837_596_665, -420)));
    assert_eq!(messages[0].message, b"hello");
}

#[test]
fn rfc3502_multiappend_and_rfc6855_utf8() {
    let frame = b"A APPEND x {2+}\r\nab (\\Flagged) UTF8 (~{1+}\r\nc)";
    let Body::Append(_, messages) = parse(frame, true).unwrap().body else { panic!() };
    assert_eq!(messages.iter().map(|m| m.message).collect::<Vec<_>>(), [&b"ab"[..], b"c"]);
}

#[test]
fn rfc3501_6_4_5_fetch_sections() {
    let Body::Fetch(fetch) =
        body("a FETCH 2:4,9:* (FLAGS BODY.PEEK[1.2.HEADER.FIELDS (DATE FROM)]<0.100> BODY[])")
    else {
        panic!()
    };
    assert_eq!(fetch.set, SetOrSaved::Set(Set::from_ranges(vec![(2, 4), (9, Set::STAR)])));
    let section = Section { path: vec![1, 2], part: Part::Fields(vec!["DATE".into(), "FROM".into()]) };
    assert_eq!(
        fetch.items[1],
        FetchItem::Section { section: section.clone(), partial: Some((0, 100)), peek: true }
    );
    assert!(fetch.items[2].sets_seen() && !fetch.items[1].sets_seen());
    let mut out = Vec::new();
    section.write(&mut out);
    assert_eq!(out, b"1.2.HEADER.FIELDS (DATE FROM)");
    let Body::Fetch(fetch) = body("a UID FETCH 1:* FULL (CHANGEDSINCE 12345 VANISHED)") else { panic!() };
    assert_eq!((fetch.items.len(), fetch.changed_since, fetch.vanished), (5, Some(12_345), true));
    assert!(why("a FETCH 1:* FLAGS (CHANGEDSINCE 1 VANISHED)").contains("VANISHED"));
    assert!(why("a FETCH 0 FLAGS").contains("zero"));
}

#[test]
fn rfc3501_6_4_4_search_keys() {
    let Body::Search(search) = body("A282 SEARCH FLAGGED SINCE 1-Feb-1994 NOT FROM \"Smith\"") else {
        panic!()
    };
    let Key::And(keys) = &search.key else { panic!() };
    assert_eq!(keys[0], Key::Flag("\\Flagged".into()));
    assert_eq!(keys[1], Key::Since(Date { year: 1994, month: 2, day: 1 }));
    assert_eq!(keys[2], Key::Not(Box::new(Key::Header("from".into(), "Smith".into()))));
    assert!(
        matches!(body("a UID SEARCH RETURN (MIN COUNT SAVE) OR (1:3 SEEN) UID $"), Body::Search(s) if s.uid)
    );
    assert!(
        matches!(body("a SEARCH RETURN () ALL"), Body::Search(s) if s.returns == Some(vec![ReturnOption::All]))
    );
    assert!(
        matches!(body("a SEARCH MODSEQ \"/flags/\\\\draft\" all 620162338"), Body::Search(s) if s.key.wants_modseq())
    );
    let deep = format!("a SEARCH {}ALL{}", "(".repeat(60), ")".repeat(60));
    assert!(why(&deep).contains("deep"));
}

#[test]
fn rfc7162_3_2_5_qresync_select() {
    let Body::Select { qresync: Some(known), read_only: false, .. } =
        body("A03 SELECT INBOX (QRESYNC (67890007 90060115194045000 41,43:211,214:541 (1,3 5,9)))")
    else {
        panic!()
    };
    assert_eq!((known.uid_validity, known.modseq), (67_890_007, 90_060_115_194_045_000));
    assert!(known.known_uids.is_some() && known.samples.is_some());
    assert!(matches!(body("a EXAMINE x (CONDSTORE)"), Body::Select { condstore: true, read_only: true, .. }));
    assert!(
        matches!(body("a SELECT x (QRESYNC (1 2 (1 5)))"), Body::Select { qresync: Some(q), .. } if q.samples.is_some())
    );
}

#[test]
fn rfc7162_3_1_3_store_unchangedsince() {
    let Body::Store(store) =
        body("a103 UID STORE 6,4,8 (UNCHANGEDSINCE 12121230045) +FLAGS.SILENT (\\Deleted)")
    else {
        panic!()
    };
    assert_eq!(
        (store.unchanged_since, store.silent, store.action),
        (Some(12_121_230_045), true, FlagsAction::Add)
    );
    assert!(matches!(body("a STORE 1 FLAGS \\Seen foo"), Body::Store(s) if s.flags.len() == 2));
}

#[test]
fn rfc5258_list_extended_and_rfc5819_status() {
    let Body::List(list) = body(
        "A LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (\"INBOX\" \"Drafts/%\") RETURN (CHILDREN STATUS (MESSAGES SIZE))",
    ) else {
        panic!()
    };
    assert_eq!(list.patterns, ["INBOX", "Drafts/%"]);
    assert_eq!(list.returns[1], ListReturn::Status(vec![StatusItem::Messages, StatusItem::Size]));
    assert!(matches!(body("a LIST \"\" %"), Body::List(l) if !l.extended && l.patterns == ["%"]));
    assert!(matches!(body("a LSUB \"\" *"), Body::List(l) if l.lsub));
    assert!(why("a LIST (RECURSIVEMATCH) \"\" *").contains("RECURSIVEMATCH"));
}

#[test]
fn rfc3501_5_1_3_modified_utf7() {
    assert_eq!(decode_utf7(b"~peter/mail/&U,BTFw-/&ZeVnLIqe-").unwrap(), "~peter/mail/台北/日本語");
    for bad in [&b"&Jjo!"[..], b"&U,BTFw-&ZeVnLIqe", b"&AEE-", b"\xff", b"&AG-"] {
        assert_eq!(decode_utf7(bad), None);
    }
    assert!(matches!(body("a SELECT inBox"), Body::Select { mailbox, .. } if mailbox == "INBOX"));
}

#[test]
fn what_is_no_command_is_refused_with_its_tag() {
    for line in ["", " NOOP", "+ NOOP", "(a NOOP"] {
        assert_eq!(parse(line.as_bytes(), false).unwrap_err().tag, None, "{line}");
    }
    for line in [
        "a",
        "a ",
        "a NOOP x",
        "a LOGIN bob",
        "a UID NOOP",
        "a STORE 1 BAGS x",
        "a ID (\"name\")",
        "a SELECT &",
    ] {
        assert_eq!(parse(line.as_bytes(), false).unwrap_err().tag.as_deref(), Some("a"), "{line}");
    }
}

#[test]
fn sets_resolve_against_the_largest_number() {
    let set = |line: &'static str| match body(line) {
        Body::Copy { set: SetOrSaved::Set(set), .. } => set,
        _ => panic!(),
    };
    assert_eq!(
        set("a COPY 5:*,1,2:3 x").resolve(3),
        [(1, 3), (3, 5)].iter().fold(Vec::new(), |_, _| vec![(1, 5)])
    );
    assert_eq!(set("a COPY *:4,6 x").resolve(8), [(4, 8)]);
    assert_eq!(set("a COPY 1:* x").resolve(0), []);
    assert_eq!(Set::from_sorted([1, 2, 3, 7]).ranges(), [(1, 3), (7, 7)]);
}

proptest! {
    #[test]
    fn any_name_survives_utf7(name in "\\PC*") {
        prop_assert_eq!(decode_utf7(encode_utf7(&name).as_bytes()), Some(name));
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes, true);
        let _ = parse(&[b"a SEARCH ", &bytes[..]].concat(), false);
        let _ = parse(&[b"a FETCH 1 ", &bytes[..]].concat(), false);
    }

    #[test]
    fn under_small_limits_no_pieces_make_other_commands(
        verb in prop::sample::select(vec!["", "a APPEND x "]),
        input in prop::collection::vec(prop::sample::select(&b"a {{}}++12\r\r\n\n"[..]), 0..200),
        size in 1usize..40,
    ) {
        let limits = Limits { command_bytes_max: 30, message_bytes_max: 40 };
        let input = [verb.as_bytes(), &input].concat();
        let commands = |size: usize| {
            let (mut framer, mut found) = (Framer::new(), Vec::new());
            for piece in input.chunks(size) {
                framer.push(piece);
                loop {
                    match framer.next(limits) {
                        Frame::Command(command) => found.push(command),
                        Frame::Incomplete => break,
                        Frame::Lost => return found,
                        Frame::Continue | Frame::TooBig { .. } => {}
                    }
                }
            }
            found
        };
        prop_assert_eq!(commands(input.len().max(1)), commands(size));
    }

    #[test]
    fn commands_are_cut_the_same_however_their_bytes_arrive(
        lines in proptest::collection::vec("[a-c]{1,3} (NOOP|LOGIN \\{2\\+\\}\r\nab \\{1\\+\\}\r\n.|APPEND x \\{4\\+\\}\r\nabcd|APPEND x \\{200000\\}|NOOP x{0,9000})", 0..8),
        cuts in proptest::collection::vec(1usize..50, 1..60),
    ) {
        let mut input: Vec<u8> = Vec::new();
        for line in &lines {
            input.extend(line.as_bytes());
            input.extend(b"\r\n");
        }
        let whole = frames(&input);
        let (mut framer, mut pieces, mut at) = (Framer::new(), Vec::new(), 0);
        for cut in cuts.iter().chain(std::iter::repeat(&7777)) {
            let end = (at + cut).min(input.len());
            framer.push(&input[at..end]);
            at = end;
            loop {
                match framer.next(LIMITS) {
                    Frame::Incomplete => break,
                    frame => pieces.push(frame),
                }
            }
            if at == input.len() {
                break;
            }
        }
        prop_assert_eq!(whole, pieces);
    }
}
