//! Whole sessions, client and server, over a stream in memory; the store is in memory too.

use super::{Context, Security, serve};
use crate::mailbox::Mailboxes;
use chassis::accounts::Accounts;
use chassis::config::ConfigFiles;
use std::net::{IpAddr, Ipv4Addr};
use store::{MemoryDevice, Options, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub(super) struct House {
    pub context: Context,
}

impl House {
    pub async fn new() -> House {
        House::on(Store::create(MemoryDevice::new(), Options::new()).unwrap()).await
    }

    pub async fn on(store: Store) -> House {
        let accounts = Accounts::open(&ConfigFiles::of(&store).unwrap()).unwrap();
        accounts.create("ada", "ada@example.org", "Ada", "correct horse", false).await.unwrap();
        let leaf = chassis::tls::Authority::create("example.org")
            .unwrap()
            .issue(&["mail.example.org".into()], &[])
            .unwrap();
        let tls = chassis::tls::Tls::new(&leaf).unwrap().plain();
        let mailboxes = Mailboxes::new(store, "example.org");
        House { context: Context { accounts, mailboxes, tls, quota_bytes: 0, plaintext_login: true } }
    }

    pub fn connect(&self) -> Client {
        let (near, far) = tokio::io::duplex(1 << 16);
        tokio::spawn(serve(far, HERE, Security::StartTls, self.context.clone()));
        Client { stream: near, got: Vec::new(), tag: 0 }
    }

    pub async fn login(&self) -> Client {
        let mut client = self.connect();
        client.until("* OK").await;
        client.ok("LOGIN ada \"correct horse\"").await;
        client
    }
}

pub(super) struct Client {
    pub stream: DuplexStream,
    got: Vec<u8>,
    pub tag: u32,
}

impl Client {
    /// Everything up to and with the line that begins so.
    pub async fn until(&mut self, begin: &str) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.got).into_owned();
            let mut at = 0;
            for line in text.split_inclusive("\r\n") {
                at += line.len();
                if line.starts_with(begin) && line.ends_with("\r\n") {
                    self.got.drain(..at);
                    return text[..at].to_owned();
                }
            }
            let mut buffer = [0; 4096];
            let read =
                tokio::time::timeout(std::time::Duration::from_secs(20), self.stream.read(&mut buffer));
            let len = read.await.unwrap_or_else(|_| panic!("no {begin:?} in {text:?}")).unwrap();
            assert!(len > 0, "closed before {begin:?}: {text:?}");
            self.got.extend_from_slice(&buffer[..len]);
        }
    }

    pub async fn send(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// A command and all of its answer.
    pub async fn say(&mut self, command: &str) -> String {
        self.tag += 1;
        let tag = format!("t{}", self.tag);
        self.send(&format!("{tag} {command}\r\n")).await;
        self.until(&format!("{tag} ")).await
    }

    pub async fn ok(&mut self, command: &str) -> String {
        let answer = self.say(command).await;
        assert!(
            answer.lines().last().unwrap().starts_with(&format!("t{} OK", self.tag)),
            "{command}: {answer}"
        );
        answer
    }

    /// A command after which the server says BYE.
    pub async fn say_to_the_end(&mut self, command: &str) -> String {
        self.send(&format!("end {command}\r\n")).await;
        self.until("* BYE").await
    }

    pub async fn append(&mut self, mailbox: &str, message: &str) -> String {
        self.ok(&format!("APPEND {mailbox} {{{}+}}\r\n{message}", message.len())).await
    }
}

pub(super) fn mail(n: u32) -> String {
    format!(
        "From: a{n}@b.test\r\nSubject: number {n}\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n\r\nbody of {n}\r\n"
    )
}

#[tokio::test]
async fn rfc3501_6_2_nothing_is_told_before_the_login() {
    let house = House::new().await;
    let mut client = house.connect();
    assert!(client.until("* OK").await.contains("AUTH=SCRAM-SHA-256"));
    assert!(client.say("SELECT INBOX").await.contains("t1 BAD"));
    assert!(client.say("LOGIN ada wrong").await.contains("NO [AUTHENTICATIONFAILED]"));
    assert!(client.ok("AUTHENTICATE PLAIN AGFkYQBjb3JyZWN0IGhvcnNl").await.contains("QRESYNC"));
}

