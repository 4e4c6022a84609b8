//! What clients say and hear, by section of the RFCs.

use super::tests::{Client, House, mail};
use tokio::io::AsyncWriteExt;

/// A house with so many messages in INBOX, and a client that has opened it.
async fn with_messages(count: u32) -> (House, Client) {
    let house = House::new().await;
    let mut client = house.login().await;
    for n in 1..=count {
        client.append("INBOX", &mail(n)).await;
    }
    client.ok("SELECT INBOX").await;
    (house, client)
}

/// What stands between two texts.
fn between<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
    text.split(from).nth(1).unwrap_or_else(|| panic!("no {from:?} in {text}")).split(to).next().unwrap()
}

#[tokio::test]
async fn rfc3501_2_2_1_literals_of_both_kinds() {
    let house = House::new().await;
    let mut client = house.connect();
    client.until("* OK").await;
    client.send("a LOGIN {3}\r\n").await;
    client.until("+ ").await;
    client.send("ada {15}\r\n").await;
    client.until("+ ").await;
    client.send("correct horse\"\"\r\n").await;
    assert!(client.until("a ").await.contains("NO [AUTHENTICATIONFAILED]"));
    client.send("b LOGIN {3+}\r\nada {13+}\r\ncorrect horse\r\n").await;
    assert!(client.until("b ").await.contains("b OK"));
}

#[tokio::test]
async fn rfc3501_5_5_commands_may_follow_each_other_without_waiting() {
    let (_house, mut client) = with_messages(3).await;
    client
        .send("p1 STORE 1 +FLAGS (\\Deleted)\r\np2 EXPUNGE\r\np3 FETCH 1 UID\r\np4 NOOP\r\np5 LOGOUT\r\n")
        .await;
    let all = client.until("p5 OK").await;
    let at = |what: &str| all.find(what).unwrap_or_else(|| panic!("no {what:?} in {all}"));
    assert!(at("p1 OK") < at("* 1 EXPUNGE") && at("* 1 EXPUNGE") < at("p2 OK"));
    assert!(at("p2 OK") < at("* 1 FETCH (UID 2)") && at("p4 OK") < at("* BYE"));
}

#[tokio::test]
async fn rfc3501_6_3_1_select_counts_and_a_failed_one_leaves_nothing_open() {
    let (_house, mut client) = with_messages(4).await;
    client.ok("STORE 1:2 +FLAGS.SILENT (\\Seen)").await;
    let select = client.ok("SELECT INBOX").await;
    for told in ["* 4 EXISTS", "* 0 RECENT", "[UNSEEN 3]", "[UIDNEXT 5]", "* OK [CLOSED]"] {
        assert!(select.contains(told), "{told}: {select}");
    }
    client.ok("STORE 1:* +FLAGS.SILENT (\\Seen)").await;
    client.ok("UNSELECT").await;
    let select = client.ok("EXAMINE INBOX").await;
    assert!(!select.contains("UNSEEN") && select.contains("[READ-ONLY]"), "{select}");
    assert!(select.contains("[PERMANENTFLAGS ()]"), "{select}");
    assert!(client.say("SELECT Nowhere").await.contains("NO [NONEXISTENT]"));
    assert!(client.say("FETCH 1 UID").await.contains("BAD"));
}

#[tokio::test]
async fn rfc3501_6_3_4_a_deleted_parent_stays_as_a_level() {
    let house = House::new().await;
    let mut client = house.login().await;
    client.ok("CREATE a/b/c").await;
    client.ok("DELETE a").await;
    client.ok("DELETE a/b").await;
    let list = client.ok("LIST \"\" %").await;
    assert!(list.contains("* LIST (\\Noselect \\HasChildren) \"/\" \"a\""), "{list}");
    let list = client.ok("LIST \"\" a/%").await;
    assert!(list.contains("(\\Noselect \\HasChildren) \"/\" \"a/b\"") && !list.contains("a/b/c"), "{list}");
    let list = client.ok("LIST \"\" (a/%) RETURN (CHILDREN)").await;
    assert!(list.contains("(\\NonExistent \\HasChildren) \"/\" \"a/b\""), "{list}");
    assert!(client.say("SELECT a").await.contains("NO [NONEXISTENT]"));
    client.ok("CREATE a").await;
    assert!(client.ok("LIST \"\" a").await.contains("(\\HasChildren) \"/\" \"a\""));
    let list = client.ok("LIST a/ %").await;
    assert!(list.contains("\"a/b\""), "{list}");
}

