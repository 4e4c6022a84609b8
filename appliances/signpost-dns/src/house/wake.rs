//! Sleeping services: a question for one calls whoever can wake it, and waits for as long as an answer may take.
//!
//! The call is one line of HTTP to the address of the settings, `POST /path?name=HOST`. What comes back ends the wait;
//! what it says does not matter: the name is answered for all the same.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{House, WakeHook, unlocked};
use crate::limits::{SLEEPERS_WOKEN_MAX, WAKE_DEADLINE};
use crate::name::Name;

/// A service that was just woken is not called again for this long.
const AWAKE: Duration = Duration::from_secs(5);

/// A call that was not answered by now never will be.
const CALL: Duration = Duration::from_secs(30);

/// When each sleeper was last woken; the lock of one is held while it is being woken, so that questions that come
/// meanwhile wait for the same call.
#[derive(Default)]
pub struct Woken(HashMap<Name, Arc<tokio::sync::Mutex<Option<Instant>>>>);

impl House {
    /// Wakes a service, within the time that an answer may take.
    pub(super) async fn wake(&self, name: &Name, hook: WakeHook) {
        let own = {
            let mut woken = unlocked(self.woken.lock());
            if woken.0.len() >= SLEEPERS_WOKEN_MAX {
                woken.0.clear();
            }
            woken.0.entry(name.lower()).or_default().clone()
        };
        let (deadline, asked) = (WAKE_DEADLINE, name.clone());
        // The call goes on when the answer cannot wait for it any longer.
        let call = tokio::spawn(async move {
            let mut last = own.lock().await;
            if last.is_none_or(|at| at.elapsed() >= AWAKE) {
                hook(asked).await;
                *last = Some(Instant::now());
            }
        });
        if tokio::time::timeout(deadline, call).await.is_err() {
            tracing::warn!(%name, "did not wake within the answer's deadline");
        }
    }

    /// The hook for sleeping services: the one that was set, or the call of the settings.
    pub(super) fn wake_hook(&self) -> Option<WakeHook> {
        let set = unlocked(self.wake_hook.lock()).clone();
        set.or_else(|| {
            let address = self.settings().wake_url.clone()?;
            Some(Arc::new(move |name: Name| {
                let address = address.clone();
                Box::pin(async move {
                    let called = tokio::time::timeout(CALL, call(&address, &name)).await;
                    if let Err(error) = called.unwrap_or_else(|_| Err("it does not answer".to_string())) {
                        tracing::warn!(%name, address, %error, "could not be woken");
                    }
                })
            }))
        })
    }
}

/// Calls `http://HOST:PORT/PATH` for a name.
async fn call(address: &str, name: &Name) -> Result<(), String> {
    let rest = address.strip_prefix("http://").ok_or("the address must begin with http://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let target = if host.contains(':') { host.to_string() } else { format!("{host}:80") };
    let words = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(&target).await.map_err(words)?;
    let host_name = name.to_string();
    let (mark, asked) = (if path.contains('?') { '&' } else { '?' }, host_name.trim_end_matches('.'));
    let request = format!(
        "POST /{path}{mark}name={asked} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(words)?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.map_err(words)?;
    match &status[9..10] {
        b"2" => Ok(()),
        _ => Err(format!("it answers {}", String::from_utf8_lossy(&status))),
    }
}
