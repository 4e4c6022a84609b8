//! An account's tree as a Git repository: `https://HOST/calendar.git`, `contacts.git`. Its branch is `main` there. A push
//! moves it as any client's change would, and devices hear of it by their next sync.

use chassis::git::Mount;
use chassis::http::{Answer, Request};
use git_wire::serve::{ChangedPaths, RefChange};

use crate::household::branch_name;
use crate::http::Site;

/// Answers a request below the repository's path.
pub async fn answer(site: &Site, request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    let user = visitor.account().user.clone();
    site.household().prepare(&user).await.map_err(crate::pages::broken)?;
    let store = site.household().store().clone();
    let path = format!("/{}", request.matched("rest"));
    let branch = branch_name(&user);
    chassis::git::serve(Mount { store, branch, user, rules: not_ours, take: None }, path, request).await
}

/// Not the files that the server writes.
fn not_ours(change: &RefChange<'_>) -> Result<(), String> {
    let own = |path: &Vec<u8>| path == b".account" || path.starts_with(b".conflicts/");
    match change.paths() {
        ChangedPaths::All(paths) if paths.iter().any(own) => {
            Err(".account and .conflicts are written by the server".into())
        }
        ChangedPaths::All(_) => Ok(()),
        ChangedPaths::Many => Err("too many changes in one push; push fewer commits at a time".into()),
    }
}
