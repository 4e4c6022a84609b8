//! The same data for Git, as a stream for `git fast-import`.

use std::io::{BufWriter, Write};

use store::Result;

use crate::mail;
use crate::rows::{MERGE_FILES, merge_change, merge_content, merge_path};

fn commit(out: &mut impl Write, branch: &str, mark: u64, from: Option<u64>) -> std::io::Result<()> {
    writeln!(
        out,
        "commit refs/heads/{branch}\nmark :{mark}\ncommitter Ada <ada@example.org> 1700000000 +0000\ndata 4\nadd"
    )?;
    from.map_or(Ok(()), |from| writeln!(out, "from :{from}"))
}

fn file(out: &mut impl Write, path: &str, content: &[u8]) -> std::io::Result<()> {
    write!(out, "M 100644 inline {path}\ndata {}\n", content.len())?;
    out.write_all(content)?;
    writeln!(out)
}

/// A mailbox, a commit for each message.
pub fn mailbox(messages: u64) -> Result<()> {
    let out = &mut BufWriter::new(std::io::stdout().lock());
    for uid in 1..=messages {
        commit(out, "main", uid, None)?;
        file(out, &mail::path(uid), &mail::message(uid, 4096))?;
    }
    writeln!(out, "done")?;
    Ok(out.flush()?)
}

/// Two branches with a thousand changes each.
pub fn merge() -> Result<()> {
    let out = &mut BufWriter::new(std::io::stdout().lock());
    commit(out, "main", 1, None)?;
    for number in 0..MERGE_FILES {
        file(out, &merge_path(number), merge_content(number, "").as_bytes())?;
    }
    for (side, branch) in ["main", "side"].into_iter().enumerate() {
        commit(out, branch, 2 + side as u64, Some(1))?;
        for change in 0..1000 {
            let number = merge_change(side as u64, change);
            file(out, &merge_path(number), merge_content(number, branch).as_bytes())?;
        }
    }
    writeln!(out, "done")?;
    Ok(out.flush()?)
}
