//! What a page does with one object: put, delete and purge it, as any client would.

use bytes::Bytes;
use chassis::http::{Answer, Fault, Request, Router, see_other};
use chassis::web::Visitor;

use super::html::Html;
use super::{broken, caller, fault};
use crate::household::names::unstored;
use crate::household::view::Member;
use crate::http::Site;
use crate::path::{Place, encode, href};
use crate::server::{Access, At, Fault as DavFault, Request as DavRequest, Response, Subject};

/// An object that a page is about: the visitor's own, or one that somebody shares with them.
pub struct Object {
    /// The collection as the visitor sees it.
    pub at: At,
    /// Collection and name in the visitor's paths.
    pub names: [String; 2],
    /// What it is.
    pub member: Member,
    /// Its bytes.
    pub bytes: Bytes,
}

impl Object {
    /// Finds it.
    pub fn open(site: &Site, visitor: &Visitor, names: [String; 2]) -> Result<Object, Fault> {
        let account = &visitor.account().user;
        let place = Place::In(account.clone(), segments(&names), false);
        match site.service.resolve(account, &place).map_err(fault)? {
            Subject::Member(at, name, member) => {
                let bytes = at.view.read(&at.collection, &name, &member).map_err(broken)?;
                Ok(Object { at, names, member, bytes })
            }
            _ => Err(Fault::not_found()),
        }
    }

    /// Whether the visitor may change it.
    pub fn is_writable(&self) -> bool {
        self.at.access != Access::Read
    }

    /// Where it stands in its owner's tree.
    pub fn path(&self) -> String {
        self.at.collection.member_path(&self.names[1], &self.member)
    }

    /// Its ETag without quotes.
    pub fn etag(&self) -> String {
        self.member.id.to_string()
    }
}

/// The path of an object's page: `/event/…`, `/card/…`. A segment holds no slash, so that one in a folder is written twice.
pub fn page_of(word: &str, collection: &str, name: &str) -> String {
    format!("/{word}/{}/{}", encode(&collection.replace('/', "%2F")), encode(name))
}

/// Collection and name that a page's path names; `word` is the route's for the collection.
pub fn names_of(request: &Request, word: &str) -> [String; 2] {
    [request.matched(word).replace("%2F", "/"), request.matched("name").to_string()]
}

/// The names of a path; a collection in a folder is named by its whole stored path.
fn segments(names: &[String; 2]) -> Vec<String> {
    names[0].split('/').map(unstored).chain([names[1].clone()]).collect()
}

pub(super) fn routes(site: &Site) -> Router {
    super::Routes::of(site).post("/purge", purge).done()
}

/// Puts an object: a new one, or over the version whose ETag is given.
pub async fn put(
    site: &Site,
    visitor: &Visitor,
    request: &Request,
    names: &[String; 2],
    etag: Option<&str>,
    bytes: Vec<u8>,
) -> Result<(), Fault> {
    let tag = etag.map(|etag| format!("\"{etag}\""));
    let fields: Vec<(&str, &str)> = match &tag {
        Some(tag) => vec![("if-match", tag.as_str())],
        None => vec![("if-none-match", "*")],
    };
    ask(site, visitor, request, "PUT", names, &fields, bytes).await
}

/// Deletes an object.
pub async fn delete(
    site: &Site,
    visitor: &Visitor,
    request: &Request,
    names: &[String; 2],
) -> Result<(), Fault> {
    ask(site, visitor, request, "DELETE", names, &[], Vec::new()).await
}

async fn ask(
    site: &Site,
    visitor: &Visitor,
    request: &Request,
    method: &str,
    names: &[String; 2],
    fields: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<(), Fault> {
    let target = href(&visitor.account().user, &segments(names), false);
    let now_ms = chassis::clock::now_ms();
    let asked = DavRequest { now_ms, ..DavRequest::new(method, &target, fields, body) };
    refuse(site.service.answer(&caller(visitor, request), &asked).await)
}

/// A refusal of the WebDAV server in words.
pub fn refuse(answer: Response) -> Result<(), Fault> {
    match answer.status {
        ..300 => Ok(()),
        status => Err(fault(DavFault::new(status, answer.words()))),
    }
}

/// What stands at the end of an object's page: its history, its file, deleting, purging. `at` is the page's path.
pub fn foot(visitor: &Visitor, object: &Object, at: &str, word: &str, html: &mut Html) {
    let (csrf, names) = (visitor.csrf(), &object.names);
    html.raw("<footer class=\"foot\"><p>");
    if object.at.access == Access::Own {
        html.raw("<a href=\"/history?path=").raw(&encode(&object.path())).raw("\">History of this ");
        html.text(word).raw("</a> · ");
    }
    html.raw("<a href=\"")
        .raw(&href(&visitor.account().user, &segments(names), false))
        .raw("\">The file itself</a></p>");
    if !object.is_writable() {
        html.raw("</footer>");
        return;
    }
    html.button(&format!("{at}/delete"), &csrf, "danger", "Delete", &[]);
    if object.at.access != Access::Own {
        html.raw("</footer>");
        return;
    }
    html.raw("<details><summary>Delete it for good</summary><p>Takes it out of the whole history too: it cannot be undone, and no clone that is made from now on has it. Its title stays in the words of the history. Every device reads everything anew once.</p>");
    html.button(
        "/purge",
        &csrf,
        "danger",
        "Delete for good",
        &[("collection", &names[0]), ("name", &names[1])],
    );
    html.raw("</details></footer>");
}

async fn purge(site: Site, mut request: Request) -> Answer {
    let visitor = site.chassis.require(&request).await?;
    let form = site.chassis.form(&mut request, &visitor).await?;
    let caller = caller(&visitor, &request);
    let (household, collection, name) =
        (site.household().clone(), form.text("collection").to_string(), form.text("name").to_string());
    household.purge(&caller, &collection, &name).await.map_err(fault)?;
    Ok(see_other("/history"))
}
