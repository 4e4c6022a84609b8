//! Both ends of the control socket.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::{CommandError, Commands, Outcome};
use crate::limits;
use crate::stop::Stop;

/// The socket's name in the data directory.
pub const CONTROL_SOCKET: &str = "control";

/// Binds the socket in `dir` and answers on it until asked to stop.
pub fn listen(dir: &Path, commands: Commands, stop: Stop) -> io::Result<()> {
    let _ = std::fs::remove_file(dir.join(CONTROL_SOCKET)); // left by a kill -9; the store's lock says that we are alone
    let listener = with_short_path(dir, |path| UnixListener::bind(path))?;
    std::fs::set_permissions(dir.join(CONTROL_SOCKET), std::fs::Permissions::from_mode(0o600))?;
    let path = dir.join(CONTROL_SOCKET);
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.asked() => break,
            };
            match accepted {
                Ok((stream, _)) => drop(tokio::spawn(answer(stream, commands.clone()))),
                Err(error) => tracing::warn!(%error, "the control socket cannot accept"),
            }
        }
        let _ = std::fs::remove_file(path);
    });
    Ok(())
}

/// A Unix socket's path has at most 107 bytes; through /proc any directory is short.
fn with_short_path<T>(dir: &Path, open: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let plain = dir.join(CONTROL_SOCKET);
    if plain.as_os_str().len() < 100 {
        return open(&plain);
    }
    let handle = std::fs::File::open(dir)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}/{CONTROL_SOCKET}", handle.as_raw_fd()));
    open(&short)
}

async fn answer(stream: UnixStream, commands: Commands) {
    let (reading, mut writing) = stream.into_split();
    let mut lines = BufReader::new(reading);
    let request = match line(&mut lines).await {
        Ok(Some(request)) => request,
        Ok(None) => return,
        Err(error) => {
            let _ = send(&mut writing, &json!({"error": format!("not a JSON line: {error}")})).await;
            return;
        }
    };
    let name = request["command"].as_str().unwrap_or_default().to_owned();
    let args = request.get("args").cloned().unwrap_or(Value::Object(Map::new()));
    let (input_sender, input) = mpsc::channel(8);
    let (output, mut progress) = mpsc::channel(8);
    let feeding = tokio::spawn(async move {
        while let Ok(Some(mut line)) = line(&mut lines).await {
            if line["end"] == true || input_sender.send(line["input"].take()).await.is_err() {
                break;
            }
        }
    });
    let running = tokio::spawn(async move { commands.call(&name, args, input, output).await });
    while let Some(value) = progress.recv().await {
        if send(&mut writing, &json!({ "progress": value })).await.is_err() {
            progress.close();
        }
    }
    let outcome =
        running.await.unwrap_or_else(|_| Err(CommandError("the command failed; see the log".to_owned())));
    feeding.abort();
    let last = match outcome {
        Ok(value) => json!({ "ok": value }),
        Err(error) => json!({ "error": error.0 }),
    };
    let _ = send(&mut writing, &last).await;
}

/// A connection to a running appliance.
#[derive(Debug)]
pub struct Client {
    lines: BufReader<UnixStream>,
}

/// Why an appliance cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no appliance runs in {0}")]
    NotRunning(PathBuf),
    /// The connection broke, or what came is not the protocol.
    #[error("the control socket in {0} broke: {1}")]
    Broken(PathBuf, io::Error),
}

impl Client {
    /// Connects to the appliance that runs in `dir`.
    pub async fn connect(dir: &Path) -> Result<Client, ClientError> {
        let connected = with_short_path(dir, |path| std::os::unix::net::UnixStream::connect(path));
        let stream = connected.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning(dir.to_owned())
            }
            _ => ClientError::Broken(dir.to_owned(), error),
        })?;
        let broken = |error| ClientError::Broken(dir.to_owned(), error);
        stream.set_nonblocking(true).map_err(broken)?;
        Ok(Client { lines: BufReader::new(UnixStream::from_std(stream).map_err(broken)?) })
    }

    /// Sends a command with its input, calls `progress` for what is reported on the way, gives the outcome.
    pub async fn call(
        mut self,
        name: &str,
        args: Value,
        mut input: mpsc::Receiver<Value>,
        mut progress: impl FnMut(Value),
    ) -> Outcome {
        let broke = |error: io::Error| CommandError(format!("the appliance went away: {error}"));
        send(self.lines.get_mut(), &json!({"command": name, "args": args})).await.map_err(broke)?;
        let mut more = true;
        loop {
            let answered = tokio::select! {
                answered = line(&mut self.lines) => answered.map_err(broke)?,
                piece = input.recv(), if more => {
                    more = piece.is_some();
                    let line = piece.map_or(json!({"end": true}), |piece| json!({ "input": piece }));
                    // The appliance may answer before it has read everything; its answer is still to come.
                    let _ = send(self.lines.get_mut(), &line).await;
                    continue;
                }
            };
            let Some(mut answer) = answered else {
                return Err(CommandError("the appliance stopped before it answered".to_owned()));
            };
            if let Some(value) = answer.get_mut("progress") {
                progress(value.take());
            } else if let Some(error) = answer["error"].as_str() {
                return Err(CommandError(error.to_owned()));
            } else {
                return Ok(answer["ok"].take());
            }
        }
    }

    /// Sends a command without input and gives its outcome.
    pub async fn ask(self, name: &str, args: Value) -> Outcome {
        let (_, input) = mpsc::channel(1);
        self.call(name, args, input, |_| ()).await
    }
}

async fn line<R: AsyncRead + Unpin>(lines: &mut BufReader<R>) -> io::Result<Option<Value>> {
    let mut text = Vec::new();
    let limit = limits::CONTROL_LINE_BYTES_MAX as u64;
    if lines.take(limit).read_until(b'\n', &mut text).await? == 0 {
        return Ok(None);
    }
    serde_json::from_slice(&text).map(Some).map_err(io::Error::from)
}

async fn send(stream: &mut (impl AsyncWriteExt + Unpin), value: &Value) -> io::Result<()> {
    let mut text = value.to_string();
    text.push('\n');
    stream.write_all(text.as_bytes()).await
}
