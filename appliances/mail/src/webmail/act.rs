//! What the buttons do to one message or a conversation: seen, starred, moved, deleted. The list that follows says what was
//! done and offers to undo it.

use super::{back, enter, fault, query};
use crate::mailbox::Account;
use crate::mailbox::FlagChange::{self, Add, Remove};
use crate::service::Post;
use chassis::http::{Answer, Fault, Form, Request, Router, see_other};
use std::sync::Arc;

/// Messages that one click may change.
const AT_ONCE_MAX: usize = 10_000;

pub(super) fn routes(post: &Arc<Post>) -> Router {
    let post = post.clone();
    Router::new().post("/act", move |request| act(post.clone(), request))
}

async fn act(post: Arc<Post>, mut request: Request) -> Answer {
    let (visitor, account) = enter(&post, &request).await?;
    let form = post.chassis.form(&mut request, &visitor).await?;
    let folder = form.text("folder").to_owned();
    let list = back(&form).unwrap_or_else(|| format!("/folder?{}", query(&[("name", &folder)])));
    let uids = uids(&form);
    if uids.is_empty() {
        return Ok(see_other(&with_word(&list, &[("did", "nothing")])));
    }
    let count = uids.len().to_string();
    let what = form.text("do").to_owned();
    match flag_change(&what) {
        Some(change) => {
            account.change(move |d| d.store_flags(&folder, &uids, &change, None)).await.map_err(fault)?;
        }
        None => relocate(&account, &what, folder, uids, form.text("to")).await?,
    }
    let commit = account.state().head.map(|head| head.to_string()).unwrap_or_default();
    Ok(see_other(&with_word(&list, &[("did", &what), ("n", &count), ("undo", &commit)])))
}

fn uids(form: &Form) -> Vec<u32> {
    let all = form.all("uid").flat_map(|v| v.split(',')).filter_map(|u| u.parse().ok());
    let mut uids: Vec<u32> = all.take(AT_ONCE_MAX).collect();
    uids.sort_unstable();
    uids.dedup();
    uids
}

fn flag_change(what: &str) -> Option<FlagChange> {
    let flag = |name: &str| vec![name.to_owned()];
    match what {
        "seen" => Some(Add(flag("\\Seen"))),
        "unseen" => Some(Remove(flag("\\Seen"))),
        "flag" => Some(Add(flag("\\Flagged"))),
        "unflag" => Some(Remove(flag("\\Flagged"))),
        _ => None,
    }
}

async fn relocate(
    account: &Account,
    what: &str,
    folder: String,
    uids: Vec<u32>,
    to: &str,
) -> Result<(), Fault> {
    let special = |use_: &str| account.state().special(use_).map(|(name, _)| name.clone());
    let missing = |name: &str| Fault::bad_request(format!("There is no folder for {name}. Make one first."));
    let to = match what {
        "archive" => special("\\Archive").ok_or_else(|| missing("the archive"))?,
        "junk" => special("\\Junk").ok_or_else(|| missing("junk"))?,
        "notjunk" => "INBOX".to_owned(),
        "delete" => special("\\Trash").unwrap_or_else(|| folder.clone()),
        "move" => to.to_owned(),
        _ => return Err(Fault::bad_request("That is nothing that can be done to a message.")),
    };
    if to != folder {
        account.change(move |d| d.move_to(&folder, &uids, &to)).await.map_err(fault)?;
    } else if what == "delete" {
        // Deleting in Trash is for good as far as IMAP sees; the history keeps it.
        account.change(move |d| d.expunge(&folder, &uids)).await.map_err(fault)?;
    }
    Ok(())
}

/// What was done, for people.
pub(super) fn said(did: &str, count: &str) -> String {
    let count: usize = count.parse().unwrap_or(1);
    let messages = if count == 1 { "The message was".to_owned() } else { format!("{count} messages were") };
    match did {
        "nothing" => "Nothing was chosen: tick what it is for.".into(),
        "archive" => format!("{messages} archived."),
        "delete" => format!("{messages} deleted."),
        "junk" => format!("{messages} moved to junk."),
        "notjunk" | "move" => format!("{messages} moved."),
        "seen" => format!("{messages} marked as read."),
        "unseen" => format!("{messages} marked as unread."),
        "flag" => format!("{messages} starred."),
        "unflag" => format!("{messages} not starred any more."),
        "undone" => "Undone.".into(),
        "sent" => "The message is on its way.".into(),
        "draft" => "The draft is kept.".into(),
        "discard" => "The draft was thrown away.".into(),
        _ => String::new(),
    }
}

/// A list's address with words about what was done; those of the last time go.
pub(super) fn with_word(list: &str, words: &[(&str, &str)]) -> String {
    let (path, asked) = list.split_once('?').unwrap_or((list, ""));
    let old =
        |pair: &&str| !["did=", "n=", "undo="].iter().any(|word| pair.starts_with(word)) && !pair.is_empty();
    let kept: Vec<&str> = asked.split('&').filter(old).collect();
    let new = query(words);
    let asked = kept.into_iter().chain([new.as_str()]).collect::<Vec<_>>().join("&");
    format!("{path}?{asked}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_about_the_last_change_replace_those_before() {
        let once = with_word("/folder?name=A&page=2", &[("did", "archive"), ("n", "1")]);
        assert_eq!(once, "/folder?name=A&page=2&did=archive&n=1");
        assert_eq!(with_word(&once, &[("did", "junk")]), "/folder?name=A&page=2&did=junk");
        assert_eq!(with_word("/", &[("did", "sent")]), "/?did=sent");
        assert_eq!(said("archive", "3"), "3 messages were archived.");
    }
}
