//! An account's tree as a Git repository: `https://HOST/calendar.git`, `contacts.git`. Its branch is `main` there; no other
//! account's refs are seen. A push moves it as any client's change would, and devices hear of it by their next sync.

use std::io::{self, Cursor, Read, Write};

use chassis::http::{
    Answer, Body, BodySender, Fault, HeaderName, HeaderValue, Request as HttpRequest, Response, StatusCode,
};
use git_wire::http::{Access, Reply, Request, respond};
use git_wire::serve::{ChangedPaths, RefChange};
use git_wire::{
    Head, Header, LargeObject, Limits, Object, ObjectId, Objects, Quarantine, Received, Ref, RefUpdate,
    Repository, RepositoryError, Stored, View,
};
use store::Store;
use tokio::sync::oneshot;

use crate::household::branch_name;
use crate::http::Site;

/// Most bytes of one push.
const PUSH_BYTES_MAX: usize = 64 << 20;
const MAIN: &[u8] = b"refs/heads/main";

/// Answers a request below the repository's path.
pub async fn answer(site: &Site, mut request: HttpRequest) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    let account = visitor.account().user.clone();
    site.household().prepare(&account).await.map_err(crate::pages::broken)?;
    let body = request.bytes(PUSH_BYTES_MAX).await?;
    let field = |name: &str| request.header(name).unwrap_or_default().to_string();
    let asked = Asked {
        method: request.method.as_str().to_string(),
        path: format!("/{}", request.matched("rest")),
        query: request.query().to_string(),
        content_type: field("content-type"),
        content_encoding: field("content-encoding"),
        git_protocol: field("git-protocol"),
    };
    let repository = OneAccount {
        store: site.household().store().clone(),
        branch: format!("refs/heads/{}", branch_name(&account)),
    };
    let (head_sender, head) = oneshot::channel();
    let (sender, streamed) = Body::stream(None);
    tokio::task::spawn_blocking(move || {
        let mut reply = Answering { head: Some(head_sender), sender, buffer: Vec::new() };
        let request = Request {
            method: &asked.method,
            path: &asked.path,
            query: &asked.query,
            content_type: &asked.content_type,
            content_encoding: &asked.content_encoding,
            git_protocol: &asked.git_protocol,
        };
        let access = Access { user: Some(&account), read: true, write: true, realm: "nymote" };
        let mut body: Box<dyn Read> = Box::new(Cursor::new(body));
        let served = respond(
            &repository,
            &request,
            access,
            &mut body,
            &mut reply,
            &Limits::default(),
            &mut may_update,
        );
        if let Err(error) = served {
            tracing::warn!(%error, %account, "a git client was not served");
        }
        let _ = reply.flush();
    });
    let (status, fields) = head.await.map_err(|_| Fault::internal("git gave no answer"))?;
    let mut response = Response::new(streamed);
    *response.status_mut() = StatusCode::from_u16(status).map_err(Fault::internal)?;
    for (name, value) in fields {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value))
        {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// Only `main`, only forward, and not the file that says whose tree it is.
fn may_update(change: &RefChange<'_>) -> Result<(), String> {
    if change.name != MAIN {
        return Err("only the branch main is kept here".into());
    }
    if change.new.is_zero() || !change.fast_forward {
        return Err("history only goes forward here; pull, then push again".into());
    }
    let own = |path: &Vec<u8>| path == b".account" || path.starts_with(b".conflicts/");
    match &change.paths {
        ChangedPaths::All(paths) if paths.iter().any(own) => {
            Err(".account and .conflicts are written by the server".into())
        }
        _ => Ok(()),
    }
}

struct Asked {
    method: String,
    path: String,
    query: String,
    content_type: String,
    content_encoding: String,
    git_protocol: String,
}

type HeadParts = (u16, Vec<(String, String)>);

/// The answer on its way to the client.
struct Answering {
    head: Option<oneshot::Sender<HeadParts>>,
    sender: BodySender,
    buffer: Vec<u8>,
}

impl Write for Answering {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= 32 << 10 {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.buffer.is_empty() {
            true => Ok(()),
            false => self.sender.send_blocking(std::mem::take(&mut self.buffer)),
        }
    }
}

impl Reply for Answering {
    fn head(&mut self, status: u16, headers: &[(&str, &str)]) -> io::Result<()> {
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "nobody waits for the answer");
        let head = self.head.take().ok_or_else(gone)?;
        head.send((status, headers)).map_err(|_| gone())
    }
}

