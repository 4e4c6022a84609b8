//! Mailboxes on a store in memory.

use super::*;
use store::{MemoryDevice, Options, Store};

fn mailboxes() -> (Store, Mailboxes) {
    let store = Store::create(MemoryDevice::new(), Options::new()).unwrap();
    (store.clone(), Mailboxes::new(store, "example.org"))
}

fn message(n: usize) -> NewMessage {
    NewMessage {
        raw: format!("Subject: {n}\r\nFrom: a@b\r\n\r\nbody {n}\r\n").into_bytes(),
        flags: if n.is_multiple_of(3) { vec!["\\Seen".into(), "$Label".into()] } else { Vec::new() },
        date: 1_795_233_369 + n as i64,
    }
}

async fn uids(account: &Account, mailbox: &str) -> Vec<u32> {
    account.rows(mailbox).await.unwrap().iter().map(|row| row.uid).collect()
}

#[tokio::test]
async fn a_new_account_has_its_folders() {
    let (_, mailboxes) = mailboxes();
    let ada = mailboxes.account("ada").await.unwrap();
    let state = ada.state();
    assert_eq!(state.folders.len(), 6);
    assert_eq!(state.special("\\Sent").unwrap().0, "Sent");
    let mut validities: Vec<u32> = state.folders.values().map(|f| f.about.uid_validity).collect();
    validities.sort_unstable();
    validities.dedup();
    assert_eq!(validities.len(), 6);
}

#[tokio::test]
async fn messages_come_change_move_and_go() {
    let (store, mailboxes) = mailboxes();
    let ada = mailboxes.account("ada").await.unwrap();
    let added = ada.append("INBOX", (0..250).map(message).collect(), 0).await.unwrap();
    assert_eq!(added.to, (1..=250).collect::<Vec<_>>());
    assert_eq!(ada.state().folders["INBOX"].about.unseen, 166);
    let outcome = ada
        .change(|d| d.store_flags("INBOX", &[1, 2, 150], &FlagChange::Add(vec!["\\Deleted".into()]), None))
        .await
        .unwrap();
    assert_eq!((outcome.modified.len(), outcome.modseq), (0, 3));
    let stale =
        ada.change(|d| d.store_flags("INBOX", &[1, 3], &FlagChange::Replace(vec![]), Some(2))).await.unwrap();
    assert_eq!(stale.modified, [1]);
    assert_eq!(ada.change(|d| d.expunge("INBOX", &[1, 2, 150, 999])).await.unwrap(), [1, 2, 150]);
    let moved = ada.change(|d| d.move_to("INBOX", &[4, 200], "Archive")).await.unwrap();
    assert_eq!((moved.from, moved.to), (vec![4, 200], vec![1, 2]));
    assert_eq!(uids(&ada, "INBOX").await.len(), 245);
    let rows = ada.rows("Archive").await.unwrap();
    let state = ada.state();
    assert_eq!(state.keywords.text(rows.at(1).unwrap().flags), "\\Seen $Label");
    assert_eq!(&ada.read(rows.at(1).unwrap()).unwrap().unwrap()[..], &message(3).raw[..]);
    assert_eq!(ada.head("Archive", rows.at(2).unwrap()).unwrap().unwrap(), Head::of(&message(199).raw));
    // What another reads from the files is the same.
    let again = Mailboxes::new(store, "example.org").account("ada").await.unwrap();
    for mailbox in ["INBOX", "Archive"] {
        let (one, two) = (ada.rows(mailbox).await.unwrap(), again.rows(mailbox).await.unwrap());
        assert_eq!(one.iter().collect::<Vec<_>>(), two.iter().collect::<Vec<_>>());
        assert_eq!(ada.state().folders[mailbox].about, again.state().folders[mailbox].about);
    }
}

