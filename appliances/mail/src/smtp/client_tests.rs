use super::*;

fn outgoing(to: &[&str], text: &[u8]) -> Outgoing {
    let recipient =
        |t: &&str| OutgoingRecipient { to: Mailbox::parse(t).unwrap(), notify: None, orcpt: None };
    Outgoing {
        from: Some(Mailbox::parse("me@here.test").unwrap()),
        recipients: to.iter().map(recipient).collect(),
        message: std::sync::Arc::new(text.to_vec()),
        seven_bit: None,
        smtputf8: false,
        ret: None,
        envid: None,
    }
}

/// Plays the host's replies; each is given when the client waits. Returns what was said and the outcomes.
fn play(mut client: Client, replies: &[&str]) -> (String, Vec<Outcome>) {
    let mut said = Vec::new();
    let mut replies = replies.iter();
    loop {
        match client.step() {
            ClientStep::NeedInput => {
                said.extend(client.take_output());
                match replies.next() {
                    Some(reply) => client.receive(reply.as_bytes()),
                    None => break,
                }
            }
            ClientStep::StartTls => {
                said.extend(client.take_output());
                said.extend_from_slice(b"[tls]");
                client.tls_started();
            }
            ClientStep::Done => {
                said.extend(client.take_output());
                break;
            }
        }
    }
    (String::from_utf8(said).unwrap(), client.outcomes("the connection broke"))
}

fn client(to: &[&str], text: &[u8]) -> Client {
    Client::new("me.test", outgoing(to, text), None, true, false)
}

fn delivered(outcomes: &[Outcome]) -> Vec<bool> {
    outcomes.iter().map(|o| matches!(o, Outcome::Delivered(_))).collect()
}

#[test]
fn rfc2920_3_1_pipelined_envelope_with_a_result_for_each_recipient() {
    let replies = [
        "220 hi\r\n",
        "250-x\r\n250-PIPELINING\r\n250 SIZE 1000\r\n",
        "250 ok\r\n250 ok\r\n550 5.1.1 who\r\n354 go\r\n",
        "250 2.0.0 queued\r\n",
    ];
    let (said, outcomes) = play(client(&["a@b.test", "c@b.test"], b"A: b\r\n\r\n.x\r\n"), &replies);
    assert_eq!(
        said,
        "EHLO me.test\r\nMAIL FROM:<me@here.test> SIZE=12\r\nRCPT TO:<a@b.test>\r\nRCPT TO:<c@b.test>\r\nDATA\r\nA: b\r\n\r\n..x\r\n.\r\nQUIT\r\n"
    );
    assert_eq!(delivered(&outcomes), [true, false]);
    assert!(matches!(&outcomes[1], Outcome::Refused(r) if r.status() == "5.1.1"));
}

#[test]
fn rfc5321_4_1_1_one_command_at_a_time_and_helo_for_old_hosts() {
    let replies = [
        "220 hi\r\n",
        "502 what\r\n",
        "250 x\r\n",
        "250 ok\r\n",
        "450 later\r\n",
        "250 ok\r\n",
        "354 go\r\n",
        "250 ok\r\n",
    ];
    let (said, outcomes) = play(client(&["a@b.test", "c@b.test"], b"x"), &replies);
    assert!(said.starts_with("EHLO me.test\r\nHELO me.test\r\nMAIL FROM:<me@here.test>\r\nRCPT TO:<a@b.test>\r\nRCPT TO:<c@b.test>\r\nDATA\r\nx\r\n.\r\n"));
    assert_eq!(delivered(&outcomes), [false, true]);
}

#[test]
fn rfc2920_3_1_354_without_a_recipient_gets_an_empty_text() {
    let replies = ["220 hi\r\n", "250-x\r\n250 PIPELINING\r\n", "250 ok\r\n550 no\r\n354 go\r\n"];
    let (said, outcomes) = play(client(&["a@b.test"], b"secret"), &replies);
    assert!(said.ends_with("DATA\r\n.\r\nQUIT\r\n") && !said.contains("secret"));
    assert!(matches!(&outcomes[0], Outcome::Refused(r) if r.code == 550));
}

#[test]
fn a_lost_answer_after_the_text_is_known_as_such() {
    let greeting = ["220 hi\r\n", "250-x\r\n250 PIPELINING\r\n"];
    let (_, before) = play(client(&["a@b.test"], b"x"), &greeting);
    assert!(matches!(before[0], Outcome::Broken { after_data: false, .. }));
    let (_, after) =
        play(client(&["a@b.test"], b"x"), &[greeting[0], greeting[1], "250 a\r\n250 b\r\n354 c\r\n"]);
    assert!(matches!(after[0], Outcome::Broken { after_data: true, .. }));
}

#[test]
fn rfc3207_starttls_where_offered_and_replies_before_it_forgotten() {
    let replies = [
        "220 hi\r\n",
        "250-x\r\n250 STARTTLS\r\n",
        "220 go\r\n250-x\r\n250 AUTH PLAIN\r\n",
        "250-x\r\n250 SIZE\r\n",
        "550 no\r\n",
    ];
    let (said, _) = play(client(&["a@b.test"], b"x"), &replies);
    assert!(
        said.starts_with(
            "EHLO me.test\r\nSTARTTLS\r\n[tls]EHLO me.test\r\nMAIL FROM:<me@here.test> SIZE=1\r\n"
        ),
        "{said}"
    );
}

