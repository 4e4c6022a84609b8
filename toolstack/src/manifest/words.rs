//! A mistake in a file's grammar, said as what to write there: serde's own words are a programmer's.

use super::Fault;

/// Keys, and how each is written.
const WRITTEN: [(&str, &str); 14] = [
    ("domain", "domain = \"example.org\""),
    ("user", "user = \"anna\""),
    ("name", "name = \"Anna\""),
    ("admin", "admin = true or false"),
    ("bridge", "bridge = \"xenbr0\""),
    ("prefix", "prefix = \"192.168.1.0/24\""),
    ("gateway", "gateway = \"192.168.1.1\""),
    ("nameserver", "nameserver = \"192.168.1.1\""),
    ("memory", "memory = \"32 MB\""),
    ("disk", "disk = \"4 GB\""),
    ("network", "network = \"home\""),
    ("address", "address = \"192.168.1.11\""),
    ("ports", "ports = { imap = 1143 }"),
    ("settings", "[service.mail.settings] on a line of its own, and the settings below it"),
];
const TABLES: &str = "[[account]] for each account, [network.NAME], [service.NAME], [service.NAME.settings]";

/// The fault that an error of the grammar is.
pub(super) fn fault(error: &toml::de::Error, text: &str) -> Fault {
    let at = error.span().map_or(0, |span| span.start);
    Fault::at(text, at, in_words(error.message().trim(), &place(text, at)))
}

/// What stands at a byte.
enum Place {
    /// The head of a table.
    Head,
    /// A value, by its key.
    Key(String),
}

fn place(text: &str, at: usize) -> Place {
    let bytes = text.as_bytes();
    let at = at.min(bytes.len());
    let start = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let end = bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |more| at + more);
    let line = String::from_utf8_lossy(&bytes[start..end]);
    if line.trim_start().starts_with('[') {
        return Place::Head;
    }
    // In `{ imap = 70000 }` the last key before the value; otherwise the line's first.
    let before = String::from_utf8_lossy(&bytes[start..at]);
    let key = before.rsplit_once('=').or_else(|| line.split_once('=')).map_or("", |(key, _)| key);
    let key = key.rsplit(['{', ',', '=', '.']).next().unwrap_or_default();
    Place::Key(key.trim().trim_matches(['"', '\'']).to_owned())
}

fn in_words(message: &str, place: &Place) -> String {
    if let Some((wrong, known)) = unknown(message) {
        return format!("there is no {wrong} here{}; there are {}", meant(wrong, &known), known.join(", "));
    }
    if let Some(missing) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return format!("{missing} is missing: add {}", written(missing).unwrap_or(missing));
    }
    if message == "duplicate key" {
        return "this stands here a second time: keep one of them".to_owned();
    }
    if !message.starts_with("invalid ") {
        return message.to_owned();
    }
    match place {
        Place::Head => format!("this is not a table that can be here; there are {TABLES}"),
        Place::Key(_) if message.contains("expected u16") => "a port is a number from 1 to 65535".to_owned(),
        // A key right below [service] or [network], whose name is missing.
        Place::Key(_) if message.contains("expected struct") => {
            format!("the table that this is in lacks a name; there are {TABLES}")
        }
        Place::Key(key) => match written(key) {
            Some(written) => format!("write {written}"),
            None => message.to_owned(),
        },
    }
}

fn written(key: &str) -> Option<&'static str> {
    WRITTEN.iter().find(|(known, _)| *known == key).map(|(_, written)| *written)
}

/// What serde says of a key that it does not know: the key, and those it does.
fn unknown(message: &str) -> Option<(&str, Vec<&str>)> {
    let (wrong, rest) = message.strip_prefix("unknown field `")?.split_once('`')?;
    Some((wrong, rest.split('`').skip(1).step_by(2).collect()))
}

/// `: did you mean …?`, where one of the known names is a slip of the finger away.
pub(super) fn meant(wrong: &str, known: &[&str]) -> String {
    let slips = |one: &&&str| strsim::damerau_levenshtein(wrong, one);
    let nearest = known.iter().min_by_key(slips);
    match nearest.filter(|one| slips(one) <= SLIPS_MAX && slips(one) < wrong.chars().count()) {
        Some(one) => format!(": did you mean {one}?"),
        None => String::new(),
    }
}

/// Letters changed, added, left out or swapped.
const SLIPS_MAX: usize = 2;
