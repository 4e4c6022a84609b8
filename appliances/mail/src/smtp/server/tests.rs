use super::*;

fn settings(mode: Mode) -> Settings {
    let mechanisms = if mode == Mode::Submission { vec!["PLAIN", "LOGIN"] } else { vec![] };
    Settings { hostname: "mx.test".into(), mode, message_bytes_max: 1000, tls_available: true, mechanisms }
}

/// Runs a session over `input`, cut into pieces of `cut` bytes; answers questions as a server for `*@here.test` does.
fn run(mode: Mode, tls: bool, input: &[u8], cut: usize) -> (String, Vec<Vec<u8>>) {
    let mut session = Session::new(settings(mode), tls);
    let (mut sent, mut text, mut messages) = (Vec::new(), Vec::new(), Vec::new());
    let mut pieces = input.chunks(cut);
    loop {
        match session.step() {
            Step::NeedInput => match pieces.next() {
                Some(piece) => session.receive(piece),
                None => break,
            },
            Step::Sender(from) => {
                let bad = from.is_some_and(|f| f.local == "spammer");
                session.sender(if bad { Err(Reply::new(550, "5.7.1", "no")) } else { Ok(()) });
            }
            Step::Recipient(to) => {
                let ours = to.domain == "here.test";
                session.recipient(if ours { Ok(()) } else { Err(Reply::new(550, "5.7.1", "no relaying")) });
            }
            Step::Body(piece) => text.extend(piece),
            Step::Message => {
                messages.push(std::mem::take(&mut text));
                session.message(Ok("queued".into()));
            }
            Step::Abandon => text.clear(),
            Step::StartTls => {
                sent.extend(session.take_output());
                sent.extend_from_slice(b"[tls]\r\n");
                session.tls_started();
            }
            Step::SaslStart(mechanism, initial) => session.sasl(match (mechanism.as_str(), initial) {
                ("PLAIN", Some(r)) if r == b"\0me\0pw" => SaslAnswer::Success("me".into()),
                ("PLAIN", None) => SaslAnswer::Challenge(Vec::new()),
                _ => SaslAnswer::Failure,
            }),
            Step::SaslResponse(r) => session.sasl(match r == b"\0me\0pw" {
                true => SaslAnswer::Success("me".into()),
                false => SaslAnswer::Failure,
            }),
            Step::Close => break,
        }
    }
    sent.extend(session.take_output());
    (String::from_utf8(sent).unwrap(), messages)
}

fn codes(replies: &str) -> Vec<String> {
    replies
        .lines()
        .filter(|l| l.as_bytes().get(3) != Some(&b'-'))
        .map(|l| l.chars().take(3).collect())
        .collect()
}

const HELLO: &str = "EHLO c.test\r\n";
const ENVELOPE: &str = "MAIL FROM:<a@b.test>\r\nRCPT TO:<u@here.test>\r\n";

fn mx(rest: &str) -> (Vec<String>, Vec<Vec<u8>>) {
    let input = format!("{HELLO}{rest}");
    let whole = run(Mode::Mx, false, input.as_bytes(), usize::MAX);
    for cut in [1, 2, 3, 7] {
        assert_eq!(run(Mode::Mx, false, input.as_bytes(), cut), whole, "cut {cut}");
    }
    (codes(&whole.0), whole.1)
}

#[test]
fn rfc5321_d_1_a_typical_transaction_pipelined_or_not() {
    let (codes, messages) =
        mx(&format!("{ENVELOPE}RCPT TO:<x@else.test>\r\nDATA\r\nA: b\r\n\r\n..x\r\n.\r\nQUIT\r\n"));
    assert_eq!(codes, ["220", "250", "250", "250", "550", "354", "250", "221"]);
    assert_eq!(messages, [b"A: b\r\n\r\n.x\r\n"]);
}

#[test]
fn rfc5321_4_1_4_order_of_commands() {
    assert_eq!(codes(&run(Mode::Mx, false, b"MAIL FROM:<a@b.test>\r\n", 99).0), ["220", "503"]);
    assert_eq!(mx("RCPT TO:<u@here.test>\r\nDATA\r\nBDAT 0 LAST\r\n").0[2..], ["503", "503", "503"]);
    assert_eq!(
        mx("MAIL FROM:<>\r\nMAIL FROM:<>\r\nRSET\r\nMAIL FROM:<>\r\n").0[2..],
        ["250", "503", "250", "250"]
    );
    assert_eq!(mx("MAIL FROM:<>\r\nDATA\r\n").0[2..], ["250", "554"]);
    assert_eq!(mx(&format!("{ENVELOPE}EHLO again\r\nDATA\r\n")).0[2..], ["250", "250", "250", "503"]);
}

