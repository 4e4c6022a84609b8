//! `nymote host`: follows a deployment repository and makes reality equal to its head.
//!
//! Only commits that an allowed key signed, only forwards: a head that does not descend from what runs is refused, and what
//! runs keeps running. Each machine is updated by itself; one whose new version does not answer gets its old one back.

mod carrier;
pub mod data;
mod follow;
mod health;
mod machine;
mod publish;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chassis::tls::Authority;
use serde_json::json;

pub use health::check as health;

use crate::deploy::Machine;
use crate::trouble::Trouble;
use carrier::Carrier;
use follow::{Follow, Head};
use machine::Kept;

/// Follows a deployment repository: creates disks, starts, updates and stops machines until they are what it says.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nymote host --repository /srv/deployment --signers /etc/nymote/signers")]
pub struct Args {
    /// The deployment repository: a directory or anything that git fetches from
    #[arg(long)]
    repository: String,
    /// Who may deploy: a file of lines `NAME KEY`, as `nymote deploy` prints them
    #[arg(long)]
    signers: PathBuf,
    /// Where disks, images and the host's own state are
    #[arg(long, default_value = "/var/lib/nymote-host")]
    state: PathBuf,
    /// What carries the machines: xl (a Xen dom0) or process
    #[arg(long, default_value = "xl", value_parser = ["xl", "process"])]
    backend: String,
    /// The program that carries Xen machines
    #[arg(long, default_value = "xl")]
    xl: PathBuf,
    /// Seconds that xl has for a word; one that waits for a lock or a dead xenstored does not answer at all
    #[arg(long, default_value_t = 30)]
    xl_deadline: u64,
    /// Seconds between looks at the repository
    #[arg(long, default_value_t = 5)]
    interval: u64,
    /// Seconds that a machine has to answer after its start
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// Make reality equal once, say what was done, and end (Xen machines run on)
    #[arg(long)]
    once: bool,
    /// Keep the household's records (MX, SPF, DKIM, DMARC, TLSA, SRV, addresses) in the zone of its signpost machine
    #[arg(long)]
    publish: bool,
}

/// The host with all that it carries.
struct Host {
    args: Args,
    follow: Follow,
    carrier: Carrier,
    authority: Authority,
    machines: BTreeMap<String, Kept>,
    /// The head that was carried out, or tried.
    settled: Option<String>,
    refused: Option<String>,
    publication: publish::Publication,
}

