//! One machine of a host: what it is, what it should become, and the way back when that fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chassis::tls::Authority;

use super::carrier::{self, Carrier, Running};
use super::follow::{Follow, Head, short};
use super::health::{self, Unwell};
use super::{data, say};
use crate::deploy::{Machine, SETTINGS};
use crate::dns::publish;
use crate::household::kept_key;
use crate::trouble::Trouble;

/// A machine and its directory:
/// `disk` (its data), `leaf.key` (its certificate's), `current/` and `previous/` (versions: image, machine.toml, machine.cfg, tree, accounts), `log`.
#[derive(Debug)]
pub struct Kept {
    name: String,
    dir: PathBuf,
    running: Option<Running>,
    pause: Duration,
    again_at: Option<Instant>,
    started: Instant,
    /// A version that failed is not tried again until the head changes.
    failed: Option<String>,
    /// The commit that was carried out here, or tried.
    tried: Option<String>,
}

/// What an update needs.
pub struct Context<'a> {
    /// Where versions come from.
    pub follow: &'a Follow,
    /// What carries them.
    pub carrier: &'a Carrier,
    /// Who signs their certificates.
    pub authority: &'a Authority,
    /// How long a machine may take until it answers.
    pub patience: Duration,
    /// The commit that is carried out.
    pub head: &'a Head,
    /// The host's own directory.
    pub state: &'a Path,
    /// Whether it keeps the household's records in its zone.
    pub publishes: bool,
}

impl Kept {
    /// A machine as its directory has it.
    pub fn find(name: &str, dir: &Path) -> Kept {
        Kept {
            name: name.to_owned(),
            dir: dir.to_owned(),
            running: None,
            pause: PAUSE_FIRST,
            again_at: None,
            started: Instant::now(),
            failed: None,
            tried: None,
        }
    }

    /// Makes it what `tree` says. `unsettled`: the head was not carried out yet, so that what failed before may be tried
    /// again, once.
    pub fn become_like(&mut self, tree: &str, context: &Context<'_>, unsettled: bool) -> Result<(), Trouble> {
        let current = self.current_tree();
        let new = unsettled && !self.has_tried(&context.head.commit);
        if new {
            self.failed = None;
        }
        let other_data = new && (context.head.restores.is_some() || self.has_other_accounts(context.head));
        if current.as_deref() == Some(tree) && !other_data {
            self.tried = Some(context.head.commit.clone());
            return if self.running.is_none() { self.start_current(context) } else { Ok(()) };
        }
        if self.failed.as_deref() == Some(tree) {
            return if self.running.is_none() { self.start_current(context) } else { Ok(()) };
        }
        let next = self.dir.join(NEXT);
        let machine = match self.fetch(tree, &next, context) {
            Ok(machine) => machine,
            Err(trouble) => {
                let _ = fs::remove_dir_all(&next);
                return Err(self.keep(trouble, current.is_some(), context));
            }
        };
        if let Err(trouble) = self.make_way(&machine, context) {
            let _ = fs::remove_dir_all(&next);
            return Err(self.keep(trouble, current.is_some(), context));
        }
        self.tried = Some(context.head.commit.clone());
        match self.update(tree, &machine, context) {
            Ok(()) => Ok(()),
            Err(trouble) => {
                self.failed = Some(tree.to_owned());
                Err(self.roll_back(trouble, current.is_some(), context))
            }
        }
    }

    /// What runs as it should, as far as is known.
    pub fn settled(&self) -> Option<Machine> {
        self.running.as_ref().and_then(|_| machine_of(&self.dir.join(CURRENT)).ok())
    }

    /// Whether a commit was carried out here or tried, as opposed to one that could not even be fetched.
    pub fn has_tried(&self, commit: &str) -> bool {
        self.tried.as_deref() == Some(commit)
    }

    /// Starts it again if it died, later each time.
    pub fn tend(&mut self, carrier: &Carrier) {
        if let Some(at) = self.again_at {
            if Instant::now() < at {
                return;
            }
            self.again_at = None;
            match self.start(&self.dir.join(CURRENT), carrier) {
                Ok(()) => say("info", &self.name, "started again"),
                Err(trouble) => self.later(&trouble.to_string()),
            }
            return;
        }
        if self.running.is_none() || self.started.elapsed() < TEND_TIME || carrier.is_alive(&mut self.running)
        {
            return;
        }
        self.running = None;
        if self.started.elapsed() > HEALTHY {
            self.pause = PAUSE_FIRST;
        }
        self.later("it died");
    }

