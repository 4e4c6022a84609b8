//! The control commands of contacts and calendar; `nymote contacts|calendar …` calls them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chassis::aside::on_thread;
use chassis::control::{Call, CommandError, Outcome};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::agenda::{between, zone_of};
use crate::calendar::civil::{Civil, Day};
use crate::calendar::timezones::{ZonesWanted, applied_to};
use crate::card::person::Person;
use crate::household::Caller;
use crate::household::properties::Kind;
use crate::household::view::View;
use crate::http::Site;
use crate::reading::{escape, read};
use crate::server::{Request, Response};

/// Octets of a file that is imported: a life's calendar is below 50 MB.
const IMPORT_BYTES_MAX: usize = 64 << 20;
/// The longest event that is added here: a year.
const MINUTES_MAX: i64 = 60 * 24 * 366;
/// Entries that one answer lists.
const LISTED_MAX: usize = 50_000;

/// Adds them to an appliance.
pub fn register(site: &Site) {
    add(site, "collections.list", |site, call| async move { collections(&site, call).await });
    add(site, "objects.list", |site, call| async move { list(&site, call).await });
    add(site, "object.add", |site, call| async move { put_one(&site, call).await });
    add(site, "objects.import", import);
    add(site, "objects.export", |site, call| async move { export(&site, call).await });
    add(site, "agenda", |site, call| async move { agenda(&site, call).await });
}

