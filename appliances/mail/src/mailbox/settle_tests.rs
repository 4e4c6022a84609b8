use super::*;
use crate::mailbox::{Draft, FlagChange, Mailboxes, NewMessage};
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

#[tokio::test]
async fn two_servers_that_agree_make_no_more_commits() {
    let (_, a, b) = two().await;
    append(&a, "INBOX", &["a4"]).await;
    append(&b, "INBOX", &["b4"]).await;
    a.merge(b.state().head.unwrap()).await.unwrap();
    let head = a.state().head.unwrap();
    b.merge(head).await.unwrap();
    assert_eq!(b.state().head, Some(head), "what one settled the other takes as it is");
    a.merge(b.state().head.unwrap()).await.unwrap();
    assert_eq!(a.state().head, Some(head));
    // A person's push changes files alone: it is settled.
    let mut tx = a.store().branch(Account::branch_name("a")).unwrap().begin().unwrap();
    let file =
        tx.base().walk("folders").unwrap().map(Result::unwrap).find(|e| e.name().ends_with(".eml")).unwrap();
    tx.remove(&file.path).unwrap();
    let pushed = *tx.commit(Author::new("x", "x@x"), "by hand").unwrap();
    b.merge(pushed).await.unwrap();
    assert_eq!(b.state().folders["INBOX"].about.messages, 4);
    assert_ne!(b.state().head, Some(pushed));
}

#[derive(Debug, Clone)]
enum Edit {
    Append(usize),
    Flag(usize, usize),
    Unflag(usize, usize),
    Move(usize, usize),
    Expunge(usize),
    Rename,
    Meet,
}

fn edits() -> impl proptest::strategy::Strategy<Value = Vec<(bool, Edit)>> {
    use proptest::prelude::*;
    let edit = prop_oneof![
        4 => (1usize..3).prop_map(Edit::Append),
        4 => (0usize..20, 0usize..3).prop_map(|(m, f)| Edit::Flag(m, f)),
        2 => (0usize..20, 0usize..3).prop_map(|(m, f)| Edit::Unflag(m, f)),
        2 => (0usize..20, 0usize..3).prop_map(|(m, f)| Edit::Move(m, f)),
        2 => (0usize..20).prop_map(Edit::Expunge),
        1 => Just(Edit::Rename),
        3 => Just(Edit::Meet),
    ];
    proptest::collection::vec((any::<bool>(), edit), 1..25)
}

const WORDS: [&str; 3] = ["\\Seen", "\\Flagged", "$Work"];
const BOXES: [&str; 3] = ["INBOX", "Archive", "Trash"];

/// What a client of one server knows of each mailbox: UIDVALIDITY, UIDNEXT, and which message each UID is.
type Known = BTreeMap<String, (u32, u32, BTreeMap<u32, String>)>;

async fn known(account: &Account) -> Known {
    let mut all = Known::new();
    for (name, folder) in &account.state().folders {
        let messages =
            subjects(account, name).await.into_iter().map(|(uid, subject, _)| (uid, subject)).collect();
        all.insert(name.clone(), (folder.about.uid_validity, folder.about.uid_next, messages));
    }
    all
}

/// RFC 9051 2.3.1.1: no UID ever means another message, and what is new is at UIDNEXT or above.
fn unbroken(before: &Known, after: &Known) {
    for (name, (validity, next, messages)) in before {
        let Some((validity_now, next_now, messages_now)) = after.get(name) else { continue };
        if validity != validity_now {
            continue;
        }
        assert!(next_now >= next, "{name}: UIDNEXT went back");
        for (uid, subject) in messages_now {
            match messages.get(uid) {
                Some(known) => assert_eq!(known, subject, "{name}: UID {uid} is another message"),
                None => assert!(uid >= next, "{name}: UID {uid} of {subject} is new below {next}"),
            }
        }
    }
}

async fn apply(account: &Account, edit: &Edit, serial: &mut u32, removed: &mut BTreeSet<String>) {
    let nth = |m: usize| -> String { BOXES[m % BOXES.len()].into() };
    match edit {
        Edit::Append(count) => {
            for _ in 0..*count {
                *serial += 1;
                append(account, "INBOX", &[&format!("m{serial}")]).await;
            }
        }
        Edit::Flag(m, f) | Edit::Unflag(m, f) => {
            let name = nth(*m);
            let all = subjects(account, &name).await;
            let Some((uid, ..)) = all.get(m % all.len().max(1)).cloned() else { return };
            let word = vec![WORDS[*f].to_owned()];
            let change =
                if matches!(edit, Edit::Flag(..)) { FlagChange::Add(word) } else { FlagChange::Remove(word) };
            account.change(move |d| d.store_flags(&name, &[uid], &change, None)).await.unwrap();
        }
        Edit::Move(m, to) => {
            let (from, to) = (nth(*m), nth(*to));
            let all = subjects(account, &from).await;
            let Some((uid, ..)) = all.get(m % all.len().max(1)).cloned() else { return };
            if from != to {
                account.change(move |d| d.move_to(&from, &[uid], &to)).await.unwrap();
            }
        }
        Edit::Expunge(m) => {
            let name = nth(*m);
            let all = subjects(account, &name).await;
            let Some((uid, subject, _)) = all.get(m % all.len().max(1)).cloned() else { return };
            removed.insert(subject);
            account.change(move |d| d.expunge(&name, &[uid])).await.unwrap();
        }
        Edit::Rename => {
            let (from, to) = match account.state().folders.contains_key("Junk") {
                true => ("Junk", "Spam"),
                false => ("Spam", "Junk"),
            };
            let _ = account.change(move |d| d.rename(from, to)).await;
        }
        Edit::Meet => {}
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 24, ..Default::default() })]
    #[test]
    fn two_servers_edited_at_random_agree_lose_nothing_and_break_no_uid(all in edits()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_, a, b) = two().await;
            let (mut serial, mut removed) = (0, BTreeSet::new());
            for (on_a, edit) in all.iter().chain([&(true, Edit::Meet)]) {
                if !matches!(edit, Edit::Meet) {
                    apply(if *on_a { &a } else { &b }, edit, &mut serial, &mut removed).await;
                    continue;
                }
                let (first, second) = if *on_a { (&a, &b) } else { (&b, &a) };
                let (before_first, before_second) = (known(first).await, known(second).await);
                first.merge(second.state().head.unwrap()).await.unwrap();
                second.merge(first.state().head.unwrap()).await.unwrap();
                assert_eq!(first.state().head, second.state().head, "they agree");
                unbroken(&before_first, &known(first).await);
                unbroken(&before_second, &known(second).await);
            }
            let mut there = BTreeSet::new();
            for name in a.state().folders.keys() {
                assert_eq!(subjects(&a, name).await, subjects(&b, name).await);
                there.extend(subjects(&a, name).await.into_iter().map(|(_, subject, _)| subject));
                let about = &a.state().folders[name].about;
                assert_eq!(about.messages as usize, subjects(&a, name).await.len());
            }
            let every = (1..=serial).map(|i| format!("m{i}")).chain((1..4).map(|i| format!("base{i}")));
            for subject in every.filter(|s| !removed.contains(s)) {
                assert!(there.contains(&subject), "{subject} is lost");
            }
        });
    }
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

