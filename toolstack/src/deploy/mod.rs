//! `nymote deploy`: images, machine configurations and `nymote.toml` as a signed commit of a deployment repository.
//!
//! ```text
//! nymote.toml                    as it was deployed
//! accounts/USER.toml             each account with its verifiers (no password)
//! machines/NAME/image            the program as a stripped, uncompressed ELF: git packs releases as deltas of each other
//! machines/NAME/machine.toml     memory, disk, addresses, arguments: what `nymote host` starts
//! machines/NAME/settings.toml    what `[service.NAME.settings]` says, if anything
//! machines/NAME/machine.cfg      the same for xl, with @IMAGE@ and @DISK@ where the host puts its own paths
//! ```

mod machine;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use chassis::accounts::Account;
use serde_json::Value;

pub use machine::Machine;

use crate::git::{Git, last_line, within};
use crate::manifest::{MANIFEST, Manifest};
use crate::trouble::Trouble;

/// Commits images, configuration and nymote.toml to the deployment repository, signed.
///
/// A host that follows the repository (`nymote host`) makes reality equal to it. `git log` there is what ran; `git revert`
/// is a rollback; with the line `Data: restore` in its message the data goes back too.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The description of the household
    #[arg(default_value = MANIFEST)]
    file: PathBuf,
    /// The deployment repository; made if it is not there
    #[arg(long, default_value = "deployment")]
    repository: PathBuf,
    /// What the images are made for: xen, or unix for a host with processes
    #[arg(long, default_value = "xen", value_parser = ["xen", "unix"])]
    target: String,
    /// Take this program for a service instead of building it: --image mail=target/image/mail
    #[arg(long, value_name = "SERVICE=ELF")]
    image: Vec<String>,
    /// Give this account a new password, which is shown once; on the machines it is good from the next look of their host
    #[arg(long, value_name = "USER")]
    new_password: Vec<String>,
    /// The ssh key that signs; made if it is not there
    #[arg(long, default_value = "nymote-deploy.key")]
    key: PathBuf,
    /// The commit's message
    #[arg(short, long)]
    message: Option<String>,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: Args) -> Result<(), Trouble> {
    let (manifest, text) = Manifest::load(&args.file)?;
    let given = given_images(&args, &manifest)?;
    let key = signing_key(&args.key)?;
    for user in &args.new_password {
        if !manifest.accounts.iter().any(|entry| entry.get_ref().user.get_ref() == user) {
            return Err(Trouble::new(format!(
                "--new-password {user}: {} has no such account",
                args.file.display()
            )));
        }
    }
    let git = repository(&args.repository)?;
    let mut passwords = Vec::new();
    for entry in &manifest.accounts {
        let anew = args.new_password.contains(entry.get_ref().user.get_ref());
        passwords.extend(account(&git.dir, &manifest, entry.get_ref(), anew)?);
    }
    write(&git.dir.join(MANIFEST), text.as_bytes())?;
    let mut dropped = drop_machines(&git.dir, &manifest)?;
    dropped.extend(drop_accounts(&git.dir, &manifest)?);
    for name in manifest.services.keys() {
        let elf = match given.get(name) {
            Some(path) => path.clone(),
            None => build(name, &args.target)?,
        };
        let machine = Machine::of(&manifest, name)?;
        let dir = git.dir.join("machines").join(name);
        fs::create_dir_all(&dir).map_err(|error| Trouble::io("make", &dir, error))?;
        fs::copy(&elf, dir.join("image")).map_err(|error| Trouble::io("copy", &elf, error))?;
        write(&dir.join("machine.toml"), machine.text().as_bytes())?;
        write(&dir.join("machine.cfg"), machine.xl().as_bytes())?;
        settings(&dir.join(SETTINGS), &manifest, name)?;
    }
    let commit = commit(&git, &key, &message(&args, &manifest, &dropped))?;
    report(&args, &git, &key, commit.as_deref(), &passwords)
}

/// Writes a service's own settings; none, if there are none.
fn settings(path: &Path, manifest: &Manifest, name: &str) -> Result<(), Trouble> {
    let table = manifest.services.get(name).and_then(|service| service.get_ref().settings.as_ref());
    match table.map(|table| toml::to_string(table.get_ref()).unwrap_or_default()) {
        Some(text) => write(path, text.as_bytes()),
        None if path.exists() => fs::remove_file(path).map_err(|error| Trouble::io("remove", path, error)),
        None => Ok(()),
    }
}