fn add<R>(site: &Site, name: &'static str, run: fn(Site, Call) -> R)
where
    R: Future<Output = Outcome> + Send + 'static,
{
    let site = site.clone();
    site.chassis.clone().commands().add(name, move |call| run(site.clone(), call));
}

fn failed(error: impl std::fmt::Display) -> CommandError {
    CommandError::from_error(error)
}

/// Makes sure that the account is there and has its collections; says who asks.
async fn caller(site: &Site, user: &str) -> Result<Caller, CommandError> {
    if site.chassis.accounts().find(user).is_none() {
        return Err(CommandError(format!("there is no account {user:?}")));
    }
    site.household().prepare(user).await.map_err(failed)?;
    Ok(Caller { account: user.into(), device: "the command line".into(), program: "nymote".into() })
}

async fn collections(site: &Site, call: Call) -> Outcome {
    #[derive(Deserialize)]
    struct Args {
        user: String,
    }
    let args: Args = call.args()?;
    caller(site, &args.user).await?;
    let view = site.household().view(&args.user).map_err(failed)?;
    let known = view.collections.values().filter(|c| c.properties.kind != Kind::Plain);
    let shown = known.map(|c| {
        json!({
            "collection": c.path, "name": c.display_name(), "objects": c.count(), "bytes": c.bytes(),
            "kind": if c.properties.kind == Kind::Calendar { "calendar" } else { "address book" },
            "shared_with": c.properties.shares.keys().collect::<Vec<_>>(), "public": c.properties.public.is_some(),
        })
    });
    Ok(shown.collect())
}

#[derive(Deserialize)]
struct ListArgs {
    user: String,
    kind: Kind,
    #[serde(default)]
    collection: Option<String>,
    #[serde(default)]
    query: String,
}

/// Objects by title; of cards with mail and telephone.
async fn list(site: &Site, call: Call) -> Outcome {
    let args: ListArgs = call.args()?;
    caller(site, &args.user).await?;
    let view = site.household().view(&args.user).map_err(failed)?;
    let sought = args.query.to_lowercase();
    if let Some(name) = &args.collection {
        known_collection(&view, args.kind, name)?;
    }
    let mut out: Vec<(String, Value)> = Vec::new();
    let wanted = |path: &str| args.collection.as_deref().is_none_or(|one| one == path);
    for collection in view.collections.values().filter(|c| c.properties.kind == args.kind && wanted(&c.path))
    {
        for (name, member) in collection.members().take(LISTED_MAX) {
            let mut one = json!({
                "collection": collection.path, "name": name, "title": titled(&member.summary.title), "uid": member.summary.uid,
                "type": member.summary.kind.component(),
            });
            let mut said = member.summary.title.to_lowercase();
            if args.kind == Kind::AddressBook {
                let bytes = view.read(collection, name, member).map_err(failed)?;
                let Some(card) = read(&bytes).ok().and_then(|all| all.into_iter().next()) else { continue };
                let person = Person::of(&card);
                let values = |list: &[crate::card::person::Labelled]| {
                    list.iter().map(|one| one.value.clone()).collect::<Vec<_>>()
                };
                (one["mail"], one["phone"]) = (values(&person.emails).into(), values(&person.phones).into());
                one["organisation"] = person.organisation.as_str().into();
                said = format!("{said} {} {}", person.organisation, one["mail"]).to_lowercase();
            } else if member.summary.first > i64::MIN / 2 && !member.summary.recurs {
                // A summary's bounds are a day wide.
                one["on"] = Civil(member.summary.first + crate::calendar::civil::DAY_S).day().iso().into();
            }
            one["recurs"] = member.summary.recurs.into();
            if sought.is_empty() || said.contains(&sought) {
                out.push((member.summary.title.to_lowercase(), one));
            }
        }
    }
    out.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(out.into_iter().map(|(_, one)| one).collect())
}

#[derive(Deserialize)]
struct AddArgs {
    user: String,
    kind: Kind,
    title: String,
    #[serde(default)]
    collection: Option<String>,
    /// Events: `2026-12-01T10:00`, or a day.
    #[serde(default)]
    start: String,
    #[serde(default)]
    minutes: Option<i64>,
    #[serde(default)]
    location: String,
    #[serde(default)]
    zone: Option<String>,
    /// RRULE.
    #[serde(default)]
    rule: String,
    #[serde(default)]
    mail: Vec<String>,
    #[serde(default)]
    phone: Vec<String>,
}

async fn put_one(site: &Site, call: Call) -> Outcome {
    let args: AddArgs = call.args()?;
    let caller = caller(site, &args.user).await?;
    if args.title.trim().is_empty() {
        return Err(CommandError("it needs a name".into()));
    }
    let uid = chassis::accounts::new_token::<15>();
    let collection = args.collection.clone().unwrap_or_else(|| default_of(args.kind).into());
    known_collection(&*site.household().view(&args.user).map_err(failed)?, args.kind, &collection)?;
    let (object, end) = match args.kind {
        Kind::AddressBook => (card_of(&args, &uid), "vcf"),
        _ => (event_of(site, &args, &uid)?, "ics"),
    };
    let names: Vec<String> =
        collection.split('/').map(str::to_string).chain([format!("{uid}.{end}")]).collect();
    let target = crate::path::href(&args.user, &names, false);
    let request = Request {
        now_ms: chassis::clock::now_ms(),
        ..Request::new("PUT", &target, &[("if-none-match", "*")], object)
    };
    refused(site.service.answer(&caller, &request).await)?;
    Ok(json!({"added": names.last(), "collection": collection, "uid": uid}))
}

/// The collection that every account begins with.
fn default_of(kind: Kind) -> &'static str {
    if kind == Kind::AddressBook { "contacts" } else { "calendar" }
}

/// Fails unless the account has a collection of that name and kind; says which it has.
fn known_collection(view: &View, kind: Kind, name: &str) -> Result<(), CommandError> {
    let of_kind = view.collections.values().filter(|one| one.properties.kind == kind);
    let names: Vec<&str> = of_kind.map(|one| one.path.as_str()).collect();
    if names.contains(&name) {
        return Ok(());
    }
    let word = if kind == Kind::AddressBook { "address book" } else { "calendar" };
    Err(CommandError(format!("there is no {word} {name:?}; there is {}", names.join(", "))))
}

fn titled(title: &str) -> &str {
    if title.is_empty() { "(no title)" } else { title }
}

fn refused(response: Response) -> Result<(), CommandError> {
    match response.status {
        200..300 => Ok(()),
        _ => Err(CommandError(response.words())),
    }
}

