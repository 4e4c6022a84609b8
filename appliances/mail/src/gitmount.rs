//! `git clone https://HOST/mail.git`: an account's branch as a repository of its own, with a device's password.
//!
//! Who asks sees one branch, `main`: their own mail. A push is not put on the branch as it is: it becomes a commit of
//! its own, whose paths are checked, and is merged like the work of another server, so that UIDs stay right.

use crate::mailbox::Account;
use crate::service::Post;
use bytes::Bytes;
use chassis::http::{
    Answer, BodyError, Fault, HeaderName, HeaderValue, Request, Response, Router, StatusCode, header, reply,
};
use std::io::{self, Read, Write};
use std::sync::Arc;
use store::wire::http::{Access, Reply, respond};
use store::wire::{
    Head, Header, LargeObject, Limits, Object, ObjectId, Objects, Quarantine, Received, Ref, RefUpdate,
    Repository, RepositoryError, Stored, View,
};
use store::{CommitId, Store};
use tokio::sync::{mpsc, oneshot};

const MAIN: &[u8] = b"refs/heads/main";
/// What a push may change.
const PLACES: [&[u8]; 5] = [b"folders/", b"keywords", b"subscriptions", b"uid-validity", b".conflicts/"];

/// The repository's address.
pub fn routes(post: &Arc<Post>) -> Router {
    let post = post.clone();
    Router::new().any("/mail.git/{*rest}", move |request| serve(post.clone(), request))
}

async fn serve(post: Arc<Post>, mut request: Request) -> Answer {
    if request.header(header::AUTHORIZATION).is_none() {
        // Git asks without a password first, and wants to be told that one is needed.
        let mut answer = reply(
            StatusCode::UNAUTHORIZED,
            "text/plain; charset=utf-8",
            "your mail is cloned with a device's password\n",
        );
        let challenge = HeaderValue::from_static("Basic realm=\"mail\", charset=\"UTF-8\"");
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        return Ok(answer);
    }
    let visitor = post.chassis.require(&request).await?;
    let account = post.mailboxes.account(&visitor.account().user).await.map_err(Fault::internal)?;
    let (pieces, body) = mpsc::channel::<Result<Bytes, BodyError>>(2);
    let (head, answered) = oneshot::channel();
    let asked = Asked::of(&request);
    let store = post.chassis.store().clone();
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || blocking(&Own { store, account, runtime }, &asked, body, head));
    let feeding = async {
        while let Ok(Some(piece)) = request.body.piece().await {
            if pieces.send(Ok(piece)).await.is_err() {
                break;
            }
        }
        drop(pieces);
    };
    let ((), answered) = tokio::join!(feeding, answered);
    answered.map_err(|_| Fault::internal("the repository could not answer"))
}

/// What the blocking side needs of the request.
struct Asked {
    method: String,
    path: String,
    query: String,
    content_type: String,
    content_encoding: String,
    git_protocol: String,
}

impl Asked {
    fn of(request: &Request) -> Asked {
        let field = |name: &'static str| request.header(name).unwrap_or_default().to_owned();
        Asked {
            method: request.method.as_str().to_owned(),
            path: request.path().strip_prefix("/mail.git").unwrap_or_default().to_owned(),
            query: request.query().to_owned(),
            content_type: field("content-type"),
            content_encoding: field("content-encoding"),
            git_protocol: field("git-protocol"),
        }
    }
}

/// Serves one request on a thread that may block.
fn blocking(
    own: &Own,
    asked: &Asked,
    body: mpsc::Receiver<Result<Bytes, BodyError>>,
    head: oneshot::Sender<Response>,
) {
    let user = own.account.name();
    let request = store::wire::http::Request {
        method: &asked.method,
        path: &asked.path,
        query: &asked.query,
        content_type: &asked.content_type,
        content_encoding: &asked.content_encoding,
        git_protocol: &asked.git_protocol,
    };
    let access = Access { user: Some(user), read: true, write: true, realm: "mail" };
    let mut body = Body { pieces: body, rest: Bytes::new() };
    let mut answer = Answering { head: Some(head), sender: None };
    let mut rules = |change: &store::wire::serve::RefChange<'_>| allowed(change);
    let served = respond(own, &request, access, &mut body, &mut answer, &Limits::default(), &mut rules);
    if let Err(error) = served {
        tracing::debug!(user, %error, "a git client went away");
    }
}

