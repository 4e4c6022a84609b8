//! `nymote logs`: the one log, filtered, in colours, followed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::place::Place;
use crate::trouble::Trouble;
use crate::up::{Filter, LOG_DIR, LOG_FILE, paint};

/// Shows the log of all appliances.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  nymote logs mail -f               follow what mail does\n  nymote logs --level warn          what went wrong\n  nymote logs --grep anna --json    lines about anna, as JSON"
)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// Only these appliances: mail, contacts, calendar, signpost, nymote
    only: Vec<String>,
    /// Go on as lines come
    #[arg(short, long)]
    follow: bool,
    /// The last lines that fit; 0 for all
    #[arg(short = 'n', long, default_value_t = 50)]
    lines: usize,
    /// The least level: error, warn, info, debug
    #[arg(long, default_value = "info")]
    level: String,
    /// Only lines with this text in them
    #[arg(long)]
    grep: Option<String>,
    /// As they are kept: JSON lines
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: Args) -> Result<(), Trouble> {
    let path = args.place.dir().join(LOG_DIR).join(LOG_FILE);
    let mut file = open(&path)?;
    let mut shown = Vec::new();
    let mut text = String::new();
    while let Some(line) = next(&mut file, &mut text).map_err(|error| Trouble::io("read", &path, error))? {
        shown.extend(fitting(&args, &line));
        if args.lines > 0 && shown.len() > 2 * args.lines {
            shown.drain(..args.lines);
        }
    }
    let first = if args.lines == 0 { 0 } else { shown.len().saturating_sub(args.lines) };
    let written = shown[first..].iter().try_for_each(|line| writeln!(io::stdout(), "{line}"));
    if written.is_err() || !args.follow {
        return Ok(()); // whoever reads us has enough
    }
    loop {
        while let Some(line) =
            next(&mut file, &mut text).map_err(|error| Trouble::io("read", &path, error))?
        {
            if let Some(line) = fitting(&args, &line)
                && writeln!(io::stdout(), "{line}").is_err()
            {
                return Ok(());
            }
        }
        std::thread::sleep(Duration::from_millis(200));
        if rotated(&file, &path) {
            file = open(&path)?;
        }
    }
}

fn open(path: &Path) -> Result<BufReader<File>, Trouble> {
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Trouble::new(format!("there is no log at {}", path.display())).advise("`nymote up` writes one")
        }
        _ => Trouble::io("read", path, error),
    })?;
    Ok(BufReader::new(file))
}

/// The next whole line; what is not whole yet stays in `text`.
fn next(file: &mut BufReader<File>, text: &mut String) -> io::Result<Option<String>> {
    file.read_line(text)?;
    Ok(text.ends_with('\n').then(|| std::mem::take(text).trim_end().to_owned()))
}

fn rotated(file: &BufReader<File>, path: &Path) -> bool {
    let inode = |metadata: io::Result<std::fs::Metadata>| metadata.map(|metadata| metadata.ino()).ok();
    inode(file.get_ref().metadata()) != inode(std::fs::metadata(path))
}

fn fitting(args: &Args, line: &str) -> Option<String> {
    let parsed: Value = serde_json::from_str(line).ok()?;
    let filter = Filter { only: args.only.clone(), level: args.level.clone() };
    let has = args.grep.as_ref().is_none_or(|wanted| line.contains(wanted.as_str()));
    if !filter.lets(&parsed) || !has {
        return None;
    }
    Some(if args.json { line.to_owned() } else { paint(&parsed, io::stdout().is_terminal()) })
}
