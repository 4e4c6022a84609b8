//! Messages in bulk: Maildir, mbox and another IMAP server come in; Maildirs go out. With a progress bar.

use super::files;
use super::imap::{Session, Source};
use super::shown;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chassis::command::Reach;
use chassis::control::CommandError;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};
use std::path::PathBuf;
use tokio::sync::mpsc;

/// The words of `import`.
pub fn import_command() -> Command {
    let path = Arg::new("path").required(true).value_name("PATH");
    Command::new("import")
        .about("Reads a Maildir or an mbox file into a mailbox")
        .arg(Arg::new("user").required(true).value_name("ACCOUNT"))
        .arg(path.help("A Maildir (with cur and new) or an mbox file"))
        .arg(Arg::new("mailbox").long("to").default_value("INBOX").value_name("MAILBOX"))
}

/// The words of `import-imap`.
pub fn import_imap_command() -> Command {
    let text = |name: &'static str, long: &'static str| Arg::new(name).long(long).value_name("TEXT");
    Command::new("import-imap")
        .about("Reads all mailboxes of an account on another IMAP server")
        .arg(Arg::new("user").required(true).value_name("ACCOUNT").help("The account here"))
        .arg(
            Arg::new("host")
                .required(true)
                .value_name("HOST")
                .help("imap.example.org or imap.example.org:993"),
        )
        .arg(text("login", "user").required(true).help("The user name there"))
        .arg(
            text("file", "password-file")
                .required(true)
                .help("A file whose first line is the password there"),
        )
        .arg(text("ca", "trust").help("Certificates to trust beside the usual ones (a PEM file)"))
        .arg(
            Arg::new("starttls")
                .long("starttls")
                .action(ArgAction::SetTrue)
                .help("Begin without TLS and ask for it, as on port 143"),
        )
        .arg(
            text("below", "below")
                .help("Put the mailboxes below one of this name, instead of beside your own"),
        )
}

/// Reads another server's account, mailbox by mailbox.
pub async fn import_imap(reach: &Reach, m: &ArgMatches, as_json: bool) -> Result<(), CommandError> {
    let text = |name: &str| m.get_one::<String>(name).cloned().unwrap_or_default();
    let read = |path: &str| std::fs::read(path).map_err(|error| CommandError(format!("{path}: {error}")));
    let password = read(&text("file"))?;
    let password = String::from_utf8_lossy(&password).lines().next().unwrap_or_default().to_owned();
    let starttls = m.get_flag("starttls");
    let host = text("host");
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name.to_owned(), port.parse().ok()),
        None => (host.clone(), Some(if starttls { 143 } else { 993 })),
    };
    let source = Source {
        host: name,
        port: port.ok_or_else(|| CommandError(format!("{host}: the port is no number")))?,
        starttls,
        user: text("login"),
        password,
        trust_pem: m.get_one::<String>("ca").map_or(Ok(Vec::new()), |path| read(path))?,
    };
    let failed = {
        let host = host.clone();
        move |error: std::io::Error| CommandError(format!("{host}: {error}"))
    };
    let opened = tokio::task::spawn_blocking(move || {
        let mut session = Session::open(&source)?;
        let mailboxes = session.mailboxes()?;
        Ok((session, mailboxes))
    });
    let (mut session, mailboxes) = opened.await.map_err(CommandError::from_error)?.map_err(&failed)?;
    let total: u64 = mailboxes.iter().map(|m| u64::from(m.messages)).sum();
    let user = text("user");
    let own = reach.ask("mail.special", json!({ "user": user })).await?;
    let below = text("below");
    let (mut done, mut known, mut boxes) = (0, 0, Vec::new());
    for mailbox in mailboxes {
        // Sent mail there is sent mail here, whatever both call it.
        let special = own[&mailbox.special_use]
            .as_str()
            .filter(|_| below.is_empty() && !mailbox.special_use.is_empty());
        let to = match special {
            Some(special) => special.to_owned(),
            None if below.is_empty() => mailbox.name.clone(),
            None => format!("{below}/{}", mailbox.name),
        };
        let (sender, input) = mpsc::channel(4);
        let reading = tokio::task::spawn_blocking(move || {
            let read = session.read(&mailbox, |one| {
                let value = json!({"raw": STANDARD.encode(&one.raw), "flags": one.flags, "date": one.date});
                sender.blocking_send(value).map_err(|_| std::io::Error::other("the import here ended"))
            });
            (session, read)
        });
        let args = json!({"user": user, "mailbox": to});
        let before = done + known;
        let imported = reach.call("mail.import", args, input, |p| bar(before + seen(&p), total)).await;
        let (back, read) = reading.await.map_err(CommandError::from_error)?;
        session = back;
        let imported = imported?;
        done += number(&imported, "imported");
        known += number(&imported, "known");
        read.map_err(|error| {
            CommandError(format!("{}; {done} messages were imported before", failed(error).0))
        })?;
        boxes.push(to);
    }
    eprintln!();
    let count = boxes.len();
    shown(json!({"imported": done, "known": known, "mailboxes": boxes}), as_json, |v| {
        format!("{}, into {count} mailboxes.\n", told(v))
    })
}

