//! What a remote can do and what refs it has.

use std::io::Read;

use super::{ClientError, Transport, expect_type};
use crate::pkt::{Packet, read_packet, trim, write_delimiter, write_flush, write_text};
use crate::serve::AGENT;
use crate::{Limits, ObjectId, Ref};

/// A remote's first words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// Protocol version 2, with its capabilities.
    V2(Vec<String>),
    /// The first protocol: capabilities and refs at once.
    V0(Vec<String>, RemoteRefs),
}

/// The refs of a remote.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RemoteRefs {
    /// All but HEAD.
    pub refs: Vec<Ref>,
    /// The branch that HEAD stands for, if it says so.
    pub head: Option<Vec<u8>>,
}

/// Asks for a service: `git-upload-pack` or `git-receive-pack`.
pub fn discover(
    transport: &mut dyn Transport,
    service: &str,
    limits: &Limits,
) -> Result<Remote, ClientError> {
    let answer = transport.get(&format!("/info/refs?service={service}"), &[("Git-Protocol", "version=2")])?;
    let mut body = expect_type(answer, &format!("application/x-{service}-advertisement"))?;
    let mut first = next_line(&mut body)?;
    if first.as_deref().is_some_and(|line| line.starts_with(b"# service=")) {
        match read_packet(&mut body)? {
            Some(Packet::Flush) => first = next_line(&mut body)?,
            _ => return Err(ClientError::Protocol("no flush stands behind the service".into())),
        }
    }
    match first {
        Some(line) if line == b"version 2" => {
            let mut capabilities = Vec::new();
            while let Some(line) = next_line(&mut body)? {
                if capabilities.len() > 1_000 {
                    return Err(ClientError::Protocol("it has too many capabilities".into()));
                }
                capabilities.push(String::from_utf8_lossy(&line).into_owned());
            }
            Ok(Remote::V2(capabilities))
        }
        Some(line) if line == b"version 1" => {
            let first = next_line(&mut body)?;
            v0(first, &mut body, limits)
        }
        first => v0(first, &mut body, limits),
    }
}

/// A line, or `None` at a flush.
fn next_line(body: &mut dyn Read) -> Result<Option<Vec<u8>>, ClientError> {
    match read_packet(body)? {
        Some(Packet::Line(line)) => {
            let line = trim(&line);
            match line.strip_prefix(b"ERR ") {
                Some(why) => Err(ClientError::Remote(String::from_utf8_lossy(why).trim().to_owned())),
                None => Ok(Some(line.to_vec())),
            }
        }
        Some(_) => Ok(None),
        None => Err(ClientError::Protocol("its answer is cut short".into())),
    }
}

fn v0(first: Option<Vec<u8>>, body: &mut dyn Read, limits: &Limits) -> Result<Remote, ClientError> {
    let mut found = RemoteRefs::default();
    let mut capabilities = Vec::new();
    let mut next = first;
    while let Some(line) = next {
        let (line, words) = match line.iter().position(|byte| *byte == 0) {
            Some(nul) => (line[..nul].to_vec(), String::from_utf8_lossy(&line[nul + 1..]).into_owned()),
            None => (line, String::new()),
        };
        capabilities.extend(words.split_ascii_whitespace().map(str::to_owned));
        let (id, name) = id_and_rest(&line)?;
        if let Some(name) = name.strip_suffix(b"^{}") {
            if let Some(last) = found.refs.last_mut().filter(|last| last.name == name) {
                last.peeled = Some(id);
            }
        } else if name != b"capabilities" && name != b"HEAD" && !line.starts_with(b"shallow ") {
            found.refs.push(Ref { name: name.to_vec(), id, peeled: None });
        }
        if found.refs.len() > limits.lines_max {
            return Err(ClientError::Protocol("it has too many refs".into()));
        }
        next = next_line(body)?;
    }
    found.refs.retain(|one| one.name != b"capabilities^{}");
    let symref = capabilities.iter().find_map(|word| word.strip_prefix("symref=HEAD:"));
    found.head = symref.map(|target| target.as_bytes().to_vec());
    Ok(Remote::V0(capabilities, found))
}

fn id_and_rest(line: &[u8]) -> Result<(ObjectId, &[u8]), ClientError> {
    let bad = || ClientError::Protocol(format!("'{}' is no ref", String::from_utf8_lossy(line)));
    let (id, rest) = line.split_at_checked(40).ok_or_else(bad)?;
    let id = ObjectId::from_hex(id).map_err(|_| bad())?;
    Ok((id, rest.strip_prefix(b" ").ok_or_else(bad)?))
}

/// The refs of a remote that speaks version 2.
pub(super) fn ls_refs(
    transport: &mut dyn Transport,
    prefixes: &[&str],
    limits: &Limits,
) -> Result<RemoteRefs, ClientError> {
    let mut request = Vec::new();
    write_text(&mut request, "command=ls-refs")?;
    write_text(&mut request, AGENT)?;
    write_text(&mut request, "object-format=sha1")?;
    write_delimiter(&mut request)?;
    write_text(&mut request, "peel")?;
    write_text(&mut request, "symrefs")?;
    for prefix in prefixes {
        write_text(&mut request, &format!("ref-prefix {prefix}"))?;
    }
    write_flush(&mut request)?;
    let mut body = post_v2(transport, &mut &request[..])?;
    let mut found = RemoteRefs::default();
    while let Some(line) = next_line(&mut *body)? {
        if found.refs.len() > limits.lines_max {
            return Err(ClientError::Protocol("it has too many refs".into()));
        }
        if line.starts_with(b"unborn ") {
            continue;
        }
        let (id, rest) = id_and_rest(&line)?;
        let mut words = rest.split(|byte| *byte == b' ');
        let name = words.next().unwrap_or_default().to_vec();
        let mut peeled = None;
        for word in words {
            if let Some(target) = word.strip_prefix(b"symref-target:").filter(|_| name == b"HEAD") {
                found.head = Some(target.to_vec());
            }
            if let Some(target) = word.strip_prefix(b"peeled:") {
                peeled = ObjectId::from_hex(target).ok();
            }
        }
        if name != b"HEAD" {
            found.refs.push(Ref { name, id, peeled });
        }
    }
    Ok(found)
}

pub(super) fn post_v2(
    transport: &mut dyn Transport,
    request: &mut dyn Read,
) -> Result<Box<dyn Read>, ClientError> {
    let answer = transport.post(
        "/git-upload-pack",
        &[("Git-Protocol", "version=2"), UPLOAD, ACCEPT_UPLOAD],
        request,
    )?;
    expect_type(answer, "application/x-git-upload-pack-result")
}

pub(super) const UPLOAD: (&str, &str) = ("Content-Type", "application/x-git-upload-pack-request");
pub(super) const ACCEPT_UPLOAD: (&str, &str) = ("Accept", "application/x-git-upload-pack-result");
