//! `nymote contacts …` and `nymote calendar …`: list, add, import, export, agenda.

use std::io::{Read, Write};
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chassis::command::Reach;
use chassis::control::CommandError;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::household::properties::Kind;
use crate::pages::About;

/// A file goes to the appliance in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

/// The words.
pub fn words(about: &'static About) -> Command {
    let calendar = about.kind == Kind::Calendar;
    let user = || Arg::new("user").required(true).value_name("ACCOUNT");
    let collection = |help: &'static str| Arg::new("collection").long("in").value_name("NAME").help(help);
    let json =
        Arg::new("json").long("json").action(ArgAction::SetTrue).global(true).help("Answers for programs");
    let (name, what, things) = match calendar {
        true => ("calendar", "Calendars: list, add, import, export, agenda", "calendars"),
        false => ("contacts", "Contacts: list, add, import, export", "books"),
    };
    let list = Command::new("list")
        .about(if calendar { "Events and tasks by title" } else { "People by name" })
        .arg(user())
        .arg(Arg::new("query").value_name("TEXT").help("Only those that say it"))
        .arg(collection("One collection, as the list of them shows it; all without it"));
    let add = match calendar {
        true => Command::new("add")
            .about("Adds an event")
            .arg(user())
            .arg(Arg::new("title").required(true).value_name("WHAT"))
            .arg(
                Arg::new("start")
                    .long("at")
                    .required(true)
                    .value_name("TIME")
                    .help("2026-12-01T10:00, or a day for all day"),
            )
            .arg(
                Arg::new("minutes")
                    .long("minutes")
                    .value_name("N")
                    .allow_hyphen_values(true)
                    .value_parser(clap::value_parser!(i64))
                    .help("How long [default: 60]"),
            )
            .arg(Arg::new("location").long("where").value_name("PLACE"))
            .arg(
                Arg::new("zone")
                    .long("zone")
                    .value_name("ZONE")
                    .help("Europe/Berlin and the like [default: the calendar's]"),
            )
            .arg(
                Arg::new("rule")
                    .long("rule")
                    .value_name("RRULE")
                    .help("How it repeats: FREQ=WEEKLY;BYDAY=MO"),
            ),
        false => Command::new("add")
            .about("Adds a contact")
            .arg(user())
            .arg(Arg::new("title").required(true).value_name("NAME"))
            .arg(Arg::new("mail").long("mail").action(ArgAction::Append).value_name("ADDRESS"))
            .arg(Arg::new("phone").long("phone").action(ArgAction::Append).value_name("NUMBER")),
    };
    let all = Command::new(name)
        .about(what)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(json)
        .subcommand(Command::new(things).about("The collections of an account").arg(user()))
        .subcommand(list)
        .subcommand(add.arg(collection("Where it goes [default: the one that every account begins with]")))
        .subcommand(
            Command::new("import")
                .about("Reads a file into a collection; what is there already is replaced or left")
                .arg(user())
                .arg(Arg::new("path").required(true).value_name("FILE").help("- reads standard input"))
                .arg(collection("Where it goes [default: the one that every account begins with]")),
        )
        .subcommand(
            Command::new("export")
                .about("Writes a collection as one file")
                .arg(user())
                .arg(Arg::new("path").value_name("FILE").help("Standard output without it"))
                .arg(collection("Which one [default: the one that every account begins with]")),
        );
    match calendar {
        false => all,
        true => all.subcommand(
            Command::new("agenda")
                .about("What takes place, day by day")
                .arg(user())
                .arg(Arg::new("from").long("from").value_name("DAY").help("2026-12-31 [default: today]"))
                .arg(
                    Arg::new("days")
                        .long("days")
                        .default_value("14")
                        .value_name("N")
                        .allow_hyphen_values(true)
                        .value_parser(clap::value_parser!(i32).range(1..=3660)),
                ),
        ),
    }
}

/// Carries out what was typed.
pub async fn run(about: &'static About, matches: ArgMatches, reach: Reach) -> Result<(), CommandError> {
    let as_json = matches.get_flag("json");
    let Some((verb, m)) = matches.subcommand() else { return Err(CommandError("say what to do".into())) };
    let text = |name: &str| m.try_get_one::<String>(name).ok().flatten().cloned();
    let many = |name: &str| {
        let values = m.try_get_many::<String>(name).ok().flatten();
        values.map(|values| values.cloned().collect::<Vec<_>>()).unwrap_or_default()
    };
    let kind = about.kind;
    let mut args = json!({"user": text("user"), "kind": kind, "collection": text("collection")});
    match verb {
        "calendars" | "books" => {
            let mut all = reach.ask("collections.list", args).await?;
            let word = if kind == Kind::Calendar { "calendar" } else { "address book" };
            all.as_array_mut().into_iter().for_each(|all| all.retain(|one| one["kind"] == word));
            shown(&all, as_json, collections_for_people)
        }
        "list" => {
            args["query"] = text("query").unwrap_or_default().into();
            shown(&reach.ask("objects.list", args).await?, as_json, objects_for_people)
        }
        "add" => {
            for name in ["title", "start", "location", "rule"] {
                args[name] = text(name).unwrap_or_default().into();
            }
            args["zone"] = text("zone").into();
            args["minutes"] = m.try_get_one::<i64>("minutes").ok().flatten().copied().into();
            (args["mail"], args["phone"]) = (many("mail").into(), many("phone").into());
            shown(&reach.ask("object.add", args).await?, as_json, |v| {
                format!("Added to {}.\n", v["collection"].as_str().unwrap_or_default())
            })
        }
        "import" => import(&reach, args, &text("path").unwrap_or_default(), as_json).await,
        "export" => export(&reach, args, text("path").map(PathBuf::from), as_json).await,
        "agenda" => {
            args["from"] = text("from").into();
            args["days"] = m.get_one::<i32>("days").copied().unwrap_or(14).into();
            shown(&reach.ask("agenda", args).await?, as_json, agenda_for_people)
        }
        other => Err(CommandError(format!("{other}: not known"))),
    }
}

