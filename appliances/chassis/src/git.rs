//! `git clone https://HOST/…`: one branch of the store as a repository of its own, over the appliance's HTTP.
//!
//! Who asks sees one branch, `main`, and the objects that it reaches: what other branches of the same store hold is not
//! there for them, neither to fetch nor to name in a push. What a push brings lands on the branch, or is handed to the
//! appliance to be merged.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use store::wire::http::{Access, Reply, respond};
use store::wire::serve::RefChange;
use store::wire::walk::Selection;
use store::wire::{
    Closure, Head, Header, LargeObject, Limits, Object, ObjectId, Objects, Quarantine, Received, Ref,
    RefUpdate, Repository, RepositoryError, Spool, Stored, View,
};
use store::{CommitId, Store};
use tokio::sync::{mpsc, oneshot};

use crate::aside::on_thread;
use crate::http::{
    Answer, Body, BodyError, BodySender, Fault, HeaderName, HeaderValue, Request, Response, StatusCode,
};

/// The one branch of such a repository.
pub const MAIN: &[u8] = b"refs/heads/main";

/// Decides about a push to `main` that only goes forward; `Err` holds a few words for the pusher.
pub type Rules = fn(&RefChange<'_>) -> Result<(), String>;

/// Takes a pushed commit over, on a thread that may block; `Err` holds a few words for the pusher.
pub type Take = Arc<dyn Fn(CommitId) -> Result<(), String> + Send + Sync>;

/// A branch as a repository.
#[derive(Clone)]
pub struct Mount {
    /// Where the branch is.
    pub store: Store,
    /// The branch's name in the store, without `refs/heads/`.
    pub branch: String,
    /// Who asks.
    pub user: String,
    /// What a push may change.
    pub rules: Rules,
    /// What becomes of a push; `None` moves the branch to it.
    pub take: Option<Take>,
}

/// Answers a request, or says that it cannot now for want of memory; `path` is what stands behind the repository's address: `/info/refs`.
pub async fn serve(mount: Mount, path: String, mut request: Request) -> Answer {
    let (pieces, body) = mpsc::channel(2);
    let (head, answered) = oneshot::channel();
    let asked = Asked::of(&request, path);
    on_thread(move || mount.respond(&asked, body, head))?;
    let feeding = async {
        loop {
            let piece = request.body.piece().await.transpose();
            let Some(piece) = piece else { break };
            let broken = piece.is_err();
            if pieces.send(piece).await.is_err() || broken {
                break;
            }
        }
        drop(pieces);
    };
    let ((), answered) = tokio::join!(feeding, answered);
    answered.map_err(|_| Fault::internal("the repository could not answer"))
}

/// What the blocking side needs of a request.
struct Asked {
    method: String,
    path: String,
    query: String,
    content_type: String,
    content_encoding: String,
    git_protocol: String,
}

impl Asked {
    fn of(request: &Request, path: String) -> Asked {
        let field = |name: &'static str| request.header(name).unwrap_or_default().to_owned();
        Asked {
            method: request.method.as_str().to_owned(),
            path,
            query: request.query().to_owned(),
            content_type: field("content-type"),
            content_encoding: field("content-encoding"),
            git_protocol: field("git-protocol"),
        }
    }
}

impl Mount {
    fn respond(
        &self,
        asked: &Asked,
        body: mpsc::Receiver<Result<Bytes, BodyError>>,
        head: oneshot::Sender<Response>,
    ) {
        let request = store::wire::http::Request {
            method: &asked.method,
            path: &asked.path,
            query: &asked.query,
            content_type: &asked.content_type,
            content_encoding: &asked.content_encoding,
            git_protocol: &asked.git_protocol,
        };
        let access = Access { user: Some(&self.user), read: true, write: true, realm: "nymote" };
        let mut body = Incoming { pieces: body, rest: Bytes::new() };
        let mut answer = Answering { head: Some(head), sender: None, buffer: BytesMut::new() };
        let rules = self.rules;
        let mut may_update = |change: &RefChange<'_>| {
            if change.name != MAIN {
                return Err("only the branch main is kept here".into());
            }
            if change.new.is_zero() || !change.fast_forward() {
                return Err("main only goes forward; pull, then push again".into());
            }
            rules(change)
        };
        let limits = Limits::default();
        let served = respond(self, &request, access, &mut body, &mut answer, &limits, &mut may_update);
        if let Err(error) = served.map_err(io::Error::other).and_then(|()| answer.flush()) {
            tracing::debug!(user = self.user, %error, "a git client went away");
        }
    }

    fn full_name(&self) -> Vec<u8> {
        format!("refs/heads/{}", self.branch).into_bytes()
    }
}