/// Runs it until SIGTERM.
pub fn run(mut args: Args) -> Result<(), Trouble> {
    args.state = std::path::absolute(&args.state).map_err(|error| Trouble::io("find", &args.state, error))?;
    fs::create_dir_all(&args.state).map_err(|error| Trouble::io("make", &args.state, error))?;
    let stop = Arc::new(AtomicBool::new(false));
    on_signal(stop.clone())?;
    let mut host = Host::new(args)?;
    loop {
        let trouble = host.turn().err();
        if host.args.once {
            host.end();
            return trouble.map_or(Ok(()), Err);
        }
        if let Some(trouble) = trouble {
            say("error", "", &trouble.to_string());
        }
        let next = Instant::now() + Duration::from_secs(host.args.interval.max(1));
        while Instant::now() < next {
            if stop.load(Ordering::Relaxed) {
                host.end();
                return Ok(());
            }
            host.tend();
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Host {
    fn new(args: Args) -> Result<Host, Trouble> {
        let follow = Follow::new(&args.repository, &args.signers, &args.state)?;
        let carrier = Carrier::new(&args.backend, &args.xl, Duration::from_secs(args.xl_deadline.max(1)));
        let settled = follow.running();
        let authority = authority(&args.state)?;
        Ok(Host {
            args,
            follow,
            carrier,
            authority,
            machines: BTreeMap::new(),
            settled,
            refused: None,
            publication: publish::Publication::default(),
        })
    }

    /// One look at the repository, and what follows from it.
    fn turn(&mut self) -> Result<(), Trouble> {
        let head = match self.follow.look() {
            Ok(head) => head,
            Err(trouble) => {
                self.keep_running()?;
                // Said once, not at every look.
                let text = trouble.to_string();
                if self.refused.as_ref() == Some(&text) {
                    return Ok(());
                }
                self.refused = Some(text);
                return Err(trouble);
            }
        };
        self.refused = None;
        let new = self.settled.as_ref() != Some(&head.commit);
        let carried_out = self.reconcile(&head, new);
        if new {
            self.publication.soon();
        }
        // What failed and was rolled back is settled too; what could not be fetched is tried again at the next look.
        if new && head.machines.keys().all(|name| self.has_tried(name, &head.commit)) {
            self.follow.settle(&head.commit)?;
            self.settled = Some(head.commit);
        }
        carried_out
    }

    fn has_tried(&self, name: &str, commit: &str) -> bool {
        self.machines.get(name).is_some_and(|kept| kept.has_tried(commit))
    }

    /// With a head that must not be followed, what ran before is what runs (after a restart of the host too).
    fn keep_running(&mut self) -> Result<(), Trouble> {
        match self.settled.clone() {
            Some(commit) if self.machines.is_empty() => {
                let head = self.follow.head_at(&commit)?;
                self.reconcile(&head, false)
            }
            _ => Ok(()),
        }
    }

    fn reconcile(&mut self, head: &Head, new: bool) -> Result<(), Trouble> {
        self.ensure_authority(head)?;
        let gone: Vec<String> =
            self.machines.keys().filter(|name| !head.machines.contains_key(*name)).cloned().collect();
        let mut failed = Vec::new();
        for name in gone {
            match self.machines.get_mut(&name).map(|kept| kept.stop(&self.carrier)) {
                Some(Err(trouble)) => {
                    say("error", &name, &trouble.to_string());
                    failed.push(name);
                    continue;
                }
                _ => say("info", &name, "stopped: it is no longer deployed; its disk is kept"),
            }
            self.machines.remove(&name);
        }
        for name in head.machines.keys() {
            let dir = self.args.state.join("machines").join(name);
            self.machines.entry(name.clone()).or_insert_with(|| Kept::find(name, &dir));
        }
        let context = machine::Context {
            follow: &self.follow,
            carrier: &self.carrier,
            authority: &self.authority,
            patience: Duration::from_secs(self.args.patience),
            head,
            state: &self.args.state,
            publishes: self.args.publish,
        };
        // All at once: one that takes its time to answer, or never does, holds up no other.
        let all = self.machines.iter_mut();
        let wanted = all.filter_map(|(name, kept)| Some((name, kept, head.machines.get(name)?)));
        failed.extend(std::thread::scope(|scope| {
            let begun = wanted.map(|(name, kept, tree)| {
                let context = &context;
                let work = move || {
                    let done = kept.become_like(tree, context, new);
                    done.inspect_err(|trouble| say("error", name, &trouble.to_string())).is_ok()
                };
                (name, scope.spawn(work))
            });
            let begun: Vec<_> = begun.collect();
            // A thread that panicked has said so on standard error.
            let broken = begun.into_iter().filter_map(|(name, work)| match work.join() {
                Ok(true) => None,
                _ => Some(name.clone()),
            });
            broken.collect::<Vec<String>>()
        }));
        if failed.is_empty() {
            return Ok(());
        }
        Err(Trouble::new(format!("{} is not carried out for {}", &head.commit[..12], failed.join(", ")))
            .advise("their old versions run; the log says why"))
    }

    /// The authority is made for the domain of the first deployment.
    fn ensure_authority(&mut self, head: &Head) -> Result<(), Trouble> {
        let Some(tree) = head.machines.values().next() else { return Ok(()) };
        let text = self.follow.file(tree, "machine.toml")?;
        let machine = Machine::parse(&String::from_utf8_lossy(&text))?;
        if self.authority.domain != machine.domain {
            self.authority =
                Authority::create(&machine.domain).map_err(|error| Trouble::new(error.to_string()))?;
            keep_authority(&self.args.state, &self.authority)?;
        }
        Ok(())
    }

    /// Machines that died are started again, with patience.
    fn tend(&mut self) {
        for kept in self.machines.values_mut() {
            kept.tend(&self.carrier);
        }
        if !self.args.publish {
            return;
        }
        let running = || self.machines.values().filter_map(Kept::settled);
        self.publication.tend(&self.args.state, &self.authority, running);
    }

    /// Processes end with their host; Xen's machines do not.
    fn end(&mut self) {
        if self.carrier.ends_with_us() {
            for kept in self.machines.values_mut() {
                let _ = kept.stop(&self.carrier); // a process ends
            }
        }
    }
}

/// The authority by which all machines of this host are known to their clients; `ca.pem` in the state directory.
fn authority(state: &Path) -> Result<Authority, Trouble> {
    let path = state.join("authority.json");
    if let Ok(text) = fs::read_to_string(&path) {
        return serde_json::from_str(&text)
            .map_err(|error| Trouble::new(format!("{} is damaged: {error}", path.display())));
    }
    Ok(Authority { domain: String::new(), certificate_pem: String::new(), key_pem: String::new() })
}

/// Keeps a new authority; the certificate also as `ca.pem`.
fn keep_authority(state: &Path, authority: &Authority) -> Result<(), Trouble> {
    let (path, beside) = (state.join("authority.json"), state.join("authority.json.new"));
    data::write(&beside, &serde_json::to_vec(authority).unwrap_or_default(), 0o600)?;
    fs::rename(&beside, &path).map_err(|error| Trouble::io("write", &path, error))?;
    let public = state.join("ca.pem");
    data::write(&public, authority.certificate_pem.as_bytes(), 0o644)
}

/// A line of the host's log: JSON, as the appliances write it.
fn say(level: &str, machine: &str, text: &str) {
    let line = json!({
        "at": chassis::clock::rfc3339(chassis::clock::now_ms()), "level": level, "appliance": "host",
        "machine": machine, "message": text,
    });
    println!("{line}");
}

/// SIGTERM and SIGINT set the flag.
fn on_signal(flag: Arc<AtomicBool>) -> Result<(), Trouble> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Trouble::new(format!("the system gives no event queue: {error}")))?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let stop = chassis::stop::Stop::default();
            stop.on_signals();
            stop.asked().await;
            flag.store(true, Ordering::Relaxed);
        });
    });
    Ok(())
}

/// What a machine is called for its carrier.
fn domain_of(machine: &Machine) -> String {
    format!("nymote-{}", machine.name)
}