fn given_images(args: &Args, manifest: &Manifest) -> Result<BTreeMap<String, PathBuf>, Trouble> {
    let mut given = BTreeMap::new();
    for word in &args.image {
        let Some((name, path)) = word.split_once('=') else {
            return Err(Trouble::new(format!("--image {word:?} is not SERVICE=ELF")));
        };
        if !manifest.services.contains_key(name) {
            return Err(Trouble::new(format!("--image {name}: {} has no such service", args.file.display())));
        }
        given.insert(name.to_owned(), PathBuf::from(path));
    }
    Ok(given)
}

/// Builds a service by `nymote build`, as a process of its own; its last line says where the program is.
fn build(name: &str, target: &str) -> Result<PathBuf, Trouble> {
    let mut command = Command::new("/proc/self/exe");
    let (code, out, err) = within(command.args(["build", name, "--target", target, "--json"]), BUILD_TIME)?;
    let text = String::from_utf8_lossy(&out).into_owned();
    let line = text.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
    match line.as_ref().and_then(|line| line["elf"].as_str()) {
        Some(elf) if code == Some(0) => Ok(PathBuf::from(elf)),
        _ => Err(Trouble::new(format!("{name} was not built: {}", last_line(&err)))
            .advise("`nymote build` says more; or give a program with --image")),
    }
}

fn signing_key(path: &Path) -> Result<PathBuf, Trouble> {
    let path = std::path::absolute(path).map_err(|error| Trouble::io("find", path, error))?;
    if !path.exists() {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", "", "-C", "nymote deploy", "-f"]).arg(&path);
        let (code, _, err) = within(&mut command, Duration::from_secs(30))?;
        if code != Some(0) {
            return Err(Trouble::new(format!("no key was made at {}: {}", path.display(), last_line(&err))));
        }
    }
    Ok(path)
}

fn repository(dir: &Path) -> Result<Git, Trouble> {
    if !dir.join(".git").exists() {
        fs::create_dir_all(dir).map_err(|error| Trouble::io("make", dir, error))?;
        Git::at(dir).run(&["init", "-q", "-b", "main"])?;
    }
    let git = Git::at(dir);
    let changed = git.run(&["status", "--porcelain", "-uno"])?;
    if changed.is_empty() {
        Ok(git)
    } else {
        Err(Trouble::new(format!("{} has changes that are not committed", dir.display()))
            .advise("commit or discard them first: a deployment says what it is"))
    }
}

/// Writes an account as nymote.toml has it; gives the password of one that is new or gets another (`anew`): it is nowhere else.
fn account(
    repository: &Path,
    manifest: &Manifest,
    entry: &crate::manifest::AccountEntry,
    anew: bool,
) -> Result<Option<(String, String)>, Trouble> {
    let user = entry.user.get_ref();
    let dir = repository.join("accounts");
    let path = dir.join(format!("{user}.toml"));
    let wrong = |error: chassis::config::ConfigError| Trouble::new(error.to_string());
    let before: Option<Account> = match fs::read(&path) {
        Ok(bytes) => Some(chassis::config::parse(&format!("accounts/{user}.toml"), &bytes).map_err(wrong)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(Trouble::io("read", &path, error)),
    };
    let password = (anew || before.is_none()).then(chassis::accounts::new_password);
    let address = format!("{user}@{}", manifest.domain.get_ref());
    let mut account = match (before.clone(), &password) {
        (None, password) => Account::new(user, &address, password.as_deref().unwrap_or_default()),
        (Some(mut account), Some(password)) => {
            account.set_password(password);
            account
        }
        (Some(account), None) => account,
    };
    (account.name, account.admin) = (entry.name.clone(), entry.admin);
    if before.as_ref() == Some(&account) {
        return Ok(None);
    }
    if before.is_some() {
        account.touch();
    }
    fs::create_dir_all(&dir).map_err(|error| Trouble::io("make", &dir, error))?;
    write(&path, &chassis::config::written("account", &account).map_err(wrong)?)?;
    Ok(password.map(|password| (user.clone(), password)))
}

/// Removes accounts that nymote.toml no longer names.
fn drop_accounts(repository: &Path, manifest: &Manifest) -> Result<Vec<String>, Trouble> {
    let named = |user: &str| manifest.accounts.iter().any(|entry| entry.get_ref().user.get_ref() == user);
    let mut dropped = Vec::new();
    for entry in fs::read_dir(repository.join("accounts")).into_iter().flatten().flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        if let Some(user) = file.strip_suffix(".toml").filter(|user| !named(user)) {
            fs::remove_file(entry.path()).map_err(|error| Trouble::io("remove", &entry.path(), error))?;
            dropped.push(format!("the account {user}"));
        }
    }
    Ok(dropped)
}

