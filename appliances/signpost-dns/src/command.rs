//! `nymote signpost …`: words for the control commands of [`crate::house::commands`].

use std::path::{Path, PathBuf};
use std::pin::Pin;

use chassis::command::{Part, Reach};
use chassis::control::CommandError;
use clap::{FromArgMatches, Parser, Subcommand};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// The part of the `nymote` command.
pub static PART: Part = Part {
    command: || <Cli as clap::CommandFactory>::command(),
    run: |matches, reach| Box::pin(run(matches, reach)),
    register: crate::register_offline,
};

/// Names and zones: devices, zone files, keys, signing.
#[derive(Debug, Parser)]
#[command(name = "signpost")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Prints JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Devices that tell their address
    #[command(subcommand)]
    Devices(Devices),
    /// Tells a device's address: nymote signpost update laptop 192.0.2.7
    Update {
        /// The device
        device: String,
        /// Its addresses
        addresses: Vec<String>,
        /// The IPv6 prefix of its network; moves all devices behind it
        #[arg(long)]
        prefix: Option<String>,
        /// For askers in this view alone: its address at home
        #[arg(long, default_value = "")]
        view: String,
        /// It has no address any more
        #[arg(long)]
        offline: bool,
    },
    /// Zones
    #[command(subcommand)]
    Zone(Zone),
    /// What askers in some networks get instead of the public records
    #[command(subcommand)]
    View(View),
    /// TSIG keys for nsupdate, secondaries and other appliances
    #[command(subcommand)]
    Key(Key),
    /// The keys that sign a zone, and what the registrar must be told
    Keys {
        /// The zone
        zone: String,
        /// The parent shows the new DS: the old key signing key may go
        #[arg(long)]
        ds_seen: bool,
    },
    /// Settings of the whole appliance; without any, shows them
    Set {
        /// Answers a second to one network, 0 for no limit
        #[arg(long)]
        answers_a_second: Option<u32>,
        /// Whether askers on this machine are limited too
        #[arg(long)]
        limit_loopback: Option<bool>,
        /// What NSID tells
        #[arg(long)]
        identity: Option<String>,
        /// The resolver that is asked what the parents of zones say [default: the system's]
        #[arg(long)]
        resolver: Option<std::net::SocketAddr>,
        /// Called for a question for a sleeping service: http://HOST:PORT/PATH
        #[arg(long)]
        wake_url: Option<String>,
    },
    /// Looks for what is wrong
    Check,
}

#[derive(Debug, Subcommand)]
enum Devices {
    /// All devices
    List,
    /// Adds a device and prints its password, once
    Add {
        /// What you call it
        device: String,
        /// Its name in the zone
        host: String,
        /// Seconds of silence after which its addresses go; 0: never
        #[arg(long, default_value_t = 0)]
        expires: u64,
        /// Seconds that its addresses live in caches
        #[arg(long, default_value_t = 60)]
        ttl: u32,
        /// The router (a device) whose IPv6 prefix it lives under
        #[arg(long)]
        behind: Option<String>,
        /// The lower half of its IPv6 address there, as ::1:2:3:4
        #[arg(long)]
        interface: Option<String>,
    },
    /// Revokes a device; its addresses go
    Revoke {
        /// The device
        device: String,
    },
}

