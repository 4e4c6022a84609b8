//! The supervisor: four children, their readiness, their accounts in step, and the control socket of the household.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chassis::accounts::{Account, AccountChange};
use chassis::control::{self, Client, CommandError, Commands, Outcome};
use chassis::seed::{Seed, Sibling, Told};
use chassis::stop::Stop;
use chassis::tls;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::child::{self, Event, Order, Recipe};
use super::journal::Journal;
use super::ports;
use crate::household::Household;
use crate::suite::SUITE;
use crate::trouble::Trouble;

/// The suite, running.
pub struct Supervisor {
    household: Household,
    children: Vec<Watched>,
    events: mpsc::UnboundedReceiver<Event>,
    told: mpsc::UnboundedSender<Event>,
    requests: mpsc::UnboundedReceiver<Request>,
    journal: Journal,
    stop: Stop,
    started: Instant,
}

/// What is known of a child.
struct Watched {
    name: &'static str,
    title: &'static str,
    words: Arc<Mutex<Vec<String>>>,
    orders: mpsc::UnboundedSender<Order>,
    pid: Option<u32>,
    endpoints: Option<BTreeMap<String, SocketAddr>>,
    restarts: u32,
    last_error: String,
    stopped: bool,
}

enum Request {
    Status(oneshot::Sender<Value>),
    Pause(String, oneshot::Sender<Result<oneshot::Sender<()>, String>>),
}

/// One household, one supervisor.
pub fn refuse_second(dir: &Path) -> Result<(), Trouble> {
    let socket = dir.join(control::CONTROL_SOCKET);
    if socket.exists() && std::os::unix::net::UnixStream::connect(&socket).is_ok() {
        return Err(Trouble::new(format!("nymote is up already in {}", dir.display())).advise(
            "`nymote status` shows it, `nymote stop` ends it; another household needs another --dir",
        ));
    }
    Ok(())
}

impl Supervisor {
    /// Starts the four, all at once.
    pub fn start(
        household: &Household,
        accounts: Vec<Account>,
        journal: Journal,
        log_level: &str,
    ) -> Result<Supervisor, Trouble> {
        let (told, events) = mpsc::unbounded_channel();
        let (asked, requests) = mpsc::unbounded_channel();
        let stop = Stop::default();
        stop.on_signals();
        control::listen(&household.dir, commands(asked, &stop), stop.clone())
            .map_err(|error| Trouble::io("listen on", &household.dir.join(control::CONTROL_SOCKET), error))?;
        let mut children = Vec::new();
        for (place, member) in SUITE.iter().enumerate() {
            let words = Arc::new(Mutex::new(words(household, member.identity.name, log_level)));
            let (orders, taken) = mpsc::unbounded_channel();
            let seed = seed(household, member.identity, accounts.clone())?;
            let recipe = Recipe { place, words: words.clone(), name: member.identity.name, seed };
            tokio::spawn(child::keep(recipe, told.clone(), taken));
            children.push(Watched {
                name: member.identity.name,
                title: member.identity.title,
                words,
                orders,
                pid: None,
                endpoints: None,
                restarts: 0,
                last_error: String::new(),
                stopped: false,
            });
        }
        let household = household.clone();
        Ok(Supervisor { household, children, events, told, requests, journal, stop, started: Instant::now() })
    }

    /// Waits until all four answer. One that ends before is the end of all, with its last words.
    pub async fn until_ready(&mut self) -> Result<(), Trouble> {
        let late = tokio::time::sleep(READY_TIME);
        tokio::pin!(late);
        while self.children.iter().any(|child| child.endpoints.is_none()) {
            let stop = self.stop.clone();
            tokio::select! {
                Some(event) = self.events.recv() => {
                    let failed = match &event {
                        Event::Ended(place, how, _) => Some((*place, how.clone())),
                        _ => None,
                    };
                    self.take(event);
                    if let Some((place, how)) = failed {
                        let (name, why) = (self.children[place].name, self.children[place].last_error.clone());
                        self.end_all().await;
                        return Err(Trouble::new(format!("{name} {how} before it was ready")).advise(why));
                    }
                }
                Some(request) = self.requests.recv() => self.answer(request),
                _ = stop.asked() => {
                    self.end_all().await;
                    return Err(Trouble::new("stopped before everything was ready"));
                }
                () = &mut late => {
                    let missing: Vec<&str> =
                        self.children.iter().filter(|child| child.endpoints.is_none()).map(|child| child.name).collect();
                    self.end_all().await;
                    return Err(Trouble::new(format!("no answer from {} in {} s", missing.join(", "), READY_TIME.as_secs()))
                        .advise("`nymote logs` says what they did"));
                }
            }
        }
        let siblings = self.siblings();
        for child in &self.children {
            let seed = Seed { siblings: siblings.clone(), ..Seed::default() };
            let _ = child.orders.send(Order::Seed(Box::new(seed)));
        }
        self.publish();
        Ok(())
    }

