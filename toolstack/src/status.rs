//! `nymote status` and `nymote stop`.

use std::time::{Duration, Instant};

use chassis::control::{CONTROL_SOCKET, Client};
use serde_json::{Value, json};

use crate::household::Household;
use crate::place::{self, Place};
use crate::trouble::Trouble;

/// Shows what runs, since when, and where it answers.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    place: Place,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

/// Stops what `nymote up` started, in good order.
#[derive(Debug, clap::Args)]
pub struct StopArgs {
    #[command(flatten)]
    place: Place,
}

/// Runs `status`.
pub fn run(args: StatusArgs) -> Result<(), Trouble> {
    let dir = args.place.dir();
    let household = Household::open(&dir)?;
    let status = place::block_on(place::status(&dir))?;
    let Some(status) = status else {
        if args.json {
            println!("{}", json!({"running": false, "dir": dir, "domain": household.settings.domain}));
        } else {
            println!(
                "not running: {} at {}  (`nymote up` starts it)",
                dir.display(),
                household.settings.domain
            );
        }
        return Ok(());
    };
    if args.json {
        let mut line = status;
        line["running"] = true.into();
        println!("{line}");
    } else {
        print(&status);
    }
    Ok(())
}

fn print(status: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let uptime = status["uptime_s"].as_u64().unwrap_or_default();
    println!("{} at {}, up for {}", text(&status["dir"]), text(&status["domain"]), span(uptime));
    for one in status["appliances"].as_array().into_iter().flatten() {
        let restarts = one["restarts"].as_u64().unwrap_or_default();
        let pid = one["pid"].as_u64().map_or("-".to_owned(), |pid| pid.to_string());
        let again = match restarts {
            0 => String::new(),
            1 => "  restarted once".to_owned(),
            times => format!("  restarted {times} times"),
        };
        println!("  {:<9} {:<9} process {pid}{again}", text(&one["name"]), text(&one["state"]));
        for (service, at) in one["endpoints"].as_object().into_iter().flatten() {
            println!("            {service:<12} {}", text(at));
        }
        if restarts > 0 && !text(&one["last_error"]).is_empty() {
            println!("            last error: {}", text(&one["last_error"]));
        }
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Runs `stop`: returns when everything has ended.
pub fn stop(args: StopArgs) -> Result<(), Trouble> {
    let dir = args.place.dir();
    place::block_on(async {
        let client = match Client::connect(&dir).await {
            Ok(client) => client,
            Err(chassis::control::ClientError::NotRunning(_)) => {
                println!("nothing runs in {}", dir.display());
                return Ok(());
            }
            Err(error) => return Err(Trouble::new(error.to_string())),
        };
        let pid = client.ask("stop", json!({})).await?["pid"].as_u64().unwrap_or_default();
        let started = Instant::now();
        let alive = || std::path::Path::new(&format!("/proc/{pid}")).exists() && !is_zombie(pid);
        while alive() || dir.join(CONTROL_SOCKET).exists() {
            if started.elapsed() > STOP_TIME {
                return Err(Trouble::new(format!(
                    "process {pid} has not ended after {} s",
                    STOP_TIME.as_secs()
                ))
                .advise(
                    "`nymote logs` says what it does; kill it if it hangs: nothing acknowledged is lost",
                ));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("stopped");
        Ok(())
    })
}

fn is_zombie(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
}

const STOP_TIME: Duration = Duration::from_secs(20);
