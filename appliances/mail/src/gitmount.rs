//! `git clone https://HOST/mail.git`: an account's branch as a repository of its own, with a device's password.
//!
//! A push is not put on the branch as it is: it becomes a commit of its own, whose paths are checked, and is merged like
//! the work of another server, so that UIDs stay right.

use std::sync::Arc;

use chassis::git::{Mount, Take};
use chassis::http::{Answer, Fault, Request, Router};
use store::wire::serve::{ChangedPaths, RefChange};

use crate::mailbox::Account;
use crate::service::Post;

/// What a push may change.
const PLACES: [&[u8]; 5] = [b"folders/", b"keywords", b"subscriptions", b"uid-validity", b".conflicts/"];

/// The repository's address.
pub fn routes(post: &Arc<Post>) -> Router {
    let post = post.clone();
    Router::new().any("/mail.git/{*rest}", move |request| serve(post.clone(), request))
}

async fn serve(post: Arc<Post>, request: Request) -> Answer {
    let visitor = post.chassis.require(&request).await?;
    let user = visitor.account().user.clone();
    let account = post.mailboxes.account(&user).await.map_err(Fault::internal)?;
    let branch = Account::branch_name(account.name());
    let runtime = tokio::runtime::Handle::current();
    let take: Take = Arc::new(move |commit| {
        runtime.block_on(account.merge(commit)).map(drop).map_err(|error| error.to_string())
    });
    let store = post.chassis.store().clone();
    let path = format!("/{}", request.matched("rest"));
    chassis::git::serve(Mount { store, branch, user, rules: only_mail, take: Some(take) }, path, request)
        .await
}

fn only_mail(change: &RefChange<'_>) -> Result<(), String> {
    match change.paths() {
        ChangedPaths::All(paths) => {
            match paths.iter().find(|path| !PLACES.iter().any(|place| path.starts_with(place))) {
                Some(path) => Err(format!("{} is no mail", String::from_utf8_lossy(path))),
                None => Ok(()),
            }
        }
        ChangedPaths::Many => Err("too many changes in one push".into()),
    }
}