    /// Keeps the household's records in its own zone, beside everything else.
    fn publish(&self) {
        let told = self.told.clone();
        let say = move |level, words| drop(told.send(Event::Said(level, words)));
        tokio::spawn(crate::dns::publish::keep(self.household.clone(), self.endpoints(), say));
    }

    /// Goes on until somebody asks for the end, then ends all in good order.
    pub async fn until_stopped(&mut self) -> Result<(), Trouble> {
        let stop = self.stop.clone();
        let why = loop {
            tokio::select! {
                Some(event) = self.events.recv() => self.take(event),
                Some(request) = self.requests.recv() => self.answer(request),
                why = stop.asked() => break why,
            }
        };
        self.journal.say("nymote", "info", &format!("stopping ({why})"));
        self.end_all().await;
        self.journal.say("nymote", "info", "stopped");
        Ok(())
    }

    /// Login names and addresses of the accounts.
    pub async fn accounts(&self) -> Vec<(String, String)> {
        let listed = match Client::connect(&self.household.of("mail")).await {
            Ok(client) => client.ask("account.list", json!({})).await.unwrap_or_default(),
            Err(_) => Value::Null,
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        listed
            .as_array()
            .into_iter()
            .flatten()
            .map(|one| (text(&one["user"]), text(&one["address"])))
            .collect()
    }

    /// Where everything answers, by the names that `--json` promises.
    pub fn endpoints(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for child in &self.children {
            for (service, address) in child.endpoints.iter().flatten() {
                let address = reachable(*address);
                match service.as_str() {
                    "web" => all.insert(child.name.to_owned(), format!("https://{address}")),
                    other => all.insert(other.to_owned(), address.to_string()),
                };
            }
        }
        all
    }

    fn siblings(&self) -> Vec<Sibling> {
        let web = |child: &Watched| child.endpoints.as_ref().and_then(|all| all.get("web")).copied();
        self.children
            .iter()
            .filter_map(|child| {
                let url = format!("https://{}/", reachable(web(child)?));
                Some(Sibling { name: child.name.to_owned(), title: child.title.to_owned(), url })
            })
            .collect()
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Started(place, pid) => self.children[place].pid = Some(pid),
            Event::Stopped(place) => self.children[place].stopped = true,
            Event::Said(level, words) => self.journal.say("nymote", level, &words),
            Event::Log(place, line) => {
                let child = &mut self.children[place];
                if let Some(error) = error_of(&line) {
                    child.last_error = error;
                }
                self.journal.line(child.name, &line);
            }
            Event::Told(place, Told::Ready(ready)) => {
                let child = &mut self.children[place];
                let mut words = child.words.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                if self.household.settings.base_port == Some(0) && child.endpoints.is_none() {
                    words.extend(
                        ready.endpoints.iter().map(|(name, at)| format!("--port={name}={}", at.port())),
                    );
                }
                drop(words);
                let again = child.endpoints.replace(ready.endpoints).is_some();
                let siblings = if again { self.siblings() } else { Vec::new() };
                let _ = self.children[place]
                    .orders
                    .send(Order::Seed(Box::new(Seed { siblings, ..Seed::default() })));
            }
            Event::Told(place, Told::Account(change)) => self.spread(place, &change),
            Event::Ended(place, how, pause) => {
                let child = &mut self.children[place];
                child.pid = None;
                child.restarts += 1;
                let text = format!("{how}; it is started again in {} ms", pause.as_millis());
                self.journal.say(child.name, "error", &text);
            }
        }
    }

    /// An account that was changed on one appliance is the same on all.
    fn spread(&self, from: usize, change: &AccountChange) {
        let seed = match change {
            AccountChange::Changed(account) => {
                Seed { accounts: vec![Account::clone(account)], ..Seed::default() }
            }
            AccountChange::Removed(user) => Seed { removed: vec![user.clone()], ..Seed::default() },
        };
        for (place, child) in self.children.iter().enumerate() {
            if place != from {
                let _ = child.orders.send(Order::Seed(Box::new(seed.clone())));
            }
        }
    }

    fn answer(&self, request: Request) {
        match request {
            Request::Status(reply) => drop(reply.send(self.status())),
            Request::Pause(name, reply) => {
                let Some(child) = self.children.iter().find(|child| child.name == name) else {
                    let _ = reply.send(Err(format!("there is no appliance {name:?}")));
                    return;
                };
                let (paused, resume) = oneshot::channel();
                let _ = child.orders.send(Order::Pause(paused));
                tokio::spawn(async move {
                    let resume = resume.await.map_err(|_| "it stopped".to_owned());
                    let _ = reply.send(resume);
                });
            }
        }
    }

    fn status(&self) -> Value {
        let children: Vec<Value> = self
            .children
            .iter()
            .map(|child| {
                let state = match (&child.endpoints, child.pid) {
                    (_, None) => "down",
                    (None, Some(_)) => "starting",
                    (Some(_), Some(_)) => "up",
                };
                json!({
                    "name": child.name, "state": state, "pid": child.pid, "restarts": child.restarts,
                    "endpoints": child.endpoints, "last_error": child.last_error,
                })
            })
            .collect();
        json!({
            "dir": self.household.dir,
            "domain": self.household.settings.domain,
            "pid": std::process::id(),
            "uptime_s": self.started.elapsed().as_secs(),
            "appliances": children,
            "endpoints": self.endpoints(),
        })
    }

