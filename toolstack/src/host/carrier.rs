//! What carries machines: processes of this host, or Xen by xl. Every word to xl has a deadline.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::deploy::Machine;
use crate::git::{last_line, within};
use crate::trouble::Trouble;

/// The carrier of a host.
#[derive(Debug)]
pub enum Carrier {
    /// Linux processes; they end with the host.
    Process,
    /// Xen, by this program.
    Xl(PathBuf),
}

/// A machine that was started.
#[derive(Debug)]
pub enum Running {
    /// A process.
    Process(Child),
    /// A Xen domain of this name.
    Domain(String),
}

impl Carrier {
    /// By the name on the command line.
    pub fn new(backend: &str, xl: &Path) -> Carrier {
        if backend == "process" { Carrier::Process } else { Carrier::Xl(xl.to_owned()) }
    }

    /// Whether machines end with the host.
    pub fn ends_with_us(&self) -> bool {
        matches!(self, Carrier::Process)
    }

    /// A domain that runs already, from an earlier life of the host.
    pub fn find(&self, machine: &Machine) -> Option<Running> {
        match self {
            Carrier::Process => None,
            Carrier::Xl(_) => {
                let running = Running::Domain(super::domain_of(machine));
                self.is_alive(&mut Some(running)).then(|| Running::Domain(super::domain_of(machine)))
            }
        }
    }

    /// Starts a machine from its directory: `image`, `machine.cfg`, and the disk beside it.
    pub fn start(
        &self,
        machine: &Machine,
        version: &Path,
        disk: &Path,
        log: &Path,
    ) -> Result<Running, Trouble> {
        match self {
            Carrier::Process => {
                let log = OpenOptions::new().create(true).append(true).open(log);
                let log = log
                    .map_err(|error| Trouble::new(format!("the machine's log cannot be written: {error}")))?;
                let image = version.join("image");
                let mut command = Command::new(&image);
                command
                    .args(machine.arguments(&disk.display().to_string()))
                    .arg(format!("--bind={}", machine.address));
                let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
                let child = child.map_err(|error| Trouble::io("start", &image, error))?;
                Ok(Running::Process(child))
            }
            Carrier::Xl(xl) => {
                let (image, path) = (version.join("image"), version.join("xl.cfg"));
                let text = fs::read_to_string(version.join("machine.cfg"))
                    .map_err(|error| Trouble::io("read", &version.join("machine.cfg"), error))?;
                let text = text.replace("@IMAGE@", &image.display().to_string());
                let text = text.replace("@DISK@", &disk.display().to_string());
                fs::write(&path, text).map_err(|error| Trouble::io("write", &path, error))?;
                let (code, _, err) = within(Command::new(xl).arg("create").arg(&path), XL_TIME)?;
                if code == Some(0) {
                    return Ok(Running::Domain(super::domain_of(machine)));
                }
                Err(Trouble::new(format!("xl create failed: {}", last_line(&err))))
            }
        }
    }

    /// Whether it still runs.
    pub fn is_alive(&self, running: &mut Option<Running>) -> bool {
        match (self, running) {
            (_, Some(Running::Process(child))) => matches!(child.try_wait(), Ok(None)),
            (Carrier::Xl(xl), Some(Running::Domain(name))) => {
                // An xl that hangs says nothing about the machine: what ran keeps running.
                within(Command::new(xl).args(["domid", name]), XL_TIME)
                    .map_or(true, |(code, _, _)| code == Some(0))
            }
            _ => false,
        }
    }

    /// Asks a machine to stop, waits, and takes it away if it does not.
    pub fn stop(&self, running: Running) {
        match (self, running) {
            (_, Running::Process(mut child)) => {
                let pid = child.id().to_string();
                let _ = within(Command::new("kill").args(["-TERM", &pid]), XL_TIME);
                let started = Instant::now();
                while started.elapsed() < STOP_TIME {
                    if !matches!(child.try_wait(), Ok(None)) {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
                let _ = child.kill();
                let _ = child.wait();
            }
            (Carrier::Xl(xl), Running::Domain(name)) => {
                let _ = within(Command::new(xl).args(["shutdown", "-F", &name]), XL_TIME);
                let started = Instant::now();
                while started.elapsed() < STOP_TIME {
                    if !self.is_alive(&mut Some(Running::Domain(name.clone()))) {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(200));
                }
                let _ = within(Command::new(xl).args(["destroy", &name]), XL_TIME);
            }
            (Carrier::Process, Running::Domain(_)) => {}
        }
    }
}

/// xl answers within a second; one that waits for a lock or a dead xenstored does not answer at all.
const XL_TIME: Duration = Duration::from_secs(30);
const STOP_TIME: Duration = Duration::from_secs(20);
