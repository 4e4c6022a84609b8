use super::*;
use crate::dnssec::{Algorithm, ZoneKey};
use crate::zonefile;
use store::{MemoryDevice, Options};

pub const TEXT: &str = "$TTL 300\n@ SOA ns1 h 10 2 3 4 60\n@ NS ns1\nns1 A 192.0.2.1\nu A 192.0.2.1\n";

pub fn origin() -> Name {
    Name::from_text("example.test.", None).unwrap()
}

pub fn signer() -> Signer {
    let pkcs8 = ZoneKey::generate(Algorithm::EcdsaP256).unwrap();
    let key = vec![Arc::new(ZoneKey::from_pkcs8(Algorithm::EcdsaP256, 257, &pkcs8).unwrap())];
    Signer {
        published: key.clone(),
        key_signing: key.clone(),
        zone_signing: key.clone(),
        asked_of_parent: key,
        denial: Denial::Nsec3,
        key_ttl: 300,
        leaving: false,
        earlier: Arc::default(),
    }
}

async fn keeper(store: &Store, signer: Option<Signer>) -> Keeper {
    let zone = Zone::build(&origin(), zonefile::parse(TEXT, &origin(), None).unwrap()).unwrap();
    Keeper::import(store, &origin(), &zone, &Cause::new("test", "imported")).await.unwrap();
    Keeper::open(store, &origin(), signer, |_, _| ()).unwrap()
}

pub fn set(name: &str, address: &[u8]) -> SetChange {
    let datas = if address.is_empty() { Vec::new() } else { vec![address.to_vec()] };
    SetChange { name: Name::from_text(name, Some(&origin())).unwrap(), rtype: RecordType::A, ttl: 60, datas }
}

pub fn address(zone: &Zone, name: &str) -> Option<Vec<u8>> {
    let name = Name::from_text(name, Some(&origin())).unwrap();
    zone.node(&name)?.get(RecordType::A)?.datas(&origin()).next()
}

#[tokio::test]
async fn a_change_is_a_commit_and_a_new_serial() {
    let store = Store::create(MemoryDevice::new(), Options::new()).unwrap();
    let keeper = keeper(&store, Some(signer())).await;
    let cause = Cause::new("key upd", "by update");
    let done = keeper.change(&cause, |_| Ok(vec![set("u", &[192, 0, 2, 9])])).await.unwrap();
    assert_eq!(done, Changed { sets: 1, serial: 11 });
    assert_eq!(address(&keeper.served(), "u"), Some(vec![192, 0, 2, 9]));
    let nothing = keeper.change(&cause, |_| Ok(Vec::new())).await.unwrap();
    assert_eq!(nothing, Changed { sets: 0, serial: 11 });
    let again = Keeper::open(&store, &origin(), None, |_, _| ()).unwrap();
    assert_eq!((again.served().serial(), address(&again.served(), "u")), (11, Some(vec![192, 0, 2, 9])));
    let text = String::from_utf8(
        store
            .branch(BRANCH)
            .unwrap()
            .snapshot()
            .unwrap()
            .read("zones/example.test/u")
            .unwrap()
            .unwrap()
            .to_vec(),
    );
    assert_eq!(text.unwrap(), "u.example.test. 60 IN A 192.0.2.9\n");
}

#[tokio::test]
async fn differences_lead_from_each_serial_to_the_last() {
    let store = Store::create(MemoryDevice::new(), Options::new()).unwrap();
    let keeper = keeper(&store, Some(signer())).await;
    let sorted = |records: Vec<Record>| {
        let mut lines: Vec<String> = records.iter().map(Record::to_line).collect();
        lines.sort();
        lines
    };
    let mut copy: Vec<Record> = keeper.served().records().collect();
    for step in 0..20u8 {
        let name = format!("h{}", step % 7);
        let data = if step % 5 == 4 { vec![] } else { vec![10, 0, 0, step] };
        keeper
            .change(&Cause::new("t", "t"), |zone| {
                Ok(vec![set(&name, &data)].into_iter().filter(|one| differs(zone, one)).collect())
            })
            .await
            .unwrap();
    }
    for delta in keeper.since(10).unwrap() {
        for gone in &delta.removed {
            let at = copy.iter().position(|record| record == gone).expect("what goes was there");
            copy.remove(at);
        }
        copy.extend(delta.added.iter().cloned());
    }
    assert_eq!(sorted(copy), sorted(keeper.served().records().collect()));
    assert!(keeper.since(9).is_none());
}

#[tokio::test]
async fn what_others_commit_is_checked_and_served_and_the_serial_goes_on() {
    let store = Store::create(MemoryDevice::new(), Options::new()).unwrap();
    let keeper = keeper(&store, Some(signer())).await;
    let branch = store.branch(BRANCH).unwrap();
    let push = |path: &str, text: &str| {
        let mut transaction = branch.begin().unwrap();
        transaction.put(path, text.to_string()).unwrap();
        transaction.commit(Author::new("ada", "ada@example.org"), "by hand").unwrap().into_inner()
    };
    let commit = push("zones/example.test/mine", "a 5 A 192.0.2.7\nb 5 A 192.0.2.8\n");
    let changed = keeper.take_in(Some(commit)).await.unwrap().unwrap();
    assert_eq!((changed.serial, address(&keeper.served(), "b")), (11, Some(vec![192, 0, 2, 8])));
    // An update of a name in that file stays in that file.
    keeper.change(&Cause::new("t", "t"), |_| Ok(vec![set("a", &[192, 0, 2, 70])])).await.unwrap();
    let text = branch.snapshot().unwrap().read("zones/example.test/mine").unwrap().unwrap();
    assert_eq!(&text[..], b"a.example.test. 60 IN A 192.0.2.70\nb.example.test. 5 IN A 192.0.2.8\n");
    let commit = push("zones/example.test/bad", "c 5 A 300.1.1.1\n");
    let error = keeper.take_in(Some(commit)).await.unwrap_err().to_string();
    assert!(error.contains("zones/example.test/bad, line 1"), "{error}");
    assert_eq!(keeper.served().serial(), 12);
    // A SOA of the past does not take the serial back.
    push("zones/example.test/bad", "c 5 A 192.0.2.3\n");
    let commit = push("zones/example.test/SOA", "@ 300 SOA ns1 h 3 2 3 4 60\n");
    assert_eq!(keeper.take_in(Some(commit)).await.unwrap().unwrap().serial, 13);
}

