//! COPY and MOVE, of files and of collections with all that is in them.

use super::conditions::Depth;
use super::object::{checked, thing, uid_is_free};
use super::subject::{At, Found, Subject};
use super::{Fault, Request, Response, Service};
use crate::household::names::{self, COLLECTION_FILE};
use crate::household::view::{join, stored_path};
use crate::household::{Caller, Household};
use crate::path::Place;

impl Service {
    pub(super) async fn transfer(
        &self,
        caller: &Caller,
        request: &Request,
        place: &Place,
    ) -> Result<Response, Fault> {
        let destination =
            request.get("destination").ok_or_else(|| Fault::new(400, "there is no Destination"))?;
        if let (Some((_, rest)), Some(host)) = (destination.split_once("://"), request.get("host"))
            && rest.split('/').next() != Some(host)
        {
            return Err(Fault::new(502, "the Destination is on another server"));
        }
        let to = Place::parse(destination)?;
        let overwrite = match request.get("overwrite").map(str::trim) {
            None | Some("T" | "t") => true,
            Some("F" | "f") => false,
            Some(other) => return Err(Fault::new(400, format!("Overwrite: {other:?}"))),
        };
        let (Place::In(_, from_names, _), Place::In(_, to_names, _)) = (place, &to) else {
            return Err(Fault::new(403, "this cannot be copied or moved"));
        };
        let source = self.resolve(&caller.account, place)?;
        if place_key(place) == place_key(&to) {
            return Err(Fault::new(403, "source and Destination are the same"));
        }
        let found = self.find(&caller.account, &to)?;
        let (target, name) = match &found {
            Found::Subject(Subject::Member(at, name, _)) | Found::Vacant(at, name) => {
                (at.clone(), name.clone())
            }
            Found::Subject(Subject::Collection(at))
                if !at.names.is_empty() && at.access == super::Access::Own =>
            {
                let parent = Place::In(at.account.clone(), at.names[..at.names.len() - 1].to_vec(), true);
                match self.resolve(&caller.account, &parent)? {
                    Subject::Collection(parent) => (parent, at.names.last().cloned().unwrap_or_default()),
                    _ => return Err(Fault::new(403, "this cannot be overwritten")),
                }
            }
            Found::Subject(_) => return Err(Fault::new(403, "this cannot be overwritten")),
            Found::Nowhere => {
                return Err(Fault::new(409, "the collection that should hold it does not exist"));
            }
        };
        let exists = matches!(found, Found::Subject(_));
        if exists && !overwrite {
            return Err(Fault::new(412, "there is something at the Destination"));
        }
        target.writable()?;
        match source {
            Subject::Member(at, from_name, _) => {
                self.transfer_member(caller, request, &at, &from_name, &target, &name).await?;
            }
            Subject::Collection(at) => {
                if to_names.starts_with(from_names) || from_names.starts_with(to_names) {
                    return Err(Fault::new(403, "one holds the other"));
                }
                self.transfer_collection(caller, request, &at, &target, &name).await?;
            }
            _ => return Err(Fault::new(403, "this cannot be copied or moved")),
        }
        Ok(Response::new(if exists { 204 } else { 201 }))
    }

