//! An appliance's part of the `nymote` command: its words, and how they reach it (running or not).

use std::path::PathBuf;
use std::pin::Pin;

use serde_json::Value;
use tokio::sync::mpsc;

use crate::control::{Client, CommandError, Outcome};
use crate::run::Chassis;

/// What an appliance adds to `nymote`.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// Its words: `nymote NAME …`.
    pub command: fn() -> clap::Command,
    /// Carries out what was typed; prints for people, or JSON where its own `--json` says so.
    pub run: fn(clap::ArgMatches, Reach) -> Pin<Box<dyn Future<Output = Result<(), CommandError>>>>,
    /// Adds its control commands to an appliance that does not run.
    pub register: fn(&Chassis),
}

/// The way to an appliance's commands.
#[derive(Debug, Clone)]
pub enum Reach {
    /// It runs; its control socket is in this directory.
    Running(PathBuf),
    /// It does not run; its store is open in this process.
    Offline(Chassis),
}

impl Reach {
    /// Carries out a command without input.
    pub async fn ask(&self, name: &str, args: Value) -> Outcome {
        let (_, input) = mpsc::channel(1);
        self.call(name, args, input, |_| ()).await
    }

    /// Carries out a command that reads `input` and reports to `progress`.
    pub async fn call(
        &self,
        name: &str,
        args: Value,
        input: mpsc::Receiver<Value>,
        mut progress: impl FnMut(Value),
    ) -> Outcome {
        match self {
            Reach::Running(dir) => {
                let client = Client::connect(dir).await.map_err(CommandError::from_error)?;
                client.call(name, args, input, progress).await
            }
            Reach::Offline(chassis) if !chassis.commands().has(name) => Err(CommandError(format!(
                "{} does not run, and answers this only while it does: start it with `nymote up`",
                chassis.identity().name
            ))),
            Reach::Offline(chassis) => {
                let (output, mut reported) = mpsc::channel(8);
                let running = chassis.commands().call(name, args, input, output);
                tokio::pin!(running);
                loop {
                    tokio::select! {
                        outcome = &mut running => {
                            while let Ok(value) = reported.try_recv() {
                                progress(value);
                            }
                            return outcome;
                        }
                        Some(value) = reported.recv() => progress(value),
                    }
                }
            }
        }
    }
}
