//! What a path names for the one who asks: their own tree, or what somebody shares with them.

use std::sync::Arc;

use super::{Fault, Service};
use crate::household::properties::Share;
use crate::household::view::{Collection, Member, View};
use crate::path::{Place, href, principal_href};

/// What somebody may do with a collection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Access {
    /// Read.
    Read,
    /// Read and change members.
    Write,
    /// Everything.
    Own,
}

/// A resource.
#[derive(Clone)]
pub enum Subject {
    /// `/`
    Root,
    /// `/dav/`
    Accounts,
    /// `/principals/`
    Principals,
    /// `/principals/ACCOUNT/`
    Principal(String),
    /// A collection.
    Collection(At),
    /// A file.
    Member(At, String, Member),
}

/// A collection as somebody sees it.
#[derive(Clone)]
pub struct At {
    /// Whose path was asked.
    pub account: String,
    /// The names of the collection in that path.
    pub names: Vec<String>,
    /// Whose it is.
    pub owner: String,
    /// What the caller may do.
    pub access: Access,
    /// The owner's tree.
    pub view: Arc<View>,
    /// The collection.
    pub collection: Arc<Collection>,
}

impl At {
    /// The collection's path as the caller sees it.
    pub fn href(&self) -> String {
        href(&self.account, &self.names, true)
    }

    /// A member's path as the caller sees it.
    pub fn member_href(&self, name: &str) -> String {
        let mut out = self.href();
        crate::path::encode_into(name, &mut out);
        out
    }

    /// Fails unless the caller may change members.
    pub fn writable(&self) -> Result<(), Fault> {
        match self.access {
            Access::Read => {
                Err(Fault::condition(403, "D:need-privileges", "this is shared with you for reading only"))
            }
            _ => Ok(()),
        }
    }

    /// Fails unless the caller owns it.
    pub fn owned(&self) -> Result<(), Fault> {
        match self.access {
            Access::Own => Ok(()),
            _ => Err(Fault::condition(403, "D:need-privileges", "only its owner may do that")),
        }
    }
}

impl Subject {
    /// Its path.
    pub fn href(&self) -> String {
        match self {
            Subject::Root => "/".into(),
            Subject::Accounts => "/dav/".into(),
            Subject::Principals => "/principals/".into(),
            Subject::Principal(account) => principal_href(account),
            Subject::Collection(at) => at.href(),
            Subject::Member(at, name, _) => at.member_href(name),
        }
    }
}

/// What stands, or does not, at a path.
pub enum Found {
    /// A resource.
    Subject(Subject),
    /// Nothing, in a collection that is there.
    Vacant(At, String),
    /// Nothing, and no collection that could hold it.
    Nowhere,
}

impl Service {
    /// What the path names for this account. What belongs to others is 403 whether it exists or not.
    pub fn find(&self, caller: &str, place: &Place) -> Result<Found, Fault> {
        let (account, names) = match place {
            Place::Root => return Ok(Found::Subject(Subject::Root)),
            Place::Accounts => return Ok(Found::Subject(Subject::Accounts)),
            Place::Principals => return Ok(Found::Subject(Subject::Principals)),
            Place::Principal(account) => {
                return match self.household.accounts().contains(account) || account == caller {
                    true => Ok(Found::Subject(Subject::Principal(account.clone()))),
                    false => Ok(Found::Nowhere),
                };
            }
            Place::WellKnown => return Err(Fault::not_found()),
            Place::In(account, names, _) => (account, names),
        };
        if account != caller {
            return self.find_direct(caller, account, names);
        }
        let view = self.household.view(account)?;
        if let Some(found) = own(account, names, &view) {
            return Ok(found);
        }
        match self.find_mounted(account, names)? {
            Some(found) => Ok(found),
            None => Ok(Found::Nowhere),
        }
    }

    /// Like [`Service::find`], but what is not there is 404.
    pub fn resolve(&self, caller: &str, place: &Place) -> Result<Subject, Fault> {
        match self.find(caller, place)? {
            Found::Subject(subject) => Ok(subject),
            _ => Err(Fault::not_found()),
        }
    }

    /// What others share, as it stands among an account's own collections.
    pub fn mounted(&self, account: &str) -> Vec<At> {
        let mut out = Vec::new();
        for (owner, collection, share) in self.household.shared_with(account) {
            let Ok(view) = self.household.view(&owner) else { continue };
            let names = vec![mount_name(&owner, &collection)];
            out.push(At { account: account.into(), names, owner, access: share.into(), view, collection });
        }
        out
    }

    /// A path in another's tree: only what is shared with the caller.
    fn find_direct(&self, caller: &str, account: &str, names: &[String]) -> Result<Found, Fault> {
        if !self.household.accounts().iter().any(|known| known == account) {
            return Err(Fault::not_yours());
        }
        let view = self.household.view(account)?;
        for depth in (1..=names.len()).rev() {
            let Some(collection) = view.collection(&names[..depth]) else { continue };
            let Some(share) = collection.properties.shares.get(caller) else { continue };
            let at = At {
                account: account.into(),
                names: names[..depth].to_vec(),
                owner: account.into(),
                access: (*share).into(),
                view: view.clone(),
                collection: collection.clone(),
            };
            return Ok(inside(at, &names[depth..]));
        }
        Err(Fault::not_yours())
    }

    /// A path below a name like `anna~calendar`.
    fn find_mounted(&self, account: &str, names: &[String]) -> Result<Option<Found>, Fault> {
        let Some((owner, _)) = names.first().and_then(|first| first.split_once('~')) else { return Ok(None) };
        if owner == account || !self.household.accounts().iter().any(|known| known == owner) {
            return Ok(None);
        }
        let found = self.mounted(account).into_iter().find(|at| at.names[0] == names[0]);
        Ok(found.map(|at| inside(at, &names[1..])))
    }
}

impl From<Share> for Access {
    fn from(share: Share) -> Access {
        match share {
            Share::Read => Access::Read,
            Share::ReadWrite => Access::Write,
        }
    }
}

/// The name under which another's collection stands in one's own tree.
pub fn mount_name(owner: &str, collection: &Collection) -> String {
    format!("{owner}~{}", collection.names.join("~"))
}

fn own(account: &str, names: &[String], view: &Arc<View>) -> Option<Found> {
    let at = |names: &[String], collection: &Arc<Collection>| At {
        account: account.into(),
        names: names.to_vec(),
        owner: account.into(),
        access: Access::Own,
        view: view.clone(),
        collection: collection.clone(),
    };
    if let Some(collection) = view.collection(names) {
        return Some(Found::Subject(Subject::Collection(at(names, collection))));
    }
    let (name, parents) = names.split_last()?;
    let collection = view.collection(parents)?;
    if parents.is_empty() && name.contains('~') {
        // May be a mounted collection.
        collection.member(name)?;
    }
    Some(inside(at(parents, collection), std::slice::from_ref(name)))
}

fn inside(at: At, rest: &[String]) -> Found {
    match rest {
        [] => Found::Subject(Subject::Collection(at)),
        [name] => match at.collection.member(name) {
            Some(member) => {
                let member = member.clone();
                Found::Subject(Subject::Member(at, name.clone(), member))
            }
            None => Found::Vacant(at, name.clone()),
        },
        _ => Found::Nowhere,
    }
}
