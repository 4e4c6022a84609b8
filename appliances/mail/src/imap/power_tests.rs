//! The power is cut between any two writes of APPEND, STORE, COPY, MOVE, EXPUNGE and RENAME: what was answered OK is there,
//! and the derived tables say the same as the files.

use super::tests::{House, mail};
use crate::mailbox::Mailboxes;
use std::sync::Arc;
use store::device::{Operation, PowerCuts, Trace};
use store::{MemoryDevice, Options, Store};

fn options() -> Options {
    crate::mailbox::merge_rules(Options::new().segment_bytes(32 << 10))
}

/// Everything that a client could see, as text; from the derived tables, or (`afresh`) from the files alone.
async fn seen(store: &Store, afresh: bool) -> String {
    let account = Mailboxes::new(store.clone(), "example.org").account("ada").await.unwrap();
    let state = account.state();
    if afresh {
        for folder in state.folders.values() {
            store.index(format!("mail/box/ada/{}", folder.about.id)).unwrap().clear().unwrap();
        }
    }
    let mut text = String::new();
    for (name, folder) in &state.folders {
        let about = &folder.about;
        text.push_str(&format!("{name} {} {} {}\n", about.uid_next, about.modseq, about.messages));
        for row in account.rows(name).await.unwrap().iter() {
            let raw = account.read(row).unwrap().expect("a message of a mailbox is there");
            let (flags, subject) = (state.keywords.text(row.flags), String::from_utf8_lossy(&raw[..30]));
            text.push_str(&format!("  {} {} {flags} {subject:?}\n", row.uid, row.modseq));
            assert_eq!(account.head(name, row).unwrap().unwrap(), crate::mailbox::Head::of(&raw));
        }
    }
    text
}

#[tokio::test]
async fn what_was_answered_ok_is_there_after_a_power_cut() {
    let trace = Arc::new(Trace::new(MemoryDevice::new()));
    let store = Store::create(trace.clone(), options()).unwrap();
    let house = House::on(store.clone()).await;
    let mut client = house.login().await;
    let mut cuts = PowerCuts::new(Vec::new());
    trace.take().iter().for_each(|operation| cuts.pass(operation));
    // What a client was answered, step by step, and what the device was asked until then.
    let mut truths = vec![seen(&store, false).await];
    let mut steps = Vec::new();
    let appended = |n: u32| {
        let message = mail(n);
        format!("APPEND INBOX (\\Seen) {{{}+}}\r\n{message}", message.len())
    };
    let commands = [
        appended(1),
        appended(2),
        appended(3),
        "SELECT INBOX".into(),
        "STORE 1:2 +FLAGS (\\Deleted $Work)".into(),
        "COPY 2:3 Archive".into(),
        "MOVE 3 Trash".into(),
        "EXPUNGE".into(),
        appended(4),
        "UID MOVE 4 Archive".into(),
        "CREATE Lists/one".into(),
        "RENAME Archive Lists/two".into(),
        "COPY 1:* Lists/one".into(),
        "DELETE Lists/one".into(),
    ];
    for command in commands {
        client.ok(&command).await;
        // What is done in quiet moments may come between; it belongs to the next step.
        steps.push((command, trace.take()));
        truths.push(seen(&store, false).await);
    }
    let mut tried = 0;
    for (done, (command, operations)) in steps.iter().enumerate() {
        for operation in operations {
            cuts.pass(operation);
            if matches!(operation, Operation::Read(..)) {
                continue;
            }
            for seed in 0..if cuts.is_all_durable() { 1 } else { 9 } {
                let device = MemoryDevice::from_image(cuts.cut(seed));
                let store = Store::open(device, options()).unwrap();
                let after = seen(&store, false).await;
                let known = &truths[done..done + 2];
                assert!(known.contains(&after), "{command}, {operation:?}: {after}\nnot in {known:#?}");
                assert_eq!(after, seen(&store, true).await, "{command}: the table is not what the files say");
                tried += 1;
            }
        }
        let store = Store::open(MemoryDevice::from_image(cuts.cut(9)), options()).unwrap();
        assert_eq!(seen(&store, false).await, truths[done + 1], "{command} was answered OK");
    }
    assert!(tried > 100, "{tried}");
}

#[tokio::test]
async fn a_full_disk_is_answered_no_and_nothing_is_lost() {
    let memory = Arc::new(MemoryDevice::with_limit(3 << 20));
    let store = Store::create(memory, options()).unwrap();
    let house = House::on(store).await;
    let mut client = house.login().await;
    client.ok("CREATE Big").await;
    // Text that deflates badly.
    let noise = |n: u64| -> String {
        let mut state = n + 1;
        let mut letter = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'0' + (state >> 58) as u8)
        };
        (0..60_000).map(|_| letter()).collect()
    };
    let append = |n: u64| {
        let text = format!("Subject: {n}\r\n\r\n{}\r\n", noise(n));
        format!("APPEND Big {{{}+}}\r\n{text}", text.len())
    };
    let mut taken = 0;
    let refusal = loop {
        let answer = client.say(&append(taken)).await;
        if !answer.contains(" OK ") {
            break answer;
        }
        taken += 1;
        assert!(taken < 200, "a device of 3 MB is never full");
    };
    assert!(refusal.contains("NO [OVERQUOTA]"), "{refusal}");
    assert!(taken > 5);
    // What was answered OK is there, and can be read; nothing of the refused one is.
    let select = client.ok("SELECT Big").await;
    assert!(select.contains(&format!("* {taken} EXISTS")), "{select}");
    assert!(client.ok("FETCH 1 BODY.PEEK[HEADER]").await.contains("Subject: 0"));
    assert!(client.say(&append(999)).await.contains("NO [OVERQUOTA]"));
}