/// The store as one account sees it.
struct OneAccount {
    store: Store,
    branch: String,
}

struct OneView<'a> {
    inner: Box<dyn View + 'a>,
    branch: &'a str,
}

struct OneQuarantine<'a> {
    inner: Box<dyn Quarantine + 'a>,
    branch: &'a str,
}

impl Repository for OneAccount {
    fn view(&self) -> Result<Box<dyn View + '_>, RepositoryError> {
        Ok(Box::new(OneView { inner: Repository::view(&self.store)?, branch: &self.branch }))
    }

    fn quarantine(&self) -> Result<Box<dyn Quarantine + '_>, RepositoryError> {
        Ok(Box::new(OneQuarantine { inner: Repository::quarantine(&self.store)?, branch: &self.branch }))
    }
}

impl Objects for OneView<'_> {
    fn header(&self, id: &ObjectId) -> Result<Option<Header>, RepositoryError> {
        self.inner.header(id)
    }

    fn read(&self, id: &ObjectId, max_bytes: u64) -> Result<Option<Object>, RepositoryError> {
        self.inner.read(id, max_bytes)
    }

    fn stored(&self, id: &ObjectId) -> Result<Option<Stored>, RepositoryError> {
        self.inner.stored(id)
    }
}

impl View for OneView<'_> {
    fn refs(&self, prefixes: &[Vec<u8>]) -> Result<Vec<Ref>, RepositoryError> {
        if !prefixes.is_empty() && !prefixes.iter().any(|prefix| MAIN.starts_with(prefix)) {
            return Ok(Vec::new());
        }
        let own = self.inner.refs(&[self.branch.as_bytes().to_vec()])?;
        let own = own.into_iter().filter(|one| one.name == self.branch.as_bytes());
        Ok(own.map(|one| Ref { name: MAIN.to_vec(), ..one }).collect())
    }

    fn head(&self) -> Result<Option<Head>, RepositoryError> {
        Ok(Some(Head { target: MAIN.to_vec() }))
    }
}

impl Objects for OneQuarantine<'_> {
    fn header(&self, id: &ObjectId) -> Result<Option<Header>, RepositoryError> {
        self.inner.header(id)
    }

    fn read(&self, id: &ObjectId, max_bytes: u64) -> Result<Option<Object>, RepositoryError> {
        self.inner.read(id, max_bytes)
    }

    fn stored(&self, id: &ObjectId) -> Result<Option<Stored>, RepositoryError> {
        self.inner.stored(id)
    }
}

impl<'q> Quarantine for OneQuarantine<'q> {
    fn put(&mut self, id: ObjectId, object: &Object, received: Received<'_>) -> Result<(), RepositoryError> {
        self.inner.put(id, object, received)
    }

    fn begin_large(&mut self) -> Result<Box<dyn LargeObject + '_>, RepositoryError> {
        self.inner.begin_large()
    }

    fn publish(
        self: Box<Self>,
        updates: &[RefUpdate],
        atomic: bool,
    ) -> Result<Vec<Result<(), String>>, RepositoryError> {
        if updates.iter().any(|update| update.name != MAIN) {
            return Err(RepositoryError::Refused("only the branch main is kept here".into()));
        }
        let renamed =
            |update: &RefUpdate| RefUpdate { name: self.branch.as_bytes().to_vec(), ..update.clone() };
        let own: Vec<RefUpdate> = updates.iter().map(renamed).collect();
        self.inner.publish(&own, atomic)
    }
}
