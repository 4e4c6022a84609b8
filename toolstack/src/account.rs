//! `nymote account`: who lives in the household.

use std::io::{BufRead, IsTerminal};

use chassis::accounts::{self, Account};
use serde_json::{Value, json};

use crate::household::Household;
use crate::place::{self, Place};
use crate::suite::SUITE;
use crate::trouble::Trouble;

/// Accounts: list, add, change the password, remove. An account is the same on all four appliances.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show all accounts
    List {
        /// One line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Make an account; its password is made up and shown once
    Add {
        /// Login name: a-z, 0-9, '.', '-', '_'
        user: String,
        /// What people call this person
        #[arg(long, default_value = "")]
        name: String,
        /// May see and change what is everybody's
        #[arg(long)]
        admin: bool,
        /// Read the password from standard input instead of making one up
        #[arg(long)]
        password_stdin: bool,
        /// One line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Set a new password; it is made up and shown once
    Password {
        /// Whose
        user: String,
        /// Read the password from standard input instead of making one up
        #[arg(long)]
        password_stdin: bool,
        /// One line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove an account; what it kept stays in the stores until it is purged
    Remove {
        /// Whose
        user: String,
    },
}

/// Runs it.
pub fn run(args: Args) -> Result<(), Trouble> {
    let dir = args.place.dir();
    let household = Household::open(&dir)?;
    match args.action {
        Action::List { json } => list(&household, json),
        Action::Add { user, name, admin, password_stdin, json } => {
            let password = password(password_stdin)?;
            add(&household, &user, &name, admin, &password)?;
            tell(json, &user, &format!("{user}@{}", household.settings.domain), &password, password_stdin);
            Ok(())
        }
        Action::Password { user, password_stdin, json } => {
            let password = password(password_stdin)?;
            on_all(&household, "account.password", &json!({"user": user, "password": password}))?;
            tell(json, &user, &format!("{user}@{}", household.settings.domain), &password, password_stdin);
            Ok(())
        }
        Action::Remove { user } => {
            on_all(&household, "account.remove", &json!({"user": user}))?;
            println!("removed {user}");
            Ok(())
        }
    }
}

/// A command on every appliance, in turn. One that fails ends it: the others keep what they have.
pub fn on_all(household: &Household, command: &str, args: &Value) -> Result<Vec<Value>, Trouble> {
    place::block_on(async {
        let mut answers = Vec::new();
        for member in &SUITE {
            let reach = place::reach(&household.dir, member).await?;
            let answer = reach.ask(command, args.clone()).await;
            // While all run, the supervisor may have brought the change already.
            match answer {
                Err(error) if !answers.is_empty() && error.0.starts_with("there is no") => {}
                answer => answers.push(answer?),
            }
        }
        Ok(answers)
    })
}

/// The accounts as the first appliance knows them.
pub fn known(household: &Household) -> Result<Vec<Account>, Trouble> {
    place::block_on(async {
        let reach = place::reach(&household.dir, &SUITE[0]).await?;
        let all = reach.ask("account.export", json!({})).await?;
        serde_json::from_value(all)
            .map_err(|error| Trouble::new(format!("the answer is not a list of accounts: {error}")))
    })
}

fn add(household: &Household, user: &str, name: &str, admin: bool, password: &str) -> Result<(), Trouble> {
    accounts::check_user(user).map_err(|reason| Trouble::new(format!("{user:?}: {reason}")))?;
    if password.chars().count() < chassis::limits::PASSWORD_CHARS_MIN {
        return Err(Trouble::new(format!(
            "a password has at least {} characters",
            chassis::limits::PASSWORD_CHARS_MIN
        )));
    }
    if known(household)?.iter().any(|one| one.user == user) {
        return Err(Trouble::new(format!("there is an account {user:?} already")));
    }
    let mut account = Account::new(user, &format!("{user}@{}", household.settings.domain), password);
    account.name = name.to_owned();
    account.admin = admin;
    let account = serde_json::to_value([account]).map_err(|error| Trouble::new(error.to_string()))?;
    on_all(household, "account.adopt", &account).map(drop)
}

fn list(household: &Household, json: bool) -> Result<(), Trouble> {
    let all = known(household)?;
    if json {
        let shown = |one: &Account| {
            json!({"user": one.user, "address": one.address, "name": one.name, "admin": one.admin,
                "devices": one.devices().count(), "sessions": one.sessions().count()})
        };
        println!("{}", Value::from_iter(all.iter().map(shown)));
        return Ok(());
    }
    for one in all {
        let devices = one.devices().count();
        let role = if one.admin { "admin" } else { "" };
        println!(
            "{:<16} {:<32} {:<6} {devices} device{}",
            one.user,
            one.address,
            role,
            if devices == 1 { "" } else { "s" }
        );
    }
    Ok(())
}

fn password(from_stdin: bool) -> Result<String, Trouble> {
    if !from_stdin {
        return Ok(accounts::new_password());
    }
    if std::io::stdin().is_terminal() {
        eprint!("password: ");
    }
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Trouble::new(format!("standard input: {error}")))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn tell(json: bool, user: &str, address: &str, password: &str, own: bool) {
    if json {
        println!(
            "{}",
            json!({"user": user, "address": address, "password": if own { None } else { Some(password) }})
        );
    } else if own {
        println!("{user}  {address}");
    } else {
        println!("{user}  {address}\npassword  {password}   (shown this once)");
    }
}
