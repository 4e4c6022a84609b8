//! What carries machines: processes of this host, or Xen by xl. Every word to xl has a deadline.
//!
//! Xen's block backend in the kernel wants a block device: a disk in a file is put behind a loop device, which passes
//! flushes on to the file.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::deploy::Machine;
use crate::git::{last_line, within};
use crate::trouble::Trouble;

/// The carrier of a host.
#[derive(Debug)]
pub enum Carrier {
    /// Linux processes; they end with the host.
    Process,
    /// Xen, by this program, which has this long for each word.
    Xl(PathBuf, Duration),
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
    pub fn new(backend: &str, xl: &Path, deadline: Duration) -> Carrier {
        if backend == "process" { Carrier::Process } else { Carrier::Xl(xl.to_owned(), deadline) }
    }

    /// Whether machines end with the host.
    pub fn ends_with_us(&self) -> bool {
        matches!(self, Carrier::Process)
    }

    /// A domain that runs already, from an earlier life of the host. An error when xl does not say.
    pub fn find(&self, machine: &Machine) -> Result<Option<Running>, Trouble> {
        match self {
            Carrier::Process => Ok(None),
            Carrier::Xl(xl, deadline) => {
                let name = super::domain_of(machine);
                Ok(is_listed(xl, *deadline, &name)?.then_some(Running::Domain(name)))
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
                end_orphan(disk);
                let mut command = Command::new(&image);
                command.args(machine.arguments(&disk.display().to_string()));
                let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
                let child = child.map_err(|error| Trouble::io("start", &image, error))?;
                let _ = fs::write(disk.with_file_name(PID_FILE), child.id().to_string());
                Ok(Running::Process(child))
            }
            Carrier::Xl(xl, deadline) => {
                // Machines are begun side by side, but a loop device is found by one at a time, and xl has its deadline to itself.
                static BEGINNING: Mutex<()> = Mutex::new(());
                let _alone = BEGINNING.lock().unwrap_or_else(PoisonError::into_inner);
                let (image, path) = (version.join("image"), version.join("xl.cfg"));
                let text = fs::read_to_string(version.join("machine.cfg"))
                    .map_err(|error| Trouble::io("read", &version.join("machine.cfg"), error))?;
                let text = text.replace("@IMAGE@", &image.display().to_string());
                let text = text.replace("@DISK@", &attach(disk)?.display().to_string());
                fs::write(&path, text).map_err(|error| Trouble::io("write", &path, error))?;
                let why = match within(Command::new(xl).arg("create").arg(&path), *deadline) {
                    Ok((Some(0), ..)) => return Ok(Running::Domain(super::domain_of(machine))),
                    Ok((_, _, err)) => Trouble::new(format!("xl create failed: {}", last_line(&err))),
                    Err(trouble) => trouble,
                };
                detach(disk);
                Err(why)
            }
        }
    }

    /// Whether it still runs.
    pub fn is_alive(&self, running: &mut Option<Running>) -> bool {
        match (self, running) {
            (_, Some(Running::Process(child))) => matches!(child.try_wait(), Ok(None)),
            (Carrier::Xl(xl, deadline), Some(Running::Domain(name))) => {
                // An xl that hangs says nothing about the machine: what ran keeps running.
                is_listed(xl, *deadline, name).unwrap_or(true)
            }
            _ => false,
        }
    }

    /// What a machine that ended said last: the log of a process, the console of a domain where xenconsoled keeps it.
    pub fn last_words(&self, machine: &Machine, log: &Path) -> String {
        let console =
            |folder: &&str| Path::new(folder).join(format!("guest-{}.log", super::domain_of(machine)));
        let log = match self {
            Carrier::Process => log.to_owned(),
            Carrier::Xl(..) => match CONSOLES.iter().map(console).find(|path| path.exists()) {
                Some(path) => path,
                None => return format!("xenconsoled keeps no log of it in {}", CONSOLES.join(" or ")),
            },
        };
        last_line(&fs::read(log).unwrap_or_default())
    }