    async fn transfer_member(
        &self,
        caller: &Caller,
        request: &Request,
        from: &At,
        from_name: &str,
        to: &At,
        to_name: &str,
    ) -> Result<(), Fault> {
        let moves = request.method == "MOVE";
        if moves {
            from.writable()?;
        }
        let conditions = self.conditions(&caller.account, request);
        let stored_to = names::stored(to_name).map_err(|bad| Fault::new(403, bad.to_string()))?;
        let stored_from = names::stored(from_name).map_err(|bad| Fault::new(403, bad.to_string()))?;
        let bytes = {
            let member = from.collection.member(from_name).ok_or_else(Fault::not_found)?;
            conditions.for_change(Some(&member.id.to_string()))?;
            from.view.read(&from.collection, from_name, member)?
        };
        let summary = checked(&to.collection, &bytes, request.now())?;
        let same_tree = from.owner == to.owner;
        let dead = from.view.snapshot.read(from.collection.properties_path(&stored_from))?;
        let (from_path, to_path) = (from.collection.path.clone(), to.collection.path.clone());
        let done = self.household.change(&to.owner, caller, |view, change| {
            let target = view.collections.get(&to_path).ok_or_else(Fault::not_found)?;
            let keeps_uid = moves
                && same_tree
                && from_path == to_path
                && target.with_uid(&summary.uid) == Some(from_name);
            if !keeps_uid {
                uid_is_free(to, target, to_name, &summary.uid)?;
            }
            let there = target.member(to_name);
            let child = view.collections.get(&join(&to_path, &stored_to));
            if let Some(child) = child {
                change.remove(&child.path)?;
            }
            let place = there
                .map_or_else(|| target.path_for(&stored_to), |member| target.member_path(to_name, member));
            change.expect(&place, there.map(|member| member.id).or(child.and_then(|child| child.tree)))?;
            let id = change.put(&place, bytes.clone())?;
            Household::note(change, target.properties.kind, id, &summary);
            change.remove(target.properties_path(&stored_to))?;
            if let Some(dead) = &dead {
                change.put(target.properties_path(&stored_to), dead.clone())?;
            }
            if moves && same_tree {
                remove_member(view, &from_path, from_name, &stored_from, change)?;
            }
            Ok::<_, Fault>((
                (),
                format!("{} {}", thing(&summary, to_name), if moves { "moved" } else { "copied" }),
            ))
        });
        done.await?;
        if moves && !same_tree {
            let removed = self.household.change(&from.owner, caller, |view, change| {
                remove_member(view, &from_path, from_name, &stored_from, change)?;
                Ok::<_, Fault>(((), format!("{} moved to {}", thing(&summary, from_name), to.owner)))
            });
            removed.await?;
        }
        Ok(())
    }

    async fn transfer_collection(
        &self,
        caller: &Caller,
        request: &Request,
        from: &At,
        to: &At,
        to_name: &str,
    ) -> Result<(), Fault> {
        let moves = request.method == "MOVE";
        let depth = Depth::of(request, Depth::Infinity)?;
        if depth == Depth::One || (moves && depth != Depth::Infinity) {
            return Err(Fault::new(400, "a collection is moved with all that is in it"));
        }
        if from.collection.path.is_empty() || from.owner != to.owner || from.access != super::Access::Own {
            return Err(Fault::not_yours());
        }
        if to.collection.is_sharded() {
            return Err(Fault::condition(
                403,
                "C:calendar-collection-location-ok",
                "a calendar or book holds no collections",
            ));
        }
        let mut to_names = to.names.clone();
        to_names.push(to_name.to_string());
        let path = stored_path(&to_names).ok_or_else(|| Fault::new(403, "this name cannot be one"))?;
        let from_path = from.collection.path.clone();
        let done = self.household.change(&to.owner, caller, |view, change| {
            let source = view.collections.get(&from_path).ok_or_else(Fault::not_found)?;
            change.remove(&path)?;
            match depth {
                Depth::Zero => {
                    change.put(join(&path, COLLECTION_FILE), source.properties.write())?;
                }
                _ => {
                    let entry = view.snapshot.entry(&from_path)?.ok_or_else(Fault::not_found)?;
                    change.put_entry(&path, &entry)?;
                }
            }
            if moves {
                change.remove(&from_path)?;
            }
            let verb = if moves { "moved" } else { "copied" };
            Ok::<_, Fault>(((), format!("Collection “{}” {verb}", source.display_name())))
        });
        done.await?;
        Ok(())
    }
}

fn remove_member(
    view: &crate::household::view::View,
    path: &str,
    name: &str,
    stored: &str,
    change: &mut store::Transaction,
) -> Result<(), Fault> {
    let source = view.collections.get(path).ok_or_else(Fault::not_found)?;
    let member = source.member(name).ok_or_else(Fault::not_found)?;
    let place = source.member_path(name, member);
    change.expect(&place, Some(member.id))?;
    change.remove(&place)?;
    change.remove(source.properties_path(stored))?;
    Ok(())
}

fn place_key(place: &Place) -> Option<(&str, &[String])> {
    match place {
        Place::In(account, names, _) => Some((account, names)),
        _ => None,
    }
}
