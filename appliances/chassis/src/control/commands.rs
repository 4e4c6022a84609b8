//! The commands that every appliance has: status, stop, accounts, devices.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, CommandError, Outcome};
use crate::accounts::{Account, Accounts, Credential};
use crate::config::Change;
use crate::run::Chassis;
use crate::run::{CERTIFICATE, CERTIFICATE_KEY};
use crate::tls::Tls;

/// Adds them.
pub(crate) fn register_own(chassis: &Chassis) {
    let commands = chassis.commands();
    let here = chassis.clone();
    commands.add("status", move |_| {
        let status = here.status();
        async move { Ok(status) }
    });
    let stop = chassis.stop().clone();
    commands.add("stop", move |_| {
        stop.ask("command");
        async { Ok(json!({"stopping": true})) }
    });
    let metrics = chassis.metrics().clone();
    commands.add("metrics", move |_| {
        let text = metrics.text();
        async move { Ok(Value::from(text)) }
    });
    let here = chassis.clone();
    commands.add("certificate.set", move |call| set_certificate(here.clone(), call));
    let here = chassis.clone();
    commands.add("certificate.show", move |call| show_certificate(here.clone(), call));
    let account = |name, run: fn(Accounts, Call) -> futures::Boxed| {
        let accounts = chassis.accounts().clone();
        commands.add(name, move |call| run(accounts.clone(), call));
    };
    account("account.list", |accounts, _| {
        Box::pin(async move { Ok(accounts.all().iter().map(|one| shown(one)).collect()) })
    });
    account("account.export", |accounts, _| {
        Box::pin(async move {
            let all: Vec<Account> = accounts.all().iter().map(|one| Account::clone(one)).collect();
            serde_json::to_value(all).map_err(CommandError::from_error)
        })
    });
    account("account.create", |accounts, call| Box::pin(create(accounts, call)));
    account("account.adopt", |accounts, call| Box::pin(adopt(accounts, call)));
    account("account.password", |accounts, call| Box::pin(password(accounts, call)));
    account("account.remove", |accounts, call| Box::pin(remove(accounts, call)));
    account("device.list", |accounts, call| Box::pin(devices(accounts, call)));
    account("device.add", |accounts, call| Box::pin(add_device(accounts, call)));
    account("device.revoke", |accounts, call| Box::pin(revoke(accounts, call)));
}

mod futures {
    pub type Boxed = std::pin::Pin<Box<dyn Future<Output = super::Outcome> + Send>>;
}

/// Sets the real certificate; tried before it is kept.
async fn set_certificate(chassis: Chassis, call: Call) -> Outcome {
    #[derive(Deserialize)]
    struct Args {
        certificate: String,
        key: String,
    }
    let args: Args = call.args()?;
    Tls::check(&args.certificate, &args.key).map_err(CommandError::from_error)?;
    let changes = vec![Change::put(CERTIFICATE, args.certificate), Change::put(CERTIFICATE_KEY, args.key)];
    let kept = chassis.config_files().commit("certificate", "A certificate", changes).await;
    kept.map_err(CommandError::from_error)?;
    chassis.load_certificate();
    Ok(json!({"set": true}))
}

/// What a client that asks for a name is shown: the certificate's names, and the digest of its key.
async fn show_certificate(chassis: Chassis, call: Call) -> Outcome {
    #[derive(Deserialize)]
    struct Args {
        name: String,
    }
    let args: Args = call.args()?;
    let shown = chassis.tls().shown(&args.name).map_err(CommandError::from_error)?;
    let key_sha256: String = shown.key_sha256.iter().map(|octet| format!("{octet:02x}")).collect();
    Ok(json!({"names": shown.names, "key_sha256": key_sha256}))
}

async fn create(accounts: Accounts, call: Call) -> Outcome {
    #[derive(Deserialize)]
    struct Args {
        user: String,
        address: String,
        #[serde(default)]
        name: String,
        password: String,
        #[serde(default)]
        admin: bool,
    }
    let args: Args = call.args()?;
    let made = accounts.create(&args.user, &args.address, &args.name, &args.password, args.admin).await;
    made.map(|account| shown(&account)).map_err(CommandError::from_error)
}

async fn adopt(accounts: Accounts, call: Call) -> Outcome {
    let mut taken = 0;
    for account in call.args::<Vec<Account>>()? {
        taken += usize::from(accounts.adopt(account).await.map_err(CommandError::from_error)?);
    }
    Ok(json!({ "taken": taken }))
}

async fn password(accounts: Accounts, call: Call) -> Outcome {
    #[derive(Deserialize)]
    struct Args {
        user: String,
        password: String,
    }
    let args: Args = call.args()?;
    accounts.set_password(&args.user, &args.password).await.map_err(CommandError::from_error)?;
    Ok(json!({ "user": args.user }))
}

#[derive(Deserialize)]
struct User {
    user: String,
}

async fn remove(accounts: Accounts, call: Call) -> Outcome {
    let args: User = call.args()?;
    accounts.remove(&args.user).await.map_err(CommandError::from_error)?;
    Ok(json!({ "user": args.user }))
}

async fn devices(accounts: Accounts, call: Call) -> Outcome {
    let args: User = call.args()?;
    let unknown = || CommandError(format!("there is no account {:?}", args.user));
    let account = accounts.find(&args.user).ok_or_else(unknown)?;
    let entry = |one: &Credential, kind: &str| {
        let last = accounts.last_use(&account.user, Some(&one.id));
        json!({
            "id": one.id, "label": one.label, "kind": kind, "created_ms": one.created_ms,
            "last_ms": last.as_ref().map(|last| last.at_ms),
            "last_from": last.as_ref().map(|last| last.from.to_string()),
            "last_with": last.map(|last| last.with),
        })
    };
    let passwords = account.devices().map(|one| entry(one, "device"));
    Ok(passwords.chain(account.sessions().map(|one| entry(one, "session"))).collect())
}

async fn add_device(accounts: Accounts, call: Call) -> Outcome {
    #[derive(Deserialize)]
    struct Args {
        user: String,
        label: String,
    }
    let args: Args = call.args()?;
    let (device, password) =
        accounts.add_device(&args.user, &args.label).await.map_err(CommandError::from_error)?;
    Ok(json!({ "id": device.id, "label": device.label, "password": password }))
}

async fn revoke(accounts: Accounts, call: Call) -> Outcome {
    #[derive(Deserialize)]
    struct Args {
        user: String,
        id: String,
    }
    let args: Args = call.args()?;
    accounts.revoke(&args.user, &args.id).await.map_err(CommandError::from_error)?;
    Ok(json!({ "revoked": args.id }))
}

fn shown(account: &Account) -> Value {
    json!({
        "user": account.user, "address": account.address, "name": account.name, "admin": account.admin,
        "created_ms": account.created_ms, "devices": account.devices().count(), "sessions": account.sessions().count(),
    })
}
