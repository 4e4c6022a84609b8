//! The power goes between any two steps of receiving, queueing, sending, APPEND and EXPUNGE: what was answered is there, and
//! what has the answer of another host is never sent to it again.

use mail::mailbox::{Mailboxes, NewMessage, merge_rules};
use mail::queue::{Entry, Queue, RecipientState, Waiting};
use mail::smtp::Mailbox;
use std::collections::BTreeSet;
use std::sync::Arc;
use store::device::{Operation, PowerCuts, Trace};
use store::{MemoryDevice, Options, Store};

/// Something that was answered, and how many operations the device had seen by then.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answered {
    /// A message is in the mailbox: 250 after the text, OK of APPEND.
    Delivered(String),
    /// A message is gone from the mailbox: OK of EXPUNGE.
    Expunged(String),
    /// A message is in the queue: 250 after the text of a submission.
    Queued(String),
    /// A host has taken it for this recipient (of a queued message), and that is written.
    Sent(String, usize),
    /// Nobody waits for it any more.
    Done(String),
}

fn options() -> Options {
    merge_rules(Options::new().segment_bytes(64 << 10))
}

fn raw(subject: &str) -> Vec<u8> {
    format!("Subject: {subject}\r\n\r\n{}\r\n", "text ".repeat(40 + subject.len() * 7)).into_bytes()
}

fn entry(subject: &str, now: u64) -> Entry {
    let to = |i: usize| Waiting::new(&Mailbox::parse(&format!("r{i}@far.test")).unwrap(), None, None);
    Entry {
        id: String::new(),
        created_ms: now,
        from: Some("anna@home.test".into()),
        user: "anna".into(),
        size: 1,
        smtputf8: false,
        ret: None,
        envid: None,
        subject: subject.into(),
        recipients: vec![to(0), to(1)],
    }
}

/// A day of mail; every answer with the number of operations before it.
async fn day(trace: &Trace<MemoryDevice>, store: &Store) -> Vec<(usize, Answered)> {
    let mut answers = Vec::new();
    let mut note = |answered| answers.push((trace.len_traced(), answered));
    let account = Mailboxes::new(store.clone(), "home.test").account("anna").await.unwrap();
    let queue = Queue::open(store).unwrap();
    let mut waiting: Vec<Entry> = Vec::new();
    for round in 0..12u64 {
        let names: Vec<String> = (0..3).map(|i| format!("in{round}.{i}")).collect();
        let message = |name: &String| NewMessage { raw: raw(name), flags: Vec::new(), date: 1_795_000_000 };
        // Three at once share a flush, as three connections do.
        let (a, b, c) = tokio::join!(
            account.append("INBOX", vec![message(&names[0])], 0),
            account.append("INBOX", vec![message(&names[1])], 0),
            account.append("INBOX", vec![message(&names[2])], 0),
        );
        let uids = [a.unwrap().to[0], b.unwrap().to[0], c.unwrap().to[0]];
        names.iter().for_each(|name| note(Answered::Delivered(name.clone())));
        if round % 3 == 2 {
            account.change(move |d| d.expunge("INBOX", &[uids[1]])).await.unwrap();
            note(Answered::Expunged(names[1].clone()));
        }
        let name = format!("out{round}");
        let queued = queue.add(entry(&name, round), raw(&name).into()).await.unwrap();
        note(Answered::Queued(name));
        waiting.push(queued);
        if round % 2 == 1 {
            let mut one = waiting.remove(0);
            one.recipients[0].state = RecipientState::Delivered;
            one.recipients[1].attempts = 1;
            one.recipients[1].next_ms = 99;
            queue.update(&one).await.unwrap();
            note(Answered::Sent(one.subject.clone(), 0));
            if round % 4 == 3 {
                one.recipients[1].state = RecipientState::Delivered;
                queue.update(&one).await.unwrap();
                note(Answered::Done(one.subject.clone()));
            }
        }
    }
    answers
}

/// What a store that was opened after a cut must hold of what was answered before it.
async fn verify(store: Store, before: &[Answered], all: &[(usize, Answered)]) {
    let account = Mailboxes::new(store.clone(), "home.test").account("anna").await.unwrap();
    let mut there = BTreeSet::new();
    for row in account.rows("INBOX").await.unwrap().iter() {
        let text = account.read(row).unwrap().expect("a message that is listed can be read");
        let subject = mail::message::first_value(&text, "Subject").unwrap();
        assert_eq!(text, raw(&subject), "a message is whole");
        there.insert(subject);
    }
    let queue = Queue::open(&store).unwrap();
    let entries = queue.all().unwrap();
    for one in &entries {
        assert_eq!(queue.message(&one.id).unwrap(), raw(&one.subject), "a queued message is whole");
    }
    let queued = |name: &str| entries.iter().find(|e| e.subject == name);
    // What comes next may have happened already, unanswered.
    let sometime = |answered: Answered| all.iter().any(|(_, a)| *a == answered);
    for answered in before {
        match answered {
            Answered::Delivered(name) if sometime(Answered::Expunged(name.clone())) => {}
            Answered::Delivered(name) => {
                assert!(there.contains(name), "{name} was answered and is not there")
            }
            Answered::Expunged(name) => assert!(!there.contains(name), "{name} was expunged and is there"),
            Answered::Queued(name) => {
                let may_be_done = sometime(Answered::Done(name.clone()));
                assert!(queued(name).is_some() || may_be_done, "{name} was answered and is not queued");
            }
            Answered::Sent(name, i) => {
                if let Some(one) = queued(name) {
                    assert_eq!(
                        one.recipients[*i].state,
                        RecipientState::Delivered,
                        "{name} would be sent twice"
                    );
                }
            }
            Answered::Done(name) => assert!(queued(name).is_none(), "{name} would be sent again"),
        }
    }
}

#[tokio::test]
async fn what_was_answered_outlives_a_power_cut_between_any_two_steps() {
    let trace = Arc::new(Trace::new(MemoryDevice::new()));
    let store = Store::create(trace.clone(), options()).unwrap();
    let answers = day(&trace, &store).await;
    drop(store);
    let operations: Vec<Operation> = trace.take();
    let writes = operations.iter().filter(|o| !matches!(o, Operation::Read(..))).count();
    let seeds = if std::env::var("NYMOTE_LONG").is_ok_and(|long| long == "1") { 64 } else { 16 };
    let mut cuts = PowerCuts::new(Vec::new());
    let mut tried = 0;
    for (at, operation) in operations.iter().enumerate() {
        cuts.pass(operation);
        if matches!(operation, Operation::Read(..)) {
            continue;
        }
        let before: Vec<Answered> = answers
            .iter()
            .filter(|(seen, _)| *seen <= at + 1)
            .map(|(_, answered)| answered.clone())
            .collect();
        for seed in 0..seeds {
            let image = cuts.cut((at as u64) << 8 | seed);
            match Store::open(MemoryDevice::from_image(image), options()) {
                Ok(store) => verify(store, &before, &answers).await,
                Err(error) => assert!(before.is_empty(), "after {} answers: {error}", before.len()),
            }
            tried += 1;
        }
    }
    // 37 changes wait for one another, each a write and a flush; what comes together shares them, or not.
    assert!(answers.len() > 50 && writes >= 2 * 37, "{} answers, {writes} writes and flushes", answers.len());
    assert_eq!(tried, writes * seeds as usize);
}
