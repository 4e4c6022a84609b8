//! The life of an appliance: options, store, configuration, services, readiness, and the end in good order.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::Store;
use tokio::net::UdpSocket;
use tokio::sync::{broadcast, mpsc};

use crate::accounts::{Account, AccountChange, AccountError, Accounts};
use crate::config::{self, Change, Config, ConfigError, ConfigFiles};
use crate::control::{self, Commands};
use crate::http::{self, Router};
use crate::identity::{Identity, Service};
use crate::limits;
use crate::listen::{self, ListenError, Listener};
use crate::metrics::Metrics;
use crate::options::Options;
use crate::seed::{Ready, Seed, Sibling, Told};
use crate::stop::Stop;
use crate::tls::{self, Authority, Leaf, Tls, TlsError};
use crate::{log, place, web};

/// Whatever ends an appliance early.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Why an appliance cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error("{place} cannot be used: {reason}")]
    Place {
        /// The directory or device.
        place: String,
        /// What the system said.
        reason: String,
    },
    /// The configuration cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The accounts cannot be read.
    #[error(transparent)]
    Accounts(#[from] AccountError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The first line of a supervisor is not a seed.
    #[error("the supervisor's first line is not a seed: {0}")]
    Seed(String),
}

/// Everything an appliance stands on. Cheap to clone.
#[derive(Clone)]
pub struct Chassis(Arc<Inner>);

struct Inner {
    identity: &'static Identity,
    options: Options,
    store: Store,
    files: ConfigFiles,
    accounts: Accounts,
    tls: Tls,
    authority_pem: RwLock<String>,
    domain: String,
    siblings: RwLock<Vec<Sibling>>,
    metrics: Metrics,
    commands: Commands,
    stop: Stop,
    endpoints: Mutex<BTreeMap<String, SocketAddr>>,
    started: Instant,
    /// What still writes after the request to stop.
    last_writes: tokio::sync::Mutex<Vec<tokio::task::JoinHandle<()>>>,
    /// Whether the data was taken back before this start.
    older: bool,
}

impl std::fmt::Debug for Chassis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chassis of {}", self.0.identity.name)
    }
}

/// What all appliances of a household share: `household.toml` on the `config` branch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Household {
    /// The domain of the household.
    pub domain: String,
}

/// Runs an appliance: reads the process's arguments, starts everything, calls `life`, ends in good order.
pub fn run<F, R>(identity: &'static Identity, life: F) -> ExitCode
where
    F: FnOnce(Chassis) -> R,
    R: Future<Output = Result<(), Failure>>,
{
    run_with(identity, std::env::args().skip(1), life)
}

/// The same with given command-line words.
pub fn run_with<F, R>(
    identity: &'static Identity,
    words: impl IntoIterator<Item = String>,
    life: F,
) -> ExitCode
where
    F: FnOnce(Chassis) -> R,
    R: Future<Output = Result<(), Failure>>,
{
    let started = Instant::now();
    #[cfg(feature = "process")]
    crate::process::with_one_heap();
    let options = match Options::parse(words) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{}: {error}", identity.name);
            return ExitCode::from(2);
        }
    };
    log::start(identity.name, options.log_json, options.log_level);
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        let chassis = Chassis::start(identity, options, started).await?;
        life(chassis.clone()).await?;
        chassis.stop().ask("the appliance ended");
        for writing in chassis.0.last_writes.lock().await.drain(..) {
            let _ = tokio::time::timeout(crate::limits::STOP_TIME, writing).await;
        }
        Ok::<(), Failure>(())
    });
    runtime.shutdown_timeout(crate::limits::STOP_TIME);
    match ended {
        Ok(()) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(%error, "cannot go on");
            ExitCode::FAILURE
        }
    }
}

/// One thread on a machine with one processor; more where there are more and the feature `threads` is built in.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    #[cfg(feature = "threads")]
    if let Some(threads) =
        std::thread::available_parallelism().ok().map(usize::from).filter(|count| *count > 1)
    {
        return tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads.min(4))
            .enable_all()
            .build();
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

impl Chassis {
    /// Starts without touching arguments or signals: for `run`, and for tests with [`Options::in_dir`].
    pub async fn start(
        identity: &'static Identity,
        options: Options,
        started: Instant,
    ) -> Result<Chassis, StartError> {
        let mut lines = options.supervised.then(supervisor_lines);
        let seed = match &mut lines {
            Some(lines) => first_seed(lines).await?,
            None => Seed::default(),
        };
        let chassis = Chassis::assemble(identity, options, seed, started).await?;
        chassis.stop().on_signals();
        if let Some(lines) = lines {
            tokio::spawn(chassis.clone().follow(lines));
            tokio::spawn(chassis.clone().tell_accounts());
        }
        if let Some(dir) = &chassis.0.options.dir
            && let Err(error) = control::listen(dir, chassis.commands().clone(), chassis.stop().clone())
        {
            tracing::warn!(%error, dir = %dir.display(), "no control socket");
        }
        Ok(chassis)
    }

