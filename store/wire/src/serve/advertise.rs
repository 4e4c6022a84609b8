//! What a server says first: its capabilities and its refs.

use std::io::Write;

use super::{AGENT, ServeError};
use crate::pkt::{write_flush, write_line, write_text};
use crate::{ObjectId, Ref, View};

/// Which of a server's services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advertisement {
    /// Fetching, protocol version 2.
    UploadPackV2,
    /// Fetching, for clients that know only the first protocol.
    UploadPackV0,
    /// Pushing.
    ReceivePack,
}

const V2: &[&str] = &[
    "version 2",
    AGENT,
    "ls-refs=unborn",
    "fetch=shallow wait-for-done filter",
    "server-option",
    "object-format=sha1",
];

const V0: &str = "multi_ack thin-pack side-band side-band-64k ofs-delta shallow deepen-since deepen-not \
deepen-relative no-progress include-tag multi_ack_detailed allow-tip-sha1-in-want allow-reachable-sha1-in-want \
no-done filter object-format=sha1";

const RECEIVE: &str = "report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta push-options \
object-format=sha1";

/// Writes the advertisement, without the `# service=` line that HTTP puts before some.
pub fn advertise(view: &dyn View, which: Advertisement, out: &mut dyn Write) -> Result<(), ServeError> {
    if which == Advertisement::UploadPackV2 {
        V2.iter().try_for_each(|line| write_text(out, line))?;
        return Ok(write_flush(out)?);
    }
    let refs = view.refs(&[])?;
    let mut capabilities = match which {
        Advertisement::ReceivePack => format!("{RECEIVE} {AGENT}"),
        _ => format!("{V0} {AGENT}"),
    };
    let mut lines: Vec<(ObjectId, Vec<u8>)> = Vec::new();
    if which == Advertisement::UploadPackV0
        && let Some(head) = view.head()?
        && let Some(target) = refs.iter().find(|one| one.name == head.target)
    {
        capabilities += &format!(" symref=HEAD:{}", String::from_utf8_lossy(&head.target));
        lines.push((target.id, b"HEAD".to_vec()));
    }
    for one in refs {
        lines.push((one.id, one.name.clone()));
        if let Some(peeled) = one.peeled.filter(|_| which == Advertisement::UploadPackV0) {
            lines.push((peeled, [&one.name[..], b"^{}"].concat()));
        }
    }
    if lines.is_empty() {
        lines.push((ObjectId::ZERO, b"capabilities^{}".to_vec()));
    }
    for (place, (id, name)) in lines.iter().enumerate() {
        let mut line = [id.to_string().as_bytes(), b" ", name].concat();
        if place == 0 {
            line.push(0);
            line.extend_from_slice(capabilities.as_bytes());
        }
        line.push(b'\n');
        write_line(out, &line)?;
    }
    Ok(write_flush(out)?)
}

/// Answers `ls-refs` (gitprotocol-v2).
pub fn ls_refs(view: &dyn View, arguments: &[Vec<u8>], out: &mut dyn Write) -> Result<(), ServeError> {
    let says = |word: &[u8]| arguments.iter().any(|argument| argument == word);
    let (peel, symrefs, unborn) = (says(b"peel"), says(b"symrefs"), says(b"unborn"));
    let prefixes: Vec<Vec<u8>> = arguments
        .iter()
        .filter_map(|argument| argument.strip_prefix(b"ref-prefix "))
        .map(<[u8]>::to_vec)
        .collect();
    let wants_head = prefixes.is_empty() || prefixes.iter().any(|prefix| b"HEAD".starts_with(&prefix[..]));
    if let Some(head) = view.head()?.filter(|_| wants_head) {
        // A prefix is only a prefix: the branch itself has to be looked for.
        let target =
            view.refs(std::slice::from_ref(&head.target))?.into_iter().find(|one| one.name == head.target);
        let name = String::from_utf8_lossy(&head.target).into_owned();
        match target {
            Some(target) if symrefs => write_text(out, &format!("{} HEAD symref-target:{name}", target.id))?,
            Some(target) => write_text(out, &format!("{} HEAD", target.id))?,
            None if unborn => write_text(out, &format!("unborn HEAD symref-target:{name}"))?,
            None => {}
        }
    }
    for Ref { name, id, peeled } in view.refs(&prefixes)? {
        let mut line = [id.to_string().as_bytes(), b" ", &name].concat();
        if let Some(peeled) = peeled.filter(|_| peel) {
            line.extend_from_slice(format!(" peeled:{peeled}").as_bytes());
        }
        line.push(b'\n');
        write_line(out, &line)?;
    }
    Ok(write_flush(out)?)
}
