//! Deleting for good: an object leaves the tree, and then every commit that ever held it.

use chassis::aside::aside;

use super::{Caller, Household, branch_name, lock};
use crate::server::Fault;

impl Household {
    /// Takes an object out of its account's tree and out of all its history; another account may have one of the same
    /// name, which stays. The sync tokens of the account are void afterwards: its
    /// commits are others.
    pub async fn purge(&self, caller: &Caller, collection: &str, name: &str) -> Result<(), Fault> {
        let account = caller.account.clone();
        let view = self.view(&account)?;
        let known = view.collections.get(collection).ok_or_else(Fault::not_found)?;
        let member = known.member(name).ok_or_else(Fault::not_found)?;
        let path = known.member_path(name, member);
        let title = crate::server::thing(&member.summary, name);
        drop(view);
        let removed = self.change(&account, caller, |_, change| {
            change.remove(&path)?;
            Ok::<_, Fault>(((), "An object deleted for good".to_string()))
        });
        removed.await?;
        // What is held in memory would keep the old trees alive.
        lock(&self.0.views).clear();
        let (store, author) = (self.0.store.clone(), caller.author());
        let others: Vec<String> = self.accounts().into_iter().filter(|other| *other != account).collect();
        let spared: Vec<String> = others.iter().map(|other| branch_name(other)).collect();
        let purged = aside(move || store.purge_but(&path, author, &spared)).await;
        lock(&self.0.views).clear();
        purged.ok_or_else(|| Fault::new(500, "the purge broke off"))??;
        tracing::info!(account, object = title, "purged");
        Ok(())
    }
}
