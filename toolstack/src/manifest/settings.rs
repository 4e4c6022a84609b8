//! `[service.NAME.settings]`: the appliance's own settings, checked by its own types before anything is built.

use serde::de::DeserializeOwned;
use toml::{Spanned, Table};

use super::Fault;

/// What is wrong in a service's settings, key by key, each with its line.
pub(super) fn faults(name: &str, settings: &Spanned<Table>, text: &str) -> Vec<Fault> {
    let wrong = |key: &str, value: &toml::Value| {
        let one = Table::from_iter([(key.to_owned(), value.clone())]);
        let refused = match name {
            "mail" => refused::<mail::settings::Settings>(one),
            "signpost" => refused::<signpost_dns::settings::Settings>(one),
            _ => Some(format!("{name} has no settings")),
        };
        let place = place_of(key, text, settings.span().start);
        refused.map(|why| Fault::at(text, place, format!("{name}'s setting {key}: {why}")))
    };
    settings.get_ref().iter().filter_map(|(key, value)| wrong(key, value)).collect()
}

fn refused<T: DeserializeOwned>(one: Table) -> Option<String> {
    one.try_into::<T>().err().map(|error| error.message().trim().to_owned())
}

/// The byte at which the line with this key begins: its own line, or the head of its table.
fn place_of(key: &str, text: &str, from: usize) -> usize {
    let mut at = text[..from.min(text.len())].rfind('\n').map_or(0, |end| end + 1);
    for line in text[at..].split_inclusive('\n') {
        let words = line.trim_start().trim_start_matches(['"', '\'']);
        let own =
            words.strip_prefix(key).is_some_and(|rest| rest.starts_with([' ', '=', '.', '"', '\'', '\t']));
        if own || line.trim_end().ends_with(&format!(".{key}]")) || line.contains(&format!("{{ {key} ")) {
            return at;
        }
        at += line.len();
    }
    from
}
