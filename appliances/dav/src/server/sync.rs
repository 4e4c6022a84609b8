//! sync-collection (RFC 6578). A token names a commit; what changed since is the difference of two trees, so that every
//! change comes exactly once however long the client was away. An answer cut short by a limit gets a token that names
//! both commits and how far it came.

use std::collections::BTreeMap;

use store::{CommitId, ObjectId};

use super::report::Report;
use super::stream;
use super::subject::{At, Subject};
use super::{Body, Fault, Response, Service};
use crate::household::names;
use crate::household::view::{Belongs, Member, View};
use crate::limits::REPORT_INSTANCES_MAX;
use crate::xml::DAV;
use crate::xml::write::Writer;

/// The token of a collection that is as it was at a commit.
pub fn token(commit: Option<CommitId>) -> String {
    format!("{SCHEME}{}", hex(commit))
}

const SCHEME: &str = "urn:nymote:sync:";

/// A token that is read.
struct Token {
    from: Option<CommitId>,
    /// The commit that an unfinished answer is about, and how many of its changes were told.
    rest: Option<(CommitId, usize)>,
}

/// One change: what is there now, or that nothing is.
type Changed = (String, Option<Member>);

impl Service {
    pub(super) fn sync(&self, report: &Report<'_>, at: At) -> Result<Response, Fault> {
        let Report { caller, root, .. } = *report;
        let level = root.child(DAV, "sync-level").map(|level| level.text.trim().to_string());
        match level.as_deref() {
            None | Some("1") => {}
            Some("infinite") => {
                return Err(Fault::condition(403, "D:sync-traversal-supported", "ask with sync-level 1"));
            }
            Some(other) => return Err(Fault::new(400, format!("sync-level {other:?}"))),
        }
        let limit = match root.child(DAV, "limit").and_then(|limit| limit.child(DAV, "nresults")) {
            None => usize::MAX,
            Some(number) => match number.text.trim().parse::<usize>() {
                Ok(number) if number > 0 => number,
                _ => {
                    return Err(Fault::condition(
                        403,
                        "D:number-of-matches-within-limits",
                        "a limit is a number above 0",
                    ));
                }
            },
        };
        let wanted = report.wanted()?;
        let given = root.child(DAV, "sync-token").map(|t| t.text.trim().to_string()).unwrap_or_default();
        let invalid =
            || Fault::condition(403, "D:valid-sync-token", "this token is not known; begin anew without one");
        let token_read = parse(&given).ok_or_else(invalid)?;
        let target = match token_read.rest {
            Some((commit, _)) => self.at_commit(&at, commit).map_err(|_| invalid())?,
            None => at,
        };
        let mut changes = self.changes(&target, token_read.from).map_err(|_| invalid())?;
        let skipped = token_read.rest.map_or(0, |(_, told)| told).min(changes.len());
        let told = skipped + limit.min(changes.len() - skipped);
        let truncated = told < changes.len();
        let to = target.view.snapshot.commit();
        let next = match (truncated, to) {
            (true, Some(to)) => format!("{SCHEME}{}:{}:{told}", hex(token_read.from), hex(Some(to))),
            _ if token_read.rest.is_none() => token(target.collection.since.or(to)),
            _ => token(to),
        };
        changes.truncate(told);
        let mut tail = Writer::default();
        if truncated {
            tail.raw("<D:response>")
                .href(&target.href())
                .leaf("D:status", "HTTP/1.1 507 Insufficient Storage");
            tail.raw("<D:error><D:number-of-matches-within-limits/></D:error></D:response>");
        }
        tail.leaf("D:sync-token", &next);
        let (service, caller) = (self.clone(), caller.to_string());
        let mut budget = REPORT_INSTANCES_MAX;
        let render = move |(name, member): Changed, out: &mut Writer| match member {
            Some(member) => {
                let subject = Subject::Member(target.clone(), name, member);
                service.response(&caller, &subject, &wanted, &mut budget, out);
            }
            None if name.is_empty() => drop(out.raw(&tail.out)),
            None => {
                out.raw("<D:response>").href(&target.member_href(&name));
                out.leaf("D:status", "HTTP/1.1 404 Not Found").raw("</D:response>");
            }
        };
        // The last part, without a name, is the tail.
        let parts = changes.into_iter().skip(skipped).chain(std::iter::once((String::new(), None)));
        let body: Body = stream::body(Writer::document("D:multistatus"), parts, render, "</D:multistatus>");
        Ok(Response::xml(207, body))
    }

