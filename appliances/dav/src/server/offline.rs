//! A device that was offline puts a change that goes back to an older version: its If-Match names that version. Where it
//! and the change that came first touch different properties, both win: the server merges, and answers without an ETag so
//! that the device reads again. Where they touch the same property, HTTP's answer stands, 412, nothing is changed, and the
//! refused version is kept where the owner can see and choose (a branch of its own, `refused/ACCOUNT`).

use content_lines::{Limits, merge};
use serde::{Deserialize, Serialize};

use super::conditions::Conditions;
use super::object::{checked, thing};
use super::subject::At;
use super::{Fault, Request, Response, Service};
use crate::household::properties::Kind;
use crate::household::summary::Summary;
use crate::household::{Caller, Household};

/// A version that was refused, as it is kept beside its bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// The collection's stored path.
    pub collection: String,
    /// The member's name.
    pub name: String,
    /// What it is called.
    pub title: String,
    /// The device that sent it.
    pub device: String,
    /// The program that sent it.
    pub program: String,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// The version that it goes back to.
    pub base: String,
    /// Which properties contradict each other.
    pub properties: Vec<String>,
}

/// Most refused versions that are kept; the oldest make room.
const REFUSED_MAX: usize = 200;

/// The branch of an account's refused versions.
pub fn refused_branch(account: &str) -> String {
    format!("refused/{account}")
}

impl Service {
    /// A PUT whose conditions do not hold. `fault` is what HTTP says.
    pub(super) async fn put_offline(
        &self,
        caller: &Caller,
        request: &Request,
        at: &At,
        name: &str,
        theirs: &Summary,
        fault: Fault,
    ) -> Result<Response, Fault> {
        let kind = at.collection.properties.kind;
        let conditions = Conditions::of(request);
        let (true, Some(tag)) = (kind != Kind::Plain, conditions.only_match()) else { return Err(fault) };
        let Ok(base_id) = store::ObjectId::from_hex(tag.as_bytes()) else { return Err(fault) };
        let path = at.collection.path.clone();
        let Some(member) = at.collection.member(name) else { return Err(fault) };
        let place = at.collection.member_path(name, member);
        let Some(commit) = self.household.when_it_was(&at.owner, &place, base_id)? else { return Err(fault) };
        let Some(base) = self.household.store().snapshot_at(commit)?.read(&place)? else { return Err(fault) };
        let mut contradicting = Vec::new();
        let merged = self
            .household
            .change(&at.owner, caller, |view, change| {
                let collection = view.collections.get(&path).ok_or_else(Fault::not_found)?;
                let member =
                    collection.member(name).ok_or_else(|| Fault::new(412, "it was deleted meanwhile"))?;
                let ours = view.read(collection, name, member)?;
                let limits = Limits::default();
                let merged = match kind {
                    Kind::AddressBook => merge::vcard(Some(&base), &ours, &request.body, &limits),
                    _ => merge::icalendar(Some(&base), &ours, &request.body, &limits),
                };
                let merged = merged.map_err(|error| Fault::new(412, error.to_string()))?;
                if !merged.conflicts.is_empty() {
                    let names = merged
                        .conflicts
                        .iter()
                        .map(|c| c.property.clone().unwrap_or_else(|| c.component.clone()));
                    contradicting = names.collect();
                    return Err(Fault::new(412, "both changed the same; read it again"));
                }
                let bytes = bytes::Bytes::from(merged.bytes);
                let summary = checked(collection, &bytes, request.now())?;
                super::object::uid_is_free(at, collection, name, &summary.uid)?;
                let place = collection.member_path(name, member);
                change.expect(&place, Some(member.id))?;
                let id = change.put(&place, bytes)?;
                Household::note(change, kind, id, &summary);
                Ok::<_, Fault>(((), format!("{} merged from two devices", thing(&summary, name))))
            })
            .await;
        match merged {
            Ok(_) => Ok(Response::new(204)),
            Err(refused) if !contradicting.is_empty() => {
                let kept = Refused {
                    collection: path,
                    name: name.to_string(),
                    title: thing(theirs, name),
                    device: caller.device.clone(),
                    program: caller.program.clone(),
                    at_ms: request.now_ms,
                    base: base_id.to_string(),
                    properties: contradicting,
                };
                self.keep_refused(&at.owner, caller, &kept, &request.body).await?;
                Err(refused)
            }
            Err(_) => Err(fault),
        }
    }

    async fn keep_refused(
        &self,
        owner: &str,
        caller: &Caller,
        kept: &Refused,
        body: &[u8],
    ) -> Result<(), Fault> {
        let branch = self.household.store().branch(refused_branch(owner))?;
        let mut change = branch.begin()?;
        let known = change.list("")?;
        if known.len() >= REFUSED_MAX
            && let Some(oldest) = known.first()
        {
            change.remove(&oldest.path)?;
        }
        let id = store::ObjectId::of(store::Kind::Blob, body).map_err(|e| Fault::new(400, e.to_string()))?;
        let key = format!("{:015}-{}", kept.at_ms, id.short());
        change.put(format!("{key}/about.json"), serde_json::to_string_pretty(kept).unwrap_or_default())?;
        change.put(format!("{key}/theirs"), body.to_vec())?;
        change
            .commit_async(
                caller.author(),
                caller.message(&format!("{}: a refused version is kept", kept.title)),
            )
            .await?;
        Ok(())
    }
}
