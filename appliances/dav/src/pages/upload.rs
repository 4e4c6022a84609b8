//! Import on the web: a file is taken in while the page tells how far it is.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chassis::aside::on_thread;
use chassis::http::{Answer, Fault, HeaderValue, Request, header, see_other};

use super::html::Html;
use super::{About, caller, take, uploaded};
use crate::http::Site;
use crate::path::encode;

/// Imports that are under way, or whose end nobody has looked at yet.
#[derive(Debug, Default)]
pub struct Imports(Mutex<HashMap<String, Import>>);

#[derive(Debug, Clone)]
struct Import {
    account: String,
    done: usize,
    all: usize,
    /// What it did, or why it did nothing.
    ended: Option<Result<String, String>>,
}

/// A file that is imported; a life's calendar is below 50 MB.
const FILE_BYTES_MAX: usize = 64 << 20;
/// Imports that are remembered; a household does one now and then.
const IMPORTS_MAX: usize = 50;
/// Whoever waits so long is shown how far it is.
const PATIENCE: Duration = Duration::from_millis(700);

impl Imports {
    fn change(&self, id: &str, change: impl FnOnce(&mut Import)) {
        if let Some(import) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(id) {
            change(import);
        }
    }

    fn get(&self, id: &str) -> Option<Import> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn forget(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    fn begin(&self, id: &str, account: &str) -> Result<(), Fault> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= IMPORTS_MAX {
            all.retain(|_, import| import.ended.is_none());
        }
        if all.len() >= IMPORTS_MAX {
            return Err(Fault::busy(10));
        }
        all.insert(id.into(), Import { account: account.into(), done: 0, all: 0, ended: None });
        Ok(())
    }
}

/// `POST /import/NAME`: takes the file in; who has patience is told the end, others how far it is.
pub async fn import(site: &Site, mut request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    let file = uploaded(&mut request, &visitor, FILE_BYTES_MAX).await?;
    let (path, id) = (request.matched("name").to_string(), chassis::accounts::new_token::<12>());
    let caller = caller(&visitor, &request);
    site.imports.begin(&id, &caller.account)?;
    let (household, imports, key) = (site.household().clone(), site.imports.clone(), id.clone());
    let runtime = tokio::runtime::Handle::current();
    let begun = on_thread(move || {
        let progress = |done, all| imports.change(&key, |import| (import.done, import.all) = (done, all));
        let now_ms = chassis::clock::now_ms();
        let done = runtime.block_on(take(&household, &caller, &path, &file, now_ms, progress));
        let ended = done.map(|imported| imported.to_string()).map_err(|fault| fault.why);
        imports.change(&key, |import| import.ended = Some(ended));
    });
    let working = begun.inspect_err(|_| site.imports.forget(&id))?;
    let _ = tokio::time::timeout(PATIENCE, working).await;
    Ok(see_other(&format!("/imports/{id}")))
}

/// `GET /imports/ID`: how far it is; at the end, the collections.
pub async fn progress(site: &Site, about: &'static About, request: &Request) -> Answer {
    let visitor = site.chassis.require(request).await?;
    let own = |import: &Import| import.account == visitor.account().user;
    let import = site.imports.get(request.matched("id")).filter(own).ok_or_else(Fault::not_found)?;
    match import.ended {
        Some(Ok(words)) => Ok(see_other(&format!("/collections?imported={}", encode(&words)))),
        Some(Err(why)) => Err(super::fault(crate::server::Fault::new(400, why))),
        None => {
            let mut html = Html::default();
            html.raw("<h1>Importing</h1><p class=\"lead\" role=\"status\">");
            html.text(&format!(
                "{} of {} are read; all appear at once when it is done.",
                import.done, import.all
            ));
            html.raw(&format!(
                "</p><progress max=\"{}\" value=\"{}\"></progress>",
                import.all.max(1),
                import.done
            ));
            let page = about.page("Importing", "/collections");
            let mut response = site.chassis.page_of_html(Some(&visitor), &page, &html.0)?;
            response.headers_mut().insert(header::REFRESH, HeaderValue::from_static("1"));
            Ok(response)
        }
    }
}
