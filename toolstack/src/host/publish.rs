//! The household's records in its own zone, where its appliances are machines: what `nymote up` does for processes
//! ([`crate::dns::publish`]). Mail says what it needs and shows its certificate; signpost has the key on its disk, put there
//! when it is deployed; updates go over the network.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chassis::tls::Authority;
use serde_json::Value;

use super::{health, say};
use crate::deploy::Machine;
use crate::dns::publish::{self, Way};
use crate::place;
use crate::trouble::Trouble;

/// Publishes now and again, beside everything else.
#[derive(Default)]
pub struct Publication(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    busy: bool,
    troubled: bool,
    next: Option<Instant>,
}

impl Publication {
    /// Begins a round when it is time and none is under way. A deployment without mail or signpost has none. `machines`
    /// gives those that run.
    pub fn tend<M>(&self, directory: &Path, authority: &Authority, machines: impl FnOnce() -> M)
    where
        M: Iterator<Item = Machine>,
    {
        let mut state = self.state();
        if state.busy || state.next.is_some_and(|next| Instant::now() < next) {
            return;
        }
        state.busy = true;
        let machines: BTreeMap<String, Machine> =
            machines().map(|machine| (machine.name.clone(), machine)).collect();
        let round = Round { state: directory.to_owned(), authority: authority.clone(), machines };
        let own = Publication(self.0.clone());
        std::thread::spawn(move || {
            let done = round.run();
            own.state().end(done);
        });
    }

    /// Something was deployed: the next round comes soon.
    pub fn soon(&self) {
        self.state().next = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&mut self, done: Result<usize, Trouble>) {
        let pause = if matches!(done, Ok(0)) { SELDOM } else { publish::AGAIN };
        (self.busy, self.next) = (false, Some(Instant::now() + pause));
        let troubled = std::mem::replace(&mut self.troubled, done.is_err());
        match done {
            Ok(0) => {}
            Ok(changed) => say("info", "signpost", &format!("{changed} sets of records published")),
            // Said once, not every time.
            Err(_) if troubled => {}
            Err(trouble) => {
                say("warn", "signpost", &format!("the household's records are not in its zone: {trouble}"));
            }
        }
    }
}

struct Round {
    state: PathBuf,
    authority: Authority,
    machines: BTreeMap<String, Machine>,
}

impl Round {
    fn run(&self) -> Result<usize, Trouble> {
        let (Some(mail), Some(signpost)) = (self.machines.get("mail"), self.machines.get("signpost")) else {
            return Ok(0);
        };
        let port = signpost.ports.get("dns").copied().unwrap_or(53);
        let server = SocketAddr::new(signpost.address, port);
        let wanted = self.wanted(mail)?;
        let way = Way { dir: &self.state, domain: &signpost.domain, server, signpost: None };
        place::block_on(async { Ok(publish::bring(&way, &wanted).await?.sets) })
    }

    /// All that should stand in the zone, as lines.
    fn wanted(&self, mail: &Machine) -> Result<String, Trouble> {
        let domain = &mail.domain;
        let mut lines = vec![format!("{domain}. {}", address(mail.address))];
        for machine in self.machines.values() {
            lines.push(format!("{}.{domain}. {}", machine.name, address(machine.address)));
        }
        for (service, name) in [("_carddavs", "contacts"), ("_caldavs", "calendar")] {
            if let Some(machine) = self.machines.get(name) {
                let port = machine.ports.get("web").copied().unwrap_or(443);
                lines.push(format!("{service}._tcp.{domain}. SRV 0 1 {port} {name}.{domain}."));
            }
        }
        lines.extend(["imap", "smtp"].map(|label| format!("{label}.{domain}. CNAME mail.{domain}.")));
        let Some(web) = mail.web() else { return Ok(lines.join("\n") + "\n") };
        let asked = health::ask(web, &self.authority, "/setup/records.json").map_err(Trouble::new)?;
        let told: Value = serde_json::from_str(&asked)
            .map_err(|error| Trouble::new(format!("what mail says of its records is no JSON: {error}")))?;
        for record in told.as_array().into_iter().flatten() {
            let text = |field: &str| record[field].as_str().unwrap_or_default();
            lines.push(format!("{}. {} {}", text("name"), text("kind"), text("data")));
        }
        let host = format!("mail.{domain}");
        if let Some(key) = health::key_of(web, &self.authority, &host).map_err(Trouble::new)? {
            let key = data_encoding::HEXLOWER.encode(&key);
            lines.push(format!("_25._tcp.{host}. TLSA 3 1 1 {key}"));
        }
        Ok(lines.join("\n") + "\n")
    }
}

fn address(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("A {address}"),
        IpAddr::V6(address) => format!("AAAA {address}"),
    }
}

/// A round without changes asks mail twice, which is a machine's work: mail makes no keys after its first minute.
const SELDOM: Duration = Duration::from_secs(300);