#[test]
fn rfc5321_4_1_1_4_the_first_line_may_end_data() {
    let (codes, messages) = mx(&format!("{ENVELOPE}DATA\r\n.\r\nQUIT\r\n"));
    assert_eq!(codes[4..], ["354", "250", "221"]);
    assert_eq!(messages, [b""]);
}

#[test]
fn smuggling_nothing_else_ends_data_and_a_bare_cr_refuses_it() {
    for end in ["\n.\n", "\n.\r\n", "\r\n.\n", "\n\n.\r\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\n.\r"] {
        let rest = format!("{ENVELOPE}DATA\r\nx{end}{ENVELOPE}DATA\r\nevil\r\n.\r\nNOOP\r\n");
        let (codes, messages) = mx(&rest);
        if end.replace("\r\n", "").contains('\r') {
            assert_eq!((codes[4..].join(" "), messages.len()), ("354 550 250".into(), 0), "{end:?}");
        } else {
            let text =
                format!("x{end}{ENVELOPE}DATA\r\nevil\r\n").replace("\r\n", "\n").replace('\n', "\r\n");
            assert_eq!(
                (codes[4..].join(" "), messages),
                ("354 250 250".into(), vec![text.into_bytes()]),
                "{end:?}"
            );
        }
    }
    let (codes, messages) = mx(&format!("{ENVELOPE}BDAT 3 LAST\r\na\rbNOOP\r\n"));
    assert_eq!((codes[4..].join(" "), messages.len()), ("550 250".into(), 0));
}

#[test]
fn lines_that_end_with_lf_are_taken_as_if_they_ended_with_crlf() {
    let (codes, messages) = mx(&format!("{ENVELOPE}DATA\r\nA: b\n\n..c\n\r\n.\r\nNOOP\nQUIT\n"));
    assert_eq!(codes[4..], ["354", "250", "250", "221"]);
    assert_eq!(messages, [b"A: b\r\n\r\n.c\r\n\r\n"]);
    let (codes, messages) = mx(&format!("{ENVELOPE}BDAT 4\nA: bBDAT 5 LAST\n\n\n.\n\nNOOP\r\n"));
    assert_eq!(codes[4..], ["250", "250", "250"]);
    assert_eq!(messages, [b"A: b\r\n\r\n.\r\n\r\n"]);
}