#[tokio::test]
async fn rfc3501_6_3_5_uids_are_never_used_again() {
    let (_house, mut client) = with_messages(2).await;
    let validity = |text: String| between(&text, "UIDVALIDITY ", "]").parse::<u32>().unwrap();
    client.ok("CREATE Box").await;
    client.append("Box", &mail(1)).await;
    let first = validity(client.ok("SELECT Box").await);
    client.ok("UNSELECT").await;
    client.ok("DELETE Box").await;
    client.ok("CREATE Box").await;
    let second = validity(client.ok("SELECT Box").await);
    assert!(second > first);
    // A renamed mailbox keeps its UIDs, and the name that it leaves starts with others.
    client.ok("RENAME Box Crate").await;
    assert_eq!(validity(client.ok("SELECT Crate").await), second);
    client.ok("CREATE Box").await;
    assert!(validity(client.ok("SELECT Box").await) > second);
    // INBOX gives its messages away and goes on counting.
    client.ok("RENAME INBOX Old").await;
    assert!(client.append("INBOX", &mail(3)).await.contains(" 3] appended"));
    assert!(client.ok("STATUS Old (MESSAGES UIDNEXT)").await.contains("(MESSAGES 2 UIDNEXT 3)"));
}

#[tokio::test]
async fn rfc3501_6_3_5_an_open_mailbox_may_be_renamed_by_another() {
    let (house, mut one) = with_messages(1).await;
    one.ok("CREATE Box").await;
    one.ok("SELECT Box").await;
    let mut two = house.login().await;
    two.ok("RENAME Box Crate").await;
    two.append("Crate", &mail(7)).await;
    assert!(one.ok("NOOP").await.contains("* 1 EXISTS"));
    assert!(one.ok("FETCH 1 BODY.PEEK[HEADER.FIELDS (SUBJECT)]").await.contains("number 7"));
    two.ok("DELETE Crate").await;
    assert!(one.say_to_the_end("NOOP").await.contains("* BYE"));
}

#[tokio::test]
async fn rfc3501_6_3_11_append_says_where_it_went() {
    let (_house, mut client) = with_messages(1).await;
    let message = mail(2);
    let append = format!(
        "APPEND INBOX (\\Flagged $Work) \"17-Jul-1996 02:44:25 -0700\" {{{}+}}\r\n{message}",
        message.len()
    );
    let answer = client.ok(&append).await;
    assert!(answer.contains("* 2 EXISTS"), "{answer}");
    let fetched = client.ok("FETCH 2 (INTERNALDATE FLAGS RFC822.SIZE)").await;
    assert!(fetched.contains("INTERNALDATE \"17-Jul-1996 09:44:25 +0000\""), "{fetched}");
    assert!(
        fetched.contains("\\Flagged $Work") && fetched.contains(&format!("RFC822.SIZE {}", message.len()))
    );
    assert!(client.say("APPEND INBOX {0+}\r\n").await.contains(" NO "));
    assert!(client.say("APPEND INBOX \"32-Jul-1996 02:44:25 -0700\" {1+}\r\nx").await.contains(" BAD "));
}

#[tokio::test]
async fn rfc3502_6_3_11_several_messages_or_none() {
    let (_house, mut client) = with_messages(1).await;
    let (one, two) = (mail(2), mail(3));
    let both = format!("{{{}+}}\r\n{one} (\\Seen) {{{}+}}\r\n{two}", one.len(), two.len());
    assert!(client.ok(&format!("APPEND INBOX {both}")).await.contains(" 2:3] appended"));
    assert!(client.say(&format!("APPEND Nowhere {both}")).await.contains("NO [TRYCREATE]"));
    assert!(client.say(&format!("APPEND INBOX {both} {{0+}}\r\n")).await.contains(" NO "));
    assert!(client.ok("STATUS INBOX (MESSAGES)").await.contains("MESSAGES 3"));
}

