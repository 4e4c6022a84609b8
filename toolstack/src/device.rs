//! `nymote device`: one password per device.

use serde_json::{Value, json};

use crate::account;
use crate::household::Household;
use crate::place::{self, Place};
use crate::suite::SUITE;
use crate::terminal::qr;
use crate::trouble::Trouble;

/// Passwords of devices: list, add, revoke. Each phone or program has its own, so that losing one costs one.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show an account's devices and the browsers that are logged in
    List {
        /// Whose
        user: String,
        /// One line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a password for a device; it is shown once, also as a QR code
    Add {
        /// Whose
        user: String,
        /// What you call the device
        label: String,
        /// One line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a device's password away
    Revoke {
        /// Whose
        user: String,
        /// Its id or its name, as `list` shows them
        device: String,
    },
}

/// Runs it.
pub fn run(args: Args) -> Result<(), Trouble> {
    let household = Household::open(&args.place.dir())?;
    match args.action {
        Action::List { user, json } => list(&household, &user, json),
        Action::Add { user, label, json } => add(&household, &user, &label, json),
        Action::Revoke { user, device } => revoke(&household, &user, &device),
    }
}

fn list(household: &Household, user: &str, json: bool) -> Result<(), Trouble> {
    let listed = account::on_all(household, "device.list", &json!({"user": user}))?;
    let merged = latest(listed);
    if json {
        println!("{}", Value::from(merged));
        return Ok(());
    }
    if merged.is_empty() {
        println!(
            "{user} has no device with a password of its own; `nymote device add {user} phone` makes one"
        );
    }
    let now_ms = chassis::clock::now_ms();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for one in merged {
        let last = one["last_ms"].as_u64().map_or("not used since the last start".to_owned(), |at| {
            let when = chassis::clock::in_words(at, now_ms);
            format!("{when} from {} with {}", text(&one["last_from"]), text(&one["last_with"]))
        });
        println!("{}  {:<8} {:<24} {last}", text(&one["id"]), text(&one["kind"]), text(&one["label"]));
    }
    Ok(())
}

/// Each credential once, with its last use on whichever appliance that was.
fn latest(listed: Vec<Value>) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::new();
    for one in listed.into_iter().filter_map(|list| list.as_array().cloned()).flatten() {
        match merged.iter_mut().find(|known| known["id"] == one["id"]) {
            Some(known) if one["last_ms"].as_u64() > known["last_ms"].as_u64() => *known = one,
            Some(_) => {}
            None => merged.push(one),
        }
    }
    merged
}

fn add(household: &Household, user: &str, label: &str, json: bool) -> Result<(), Trouble> {
    let made = place::block_on(async {
        let first = place::reach(&household.dir, &SUITE[0]).await?;
        let made = first.ask("device.add", json!({"user": user, "label": label})).await?;
        let all = first.ask("account.export", json!({})).await?;
        let mine: Vec<&Value> =
            all.as_array().into_iter().flatten().filter(|one| one["user"] == user).collect();
        for member in &SUITE[1..] {
            place::reach(&household.dir, member).await?.ask("account.adopt", json!(mine)).await?;
        }
        Ok(made)
    })?;
    if json {
        println!("{made}");
        return Ok(());
    }
    let password = made["password"].as_str().unwrap_or_default();
    let colours = std::io::IsTerminal::is_terminal(&std::io::stdout());
    println!("{label} for {user}\npassword  {password}   (shown this once)\n\n{}", qr(password, colours));
    Ok(())
}

fn revoke(household: &Household, user: &str, device: &str) -> Result<(), Trouble> {
    let known = account::known(household)?;
    let account = known.iter().find(|one| one.user == user);
    let account = account.ok_or_else(|| Trouble::new(format!("there is no account {user:?}")))?;
    let fitting: Vec<_> =
        account.credentials.iter().filter(|one| one.id == device || one.label == device).collect();
    match fitting.as_slice() {
        [] => Err(Trouble::new(format!("{user} has no device {device:?}"))
            .advise("`nymote device list` shows them")),
        [one] => {
            account::on_all(household, "device.revoke", &json!({"user": user, "id": one.id}))?;
            println!("revoked {}", one.label);
            Ok(())
        }
        several => Err(Trouble::new(format!("{} devices are called {device:?}", several.len()))
            .advise("name one by its id, as `nymote device list` shows it")),
    }
}