    /// Stops it. With an error it may still run.
    pub fn stop(&mut self, carrier: &Carrier) -> Result<(), Trouble> {
        self.again_at = None;
        if let Some(running) = &mut self.running {
            carrier.stop(running)?;
            if matches!(running, Running::Domain(_)) {
                carrier::detach(&self.dir.join(DISK)); // so that a disk that grew is seen with its new size
            }
            self.running = None;
        }
        Ok(())
    }

    fn later(&mut self, why: &str) {
        let advice = self.postpone();
        say("error", &self.name, &format!("{why}; {advice}"));
    }

    /// Notes when it is started again; says so.
    fn postpone(&mut self) -> String {
        let advice = format!("it is started again in {} ms", self.pause.as_millis());
        self.again_at = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        advice
    }

    /// What cannot even be begun (a full disk, an xl that hangs) changes nothing: what runs is not touched.
    fn keep(&mut self, trouble: Trouble, had: bool, context: &Context<'_>) -> Trouble {
        if self.running.is_some() {
            return trouble.advise("the version before it runs on");
        }
        match had.then(|| self.start_current(context)) {
            Some(Ok(())) => trouble.advise("the version before it runs"),
            Some(Err(again)) => {
                trouble.advise(format!("and the version before it does not run either: {again}"))
            }
            None => trouble,
        }
    }

    /// Stops what runs, or is sure that nothing does: until then the disk is not ours.
    fn make_way(&mut self, machine: &Machine, context: &Context<'_>) -> Result<(), Trouble> {
        if self.running.is_none() {
            self.running = context.carrier.find(machine)?;
        }
        self.stop(context.carrier)
    }

    /// Puts the fetched version in the place of what ran. The data is tagged first, so that it can come back.
    fn update(&mut self, tree: &str, machine: &Machine, context: &Context<'_>) -> Result<(), Trouble> {
        let next = self.dir.join(NEXT);
        let disk = self.dir.join(DISK);
        data::ensure(&disk, machine)?;
        let store = data::open(&disk, &self.name)?;
        match &context.head.restores {
            Some(reverted) => {
                let moved = data::restore(&store, reverted, &context.head.commit)?;
                say(
                    "info",
                    &self.name,
                    &format!("data as it was before {}: {moved} branches", short(reverted)),
                );
            }
            None => data::tag(&store, &context.head.commit)?,
        }
        let accounts = context.follow.accounts(&context.head.commit)?;
        // The zone knows mail's key: it stays when the certificate is made anew.
        let key = kept_key(&self.dir, LEAF_KEY)?;
        data::provide(&store, machine, context.authority, &accounts, &key)?;
        data::set(&store, machine, context.follow.file_if_any(tree, SETTINGS)?)?;
        if self.name == "signpost" && context.publishes {
            let (name, key) = publish::deployed_key(context.state, &machine.domain)?;
            data::introduce(&store, name, key)?;
            if context.head.restores.is_some() {
                publish::forget(context.state)?; // the zone is an older one
            }
        }
        drop(store);
        self.start(&next, context.carrier)?;
        self.wait(machine, context)?;
        data::promote(&next, &self.dir.join(CURRENT), &self.dir.join(PREVIOUS))?;
        self.pause = PAUSE_FIRST;
        say("info", &self.name, &format!("runs as of {}", short(&context.head.commit)));
        Ok(())
    }

    /// After an update that failed, the old version runs again; the data stays (what was acknowledged is kept).
    fn roll_back(&mut self, trouble: Trouble, had: bool, context: &Context<'_>) -> Trouble {
        if let Err(still) = self.stop(context.carrier) {
            return trouble.advise(format!("and it may still run: {still}"));
        }
        let _ = fs::remove_dir_all(self.dir.join(NEXT));
        if !had {
            return trouble;
        }
        match self.start_current(context) {
            Ok(()) => trouble.advise("rolled back: the version before it runs, with the data kept"),
            Err(again) => trouble.advise(format!("and the version before it does not run either: {again}")),
        }
    }

