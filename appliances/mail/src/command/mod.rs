//! `nymote mail …`: the queue, one message's trace, accounts, aliases, DNS records, import and export.

mod files;
mod imap;
mod transfer;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chassis::command::{Part, Reach};
use chassis::control::CommandError;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;

/// What this appliance adds to `nymote`.
pub static PART: Part =
    Part { command, run: |matches, reach| Box::pin(run(matches, reach)), register: |_| {} };

fn command() -> Command {
    let id = || Arg::new("id").required(true).value_name("ID").help("As `queue` shows it");
    let json =
        Arg::new("json").long("json").action(ArgAction::SetTrue).global(true).help("Answers for programs");
    Command::new("mail")
        .about("Mail: queue, trace, accounts, aliases, import, export")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(json)
        .subcommand(Command::new("queue").about("What waits to be sent"))
        .subcommand(
            Command::new("retry")
                .about("Tries queued mail now")
                .arg(id().required(false).help("One message; all without it")),
        )
        .subcommand(Command::new("drop").about("Takes a message out of the queue and tells nobody").arg(id()))
        .subcommand(Command::new("show").about("Writes a queued message to standard output").arg(id()))
        .subcommand(
            Command::new("trace")
                .about("What happened to a message")
                .arg(id().help("Message-ID, or an id of Received or queue")),
        )
        .subcommand(Command::new("accounts").about("Accounts, their mail, and other servers that hold them"))
        .subcommand(Command::new("aliases").about("Aliases and where they lead"))
        .subcommand(
            Command::new("alias")
                .about("Sets an alias; without targets it is removed")
                .arg(Arg::new("alias").required(true).value_name("ADDRESS"))
                .arg(Arg::new("targets").num_args(0..).value_name("TARGET").help("Accounts or addresses")),
        )
        .subcommand(
            Command::new("settings")
                .about("Shows mail.toml as it is in force, or replaces it")
                .arg(Arg::new("file").value_name("FILE").help("The new mail.toml")),
        )
        .subcommand(Command::new("dns").about("The DNS records that mail needs"))
        .subcommand(transfer::import_command())
        .subcommand(transfer::import_imap_command())
        .subcommand(
            Command::new("export")
                .about("Writes an account's mailboxes as Maildirs")
                .arg(Arg::new("user").required(true).value_name("ACCOUNT"))
                .arg(Arg::new("path").required(true).value_name("DIR").help("A directory that is made")),
        )
}

async fn run(matches: ArgMatches, reach: Reach) -> Result<(), CommandError> {
    let as_json = matches.get_flag("json");
    let Some((verb, m)) = matches.subcommand() else { return Err(CommandError("say what to do".into())) };
    let text = |name: &str| m.get_one::<String>(name).cloned().unwrap_or_default();
    match verb {
        "queue" => shown(reach.ask("queue.list", json!({})).await?, as_json, queue_for_people),
        "retry" => {
            let id = m.get_one::<String>("id");
            let done = reach.ask("queue.flush", json!({ "id": id })).await?;
            shown(done, as_json, |v| format!("{} messages are tried now.\n", v["due"]))
        }
        "drop" => shown(reach.ask("queue.remove", json!({"id": text("id")})).await?, as_json, |_| {
            "Removed.\n".into()
        }),
        "show" => {
            let answer = reach.ask("queue.show", json!({"id": text("id")})).await?;
            let raw = STANDARD
                .decode(answer["raw"].as_str().unwrap_or_default())
                .map_err(CommandError::from_error)?;
            std::io::stdout().write_all(&raw).map_err(CommandError::from_error)
        }
        "trace" => {
            shown(reach.ask("mail.trace", json!({"id": text("id")})).await?, as_json, trace_for_people)
        }
        "accounts" => shown(reach.ask("mail.accounts", json!({})).await?, as_json, accounts_for_people),
        "aliases" => shown(reach.ask("alias.list", json!({})).await?, as_json, aliases_for_people),
        "alias" => {
            let targets: Vec<String> =
                m.get_many::<String>("targets").into_iter().flatten().cloned().collect();
            let set = reach.ask("alias.set", json!({"alias": text("alias"), "targets": targets})).await?;
            shown(set, as_json, aliases_for_people)
        }
        "settings" => {
            let toml = match m.get_one::<String>("file") {
                Some(file) => {
                    Some(std::fs::read_to_string(file).map_err(|e| CommandError(format!("{file}: {e}")))?)
                }
                None => None,
            };
            let now = reach.ask("mail.settings", json!({ "toml": toml })).await?;
            shown(now, as_json, |v| serde_json::to_string_pretty(v).unwrap_or_default() + "\n")
        }
        "dns" => shown(reach.ask("mail.dns", json!({})).await?, as_json, dns_for_people),
        "import" => {
            let (path, mailbox) = (PathBuf::from(text("path")), text("mailbox"));
            transfer::import(&reach, &text("user"), path, &mailbox, as_json).await
        }
        "import-imap" => transfer::import_imap(&reach, m, as_json).await,
        "export" => transfer::export(&reach, &text("user"), PathBuf::from(text("path")), as_json).await,
        other => Err(CommandError(format!("{other}: not known"))),
    }
}