#[tokio::test]
async fn rfc3501_11_1_no_password_without_tls() {
    let mut house = House::new().await;
    house.context.plaintext_login = false;
    let mut client = house.connect();
    assert!(client.until("* OK").await.contains("STARTTLS LOGINDISABLED"));
    assert!(client.say("LOGIN ada \"correct horse\"").await.contains("NO [PRIVACYREQUIRED]"));
    assert!(client.say("AUTHENTICATE PLAIN AGFkYQBjb3JyZWN0IGhvcnNl").await.contains("NO [PRIVACYREQUIRED]"));
}

#[tokio::test]
async fn a_message_is_appended_read_flagged_and_expunged() {
    let house = House::new().await;
    let mut client = house.login().await;
    assert!(client.append("INBOX", &mail(1)).await.contains("[APPENDUID "));
    client.append("INBOX", &mail(2)).await;
    let select = client.ok("SELECT INBOX").await;
    for told in ["* 2 EXISTS", "* 2 RECENT", "[UIDNEXT 3]", "[UNSEEN 1]", "[PERMANENTFLAGS (", "[READ-WRITE]"]
    {
        assert!(select.contains(told), "{told}: {select}");
    }
    let fetched = client.ok("FETCH 1:* (UID FLAGS BODY[HEADER.FIELDS (SUBJECT)])").await;
    assert!(
        fetched.contains(
            "* 2 FETCH (UID 2 FLAGS (\\Seen \\Recent) BODY[HEADER.FIELDS (SUBJECT)] {21}\r\nSubject: number 2"
        ),
        "{fetched}"
    );
    let stored = client.ok("STORE 1 +FLAGS (\\Deleted $Work)").await;
    assert!(
        stored.contains("* FLAGS (")
            && stored.contains("* 1 FETCH (FLAGS (\\Deleted \\Seen $Work \\Recent))"),
        "{stored}"
    );
    assert!(client.ok("SEARCH KEYWORD $work").await.contains("* SEARCH 1\r\n"));
    assert!(client.ok("UID SEARCH TEXT \"body of 2\"").await.contains("* SEARCH 2\r\n"));
    assert!(client.ok("EXPUNGE").await.contains("* 1 EXPUNGE\r\n"));
    assert!(
        client.ok("FETCH 1 (UID BODY.PEEK[TEXT]<0.4>)").await.contains("UID 2 BODY[TEXT]<0> {4}\r\nbody)")
    );
    assert!(client.say("FETCH 1 BODY[").await.contains("BAD"));
    assert!(client.say("STORE 1 FLAGS (\\Nonsense)").await.contains("BAD"));
}

#[tokio::test]
async fn rfc2177_an_idling_session_is_told_at_once() {
    let house = House::new().await;
    let (mut one, mut two) = (house.login().await, house.login().await);
    one.ok("SELECT INBOX").await;
    one.send("i IDLE\r\n").await;
    one.until("+ ").await;
    two.append("INBOX", &mail(1)).await;
    one.until("* 1 EXISTS").await;
    two.ok("SELECT INBOX").await;
    two.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    one.until("* 1 FETCH (FLAGS (\\Deleted").await;
    two.ok("UID EXPUNGE 1").await;
    one.until("* 1 EXPUNGE").await;
    one.send("DONE\r\n").await;
    one.until("i OK").await;
}

#[tokio::test]
async fn rfc3501_7_4_1_no_expunge_while_numbers_are_in_use() {
    let house = House::new().await;
    let (mut one, mut two) = (house.login().await, house.login().await);
    for n in 1..=3 {
        one.append("INBOX", &mail(n)).await;
    }
    one.ok("SELECT INBOX").await;
    two.ok("SELECT INBOX").await;
    two.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    two.ok("EXPUNGE").await;
    let fetched = one.ok("FETCH 2 UID").await;
    assert!(fetched.contains("* 2 FETCH (UID 2)") && !fetched.contains("EXPUNGE"), "{fetched}");
    assert!(one.ok("NOOP").await.contains("* 1 EXPUNGE"));
    assert!(one.ok("FETCH 2 UID").await.contains("* 2 FETCH (UID 3)"));
}