#[test]
fn rfc4954_a_password_goes_over_tls_only() {
    let credentials = Some(Credentials { user: "u".into(), password: "p".into() });
    let make = |tls| Client::new("me.test", outgoing(&["a@b.test"], b"x"), credentials.clone(), true, tls);
    let (said, outcomes) = play(make(false), &["220 hi\r\n", "250-x\r\n250 AUTH PLAIN\r\n"]);
    assert!(!said.contains("AUTH"));
    assert!(matches!(&outcomes[0], Outcome::Unavailable(r) if r.is_transient()));
    let (said, _) = play(
        make(true),
        &["220 hi\r\n", "250-x\r\n250 AUTH LOGIN\r\n", "334 VXNlcg==\r\n", "334 UGFzcw==\r\n", "235 ok\r\n"],
    );
    assert!(said.contains("AUTH LOGIN\r\ndQ==\r\ncA==\r\nMAIL"), "{said}");
    let (said, _) = play(make(true), &["220 hi\r\n", "250-x\r\n250 AUTH LOGIN PLAIN\r\n", "235 ok\r\n"]);
    assert!(said.contains("AUTH PLAIN AHUAcA==\r\nMAIL"), "{said}");
}

#[test]
fn rfc6531_and_rfc1870_what_the_host_cannot_take_is_not_tried() {
    let hello = ["220 hi\r\n", "250-x\r\n250 SIZE 3\r\n"];
    let (said, outcomes) = play(client(&["a@b.test"], b"long"), &hello);
    assert!(!said.contains("MAIL") && matches!(&outcomes[0], Outcome::Refused(r) if r.status() == "5.3.4"));
    let replies = ["220 hi\r\n", "250 x\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n", "250 ok\r\n"];
    let (said, outcomes) = play(client(&["ü@b.test", "a@b.test"], b"x"), &replies);
    assert!(!said.contains('ü'));
    assert!(matches!(&outcomes[0], Outcome::Refused(r) if r.status() == "5.6.7"));
    assert_eq!(delivered(&outcomes), [false, true]);
}

#[test]
fn rfc6152_3_a_host_without_8bitmime_gets_the_text_converted_or_nothing() {
    let hello = ["220 hi\r\n", "250 x\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n", "250 ok\r\n"];
    let raw = "Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nü\r\n".as_bytes();
    let mut with = outgoing(&["a@b.test"], raw);
    with.seven_bit = crate::message::seven_bit(raw).map(std::sync::Arc::new);
    let (said, outcomes) = play(Client::new("me.test", with, None, true, false), &hello);
    assert!(said.contains("quoted-printable\r\n\r\n=C3=BC\r\n.\r\n"), "{said}");
    assert_eq!(delivered(&outcomes), [true]);
    let (said, outcomes) = play(client(&["a@b.test"], raw), &hello);
    assert!(!said.contains("MAIL") && matches!(&outcomes[0], Outcome::Refused(r) if r.status() == "5.6.3"));
    let replies =
        ["220 hi\r\n", "250-x\r\n250 8BITMIME\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n", "250 ok\r\n"];
    let (said, _) = play(client(&["a@b.test"], raw), &replies);
    assert!(said.contains("BODY=8BITMIME\r\n") && said.contains("\r\n\r\nü\r\n.\r\n"));
}

#[test]
fn rfc6531_3_2_a_header_outside_of_ascii_goes_back_when_the_sender_asked_for_smtputf8() {
    let raw = "Subject: ü\r\n\r\nx\r\n".as_bytes();
    let mut with = outgoing(&["a@b.test"], raw);
    with.smtputf8 = true;
    let (said, outcomes) =
        play(Client::new("me.test", with, None, true, false), &["220 hi\r\n", "250-x\r\n250 8BITMIME\r\n"]);
    assert!(!said.contains("MAIL") && matches!(&outcomes[0], Outcome::Refused(r) if r.status() == "5.6.7"));
}

#[test]
fn rfc5321_3_8_a_host_that_closes_leaves_the_others_to_try() {
    for replies in [
        &["554 no\r\n"][..],
        &["421 busy\r\n"],
        &["220 hi\r\n", "250-x\r\n250 PIPELINING\r\n", "421 bye\r\n"],
    ] {
        let (_, outcomes) = play(client(&["a@b.test", "c@b.test"], b"x"), replies);
        assert!(outcomes.iter().all(|o| matches!(o, Outcome::Unavailable(_))), "{replies:?} {outcomes:?}");
    }
    let after = ["220 hi\r\n", "250-x\r\n250 PIPELINING\r\n", "250 a\r\n250 b\r\n354 c\r\n", "421 full\r\n"];
    let (_, outcomes) = play(client(&["a@b.test"], b"x"), &after);
    assert!(matches!(&outcomes[0], Outcome::Refused(r) if r.code == 421));
}

proptest::proptest! {
    #[test]
    fn any_replies_end_in_one_outcome_a_recipient(
        replies in proptest::collection::vec(proptest::sample::select(&["220 x\r\n", "250 x\r\n", "250-PIPELINING\r\n", "250 PIPELINING\r\n",
            "354 x\r\n", "421 x\r\n", "550 x\r\n", "noise\r\n", "334 x\r\n"][..]), 0..15)) {
        let (_, outcomes) = play(client(&["a@b.test", "c@d.test"], b"x"), &replies);
        proptest::prop_assert_eq!(outcomes.len(), 2);
    }
}
