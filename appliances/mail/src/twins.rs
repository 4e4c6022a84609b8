//! Two servers of one account: each fetches from the other, merges, and pushes what came of it (`mailbox::settle`).
//!
//! A round begins when the account changed here, or after a minute. It is fetch, merge, push; a push that lost a race is
//! refused by the other server, and the next round has what came between. An other server that is away costs nothing
//! but the asking: what happened meanwhile is in both histories.

use crate::mailbox::{Account, MailboxError};
use crate::service::Post;
use crate::settings::Twin;
use chassis::aside::{NoThread, on_thread};
use chassis::clock::now_ms;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::wire::client::{self, ClientError, HttpTransport, PushRef, Silent};
use store::wire::{Limits, ObjectId};
use store::{CommitId, Store};

/// A look at the other server at least so often.
const LOOK_TIME: Duration = Duration::from_secs(60);
/// Changes that come together go together.
const GATHER_TIME: Duration = Duration::from_millis(500);
/// After a failure, doubled up to `LOOK_TIME`.
const RETRY_TIME: Duration = Duration::from_secs(2);

/// How the last round with another server went.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The commit that both have; empty where they do not agree yet.
    pub agreed: String,
    /// What went wrong; empty when nothing did.
    pub problem: String,
}

/// The last round of each account.
#[derive(Debug, Default)]
pub struct Rounds(Mutex<BTreeMap<String, Round>>);

impl Rounds {
    /// By account.
    pub fn all(&self) -> BTreeMap<String, Round> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, user: &str, round: Round) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(user.to_owned(), round);
    }
}

/// Why a round failed.
#[derive(Debug, thiserror::Error)]
enum TwinError {
    #[error("{0}")]
    Client(#[from] ClientError),
    #[error("{0}")]
    Mailbox(#[from] MailboxError),
    #[error("{0}")]
    Store(#[from] store::Error),
    #[error("the other server has no mail of this account yet")]
    Empty,
    #[error("the other server refused: {0}")]
    Refused(String),
    #[error("{0}")]
    NoThread(#[from] NoThread),
    #[error("the machine stops")]
    Stopping,
}

/// Keeps all twins in step until the machine stops; follows changes of the settings.
pub async fn start(post: Arc<Post>) {
    let mut running: BTreeMap<String, (Twin, tokio::task::JoinHandle<()>)> = BTreeMap::new();
    loop {
        let wanted = post.settings().twins.clone();
        running.retain(|user, (twin, task)| {
            let stays = wanted.get(user) == Some(twin) && !task.is_finished();
            if !stays {
                task.abort();
            }
            stays
        });
        for (user, twin) in wanted {
            if !running.contains_key(&user) && post.chassis.accounts().find(&user).is_some() {
                let task = tokio::spawn(follow(post.clone(), user.clone(), twin.clone()));
                running.insert(user, (twin, task));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = post.chassis.stopping() => return,
        }
    }
}

async fn follow(post: Arc<Post>, user: String, twin: Twin) {
    let Ok(account) = post.mailboxes.account(&user).await else { return };
    let mut changes = account.changes();
    let mut wait = RETRY_TIME;
    loop {
        changes.mark_unchanged();
        let done = round(&post, &account, &twin).await;
        let (agreed, problem) = match &done {
            Ok(head) => (head.to_string(), String::new()),
            Err(error) => (String::new(), error.to_string()),
        };
        if let Err(error) = &done {
            tracing::warn!(user, url = twin.url, %error, "the other server of this account was not reached or refused");
        }
        post.rounds.note(&user, Round { at_ms: now_ms(), agreed, problem });
        let pause = if done.is_ok() { LOOK_TIME } else { wait };
        wait = if done.is_ok() { RETRY_TIME } else { (wait * 2).min(LOOK_TIME) };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = changes.changed() => tokio::time::sleep(GATHER_TIME).await,
            () = post.chassis.stopping() => return,
        }
    }
}

/// Fetch, merge, push; gives the commit that both servers have then.
async fn round(post: &Post, account: &Account, twin: &Twin) -> Result<CommitId, TwinError> {
    let store = post.chassis.store().clone();
    let (from, user) = (twin.clone(), account.name().to_owned());
    let fetched = on_thread(move || fetch(&store, &from, &user))?.await;
    let theirs = match fetched.ok_or(TwinError::Stopping)? {
        Err(TwinError::Empty) => None,
        other => Some(other?),
    };
    if let Some(theirs) = theirs {
        account.merge(theirs).await?;
    }
    let Some(head) = account.state().head else { return Err(TwinError::Empty) };
    if theirs == Some(head) {
        return Ok(head);
    }
    let store = post.chassis.store().clone();
    let to = twin.clone();
    on_thread(move || push(&store, &to, head))?.await.ok_or(TwinError::Stopping)??;
    Ok(head)
}

/// Brings their `main` here, under a ref of its own that keeps it from being collected.
fn fetch(store: &Store, twin: &Twin, user: &str) -> Result<CommitId, TwinError> {
    let mut transport = connect(twin)?;
    let here = format!("refs/heads/twin/{user}").into_bytes();
    let map = |remote: &[u8]| (remote == b"refs/heads/main").then(|| here.clone());
    let fetched = client::fetch(store, &mut transport, &map, &mut Silent, &Limits::default())?;
    let main = fetched.remote.refs.iter().find(|r| r.name == b"refs/heads/main");
    main.map(|r| CommitId(r.id)).ok_or(TwinError::Empty)
}

fn push(store: &Store, twin: &Twin, head: CommitId) -> Result<(), TwinError> {
    let mut transport = connect(twin)?;
    let new: ObjectId = head.0;
    let wanted = [PushRef { name: b"refs/heads/main".to_vec(), new, force: false, lease: None }];
    let pushed = client::push(store, &mut transport, &wanted, false, &mut Silent, &Limits::default())?;
    match pushed.into_iter().next().map(|p| p.verdict) {
        Some(Err(why)) => Err(TwinError::Refused(why)),
        _ => Ok(()),
    }
}

fn connect(twin: &Twin) -> Result<HttpTransport, ClientError> {
    let mut transport = HttpTransport::trusting(&twin.url, twin.trust_pem.as_bytes())?;
    transport.log_in(&twin.user, &twin.password);
    Ok(transport)
}