    /// Asks a machine to stop, waits, and takes it away if it does not. With an error it may still run, and its disk is its own.
    pub fn stop(&self, running: &mut Running) -> Result<(), Trouble> {
        match (self, running) {
            (_, Running::Process(child)) => end(child),
            (Carrier::Xl(xl, deadline), Running::Domain(name)) => end_domain(xl, *deadline, name)?,
            (Carrier::Process, Running::Domain(_)) => {}
        }
        Ok(())
    }
}

fn end(child: &mut Child) {
    let _ = within(Command::new("kill").args(["-TERM", &child.id().to_string()]), TOOL_TIME);
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

fn end_domain(xl: &Path, deadline: Duration, name: &str) -> Result<(), Trouble> {
    within(Command::new(xl).args(["shutdown", "-F", name]), deadline)?;
    let started = Instant::now();
    while started.elapsed() < STOP_TIME {
        if !is_listed(xl, deadline, name)? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let (_, _, err) = within(Command::new(xl).args(["destroy", name]), deadline)?;
    if is_listed(xl, deadline, name)? {
        return Err(Trouble::new(format!("{name} does not end: {}", last_line(&err))));
    }
    Ok(())
}

/// Whether xl knows a domain of this name. It says no by naming the domain; whatever else goes wrong (no xenstored, no rights)
/// is no answer.
fn is_listed(xl: &Path, deadline: Duration, name: &str) -> Result<bool, Trouble> {
    let (code, _, err) = within(Command::new(xl).args(["domid", name]), deadline)?;
    if code == Some(0) {
        return Ok(true);
    }
    if String::from_utf8_lossy(&err).contains(name) {
        return Ok(false);
    }
    Err(Trouble::new(format!("xl does not say whether {name} runs: {}", last_line(&err))))
}

/// Ends the process of a host that was killed: it still has the disk and the ports.
fn end_orphan(disk: &Path) {
    let pid = fs::read_to_string(disk.with_file_name(PID_FILE)).unwrap_or_default();
    let words = format!("/proc/{pid}/cmdline");
    let device = format!("--device={}", disk.display());
    let is_ours = || {
        let words = fs::read(&words).unwrap_or_default();
        !pid.is_empty() && words.split(|byte| *byte == 0).any(|word| word == device.as_bytes())
    };
    let started = Instant::now();
    while is_ours() {
        let signal = if started.elapsed() < STOP_TIME { "-TERM" } else { "-KILL" };
        let _ = within(Command::new("kill").args([signal, &pid]), TOOL_TIME);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The loop device behind which a disk's file is; made if there is none yet. A block device is its own.
fn attach(disk: &Path) -> Result<PathBuf, Trouble> {
    let kind = fs::metadata(disk).map_err(|error| Trouble::io("find", disk, error))?.file_type();
    if kind.is_block_device() {
        return Ok(disk.to_owned());
    }
    if let Some(device) = attached(disk) {
        return Ok(device);
    }
    let (code, _, err) = within(Command::new("losetup").arg("-f").arg(disk), TOOL_TIME)?;
    match attached(disk) {
        Some(device) if code == Some(0) => Ok(device),
        _ => Err(Trouble::new(format!("no loop device for {}: {}", disk.display(), last_line(&err)))
            .advise("load the module: modprobe loop max_loop=64")),
    }
}

/// The loop device that has this file already.
fn attached(disk: &Path) -> Option<PathBuf> {
    let backs = |name: &Path| {
        let text = fs::read_to_string(name.join("loop/backing_file")).unwrap_or_default();
        Path::new(text.trim_end()) == disk
    };
    let devices = fs::read_dir("/sys/block").ok()?.flatten().map(|entry| entry.path());
    devices.filter(|path| backs(path)).find_map(|path| Some(Path::new("/dev").join(path.file_name()?)))
}

/// Gives a disk's loop device back.
pub fn detach(disk: &Path) {
    if let Some(device) = attached(disk) {
        let _ = within(Command::new("losetup").arg("-d").arg(device), TOOL_TIME);
    }
}

/// Where xenconsoled keeps what guests say, started with `--log=guest`: Debian's place, and its own.
const CONSOLES: [&str; 2] = ["/var/log/xen/console", "/var/log/xen"];
/// kill and losetup answer at once.
const TOOL_TIME: Duration = Duration::from_secs(30);
const STOP_TIME: Duration = Duration::from_secs(20);
const PID_FILE: &str = "pid";