#[tokio::test]
async fn uids_are_never_given_twice() {
    let (_, mailboxes) = mailboxes();
    let ada = mailboxes.account("ada").await.unwrap();
    ada.append("INBOX", vec![message(1), message(2)], 0).await.unwrap();
    ada.change(|d| d.expunge("INBOX", &[1, 2])).await.unwrap();
    assert_eq!(ada.append("INBOX", vec![message(3)], 0).await.unwrap().to, [3]);
    let before = ada.state().folders["Junk"].about.uid_validity;
    ada.change(|d| d.delete("Junk")).await.unwrap();
    ada.change(|d| d.create("Junk", "")).await.unwrap();
    assert!(ada.state().folders["Junk"].about.uid_validity > before);
}

#[tokio::test]
async fn the_derived_table_gives_the_same_rows() {
    let (store, mailboxes) = mailboxes();
    let ada = mailboxes.account("ada").await.unwrap();
    let viewing = ada.state().folders["INBOX"].view();
    ada.append("INBOX", (0..500).map(message).collect(), 0).await.unwrap();
    let open = || async { Mailboxes::new(store.clone(), "example.org").account("ada").await.unwrap() };
    assert_eq!(uids(&open().await.clone(), "INBOX").await.len(), 500);
    ada.change(|d| d.expunge("INBOX", &[7, 400])).await.unwrap();
    ada.change(|d| d.store_flags("INBOX", &[9], &FlagChange::Add(vec!["\\Flagged".into()]), None))
        .await
        .unwrap();
    let other = open().await;
    let (one, two) = (ada.rows("INBOX").await.unwrap(), other.rows("INBOX").await.unwrap());
    assert_eq!(one.iter().collect::<Vec<_>>(), two.iter().collect::<Vec<_>>());
    drop(viewing);
}

#[tokio::test]
async fn mailboxes_are_renamed_with_all_below_them() {
    let (_, mailboxes) = mailboxes();
    let ada = mailboxes.account("ada").await.unwrap();
    ada.change(|d| d.create("Lists/rust/internals", "")).await.unwrap();
    ada.append("Lists/rust", vec![message(1)], 0).await.unwrap();
    ada.change(|d| d.rename("Lists/rust", "Code/rust")).await.unwrap();
    let state = ada.state();
    assert!(state.folders.contains_key("Code/rust/internals") && state.folders.contains_key("Lists"));
    assert_eq!(uids(&ada, "Code/rust").await, [1]);
    let error = ada.change(|d| d.rename("Code/rust", "Code/rust/x")).await.unwrap_err();
    assert!(matches!(error, MailboxError::Exists(_)), "{error}");
    ada.append("INBOX", vec![message(1)], 0).await.unwrap();
    ada.change(|d| d.rename("INBOX", "Old")).await.unwrap();
    assert_eq!((uids(&ada, "INBOX").await.len(), uids(&ada, "Old").await.len()), (0, 1));
}

#[tokio::test]
async fn many_deliveries_at_once_are_all_there() {
    let (store, mailboxes) = mailboxes();
    let ada = mailboxes.account("ada").await.unwrap();
    let before = store.branch("mail/ada").unwrap().head();
    let each = |n: usize| {
        let ada = ada.clone();
        tokio::spawn(async move { ada.append("INBOX", vec![message(n)], 0).await.unwrap().to[0] })
    };
    let tasks: Vec<_> = (0..100).map(each).collect();
    let mut given = Vec::new();
    for task in tasks {
        given.push(task.await.unwrap());
    }
    given.sort_unstable();
    assert_eq!(given, (1..=100).collect::<Vec<_>>());
    assert_ne!(store.branch("mail/ada").unwrap().head(), before);
    assert_eq!(uids(&ada, "INBOX").await.len(), 100);
}

#[tokio::test]
async fn the_quota_is_kept() {
    let (_, mailboxes) = mailboxes();
    let ada = mailboxes.account("ada").await.unwrap();
    let error = ada.append("INBOX", vec![message(1), message(2)], 50).await.unwrap_err();
    assert!(matches!(error, MailboxError::OverQuota { quota_bytes: 50 }));
    assert_eq!(ada.state().bytes(), 0);
}
