//! The control commands of the mail appliance; `nymote mail …` calls them.

use crate::mailbox::NewMessage;
use crate::service::Post;
use crate::settings::Settings;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chassis::control::{Call, CommandError, Outcome};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use store::{Kind, ObjectId};

/// Messages that an import puts into one commit.
const IMPORT_BATCH: usize = 100;
/// Bytes of an import's commit.
const IMPORT_BATCH_BYTES: usize = 16 << 20;

/// Adds them to the appliance.
pub fn register(post: &Arc<Post>) {
    add(post, "queue.list", |post, _| async move {
        serde_json::to_value(post.runner.entries()).map_err(CommandError::from_error)
    });
    add(post, "queue.show", |post, call| async move {
        let id: Id = call.args()?;
        let text = post.runner.message(&id.id).map_err(CommandError::from_error)?;
        Ok(json!({"raw": STANDARD.encode(&text)}))
    });
    add(post, "queue.flush", |post, call| async move {
        let id: MaybeId = call.args()?;
        Ok(json!({"due": post.runner.flush(id.id.as_deref())}))
    });
    add(post, "queue.remove", |post, call| async move {
        let id: Id = call.args()?;
        post.runner.remove(&id.id).await.map_err(CommandError::from_error)?;
        Ok(json!({"removed": id.id}))
    });
    add(post, "mail.trace", |post, call| async move {
        let id: Id = call.args()?;
        serde_json::to_value(post.trace.of(&id.id)).map_err(CommandError::from_error)
    });
    add(post, "mail.accounts", accounts);
    add(post, "mail.special", special);
    add(post, "mail.settings", settings);
    add(post, "alias.list", |post, _| async move {
        serde_json::to_value(&post.settings().aliases).map_err(CommandError::from_error)
    });
    add(post, "alias.set", set_alias);
    add(post, "mail.import", import);
    add(post, "mail.export", export);
    add(post, "mail.dns", |post, _| async move {
        serde_json::to_value(crate::setup::records(&post)).map_err(CommandError::from_error)
    });
}