    /// Tells all to stop and waits until they have.
    async fn end_all(&mut self) {
        for child in &self.children {
            let _ = child.orders.send(Order::Stop);
        }
        while self.children.iter().any(|child| !child.stopped) {
            match self.events.recv().await {
                Some(event) => self.take(event),
                None => return,
            }
        }
    }
}

fn commands(asked: mpsc::UnboundedSender<Request>, stop: &Stop) -> Commands {
    let commands = Commands::default();
    let gone = |_| CommandError("the supervisor is stopping".to_owned());
    let status = asked.clone();
    commands.add("status", move |_| {
        let (reply, answer) = oneshot::channel();
        let _ = status.send(Request::Status(reply));
        async move { answer.await.map_err(gone) }
    });
    let stop = stop.clone();
    commands.add("stop", move |_| {
        stop.ask("nymote stop");
        async { Ok(json!({"pid": std::process::id()})) }
    });
    // Stops one appliance, says so, and starts it again when the caller ends its input or goes away.
    commands.add("pause", move |mut call| {
        let asked = asked.clone();
        async move {
            #[derive(serde::Deserialize)]
            struct Which {
                appliance: String,
            }
            let which: Which = call.args()?;
            let (reply, answer) = oneshot::channel();
            let _ = asked.send(Request::Pause(which.appliance, reply));
            let resume = answer.await.map_err(gone)?.map_err(CommandError)?;
            call.progress("paused").await?;
            while call.input().await.is_some() {}
            let _ = resume.send(());
            Outcome::Ok(json!({"resumed": true}))
        }
    });
    commands
}

fn words(household: &Household, name: &str, log_level: &str) -> Vec<String> {
    let bind: Vec<String> = household.settings.bind.iter().map(IpAddr::to_string).collect();
    let mut words = vec![
        "--supervised".to_owned(),
        "--log=json".to_owned(),
        format!("--log-level={log_level}"),
        format!("--dir={}", household.of(name).display()),
        format!("--bind={}", bind.join(",")),
    ];
    words.push(match ports::chosen(&household.settings) {
        chassis::options::Ports::Base(base) => format!("--base-port={base}"),
        _ => "--shared-ports".to_owned(),
    });
    words
}

fn seed(
    household: &Household,
    identity: &chassis::Identity,
    accounts: Vec<Account>,
) -> Result<Seed, Trouble> {
    let domain = &household.settings.domain;
    let (names, mut addresses) = tls::names_and_addresses(domain, identity.labels, &household.settings.bind);
    addresses.extend(
        household.settings.bind.iter().filter(|one| one.is_unspecified()).filter_map(|one| outward(*one)),
    );
    let key = household.leaf_key(identity.name)?;
    let leaf = household.authority.issue_for(&key, &names, &addresses);
    let leaf = leaf.map_err(|error| Trouble::new(error.to_string()))?;
    Ok(Seed {
        domain: Some(domain.clone()),
        leaf: Some(leaf),
        authority_pem: Some(household.authority.certificate_pem.clone()),
        accounts,
        ..Seed::default()
    })
}

/// Where somebody else reaches an address that we are bound to: itself, or this machine's own for "every address".
pub fn reachable(at: SocketAddr) -> SocketAddr {
    if !at.ip().is_unspecified() {
        return at;
    }
    let loopback =
        if at.is_ipv4() { IpAddr::from([127, 0, 0, 1]) } else { std::net::Ipv6Addr::LOCALHOST.into() };
    SocketAddr::new(outward(at.ip()).unwrap_or(loopback), at.port())
}

/// The address that this machine has towards the world. Asks the routing table; sends nothing.
fn outward(family: IpAddr) -> Option<IpAddr> {
    let (from, to) = match family {
        IpAddr::V4(_) => ("0.0.0.0:0", "192.0.2.1:9"),
        IpAddr::V6(_) => ("[::]:0", "[2001:db8::1]:9"),
    };
    let socket = UdpSocket::bind(from).ok()?;
    socket.connect(to).ok()?;
    socket.local_addr().ok().map(|at| at.ip())
}

/// The words of an error line, for the moment when a child ends.
fn error_of(line: &str) -> Option<String> {
    let Ok(parsed) = serde_json::from_str::<Value>(line) else { return Some(line.to_owned()) };
    if parsed["level"] != "error" {
        return None;
    }
    let message = parsed["message"].as_str().unwrap_or_default();
    Some(match parsed["error"].as_str() {
        Some(error) => format!("{message}: {error}"),
        None => message.to_owned(),
    })
}

/// A first start takes two seconds on a slow machine; a store that replays a long log may take longer.
const READY_TIME: Duration = Duration::from_secs(60);