    fn start_current(&mut self, context: &Context<'_>) -> Result<(), Trouble> {
        let current = self.dir.join(CURRENT);
        if !current.exists() {
            return Err(Trouble::new(format!("{} has no version that ever ran", self.name)));
        }
        let machine = machine_of(&current)?;
        if self.again_at.is_some() {
            return Ok(()); // it died, and is started again by `tend`
        }
        if let Some(running) = context.carrier.find(&machine)? {
            self.running = Some(running);
            self.started = Instant::now();
            return Ok(());
        }
        let started = self.start(&current, context.carrier).and_then(|()| self.wait(&machine, context));
        // One that is not healthy runs on: it may yet answer, and nothing better is at hand.
        started
            .map_err(|trouble| if self.running.is_some() { trouble } else { trouble.advise(self.postpone()) })
    }

    fn start(&mut self, version: &Path, carrier: &Carrier) -> Result<(), Trouble> {
        let machine = machine_of(version)?;
        self.running = Some(carrier.start(&machine, version, &self.dir.join(DISK), &self.dir.join("log"))?);
        self.started = Instant::now();
        Ok(())
    }

    /// Waits until it answers; a machine that ended needs no more patience.
    fn wait(&mut self, machine: &Machine, context: &Context<'_>) -> Result<(), Trouble> {
        let Some(at) = machine.web() else { return Ok(()) };
        let started = Instant::now();
        let mut pause = Duration::from_millis(10);
        loop {
            let why = match health::check(at, context.authority, &machine.name) {
                Ok(()) => return Ok(()),
                Err(why) => why,
            };
            if matches!(why, Unwell::Another(_)) {
                return Err(Trouble::new(format!("{} is something else: {why}", self.name)));
            }
            if !context.carrier.is_alive(&mut self.running) {
                self.running = None;
                let last = context.carrier.last_words(machine, &self.dir.join("log"));
                return Err(Trouble::new(format!("{} ended before it answered: {last}", self.name)));
            }
            if started.elapsed() > context.patience {
                return Err(Trouble::new(format!("{} did not become healthy: {why}", self.name)));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }

    fn fetch(&self, tree: &str, into: &Path, context: &Context<'_>) -> Result<Machine, Trouble> {
        let _ = fs::remove_dir_all(into);
        fs::create_dir_all(into).map_err(|error| Trouble::io("make", into, error))?;
        for name in ["image", "machine.toml", "machine.cfg"] {
            let path = into.join(name);
            let mode = if name == "image" { 0o755 } else { 0o644 };
            data::write(&path, &context.follow.file(tree, name)?, mode)?;
        }
        data::write(&into.join(TREE), tree.as_bytes(), 0o644)?;
        data::write(&into.join(ACCOUNTS), context.head.accounts.as_bytes(), 0o644)?;
        machine_of(into)
    }

    /// Whether other accounts were deployed since it was carried out here last.
    fn has_other_accounts(&self, head: &Head) -> bool {
        let there = fs::read_to_string(self.dir.join(CURRENT).join(ACCOUNTS));
        there.unwrap_or_default() != head.accounts
    }

    fn current_tree(&self) -> Option<String> {
        let (current, previous) = (self.dir.join(CURRENT), self.dir.join(PREVIOUS));
        if !current.exists() && previous.exists() {
            let _ = fs::rename(&previous, &current); // the power went between two moves
        }
        fs::read_to_string(self.dir.join(CURRENT).join(TREE)).ok()
    }
}

fn machine_of(version: &Path) -> Result<Machine, Trouble> {
    let path = version.join("machine.toml");
    Machine::parse(&fs::read_to_string(&path).map_err(|error| Trouble::io("read", &path, error))?)
}

const CURRENT: &str = "current";
const PREVIOUS: &str = "previous";
const NEXT: &str = "next";
const DISK: &str = "disk";
const TREE: &str = "tree";
const ACCOUNTS: &str = "accounts";
const LEAF_KEY: &str = "leaf.key";
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(60);
const HEALTHY: Duration = Duration::from_secs(120);
/// How often a machine is looked at.
const TEND_TIME: Duration = Duration::from_millis(500);