#[tokio::test]
async fn rfc3501_6_4_2_close_expunges_and_rfc3691_unselect_does_not() {
    let (_house, mut client) = with_messages(3).await;
    client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    client.ok("UNSELECT").await;
    assert!(client.ok("SELECT INBOX").await.contains("* 3 EXISTS"));
    let closed = client.ok("CLOSE").await;
    assert!(!closed.contains("EXPUNGE"), "{closed}");
    assert!(client.ok("EXAMINE INBOX").await.contains("* 2 EXISTS"));
    client.ok("CLOSE").await;
    assert!(client.say("CLOSE").await.contains("BAD"));
}

#[tokio::test]
async fn rfc3501_6_4_3_what_is_no_longer_deleted_is_not_expunged() {
    let (house, mut one) = with_messages(3).await;
    let mut two = house.login().await;
    two.ok("SELECT INBOX").await;
    one.ok("STORE 1:2 +FLAGS.SILENT (\\Deleted)").await;
    one.send("x NOOP\r\n").await;
    one.until("x OK").await;
    // The other changes its mind while the first has not heard of it.
    two.ok("STORE 2 -FLAGS.SILENT (\\Deleted)").await;
    let answer = one.ok("EXPUNGE").await;
    assert!(answer.contains("* 1 EXPUNGE") && !answer.contains("* 2 EXPUNGE"), "{answer}");
    one.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    let status = one.ok("STATUS INBOX (MESSAGES DELETED DELETED-STORAGE)").await;
    assert!(
        status.contains(&format!("(MESSAGES 2 DELETED 1 DELETED-STORAGE {})", mail(2).len())),
        "{status}"
    );
}

#[tokio::test]
async fn rfc4315_2_1_uid_expunge_takes_only_what_is_named() {
    let (_house, mut client) = with_messages(4).await;
    client.ok("STORE 1:3 +FLAGS.SILENT (\\Deleted)").await;
    let answer = client.ok("UID EXPUNGE 2,4:*").await;
    assert!(answer.contains("* 2 EXPUNGE") && answer.matches("EXPUNGE").count() == 1, "{answer}");
    assert!(client.ok("COPY 1:2 Archive").await.contains(" 1,3 1:2] copied"));
}

#[tokio::test]
async fn rfc3501_6_4_4_search_looks_at_all_of_a_message() {
    let house = House::new().await;
    let mut client = house.login().await;
    let encoded = "Subject: =?iso-8859-1?Q?Caf=E9?=\r\nX-Odd: strange\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nR3LDvMOfZSBhdXMgV2llbg==\r\n\
--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner subject\r\n\r\ninner text\r\n--b--\r\n";
    for n in 0..60 {
        client.append("INBOX", &mail(n)).await;
    }
    client.append("INBOX", encoded).await;
    client.ok("SELECT INBOX").await;
    for (key, found) in [
        ("SUBJECT caf\u{e9}", true),
        ("TEXT GR\u{dc}SSE", false),
        ("BODY gr\u{fc}\u{df}e", true),
        ("BODY \"inner subject\"", true),
        ("BODY \"AUS WIEN\"", true),
        ("TEXT strange", true),
        ("TEXT x-odd", true),
        ("BODY strange", false),
        ("HEADER X-Odd \"\"", true),
        ("HEADER X-Odd range", true),
        ("BODY us", true),
        ("TEXT \"nner tex\"", true),
        ("TEXT nowhere", false),
    ] {
        let answer = client.ok(&format!("SEARCH {key}")).await;
        assert_eq!(answer.split_whitespace().any(|word| word == "61"), found, "{key}: {answer}");
    }
    let answer = client.ok("SEARCH BODY \"body of 17\" OR SUBJECT \"number 17\" SUBJECT \"number 18\"").await;
    assert!(answer.contains("* SEARCH 18\r\n"), "{answer}");
    // What came since the index was made is found too, what went is not.
    client.append("INBOX", &mail(417)).await;
    assert!(client.ok("SEARCH BODY \"of 417\"").await.contains("* SEARCH 62\r\n"));
    client.ok("STORE 62 +FLAGS.SILENT (\\Deleted)").await;
    client.ok("EXPUNGE").await;
    assert!(client.ok("SEARCH BODY \"of 417\"").await.contains("* SEARCH\r\n"));
}

