//! Stock git, called with a deadline, and signatures of ssh keys as git makes and checks them.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::trouble::Trouble;

/// A repository that is worked on by stock git.
#[derive(Debug, Clone)]
pub struct Git {
    /// Its work tree, or the bare repository itself.
    pub dir: PathBuf,
}

impl Git {
    /// The repository in that directory.
    pub fn at(dir: impl Into<PathBuf>) -> Git {
        Git { dir: dir.into() }
    }

    /// Runs git with these words; gives its standard output.
    pub fn run(&self, words: &[&str]) -> Result<String, Trouble> {
        let bytes = self.bytes(words)?;
        Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    }

    /// The same with the output as it is: a file's content.
    pub fn bytes(&self, words: &[&str]) -> Result<Vec<u8>, Trouble> {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.dir).args(words);
        // What a person has set up for their own work must not change ours.
        command
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0");
        let (code, out, err) = within(&mut command, DEADLINE)?;
        if code == Some(0) {
            return Ok(out);
        }
        let words = words
            .iter()
            .find(|word| !word.starts_with('-') && !word.contains('='))
            .copied()
            .unwrap_or_default();
        Err(Trouble::new(format!("git {words} failed in {}: {}", self.dir.display(), complaints(&err))))
    }

    /// Whether git says yes.
    pub fn asks(&self, words: &[&str]) -> bool {
        self.run(words).is_ok()
    }

    /// Whether a commit is signed by one of the keys that a file of allowed signers names (ssh-keygen(1)).
    pub fn is_signed(&self, commit: &str, allowed: &Path) -> bool {
        let allowed = format!("gpg.ssh.allowedSignersFile={}", allowed.display());
        self.asks(&["-c", "gpg.format=ssh", "-c", &allowed, "verify-commit", commit])
    }
}

/// Runs a command and waits for it as long as the deadline allows; then it is killed. Gives status, output and errors.
pub fn within(command: &mut Command, deadline: Duration) -> Result<(Option<i32>, Vec<u8>, Vec<u8>), Trouble> {
    let name = command.get_program().to_string_lossy().into_owned();
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Trouble::new(format!("{name} is not installed")).advise(format!("install {name}"))
        }
        _ => Trouble::new(format!("{name} cannot be started: {error}")),
    })?;
    let (out, err) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                let text = |reading: std::thread::JoinHandle<Vec<u8>>| reading.join().unwrap_or_default();
                return Ok((status.code(), text(out), text(err)));
            }
            Ok(None) if started.elapsed() < deadline => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Trouble::new(format!(
                    "{name} did not answer within {} s and was killed",
                    deadline.as_secs()
                )));
            }
            Err(error) => return Err(Trouble::new(format!("{name} was lost: {error}"))),
        }
    }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut all);
        }
        all
    })
}

/// What git complained of: its first line says the cause (a full disk), the last one what failed because of it.
fn complaints(err: &[u8]) -> String {
    let text = String::from_utf8_lossy(err);
    let told = |line: &&str| line.starts_with("error: ") || line.starts_with("fatal: ");
    let lines: Vec<&str> = text.lines().filter(told).take(3).collect();
    if lines.is_empty() { last_line(err) } else { lines.join("; ") }
}

/// The last line of what a program complained.
pub fn last_line(err: &[u8]) -> String {
    let text = String::from_utf8_lossy(err);
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned()
}

const DEADLINE: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_killed_at_its_deadline() {
        let error = within(Command::new("sleep").arg("60"), Duration::from_millis(100)).unwrap_err();
        assert!(error.to_string().contains("was killed"));
        assert!(
            within(&mut Command::new("no-such-program-here"), DEADLINE)
                .unwrap_err()
                .to_string()
                .contains("not installed")
        );
    }
}