fn shown(value: &Value, as_json: bool, people: impl FnOnce(&Value) -> String) -> Result<(), CommandError> {
    let text = if as_json { value.to_string() + "\n" } else { people(value) };
    std::io::stdout().write_all(text.as_bytes()).map_err(CommandError::from_error)
}

/// What a stranger put into a title must not steer a terminal.
fn plain(value: &Value) -> String {
    value.as_str().unwrap_or_default().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn rows(value: &Value, empty: &str, row: impl Fn(&Value) -> String) -> String {
    match value.as_array().map(Vec::as_slice) {
        None | Some([]) => format!("{empty}\n"),
        Some(all) => all.iter().map(row).collect(),
    }
}

fn collections_for_people(value: &Value) -> String {
    rows(value, "There is none.", |c| {
        format!("{:24}  {:24}  {} objects\n", plain(&c["collection"]), plain(&c["name"]), c["objects"])
    })
}

fn objects_for_people(value: &Value) -> String {
    rows(value, "Nothing.", |one| {
        let first = |list: &Value| plain(&list[0]);
        let when = if one["recurs"] == true { "repeats".into() } else { plain(&one["on"]) };
        let more = [first(&one["mail"]), first(&one["phone"]), plain(&one["organisation"]), when];
        let more: Vec<String> = more.into_iter().filter(|text| !text.is_empty()).collect();
        format!("{:40}  {}\n", plain(&one["title"]), more.join(", "))
    })
}

fn agenda_for_people(value: &Value) -> String {
    let (mut out, mut day) = (String::new(), String::new());
    for one in value.as_array().into_iter().flatten() {
        if plain(&one["day"]) != day {
            day = plain(&one["day"]);
            out += &format!("{day}\n");
        }
        let time = if one["all_day"] == true { "all day".into() } else { plain(&one["time"]) };
        let place = plain(&one["location"]);
        let place = if place.is_empty() { place } else { format!("  ({place})") };
        out += &format!("  {time:8} {}{place}\n", plain(&one["title"]));
    }
    if out.is_empty() { "Nothing.\n".into() } else { out }
}

async fn import(reach: &Reach, args: Value, path: &str, as_json: bool) -> Result<(), CommandError> {
    let cannot = |error: std::io::Error| CommandError(format!("{path}: {error}"));
    let mut file: Box<dyn Read + Send> = match path {
        "-" => Box::new(std::io::stdin()),
        path => Box::new(std::fs::File::open(path).map_err(cannot)?),
    };
    let (sender, input) = mpsc::channel(2);
    let reading = std::thread::spawn(move || {
        loop {
            let mut piece = Vec::new();
            file.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
            if piece.is_empty() || sender.blocking_send(json!({"piece": STANDARD.encode(&piece)})).is_err() {
                return Ok::<(), std::io::Error>(());
            }
        }
    });
    let mut drawn = false;
    let done = reach
        .call("objects.import", args, input, |p| {
            drawn = true;
            bar(p["done"].as_u64().unwrap_or(0), p["all"].as_u64().unwrap_or(0));
        })
        .await;
    if drawn {
        eprintln!();
    }
    if let Ok(Err(error)) = reading.join() {
        return Err(cannot(error));
    }
    shown(&done?, as_json, |v| {
        format!(
            "{} added, {} replaced, {} unchanged, {} refused; in {}.\n",
            v["added"],
            v["replaced"],
            v["unchanged"],
            v["refused"],
            plain(&v["collection"])
        )
    })
}

async fn export(
    reach: &Reach,
    args: Value,
    path: Option<PathBuf>,
    as_json: bool,
) -> Result<(), CommandError> {
    let name = path.as_ref().map_or_else(|| "standard output".into(), |path| path.display().to_string());
    let cannot = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            CommandError(format!("{name} is there already; nothing was written"))
        }
        _ => CommandError(format!("{name}: {error}")),
    };
    let mut out: Box<dyn Write> = match &path {
        Some(path) => Box::new(std::fs::File::create_new(path).map_err(cannot)?),
        None => Box::new(std::io::stdout()),
    };
    let (_, input) = mpsc::channel(1);
    let mut failed = None;
    let done = reach
        .call("objects.export", args, input, |one| {
            let piece = one["piece"].as_str().unwrap_or_default();
            if failed.is_none() {
                failed = out.write_all(piece.as_bytes()).err();
            }
        })
        .await;
    let written = failed.or_else(|| out.flush().err()).map(cannot);
    let done = match (done, written) {
        (Ok(done), None) => done,
        (Err(error), _) | (Ok(_), Some(error)) => {
            // Half a file would look like a whole one.
            path.iter().for_each(|path| drop(std::fs::remove_file(path)));
            return Err(error);
        }
    };
    match path {
        None => Ok(()),
        Some(_) => shown(&done, as_json, |v| format!("{} bytes are in {name}.\n", v["exported"])),
    }
}

/// A progress bar on a terminal's standard error.
fn bar(done: u64, total: u64) {
    const WIDTH: u64 = 40;
    let full = (done * WIDTH).checked_div(total).unwrap_or(WIDTH).min(WIDTH) as usize;
    eprint!("\r[{}{}] {done} of {total}", "#".repeat(full), " ".repeat(WIDTH as usize - full));
}
