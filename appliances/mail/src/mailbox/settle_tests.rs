use super::*;
use crate::mailbox::{FlagChange, Mailboxes, NewMessage};
use crate::message::first_value;
use std::sync::Arc;
use store::MemoryDevice;

fn store() -> Store {
    Store::create(MemoryDevice::new(), merge_rules(Options::new().segment_bytes(64 << 10))).unwrap()
}

async fn append(account: &Account, mailbox: &str, subjects: &[&str]) -> Vec<u32> {
    let message = |s: &&str| NewMessage {
        raw: format!("Subject: {s}\r\n\r\nbody\r\n").into_bytes(),
        flags: Vec::new(),
        date: 1_795_233_369,
    };
    account.append(mailbox, subjects.iter().map(message).collect(), 0).await.unwrap().to
}

async fn subjects(account: &Account, mailbox: &str) -> Vec<(u32, String, String)> {
    let rows = account.rows(mailbox).await.unwrap();
    let state = account.state();
    let one = |row: &crate::mailbox::Row| {
        let raw = account.read(row).unwrap().unwrap();
        (row.uid, first_value(&raw, "Subject").unwrap(), state.keywords.text(row.flags))
    };
    rows.iter().map(one).collect()
}

async fn flag(account: &Account, uid: u32, word: &str) {
    let change = FlagChange::Add(vec![word.to_owned()]);
    account.change(move |d| d.store_flags("INBOX", &[uid], &change, None)).await.unwrap();
}

/// Two servers with the same account, apart since three messages.
async fn two() -> (Store, Arc<Account>, Arc<Account>) {
    let store = store();
    let boxes = Mailboxes::new(store.clone(), "home.test");
    let a = boxes.account("a").await.unwrap();
    append(&a, "INBOX", &["base1", "base2", "base3"]).await;
    store.create_branch(Account::branch_name("b"), a.state().head.unwrap()).unwrap();
    let b = boxes.account("b").await.unwrap();
    (store, a, b)
}

async fn meet(a: &Account, b: &Account) {
    let (head_a, head_b) = (a.state().head.unwrap(), b.state().head.unwrap());
    a.merge(head_b).await.unwrap();
    b.merge(head_a).await.unwrap();
    assert_eq!(subjects(a, "INBOX").await, subjects(b, "INBOX").await, "both come to the same on their own");
    b.merge(a.state().head.unwrap()).await.unwrap();
    a.merge(b.state().head.unwrap()).await.unwrap();
    assert_eq!(subjects(a, "INBOX").await, subjects(b, "INBOX").await);
}

#[tokio::test]
async fn two_servers_deliver_apart_and_no_uid_means_two_messages() {
    let (_, a, b) = two().await;
    append(&a, "INBOX", &["a4", "a5"]).await;
    append(&b, "INBOX", &["b4"]).await;
    flag(&a, 4, "\\Flagged").await;
    let highest = a.state().folders["INBOX"].about.modseq;
    meet(&a, &b).await;
    let all = subjects(&a, "INBOX").await;
    let uid = |s: &str| all.iter().find(|(_, t, _)| t == s).unwrap().0;
    // a5 keeps 5, which is new to b. a4 and b4 both had 4: clients of each server know another message by it.
    assert_eq!((all.len(), uid("base3"), uid("a5")), (6, 3, 5));
    assert!(uid("a4") > 5 && uid("b4") > 5 && uid("a4") != uid("b4"), "{all:?}");
    assert!(all.iter().all(|(_, t, f)| (t == "a4") == (f == "\\Flagged")), "{all:?}");
    let about = a.state().folders["INBOX"].about.clone();
    assert!(about.modseq > highest && about.messages == 6 && about.unseen == 6);
    assert_eq!(append(&a, "INBOX", &["later"]).await, [about.uid_next]);
}

#[tokio::test]
async fn two_servers_flag_move_and_delete_apart() {
    let (_, a, b) = two().await;
    flag(&a, 1, "\\Seen").await;
    a.change(|d| d.move_to("INBOX", &[2], "Archive")).await.unwrap();
    flag(&b, 1, "\\Answered").await;
    b.change(|d| d.expunge("INBOX", &[3])).await.unwrap();
    meet(&a, &b).await;
    let all = subjects(&a, "INBOX").await;
    assert_eq!(all, [(1, "base1".into(), "\\Answered \\Seen".into())]);
    assert_eq!(subjects(&b, "Archive").await.len(), 1);
    assert_eq!(a.state().folders["INBOX"].about.unseen, 0);
}

#[tokio::test]
async fn undo_brings_a_message_back_under_a_new_uid_and_keeps_what_came_after() {
    let (_, a, _) = two().await;
    a.change(|d| d.move_to("INBOX", &[2], "Archive")).await.unwrap();
    let commit = a.state().head.unwrap();
    append(&a, "INBOX", &["later"]).await;
    a.undo(commit).await.unwrap();
    let all: Vec<(u32, String)> = subjects(&a, "INBOX").await.into_iter().map(|(u, s, _)| (u, s)).collect();
    assert_eq!(all, [(1, "base1".into()), (3, "base3".into()), (4, "later".into()), (5, "base2".into())]);
    assert!(subjects(&a, "Archive").await.is_empty());
    assert_eq!(a.state().folders["INBOX"].about.messages, 4);
}

#[test]
fn merging_flags_is_symmetric_and_takes_one_sided_changes() {
    let path = store::TreePath::new("x/flags").unwrap();
    let context = Context { path: &path, ours: None, theirs: None };
    let merge = |b: &[u8], o: &[u8], t: &[u8]| FlagsFiles.merge(Some(b), o, t, &context);
    let base = b"00000001 3 \\Seen old\n";
    let (ours, theirs) = (b"00000001 5 \\Flagged \\Seen old\n", b"00000001 4 \\Seen\n00000002 4 x\n");
    let merged = Outcome::Merged(b"00000001 5 \\Flagged \\Seen\n00000002 4 x\n".to_vec());
    assert_eq!(merge(base, ours, theirs), merged);
    assert_eq!(merge(base, theirs, ours), merged);
}
