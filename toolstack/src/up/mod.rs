//! `nymote up`: the four appliances under one supervisor, from an empty directory to an answer.

mod child;
mod journal;
mod ports;
mod screen;
mod supervisor;

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Instant;

use chassis::accounts::Account;
use serde_json::json;

pub use journal::{Filter, LOG_DIR, LOG_FILE, paint};
pub use supervisor::reachable;

use crate::household::{self, Household, Wishes};
use crate::trouble::Trouble;
use supervisor::Supervisor;

/// Starts mail, contacts, calendar and signpost, and keeps them running until Ctrl-C or `nymote stop`.
///
/// The first start makes the directory, a certificate authority, an account and its password, which is shown once.
/// Later starts go on where the last one ended, with the same addresses unless told otherwise.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where everything is kept [default: NYMOTE_DIR, or nymote in your data directory]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The household's domain; home.arpa until you have one. Fixed by the first start
    #[arg(long)]
    domain: Option<String>,
    /// Addresses to listen on, with commas between them [default: 127.0.0.1; with --public: 0.0.0.0]
    #[arg(long, value_delimiter = ',')]
    bind: Option<Vec<IpAddr>>,
    /// Services listen on this plus their well-known port: 10143 for IMAP; 0 lets the system choose [default: 10000]
    #[arg(long, conflicts_with = "public")]
    base_port: Option<u16>,
    /// The real ports (25, 143, 443, 53 …), for a machine on the internet
    #[arg(long)]
    public: bool,
    /// The first account's login name [default: your own, or owner]
    #[arg(long)]
    user: Option<String>,
    /// Print one line of JSON once all answer, nothing else
    #[arg(long)]
    json: bool,
    /// Show only these appliances' logs (all are kept): --only mail,signpost
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// The least level to show and keep: error, warn, info, debug
    #[arg(long, default_value = "info")]
    log_level: String,
    /// No log lines after the screen; `nymote logs` has them
    #[arg(long)]
    quiet: bool,
}

const EXAMPLES: &str = "Examples:
  nymote up                                  try it: everything on this machine alone
  nymote up --bind 192.168.1.10              for the phones of the house too
  nymote up --domain example.org --public    on the internet, with the real ports
  nymote up --dir /tmp/try --base-port 0     a second one beside it, on free ports";

/// Runs it.
pub fn run(args: Args) -> Result<(), Trouble> {
    let started = Instant::now();
    let dir = args.dir.clone().unwrap_or_else(household::default_dir);
    let dir = std::path::absolute(&dir).map_err(|error| Trouble::io("find", &dir, error))?;
    check_wishes(&args)?;
    let wishes = Wishes {
        domain: args.domain.clone(),
        bind: args.bind.clone(),
        base_port: args.base_port,
        public: args.public,
    };
    supervisor::refuse_second(&dir)?;
    let household = Household::open_or_make(&dir, &wishes, ports::check)?;
    allow_descriptors();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Trouble::new(format!("the system gives no event queue: {error}")))?;
    runtime.block_on(keep(args, household, started))
}

async fn keep(args: Args, household: Household, started: Instant) -> Result<(), Trouble> {
    let first = if household.new { Some(first_account(&args, &household)?) } else { None };
    let accounts: Vec<Account> = first.iter().map(|(account, _)| account.clone()).collect();
    let filter = Filter { only: args.only.clone(), level: args.log_level.clone() };
    let shown = if args.json || args.quiet { None } else { Some(filter) };
    let journal = journal::Journal::open(&household.dir, shown)?;
    let mut supervisor = Supervisor::start(&household, accounts, journal, &args.log_level)?;
    supervisor.until_ready().await?;
    let accounts = supervisor.accounts().await;
    let password = first.map(|(account, password)| (account.user, password));
    if args.json {
        print_json(&household, &supervisor, &accounts, password.as_ref())?;
    } else {
        screen::print(&household, &supervisor, &accounts, password.as_ref(), started.elapsed());
    }
    household.was_up()?;
    supervisor.until_stopped().await
}

/// Lets the appliances, which inherit it, hold more connections than the 1,024 descriptors that a shell allows. A system
/// that says no is taken at its word: the appliances then let connections wait.
fn allow_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((now, most)) = getrlimit(Resource::RLIMIT_NOFILE)
        && now < DESCRIPTORS
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS.min(most), most);
    }
}

/// The account that the first start makes. Its verifiers are derived once, here, and given to all four.
fn first_account(args: &Args, household: &Household) -> Result<(Account, String), Trouble> {
    let own = || {
        std::env::var("USER")
            .ok()
            .filter(|user| user != "root" && chassis::accounts::check_user(user).is_ok())
    };
    let user = args.user.clone().or_else(own).unwrap_or_else(|| "owner".to_owned());
    let password = chassis::accounts::new_password();
    let mut account = Account::new(&user, &format!("{user}@{}", household.settings.domain), &password);
    account.admin = true;
    Ok((account, password))
}

fn print_json(
    household: &Household,
    supervisor: &Supervisor,
    accounts: &[(String, String)],
    password: Option<&(String, String)>,
) -> Result<(), Trouble> {
    let accounts: Vec<_> = accounts
        .iter()
        .map(|(user, address)| {
            let shown = password.filter(|(owner, _)| owner == user).map(|(_, password)| password.as_str());
            json!({"user": user, "address": address, "password": shown})
        })
        .collect();
    let line = json!({
        "ready": true,
        "dir": household.dir,
        "domain": household.settings.domain,
        "ca": household.ca_path(),
        "accounts": accounts,
        "endpoints": supervisor.endpoints(),
    });
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| Trouble::new(format!("standard output is closed: {error}")))
}

fn check_wishes(args: &Args) -> Result<(), Trouble> {
    if let Some(domain) = &args.domain {
        household::check_domain(domain)?;
    }
    if let Some(user) = &args.user {
        chassis::accounts::check_user(user)
            .map_err(|reason| Trouble::new(format!("--user {user}: {reason}")))?;
    }
    if let Some(base) = args.base_port
        && base != 0
        && !(1024..=64_000).contains(&base)
    {
        return Err(Trouble::new(format!("--base-port {base} leaves no room for unprivileged ports"))
            .advise("use 1024 to 64000, 0 for any free ports, or --public for the real ones"));
    }
    if !["error", "warn", "info", "debug", "trace"].contains(&args.log_level.as_str()) {
        return Err(Trouble::new(format!(
            "--log-level {:?} is none of error, warn, info, debug",
            args.log_level
        )));
    }
    for name in &args.only {
        if crate::suite::member(name).is_none() {
            return Err(Trouble::new(format!(
                "--only {name:?} is none of mail, contacts, calendar, signpost"
            )));
        }
    }
    Ok(())
}

/// Six listeners of 2,000 connections, and the files beside them.
const DESCRIPTORS: u64 = 16_384;