/// Every message of an account as `mailbox/subject`, sorted; and what each mailbox says of itself is true.
async fn everything(account: &Account) -> Vec<String> {
    let state = account.state();
    let mut all = Vec::new();
    for (name, folder) in &state.folders {
        let rows = subjects(account, name).await;
        assert_eq!(folder.about.messages as usize, rows.len(), "{name}");
        assert!(rows.iter().all(|(uid, ..)| *uid < folder.about.uid_next), "{name}");
        all.extend(rows.into_iter().map(|(_, subject, _)| format!("{name}/{subject}")));
    }
    let ids: std::collections::BTreeSet<_> = state.folders.values().map(|f| &f.about.id).collect();
    assert_eq!(ids.len(), state.folders.len(), "every mailbox has an id of its own");
    all.sort();
    all
}

async fn did(account: &Account, change: impl FnOnce(&mut Draft<'_>) + Send + 'static) -> CommitId {
    account
        .change(|draft| {
            change(draft);
            Ok(())
        })
        .await
        .unwrap();
    account.state().head.unwrap()
}

#[tokio::test]
async fn undo_of_a_mailbox_that_was_made() {
    let (_, a, _) = two().await;
    let before = everything(&a).await;
    let made = did(&a, |d| d.create("Work/New", "").unwrap()).await;
    a.undo(made).await.unwrap();
    assert!(!a.state().folders.contains_key("Work") && !a.state().folders.contains_key("Work/New"));
    // What came into it meanwhile stays, and so does the mailbox.
    let made = did(&a, |d| d.create("Work", "").unwrap()).await;
    append(&a, "Work", &["came"]).await;
    a.undo(made).await.unwrap();
    let mut wanted = before.clone();
    wanted.push("Work/came".into());
    assert_eq!(everything(&a).await, wanted);
    append(&a, "Work", &["later"]).await;
    wanted.push("Work/later".into());
    assert_eq!(everything(&a).await, wanted);
}

#[tokio::test]
async fn undo_of_a_mailbox_that_was_renamed() {
    let (_, a, _) = two().await;
    did(&a, |d| d.create("Work", "").unwrap()).await;
    append(&a, "Work", &["one", "two"]).await;
    let (id, validity) =
        (a.state().folders["Work"].about.id.clone(), a.state().folders["Work"].about.uid_validity);
    let renamed = did(&a, |d| d.rename("Work", "Job").unwrap()).await;
    a.undo(renamed).await.unwrap();
    assert!(!a.state().folders.contains_key("Job"));
    let about = &a.state().folders["Work"].about;
    assert_eq!((&about.id, about.uid_validity), (&id, validity));
    let back: Vec<(u32, String)> = subjects(&a, "Work").await.into_iter().map(|(u, s, _)| (u, s)).collect();
    assert_eq!(back, [(1, "one".into()), (2, "two".into())]);
    // With mail that came under the new name: nothing is lost, and no mailbox is without its facts.
    let renamed = did(&a, |d| d.rename("Work", "Job").unwrap()).await;
    append(&a, "Job", &["three"]).await;
    a.undo(renamed).await.unwrap();
    let all = everything(&a).await;
    for subject in ["one", "two", "three", "base1"] {
        assert_eq!(
            all.iter().filter(|m| m.ends_with(&format!("/{subject}"))).count(),
            1,
            "{subject}: {all:?}"
        );
    }
}

#[tokio::test]
async fn undo_of_a_mailbox_that_was_deleted() {
    let (_, a, _) = two().await;
    did(&a, |d| d.create("Work", "").unwrap()).await;
    append(&a, "Work", &["one", "two"]).await;
    let before = everything(&a).await;
    let deleted = did(&a, |d| d.delete("Work").unwrap()).await;
    a.undo(deleted).await.unwrap();
    assert_eq!(everything(&a).await, before);
    append(&a, "Work", &["three"]).await;
    assert_eq!(everything(&a).await.len(), before.len() + 1);
}
