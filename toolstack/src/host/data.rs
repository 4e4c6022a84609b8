//! A machine's disk while the machine stands still: made, given what it must know, tagged before an update, taken back.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use chassis::accounts::Account;
use chassis::config::note_older;
use chassis::place;
use chassis::tls::{self, Authority};
use store::{Author, Options, Store, Transaction};

use super::follow::short;
use crate::deploy::Machine;
use crate::suite;
use crate::trouble::Trouble;

/// Makes the disk if there is none; makes it larger if it is smaller than it should be.
pub fn ensure(disk: &Path, machine: &Machine) -> Result<(), Trouble> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(disk);
    let file = file.map_err(|error| Trouble::io("make", disk, error))?;
    let size = file.metadata().map_err(|error| Trouble::io("read", disk, error))?.len();
    if size < machine.disk_bytes {
        file.set_len(machine.disk_bytes).map_err(|error| Trouble::io("grow", disk, error))?;
    }
    Ok(())
}

/// Opens the store on a disk of a machine that stands still.
pub fn open(disk: &Path, name: &str) -> Result<Store, Trouble> {
    let settings =
        suite::member(name).map_or_else(Options::new, |member| (member.identity.store)(Options::new()));
    place::open_path(disk, settings).map_err(|error| Trouble::new(format!("{}: {error}", disk.display())))
}

/// Gives the machine what it must know: the domain, its certificate, what changed of the accounts.
pub fn provide(
    store: &Store,
    machine: &Machine,
    authority: &Authority,
    accounts: &[(String, Vec<u8>)],
    leaf_key: &str,
) -> Result<(), Trouble> {
    let failed = |error: store::Error| {
        Trouble::new(format!("{}'s configuration cannot be written: {error}", machine.name))
    };
    let config = store.branch("config").map_err(failed)?;
    let mut change = config.begin().map_err(failed)?;
    let labels = suite::member(&machine.name).map_or(&[][..], |member| member.identity.labels);
    let (names, addresses) = tls::names_and_addresses(&machine.domain, labels, &[machine.address]);
    let leaf =
        authority.issue_for(leaf_key, &names, &addresses).map_err(|error| Trouble::new(error.to_string()))?;
    let given = chassis::run::GivenCertificate { leaf, authority_pem: authority.certificate_pem.clone() };
    let text = chassis::config::written(chassis::run::GIVEN_CERTIFICATE, &given);
    change
        .put(chassis::run::GIVEN_CERTIFICATE, text.map_err(|error| Trouble::new(error.to_string()))?)
        .map_err(failed)?;
    provide_accounts(&mut change, accounts)?;
    change.commit(Author::new("host", "host@localhost"), "What the host provides").map_err(failed)?;
    Ok(())
}

/// Brings what the deployment changed of its accounts since it was carried out here last: new ones, passwords, names, those that
/// are gone. Everything else of an account is the machine's own: devices, a password that was changed there.
fn provide_accounts(change: &mut Transaction, accounts: &[(String, Vec<u8>)]) -> Result<(), Trouble> {
    let failed = |error: store::Error| Trouble::new(format!("the accounts cannot be written: {error}"));
    let parse = |bytes: &[u8]| -> Result<Account, Trouble> {
        chassis::config::parse("an account", bytes).map_err(|error| Trouble::new(error.to_string()))
    };
    for (name, bytes) in accounts {
        let (own, kept) = (format!("{ACCOUNTS}/{name}"), format!("{DEPLOYED_ACCOUNTS}/{name}"));
        let before = change.read(&kept).map_err(failed)?.map(|bytes| parse(&bytes)).transpose()?;
        match change.read(&own).map_err(failed)? {
            None => drop(change.put(&own, bytes.clone()).map_err(failed)?),
            Some(there) => {
                let there = parse(&there)?;
                let account = there.deployed(before.as_ref(), &parse(bytes)?);
                if account != there {
                    let text = chassis::config::written(&own, &account);
                    change
                        .put(&own, text.map_err(|error| Trouble::new(error.to_string()))?)
                        .map_err(failed)?;
                }
            }
        }
        change.put(kept, bytes.clone()).map_err(failed)?;
    }
    for entry in change.list(DEPLOYED_ACCOUNTS).map_err(failed)? {
        let name = entry.name().into_owned();
        if accounts.iter().all(|(deployed, _)| *deployed != name) {
            change.remove(format!("{ACCOUNTS}/{name}")).map_err(failed)?;
            change.remove(format!("{DEPLOYED_ACCOUNTS}/{name}")).map_err(failed)?;
        }
    }
    Ok(())
}

