//! Requests made by hand for what no advertised ref reaches: it is not there, whoever knows its id.

use git_wire::memory::MemoryRepository;
use git_wire::pack::{PackWriter, deflate};
use git_wire::pkt::{write_delimiter, write_flush, write_line, write_text};
use git_wire::serve::{receive_pack, upload_pack_v0, upload_pack_v2};
use git_wire::{Kind, Limits, ObjectId, Repository, Zlib};

const WHO: &str = "A <a@x> 1700000000 +0000";

/// A repository with a branch that is advertised, and a secret that was never on it.
struct Told {
    repository: MemoryRepository,
    open: ObjectId,
    open_blob: ObjectId,
    hidden: [ObjectId; 3],
}

fn commit(repository: &MemoryRepository, content: &[u8]) -> [ObjectId; 3] {
    let blob = repository.add(Kind::Blob, content).unwrap();
    let tree = [b"100644 file\0", &blob.0[..]].concat();
    let tree = repository.add(Kind::Tree, &tree).unwrap();
    let text = format!("tree {tree}\nauthor {WHO}\ncommitter {WHO}\n\nm\n");
    [repository.add(Kind::Commit, text.as_bytes()).unwrap(), tree, blob]
}

fn told() -> Told {
    let repository = MemoryRepository::new();
    let [open, _, open_blob] = commit(&repository, b"open");
    let hidden = commit(&repository, b"a secret of somebody else");
    repository.set_ref("refs/heads/main", open);
    Told { repository, open, open_blob, hidden }
}

fn fetch_v2(told: &Told, want: ObjectId, have: &[ObjectId], done: bool) -> String {
    let mut request = Vec::new();
    write_text(&mut request, "command=fetch").unwrap();
    write_delimiter(&mut request).unwrap();
    write_text(&mut request, &format!("want {want}")).unwrap();
    have.iter().for_each(|id| write_text(&mut request, &format!("have {id}")).unwrap());
    if done {
        write_text(&mut request, "done").unwrap();
    }
    write_flush(&mut request).unwrap();
    let mut answer = Vec::new();
    let view = told.repository.view().unwrap();
    match upload_pack_v2(&*view, &mut &request[..], &mut answer, &Limits::default()) {
        Ok(()) => String::from_utf8_lossy(&answer).into_owned(),
        Err(error) => error.to_string(),
    }
}