fn card_of(args: &AddArgs, uid: &str) -> String {
    let (given, family) = args.title.rsplit_once(' ').unwrap_or((&args.title, ""));
    let mut out = format!("BEGIN:VCARD\r\nVERSION:3.0\r\nUID:{uid}\r\n");
    let mut line = |text: String| crate::calendar::data::fold_into(&text, &mut out);
    line(format!("FN:{}", escape(&args.title)));
    line(format!("N:{};{};;;", escape(family), escape(given)));
    args.mail.iter().for_each(|mail| line(format!("EMAIL:{}", escape(mail))));
    args.phone.iter().for_each(|phone| line(format!("TEL:{}", escape(phone))));
    out + "END:VCARD\r\n"
}

fn event_of(site: &Site, args: &AddArgs, uid: &str) -> Result<String, CommandError> {
    let bad =
        || CommandError(format!("{:?} is no time: say 2026-12-01T10:00, or a day for all day", args.start));
    let now = Civil((chassis::clock::now_ms() / 1000) as i64);
    let view = site.household().view(&args.user).map_err(failed)?;
    let zone = match &args.zone {
        Some(name) => name.clone(),
        None => zone_of(&view).name().unwrap_or("UTC").to_string(),
    };
    if crate::calendar::zone::Zone::iana(&zone).is_none() {
        return Err(CommandError(format!("{zone:?} is no zone: say Europe/Berlin, for example")));
    }
    let mut out = format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//nymote//calendar//EN\r\nBEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:{}Z\r\n",
        now.basic()
    );
    let mut line = |text: String| crate::calendar::data::fold_into(&text, &mut out);
    match Day::parse_iso(&args.start) {
        Some(day) => {
            line(format!("DTSTART;VALUE=DATE:{}", day.basic()));
            line(format!("DTEND;VALUE=DATE:{}", Day(day.0 + 1).basic()));
        }
        None => {
            let start = moment(&args.start).ok_or_else(bad)?;
            let minutes = args.minutes.unwrap_or(60);
            if !(0..=MINUTES_MAX).contains(&minutes) {
                return Err(CommandError(format!(
                    "an event lasts 0 to {MINUTES_MAX} minutes, not {minutes}"
                )));
            }
            let end = Civil(start.0 + minutes * 60);
            let stamp = |name: &str, at: Civil| match zone.as_str() {
                "UTC" => format!("{name}:{}Z", at.basic()),
                zone => format!("{name};TZID={zone}:{}", at.basic()),
            };
            line(stamp("DTSTART", start));
            line(stamp("DTEND", end));
        }
    }
    if !args.rule.is_empty() {
        let rule = crate::calendar::rule::Rule::parse(&args.rule).map_err(failed)?;
        line(format!("RRULE:{rule}"));
    }
    line(format!("SUMMARY:{}", escape(&args.title)));
    if !args.location.is_empty() {
        line(format!("LOCATION:{}", escape(&args.location)));
    }
    out.push_str("END:VEVENT\r\nEND:VCALENDAR\r\n");
    Ok(applied_to(out.as_bytes(), ZonesWanted::Defined))
}

