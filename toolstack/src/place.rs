//! Reaching a household from the command line: its directory, its supervisor, its appliances.

use std::path::{Path, PathBuf};

use chassis::Chassis;
use chassis::command::Reach;
use chassis::control::{Client, ClientError};
use serde_json::{Value, json};

use crate::household;
use crate::suite::Member;
use crate::trouble::Trouble;

/// Which household is meant.
#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// The household's directory [default: NYMOTE_DIR, or nymote in your data directory]
    #[arg(long = "dir", value_name = "DIR", global = true)]
    given: Option<PathBuf>,
}

impl Place {
    /// Adds `--dir` to a command.
    pub fn augment(command: clap::Command) -> clap::Command {
        // clap would describe the command by our own words on `Place`.
        let about = command.get_about().cloned().unwrap_or_default();
        let long = command.get_long_about().cloned().unwrap_or_else(|| about.clone());
        <Place as clap::Args>::augment_args(command).about(about).long_about(long)
    }

    /// The directory, absolute.
    pub fn dir(&self) -> PathBuf {
        let dir = self.given.clone().unwrap_or_else(household::default_dir);
        std::path::absolute(&dir).unwrap_or(dir)
    }
}

/// Runs a future to its end on a small runtime.
pub fn block_on<T>(future: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime
        .map_err(|error| Trouble::new(format!("the system gives no event queue: {error}")))?
        .block_on(future)
}

/// What the supervisor says; `None` when none runs.
pub async fn status(dir: &Path) -> Result<Option<Value>, Trouble> {
    match Client::connect(dir).await {
        Ok(client) => Ok(Some(client.ask("status", json!({})).await?)),
        Err(ClientError::NotRunning(_)) => Ok(None),
        Err(error) => Err(Trouble::new(error.to_string())),
    }
}

/// The way to an appliance of the household: its control socket, or its store when it does not run.
pub async fn reach(dir: &Path, member: &'static Member) -> Result<Reach, Trouble> {
    let own = dir.join(member.identity.name);
    match Client::connect(&own).await {
        Ok(_) => return Ok(Reach::Running(own)),
        Err(ClientError::NotRunning(_)) => {}
        Err(error) => return Err(Trouble::new(error.to_string())),
    }
    household::Household::open(dir)?; // a clear word when there is no household at all
    let mut options = chassis::Options::in_dir(&own);
    options.log_level = chassis_level();
    let chassis = Chassis::offline(member.identity, options).await.map_err(|error| {
        Trouble::new(error.to_string())
            .advise(format!("{} does not run; its store is opened directly", member.identity.name))
    })?;
    if let Some(part) = &member.part {
        (part.register)(&chassis);
    }
    Ok(Reach::Offline(chassis))
}

fn chassis_level() -> chassis::options::Level {
    chassis::options::Level::WARN
}