fn shown(value: Value, as_json: bool, people: impl FnOnce(&Value) -> String) -> Result<(), CommandError> {
    let text = if as_json { value.to_string() + "\n" } else { people(&value) };
    std::io::stdout().write_all(text.as_bytes()).map_err(CommandError::from_error)
}

fn queue_for_people(value: &Value) -> String {
    let entries = value.as_array().map(Vec::as_slice).unwrap_or_default();
    if entries.is_empty() {
        return "The queue is empty.\n".into();
    }
    let mut out = String::new();
    for entry in entries {
        let when = chassis::clock::rfc3339(entry["created_ms"].as_u64().unwrap_or(0));
        let from = entry["from"].as_str().unwrap_or("<>");
        out += &format!(
            "{}  {when}  {from}  {} bytes\n",
            entry["id"].as_str().unwrap_or_default(),
            entry["size"]
        );
        for r in entry["recipients"].as_array().into_iter().flatten() {
            let text = |name: &str| r[name].as_str().unwrap_or_default().to_owned();
            out += &format!("    {:9} {}  {}\n", text("state"), text("to"), text("answer"));
        }
    }
    out
}

fn trace_for_people(value: &Value) -> String {
    let events = value.as_array().map(Vec::as_slice).unwrap_or_default();
    if events.is_empty() {
        return "Nothing is known of it since the last start.\n".into();
    }
    let line = |e: &Value| {
        let when = chassis::clock::rfc3339(e["at_ms"].as_u64().unwrap_or(0));
        format!("{when}  {}\n", e["what"].as_str().unwrap_or_default())
    };
    events.iter().map(line).collect()
}

fn aliases_for_people(value: &Value) -> String {
    let aliases = value.as_object().into_iter().flatten();
    let targets = |v: &Value| {
        v.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
    };
    aliases.map(|(alias, v)| format!("{alias} -> {}\n", targets(v))).collect()
}

fn dns_for_people(value: &Value) -> String {
    let text = |r: &Value, name: &str| r[name].as_str().unwrap_or_default().to_owned();
    let line = |r: &Value| format!("{}. IN {} {}\n", text(r, "name"), text(r, "kind"), text(r, "data"));
    value.as_array().into_iter().flatten().map(line).collect()
}

fn accounts_for_people(value: &Value) -> String {
    let mut out = String::new();
    for one in value.as_array().into_iter().flatten() {
        let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
        out += &format!(
            "{:16} {:32} {:>8} messages {:>9} kB\n",
            text("user"),
            text("address"),
            one["messages"].as_u64().unwrap_or(0),
            one["bytes"].as_u64().unwrap_or(0) / 1000
        );
        if let Some(round) = one["twin"].as_object() {
            let problem = round["problem"].as_str().unwrap_or_default();
            let how = if problem.is_empty() { "agrees" } else { problem };
            out += &format!("    other server: {how}\n");
        }
    }
    out
}