    /// Opens an appliance that does not run, for commands: its store, configuration and accounts, no listener.
    ///
    /// # Errors
    /// When the store is in use (the appliance runs: ask its control socket) or cannot be read.
    pub async fn offline(identity: &'static Identity, options: Options) -> Result<Chassis, StartError> {
        Chassis::assemble(identity, options, Seed::default(), Instant::now()).await
    }

    async fn assemble(
        identity: &'static Identity,
        options: Options,
        seed: Seed,
        started: Instant,
    ) -> Result<Chassis, StartError> {
        let store = place::open(identity, &options)?;
        let files = ConfigFiles::of(&store)?;
        let older = files.read(config::OLDER)?.is_some();
        let domain = settled_domain(&files, &options, &seed).await?;
        let (names, addresses) = tls::names_and_addresses(&domain, identity.labels, &options.bind);
        let (leaf, authority_pem) =
            leaf(&files, &domain, seed.leaf, seed.authority_pem, &names, &addresses).await?;
        let chassis = Chassis(Arc::new(Inner {
            identity,
            accounts: Accounts::open(&files)?,
            tls: Tls::new(&leaf)?,
            authority_pem: RwLock::new(authority_pem),
            domain,
            siblings: RwLock::new(seed.siblings),
            metrics: Metrics::default(),
            commands: Commands::default(),
            stop: Stop::default(),
            endpoints: Mutex::default(),
            files,
            store,
            options,
            started,
            last_writes: tokio::sync::Mutex::default(),
            older,
        }));
        chassis.load_certificate();
        tokio::spawn(chassis.clone().follow_config());
        tokio::spawn(crate::room::watch(chassis.store().clone(), chassis.stop().clone()));
        let seen = chassis.accounts().clone().keep_last_use(chassis.store().clone(), chassis.stop().clone());
        chassis.0.last_writes.lock().await.push(tokio::spawn(seen));
        for account in seed.accounts {
            chassis.accounts().adopt(account).await?;
        }
        control::register_own(&chassis);
        Ok(chassis)
    }