    /// The collection as it was at a commit of its owner.
    fn at_commit(&self, at: &At, commit: CommitId) -> Result<At, Fault> {
        if at.view.snapshot.commit() == Some(commit) {
            return Ok(at.clone());
        }
        let snapshot = self.household.store().snapshot_at(commit)?;
        same_account(&at.view, &snapshot)?;
        let changes = snapshot.diff(&at.view.snapshot, "")?;
        let summarise = |snapshot: &store::Snapshot, path: &str, _: ObjectId, kind| {
            let bytes = snapshot.read(path)?.unwrap_or_default();
            Ok(crate::household::summarise_anew(&bytes, kind, 0))
        };
        let view = std::sync::Arc::new(at.view.advanced(snapshot, &changes, &summarise)?);
        let collection = view.collections.get(&at.collection.path).ok_or_else(Fault::not_found)?.clone();
        Ok(At { view, collection, ..at.clone() })
    }

    /// What changed since a commit, by name; everything when there is none.
    fn changes(&self, at: &At, from: Option<CommitId>) -> Result<Vec<Changed>, Fault> {
        let collection = &at.collection;
        let Some(from) = from else {
            return Ok(collection
                .members()
                .map(|(name, member)| (name.to_string(), Some(member.clone())))
                .collect());
        };
        let old = self.household.store().snapshot_at(from)?;
        same_account(&at.view, &old)?;
        let mut before: BTreeMap<String, Option<ObjectId>> = BTreeMap::new();
        for change in at.view.snapshot.diff(&old, &collection.path)? {
            let path = change.path.to_str();
            if let Belongs::Member(owner, stored) = at.view.belongs(&path)
                && owner == collection.path
            {
                let was = before.entry(names::unstored(&stored)).or_default();
                *was = was.or(change.before.map(|entry| entry.id));
            }
        }
        let mut out = Vec::new();
        for (name, was) in before {
            let member = collection.member(&name).cloned();
            match (&member, was) {
                (Some(member), Some(was)) if member.id == was => {}
                (None, None) => {}
                _ => out.push((name, member)),
            }
        }
        Ok(out)
    }
}

/// A token may name any commit of the store; only those of the same account's tree tell anything.
fn same_account(view: &View, old: &store::Snapshot) -> Result<(), Fault> {
    let mark =
        |snapshot: &store::Snapshot| snapshot.entry(".account").map(|entry| entry.map(|entry| entry.id));
    match mark(&view.snapshot)? == mark(old)? {
        true => Ok(()),
        false => Err(Fault::not_found()),
    }
}

fn parse(text: &str) -> Option<Token> {
    if text.is_empty() {
        return Some(Token { from: None, rest: None });
    }
    let mut parts = text.strip_prefix(SCHEME)?.split(':');
    let from = match parts.next()? {
        "0" => None,
        hex => Some(CommitId(ObjectId::from_hex(hex.as_bytes()).ok()?)),
    };
    let rest = match (parts.next(), parts.next(), parts.next()) {
        (None, None, None) => None,
        (Some(to), Some(told), None) => {
            Some((CommitId(ObjectId::from_hex(to.as_bytes()).ok()?), told.parse().ok()?))
        }
        _ => return None,
    };
    Some(Token { from, rest })
}

fn hex(commit: Option<CommitId>) -> String {
    commit.map_or_else(|| "0".into(), |commit| commit.0.to_string())
}