#[tokio::test]
async fn rfc3501_6_4_4_search_reads_the_charset_that_it_is_told() {
    let house = House::new().await;
    let mut client = house.login().await;
    client
        .append("INBOX", "Subject: Gr\u{fc}\u{df}e\r\n\r\n\u{43f}\u{440}\u{438}\u{432}\u{435}\u{442}\r\n")
        .await;
    client.ok("SELECT INBOX").await;
    for (charset, bytes) in [
        ("ISO-8859-1", &b"SUBJECT {4+}\r\nGr\xfc\xdf"[..]),
        ("KOI8-R", b"BODY {6+}\r\n\xd0\xd2\xc9\xd7\xc5\xd4"),
        ("UTF-8", "SUBJECT {6+}\r\nGr\u{fc}\u{df}".as_bytes()),
    ] {
        client.stream.write_all(format!("c SEARCH CHARSET {charset} ").as_bytes()).await.unwrap();
        client.stream.write_all(&[bytes, b"\r\n"].concat()).await.unwrap();
        let answer = client.until("c ").await;
        assert!(answer.contains("* SEARCH 1\r\n"), "{charset}: {answer}");
    }
    assert!(client.say("SEARCH CHARSET X-NOBODYS SUBJECT x").await.contains("NO [BADCHARSET (UTF-8"));
}