    /// Who this appliance is.
    pub fn identity(&self) -> &'static Identity {
        self.0.identity
    }

    /// What it keeps its data in.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// What it was told at its start.
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// The household's domain.
    pub fn domain(&self) -> &str {
        &self.0.domain
    }

    /// The settings of this appliance, `NAME.toml` on the `config` branch.
    pub fn config<T: DeserializeOwned + Serialize + Default>(&self) -> Config<T> {
        Config::at(&self.0.files, format!("{}.toml", self.0.identity.name))
    }

    /// The files of the `config` branch.
    pub fn config_files(&self) -> &ConfigFiles {
        &self.0.files
    }

    /// The accounts.
    pub fn accounts(&self) -> &Accounts {
        &self.0.accounts
    }

    /// The certificates; `plain()` for SMTP and IMAP.
    pub fn tls(&self) -> &Tls {
        &self.0.tls
    }

    /// The local authority's certificate, which clients may import.
    pub fn authority_pem(&self) -> String {
        read(&self.0.authority_pem).clone()
    }

    /// The pages of the other appliances.
    pub fn siblings(&self) -> Vec<Sibling> {
        read(&self.0.siblings).clone()
    }

    /// Counters and gauges.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The commands of the control socket; add your own before `ready`.
    pub fn commands(&self) -> &Commands {
        &self.0.commands
    }

    /// The request to stop.
    pub fn stop(&self) -> &Stop {
        &self.0.stop
    }

    /// Resolves when the machine is to stop: flush, then return from your `run`.
    pub async fn stopping(&self) {
        self.0.stop.asked().await;
    }

    /// Listens on a service of the identity.
    pub async fn listen(&self, service: &str) -> Result<Listener, ListenError> {
        let port = self.port_of(service);
        let places = match self.0.options.device {
            Some(_) => limits::CONNECTIONS_MAX_MACHINE,
            None => limits::CONNECTIONS_MAX,
        };
        let listener = Listener::bind(service, &self.0.options.bind, port, places).await?;
        if let Some(address) = listener.addresses().first() {
            lock(&self.0.endpoints).insert(service.to_owned(), *address);
        }
        Ok(listener)
    }

    /// Binds a UDP socket of a service on each address. Where the system chose the port of `listen` for the same service,
    /// it is that port.
    pub async fn listen_udp(&self, service: &str) -> Result<Vec<UdpSocket>, ListenError> {
        let chosen = self.endpoint(service).map(|address| address.port());
        let port = chosen.unwrap_or_else(|| self.port_of(service));
        let mut sockets = Vec::new();
        for address in &self.0.options.bind {
            sockets.push(listen::bind_udp(service, *address, port).await?);
        }
        Ok(sockets)
    }

    /// Serves these routes and the chassis's own pages over HTTPS on the service `web`, until asked to stop.
    pub async fn http(&self, routes: Router) -> Result<(), ListenError> {
        let listener = self.listen("web").await?;
        let shell = web::Shell::new(self.clone(), routes);
        let answer = move |request| {
            let shell = shell.clone();
            async move { shell.answer(request).await }
        };
        tokio::spawn(http::serve(listener, self.tls().web(), self.stop().clone(), answer));
        Ok(())
    }

    /// Where a service listens, once it does.
    pub fn endpoint(&self, service: &str) -> Option<SocketAddr> {
        lock(&self.0.endpoints).get(service).copied()
    }

    /// Whether the data was taken back to an earlier state since the last start: numbers that were given out since then must
    /// not be given to something else.
    pub fn is_older(&self) -> bool {
        self.0.older
    }

    /// Says that every service listens, and that older data was seen to. Call it once, when it is true.
    pub fn ready(&self) {
        let ready = Ready {
            endpoints: lock(&self.0.endpoints).clone(),
            after_ms: self.0.started.elapsed().as_millis() as u64,
        };
        tracing::info!(after_ms = ready.after_ms, domain = self.domain(), "ready");
        self.tell(&Told::Ready(ready));
        if self.0.older {
            let files = self.0.files.clone();
            tokio::spawn(async move {
                let seen = vec![Change::remove(config::OLDER)];
                if let Err(error) = files.commit("nymote", "Started on the older data", seen).await {
                    tracing::warn!(%error, "the note of older data stays");
                }
            });
        }
    }

    fn tell(&self, told: &Told) {
        if self.0.options.supervised
            && let Ok(line) = serde_json::to_string(told)
        {
            println!("{line}");
        }
    }

    /// What `nymote status` shows.
    pub fn status(&self) -> Value {
        json!({
            "appliance": self.0.identity.name,
            "version": self.0.identity.version,
            "domain": self.domain(),
            "uptime_s": self.0.started.elapsed().as_secs(),
            "pid": std::process::id(),
            "endpoints": *lock(&self.0.endpoints),
            "accounts": self.accounts().all().len(),
        })
    }

    fn port_of(&self, service: &str) -> u16 {
        self.0.identity.service(service).map_or(0, |known: &Service| self.0.options.port(known))
    }

    /// Accounts and certificate are read again after every commit on `config`, whoever made it: a form, a command, a revert.
    async fn follow_config(self) {
        let mut commits = self.0.files.watch();
        loop {
            tokio::select! {
                changed = commits.changed() => if changed.is_err() { return },
                () = self.stopping() => return,
            }
            if let Err(error) = self.accounts().reload() {
                tracing::error!(%error, "the accounts cannot be read; those known before stay");
            }
            self.load_certificate();
        }
    }

    /// Serves the real certificate that is on the `config` branch, if there is one. One that cannot be used changes nothing.
    /// Reading and serving are one step, so that the newest is served in the end, whoever was quicker.
    pub(crate) fn load_certificate(&self) {
        static LOADING: Mutex<()> = Mutex::new(());
        let _loading = lock(&LOADING);
        let text = |path| -> Result<Option<String>, ConfigError> {
            Ok(self.0.files.read(path)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
        };
        let given = match (text(CERTIFICATE), text(CERTIFICATE_KEY)) {
            (Ok(Some(certificate)), Ok(Some(key))) => vec![(certificate, key)],
            (Ok(_), Ok(_)) => Vec::new(),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "the certificate cannot be read");
                return;
            }
        };
        if let Err(error) = self.tls().set_given(&given) {
            tracing::error!(%error, "the certificate cannot be used; the one before stays");
        }
    }

    /// Later lines of a supervisor change what they name; the end of its input means "stop".
    async fn follow(self, mut lines: mpsc::Receiver<String>) {
        while let Some(line) = lines.recv().await {
            match serde_json::from_str::<Seed>(&line) {
                Ok(seed) => self.take(seed).await,
                Err(error) => tracing::warn!(%error, "a line from the supervisor is not a seed"),
            }
        }
        self.stop().ask("the supervisor is gone");
    }

    async fn take(&self, seed: Seed) {
        if !seed.siblings.is_empty() {
            *self.0.siblings.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = seed.siblings;
        }
        if let Some(leaf) = seed.leaf
            && let Err(error) = self.tls().set_local(&leaf)
        {
            tracing::error!(%error, "the supervisor's certificate cannot be used");
        }
        for account in seed.accounts {
            if let Err(error) = self.accounts().adopt(account).await {
                tracing::error!(%error, "an account of the household cannot be taken");
            }
        }
        for user in seed.removed {
            if self.accounts().find(&user).is_some()
                && let Err(error) = self.accounts().remove(&user).await
            {
                tracing::error!(%error, user, "an account of the household cannot be removed");
            }
        }
    }

    /// Tells the supervisor of changes, so that a password made on one appliance's page is good for all.
    async fn tell_accounts(self) {
        let mut changes = self.accounts().changes();
        loop {
            match changes.recv().await {
                Ok(change) => self.tell(&Told::Account(change)),
                Err(broadcast::error::RecvError::Closed) => return,
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    self.accounts().all().into_iter().for_each(|account| {
                        self.tell(&Told::Account(AccountChange::Changed(Box::new(Account::clone(&account)))));
                    });
                }
            }
        }
    }
}

