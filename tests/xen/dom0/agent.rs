//! The control port of the emulated host's first domain: runs scripts, takes and gives files.
//!
//! One request a connection. A request is one line, then its bytes:
//!   `run LEN\n` + script        answers the script's output (both streams), then `\0rc=N\n`
//!   `put LEN MODE PATH\n` + bytes   answers `ok\n`
//!   `get PATH\n`                answers `LEN\n` + bytes, or `error …\n`
//! It trusts whoever reaches it: the port is forwarded from the loopback address of the test machine alone, and what it
//! runs is an emulated machine that is thrown away.
//!
//! It is compiled by plain `rustc` into the first domain's memory file system; it is no part of the product.
#![forbid(unsafe_code)]
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

fn main() -> io::Result<()> {
    let listener = TcpListener::bind("0.0.0.0:7000")?;
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || {
            if let Err(error) = serve(stream) {
                eprintln!("agent: {error}");
            }
        });
    }
    Ok(())
}

fn serve(stream: TcpStream) -> io::Result<()> {
    let mut input = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    input.read_line(&mut line)?;
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["run", length] => run(&body(&mut input, length)?, stream),
        ["put", length, mode, path] => put(&mut input, length, mode, path, stream),
        ["get", path] => get(path, stream),
        _ => writeln!(&stream, "error: not understood: {line:?}"),
    }
}

fn body(input: &mut impl Read, length: &str) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length.parse().map_err(io::Error::other)?];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Runs `script` with both output streams joined; a client that goes away ends the script.
fn run(script: &[u8], mut stream: TcpStream) -> io::Result<()> {
    let script = format!("exec 2>&1\n{}", String::from_utf8_lossy(script));
    let mut child =
        Command::new("/bin/sh").arg("-c").arg(script).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut output = child.stdout.take().expect("its output is piped");
    if io::copy(&mut output, &mut stream).is_err() {
        child.kill()?;
    }
    let status = child.wait()?;
    write!(stream, "\0rc={}\n", status.code().unwrap_or(255))
}

fn put(input: &mut impl Read, length: &str, mode: &str, path: &str, mut stream: TcpStream) -> io::Result<()> {
    let length = length.parse().map_err(io::Error::other)?;
    let mode = u32::from_str_radix(mode, 8).map_err(io::Error::other)?;
    let _ = fs::remove_file(path);
    let copied = io::copy(&mut input.take(length), &mut fs::File::create(path)?)?;
    if copied != length {
        return writeln!(stream, "error: {copied} bytes of {length} arrived");
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    writeln!(stream, "ok")
}

fn get(path: &str, mut stream: TcpStream) -> io::Result<()> {
    match fs::read(path) {
        Ok(bytes) => {
            writeln!(stream, "{}", bytes.len())?;
            stream.write_all(&bytes)
        }
        Err(error) => writeln!(stream, "error: {path}: {error}"),
    }
}
