//! The control commands behind `nymote signpost …`; they work on a running appliance and on a store at rest.

use std::sync::Arc;

use chassis::Chassis;
use chassis::control::{Call, CommandError, Outcome};
use serde::Deserialize;
use serde_json::{Value, json};

use super::devices::Told;
use super::{House, signer_of, zone_settings, zone_settings_mut};
use crate::dnssec::Algorithm;
use crate::keeper::{Cause, Keeper};
use crate::name::Name;
use crate::record::text;
use crate::record::{Record, RecordType};
use crate::settings::{Device, KeySettings};
use crate::update::SetChange;
use crate::zone::Zone;
use crate::zonefile;

type Given = Arc<dyn Fn() -> Result<Arc<House>, CommandError> + Send + Sync>;

/// Adds the commands; `house` gives the house, opened when it is first needed.
pub fn register(chassis: &Chassis, house: Given) {
    let add = |name: &'static str, run: fn(Arc<House>, Call) -> Running| {
        let house = house.clone();
        chassis.commands().add(name, move |call| {
            let house = house();
            async move { run(house?, call).await }
        });
    };
    add("zone.import", |house, call| Box::pin(import(house, call)));
    add("zone.export", |house, call| Box::pin(export(house, call)));
    add("zone.remove", |house, call| Box::pin(remove(house, call)));
    add("zone.list", |house, _| Box::pin(list(house)));
    add("zone.log", |house, call| Box::pin(log(house, call)));
    add("zone.undo", |house, call| Box::pin(undo(house, call)));
    add("zone.sign", |house, call| Box::pin(sign(house, call)));
    add("zone.set", |house, call| Box::pin(set_zone(house, call)));
    add("key.add", |house, call| Box::pin(key_add(house, call)));
    add("key.list", |house, _| Box::pin(key_list(house)));
    add("key.remove", |house, call| Box::pin(key_remove(house, call)));
    add("keys", |house, call| Box::pin(signing_keys(house, call)));
    add("keys.ds-seen", |house, call| Box::pin(ds_seen(house, call)));
    add("record.set", |house, call| Box::pin(record_set(house, call)));
    add("names", |house, _| Box::pin(names(house)));
    add("names.add", |house, call| Box::pin(names_add(house, call)));
    add("names.revoke", |house, call| Box::pin(names_revoke(house, call)));
    add("names.tell", |house, call| Box::pin(names_tell(house, call)));
    add("settings.set", |house, call| Box::pin(settings_set(house, call)));
    add("view.set", |house, call| Box::pin(view_set(house, call)));
    add("view.list", |house, _| Box::pin(view_list(house)));
    add("check", |house, _| Box::pin(check(house)));
}

type Running = std::pin::Pin<Box<dyn Future<Output = Outcome> + Send>>;

const OWNER: &str = "owner";

fn words(error: impl std::fmt::Display) -> CommandError {
    CommandError(error.to_string())
}

fn name(text: &str) -> Result<Name, CommandError> {
    Name::from_text(text, Some(&Name::root())).map_err(CommandError)
}

fn keeper(house: &House, zone: &str) -> Result<Arc<Keeper>, CommandError> {
    let origin = name(zone)?;
    house
        .keeper(&origin)
        .ok_or_else(|| CommandError(format!("there is no zone {zone}; `zone list` shows all")))
}