#[tokio::test]
async fn undo_takes_back_one_change_and_counts_on() {
    let store = Store::create(MemoryDevice::new(), Options::new()).unwrap();
    let keeper = keeper(&store, None).await;
    let cause = Cause::new("t", "t");
    keeper.change(&cause, |_| Ok(vec![set("u", &[192, 0, 2, 9])])).await.unwrap();
    let commit = keeper.branch().head().unwrap();
    keeper.change(&cause, |_| Ok(vec![set("v", &[192, 0, 2, 10])])).await.unwrap();
    let done = keeper.undo(commit, &cause).await.unwrap();
    assert_eq!(done.serial, 13);
    assert_eq!(address(&keeper.served(), "u"), Some(vec![192, 0, 2, 1]));
    assert_eq!(address(&keeper.served(), "v"), Some(vec![192, 0, 2, 10]));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_at_once_share_flushes_and_none_is_lost() {
    let store = Store::create(MemoryDevice::new(), Options::new()).unwrap();
    let keeper = Arc::new(keeper(&store, Some(signer())).await);
    let tasks: Vec<_> = (0..40u8)
        .map(|number| {
            let keeper = keeper.clone();
            tokio::spawn(async move {
                let name = format!("n{number}");
                keeper
                    .change(&Cause::new("t", "t"), |_| Ok(vec![set(&name, &[10, 0, 0, number])]))
                    .await
                    .unwrap()
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(keeper.served().serial(), 50);
    let again = Keeper::open(&store, &origin(), None, |_, _| ()).unwrap().served();
    assert_eq!(again.serial(), 50);
    assert!((0..40u8).all(|number| address(&again, &format!("n{number}")) == Some(vec![10, 0, 0, number])));
}

#[tokio::test]
async fn a_secondary_follows_when_signing_begins_and_ends() {
    let store = Store::create(MemoryDevice::new(), Options::new()).unwrap();
    let keeper = keeper(&store, None).await;
    let lines = |records: Vec<Record>| {
        let mut lines: Vec<String> = records.iter().map(Record::to_line).collect();
        lines.sort();
        lines
    };
    for signer in [Some(signer()), None, Some(signer())] {
        let before = keeper.served();
        let mut copy: Vec<Record> = before.records().collect();
        keeper.sign_anew(signer, &Cause::new("t", "t")).await.unwrap();
        for delta in keeper.since(before.serial()).unwrap() {
            copy.retain(|record| !delta.removed.contains(record));
            copy.extend(delta.added.iter().cloned());
        }
        assert_eq!(lines(copy), lines(keeper.served().records().collect()));
    }
}

/// What a start must not lose: the serial, each signature, and the differences that secondaries ask for.
#[tokio::test]
async fn a_start_serves_the_very_zone_that_was_served_before() {
    let store = Store::create(MemoryDevice::new(), Options::new()).unwrap();
    let signer = signer();
    let kept = keeper(&store, None).await;
    kept.sign_anew(Some(signer.clone()), &Cause::new("t", "t")).await.unwrap();
    let secondary = kept.served();
    for step in 0..20u8 {
        let name = format!("h{}", step % 7);
        let data = if step % 5 == 4 { vec![] } else { vec![10, 0, 0, step] };
        let work =
            |zone: &Zone| Ok(vec![set(&name, &data)].into_iter().filter(|one| differs(zone, one)).collect());
        kept.change(&Cause::new("t", "t"), work).await.unwrap();
    }
    let before = kept.served();
    let started = Keeper::open(&store, &origin(), Some(signer.clone()), |_, _| ()).unwrap();
    started.count_up_after_start().await.unwrap();
    let lines = |zone: &Zone| zone.records().map(|record| record.to_line()).collect::<Vec<_>>();
    assert_eq!(lines(&started.served()), lines(&before));
    let mut copy: Vec<Record> = secondary.records().collect();
    for delta in started.since(secondary.serial()).expect("the differences are there") {
        copy.retain(|record| !delta.removed.contains(record));
        copy.extend(delta.added.iter().cloned());
    }
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    assert_eq!(sorted(copy.iter().map(Record::to_line).collect()), sorted(lines(&before)));
    // Other keys fit no signature: the zone is signed anew, the serial says so, and nobody is given differences.
    let other = Keeper::open(&store, &origin(), Some(super::tests::signer()), |_, _| ()).unwrap();
    other.count_up_after_start().await.unwrap();
    assert!(other.served().serial() > before.serial() && other.since(before.serial()).is_none());
    let again = Keeper::open(&store, &origin(), None, |_, _| ()).unwrap();
    assert!(again.since(before.serial()).is_none(), "nor after one more start");
}