#[test]
fn rfc3030_4_2_chunks_of_any_size() {
    let (codes, messages) =
        mx(&format!("{ENVELOPE}BDAT 5\r\nA: b\rBDAT 3\r\n\n\r\nBDAT 4 LAST\r\n.\r\nxMAIL FROM:<>\r\n"));
    assert_eq!(codes[4..], ["250", "250", "250", "250"]);
    assert_eq!(messages, [b"A: b\r\n\r\n.\r\nx"]);
    // A refused chunk is read and forgotten, and does not become commands.
    let (codes, messages) = mx("MAIL FROM:<>\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
    assert_eq!((codes[3..].join(" "), messages.len()), ("554 250".into(), 0));
    assert_eq!(
        mx(&format!("{ENVELOPE}BDAT 1\r\nxDATA\r\nRCPT TO:<u@here.test>\r\n")).0[4..],
        ["250", "503", "503"]
    );
}

#[test]
fn rfc1870_6_size_announced_and_found() {
    assert_eq!(mx("MAIL FROM:<> SIZE=1001\r\n").0[2..], ["552"]);
    let (codes, messages) = mx(&format!("{ENVELOPE}DATA\r\n{}.\r\nNOOP\r\n", "x\r\n".repeat(400)));
    assert_eq!((codes[4..].join(" "), messages.len()), ("354 552 250".into(), 0));
    let big = "x".repeat(1001);
    let (codes, messages) = mx(&format!("{ENVELOPE}BDAT 1001 LAST\r\n{big}NOOP\r\n"));
    assert_eq!((codes[4..].join(" "), messages.len()), ("552 250".into(), 0));
}

#[test]
fn rfc3207_4_2_what_came_before_tls_is_forgotten() {
    let wire = b"EHLO c\r\nSTARTTLS\r\nMAIL FROM:<injected@b.test>\r\n";
    let mut session = Session::new(settings(Mode::Mx), false);
    session.receive(wire);
    assert_eq!(session.step(), Step::StartTls);
    session.take_output();
    session.receive(b"RSET\r\n");
    session.tls_started();
    assert_eq!(session.step(), Step::NeedInput);
    assert!(session.take_output().is_empty());
    session.receive(b"MAIL FROM:<a@b.test>\r\n");
    assert_eq!(session.step(), Step::NeedInput);
    assert!(session.take_output().starts_with(b"503"), "EHLO is wanted again");
    session.receive(b"EHLO c\r\nSTARTTLS\r\n");
    assert_eq!(session.step(), Step::NeedInput);
    let replies = String::from_utf8(session.take_output()).unwrap();
    assert!(!replies.contains("250-STARTTLS") && replies.contains("503 5.5.1"));
}

#[test]
fn rfc4954_4_auth_only_over_tls_and_before_mail() {
    let plain = "AUTH PLAIN AG1lAHB3\r\n";
    let run = |tls, rest: &str| {
        codes(&run(Mode::Submission, tls, format!("EHLO c\r\n{rest}").as_bytes(), 5).0)[2..].join(" ")
    };
    assert_eq!(run(false, plain), "538");
    assert_eq!(run(false, "MAIL FROM:<a@b.test>\r\n"), "530");
    assert_eq!(run(true, "MAIL FROM:<a@b.test>\r\n"), "530");
    assert_eq!(run(true, &format!("{plain}{plain}MAIL FROM:<a@b.test>\r\n")), "235 503 250");
    assert_eq!(run(true, "AUTH PLAIN\r\nAG1lAHB3\r\n"), "334 235");
    assert_eq!(run(true, "AUTH PLAIN\r\n*\r\nAUTH PLAIN !\r\nAUTH X\r\n"), "334 501 501 504");
    assert_eq!(run(true, &"AUTH PLAIN AAAA\r\n".repeat(4)), "535 535 535 421");
}

#[test]
fn rfc5321_4_5_3_1_long_lines_are_refused_and_skipped() {
    let long = format!("NOOP {}\r\nNOOP\r\n", "x".repeat(993));
    assert_eq!(mx(&long).0[2..], ["500", "250"]);
    let endless = format!("{}\r\nNOOP\r\n", "x".repeat(100_000));
    assert_eq!(mx(&endless).0[2..], ["500", "250"]);
    assert_eq!(mx("NOOP\nNOOP\r\nNO\rOP\r\nNOOP\r\r\n").0[2..], ["250", "250", "500", "500"]);
}

#[test]
fn clients_that_only_err_are_sent_away() {
    let (codes, _) = mx(&"WHAT\r\n".repeat(100));
    assert_eq!(codes.len(), 2 + limits::SMTP_ERRORS_MAX as usize + 1);
    assert_eq!(codes.last().unwrap(), "421");
    assert_eq!(codes_of_http(), ["220", "421"]);
}

fn codes_of_http() -> Vec<String> {
    codes(&run(Mode::Mx, false, b"POST / HTTP/1.1\r\nEHLO x\r\n", 9).0)
}

proptest::proptest! {
    #[test]
    fn any_bytes_cut_anywhere_give_the_same_session(
        words in proptest::collection::vec(proptest::sample::select(&[
            "EHLO x\r\n", "MAIL FROM:<a@b>\r\n", "RCPT TO:<u@here.test>\r\n", "DATA\r\n", "BDAT 5\r\n", "BDAT 3 LAST\r\n", ".\r\n",
            "\n", "\r", ".", "x\r\n", "RSET\r\n", "QUIT\r\n", "NOOP\r\n", "\0"][..]), 0..25),
        cut in 1usize..9) {
        let input = words.concat();
        let whole = run(Mode::Mx, false, input.as_bytes(), usize::MAX);
        proptest::prop_assert_eq!(run(Mode::Mx, false, input.as_bytes(), cut), whole);
    }
}