#[tokio::test]
async fn rfc7162_condstore_and_qresync() {
    let house = House::new().await;
    let mut client = house.login().await;
    for n in 1..=5 {
        client.append("INBOX", &mail(n)).await;
    }
    assert!(client.ok("ENABLE QRESYNC").await.contains("* ENABLED QRESYNC"));
    let select = client.ok("SELECT INBOX").await;
    let validity: u32 =
        select.split("UIDVALIDITY ").nth(1).unwrap().split(']').next().unwrap().parse().unwrap();
    assert!(select.contains("[HIGHESTMODSEQ 6]"), "{select}");
    assert!(client.ok("STORE 2 +FLAGS.SILENT (\\Deleted)").await.contains("* 2 FETCH (UID 2 MODSEQ (7))"));
    let modified = client.ok("UID STORE 2,3 (UNCHANGEDSINCE 6) +FLAGS (\\Seen)").await;
    assert!(
        modified.contains("OK [MODIFIED 2]")
            && modified.contains("* 3 FETCH (UID 3 FLAGS (\\Seen \\Recent) MODSEQ (8))"),
        "{modified}"
    );
    assert!(client.ok("EXPUNGE").await.contains("* VANISHED 2\r\n"));
    let changed = client.ok("UID FETCH 1:* (FLAGS) (CHANGEDSINCE 6 VANISHED)").await;
    assert!(
        changed.contains("* VANISHED (EARLIER) 2")
            && changed.contains("UID 3 ")
            && !changed.contains("UID 4 "),
        "{changed}"
    );
    client.ok("UNSELECT").await;
    let select = client.ok(&format!("SELECT INBOX (QRESYNC ({validity} 6))")).await;
    assert!(
        select.contains("* VANISHED (EARLIER) 2\r\n") && select.contains("* 2 FETCH (UID 3 FLAGS (\\Seen"),
        "{select}"
    );
    assert!(client.ok("SEARCH MODSEQ 8").await.contains("* SEARCH 2 (MODSEQ 8)"));
}

#[tokio::test]
async fn rfc4731_and_5182_esearch_and_saved_results() {
    let house = House::new().await;
    let mut client = house.login().await;
    for n in 1..=4 {
        client.append("INBOX", &mail(n)).await;
    }
    client.ok("SELECT INBOX").await;
    let found = client.ok("UID SEARCH RETURN (MIN MAX COUNT ALL SAVE) NOT SUBJECT \"number 2\"").await;
    assert!(
        found.contains(&format!("* ESEARCH (TAG \"t{}\") UID MIN 1 MAX 4 COUNT 3 ALL 1,3:4\r\n", client.tag)),
        "{found}"
    );
    assert!(client.ok("COPY $ Archive").await.contains(" 1,3:4 1:3] copied"));
    let moved = client.ok("MOVE 1 Trash").await;
    assert!(moved.find("COPYUID").unwrap() < moved.find("* 1 EXPUNGE").unwrap(), "{moved}");
    assert!(client.say("COPY 1 Nowhere").await.contains("NO [TRYCREATE]"));
    assert!(client.say("SEARCH CHARSET X-NOBODYS ALL").await.contains("NO [BADCHARSET"));
}