fn fetch_v0(told: &Told, want: ObjectId) -> String {
    let mut request = Vec::new();
    write_text(&mut request, &format!("want {want} side-band-64k")).unwrap();
    write_flush(&mut request).unwrap();
    write_text(&mut request, "done").unwrap();
    let mut answer = Vec::new();
    let view = told.repository.view().unwrap();
    match upload_pack_v0(&*view, &mut &request[..], &mut answer, &Limits::default()) {
        Ok(()) => String::from_utf8_lossy(&answer).into_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_want_of_something_hidden_is_answered_as_one_of_nothing() {
    let told = told();
    let nothing = ObjectId([7; 20]);
    for want in told.hidden.into_iter().chain([nothing]) {
        for answer in [fetch_v2(&told, want, &[], true), fetch_v0(&told, want)] {
            assert_eq!(answer, format!("upload-pack: not our ref {want}"));
        }
    }
    // A blob that the branch holds may be wanted: partial clones do.
    for want in [told.open, told.open_blob] {
        assert!(fetch_v2(&told, want, &[], true).contains("PACK"));
        assert!(fetch_v0(&told, want).contains("PACK"));
    }
}

#[test]
fn a_have_of_something_hidden_is_not_acknowledged() {
    let told = told();
    let answer = fetch_v2(&told, told.open, &[told.hidden[0], told.hidden[2]], false);
    assert!(answer.contains("NAK") && !answer.contains("ACK "), "{answer}");
    let answer = fetch_v2(&told, told.open, &[told.open], false);
    assert!(answer.contains(&format!("ACK {}", told.open)), "{answer}");
}

/// Pushes a pack made by hand to a new branch; returns the report.
fn push(
    told: &Told,
    new: ObjectId,
    make: impl FnOnce(PackWriter<Vec<u8>>) -> PackWriter<Vec<u8>>,
    count: u32,
) -> String {
    let mut request = Vec::new();
    let line = format!("{} {new} refs/heads/thief\0report-status", ObjectId::ZERO);
    write_line(&mut request, line.as_bytes()).unwrap();
    write_flush(&mut request).unwrap();
    let pack = make(PackWriter::new(Vec::new(), count).unwrap()).finish().unwrap();
    request.extend_from_slice(&pack);
    let mut answer = Vec::new();
    let mut anything = |_: &git_wire::serve::RefChange<'_>| Ok(());
    let limits = Limits::default();
    receive_pack(&told.repository, "thief", &mut &request[..], &mut answer, &limits, &mut anything).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn whole(pack: &mut PackWriter<Vec<u8>>, kind: Kind, content: &[u8]) {
    pack.whole(kind, content.len() as u64, Zlib::Bytes(deflate(content))).unwrap();
}

#[test]
fn a_push_cannot_name_what_its_sender_does_not_see() {
    let told = told();
    let refused = |answer: &str| {
        assert!(answer.contains("ng refs/heads/thief"), "{answer}");
        assert_eq!(told.repository.get_ref("refs/heads/thief"), None);
    };
    // The commit itself, without a pack.
    let answer = push(&told, told.hidden[0], |pack| pack, 0);
    assert!(answer.contains("missing necessary objects"), "{answer}");
    refused(&answer);
    // A tree of one's own that names the blob, or the whole tree.
    for (mode, id) in [("100644", told.hidden[2]), ("40000", told.hidden[1])] {
        let tree = [format!("{mode} loot\0").as_bytes(), &id.0].concat();
        let tree_id = ObjectId::of(Kind::Tree, &tree).unwrap();
        let text = format!("tree {tree_id}\nauthor {WHO}\ncommitter {WHO}\n\nm\n");
        let make = |mut pack: PackWriter<Vec<u8>>| {
            whole(&mut pack, Kind::Commit, text.as_bytes());
            whole(&mut pack, Kind::Tree, &tree);
            pack
        };
        let answer = push(&told, ObjectId::of(Kind::Commit, text.as_bytes()).unwrap(), make, 2);
        assert!(answer.contains("missing"), "{answer}");
        refused(&answer);
    }
    // A delta that copies the secret out of it: what it makes could be cloned. Its size would have to be guessed.
    let secret = b"a secret of somebody else";
    let made = [&secret[..], b"!"].concat();
    let delta = [&[secret.len() as u8, made.len() as u8, 0x90, secret.len() as u8, 1, b'!'][..]].concat();
    let blob = ObjectId::of(Kind::Blob, &made).unwrap();
    let tree = [b"100644 loot\0", &blob.0[..]].concat();
    let tree_id = ObjectId::of(Kind::Tree, &tree).unwrap();
    let text = format!("tree {tree_id}\nauthor {WHO}\ncommitter {WHO}\n\nm\n");
    let make = |mut pack: PackWriter<Vec<u8>>| {
        whole(&mut pack, Kind::Commit, text.as_bytes());
        whole(&mut pack, Kind::Tree, &tree);
        let zlib = deflate(&delta);
        pack.ref_delta(told.hidden[2], delta.len() as u64, Zlib::Bytes(zlib)).unwrap();
        pack
    };
    refused(&push(&told, ObjectId::of(Kind::Commit, text.as_bytes()).unwrap(), make, 3));
}

#[test]
fn a_push_may_bring_again_what_is_there_hidden() {
    let told = told();
    let [commit, ..] = told.hidden;
    let view = told.repository.view().unwrap();
    let make = |mut pack: PackWriter<Vec<u8>>| {
        for id in told.hidden {
            let object = view.read(&id, 1 << 20).unwrap().unwrap();
            whole(&mut pack, object.kind, &object.content);
        }
        pack
    };
    let answer = push(&told, commit, make, 3);
    assert!(answer.contains("ok refs/heads/thief"), "{answer}");
}
