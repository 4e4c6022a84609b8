//! `nymote doctor`: what is well, what is not, and what to do about it.

use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use chassis::tls::Authority;
use serde_json::{Value, json};

use crate::household::Household;
use crate::place::{self, Place};
use crate::trouble::Trouble;

/// Looks at the household as a careful friend would: files, space, appliances, certificate, clock, DNS, the way out.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// Ask nobody outside of this machine
    #[arg(long)]
    offline: bool,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

/// One look.
struct Finding {
    well: bool,
    what: String,
    advice: String,
}

fn well(what: impl Into<String>) -> Finding {
    Finding { well: true, what: what.into(), advice: String::new() }
}

fn ill(what: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { well: false, what: what.into(), advice: advice.into() }
}

/// Runs it. Fails when something is not well.
pub fn run(args: Args) -> Result<(), Trouble> {
    let household = Household::open(&args.place.dir())?;
    let status = place::block_on(place::status(&household.dir))?;
    let mut findings = vec![privacy(&household.dir), space(&household.dir), clock()];
    findings.extend(appliances(&household.authority, status.as_ref()));
    if !args.offline {
        findings.push(names(&household.settings.domain));
        findings.push(way_out());
    }
    let ill = findings.iter().filter(|finding| !finding.well).count();
    if args.json {
        let line: Vec<Value> = findings
            .iter()
            .map(|one| json!({"well": one.well, "what": one.what, "advice": one.advice}))
            .collect();
        println!("{}", Value::from(line));
    } else {
        for one in &findings {
            println!("{} {}", if one.well { "ok  " } else { "LOOK" }, one.what);
            if !one.advice.is_empty() {
                println!("       {}", one.advice);
            }
        }
    }
    if ill == 0 { Ok(()) } else { Err(Trouble::new(format!("{ill} of {} need a look", findings.len()))) }
}

fn privacy(dir: &Path) -> Finding {
    let open: Vec<&str> = ["", "ca.key", "nymote.json"]
        .into_iter()
        .filter(|name| std::fs::metadata(dir.join(name)).is_ok_and(|metadata| metadata.mode() & 0o077 != 0))
        .collect();
    match open.first() {
        None => well("the directory and its keys are yours alone"),
        Some(name) => {
            let path = dir.join(name);
            ill(format!("others may read {}", path.display()), format!("chmod go= {}", path.display()))
        }
    }
}

fn space(dir: &Path) -> Finding {
    let mut command = std::process::Command::new("df");
    let Ok((_, out, _)) = crate::git::within(command.arg("-Pk").arg(dir), Duration::from_secs(10)) else {
        return ill("df does not answer", "look at the disk by hand");
    };
    let text = String::from_utf8_lossy(&out).into_owned();
    let free_kb = text.lines().nth(1).and_then(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok());
    match free_kb.unwrap_or(0) >> 10 {
        0..256 => ill(
            format!("only {} MB are free for {}", free_kb.unwrap_or(0) >> 10, dir.display()),
            "make room: a full disk refuses new mail (452) until there is some",
        ),
        free => well(format!("{free} MB are free")),
    }
}

fn clock() -> Finding {
    let year = chassis::clock::Civil::of(chassis::clock::now_ms()).year;
    if (2026..2100).contains(&year) {
        well("the clock is plausible")
    } else {
        ill(format!("the clock says {year}"), "set it (NTP): certificates and signatures depend on it")
    }
}

fn appliances(authority: &Authority, status: Option<&Value>) -> Vec<Finding> {
    let Some(status) = status else {
        return vec![ill("nothing runs", "`nymote up` starts it")];
    };
    let look = |one: &Value| {
        let name = one["name"].as_str().unwrap_or_default();
        let restarts = one["restarts"].as_u64().unwrap_or_default();
        let web = one["endpoints"]["web"].as_str().and_then(|at| at.parse().ok());
        match web.map(|at| crate::host::health(crate::up::reachable(at), authority, name)) {
            Some(Ok(())) if restarts == 0 => well(format!("{name} is healthy")),
            Some(Ok(())) => ill(
                format!("{name} is healthy, but was started again {restarts} times"),
                format!("`nymote logs {name} --level error` says why"),
            ),
            Some(Err(why)) => {
                ill(format!("{name} is not healthy: {why}"), format!("`nymote logs {name}` says more"))
            }
            None => ill(
                format!("{name} is {}", one["state"].as_str().unwrap_or("down")),
                format!("`nymote logs {name}` says more"),
            ),
        }
    };
    status["appliances"].as_array().into_iter().flatten().map(look).collect()
}

fn names(domain: &str) -> Finding {
    if domain == chassis::run::DEFAULT_DOMAIN {
        return well("the domain is the home's own (home.arpa); the world's DNS has nothing to know");
    }
    match (format!("mail.{domain}"), 25).to_socket_addrs() {
        Ok(mut addresses) => well(format!(
            "mail.{domain} is {} in the DNS",
            addresses.next().map_or("nowhere".to_owned(), |at| at.ip().to_string())
        )),
        Err(_) => ill(format!("mail.{domain} is not in the DNS"), "`nymote dns` prints the records to set"),
    }
}

/// Many homes cannot send mail directly: their provider closes port 25.
fn way_out() -> Finding {
    let target = ("gmail-smtp-in.l.google.com", 25).to_socket_addrs().ok().and_then(|mut all| all.next());
    match target.map(|at| TcpStream::connect_timeout(&at, Duration::from_secs(3))) {
        Some(Ok(_)) => well("port 25 is open to the outside: mail can be delivered directly"),
        _ => ill(
            "port 25 is closed to the outside, or there is no way out",
            "mail inside the household works; for mail to others ask your provider, or set a smart host",
        ),
    }
}