/// The rules for pushes: only `main`, only forward, only mail.
fn allowed(change: &store::wire::serve::RefChange<'_>) -> Result<(), String> {
    use store::wire::serve::ChangedPaths;
    if change.name != MAIN {
        return Err("only main can be pushed".into());
    }
    if change.new == ObjectId::ZERO || !change.fast_forward {
        return Err("main only goes forward; pull first".into());
    }
    match &change.paths {
        ChangedPaths::All(paths) => {
            match paths.iter().find(|p| !PLACES.iter().any(|place| p.starts_with(place))) {
                Some(path) => Err(format!("{} is no mail", String::from_utf8_lossy(path))),
                None => Ok(()),
            }
        }
        _ => Err("too many changes in one push".into()),
    }
}

/// The account's part of the store.
struct Own {
    store: Store,
    account: Arc<Account>,
    runtime: tokio::runtime::Handle,
}

impl Repository for Own {
    fn view(&self) -> Result<Box<dyn View + '_>, RepositoryError> {
        let branch = format!("refs/heads/{}", Account::branch_name(self.account.name()));
        Ok(Box::new(OwnView { below: Repository::view(&self.store)?, branch }))
    }

    fn quarantine(&self) -> Result<Box<dyn Quarantine + '_>, RepositoryError> {
        Ok(Box::new(OwnQuarantine { below: Repository::quarantine(&self.store)?, own: self }))
    }
}

struct OwnView<'a> {
    below: Box<dyn View + 'a>,
    branch: String,
}

impl Objects for OwnView<'_> {
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

impl View for OwnView<'_> {
    fn refs(&self, prefixes: &[Vec<u8>]) -> Result<Vec<Ref>, RepositoryError> {
        if !prefixes.is_empty() && !prefixes.iter().any(|p| MAIN.starts_with(p)) {
            return Ok(Vec::new());
        }
        let own = self.below.refs(&[self.branch.clone().into_bytes()])?;
        let own = own.into_iter().filter(|r| r.name == self.branch.as_bytes());
        Ok(own.map(|r| Ref { name: MAIN.to_vec(), ..r }).collect())
    }

    fn head(&self) -> Result<Option<Head>, RepositoryError> {
        Ok(Some(Head { target: MAIN.to_vec() }))
    }
}

struct OwnQuarantine<'a> {
    below: Box<dyn Quarantine + 'a>,
    own: &'a Own,
}

impl Objects for OwnQuarantine<'_> {
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

impl Quarantine for OwnQuarantine<'_> {
    fn put(&mut self, id: ObjectId, object: &Object, received: Received<'_>) -> Result<(), RepositoryError> {
        self.below.put(id, object, received)
    }

    fn begin_large(&mut self) -> Result<Box<dyn LargeObject + '_>, RepositoryError> {
        self.below.begin_large()
    }

    /// Keeps what was pushed on a branch of its own until it is merged into the account's.
    fn publish(
        self: Box<Self>,
        updates: &[RefUpdate],
        atomic: bool,
    ) -> Result<Vec<Result<(), String>>, RepositoryError> {
        let tag =
            chassis::accounts::random::<6>().iter().fold(String::new(), |hex, b| format!("{hex}{b:02x}"));
        let branch = format!("pushed/{tag}");
        let name = format!("refs/heads/{branch}").into_bytes();
        let moved = |u: &RefUpdate| RefUpdate { name: name.clone(), old: ObjectId::ZERO, new: u.new };
        let own = self.own;
        let mut done = self.below.publish(&updates.iter().map(moved).collect::<Vec<_>>(), atomic)?;
        if let (Some(Ok(())), Some(update)) = (done.first(), updates.first()) {
            let merged = own.runtime.block_on(own.account.merge(CommitId(update.new)));
            let _ = own.store.delete_branch(&branch);
            done[0] = merged.map(drop).map_err(|error| error.to_string());
        }
        Ok(done)
    }
}

/// The request's body for a thread that blocks.
struct Body {
    pieces: mpsc::Receiver<Result<Bytes, BodyError>>,
    rest: Bytes,
}

impl Read for Body {
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
    sender: Option<chassis::http::BodySender>,
}

impl Reply for Answering {
    fn head(&mut self, status: u16, headers: &[(&str, &str)]) -> io::Result<()> {
        let Some(head) = self.head.take() else { return Err(io::Error::other("the head was sent")) };
        let (sender, body) = chassis::http::Body::stream(None);
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).map_err(io::Error::other)?;
        for (name, value) in headers.iter().filter(|(n, _)| !n.eq_ignore_ascii_case("content-length")) {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(io::Error::other)?;
            response.headers_mut().insert(name, HeaderValue::from_str(value).map_err(io::Error::other)?);
        }
        self.sender = Some(sender);
        head.send(response).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

impl Write for Answering {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.sender {
            Some(sender) => sender.send_blocking(Bytes::copy_from_slice(bytes)).map(|()| bytes.len()),
            None => Err(io::Error::other("the head was not sent")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