/// Gives the machine its settings as they were deployed, key by key: what the machine itself changed under other keys
/// stays. Where nothing was deployed anew, nothing is touched.
pub fn set(store: &Store, machine: &Machine, deployed: Option<Vec<u8>>) -> Result<(), Trouble> {
    let failed =
        |error: store::Error| Trouble::new(format!("{}'s settings cannot be written: {error}", machine.name));
    let (own, kept) = (format!("{}.toml", machine.name), format!("deployed/{}.toml", machine.name));
    let config = store.branch("config").map_err(failed)?;
    let mut change = config.begin().map_err(failed)?;
    let before = change.read(&kept).map_err(failed)?.map(|bytes| bytes.to_vec());
    if before == deployed {
        return Ok(());
    }
    let read = |bytes: Option<Vec<u8>>| -> Result<toml::Table, Trouble> {
        let text = String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
        toml::from_str(&text).map_err(|error| Trouble::new(format!("{own}: {}", error.message())))
    };
    let mut settings = read(change.read(&own).map_err(failed)?.map(|bytes| bytes.to_vec()))?;
    for (key, _) in read(before)? {
        settings.remove(&key);
    }
    settings.extend(read(deployed.clone())?);
    change.put(&own, toml::to_string(&settings).unwrap_or_default()).map_err(failed)?;
    match deployed {
        Some(bytes) => drop(change.put(&kept, bytes).map_err(failed)?),
        None => drop(change.remove(&kept).map_err(failed)?),
    }
    change.commit(Author::new("host", "host@localhost"), "Settings as deployed").map_err(failed)?;
    Ok(())
}

/// Gives signpost the key by which the host keeps the household's records in its zone.
pub fn introduce(store: &Store, name: &str, key: toml::Table) -> Result<(), Trouble> {
    let failed = |error: store::Error| Trouble::new(format!("signpost's key cannot be written: {error}"));
    let config = store.branch("config").map_err(failed)?;
    let mut change = config.begin().map_err(failed)?;
    let text = change.read("signpost.toml").map_err(failed)?.map(|bytes| bytes.to_vec()).unwrap_or_default();
    let mut settings: toml::Table = toml::from_str(&String::from_utf8_lossy(&text))
        .map_err(|error| Trouble::new(format!("signpost.toml: {}", error.message())))?;
    let keys = settings.entry("keys").or_insert_with(|| toml::Table::new().into());
    let Some(keys) = keys.as_table_mut() else {
        return Err(Trouble::new("signpost.toml: keys is not a table"));
    };
    let key = toml::Value::Table(key);
    if keys.get(name) == Some(&key) {
        return Ok(());
    }
    keys.insert(name.to_owned(), key);
    change.put("signpost.toml", toml::to_string(&settings).unwrap_or_default()).map_err(failed)?;
    change.commit(Author::new("host", "host@localhost"), "The host's key").map_err(failed)?;
    Ok(())
}

/// Tags every branch as it is before a commit is carried out: `before/COMMIT/BRANCH`.
pub fn tag(store: &Store, commit: &str) -> Result<(), Trouble> {
    for (branch, head) in store.branches() {
        let name = format!("before/{}/{branch}", short(commit));
        let author = Author::new("host", "host@localhost");
        let message = format!("{branch} before {commit}\n");
        match store.tag(&name, head, Some((author, &message))) {
            Ok(_) | Err(store::Error::Exists { .. }) => {} // tried before: the first try has the truth
            Err(error) => return Err(Trouble::new(format!("the data cannot be tagged: {error}"))),
        }
    }
    Ok(())
}

/// Takes every branch but `config` back to where it was before a commit was carried out. Where it was until now is tagged
/// too, so that nothing is lost. Gives the number of branches that moved.
pub fn restore(store: &Store, reverted: &str, by: &str) -> Result<usize, Trouble> {
    tag(store, by)?;
    let failed = |error: store::Error| Trouble::new(format!("the data cannot be taken back: {error}"));
    let prefix = format!("before/{}/", short(reverted));
    note_older(store, &format!("as before {reverted}, by {by}")).map_err(failed)?;
    let mut moved = 0;
    for (name, head) in store.branches() {
        if name == "config" {
            continue;
        }
        let Ok(then) = store.resolve(&format!("{prefix}{name}")) else { continue };
        if then != head {
            store.branch(&name).map_err(failed)?.reset(Some(head), then).map_err(failed)?;
            moved += 1;
        }
    }
    Ok(moved)
}

