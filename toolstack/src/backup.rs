//! `nymote backup` and `nymote restore`: a household as one tar file that any tar reads.
//!
//! Each appliance pauses while its store is copied (a fraction of a second for a gigabyte on one disk), the others go on.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use chassis::control::{Client, ClientError};
use ring::digest;
use serde_json::json;
use tokio::sync::mpsc;

use crate::host::data;
use crate::household::{Household, LAYOUT, MAIL_KEY};
use crate::place::{self, Place};
use crate::suite::{self, SUITE};
use crate::trouble::Trouble;

/// Writes the whole household into one file: stores, certificate authority, settings. Mode 0600: it holds everything.
#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    #[command(flatten)]
    place: Place,
    /// The file to write; `-` is standard output
    file: PathBuf,
}

/// Makes a household again from a backup, in a directory that is empty or not there.
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    place: Place,
    /// The file that `nymote backup` wrote; `-` is standard input
    file: PathBuf,
}

/// Runs `backup`.
pub fn backup(args: BackupArgs) -> Result<(), Trouble> {
    let dir = args.place.dir();
    Household::open(&dir)?;
    let partial = args.file.with_extension("partial");
    let to_stdout = args.file == Path::new("-");
    let trouble = |error: io::Error| Trouble::io("write", &args.file, error);
    let sink: Box<dyn Write> = if to_stdout {
        Box::new(io::stdout().lock())
    } else {
        let options = &mut fs::OpenOptions::new();
        Box::new(options.write(true).create(true).truncate(true).mode(0o600).open(&partial).map_err(trouble)?)
    };
    let mut archive = tar::Builder::new(Summing::new(sink));
    for name in FILES.into_iter().filter(|name| *name != MAIL_KEY || dir.join(name).exists()) {
        archive.append_path_with_name(dir.join(name), name).map_err(trouble)?;
    }
    for member in &SUITE {
        let name = format!("{}/store", member.identity.name);
        if dir.join(&name).exists() {
            paused(&dir, member.identity.name, || archive.append_path_with_name(dir.join(&name), &name))?
                .map_err(trouble)?;
        }
    }
    let mut summing = archive.into_inner().map_err(trouble)?;
    summing.sink.flush().map_err(trouble)?;
    let sum = hex(summing.context.finish().as_ref());
    drop(summing.sink);
    if !to_stdout {
        File::open(&partial).and_then(|file| file.sync_all()).map_err(trouble)?;
        fs::rename(&partial, &args.file).map_err(trouble)?;
        println!("{}  {} bytes\nsha256 {sum}", args.file.display(), summing.bytes);
    }
    Ok(())
}

/// Carries `work` out while the appliance stands still.
fn paused<T>(dir: &Path, name: &str, work: impl FnOnce() -> T) -> Result<T, Trouble> {
    place::block_on(async {
        let client = match Client::connect(dir).await {
            Ok(client) => client,
            Err(ClientError::NotRunning(_)) => return Ok(work()),
            Err(error) => return Err(Trouble::new(error.to_string())),
        };
        let (resume, input) = mpsc::channel(1);
        let (paused, mut is_paused) = mpsc::channel(1);
        let args = json!({"appliance": name});
        let pausing =
            tokio::spawn(async move { client.call("pause", args, input, |_| _ = paused.try_send(())).await });
        let result = is_paused.recv().await.map(|()| work());
        drop(resume); // the end of the input: go on
        let ended = pausing.await.map_err(|error| Trouble::new(error.to_string()))?;
        match (result, ended) {
            (Some(result), _) => Ok(result),
            (None, Err(error)) => Err(Trouble::new(format!("{name} cannot be paused: {error}"))),
            (None, Ok(_)) => Err(Trouble::new(format!("{name} was not paused"))),
        }
    })
}