/// `2026-12-01T10:00`, as forms and commands write it.
pub fn moment(text: &str) -> Option<Civil> {
    let (day, time) = text.split_once(['T', ' '])?;
    let mut parts = time.split(':');
    let (hour, minute): (i64, i64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    ((0..24).contains(&hour) && (0..60).contains(&minute))
        .then_some(Civil::new(Day::parse_iso(day)?, hour * 3600 + minute * 60))
}

/// Takes a file that comes in pieces as input, `{"piece": base64}`, into a collection.
async fn import(site: Site, mut call: Call) -> Outcome {
    #[derive(Deserialize)]
    struct Args {
        user: String,
        kind: Kind,
        #[serde(default)]
        collection: Option<String>,
    }
    let args: Args = call.args()?;
    let caller = caller(&site, &args.user).await?;
    let collection = args.collection.unwrap_or_else(|| default_of(args.kind).into());
    known_collection(&*site.household().view(&args.user).map_err(failed)?, args.kind, &collection)?;
    let mut file = Vec::new();
    while let Some(piece) = call.input().await {
        file.extend(STANDARD.decode(piece["piece"].as_str().unwrap_or_default()).map_err(failed)?);
        if file.len() > IMPORT_BYTES_MAX {
            return Err(CommandError(format!("a file has at most {IMPORT_BYTES_MAX} bytes; cut it up")));
        }
    }
    let (said, mut heard) = tokio::sync::mpsc::channel::<(usize, usize)>(1);
    let (runtime, into) = (tokio::runtime::Handle::current(), collection.clone());
    let begun = on_thread(move || {
        // Who listens hears the newest number that fits in; nobody waits for them.
        let progress = |done, all| {
            let _ = said.try_send((done, all));
        };
        let now_ms = chassis::clock::now_ms();
        runtime.block_on(crate::pages::take(site.household(), &caller, &into, &file, now_ms, progress))
    });
    let working = begun.map_err(|none| CommandError(format!("{none}; nothing was imported; try again")))?;
    while let Some((done, all)) = heard.recv().await {
        call.progress(json!({"done": done, "all": all})).await?;
    }
    let imported =
        working.await.ok_or_else(|| CommandError("the import broke off; the log says why".into()))?;
    let imported = imported.map_err(|fault| CommandError(fault.why))?;
    Ok(json!({
        "collection": collection, "added": imported.added, "replaced": imported.replaced,
        "unchanged": imported.unchanged, "refused": imported.refused,
    }))
}

/// Gives a collection as one file, piece by piece, as progress.
async fn export(site: &Site, call: Call) -> Outcome {
    #[derive(Deserialize)]
    struct Args {
        user: String,
        kind: Kind,
        #[serde(default)]
        collection: Option<String>,
    }
    let args: Args = call.args()?;
    let caller = caller(site, &args.user).await?;
    let collection = args.collection.unwrap_or_else(|| default_of(args.kind).into());
    known_collection(&*site.household().view(&args.user).map_err(failed)?, args.kind, &collection)?;
    let names: Vec<String> = collection.split('/').map(str::to_string).collect();
    let target = crate::path::href(&args.user, &names, true);
    let response = site.service.answer(&caller, &Request::new("GET", &target, &[], "")).await;
    if response.status != 200 {
        return Err(CommandError(format!("{collection}: {}", response.words())));
    }
    let mut bytes = 0;
    for piece in response.into_pieces() {
        bytes += piece.len();
        call.progress(json!({ "piece": piece })).await?;
    }
    Ok(json!({"exported": bytes, "collection": collection}))
}

async fn agenda(site: &Site, call: Call) -> Outcome {
    #[derive(Deserialize)]
    struct Args {
        user: String,
        #[serde(default)]
        from: Option<String>,
        days: i32,
    }
    let args: Args = call.args()?;
    caller(site, &args.user).await?;
    let view = site.household().view(&args.user).map_err(failed)?;
    let today = zone_of(&view).to_local(Civil((chassis::clock::now_ms() / 1000) as i64)).day();
    let from = match &args.from {
        None => today,
        Some(text) => {
            Day::parse_iso(text).ok_or_else(|| CommandError(format!("{text:?} is no day: say 2026-12-31")))?
        }
    };
    let to = Day(from.0 + args.days.clamp(1, 3_660));
    let found = between(site.household(), &args.user, from, to, LISTED_MAX).map_err(failed)?;
    let shown = found.iter().map(|o| {
        json!({
            "day": o.start.day().iso(), "time": o.clock(), "title": o.title, "location": o.location,
            "minutes": (o.end.0 - o.start.0) / 60, "all_day": o.all_day, "recurs": o.recurs,
            "collection": o.calendar, "name": o.name,
        })
    });
    Ok(shown.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_as_people_type_them() {
        let at = |text| moment(text).map(|civil| civil.basic());
        assert_eq!(at("2026-12-01T10:05"), Some("20261201T100500".into()));
        assert_eq!(at("2026-12-01 9:05"), Some("20261201T090500".into()));
        for bad in ["", "2026-12-01", "2026-12-01T25:00", "2026-13-01T10:00", "2026-12-01T10"] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }
}
