//! Conditional requests (RFC 9110 section 13, RFC 4918 section 10.4), Depth, Prefer (RFC 8144).

use crate::path::Place;
use crate::server::Request;
use crate::server::fault::Fault;

/// Depth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Depth {
    /// `0`
    Zero,
    /// `1`
    One,
    /// `infinity`
    Infinity,
}

impl Depth {
    /// Reads the field; `default` when it is absent.
    pub fn of(request: &Request, default: Depth) -> Result<Depth, Fault> {
        match request.get("depth").map(str::trim) {
            None => Ok(default),
            Some("0") => Ok(Depth::Zero),
            Some("1") => Ok(Depth::One),
            Some(text) if text.eq_ignore_ascii_case("infinity") => Ok(Depth::Infinity),
            Some(other) => Err(Fault::new(400, format!("Depth: {other:?}"))),
        }
    }
}

/// Whether `Prefer: return=minimal` was said.
pub fn prefers_minimal(request: &Request) -> bool {
    prefers(request, "return=minimal")
        || request.get("brief").is_some_and(|b| b.trim().eq_ignore_ascii_case("t"))
}

/// Whether `Prefer: depth-noroot` was said: a listing leaves the collection itself out.
pub fn prefers_no_root(request: &Request) -> bool {
    prefers(request, "depth-noroot")
}

/// Whether `Prefer: return=representation` was said.
pub fn prefers_representation(request: &Request) -> bool {
    prefers(request, "return=representation")
}

fn prefers(request: &Request, wanted: &str) -> bool {
    request.all("prefer").any(|value| {
        value.split([',', ';']).any(|one| one.replace(['"', ' '], "").eq_ignore_ascii_case(wanted))
    })
}

/// An ETag list of If-Match or If-None-Match.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tags {
    /// `*`
    Any,
    /// The tags without quotes; weak ones are marked.
    List(Vec<(bool, String)>),
}

impl Tags {
    fn parse<'a>(values: impl Iterator<Item = &'a str>) -> Option<Tags> {
        let mut list = Vec::new();
        let mut seen = false;
        for value in values {
            seen = true;
            for one in value.split(',').map(str::trim).filter(|one| !one.is_empty()) {
                if one == "*" {
                    return Some(Tags::Any);
                }
                let (weak, tag) = match one.strip_prefix("W/") {
                    Some(tag) => (true, tag),
                    None => (false, one),
                };
                list.push((weak, tag.trim_matches('"').to_string()));
            }
        }
        seen.then_some(Tags::List(list))
    }

    fn has(&self, etag: Option<&str>, weakly: bool) -> bool {
        match (self, etag) {
            (_, None) => false,
            (Tags::Any, Some(_)) => true,
            (Tags::List(list), Some(etag)) => list.iter().any(|(weak, tag)| (weakly || !weak) && tag == etag),
        }
    }
}

/// The request's conditions against what stands there now (its ETag without quotes).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conditions {
    /// If-Match
    pub matches: Option<Tags>,
    /// If-None-Match
    pub none_match: Option<Tags>,
    lists: Lists,
}

/// The If field (RFC 4918 section 10.4).
#[derive(Clone, PartialEq, Eq, Debug)]
enum Lists {
    Absent,
    Unreadable,
    AnyOf(Vec<List>),
}

/// One list of the If field: all of it must hold for the resource that it is about.
#[derive(Clone, PartialEq, Eq, Debug)]
struct List {
    /// The resource, when it is not the request's own.
    about: Option<Place>,
    /// The ETag of that resource.
    other_etag: Option<String>,
    /// Whether it is negated, and the ETag or the state token that is asked for.
    terms: Vec<(bool, Term)>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Term {
    Etag(String),
    Token,
}

impl Conditions {
    /// Reads them.
    pub fn of(request: &Request) -> Conditions {
        Conditions {
            matches: Tags::parse(request.all("if-match")),
            none_match: Tags::parse(request.all("if-none-match")),
            lists: match request.get("if") {
                None => Lists::Absent,
                Some(field) => lists(field, &request.target).map_or(Lists::Unreadable, Lists::AnyOf),
            },
        }
    }

    /// Reads them, and looks up the ETags of the other resources that the If field is about.
    pub fn with(request: &Request, etag_of: impl Fn(&Place) -> Option<String>) -> Conditions {
        let mut conditions = Conditions::of(request);
        if let Lists::AnyOf(lists) = &mut conditions.lists {
            for list in lists {
                list.other_etag = list.about.as_ref().and_then(&etag_of);
            }
        }
        conditions
    }

    /// For a method that changes something.
    pub fn for_change(&self, etag: Option<&str>) -> Result<(), Fault> {
        if self.matches.as_ref().is_some_and(|tags| !tags.has(etag, false)) {
            return Err(Fault::new(412, "it is not what If-Match says; read it again"));
        }
        if self.none_match.as_ref().is_some_and(|tags| tags.has(etag, true)) {
            return Err(Fault::new(412, "there is something that If-None-Match excludes"));
        }
        match &self.lists {
            Lists::Absent => Ok(()),
            Lists::Unreadable => Err(Fault::new(400, "the If field cannot be read")),
            Lists::AnyOf(lists) if lists.iter().any(|list| list.holds(etag)) => Ok(()),
            Lists::AnyOf(_) => Err(Fault::new(412, "no list of the If field is met")),
        }
    }