/// Lines of standard input, read by a thread of its own: a read cannot be cancelled, and must not hold up the end.
fn supervisor_lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(4);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    lines
}

async fn first_seed(lines: &mut mpsc::Receiver<String>) -> Result<Seed, StartError> {
    let line = lines.recv().await.ok_or_else(|| StartError::Seed("it ended".to_owned()))?;
    serde_json::from_str(&line).map_err(|error| StartError::Seed(error.to_string()))
}

async fn settled_domain(files: &ConfigFiles, options: &Options, seed: &Seed) -> Result<String, StartError> {
    let household = Config::<Household>::at(files, "household.toml");
    let kept = household.get()?;
    let wanted =
        seed.domain.clone().or(options.domain.clone()).unwrap_or_else(|| match kept.domain.as_str() {
            "" => DEFAULT_DOMAIN.to_owned(),
            domain => domain.to_owned(),
        });
    if kept.domain != wanted {
        let domain = wanted.clone();
        household.change("start", "The household's domain", |household| household.domain = domain).await?;
    }
    Ok(wanted)
}

/// The certificate to serve: the one that we were given, or one of an authority of our own.
async fn leaf(
    files: &ConfigFiles,
    domain: &str,
    given: Option<Leaf>,
    authority_pem: Option<String>,
    names: &[String],
    addresses: &[std::net::IpAddr],
) -> Result<(Leaf, String), StartError> {
    if let (Some(leaf), Some(pem)) = (given, authority_pem) {
        return Ok((leaf, pem));
    }
    if let Some(bytes) = files.read(GIVEN_CERTIFICATE)? {
        let given: GivenCertificate = config::parse(GIVEN_CERTIFICATE, &bytes)?;
        return Ok((given.leaf, given.authority_pem));
    }
    let kept =
        files.read(AUTHORITY)?.map(|bytes| config::parse::<Authority>(AUTHORITY, &bytes)).transpose()?;
    let authority = match kept {
        Some(authority) if authority.domain == domain => authority,
        _ => {
            let made = Authority::create(domain)?;
            let text = config::written(AUTHORITY, &made)?;
            let change = vec![config::Change::put(AUTHORITY, text)];
            files.commit("start", "A local certificate authority", change).await?;
            made
        }
    };
    Ok((authority.issue(names, addresses)?, authority.certificate_pem))
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A certificate that whoever carries the machine has put on its disk: `tls/given.toml` on the `config` branch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GivenCertificate {
    /// The authority that signed it, for people to download.
    pub authority_pem: String,
    /// The certificate and its key.
    pub leaf: Leaf,
}

/// Where it is.
pub const GIVEN_CERTIFICATE: &str = "tls/given.toml";
/// A real certificate, for the names that it holds: a PEM chain and its key.
pub const CERTIFICATE: &str = "tls/certificate.pem";
/// Its key.
pub const CERTIFICATE_KEY: &str = "tls/key.pem";
/// Where an appliance's own authority is, when it has to be its own.
const AUTHORITY: &str = "tls/authority.toml";
/// RFC 8375: the domain of homes that have none of their own.
pub const DEFAULT_DOMAIN: &str = "home.arpa";
