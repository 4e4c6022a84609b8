//! `nymote store gc`, `retain` and `purge`: making room, and forgetting.

use serde_json::{Value, json};
use store::{Author, Collected, Forgotten, Retention, Store};

use super::Failure;
use super::show::{Show, bytes, count, plain};

/// Frees what no branch and no tag reaches.
pub fn gc(show: &Show, store: &Store) -> Result<i32, Failure> {
    let before = store.statistics()?;
    let collected = store.gc()?;
    let after = store.statistics()?;
    let mut value = collected_value(&collected);
    value["used_bytes"] = json!(after.used_bytes);
    value["capacity_bytes"] = json!(after.capacity_bytes);
    let text = format!(
        "{} kept, {} removed; {} of {} in use, {} before",
        count(collected.kept, "object"),
        collected.removed,
        bytes(after.used_bytes),
        bytes(after.capacity_bytes),
        bytes(before.used_bytes)
    );
    show.line(value, text);
    Ok(0)
}

/// Thins out old history.
pub fn retain(show: &Show, store: &Store, days: u32, daily: u32, yes: bool) -> Result<i32, Failure> {
    let what = format!(
        "commits older than {days} days are thinned out to one a day, those older than {} to one a week; ids of later \
         commits change",
        days.saturating_add(daily)
    );
    agreed(show, yes, &what)?;
    let retention = Retention { all_days: days, daily_days: days.saturating_add(daily) };
    report(show, store.retain(retention)?, "thinned out");
    Ok(0)
}

/// Removes a path from all of history.
pub fn purge(show: &Show, store: &Store, path: &str, author: Author, yes: bool) -> Result<i32, Failure> {
    let what = format!(
        "{path} is removed from every commit of every branch and tag; there is no way back; ids change"
    );
    agreed(show, yes, &what)?;
    let forgotten = store.purge(path, author)?;
    if forgotten.commits + forgotten.rewritten == 0 {
        return Err(Failure(format!("no commit of any branch or tag has {path}; nothing was forgotten")));
    }
    report(show, forgotten, "purged");
    show.note("whoever has cloned the store still has it: they must clone anew");
    Ok(0)
}

/// What was purged, when and by whom.
pub fn purges(show: &Show, store: &Store) -> Result<i32, Failure> {
    let all = store.purges()?;
    for note in &all {
        let when = super::show::date(note.committer.seconds);
        let value = json!({ "what": note.summary(), "by": note.author.name, "date": when });
        show.line(value, format!("{when} {} {}", plain(&note.author.name), plain(note.summary())));
    }
    if all.is_empty() {
        show.note("nothing was ever purged here");
    }
    Ok(0)
}

fn report(show: &Show, forgotten: Forgotten, word: &str) {
    let Forgotten { commits, rewritten, collected } = forgotten;
    let mut value = collected_value(&collected);
    value["commits"] = json!(commits);
    value["rewritten"] = json!(rewritten);
    let text = format!(
        "{word}: {} gone, {} made again; {} removed, {} freed",
        count(commits, "commit"),
        count(rewritten, "commit"),
        count(collected.removed, "object"),
        bytes(collected.freed_bytes)
    );
    show.line(value, text);
}

fn collected_value(collected: &Collected) -> Value {
    json!({ "kept": collected.kept, "removed": collected.removed, "freed_bytes": collected.freed_bytes })
}

/// Forgetting has no way back: a person is asked, a program has to say `--yes`.
fn agreed(show: &Show, yes: bool, what: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let Some(answer) = show.ask(&format!("{what}.\nGo on? [y/N] "))? else {
        return Err(Failure(format!("{what}; say --yes to have it done")));
    };
    match answer.trim() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new("nothing was changed")),
    }
}
