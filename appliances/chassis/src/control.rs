//! The control socket: a Unix socket in the data directory that takes commands as JSON lines, and the same commands
//! called in-process when no appliance runs.
//!
//! ```text
//! client   {"command":"status","args":{}}            then, if the command reads any: {"input":…} …, {"end":true}
//! server   {"progress":…} …                          then one of {"ok":…} and {"error":"words"}
//! ```
//! The socket is for its owner only (mode 0600 in a directory of mode 0700): whoever can open it may do everything.

mod commands;
mod socket;

pub(crate) use commands::register_own;
pub use socket::{CONTROL_SOCKET, Client, ClientError, listen};

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, RwLock};

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;

/// A command that is being carried out.
#[derive(Debug)]
pub struct Call {
    args: Value,
    input: mpsc::Receiver<Value>,
    output: mpsc::Sender<Value>,
}

/// Why a command did not do what it should, in words for the person who typed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CommandError(pub String);

impl CommandError {
    /// Any error, in its own words.
    pub fn from_error(error: impl std::fmt::Display) -> CommandError {
        CommandError(error.to_string())
    }
}

/// What a command gives.
pub type Outcome = Result<Value, CommandError>;

type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;
type Command = Arc<dyn Fn(Call) -> Running + Send + Sync>;

/// The commands of an appliance, by name. Cheap to clone.
#[derive(Clone, Default)]
pub struct Commands(Arc<RwLock<BTreeMap<&'static str, Command>>>);

impl Call {
    /// The arguments, as a type.
    pub fn args<T: DeserializeOwned>(&self) -> Result<T, CommandError> {
        serde_json::from_value(self.args.clone())
            .map_err(|error| CommandError(format!("wrong arguments: {error}")))
    }

    /// The next piece of input; `None` at its end.
    pub async fn input(&mut self) -> Option<Value> {
        self.input.recv().await
    }

    /// Tells the caller how far it is, or a part of the result. An error means that nobody listens any more: stop.
    pub async fn progress(&self, value: impl Into<Value>) -> Result<(), CommandError> {
        self.output.send(value.into()).await.map_err(|_| CommandError("the caller is gone".to_owned()))
    }
}

impl Commands {
    /// Adds a command. Names are `noun` or `noun.verb`: `queue.list`.
    pub fn add<F, R>(&self, name: &'static str, command: F)
    where
        F: Fn(Call) -> R + Send + Sync + 'static,
        R: Future<Output = Outcome> + Send + 'static,
    {
        let command: Command = Arc::new(move |call| Box::pin(command(call)));
        self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(name, command);
    }

    /// Whether there is a command of this name: some are there only while the appliance runs.
    pub fn has(&self, name: &str) -> bool {
        self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner()).contains_key(name)
    }

    /// Carries a command out. `input` feeds it, `output` takes what it reports on its way.
    pub async fn call(
        &self,
        name: &str,
        args: Value,
        input: mpsc::Receiver<Value>,
        output: mpsc::Sender<Value>,
    ) -> Outcome {
        let command = {
            let commands = self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner());
            commands.get(name).cloned()
        };
        match command {
            Some(command) => command(Call { args, input, output }).await,
            None => Err(CommandError(format!("this appliance has no command {name:?}"))),
        }
    }

    /// Carries out a command without input, and drops what it reports on its way.
    pub async fn ask(&self, name: &str, args: Value) -> Outcome {
        let (_, input) = mpsc::channel(1);
        let (output, mut dropped) = mpsc::channel(8);
        tokio::spawn(async move { while dropped.recv().await.is_some() {} });
        self.call(name, args, input, output).await
    }
}

impl std::fmt::Debug for Commands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Commands")
    }
}