#[derive(Deserialize)]
struct OfZone {
    zone: String,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

async fn import(house: Arc<House>, mut call: Call) -> Outcome {
    let args: Named = call.args()?;
    let origin = name(&args.name)?;
    let mut text = String::new();
    while let Some(piece) = call.input().await {
        text.push_str(piece.as_str().ok_or_else(|| CommandError("the input is not text".to_string()))?);
        if text.len() > crate::limits::ZONE_TEXT_OCTETS_MAX {
            return Err(CommandError("the zone file is too large".to_string()));
        }
    }
    let records = zonefile::parse(&text, &origin, None).map_err(words)?;
    let zone = Zone::build(&origin, records).map_err(words)?;
    let names = zone.len();
    let serial = house.import(&origin, &zone, &Cause::new(OWNER, "imported")).await.map_err(words)?;
    house.tell_secondaries(&origin);
    Ok(json!({"zone": origin.to_string(), "names": names, "serial": serial}))
}

async fn export(house: Arc<House>, call: Call) -> Outcome {
    let args: OfZone = call.args()?;
    let zone = keeper(&house, &args.zone)?.served();
    let mut records: Vec<Record> = zone.plain_records().collect();
    records.sort_by_key(|record| record.rtype != RecordType::SOA);
    for piece in records.chunks(500) {
        call.progress(zonefile::print(piece)).await?;
    }
    Ok(json!({"records": records.len(), "serial": zone.serial()}))
}

async fn remove(house: Arc<House>, call: Call) -> Outcome {
    let args: OfZone = call.args()?;
    let origin = keeper(&house, &args.zone)?.origin.clone();
    house.remove(&origin, &Cause::new(OWNER, "removed")).await.map_err(words)?;
    Ok(json!({"removed": origin.to_string()}))
}

async fn list(house: Arc<House>) -> Outcome {
    let settings = house.settings();
    let troubles = house.troubles();
    let shown = |keeper: &Arc<Keeper>| {
        let zone = keeper.served();
        let trouble =
            troubles.iter().find(|(name, _)| *name == keeper.origin).map(|(_, words)| words.clone());
        json!({
            "zone": keeper.origin.to_string(), "serial": zone.serial(), "names": zone.len(),
            "signed": zone_settings(&settings, &keeper.origin).signed, "trouble": trouble,
        })
    };
    Ok(house.keepers().iter().map(shown).collect())
}

async fn log(house: Arc<House>, call: Call) -> Outcome {
    let args: OfZone = call.args()?;
    let keeper = keeper(&house, &args.zone)?;
    let history = keeper.branch().history(crate::keeper::files::directory(&keeper.origin)).map_err(words)?;
    let mut lines = Vec::new();
    for entry in history.take(50) {
        let (id, commit) = entry.map_err(words)?;
        lines.push(json!({"commit": id.to_string(), "who": commit.author.name, "message": commit.message}));
    }
    Ok(Value::Array(lines))
}

async fn undo(house: Arc<House>, call: Call) -> Outcome {
    #[derive(Deserialize)]
    struct Args {
        zone: String,
        commit: Option<String>,
    }
    let args: Args = call.args()?;
    let keeper = keeper(&house, &args.zone)?;
    let history = keeper.branch().history(crate::keeper::files::directory(&keeper.origin)).map_err(words)?;
    let mut found = None;
    for entry in history.take(10_000) {
        let (id, _) = entry.map_err(words)?;
        if args.commit.as_ref().is_none_or(|wanted| id.to_string().starts_with(wanted.as_str())) {
            found = Some(id);
            break;
        }
    }
    let commit = found
        .ok_or_else(|| CommandError("no such commit of this zone; `zone log` shows them".to_string()))?;
    let short: String = commit.to_string().chars().take(12).collect();
    let changed = keeper.undo(commit, &Cause::new(OWNER, format!("undid {short}"))).await.map_err(words)?;
    house.tell_secondaries(&keeper.origin);
    Ok(json!({"undone": commit.to_string(), "sets": changed.sets, "serial": changed.serial}))
}

async fn sign(house: Arc<House>, call: Call) -> Outcome {
    #[derive(Deserialize)]
    struct Args {
        zone: String,
        #[serde(default)]
        off: bool,
        #[serde(default)]
        now: bool,
        #[serde(default)]
        nsec3: bool,
        algorithm: Option<Algorithm>,
    }
    let args: Args = call.args()?;
    let origin = name(&args.zone)?;
    let serial = match (args.off, args.now) {
        (false, _) => {
            let algorithm = args.algorithm.unwrap_or(Algorithm::EcdsaP256);
            house.sign(&origin, OWNER, algorithm, args.nsec3).await
        }
        (true, false) => house.sign_off(&origin, OWNER).await,
        (true, true) => house.unsign(&*keeper(&house, &args.zone)?, OWNER, "is no longer signed").await,
    };
    let serial = serial.map_err(words)?;
    house.tell_secondaries(&origin);
    Ok(json!({"zone": origin.to_string(), "serial": serial, "registrar": registrar(&house, &origin)}))
}

/// What the owner must tell the registrar: name servers are the owner's choice, DS are ours.
fn registrar(house: &House, origin: &Name) -> Value {
    let settings = zone_settings(&house.settings(), origin);
    let signer = (settings.signed && settings.leaving == 0).then(|| signer_of(&settings).ok()).flatten();
    let ds = signer
        .iter()
        .flat_map(|signer| &signer.asked_of_parent)
        .map(|key| format!("{origin} 3600 IN DS {}", text::to_text(RecordType::DS, &key.ds(origin))));
    ds.collect()
}

async fn set_zone(house: Arc<House>, call: Call) -> Outcome {
    #[derive(Deserialize)]
    struct Args {
        zone: String,
        notify: Option<Vec<std::net::SocketAddr>>,
        notify_key: Option<String>,
        transfer_to: Option<Vec<String>>,
        sleepers: Option<Vec<String>>,
    }
    let args: Args = call.args()?;
    let origin = keeper(&house, &args.zone)?.origin.clone();
    let edit = |all: &mut crate::settings::Settings| {
        let zone = zone_settings_mut(all, &origin);
        args.notify.into_iter().for_each(|value| zone.notify = value);
        args.notify_key.into_iter().for_each(|value| zone.notify_key = Some(value));
        args.transfer_to.into_iter().for_each(|value| zone.transfer_to = value);
        args.sleepers.into_iter().for_each(|value| zone.sleepers = value);
    };
    house.change_settings(OWNER, &format!("settings of {origin}"), edit).await.map_err(words)?;
    house.tell_secondaries(&origin);
    Ok(json!({"zone": origin.to_string()}))
}

async fn key_add(house: Arc<House>, call: Call) -> Outcome {
    #[derive(Deserialize)]
    struct Args {
        name: String,
        secret: Option<String>,
        #[serde(default)]
        algorithm: String,
        #[serde(default)]
        zones: Vec<String>,
        #[serde(default)]
        names: Vec<String>,
        #[serde(default)]
        types: Vec<String>,
        #[serde(default)]
        read_only: bool,
        view: Option<String>,
    }
    let args: Args = call.args()?;
    let secret =
        args.secret.unwrap_or_else(|| data_encoding::BASE64.encode(&chassis::accounts::random::<32>()));
    let algorithm = if args.algorithm.is_empty() { "hmac-sha256".to_string() } else { args.algorithm };
    let (zones, names, types) = (args.zones, args.names, args.types);
    let key = KeySettings {
        algorithm,
        secret: secret.clone(),
        zones,
        names,
        types,
        no_transfer: false,
        read_only: args.read_only,
        view: args.view,
    };
    key.key(&args.name).map_err(CommandError)?;
    let shown = json!({"key": args.name, "algorithm": key.algorithm, "secret": secret});
    house
        .change_settings(OWNER, &format!("key {} added", args.name), |all| {
            drop(all.keys.insert(args.name.clone(), key))
        })
        .await
        .map_err(words)?;
    Ok(shown)
}

async fn key_list(house: Arc<House>) -> Outcome {
    let settings = house.settings();
    let shown = settings.keys.iter().map(|(name, key)| {
        json!({"key": name, "algorithm": key.algorithm, "zones": key.zones, "names": key.names, "types": key.types})
    });
    Ok(shown.collect())
}

async fn key_remove(house: Arc<House>, call: Call) -> Outcome {
    let args: Named = call.args()?;
    if !house.settings().keys.contains_key(&args.name) {
        return Err(CommandError(format!("there is no key {}", args.name)));
    }
    house
        .change_settings(OWNER, &format!("key {} removed", args.name), |all| {
            drop(all.keys.remove(&args.name))
        })
        .await
        .map_err(words)?;
    Ok(json!({"removed": args.name}))
}

async fn signing_keys(house: Arc<House>, call: Call) -> Outcome {
    let args: OfZone = call.args()?;
    let origin = keeper(&house, &args.zone)?.origin.clone();
    let settings = zone_settings(&house.settings(), &origin);
    let shown = |key: &crate::dnssec::rollover::KeyRecord| json!({"role": key.role, "stage": key.stage, "algorithm": key.algorithm, "since": key.since});
    Ok(
        json!({"keys": settings.keys.iter().map(shown).collect::<Vec<_>>(), "registrar": registrar(&house, &origin),
               "checked": house.registrar_problems(&origin).await}),
    )
}

/// The owner saw the new DS in the parent zone: the key signing key may change hands.
async fn ds_seen(house: Arc<House>, call: Call) -> Outcome {
    let args: OfZone = call.args()?;
    let keeper = keeper(&house, &args.zone)?;
    house.roll_keys(&keeper, u64::from(crate::serve::now_s()), |_| true).await.map_err(words)?;
    Ok(json!({"zone": keeper.origin.to_string()}))
}

/// Replaces an RRset: `values` in master file form; none takes it away.
async fn record_set(house: Arc<House>, call: Call) -> Outcome {
    #[derive(Deserialize)]
    struct Args {
        name: String,
        rtype: String,
        #[serde(default = "an_hour")]
        ttl: u32,
        #[serde(default)]
        values: Vec<String>,
        view: Option<String>,
    }
    fn an_hour() -> u32 {
        3600
    }
    let args: Args = call.args()?;
    let owner = name(&args.name)?;
    let keeper =
        house.keeper_of(&owner).ok_or_else(|| CommandError(format!("no zone here holds {owner}")))?;
    let rtype = RecordType::from_text(&args.rtype).filter(|rtype| rtype.is_data());
    let rtype = rtype.ok_or_else(|| CommandError(format!("unknown type {}", args.rtype)))?;
    let lines: String = args
        .values
        .iter()
        .map(|value| format!("@ {} {rtype} {}\n", args.ttl, value.replace('\n', " ")))
        .collect();
    let records = zonefile::parse(&lines, &owner, None).map_err(words)?;
    let change = SetChange {
        name: owner,
        rtype,
        ttl: args.ttl,
        datas: records.into_iter().map(|one| one.data).collect(),
    };
    let cause = Cause::new(OWNER, format!("{} {rtype} set", args.name));
    let changed = match args.view {
        Some(view) => house.change_view(&cause, &view, &keeper, |_, _| Ok(vec![change])).await,
        None => keeper.change(&cause, |_| Ok(vec![change])).await,
    };
    let changed = changed.map_err(words)?;
    house.tell_secondaries(&keeper.origin);
    Ok(json!({"sets": changed.sets, "serial": changed.serial}))
}

/// Settings of the whole appliance.
async fn settings_set(house: Arc<House>, call: Call) -> Outcome {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Args {
        answers_a_second: Option<u32>,
        limit_loopback: Option<bool>,
        identity: Option<String>,
        resolver: Option<std::net::SocketAddr>,
        wake_url: Option<String>,
    }
    let args: Args = call.args()?;
    if let Some(url) = args.wake_url.as_ref().filter(|url| !url.is_empty() && !url.starts_with("http://")) {
        return Err(CommandError(format!("{url}: the address of who wakes services begins with http://")));
    }
    let edit = |all: &mut crate::settings::Settings| {
        args.answers_a_second.into_iter().for_each(|value| all.answers_a_second = value);
        args.limit_loopback.into_iter().for_each(|value| all.limit_loopback = value);
        args.identity.into_iter().for_each(|value| all.identity = value);
        args.resolver.into_iter().for_each(|value| all.resolver = Some(value));
        args.wake_url.into_iter().for_each(|value| all.wake_url = Some(value).filter(|url| !url.is_empty()));
    };
    house.change_settings(OWNER, "settings", edit).await.map_err(words)?;
    let settings = house.settings();
    Ok(json!({
        "answers_a_second": settings.answers_a_second, "limit_loopback": settings.limit_loopback,
        "identity": settings.identity, "resolver": settings.resolver, "wake_url": settings.wake_url,
    }))
}

/// Says which networks see a view; none takes the view away, its records stay in the store.
async fn view_set(house: Arc<House>, call: Call) -> Outcome {
    #[derive(Deserialize)]
    struct Args {
        view: String,
        #[serde(default)]
        networks: Vec<String>,
    }
    let args: Args = call.args()?;
    house.set_view(OWNER, &args.view, args.networks).await.map_err(words)?;
    view_list(house).await
}

async fn view_list(house: Arc<House>) -> Outcome {
    let settings = house.settings();
    Ok(settings.views.iter().map(|(view, networks)| json!({"view": view, "networks": networks})).collect())
}

async fn names(house: Arc<House>) -> Outcome {
    let settings = house.settings();
    let shown = settings.devices.iter().map(|(name, device)| {
        json!({
            "device": name, "host": device.host, "added": device.added, "seen": device.seen, "how": device.how,
            "behind": device.behind, "expires_s": device.expires_s,
        })
    });
    Ok(shown.collect())
}

async fn names_add(house: Arc<House>, call: Call) -> Outcome {
    #[derive(Deserialize)]
    struct Args {
        name: String,
        host: String,
        #[serde(default)]
        ttl: u32,
        #[serde(default)]
        expires_s: u64,
        interface: Option<String>,
        behind: Option<String>,
    }
    let args: Args = call.args()?;
    let device = Device {
        host: args.host.clone(),
        ttl: args.ttl,
        expires_s: args.expires_s,
        interface: args.interface,
        behind: args.behind,
        ..Device::default()
    };
    let password = house.add_device(OWNER, &args.name, device).await.map_err(words)?;
    Ok(json!({"device": args.name, "host": args.host, "password": password}))
}

async fn names_revoke(house: Arc<House>, call: Call) -> Outcome {
    let args: Named = call.args()?;
    house.revoke_device(OWNER, &args.name).await.map_err(words)?;
    Ok(json!({"revoked": args.name}))
}

async fn names_tell(house: Arc<House>, call: Call) -> Outcome {
    #[derive(Deserialize)]
    struct Args {
        name: String,
        #[serde(default)]
        addresses: Vec<String>,
        prefix: Option<String>,
        #[serde(default)]
        view: String,
        #[serde(default)]
        offline: bool,
    }
    let args: Args = call.args()?;
    let mut told = Told::from_words(args.addresses.iter().map(String::as_str), args.prefix.as_deref())
        .map_err(CommandError)?;
    told.offline = args.offline;
    let changed = house.hear_in(&args.name, told, "command", &args.view).await.map_err(words)?;
    Ok(json!({"sets": changed.sets, "serial": changed.serial}))
}

/// Looks at everything that can be looked at from inside.
async fn check(house: Arc<House>) -> Outcome {
    let mut found: Vec<String> =
        house.troubles().iter().map(|(zone, words)| format!("{zone} {words}")).collect();
    let settings = house.settings();
    for keeper in house.keepers() {
        let zone = keeper.served();
        let servers = zone.apex().get(RecordType::NS).map_or(0, |set| set.count);
        if servers < 2 {
            found.push(format!("{}: one name server only; registrars want two", keeper.origin));
        }
        for target in zone.apex().get(RecordType::NS).into_iter().flat_map(|set| set.datas(&zone.origin)) {
            let Some(host) =
                crate::record::data::name_at(&target, 0).filter(|host| host.is_within(&zone.origin))
            else {
                continue;
            };
            let addressed = zone
                .node(&host)
                .is_some_and(|node| node.get(RecordType::A).or(node.get(RecordType::AAAA)).is_some());
            if !addressed {
                found.push(format!("{}: the name server {host} has no address", keeper.origin));
            }
        }
        found.extend(house.registrar_problems(&keeper.origin).await);
        let transfers = zone_settings(&settings, &keeper.origin).transfer_to;
        found.extend(
            transfers
                .iter()
                .filter(|text| text.parse::<crate::network::Network>().is_err())
                .map(|text| format!("{text}: not a network")),
        );
    }
    Ok(json!({"zones": house.keepers().len(), "problems": found}))
}