#[tokio::test]
async fn rfc3501_6_4_5_parts_of_nested_messages() {
    let house = House::new().await;
    let mut client = house.login().await;
    let message = "Subject: outer\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: text/plain\r\n\r\none\r\n\
--a\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\nTo: x@y\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n\
--b\r\n\r\nplain\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>\r\n--b--\r\n\r\n--a--\r\n";
    client.append("INBOX", message).await;
    client.ok("SELECT INBOX").await;
    for (section, wanted) in [
        ("1", "BODY[1] {3}\r\none)"),
        ("1.MIME", "BODY[1.MIME] {28}\r\nContent-Type: text/plain\r\n\r\n)"),
        ("2.HEADER.FIELDS (SUBJECT)", "BODY[2.HEADER.FIELDS (SUBJECT)] {18}\r\nSubject: inner\r\n\r\n)"),
        ("2.1", "BODY[2.1] {5}\r\nplain)"),
        ("2.2.MIME", "BODY[2.2.MIME] {27}\r\nContent-Type: text/html\r\n\r\n)"),
        ("2.2", "BODY[2.2] {3}\r\n<p>)"),
        ("2.3", "BODY[2.3] {0}\r\n)"),
        ("1.1", "BODY[1.1] {0}\r\n)"),
        ("HEADER.FIELDS (X-None)", "BODY[HEADER.FIELDS (X-None)] {2}\r\n\r\n)"),
    ] {
        let fetched = client.ok(&format!("FETCH 1 BODY.PEEK[{section}]")).await;
        assert!(fetched.contains(wanted), "{section}: {fetched}");
    }
    let partial = |from: usize, count: usize| format!("FETCH 1 BODY.PEEK[]<{from}.{count}>");
    assert!(client.ok(&partial(9, 5)).await.contains("BODY[]<9> {5}\r\nouter)"));
    assert!(client.ok(&partial(message.len() - 2, 500)).await.contains("{2}\r\n\r\n)"));
    assert!(client.ok(&partial(message.len() + 9, 5)).await.contains("{0}\r\n)"));
    let structure = client.ok("FETCH 1 (BODYSTRUCTURE)").await;
    assert!(structure.contains(r#"("message" "rfc822" NIL NIL NIL "7bit" "#), "{structure}");
    assert!(client.say("FETCH 1 BODY[0]").await.contains("BAD"));
    assert!(client.ok("FETCH 1 FULL").await.contains(" ENVELOPE (NIL \"outer\""));
}

#[tokio::test]
async fn rfc3501_6_4_6_store_and_its_answers() {
    let (_house, mut client) = with_messages(3).await;
    let answer = client.ok("STORE 1:2 FLAGS (\\Seen $Mine)").await;
    assert!(answer.contains("* 2 FETCH (FLAGS (\\Seen $Mine \\Recent))"), "{answer}");
    assert!(answer.find("* FLAGS (").unwrap() < answer.find("* 1 FETCH").unwrap(), "{answer}");
    let answer = client.ok("UID STORE 2 -FLAGS ($Mine)").await;
    assert!(answer.contains("* 2 FETCH (UID 2 FLAGS (\\Seen \\Recent))"), "{answer}");
    let answer = client.ok("STORE 3 +FLAGS.SILENT \\Flagged").await;
    assert!(!answer.contains("FETCH"), "{answer}");
    assert!(client.ok("UID STORE 99 +FLAGS (\\Seen)").await.contains("OK"));
    assert!(client.say("STORE 1 ++FLAGS (\\Seen)").await.contains("BAD"));
    let answer = client.ok("FETCH 1:* FLAGS").await;
    assert!(
        answer.contains("* 1 FETCH (FLAGS (\\Seen $Mine \\Recent))")
            && answer.contains("* 3 FETCH (FLAGS (\\Flagged")
    );
}

#[tokio::test]
async fn rfc3501_6_4_8_a_uid_range_to_the_star_has_the_last_message() {
    let (_house, mut client) = with_messages(3).await;
    let fetched = client.ok("UID FETCH 99:* (FLAGS)").await;
    assert!(fetched.contains("* 3 FETCH (UID 3 ") && fetched.matches("FETCH").count() == 1, "{fetched}");
    assert!(!client.ok("UID FETCH 4294967295 (FLAGS)").await.contains("* "));
}

#[tokio::test]
async fn rfc7162_3_2_5_vanished_earlier_tells_what_went_since() {
    let (house, mut client) = with_messages(20).await;
    client.ok("ENABLE QRESYNC").await;
    client.ok("STORE 2,4 +FLAGS.SILENT (\\Deleted)").await;
    client.ok("EXPUNGE").await;
    let select = client.ok("SELECT INBOX").await;
    let word = |name: &str| between(&select, &format!("[{name} "), "]").parse::<u64>().unwrap();
    let (validity, modseq) = (word("UIDVALIDITY"), word("HIGHESTMODSEQ"));
    client.ok("UNSELECT").await;
    let mut other = house.login().await;
    other.ok("SELECT INBOX").await;
    other.ok("UID STORE 7,9:11 +FLAGS.SILENT (\\Deleted)").await;
    other.ok("EXPUNGE").await;
    other.ok("UID MOVE 15 Archive").await;
    other.ok("UID STORE 1 +FLAGS (\\Answered)").await;
    other.append("INBOX", &mail(21)).await;
    let select = client.ok(&format!("SELECT INBOX (QRESYNC ({validity} {modseq}))")).await;
    assert!(select.contains("* VANISHED (EARLIER) 7,9:11,15\r\n"), "{select}");
    assert!(
        select.contains("* 1 FETCH (UID 1 FLAGS (\\Answered") && select.contains("FETCH (UID 21 FLAGS (")
    );
    assert_eq!(select.matches(" FETCH ").count(), 2, "{select}");
    let fetched = client.ok(&format!("UID FETCH 1:10 (FLAGS) (CHANGEDSINCE {modseq} VANISHED)")).await;
    assert!(fetched.contains("* VANISHED (EARLIER) 7,9:10\r\n") && fetched.contains("UID 1 "), "{fetched}");
    let select = client.ok(&format!("SELECT INBOX (QRESYNC ({validity} {modseq} 1:9))")).await;
    assert!(select.contains("* VANISHED (EARLIER) 7,9\r\n"), "{select}");
    let now = word("HIGHESTMODSEQ").max(between(&select, "[HIGHESTMODSEQ ", "]").parse().unwrap());
    let select = client.ok(&format!("SELECT INBOX (QRESYNC ({validity} {now}))")).await;
    assert!(!select.contains("VANISHED") && !select.contains(" FETCH "), "{select}");
    let select = client.ok(&format!("SELECT INBOX (QRESYNC ({} 1))", validity + 1)).await;
    assert!(!select.contains("VANISHED"), "another UIDVALIDITY: {select}");
    assert!(client.say("FETCH 1 (FLAGS) (CHANGEDSINCE 1 VANISHED)").await.contains("BAD"));
}

#[tokio::test]
async fn rfc7162_3_2_7_and_rfc6851_4_modseq_and_vanished_of_expunge_and_move() {
    let (_house, mut client) = with_messages(4).await;
    client.ok("ENABLE QRESYNC CONDSTORE").await;
    let moved = client.ok("MOVE 2 Archive").await;
    let copyuid = moved.find("* OK [COPYUID").unwrap();
    assert!(copyuid < moved.find("* VANISHED 2").unwrap() && moved.contains("OK [HIGHESTMODSEQ "), "{moved}");
    client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    let gone = client.ok("UID EXPUNGE 1").await;
    assert!(gone.contains("* VANISHED 1\r\n") && gone.contains("OK [HIGHESTMODSEQ "), "{gone}");
    let highest: u64 = between(&gone, "[HIGHESTMODSEQ ", "]").parse().unwrap();
    assert!(client.ok("STATUS INBOX (HIGHESTMODSEQ)").await.contains(&format!("HIGHESTMODSEQ {highest}")));
    client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    assert!(client.ok("CLOSE").await.contains("[HIGHESTMODSEQ "));
}

#[tokio::test]
async fn rfc7162_3_1_3_unchangedsince_leaves_what_changed_alone() {
    let (house, mut one) = with_messages(3).await;
    let mut two = house.login().await;
    two.ok("SELECT INBOX").await;
    let fetched = one.ok("FETCH 1:* (MODSEQ)").await;
    let modseq: u64 = between(&fetched, "* 3 FETCH (MODSEQ (", ")").parse().unwrap();
    two.ok("STORE 2 +FLAGS (\\Answered)").await;
    let answer = one.ok(&format!("STORE 1:3 (UNCHANGEDSINCE {modseq}) +FLAGS.SILENT (\\Flagged)")).await;
    assert!(answer.contains("OK [MODIFIED 2]"), "{answer}");
    // The client is told why it was left alone.
    assert!(answer.contains("* 2 FETCH (FLAGS (\\Answered"), "{answer}");
    assert!(one.ok("STORE 1 (UNCHANGEDSINCE 0) +FLAGS (\\Seen)").await.contains("[MODIFIED 1]"));
}

#[tokio::test]
async fn rfc4731_3_2_modseq_is_of_the_messages_that_are_told() {
    let (_house, mut client) = with_messages(3).await;
    client.ok("STORE 2 +FLAGS.SILENT (\\Seen)").await;
    let all = client.ok("FETCH 1:* (MODSEQ)").await;
    let of = |n: u32| between(&all, &format!("* {n} FETCH (MODSEQ ("), ")").to_owned();
    let min = client.ok("SEARCH RETURN (MIN) MODSEQ 1").await;
    assert!(min.contains(&format!(" MIN 1 MODSEQ {}\r\n", of(1))), "{min}");
    let edges = client.ok("SEARCH RETURN (MIN MAX) MODSEQ 1").await;
    assert!(edges.contains(&format!(" MIN 1 MAX 3 MODSEQ {}\r\n", of(3))), "{edges}");
    let count = client.ok("SEARCH RETURN (COUNT) MODSEQ 1").await;
    assert!(count.contains(&format!(" COUNT 3 MODSEQ {}\r\n", of(2))), "{count}");
    let none = client.ok("UID SEARCH RETURN (ALL) SUBJECT nothing").await;
    assert!(none.ends_with(" UID\r\nt8 OK done\r\n") || none.contains("UID\r\n"), "{none}");
}

#[tokio::test]
async fn rfc5182_2_1_a_refused_search_leaves_nothing_saved() {
    let (_house, mut client) = with_messages(3).await;
    client.ok("SEARCH RETURN (SAVE) 1:2").await;
    assert!(client.ok("UID SEARCH $").await.contains("* SEARCH 1 2\r\n"));
    assert!(client.say("SEARCH RETURN (SAVE) CHARSET X-NOBODYS ALL").await.contains("NO [BADCHARSET"));
    assert!(client.ok("UID SEARCH $").await.contains("* SEARCH\r\n"));
    client.ok("SEARCH RETURN (SAVE MIN) ALL").await;
    assert!(client.ok("FETCH $ UID").await.contains("* 1 FETCH (UID 1)\r\n"));
}

#[tokio::test]
async fn rfc8474_5_2_conversations_and_copies_have_ids_that_stay() {
    let house = House::new().await;
    let mut client = house.login().await;
    client.append("INBOX", "Message-ID: <a@b>\r\n\r\nx\r\n").await;
    client.append("INBOX", "Message-ID: <c@d>\r\nReferences: <a@b>\r\n\r\ny\r\n").await;
    client.append("INBOX", "Message-ID: <e@f>\r\n\r\nz\r\n").await;
    client.ok("SELECT INBOX").await;
    let fetched = client.ok("FETCH 1:* (THREADID EMAILID)").await;
    let thread =
        |n: u32| between(between(&fetched, &format!("* {n} FETCH"), "\r\n"), "THREADID (", ")").to_owned();
    assert!(thread(1) == thread(2) && thread(1) != thread(3), "{fetched}");
    assert!(client.ok(&format!("SEARCH THREADID {}", thread(1))).await.contains("* SEARCH 1 2\r\n"));
    client.ok("COPY 2 Archive").await;
    client.ok("EXAMINE Archive").await;
    let copy = client.ok("FETCH 1 (THREADID BODY.PEEK[])").await;
    assert_eq!(between(&copy, "THREADID (", ")"), thread(2));
    assert!(client.ok("FETCH 1 (ENVELOPE BODYSTRUCTURE)").await.contains("\"<c@d>\""));
}

#[tokio::test]
async fn rfc2177_idle_tells_flags_and_ends_only_by_done() {
    let (house, mut one) = with_messages(2).await;
    let mut two = house.login().await;
    two.ok("SELECT INBOX").await;
    one.send("i IDLE\r\n").await;
    one.until("+ ").await;
    two.ok("STORE 2 +FLAGS.SILENT (\\Answered)").await;
    one.until("* 2 FETCH (FLAGS (\\Answered").await;
    two.ok("MOVE 1 Archive").await;
    one.until("* 1 EXPUNGE").await;
    one.send("done\r\n").await;
    one.until("i OK").await;
    one.send("j IDLE\r\n").await;
    one.until("+ ").await;
    one.send("k NOOP\r\n").await;
    one.until("j BAD").await;
    one.ok("NOOP").await;
}

#[tokio::test]
async fn rfc4978_compressed_from_the_answer_on() {
    use async_compression::tokio::{bufread::DeflateDecoder, write::DeflateEncoder};
    use tokio::io::AsyncReadExt;
    let (_house, mut client) = with_messages(2).await;
    assert!(client.ok("COMPRESS DEFLATE").await.contains("OK"));
    let (input, output) = tokio::io::split(client.stream);
    let mut output = DeflateEncoder::new(output);
    let mut input = DeflateDecoder::new(tokio::io::BufReader::new(input));
    output.write_all(b"z1 FETCH 1:* (ENVELOPE)\r\nz2 COMPRESS DEFLATE\r\nz3 LOGOUT\r\n").await.unwrap();
    output.flush().await.unwrap();
    let mut text = String::new();
    input.read_to_string(&mut text).await.unwrap();
    assert!(
        text.contains("\"number 2\"") && text.contains("z2 NO [COMPRESSIONACTIVE]") && text.contains("z3 OK"),
        "{text}"
    );
}

#[tokio::test]
async fn rfc6855_utf8_names_and_messages() {
    let house = House::new().await;
    let mut client = house.login().await;
    client.ok("CREATE \"caf&AOk-\"").await;
    assert!(client.ok("ENABLE UTF8=ACCEPT").await.contains("* ENABLED UTF8=ACCEPT"));
    let message = "Subject: Gr\u{fc}\u{df}e\r\n\r\nx\r\n";
    client.ok(&format!("APPEND \"caf\u{e9}\" UTF8 (~{{{}+}}\r\n{message})", message.len())).await;
    assert!(client.ok("SELECT caf\u{e9}").await.contains("* 1 EXISTS"));
    assert!(client.ok("FETCH 1 ENVELOPE").await.contains("Gr\u{fc}\u{df}e"));
    assert!(client.ok("LIST \"\" \"caf*\"").await.contains("\"caf\u{e9}\""));
}

#[tokio::test]
async fn rfc9051_7_an_imap4rev2_session_hears_no_recent_and_esearch() {
    let house = House::new().await;
    let mut client = house.login().await;
    client.append("INBOX", &mail(1)).await;
    assert!(client.ok("ENABLE IMAP4rev2").await.contains("* ENABLED IMAP4rev2"));
    let select = client.ok("SELECT INBOX").await;
    assert!(
        select.contains("* LIST () \"/\" \"INBOX\"")
            && !select.contains("RECENT")
            && !select.contains("UNSEEN")
    );
    let found = client.ok("SEARCH ALL").await;
    assert!(found.contains(&format!("* ESEARCH (TAG \"t{}\") ALL 1\r\n", client.tag)), "{found}");
    assert!(!client.ok("FETCH 1 FLAGS").await.contains("Recent"));
}

#[tokio::test]
async fn rfc2971_5161_2342_9208_small_commands() {
    let mut house = House::new().await;
    house.context.quota_bytes = 1 << 20;
    let mut client = house.login().await;
    assert!(client.ok("ID NIL").await.contains("* ID (\"name\" \"nymote\""));
    assert!(client.ok("ID (\"name\" \"x\" \"version\" NIL)").await.contains("* ID ("));
    assert!(client.ok("ENABLE X-NOTHING").await.contains("* ENABLED\r\n"));
    assert!(client.ok("NAMESPACE").await.contains("* NAMESPACE ((\"\" \"/\")) NIL NIL"));
    assert!(
        client
            .ok("GETQUOTAROOT INBOX")
            .await
            .contains("* QUOTAROOT \"INBOX\" \"\"\r\n* QUOTA \"\" (STORAGE 0 1024)")
    );
    assert!(client.say("GETQUOTAROOT Nowhere").await.contains("NO [NONEXISTENT]"));
    assert!(client.say("SETQUOTA \"\" (STORAGE 1)").await.contains("NO [NOPERM]"));
    assert!(client.say("XYZZY").await.contains("BAD"));
    assert!(client.say("LOGIN ada x").await.contains("BAD"));
    assert!(client.ok("CAPABILITY").await.contains("OBJECTID"));
}

#[tokio::test]
async fn rfc4959_initial_responses_and_what_may_follow() {
    let house = House::new().await;
    let mut client = house.connect();
    client.until("* OK").await;
    client.send("a AUTHENTICATE PLAIN\r\n").await;
    client.until("+ ").await;
    client.send("*\r\n").await;
    client.until("a BAD").await;
    client.send("b AUTHENTICATE LOGIN YWRh\r\n").await;
    client.until("+ UGFzc3dvcmQ6").await;
    client.send("Y29ycmVjdCBob3JzZQ==\r\n").await;
    assert!(client.until("b ").await.contains("b OK [CAPABILITY "));
}

#[tokio::test]
async fn a_client_that_does_nothing_but_talk_is_let_go() {
    let house = House::new().await;
    let mut client = house.connect();
    client.until("* OK").await;
    for _ in 0..40 {
        if client.stream.write_all(b"nonsense\r\n").await.is_err() {
            break;
        }
    }
    client.until("* BYE").await;
}

#[tokio::test]
async fn stores_that_come_together_are_answered_one_by_one_and_share_commits() {
    let house = House::new().await;
    let mut client = house.login().await;
    for n in 1..=3 {
        client.append("INBOX", &mail(n)).await;
    }
    client.ok("SELECT INBOX").await;
    let account = house.context.mailboxes.account("ada").await.unwrap();
    let before = account.state().folders["INBOX"].about.modseq;
    let mut commands = String::new();
    for n in 0..40 {
        commands +=
            &format!("s{n} STORE {} {}FLAGS (\\Flagged)\r\n", n % 3 + 1, if n % 2 == 0 { "+" } else { "-" });
    }
    commands += "x1 STORE 1 +FLAGS (\\Nonsense)\r\nx2 STORE 2 +FLAGS.SILENT ($Last)\r\nx3 FETCH 2 FLAGS\r\n";
    client.send(&commands).await;
    for n in 0..40 {
        let answer = client.until(&format!("s{n} ")).await;
        assert!(
            answer.contains(&format!("* {} FETCH (FLAGS (", n % 3 + 1)) && answer.contains(" OK "),
            "{answer}"
        );
    }
    assert!(client.until("x1 ").await.contains("x1 BAD"));
    let silent = client.until("x2 ").await;
    assert!(!silent.contains("FETCH"), "{silent}");
    let shown = client.until("x3 ").await;
    assert!(shown.contains("$Last") && !shown.contains("\\Flagged"), "{shown}");
    assert_eq!(account.state().folders["INBOX"].about.modseq, before + 40, "each that changes something");
    // Another's change in between is told, though ours were silent.
    let mut other = house.login().await;
    other.ok("SELECT INBOX").await;
    other.ok("STORE 3 +FLAGS (\\Answered)").await;
    assert!(client.ok("STORE 1 +FLAGS.SILENT (\\Seen)").await.contains("* 3 FETCH (FLAGS (\\Answered"));
}