    /// For GET and HEAD: `true` is 304.
    pub fn not_modified(&self, etag: &str) -> Result<bool, Fault> {
        if self.matches.as_ref().is_some_and(|tags| !tags.has(Some(etag), false)) {
            return Err(Fault::new(412, "it is not what If-Match says"));
        }
        Ok(self.none_match.as_ref().is_some_and(|tags| tags.has(Some(etag), true)))
    }

    /// The one ETag that If-Match names.
    pub fn only_match(&self) -> Option<&str> {
        match &self.matches {
            Some(Tags::List(list)) => match list.as_slice() {
                [(false, tag)] => Some(tag),
                _ => None,
            },
            _ => None,
        }
    }
}

impl List {
    /// There are no locks, so that no state token holds.
    fn holds(&self, own_etag: Option<&str>) -> bool {
        let etag = if self.about.is_some() { self.other_etag.as_deref() } else { own_etag };
        self.terms.iter().all(|(not, term)| match term {
            Term::Etag(wanted) => (etag == Some(wanted)) != *not,
            Term::Token => *not,
        })
    }
}

/// RFC 4918 section 10.4: `(["etag"] Not <token>) (…)`, with or without a resource before the lists about it.
fn lists(field: &str, target: &str) -> Option<Vec<List>> {
    let own = Place::parse(target).ok();
    let (mut rest, mut about, mut out) = (field.trim(), None, Vec::new());
    while !rest.is_empty() {
        if let Some(tagged) = rest.strip_prefix('<') {
            let (resource, after) = tagged.split_once('>')?;
            let place = Place::parse(resource).ok()?;
            about = Some(place).filter(|place| !own.as_ref().is_some_and(|own| place.is_same(own)));
            rest = after.trim_start();
        }
        let mut at = rest.strip_prefix('(')?.trim_start();
        let mut terms = Vec::new();
        loop {
            if let Some(after) = at.strip_prefix(')') {
                rest = after.trim_start();
                break;
            }
            let not = at.get(..3).is_some_and(|word| word.eq_ignore_ascii_case("not"));
            if not {
                at = at[3..].trim_start();
            }
            let (term, after) = match (at.strip_prefix('['), at.strip_prefix('<')) {
                (Some(inside), _) => {
                    let (tag, after) = inside.split_once(']')?;
                    (Term::Etag(tag.trim().trim_start_matches("W/").trim_matches('"').to_string()), after)
                }
                (_, Some(inside)) => (Term::Token, inside.split_once('>')?.1),
                _ => return None,
            };
            terms.push((not, term));
            at = after.trim_start();
        }
        if terms.is_empty() {
            return None;
        }
        out.push(List { about: about.clone(), other_etag: None, terms });
    }
    (!out.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&str, &str)]) -> Request {
        Request::new("PUT", "/", fields, "")
    }

    #[test]
    fn rfc9110_13_conditions() {
        let status = |fields: &[(&str, &str)], etag: Option<&str>| {
            Conditions::of(&request(fields)).for_change(etag).map_err(|fault| fault.status)
        };
        assert_eq!(status(&[], None), Ok(()));
        assert_eq!(status(&[("If-Match", "\"a\", \"b\"")], Some("b")), Ok(()));
        assert_eq!(status(&[("If-Match", "W/\"b\"")], Some("b")), Err(412));
        assert_eq!(status(&[("If-Match", "*")], None), Err(412));
        assert_eq!(status(&[("If-None-Match", "*")], None), Ok(()));
        assert_eq!(status(&[("If-None-Match", "*")], Some("a")), Err(412));
    }

    #[test]
    fn rfc4918_10_4_if() {
        let met = |field: &str, etag| {
            let request = Request::new("PUT", "/dav/a/x", &[("If", field)], "");
            let other =
                |place: &Place| (*place == Place::parse("/dav/a/y").unwrap()).then(|| "y".to_string());
            Conditions::with(&request, other).for_change(etag).map_err(|fault| fault.status)
        };
        assert_eq!(met("([\"a\"])", Some("a")), Ok(()));
        assert_eq!(met("([\"b\"]) (Not <DAV:no-lock> [\"a\"])", Some("a")), Ok(()));
        assert_eq!(met("<http://h/dav/a/x> ([\"a\"])", Some("a")), Ok(()));
        assert_eq!(met("(<urn:uuid:1>)", Some("a")), Err(412));
        // A list that names another resource is about that one.
        assert_eq!(met("</dav/a/y> ([\"a\"])", Some("a")), Err(412));
        assert_eq!(met("</dav/a/y> ([\"y\"])", Some("a")), Ok(()));
        assert_eq!(met("</dav/a/z> (Not [\"y\"])", Some("a")), Ok(()));
        for bad in ["(nonsense)", "([\"a\"", "", "<http://h/dav/a/x>", "()"] {
            assert_eq!(met(bad, Some("a")), Err(400), "{bad}");
        }
    }
}