impl Repository for Mount {
    fn view(&self) -> Result<Box<dyn View + '_>, RepositoryError> {
        Ok(Box::new(OneBranch { below: Repository::view(&self.store)?, mount: self }))
    }

    fn quarantine(&self) -> Result<Box<dyn Quarantine + '_>, RepositoryError> {
        Ok(Box::new(OneBranch { below: Repository::quarantine(&self.store)?, mount: self }))
    }
}

/// What the whole store shows or takes in, narrowed to one branch.
struct OneBranch<'a, Below: ?Sized> {
    below: Box<Below>,
    mount: &'a Mount,
}

impl<Below: Objects + ?Sized> Objects for OneBranch<'_, Below> {
    fn header(&self, id: &ObjectId) -> Result<Option<Header>, RepositoryError> {
        self.below.header(id)
    }

    fn read(&self, id: &ObjectId, max_bytes: u64) -> Result<Option<Object>, RepositoryError> {
        self.below.read(id, max_bytes)
    }

    fn stored(&self, id: &ObjectId) -> Result<Option<Stored>, RepositoryError> {
        self.below.stored(id)
    }
}

impl<'a> View for OneBranch<'a, dyn View + 'a> {
    fn refs(&self, prefixes: &[Vec<u8>]) -> Result<Vec<Ref>, RepositoryError> {
        if !prefixes.is_empty() && !prefixes.iter().any(|prefix| MAIN.starts_with(prefix)) {
            return Ok(Vec::new());
        }
        let name = self.mount.full_name();
        let found = self.below.refs(std::slice::from_ref(&name))?;
        let own = found.into_iter().filter(|one| one.name == name);
        Ok(own.map(|one| Ref { name: MAIN.to_vec(), ..one }).collect())
    }

    fn head(&self) -> Result<Option<Head>, RepositoryError> {
        Ok(Some(Head { target: MAIN.to_vec() }))
    }

    fn closure(&self, wanted: &[ObjectId], following: &[Ref]) -> Result<Option<Closure>, RepositoryError> {
        self.below.closure(wanted, following)
    }
}

impl<'a> Quarantine for OneBranch<'a, dyn Quarantine + 'a> {
    fn put(&mut self, id: ObjectId, object: &Object, received: Received<'_>) -> Result<(), RepositoryError> {
        self.below.put(id, object, received)
    }

    fn begin_large(&mut self) -> Result<Box<dyn LargeObject + '_>, RepositoryError> {
        self.below.begin_large()
    }

    fn spool(&self) -> Result<Box<dyn Spool>, RepositoryError> {
        self.below.spool()
    }

    fn will_reach(&mut self, head: ObjectId, reached: Selection) {
        self.below.will_reach(head, reached);
    }

    fn publish(
        self: Box<Self>,
        updates: &[RefUpdate],
        atomic: bool,
    ) -> Result<Vec<Result<(), String>>, RepositoryError> {
        let [update] = updates else {
            return Err(RepositoryError::Refused("only the branch main is kept here".into()));
        };
        if update.name != MAIN {
            return Err(RepositoryError::Refused("only the branch main is kept here".into()));
        }
        let Some(take) = &self.mount.take else {
            let own = RefUpdate { name: self.mount.full_name(), ..update.clone() };
            return self.below.publish(&[own], atomic);
        };
        // Kept on a branch of its own until the appliance has taken it over.
        let tag =
            crate::accounts::random::<6>().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        let branch = format!("pushed/{tag}");
        let name = format!("refs/heads/{branch}").into_bytes();
        let mut done =
            self.below.publish(&[RefUpdate { name, old: ObjectId::ZERO, new: update.new }], atomic)?;
        if let Some(Ok(())) = done.first() {
            done[0] = take(CommitId(update.new));
            if let Err(error) = self.mount.store.delete_branch(&branch) {
                tracing::warn!(branch, %error, "the branch of a finished push stays");
            }
        }
        Ok(done)
    }
}

/// The request's body for a thread that blocks.
struct Incoming {
    pieces: mpsc::Receiver<Result<Bytes, BodyError>>,
    rest: Bytes,
}