pub async fn import(
    reach: &Reach,
    user: &str,
    path: PathBuf,
    mailbox: &str,
    as_json: bool,
) -> Result<(), CommandError> {
    let messages =
        files::list(&path).map_err(|error| CommandError(format!("{}: {error}", path.display())))?;
    let total = messages.len();
    let (sender, input) = mpsc::channel(4);
    let reading = std::thread::spawn(move || {
        for message in messages {
            let one = message.read()?;
            let value = json!({"raw": STANDARD.encode(&one.raw), "flags": one.flags, "date": one.date});
            if sender.blocking_send(value).is_err() {
                break;
            }
        }
        Ok::<(), std::io::Error>(())
    });
    let args = json!({"user": user, "mailbox": mailbox});
    let done = reach.call("mail.import", args, input, |p| bar(seen(&p), total as u64)).await;
    eprintln!();
    match reading.join() {
        Ok(Err(error)) => {
            Err(CommandError(format!("{}: {error}; what was read before is imported", path.display())))
        }
        _ => shown(done?, as_json, |v| format!("{}, into {mailbox}.\n", told(v))),
    }
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or(0)
}

/// Messages that an import is done with.
fn seen(value: &Value) -> u64 {
    number(value, "imported") + number(value, "known")
}

fn told(value: &Value) -> String {
    let imported = number(value, "imported");
    match number(value, "known") {
        0 => format!("{imported} messages were imported"),
        known => format!("{imported} messages were imported, {known} were there already"),
    }
}

pub async fn export(reach: &Reach, user: &str, dir: PathBuf, as_json: bool) -> Result<(), CommandError> {
    std::fs::create_dir(&dir).map_err(|error| CommandError(format!("{}: {error}", dir.display())))?;
    let (_, input) = mpsc::channel(1);
    let (mut failed, mut count) = (None, 0u64);
    let done = reach
        .call("mail.export", json!({ "user": user }), input, |one| {
            count += 1;
            if failed.is_none() {
                failed = files::write(&dir, &one).err();
            }
            if count % 100 == 0 {
                eprint!("\r{count} messages");
            }
        })
        .await?;
    match failed {
        Some(error) => Err(CommandError(format!("{}: {error}", dir.display()))),
        None => shown(done, as_json, |v| format!("\r{} messages are in {}.\n", v["exported"], dir.display())),
    }
}

/// A progress bar on a terminal's standard error.
fn bar(done: u64, total: u64) {
    const WIDTH: u64 = 40;
    let full = (done * WIDTH).checked_div(total).unwrap_or(WIDTH).min(WIDTH) as usize;
    eprint!("\r[{}{}] {done} of {total}", "#".repeat(full), " ".repeat(WIDTH as usize - full));
}
