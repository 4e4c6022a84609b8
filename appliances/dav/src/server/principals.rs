//! Searching for people (RFC 3744 section 9.4, 9.5), as macOS does when a calendar is shared.

use super::propfind::Wanted;
use super::subject::Subject;
use super::{Body, Fault, Response, Service};
use crate::text_match::Collation;
use crate::xml::DAV;
use crate::xml::read::Element;
use crate::xml::write::Writer;

impl Service {
    pub(super) fn principal_search(&self, caller: &str, root: &Element) -> Result<Response, Fault> {
        let wanted = Wanted::of(root)?;
        let searches: Vec<(Vec<(String, String)>, String)> = root
            .all(DAV, "property-search")
            .map(|search| {
                let names = search.child(DAV, "prop").into_iter().flat_map(|prop| &prop.children);
                let sought = search.child(DAV, "match").map(|m| m.text.clone()).unwrap_or_default();
                let names = names.map(|name| (name.ns.clone(), name.local.clone())).collect();
                (names, Collation::UnicodeCasemap.map(sought.trim()))
            })
            .collect();
        if searches.is_empty() {
            return Err(Fault::new(400, "nothing is searched for"));
        }
        let any_of = root.attribute("test") == Some("anyof");
        let fits = |subject: &Subject| {
            let mut each = searches.iter().map(|(names, sought)| {
                names.iter().any(|(ns, local)| {
                    let mut value = Writer::default();
                    self.live(caller, subject, ns, local, &mut value)
                        && Collation::UnicodeCasemap.map(&value.out).contains(sought)
                })
            });
            if any_of { each.any(|fits| fits) } else { each.all(|fits| fits) }
        };
        let found: Vec<Subject> =
            self.household.accounts().into_iter().map(Subject::Principal).filter(fits).take(100).collect();
        Ok(Response::xml(207, self.multistatus(caller, wanted, found.into_iter(), "</D:multistatus>")))
    }
}

/// What people can be found by.
pub fn search_property_set() -> Response {
    let mut out = Writer::document("D:principal-search-property-set");
    for (property, description) in [
        ("<D:displayname/>", "Name"),
        ("<S:email-address-set/>", "Mail address"),
        ("<C:calendar-user-address-set/>", "Calendar address"),
    ] {
        out.raw("<D:principal-search-property><D:prop>")
            .raw(property)
            .raw("</D:prop><D:description xml:lang=\"en\">");
        out.raw(description).raw("</D:description></D:principal-search-property>");
    }
    out.raw("</D:principal-search-property-set>");
    Response::xml(200, Body::Whole(out.out.into()))
}
