//! `nymote store serve`: the store as a Git repository over HTTP, for a person's own machine.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use git_wire::http::{Access, Reply, Request, respond};
use git_wire::serve::RefChange;
use git_wire::{Limits, Repository};

use super::connection::{Connection, HeadError, reason};

/// Where the repository stands on the server.
pub const MOUNT: &str = "/store.git";

const CONNECTIONS_MAX: usize = 64;

/// Serves until the process ends. `announce` is told the address that was bound.
pub fn serve<R: Repository + 'static>(
    repository: Arc<R>,
    listen: SocketAddr,
    allow_push: bool,
    announce: impl FnOnce(SocketAddr),
) -> std::io::Result<()> {
    let listener = TcpListener::bind(listen)?;
    announce(listener.local_addr()?);
    let connections = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else {
            std::thread::sleep(std::time::Duration::from_millis(20));
            continue;
        };
        if connections.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS_MAX {
            let _ = stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            connections.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (repository, guard) = (repository.clone(), Guard(connections.clone()));
        let named = std::thread::Builder::new().name("git".into()).stack_size(4 << 20);
        // Without a thread the connection is closed, and its place given back.
        let _ = named.spawn(move || {
            let _guard = guard;
            let _ = talk(&*repository, stream, allow_push);
        });
    }
    Ok(())
}

/// Gives a connection's place back, also when its thread panics.
struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn talk(repository: &dyn Repository, stream: TcpStream, allow_push: bool) -> std::io::Result<()> {
    let mut last_words = stream.try_clone()?;
    let mut connection = Connection::new(stream)?;
    loop {
        let head = match connection.read_head() {
            Ok(head) => head,
            Err(HeadError::Gone) => return Ok(()),
            Err(HeadError::Bad(status)) => return refuse(&mut last_words, status),
        };
        let (mut body, mut reply) = match connection.exchange(&head) {
            Ok(both) => both,
            Err(HeadError::Bad(status)) => return refuse(&mut last_words, status),
            Err(HeadError::Gone) => return Ok(()),
        };
        let mut sound = true;
        match head.path.strip_prefix(MOUNT) {
            Some(path) => {
                let request = Request {
                    method: &head.method,
                    path,
                    query: &head.query,
                    content_type: head.header("Content-Type"),
                    content_encoding: head.header("Content-Encoding"),
                    git_protocol: head.header("Git-Protocol"),
                };
                // Whoever reaches this port is the owner; pushing wants the owner's explicit word.
                let access = Access { user: Some("owner"), read: true, write: allow_push, realm: "store" };
                let mut anyone = |_: &RefChange<'_>| Ok(());
                let limits = Limits::default();
                sound = respond(repository, &request, access, &mut body, &mut reply, &limits, &mut anyone)
                    .is_ok();
            }
            None => {
                let text = format!("the repository is at {MOUNT}\n");
                let length = text.len().to_string();
                reply.head(404, &[("Content-Type", "text/plain"), ("Content-Length", &length)])?;
                reply.write_all(text.as_bytes())?;
            }
        }
        if !sound {
            // The response may be half written: only closing tells the client.
            return Ok(());
        }
        let rest = body.skip_rest();
        if !reply.finish(rest)? {
            return Ok(());
        }
    }
}

fn refuse(stream: &mut TcpStream, status: u16) -> std::io::Result<()> {
    let why = reason(status);
    let text = format!("HTTP/1.1 {status} {why}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes())
}