/// Writes a file that is on the disk when this returns.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Trouble> {
    let written = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(mode).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    written().map_err(|error| Trouble::io("write", path, error))
}

/// Moves a version's directory into place; a power cut leaves the old one or the new one (`current` or `previous`).
pub fn promote(next: &Path, current: &Path, previous: &Path) -> Result<(), Trouble> {
    let moved = |from: &Path, to: &Path| {
        let sync = || fs::File::open(from.parent().unwrap_or(from))?.sync_all();
        fs::rename(from, to).and_then(|()| sync()).map_err(|error| Trouble::io("move", from, error))
    };
    if current.exists() {
        let _ = fs::remove_dir_all(previous);
        moved(current, previous)?;
    }
    moved(next, current)
}

/// On the `config` branch: the accounts, and as they were deployed last.
const ACCOUNTS: &str = "accounts";
const DEPLOYED_ACCOUNTS: &str = "deployed/accounts";

#[cfg(test)]
mod tests {
    use super::*;

    fn file(account: &Account) -> (String, Vec<u8>) {
        (format!("{}.toml", account.user), chassis::config::written("x", account).unwrap())
    }

    /// A disk after these accounts were deployed onto it; gives the account of anna.
    fn deploy(store: &Store, accounts: &[&Account]) -> Option<Account> {
        let files: Vec<_> = accounts.iter().map(|one| file(one)).collect();
        let mut change = store.branch("config").unwrap().begin().unwrap();
        provide_accounts(&mut change, &files).unwrap();
        change.commit(Author::new("host", "h@x"), "x").unwrap();
        look(store)
    }

    fn look(store: &Store) -> Option<Account> {
        let bytes =
            store.branch("config").unwrap().snapshot().unwrap().read("accounts/anna.toml").unwrap()?;
        Some(chassis::config::parse("x", &bytes).unwrap())
    }

    fn write(store: &Store, account: &Account) {
        let mut change = store.branch("config").unwrap().begin().unwrap();
        let (name, bytes) = file(account);
        change.put(format!("accounts/{name}"), bytes).unwrap();
        change.commit(Author::new("machine", "m@x"), "x").unwrap();
    }

    #[test]
    fn what_the_deployment_changed_of_an_account_is_changed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create_path(dir.path().join("disk"), Options::new()).unwrap();
        let (anna, ben) =
            (Account::new("anna", "a@x", "first password"), Account::new("ben", "b@x", "password"));
        assert_eq!(deploy(&store, &[&anna, &ben]).as_ref(), Some(&anna));
        // The machine's own change stays while the deployment says what it said.
        let mut own = anna.clone();
        own.set_password("made on the machine");
        write(&store, &own);
        assert_eq!(deploy(&store, &[&anna, &ben]).as_ref(), Some(&own));
        // A name leaves the password alone; a password is taken, and taken back by a revert.
        let named = Account { name: "Anna".into(), ..anna.clone() };
        let now = deploy(&store, &[&named, &ben]).unwrap();
        assert_eq!((now.name.as_str(), &now.password), ("Anna", &own.password));
        let mut newer = named.clone();
        newer.set_password("deployed anew");
        assert_eq!(deploy(&store, &[&newer, &ben]).unwrap().password, newer.password);
        let now = deploy(&store, &[&named, &ben]).unwrap();
        assert!(now.password == anna.password && now.changed_ms > newer.changed_ms.min(own.changed_ms));
        // Gone from the deployment, gone here; one that was made here is nobody else's.
        write(&store, &Account::new("guest", "g@x", "password"));
        assert_eq!(deploy(&store, &[&ben]), None);
        let there = store.branch("config").unwrap().snapshot().unwrap();
        let names: Vec<_> =
            there.list("accounts").unwrap().iter().map(|one| one.name().into_owned()).collect();
        assert_eq!(names, ["ben.toml", "guest.toml"]);
        // Another of the same name is another.
        let other = Account::new("anna", "a@x", "somebody else");
        assert_eq!(deploy(&store, &[&other, &ben]), Some(other));
    }
}
