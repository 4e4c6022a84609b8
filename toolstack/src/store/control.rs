//! Commands on a store that `nymote store serve` holds open: they run in the serving process, by the socket that stands
//! beside the file. Only the user who serves reaches it.
//!
//! The client sends one JSON line and then, if the command reads any, its standard input. The server answers with frames:
//! a byte that says which of [`Frame`], the length in four bytes (little-endian), the content.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde::{Deserialize, Serialize};
use store::Store;

use super::show::{Ends, Show, wants_colour};
use super::{Failure, Verb, dispatch};

/// What a client wants.
#[derive(Serialize, Deserialize)]
struct Request {
    verb: Verb,
    author: String,
    json: bool,
    /// Whether the client's outputs are a terminal, and colours wanted there.
    colour: bool,
    terminal: bool,
    /// Whether a person can be asked.
    person: bool,
}

/// What a frame carries.
#[derive(Clone, Copy)]
enum Frame {
    Out = 1,
    Err = 2,
    /// The exit code, in one byte; the last frame.
    Exit = 3,
}

const REQUEST_BYTES_MAX: u64 = 1 << 20;
const FRAME_BYTES_MAX: usize = 64 << 10;

fn socket_beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".control");
    name.into()
}

/// The process that serves the store, if one does.
pub fn serving(file: &Path) -> Option<UnixStream> {
    UnixStream::connect(socket_beside(file)).ok()
}

/// Has the command run there; gives the exit code.
pub fn forward(stream: UnixStream, mut verb: Verb, author: &str, json: bool) -> Result<i32, Failure> {
    verb.make_paths_absolute()?;
    let reads = verb.reads_input();
    let request = Request {
        verb,
        author: author.to_owned(),
        json,
        colour: wants_colour(json),
        terminal: !json && io::stderr().is_terminal(),
        person: io::stdin().is_terminal(),
    };
    Ok(talk(stream, &request, reads)?)
}

fn talk(mut stream: UnixStream, request: &Request, reads: bool) -> io::Result<i32> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut sending = stream.try_clone()?;
    if reads {
        // Ends with the process: what is still to be typed then is for nobody.
        std::thread::spawn(move || {
            let _ = io::copy(&mut io::stdin().lock(), &mut sending);
            let _ = sending.shutdown(Shutdown::Write);
        });
    } else {
        sending.shutdown(Shutdown::Write)?;
    }
    let mut answers = BufReader::new(stream);
    loop {
        let mut head = [0; 5];
        answers.read_exact(&mut head).map_err(|_| io::Error::other("the serving process went away"))?;
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(io::Error::other("the serving process is of another version; restart it"));
        }
        let mut content = vec![0; length];
        answers.read_exact(&mut content)?;
        match (head[0], content.first()) {
            // Nobody reads any more (`| head`).
            (1, _) if io::stdout().write_all(&content).and_then(|()| io::stdout().flush()).is_err() => {
                return Ok(0);
            }
            (2, _) => io::stderr().write_all(&content)?,
            (3, Some(code)) => return Ok(i32::from(*code)),
            _ => {}
        }
    }
}

/// Takes commands beside serving, from now until the process ends. An error means that there will be none.
pub fn listen(file: &Path, store: Arc<Store>) -> io::Result<()> {
    let path = socket_beside(file);
    // The store is locked by us, so that whatever made this socket is gone.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let us = std::fs::metadata(&path)?.uid();
    std::thread::Builder::new().name("control".into()).spawn(move || {
        for stream in listener.incoming().flatten() {
            let same_user = getsockopt(&stream, PeerCredentials).is_ok_and(|peer| peer.uid() == us);
            let store = store.clone();
            if same_user {
                // Without a thread the connection is closed, which the client tells.
                let _ = std::thread::Builder::new().spawn(move || drop(answer(stream, &store)));
            }
        }
    })?;
    Ok(())
}

fn answer(stream: UnixStream, store: &Store) -> io::Result<()> {
    let mut input = BufReader::new(stream.try_clone()?);
    let mut line = Vec::new();
    input.by_ref().take(REQUEST_BYTES_MAX).read_until(b'\n', &mut line)?;
    let out = Arc::new(Mutex::new(stream));
    let sender = |frame| Box::new(Sender { frame, stream: out.clone() });
    let code = match serde_json::from_slice::<Request>(&line) {
        Ok(Request { verb, author, json, colour, terminal, person }) => {
            let ends = Ends::far(sender(Frame::Out), sender(Frame::Err), Box::new(input), person);
            let show = Show::with(json, colour, terminal, ends);
            super::ending(&show, dispatch(verb, &author, &show, &|_| Ok(store.clone())))
        }
        Err(_) => {
            sender(Frame::Err)
                .write_all(b"nymote store: the serving process is of another version; restart it\n")?;
            1
        }
    };
    sender(Frame::Exit).write_all(&[code as u8])
}

/// Sends what is written as frames.
struct Sender {
    frame: Frame,
    stream: Arc<Mutex<UnixStream>>,
}

impl Write for Sender {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let data = &data[..data.len().min(FRAME_BYTES_MAX)];
        let mut frame = vec![self.frame as u8];
        frame.extend_from_slice(&(data.len() as u32).to_le_bytes());
        frame.extend_from_slice(data);
        self.stream.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).write_all(&frame)?;
        Ok(data.len())
    }

    /// An empty frame, which tells whether anybody is there.
    fn flush(&mut self) -> io::Result<()> {
        let frame = [self.frame as u8, 0, 0, 0, 0];
        self.stream.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).write_all(&frame)
    }
}