impl Read for Incoming {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.pieces.blocking_recv() {
                Some(Ok(piece)) => self.rest = piece,
                Some(Err(error)) => return Err(io::Error::other(error.to_string())),
                None => return Ok(0),
            }
        }
        let len = out.len().min(self.rest.len());
        out[..len].copy_from_slice(&self.rest.split_to(len));
        Ok(len)
    }
}

/// The answer from a thread that blocks: the head once, then pieces.
struct Answering {
    head: Option<oneshot::Sender<Response>>,
    sender: Option<BodySender>,
    buffer: BytesMut,
}

/// What is sent at a time.
const PIECE_BYTES: usize = 64 << 10;

impl Reply for Answering {
    fn head(&mut self, status: u16, headers: &[(&str, &str)]) -> io::Result<()> {
        let Some(head) = self.head.take() else { return Err(io::Error::other("the head was sent")) };
        let (sender, body) = Body::stream(None);
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).map_err(io::Error::other)?;
        // The body is streamed, which says its length by itself.
        for (name, value) in headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("content-length")) {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(io::Error::other)?;
            response.headers_mut().insert(name, HeaderValue::from_str(value).map_err(io::Error::other)?);
        }
        self.sender = Some(sender);
        head.send(response).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

impl Write for Answering {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        match &self.sender {
            Some(sender) => sender.send_blocking(self.buffer.split().freeze()),
            None => Err(io::Error::other("the head was not sent")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::wire::pkt::{write_delimiter, write_flush, write_text};
    use store::{Author, MemoryDevice, Options};

    /// Takes an answer down.
    #[derive(Default)]
    struct Taken {
        status: u16,
        body: Vec<u8>,
    }

    impl Reply for Taken {
        fn head(&mut self, status: u16, _: &[(&str, &str)]) -> io::Result<()> {
            self.status = status;
            Ok(())
        }
    }

    impl Write for Taken {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.body.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn store() -> Store {
        let store = Store::create(MemoryDevice::new(), Options::new()).unwrap();
        for (branch, content) in [("mail/ada", "to Ada"), ("mail/bob", "to Bob")] {
            let mut change = store.branch(branch).unwrap().begin().unwrap();
            change.put("folders/INBOX/1", content).unwrap();
            change.commit(Author::new("nymote", "nymote@example.org"), "m").unwrap();
        }
        store
    }

    fn fetch(mount: &Mount, want: ObjectId, version: &str) -> String {
        let mut body = Vec::new();
        if version == "version=2" {
            write_text(&mut body, "command=fetch").unwrap();
            write_delimiter(&mut body).unwrap();
            write_text(&mut body, &format!("want {want}")).unwrap();
            write_text(&mut body, "done").unwrap();
            write_flush(&mut body).unwrap();
        } else {
            write_text(&mut body, &format!("want {want} side-band-64k")).unwrap();
            write_flush(&mut body).unwrap();
            write_text(&mut body, "done").unwrap();
        }
        let request = store::wire::http::Request {
            method: "POST",
            path: "/git-upload-pack",
            content_type: "application/x-git-upload-pack-request",
            git_protocol: version,
            ..Default::default()
        };
        let access = Access { user: Some(&mount.user), read: true, write: true, realm: "nymote" };
        let mut taken = Taken::default();
        let limits = Limits::default();
        respond(mount, &request, access, &mut &body[..], &mut taken, &limits, &mut |_| Ok(())).unwrap();
        assert_eq!(taken.status, 200);
        String::from_utf8_lossy(&taken.body).into_owned()
    }

    #[test]
    fn one_account_does_not_get_what_another_one_has() {
        let store = store();
        let mount = |name: &str| Mount {
            store: store.clone(),
            branch: format!("mail/{name}"),
            user: name.into(),
            rules: |_| Ok(()),
            take: None,
        };
        let bob = store.branch("mail/bob").unwrap().snapshot().unwrap();
        let commit = store.branch("mail/bob").unwrap().head().unwrap();
        let blob = bob.entry("folders/INBOX/1").unwrap().unwrap().id;
        let tree = bob.entry("folders").unwrap().unwrap().id;
        for version in ["version=2", ""] {
            for id in [commit.0, tree, blob] {
                assert!(fetch(&mount("bob"), id, version).contains("PACK"), "{id}");
                let answer = fetch(&mount("ada"), id, version);
                assert!(answer.contains(&format!("ERR upload-pack: not our ref {id}")), "{answer}");
            }
        }
    }
}
