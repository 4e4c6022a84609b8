//! One object becomes two in one commit: a series that is cut keeps its name for what was before, what follows gets a new
//! one. Either both are there or neither.

use bytes::Bytes;

use super::object::{checked, room, thing, uid_is_free};
use super::subject::At;
use super::{Fault, Service};
use crate::household::{Caller, Household, names};

impl Service {
    /// Puts `first` in the place of a member whose ETag is given, and `second` under a name that is free.
    ///
    /// # Errors
    /// What a PUT of either would be refused with; nothing is changed then.
    pub async fn part(
        &self,
        caller: &Caller,
        at: &At,
        (name, etag, first): (&str, &str, Bytes),
        (new_name, second): (&str, Bytes),
    ) -> Result<(), Fault> {
        at.writable()?;
        let now = (chassis::clock::now_ms() / 1000) as i64;
        let (first_sum, second_sum) =
            (checked(&at.collection, &first, now)?, checked(&at.collection, &second, now)?);
        let path = at.collection.path.clone();
        let done = self.household.change(&at.owner, caller, |view, change| {
            let collection = view.collections.get(&path).ok_or_else(Fault::not_found)?;
            let member = collection.member(name).ok_or_else(Fault::not_found)?;
            if member.id.to_string() != etag {
                return Err(Fault::new(412, "it was changed meanwhile; look at it again"));
            }
            uid_is_free(at, collection, name, &first_sum.uid)?;
            uid_is_free(at, collection, new_name, &second_sum.uid)?;
            room(view, collection, true, first.len() + second.len())?;
            let stored = names::stored(new_name).map_err(|bad| Fault::new(403, bad.to_string()))?;
            let (place, new_place) = (collection.member_path(name, member), collection.path_for(&stored));
            change.expect(&place, Some(member.id))?;
            change.expect(&new_place, None)?;
            for (place, bytes, summary) in [(&place, &first, &first_sum), (&new_place, &second, &second_sum)]
            {
                let id = change.put(place, bytes.clone())?;
                Household::note(change, collection.properties.kind, id, summary);
            }
            Ok::<_, Fault>(((), format!("{} cut in two", thing(&first_sum, name))))
        });
        done.await.map(drop)
    }
}