#[tokio::test]
async fn rfc5258_and_6154_folders() {
    let mut house = House::new().await;
    house.context.quota_bytes = 1 << 20;
    let mut client = house.login().await;
    assert!(client.ok("CREATE \"Lists/r&APw-st\"").await.contains("MAILBOXID"));
    let list = client.ok("LIST (SPECIAL-USE) \"\" * RETURN (STATUS (MESSAGES UIDNEXT SIZE))").await;
    assert!(list.contains("* LIST (\\HasNoChildren \\Sent) \"/\" \"Sent\"\r\n* STATUS \"Sent\" (MESSAGES 0 UIDNEXT 1 SIZE 0)"), "{list}");
    assert!(client.ok("LIST \"\" Lists/%").await.contains("\"Lists/r&APw-st\""));
    client.ok("SUBSCRIBE \"Lists/r&APw-st\"").await;
    client.ok("UNSUBSCRIBE Junk").await;
    let lsub = client.ok("LSUB \"\" %").await;
    assert!(lsub.contains("* LSUB (\\Noselect) \"/\" \"Lists\"") && !lsub.contains("Junk"), "{lsub}");
    let recursive = client.ok("LIST (SUBSCRIBED RECURSIVEMATCH) \"\" %").await;
    assert!(recursive.contains("\"Lists\" (\"CHILDINFO\" (\"SUBSCRIBED\"))"), "{recursive}");
    client.ok("ENABLE UTF8=ACCEPT").await;
    assert!(client.ok("LIST \"\" \"Lists/*\"").await.contains("\"Lists/rüst\""));
    client.ok("RENAME Lists Code").await;
    assert!(client.ok("STATUS \"Code/rüst\" (MESSAGES MAILBOXID)").await.contains("MAILBOXID (F"));
    assert!(client.say("DELETE INBOX").await.contains("NO [CANNOT]"));
    assert!(client.say("CREATE INBOX").await.contains("NO [ALREADYEXISTS]"));
    assert!(
        client.say("CREATE a*").await.contains("BAD")
            || client.say("CREATE \"a*\"").await.contains("NO [CANNOT]")
    );
    assert!(client.say("CREATE Other (USE (\\Sent))").await.contains("NO [USEATTR]"));
    assert!(client.ok("GETQUOTAROOT INBOX").await.contains("* QUOTA \"\" (STORAGE 0 1024)"));
}

#[tokio::test]
async fn a_message_over_the_quota_or_the_bound_is_refused() {
    let mut house = House::new().await;
    house.context.quota_bytes = 1 << 20;
    let mut client = house.login().await;
    let big = "x".repeat(1 << 20);
    assert!(
        client
            .say(&format!("APPEND INBOX {{{}+}}\r\nA: b\r\n\r\n{big}", big.len() + 8))
            .await
            .contains("NO [OVERQUOTA]")
    );
    assert!(client.say("APPEND INBOX {99999999999}").await.contains("NO [TOOBIG]"));
    assert!(client.say("APPEND Nowhere {3+}\r\nabc").await.contains("NO [TRYCREATE]"));
    client.ok("NOOP").await;
}

#[tokio::test]
async fn rfc3501_6_2_1_what_comes_before_tls_is_not_listened_to() {
    let house = House::new().await;
    let mut client = house.connect();
    client.until("* OK").await;
    client.send("a STARTTLS\r\nb LOGIN ada \"correct horse\"\r\nc SELECT INBOX\r\n").await;
    client.until("a OK").await;
    // What follows is taken for a handshake or dropped, never for commands.
    drop(client.stream.write_all(b"d NOOP\r\n").await);
    let mut rest = Vec::new();
    let _ = client.stream.read_to_end(&mut rest).await;
    let text = String::from_utf8_lossy(&rest);
    assert!(!text.contains("b OK") && !text.contains("EXISTS") && !text.contains("d OK"), "{text}");
}

#[tokio::test]
async fn rfc3516_binary_and_rfc8474_ids() {
    let house = House::new().await;
    let mut client = house.login().await;
    let message = "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n";
    client.append("INBOX", message).await;
    client.append("Archive", message).await;
    client.ok("SELECT INBOX").await;
    assert!(
        client
            .ok("FETCH 1 (BINARY.PEEK[1] BINARY.SIZE[1])")
            .await
            .contains("BINARY[1] {5}\r\nhello BINARY.SIZE[1] 5)")
    );
    let id = |answer: String| answer.split("EMAILID (").nth(1).unwrap().split(')').next().unwrap().to_owned();
    let here = id(client.ok("FETCH 1 EMAILID").await);
    client.ok("EXAMINE Archive").await;
    assert_eq!(id(client.ok("FETCH 1 EMAILID").await), here);
    assert!(client.say("STORE 1 +FLAGS (\\Seen)").await.contains("NO [READ-ONLY]"));
    assert!(client.ok(&format!("SEARCH EMAILID {here}")).await.contains("* SEARCH 1"));
}