/// Runs `restore`.
pub fn restore(args: RestoreArgs) -> Result<(), Trouble> {
    let dir = args.place.dir();
    if fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Trouble::new(format!("{} is not empty", dir.display())).advise(
            "restore into a new directory with --dir, look at it, then use it instead of the old one",
        ));
    }
    let source: Box<dyn Read> = if args.file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(&args.file).map_err(|error| Trouble::io("read", &args.file, error))?)
    };
    let beside = dir.with_extension("restoring");
    let _ = fs::remove_dir_all(&beside);
    let unpacked = unpack(source, &beside)
        .and_then(|()| note_older(&beside))
        .and_then(|()| Household::open(&beside).map(drop));
    if let Err(trouble) = unpacked {
        let _ = fs::remove_dir_all(&beside);
        return Err(trouble.advise(format!(
            "{} is not a whole backup (layout {LAYOUT}); nothing was restored",
            args.file.display()
        )));
    }
    let _ = fs::remove_dir(&dir); // empty, or not there
    fs::rename(&beside, &dir).map_err(|error| Trouble::io("make", &dir, error))?;
    println!("restored into {}; `nymote up --dir {}` starts it", dir.display(), dir.display());
    Ok(())
}

fn unpack(source: impl Read, into: &Path) -> Result<(), Trouble> {
    let trouble = |error: io::Error| Trouble::new(format!("the backup cannot be read: {error}"));
    let mut archive = tar::Archive::new(source);
    for entry in archive.entries().map_err(trouble)? {
        let mut entry = entry.map_err(trouble)?;
        let name = entry.path().map_err(trouble)?.into_owned();
        let plain = name.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || !entry.header().entry_type().is_file() || !is_ours(&name) {
            return Err(Trouble::new(format!(
                "the backup holds {}, which is not part of a household",
                name.display()
            )));
        }
        let path = into.join(&name);
        let parent = path.parent().unwrap_or(into);
        make_private(parent).map_err(|error| Trouble::io("make", parent, error))?;
        let options = &mut fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path);
        let mut file = file.map_err(|error| Trouble::io("write", &path, error))?;
        io::copy(&mut entry, &mut file)
            .and_then(|_| file.sync_all())
            .map_err(|error| Trouble::io("write", &path, error))?;
    }
    Ok(())
}

/// Notes in each store that it is an older copy: mail's clients may have seen what came after it.
fn note_older(household: &Path) -> Result<(), Trouble> {
    for member in &SUITE {
        let path = household.join(member.identity.name).join("store");
        if path.is_file() {
            let store = data::open(&path, member.identity.name)?;
            chassis::config::note_older(&store, "restored from a backup")
                .map_err(|error| Trouble::new(format!("{}: {error}", path.display())))?;
        }
    }
    Ok(())
}

fn is_ours(name: &Path) -> bool {
    let name = name.to_string_lossy();
    FILES.contains(&&*name)
        || name.strip_suffix("/store").is_some_and(|member| suite::member(member).is_some())
}

/// A household's own files; one that was never up has no key for mail.
const FILES: [&str; 4] = ["nymote.json", "ca.pem", "ca.key", MAIL_KEY];

fn make_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// A writer that sums what goes through it.
struct Summing {
    sink: Box<dyn Write>,
    context: digest::Context,
    bytes: u64,
}

impl Summing {
    fn new(sink: Box<dyn Write>) -> Summing {
        Summing { sink, context: digest::Context::new(&digest::SHA256), bytes: 0 }
    }
}

impl Write for Summing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.sink.write(bytes)?;
        self.context.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_household_s_files_are_unpacked() {
        for bad in ["../nymote.json", "/etc/passwd", "mail/other", "cron/store", "mail/../store"] {
            let mut archive = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_size(1);
            header.as_old_mut().name[..bad.len()].copy_from_slice(bad.as_bytes());
            header.set_cksum();
            archive.append(&header, &b"x"[..]).unwrap();
            let place = tempfile::tempdir().unwrap();
            assert!(unpack(&archive.into_inner().unwrap()[..], &place.path().join("into")).is_err(), "{bad}");
        }
    }
}