fn add<R>(post: &Arc<Post>, name: &'static str, run: fn(Arc<Post>, Call) -> R)
where
    R: Future<Output = Outcome> + Send + 'static,
{
    let post = post.clone();
    post.chassis.clone().commands().add(name, move |call| run(post.clone(), call));
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

#[derive(Deserialize)]
struct MaybeId {
    #[serde(default)]
    id: Option<String>,
}

/// Shows `mail.toml`, or replaces it.
async fn settings(post: Arc<Post>, call: Call) -> Outcome {
    #[derive(Deserialize)]
    struct Args {
        #[serde(default)]
        toml: Option<String>,
    }
    let args: Args = call.args()?;
    let config = post.chassis.config::<Settings>();
    let shown = match args.toml {
        Some(text) => {
            let new: Settings =
                chassis::config::parse("mail.toml", text.as_bytes()).map_err(CommandError::from_error)?;
            config
                .change("command", "mail.toml replaced", |s| *s = new)
                .await
                .map_err(CommandError::from_error)?
        }
        None => config.get().map_err(CommandError::from_error)?,
    };
    post.take_settings(shown.clone());
    serde_json::to_value(shown).map_err(CommandError::from_error)
}

/// Every account with what it holds, and how it goes with another server that holds it too.
async fn accounts(post: Arc<Post>, _: Call) -> Outcome {
    let rounds = post.rounds.all();
    let mut all = Vec::new();
    for one in post.chassis.accounts().all() {
        let account = post.mailboxes.account(&one.user).await.map_err(CommandError::from_error)?;
        let state = account.state();
        let messages: u64 = state.folders.values().map(|f| u64::from(f.about.messages)).sum();
        let bytes: u64 = state.folders.values().map(|f| f.about.bytes).sum();
        all.push(json!({
            "user": one.user, "address": one.address, "admin": one.admin, "mailboxes": state.folders.len(),
            "messages": messages, "bytes": bytes, "twin": rounds.get(&one.user),
        }));
    }
    Ok(Value::Array(all))
}

/// Which mailbox of an account has which special use (RFC 6154).
async fn special(post: Arc<Post>, call: Call) -> Outcome {
    #[derive(Deserialize)]
    struct Args {
        user: String,
    }
    let args: Args = call.args()?;
    if post.chassis.accounts().find(&args.user).is_none() {
        return Err(CommandError(format!("there is no account {:?}", args.user)));
    }
    let account = post.mailboxes.account(&args.user).await.map_err(CommandError::from_error)?;
    let state = account.state();
    let of = |(name, folder): (&String, &crate::mailbox::Folder)| {
        (!folder.about.special_use.is_empty()).then(|| (folder.about.special_use.clone(), json!(name)))
    };
    Ok(Value::Object(state.folders.iter().filter_map(of).collect()))
}

/// Sets an alias; no targets remove it.
async fn set_alias(post: Arc<Post>, call: Call) -> Outcome {
    #[derive(Deserialize)]
    struct Args {
        alias: String,
        targets: Vec<String>,
    }
    let args: Args = call.args()?;
    let alias = args.alias.to_lowercase();
    let local =
        if alias.contains('@') { alias.clone() } else { format!("{alias}@{}", post.chassis.domain()) };
    crate::smtp::Mailbox::parse(&local).map_err(|error| CommandError(format!("{alias:?}: {error}")))?;
    let change = |s: &mut Settings| match args.targets.is_empty() {
        true => drop(s.aliases.remove(&alias)),
        false => drop(s.aliases.insert(alias.clone(), args.targets.clone())),
    };
    let config = post.chassis.config::<Settings>();
    let new = config
        .change("command", &format!("Alias {alias}"), change)
        .await
        .map_err(CommandError::from_error)?;
    post.take_settings(new.clone());
    serde_json::to_value(new.aliases).map_err(CommandError::from_error)
}

/// Puts messages that come as input, `{"raw": base64, "flags": […], "date": seconds}`, into a mailbox.
async fn import(post: Arc<Post>, mut call: Call) -> Outcome {
    #[derive(Deserialize)]
    struct Args {
        user: String,
        mailbox: String,
    }
    #[derive(Deserialize)]
    struct One {
        raw: String,
        #[serde(default)]
        flags: Vec<String>,
        #[serde(default)]
        date: Option<i64>,
    }
    let args: Args = call.args()?;
    if post.chassis.accounts().find(&args.user).is_none() {
        return Err(CommandError(format!("there is no account {:?}", args.user)));
    }
    let account = post.mailboxes.account(&args.user).await.map_err(CommandError::from_error)?;
    if !account.state().folders.contains_key(&args.mailbox) {
        let name = args.mailbox.clone();
        account.change(move |draft| draft.create(&name, "")).await.map_err(CommandError::from_error)?;
    }
    let quota = post.settings().quota_bytes;
    // What an earlier import brought is not brought again; the same message twice in this one is.
    let rows = account.rows(&args.mailbox).await.map_err(CommandError::from_error)?;
    let there: HashSet<ObjectId> = rows.iter().map(|row| row.blob).collect();
    let (mut batch, mut bytes, mut done, mut known) = (Vec::new(), 0, 0usize, 0usize);
    loop {
        let input = call.input().await;
        let ended = input.is_none();
        if let Some(value) = input {
            let one: One = serde_json::from_value(value).map_err(CommandError::from_error)?;
            let raw = STANDARD.decode(&one.raw).map_err(CommandError::from_error)?;
            let raw = crate::message::with_crlf(raw);
            if there.contains(&ObjectId::of(Kind::Blob, &raw).map_err(CommandError::from_error)?) {
                known += 1;
                if known % IMPORT_BATCH == 0 {
                    call.progress(json!({"imported": done, "known": known})).await?;
                }
                continue;
            }
            let date = one.date.or_else(|| dated(&raw)).unwrap_or((chassis::clock::now_ms() / 1000) as i64);
            bytes += raw.len();
            batch.push(NewMessage { raw, flags: one.flags, date });
        }
        if batch.len() >= IMPORT_BATCH || bytes >= IMPORT_BATCH_BYTES || (ended && !batch.is_empty()) {
            done += batch.len();
            let messages = std::mem::take(&mut batch);
            account.append(&args.mailbox, messages, quota).await.map_err(CommandError::from_error)?;
            bytes = 0;
            call.progress(json!({"imported": done, "known": known})).await?;
        }
        if ended {
            return Ok(json!({"imported": done, "known": known, "mailbox": args.mailbox}));
        }
    }
}

fn dated(raw: &[u8]) -> Option<i64> {
    let value = crate::message::first_value(raw, "Date")?;
    crate::message::parse_rfc5322(value.as_bytes()).map(|(at, _)| at)
}

/// Gives every message of an account, one by one, as progress.
async fn export(post: Arc<Post>, call: Call) -> Outcome {
    #[derive(Deserialize)]
    struct Args {
        user: String,
    }
    let args: Args = call.args()?;
    if post.chassis.accounts().find(&args.user).is_none() {
        return Err(CommandError(format!("there is no account {:?}", args.user)));
    }
    let account = post.mailboxes.account(&args.user).await.map_err(CommandError::from_error)?;
    let names: Vec<String> = account.state().folders.keys().cloned().collect();
    let mut count = 0usize;
    for mailbox in names {
        let rows = account.rows(&mailbox).await.map_err(CommandError::from_error)?;
        for row in rows.iter() {
            let Some(raw) = account.read(row).map_err(CommandError::from_error)? else { continue };
            let flags = account.state().keywords.text(row.flags);
            let one = json!({"mailbox": mailbox, "uid": row.uid, "date": row.date, "flags": flags, "raw": STANDARD.encode(&raw)});
            call.progress(one).await?;
            count += 1;
        }
    }
    Ok::<Value, CommandError>(json!({"exported": count}))
}