/// Removes machines that nymote.toml no longer names.
fn drop_machines(repository: &Path, manifest: &Manifest) -> Result<Vec<String>, Trouble> {
    let dir = repository.join("machines");
    let mut dropped = Vec::new();
    for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !manifest.services.contains_key(&name) {
            fs::remove_dir_all(entry.path()).map_err(|error| Trouble::io("remove", &entry.path(), error))?;
            dropped.push(name);
        }
    }
    Ok(dropped)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Trouble> {
    fs::write(path, bytes).map_err(|error| Trouble::io("write", path, error))
}

fn message(args: &Args, manifest: &Manifest, dropped: &[String]) -> String {
    args.message.clone().unwrap_or_else(|| {
        let names: Vec<&str> = manifest.services.keys().map(String::as_str).collect();
        let gone =
            if dropped.is_empty() { String::new() } else { format!("; without {}", dropped.join(", ")) };
        format!("Deploy {} for {}{gone}", names.join(", "), args.target)
    })
}

/// Commits everything, signed; `None` when nothing changed. Then packs, so that the next release is a delta of this one.
fn commit(git: &Git, key: &Path, message: &str) -> Result<Option<String>, Trouble> {
    git.run(&["add", "-A"])?;
    if git.asks(&["diff", "--cached", "--quiet"]) {
        return Ok(None);
    }
    let signing = format!("user.signingkey={}", key.display());
    let as_us = [
        "-c",
        "gpg.format=ssh",
        "-c",
        &signing,
        "-c",
        "user.name=nymote deploy",
        "-c",
        "user.email=deploy@localhost",
    ];
    git.run(&[&as_us[..], &["commit", "-q", "-S", "-m", message]].concat())?;
    git.run(&["-c", "pack.window=20", "-c", "pack.depth=100", "repack", "-q", "-a", "-d"])?;
    git.run(&["rev-parse", "HEAD"]).map(Some)
}

fn report(
    args: &Args,
    git: &Git,
    key: &Path,
    commit: Option<&str>,
    passwords: &[(String, String)],
) -> Result<(), Trouble> {
    let public = key.with_extension("key.pub");
    let public = if public.exists() { public } else { PathBuf::from(format!("{}.pub", key.display())) };
    let public = fs::read_to_string(&public).map_err(|error| Trouble::io("read", &public, error))?;
    let signer =
        format!("deploy@localhost {}", public.split_whitespace().take(2).collect::<Vec<_>>().join(" "));
    if args.json {
        let accounts: Vec<Value> = passwords
            .iter()
            .map(|(user, password)| serde_json::json!({"user": user, "password": password}))
            .collect();
        println!(
            "{}",
            serde_json::json!({"commit": commit, "repository": git.dir, "signer": signer, "accounts": accounts})
        );
        return Ok(());
    }
    match commit {
        Some(commit) => println!("{} is at {}", git.dir.display(), &commit[..12.min(commit.len())]),
        None => println!("nothing changed since the last deployment"),
    }
    for (user, password) in passwords {
        println!("account {user}  password {password}   (shown this once)");
    }
    println!(
        "a host follows it with: nymote host --repository {} --signers FILE\nwith this line in FILE:\n{signer}",
        git.dir.display()
    );
    Ok(())
}

/// A service's own settings, beside its image.
pub const SETTINGS: &str = "settings.toml";
/// All of an appliance from nothing, on two cores.
const BUILD_TIME: Duration = Duration::from_secs(1800);