#[derive(Debug, Subcommand)]
enum Zone {
    /// Makes a zone of a master file, or replaces one's content
    Import {
        /// The zone
        name: String,
        /// The file; - reads standard input
        file: PathBuf,
    },
    /// Prints a zone as a master file
    Export {
        /// The zone
        zone: String,
    },
    /// Takes a zone away; its history stays
    Remove {
        /// The zone
        zone: String,
    },
    /// All zones
    List,
    /// What happened to a zone
    Log {
        /// The zone
        zone: String,
    },
    /// Takes one change back, the latest or the one named
    Undo {
        /// The zone
        zone: String,
        /// The commit, or the beginning of its id
        commit: Option<String>,
    },
    /// Signs a zone from now on, or no longer
    Sign {
        /// The zone
        zone: String,
        /// NSEC3 instead of NSEC
        #[arg(long)]
        nsec3: bool,
        /// ecdsa-p256 or ed25519
        #[arg(long, default_value = "ecdsa-p256", value_parser = ["ecdsa-p256", "ed25519"])]
        algorithm: String,
        /// No longer: the parent is asked to take its DS away, and when it did signing ends
        #[arg(long)]
        off: bool,
        /// With --off: at once; validators refuse the zone for as long as the parent has a DS
        #[arg(long, requires = "off")]
        now: bool,
    },
    /// Secondaries and sleeping services of a zone
    Set {
        /// The zone
        zone: String,
        /// Addresses with ports that are told of changes
        #[arg(long)]
        notify: Option<Vec<String>>,
        /// The key that signs what they are told
        #[arg(long)]
        notify_key: Option<String>,
        /// Networks that may have the whole zone without a key
        #[arg(long)]
        transfer_to: Option<Vec<String>>,
        /// Names whose service sleeps; `signpost set --wake-url` says who wakes it
        #[arg(long)]
        sleeper: Option<Vec<String>>,
    },
    /// Sets the records of a name and type; without values they go
    Record {
        /// The name in full
        name: String,
        /// The type
        rtype: String,
        /// Values as in a master file
        values: Vec<String>,
        /// Seconds in caches
        #[arg(long, default_value_t = 3600)]
        ttl: u32,
        /// For askers in this view alone
        #[arg(long)]
        view: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum View {
    /// Says which networks see a view; without networks the view goes
    Set {
        /// Its name
        view: String,
        /// 192.168.0.0/16, 2001:db8:1::/48 and the like
        networks: Vec<String>,
    },
    /// All views
    List,
}

#[derive(Debug, Subcommand)]
enum Key {
    /// Adds a key; without a secret one is made
    Add {
        /// Its name
        name: String,
        /// The secret in base 64
        #[arg(long)]
        secret: Option<String>,
        /// hmac-sha256, hmac-sha384 or hmac-sha512
        #[arg(long, default_value = "hmac-sha256")]
        algorithm: String,
        /// A zone it is for (may be given several times) [default: all]
        #[arg(long)]
        zone: Vec<String>,
        /// A name it may change, or *.name for all below [default: all]
        #[arg(long = "name")]
        names: Vec<String>,
        /// A type it may change [default: all]
        #[arg(long = "type")]
        types: Vec<String>,
        /// It may only ask and transfer
        #[arg(long)]
        read_only: bool,
        /// Its updates change this view instead of the public zone
        #[arg(long)]
        view: Option<String>,
    },
    /// All keys, without their secrets
    List,
    /// Removes a key
    Remove {
        /// Its name
        name: String,
    },
}

async fn run(matches: clap::ArgMatches, reach: Reach) -> Result<(), CommandError> {
    let cli = Cli::from_arg_matches(&matches).map_err(CommandError::from_error)?;
    let asked = match cli.command {
        Command::Zone(Zone::Import { name, file }) => import(&reach, &name, &file).await?,
        Command::Zone(Zone::Export { zone }) => return export(&reach, &zone).await,
        other => {
            let (name, args) = control(other);
            reach.ask(name, args).await?
        }
    };
    if cli.json {
        println!("{asked}");
    } else {
        print!("{}", readable(&asked));
    }
    Ok(())
}

/// The control command and its arguments.
fn control(command: Command) -> (&'static str, Value) {
    match command {
        Command::Devices(Devices::List) => ("names", json!({})),
        Command::Devices(Devices::Add { device, host, expires, ttl, behind, interface }) => (
            "names.add",
            json!({"name": device, "host": host, "expires_s": expires, "ttl": ttl, "behind": behind, "interface": interface}),
        ),
        Command::Devices(Devices::Revoke { device }) => ("names.revoke", json!({"name": device})),
        Command::Update { device, addresses, prefix, view, offline } => (
            "names.tell",
            json!({"name": device, "addresses": addresses, "prefix": prefix, "view": view, "offline": offline}),
        ),
        Command::Zone(zone) => control_zone(zone),
        Command::View(View::Set { view, networks }) => {
            ("view.set", json!({"view": view, "networks": networks}))
        }
        Command::View(View::List) => ("view.list", json!({})),
        Command::Key(Key::Add { name, secret, algorithm, zone, names, types, read_only, view }) => (
            "key.add",
            json!({"name": name, "secret": secret, "algorithm": algorithm, "zones": zone, "names": names,
                   "types": types, "read_only": read_only, "view": view}),
        ),
        Command::Key(Key::List) => ("key.list", json!({})),
        Command::Key(Key::Remove { name }) => ("key.remove", json!({"name": name})),
        Command::Keys { zone, ds_seen: true } => ("keys.ds-seen", json!({"zone": zone})),
        Command::Keys { zone, .. } => ("keys", json!({"zone": zone})),
        Command::Set { answers_a_second, limit_loopback, identity, resolver, wake_url } => (
            "settings.set",
            json!({"answers_a_second": answers_a_second, "limit_loopback": limit_loopback, "identity": identity,
                   "resolver": resolver, "wake_url": wake_url}),
        ),
        Command::Check => ("check", json!({})),
    }
}

fn control_zone(zone: Zone) -> (&'static str, Value) {
    match zone {
        Zone::Import { name, .. } => ("zone.import", json!({"name": name})),
        Zone::Export { zone } => ("zone.export", json!({"zone": zone})),
        Zone::Remove { zone } => ("zone.remove", json!({"zone": zone})),
        Zone::List => ("zone.list", json!({})),
        Zone::Log { zone } => ("zone.log", json!({"zone": zone})),
        Zone::Undo { zone, commit } => ("zone.undo", json!({"zone": zone, "commit": commit})),
        Zone::Sign { zone, nsec3, algorithm, off, now } => (
            "zone.sign",
            json!({"zone": zone, "nsec3": nsec3, "algorithm": algorithm, "off": off, "now": now}),
        ),
        Zone::Set { zone, notify, notify_key, transfer_to, sleeper } => (
            "zone.set",
            json!({"zone": zone, "notify": notify, "notify_key": notify_key, "transfer_to": transfer_to,
                   "sleepers": sleeper}),
        ),
        Zone::Record { name, rtype, values, ttl, view } => {
            ("record.set", json!({"name": name, "rtype": rtype, "values": values, "ttl": ttl, "view": view}))
        }
    }
}

/// Pieces of the file on the wire: well below what a control line may have.
const PIECE_OCTETS: usize = 32_768;

async fn import(reach: &Reach, name: &str, file: &Path) -> Result<Value, CommandError> {
    let read = || match file.to_str() {
        Some("-") => std::io::read_to_string(std::io::stdin()),
        _ => std::fs::read_to_string(file),
    };
    let text = read().map_err(|error| CommandError(format!("{}: {error}", file.display())))?;
    let (sender, input) = mpsc::channel(4);
    let feed = async move {
        let mut rest = &text[..];
        while !rest.is_empty() {
            let mut at = rest.len().min(PIECE_OCTETS);
            while !rest.is_char_boundary(at) {
                at -= 1;
            }
            let (piece, after) = rest.split_at(at);
            if sender.send(Value::from(piece)).await.is_err() {
                return;
            }
            rest = after;
        }
    };
    let asked = reach.call("zone.import", json!({"name": name}), input, |_| ());
    let call: Pin<Box<dyn Future<Output = _>>> = Box::pin(asked);
    let (answer, ()) = tokio::join!(call, feed);
    answer
}

async fn export(reach: &Reach, zone: &str) -> Result<(), CommandError> {
    let (_, input) = mpsc::channel(1);
    let print = |piece: Value| print!("{}", piece.as_str().unwrap_or_default());
    reach.call("zone.export", json!({"zone": zone}), input, print).await.map(drop)
}

/// JSON as lines for people: a row of a list is one line, a field of an object another.
fn readable(value: &Value) -> String {
    let plain = |value: &Value| match value {
        Value::String(text) => text.trim_end().replace('\n', "  "),
        Value::Null => "-".to_string(),
        other => other.to_string(),
    };
    match value {
        Value::Array(rows) if rows.is_empty() => "none\n".to_string(),
        Value::Array(rows) => rows
            .iter()
            .map(|row| match row {
                Value::Object(fields) => {
                    fields
                        .iter()
                        .map(|(name, value)| format!("{name} {}", plain(value)))
                        .collect::<Vec<_>>()
                        .join("  ")
                        + "\n"
                }
                other => plain(other) + "\n",
            })
            .collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| match value {
                Value::Array(rows) if !rows.is_empty() => format!(
                    "{name}:\n{}",
                    rows.iter().map(|row| format!("  {}\n", plain(row))).collect::<String>()
                ),
                Value::Array(_) => format!("{name}: none\n"),
                other => format!("{name}: {}\n", plain(other)),
            })
            .collect(),
        other => plain(other) + "\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_issue() {
        <Cli as clap::CommandFactory>::command().debug_assert();
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).map(|cli| control(cli.command));
        let (name, args) = parse("signpost key add upd --secret QUJD --zone example.test").unwrap();
        assert_eq!((name, args["zones"][0].as_str()), ("key.add", Some("example.test")));
        assert!(parse("signpost zone import example.test file").is_ok());
        assert!(parse("signpost zone sign example.test --algorithm rsa").is_err());
    }
}
